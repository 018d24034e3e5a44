"""clean: documents become training text: normalised, filtered with reasons, masked, unique, split in two."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.manifest import checkpoints_of
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage
from zhllm.stages._clean_config import CleanConfig

if TYPE_CHECKING:
    from zhllm.text.clean.cleaning import Rules
    from zhllm.text.clean.fates import Corpus, Fates
    from zhllm.text.clean.first_pass import Work
    from zhllm.text.clean.last_pass import Written
    from zhllm.text.clean.profiles import Profile
    from zhllm.text.read.sources import Keys

PARTS = "parts"
COMMON_LINES_SHOWN = 20
FILES_SHOWN = 3
# A line is common that stands in so many of the documents looked at, and in 1 % of them.
MIN_COMMON_DOCS = 5

ADVICE = {
    "too_short": "the texts are short: --profile dialogue, or check --text-key",
    "low_han_share": "the texts are hardly Chinese: --language any (or en)",
    "low_latin_share": "the texts are hardly English: --language any (or zh)",
    "unreadable": "run zhllm collect first; it says what is wrong with each file",
    "not_a_document": "run zhllm collect on the folder first",
    "too_long": "split the texts, by chapters for example",
    "garbled": "the texts were decoded wrongly before; collect the original files",
    "contaminated": "the documents hold the evaluation files themselves: see --against",
}


def run(config: CleanConfig, out: Path) -> Metrics:
    """Normalise, take out advertisements and page furniture, mask personal data, filter, de-duplicate, split.

    Writes train-*.parquet and valid-*.parquet (id, text, source, meta), rejected-*.parquet (id, reason,
    detail, source, sample), report.html and report.json. A text is kept as its author wrote it but for
    NFC, full-width letters and digits, invisible characters and what the rules take out. Documents that
    resemble each other go to one side of the split. The output is the same bytes for any number of
    workers, on Ray, and after an interruption: run the same command again and it goes on where it was.
    Proves that the counts add up, no text is there twice and no validation document is near a training
    one. --canaries adds train-canaries-*.parquet, which no filter looks at, and canaries.jsonl.

    \b
    zhllm clean --documents runs/documents --profile document -o runs/clean
    zhllm clean --documents posts.jsonl.gz --profile web --traditional simplify --workers 4 -o runs/clean
    zhllm clean --documents runs/documents --against exam.jsonl --keep-pii email ip -o runs/clean
    zhllm clean --documents runs/documents --rank 3 --of 16 -o runs/clean   # one of 16 Slurm tasks
    zhllm clean --documents runs/documents --canaries 60 -o runs/clean   # to see what a model memorises
    """
    _save_time()
    from zhllm.stages._clean_report import write_report
    from zhllm.text.clean.fates import Corpus, Settings, decide
    from zhllm.text.clean.last_pass import shards_of, write_shard
    from zhllm.text.clean.parts import parts_of
    from zhllm.text.parallel import map_in_order
    from zhllm.text.read.parquet import on_disk

    rules = _rules(config)
    folder = _parts_folder(out)
    corpus = Corpus(parts_of(folder, _first_pass(config, rules, folder)), folder / "sketches")
    fates = decide(corpus, Settings(rules.profile, config.near_duplicates, config.valid_share, config.seed))
    written = list(map_in_order(write_shard, shards_of(corpus, fates, out), config.workers, config.engine))
    result = _result_of(corpus, fates, written)
    _say_rejected(result)
    if not result.docs.total():
        raise DataError(_nothing_kept(config, result))
    _prove(result, corpus, fates, rules)
    metrics = _metrics(result) | _canaries(config, result, out)
    with on_disk(out):
        write_report(out, metrics, corpus, fates, result.reasons, rules.against)
    return metrics


def share(config: CleanConfig, out: Path) -> Metrics:
    """Clean the portions of one rank of several; the run without --rank finds them and finishes."""
    _save_time()
    rank = config.rank or 0
    if rank >= config.of:
        raise ConfigError(f"--rank {rank} --of {config.of}: ranks count from 0 to {config.of - 1}.")
    keys = _first_pass(config, _rules(config), _parts_folder(out))
    say(f"rank {rank} of {config.of} is done. After the last one, run the same command without --rank and --of.")
    return {"rank": rank, "of": config.of, "portions": len(keys)}


def _save_time() -> None:
    """Settings of the process that save what a small input needs most of.

    numpy starts no threads when it loads: nothing here multiplies matrices, and starting them takes 0.1 s.
    Python looks for cycles of garbage seldom: thousands of texts are held at a time, and none is in a cycle.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(50_000, *gc.get_threshold()[1:])


def _parts_folder(out: Path) -> Path:
    folder = checkpoints_of(out) / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _rules(config: CleanConfig) -> Rules:
    from zhllm.text.clean.cleaning import Rules
    from zhllm.text.clean.contamination import EvaluationError, read_evaluation
    from zhllm.text.clean.pii import KINDS

    try:
        against = read_evaluation(config.against) if config.against else None
    except EvaluationError as error:
        raise DataError(f"--against {error}") from error
    if against is not None and against.left_out:
        say(f"--against: {_left_out(against.left_out)}")
    return Rules(
        profile=_profile(config),
        language=config.language,
        traditional=config.traditional,
        punctuation=config.punctuation,
        masked=() if "all" in config.keep_pii else tuple(kind for kind in KINDS if kind not in config.keep_pii),
        sensitive_words=_words(config.sensitive_words),
        against=against,
        near_duplicates=config.near_duplicates,
        only_duplicates=config.only == "duplicates",
        advertisements_out=config.advertisements_out,
    )


def _left_out(names: Sequence[str]) -> str:
    more = f" and {len(names) - FILES_SHOWN} more" if len(names) > FILES_SHOWN else ""
    return (
        f"{len(names)} files of folders are not looked at (no json, jsonl, ndjson, csv, tsv, txt or md): "
        f"{', '.join(names[:FILES_SHOWN])}{more}"
    )


def _profile(config: CleanConfig) -> Profile:
    from zhllm.config import nearest
    from zhllm.text.clean.profiles import PROFILES, read_profiles

    try:
        own = None if config.profiles is None else read_profiles(config.profiles)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--profiles {error}") from error
    profiles = {str(name): profile for name, profile in PROFILES.items()} if own is None else own
    if config.profile not in profiles:
        raise ConfigError(f"--profile {config.profile}: no such profile.{nearest(config.profile, list(profiles))}")
    return profiles[config.profile]


def _words(path: Path | None) -> tuple[str, ...]:
    from zhllm.text.clean.normalise import normalise
    from zhllm.text.read.decode import DecodeError, decode

    if path is None:
        return ()
    try:
        lines = normalise(decode(path.read_bytes())[0]).split("\n")
    except (OSError, DecodeError) as error:
        raise DataError(f"--sensitive-words {path}: {error}. Give a text file, a word a line.") from error
    words = tuple(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#")))
    if not words:
        raise DataError(f"--sensitive-words {path}: holds no words. Write one a line.")
    return words


def _first_pass(config: CleanConfig, rules: Rules, folder: Path) -> list[str]:
    """Bring the parts of all portions (or of one rank's) into `folder`; their names in order."""
    from zhllm.text.clean.first_pass import clean_portion
    from zhllm.text.clean.remembered import forget
    from zhllm.text.parallel import map_in_order
    from zhllm.text.read.sources import Keys

    keys: list[str] = []
    total = sum(_size(path) for path in config.documents) / 1e6
    with bar("clean", max(round(total), 1), "MB") as shown:
        taken: list[float] = []
        work = _work(config, rules, Keys(config.text_key, config.id_key), folder, keys, taken)
        for docs, megabytes in zip(
            map_in_order(clean_portion, work, config.workers, config.engine), taken, strict=False
        ):
            shown.advance(megabytes, f"({docs:,} documents in the last portion)")
    forget()
    return keys


def _work(
    config: CleanConfig, rules: Rules, record_keys: Keys, folder: Path, keys: list[str], taken: list[float]
) -> Iterator[Work]:
    """The portions that are this run's and not done yet; every one of them is named in `keys`.

    `taken` gets the megabytes of input up to each, those included that are another's or done.
    """
    from zhllm.text.clean.first_pass import Work
    from zhllm.text.clean.parts import SUFFIX, is_whole
    from zhllm.text.clean.portions import portions_of

    before, passed, run_key = 0, 0, uuid4().hex
    for number, portion in enumerate(portions_of(config.documents, record_keys)):
        passed += portion.bytes_on_disk
        if config.rank is not None and number % config.of != config.rank:
            continue
        keys.append(portion.key)
        if is_whole(folder / (portion.key + SUFFIX)):
            before += 1
            continue
        taken.append(passed / 1e6)
        passed = 0
        yield Work(portion, rules, record_keys, folder, run_key)
    if before:
        say(f"{before} of {len(keys)} portions were cleaned before")


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


@dataclass(frozen=True)
class Result:
    """What became of everything that came in."""

    docs_in: int
    docs: Counter[str]  # train, valid
    chars: Counter[str]
    rows: Counter[str]  # on disk, rejected ones too
    rejected: Counter[str]  # by reason
    reasons: Counter[tuple[str, str]]  # (source, reason), "" for what is kept
    effects: Counter[str]
    chars_in: int
    common_lines: dict[str, int]
    han_share: float
    digests: list[bytes]


def _result_of(corpus: Corpus, fates: Fates, written: Sequence[Written]) -> Result:
    from zhllm.text.clean.parts import total

    stats = [part.stats for part in corpus.parts]
    rows = total([w.rows for w in written])
    reasons: Counter[tuple[str, str]] = Counter()
    for w in written:
        reasons.update(w.reasons)
    rejected: Counter[str] = Counter()
    for (_, reason), n in reasons.items():
        if reason:
            rejected[reason] += n
    digests = [w.digests[i : i + 16] for w in written for i in range(0, len(w.digests), 16)]
    return Result(
        docs_in=len(fates.fate),
        docs=Counter({name: rows[name] for name in ("train", "valid") if rows[name]}),
        chars=total([w.chars for w in written]),
        rows=rows,
        rejected=rejected,
        reasons=reasons,
        effects=total([s["effects"] for s in stats]),
        chars_in=sum(s["chars_in"] for s in stats),
        common_lines=_common_lines([s["short_lines"] for s in stats]),
        han_share=round(sum(w.han for w in written) / max(sum(w.words for w in written), 1), 4),
        digests=digests,
    )


def _common_lines(counted: Sequence[dict[str, int]]) -> dict[str, int]:
    """The short lines that stand in many documents, of those looked at."""
    from zhllm.text.clean.parts import total

    lines = total(counted)
    docs = lines.pop("", 0)
    common = [(line, n) for line, n in lines.items() if n >= max(MIN_COMMON_DOCS, docs / 100)]
    return dict(sorted(common, key=lambda pair: (-pair[1], pair[0])))


def _prove(result: Result, corpus: Corpus, fates: Fates, rules: Rules) -> None:
    """Raise ProofError unless counts add up, every text on disk is there once, and the split has no leak."""
    import numpy as np

    from zhllm.text.clean.duplicates import leak
    from zhllm.text.clean.fates import TRAIN, VALID

    if result.rows.total() != result.docs_in or result.rejected.total() != result.rows["rejected"]:
        raise ProofError(f"clean: {result.docs_in} documents in, on disk {dict(result.rows)}.")
    kept = result.docs.total()
    if len(result.digests) != kept or len(set(result.digests)) != kept:
        raise ProofError(f"clean: {kept} documents kept, but only {len(set(result.digests))} different texts.")
    if not rules.near_duplicates:
        return
    train, valid = (np.flatnonzero(fates.fate == side) for side in (TRAIN, VALID))
    found = leak(corpus.sketches, train, valid, rules.profile.near_duplicate_similarity)
    if found is not None:
        one, other, alike = found
        raise ProofError(f"clean: document {corpus.id(one)} in valid is {alike:.0%} like {corpus.id(other)} in train.")


def _canaries(config: CleanConfig, result: Result, out: Path) -> Metrics:
    """Plant the canaries beside what was cleaned, and prove it; how many, where there are any."""
    if not config.canaries:
        return {}
    from zhllm.text.clean.canaries import canaries_of, plant, prove_planted

    canaries = canaries_of(config.canaries, config.canary_repeats, config.seed)
    plant(canaries, out, config.seed)
    prove_planted(canaries, out, result.digests)
    planted = {"canary_docs": sum(c.repeats for c in canaries)}
    planted["canary_chars"] = sum(c.repeats * len(c.text) for c in canaries)
    return {"canaries": len(canaries), **planted}


def _say_rejected(result: Result) -> None:
    if result.rejected:
        reasons = ", ".join(f"{reason} {n}" for reason, n in result.rejected.most_common())
        say(f"rejected {result.rejected.total()} of {result.docs_in} documents: {reasons}")


def _nothing_kept(config: CleanConfig, result: Result) -> str:
    reasons = result.rejected.most_common(3)
    counts = ", ".join(f"{reason} {n}" for reason, n in reasons) or "none came in"
    advice = "; ".join(ADVICE[reason] for reason, _ in reasons if reason in ADVICE)
    return (
        f"{', '.join(map(str, config.documents))}: none of {result.docs_in} documents is kept ({counts}; "
        f"profile {config.profile}, language {config.language}). {advice or 'Try another --profile'}."
    )


def _metrics(result: Result) -> Metrics:
    effects = result.effects
    return {
        "docs_in": result.docs_in,
        "train_docs": result.docs["train"],
        "valid_docs": result.docs["valid"],
        "rejected_docs": result.rejected.total(),
        "rejected": dict(sorted(result.rejected.items())),
        "repaired_docs": effects["repaired_docs"],
        "simplified_docs": effects["simplified_docs"],
        "chars_in": result.chars_in,
        "chars_out": result.chars.total(),
        "train_chars": result.chars["train"],
        "valid_chars": result.chars["valid"],
        "han_share": result.han_share,
        "masked": _with_prefix(effects, "pii_"),
        "boilerplate_lines": _with_prefix(effects, "lines_"),
        "page_lines": effects["page_lines"],
        "header_lines": effects["header_lines"],
        "contents_lines": effects["contents_lines"],
        "sensitive_hits": effects["sensitive_hits"],
        "common_lines": len(result.common_lines),
        "most_common_lines": dict(list(result.common_lines.items())[:COMMON_LINES_SHOWN]),
    }


def _with_prefix(counts: Counter[str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counts.items()) if name.startswith(prefix)}


STAGE = Stage("clean", 2, CleanConfig, run, resumable=True, share=share)
