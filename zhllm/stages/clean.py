"""clean: documents become training text: normalised, filtered with reasons, unique, split in two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from zhllm.config import Config, InputPaths, Role
from zhllm.errors import DataError, ProofError
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.text.cleaning import Chunk, Cleaned
    from zhllm.text.document import Document
    from zhllm.text.parquet import ShardWriter

REJECTED_COLUMNS = ("id", "reason", "detail", "source", "sample")
SAMPLE_CHARS = 300
MAX_LINES_COUNTED = 2_000_000
MIN_COMMON_DOCS = 5  # a line is common that stands in so many documents and in 1 % of them
COMMON_LINES_SHOWN = 20

ADVICE = {
    "too_short": "the texts are short: --profile dialogue, or check --text-key",
    "low_han_share": "the texts are hardly Chinese: --language any (or en)",
    "low_latin_share": "the texts are hardly English: --language any (or zh)",
    "unreadable": "run zhllm collect first; it reads more and says what is wrong with each file",
    "not_a_document": "run zhllm collect on the folder first",
    "garbled": "the texts were decoded wrongly before; collect the original files",
}


class CleanConfig(Config):
    """What to clean and how strictly."""

    documents: InputPaths = Field(
        description="A folder of collect, or parquet, jsonl, txt and other files.", min_length=1
    )
    text_key: str = Field("text", description="Key (or column) of a record that holds its text.")
    id_key: str = Field("id", description="Key (or column) of a record that holds its id.")
    profile: Literal["document", "web", "dialogue"] = Field(
        "document", description="Thresholds for private documents, web pages or chats."
    )
    language: Literal["zh", "en", "any"] = Field("zh", description="Reject texts with little of this language.")
    traditional: Literal["keep", "simplify"] = Field(
        "keep", description="Keep Traditional characters, or convert them to Simplified."
    )
    valid_share: float = Field(
        0.02, ge=0, le=0.5, description="Share of the documents held out for validation; 0 holds out none."
    )
    seed: int = Field(0, ge=0, description="Chooses which documents are held out.")
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes to clean with; the result is the same for any number."
    )


@dataclass
class Tally:
    """What became of the documents that came in."""

    docs_in: int = 0
    docs: Counter[str] = field(default_factory=Counter)  # train, valid
    chars: Counter[str] = field(default_factory=Counter)
    han: int = 0
    words: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    short_lines: Counter[str] = field(default_factory=Counter)
    first_id: dict[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shards:
    """The three outputs of the stage."""

    train: ShardWriter
    valid: ShardWriter
    rejected: ShardWriter


def run(config: CleanConfig, out: Path) -> Metrics:
    """Normalise (NFC, full-width letters, invisible characters, page furniture), filter, de-duplicate.

    Writes train-*.parquet and valid-*.parquet (id, text, source, meta) and rejected-*.parquet (id,
    reason, detail, source, sample). A text goes to train or valid by its digest, so no duplicate is
    in both, and the output is the same bytes for any number of workers. Proves that the counts add up
    and no text is there twice.

    \b
    zhllm clean --documents runs/documents --profile document -o runs/clean
    zhllm clean --documents posts.jsonl.gz --profile web --traditional simplify --workers 4 -o runs/clean
    """
    import pyarrow as pa

    from zhllm.text.cleaning import Rules, chunks_of, clean_chunk
    from zhllm.text.parallel import map_in_order
    from zhllm.text.parquet import ShardWriter
    from zhllm.text.shards import read_items
    from zhllm.text.sources import Keys

    rules = Rules(config.profile, config.language, config.traditional)
    items = read_items(config.documents, keys=Keys(config.text_key, config.id_key))
    work = ((chunk, rules) for chunk in chunks_of(items))
    schema = pa.schema([(name, pa.string()) for name in REJECTED_COLUMNS])
    tally = Tally()
    with (
        ShardWriter(out, "train") as train,
        ShardWriter(out, "valid") as valid,
        ShardWriter(out, "rejected", schema) as rejected,
        bar("clean", unit="docs") as shown,
    ):
        for chunk in map_in_order(clean_chunk, work, config.workers):
            _take(chunk, config, Shards(train, valid, rejected), tally)
            shown.advance(len(chunk.cleaned))
    _say_rejected(tally)
    if not tally.docs.total():
        raise DataError(_nothing_kept(config, tally))
    _hold_out_one(config, out, tally)
    _prove(out, tally)
    return _metrics(tally)


def _take(chunk: Chunk, config: CleanConfig, shards: Shards, tally: Tally) -> None:
    """Write the documents of a chunk, the duplicates of earlier ones among the rejected."""
    tally.counts.update(chunk.counts)
    tally.short_lines.update(chunk.short_lines)
    if len(tally.short_lines) > MAX_LINES_COUNTED:  # what stood in one document so far is not common
        tally.short_lines = Counter({line: n for line, n in tally.short_lines.items() if n > 1})
    for item in chunk.cleaned:
        tally.docs_in += 1
        if item.reason:
            _reject(item.document, item.reason, item.detail, shards, tally)
        elif item.digest in tally.first_id:
            _reject(item.document, "duplicate", f"of {tally.first_id[item.digest]}", shards, tally)
        else:
            tally.first_id[item.digest] = item.document.id
            _keep(item, config, shards, tally)


def _keep(item: Cleaned, config: CleanConfig, shards: Shards, tally: Tally) -> None:
    split = "valid" if _place(item.digest, config.seed) < config.valid_share else "train"
    (shards.valid if split == "valid" else shards.train).write_document(item.document)
    tally.docs[split] += 1
    tally.chars[split] += len(item.document.text)
    tally.han += item.han
    tally.words += item.words


def _reject(document: Document, reason: str, detail: str, shards: Shards, tally: Tally) -> None:
    tally.rejected[reason] += 1
    shards.rejected.write((document.id, reason, detail, document.source, document.text[:SAMPLE_CHARS]))


def _place(digest: bytes, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed only."""
    import xxhash

    return xxhash.xxh3_64_intdigest(digest, seed=seed) / 2**64


def _hold_out_one(config: CleanConfig, out: Path, tally: Tally) -> None:
    """Make both splits hold a document where there are at least two and validation was asked for."""
    if config.valid_share == 0 or tally.docs.total() < 2:
        return
    for source, target in (("train", "valid"), ("valid", "train")):
        if not tally.docs[target]:
            chars = _move_one(out, source, target, config.seed)
            tally.docs.update({source: -1, target: 1})
            tally.chars.update({source: -chars, target: chars})


def _move_one(out: Path, source: str, target: str, seed: int) -> int:
    """Move the first document by digest, of those no longer than the median; its characters.

    Not one of the longer half: in a small corpus a single handbook is much of what there is to learn.
    """
    from statistics import median_low

    from zhllm.text.cleaning import digest_of
    from zhllm.text.shards import write_documents

    places = [(_place(digest_of(d.text), seed), len(d.text)) for d in _written(out, source)]
    middle = median_low(chars for _, chars in places)
    chosen = places.index(min(place for place in places if place[1] <= middle))
    for path in sorted(out.glob(f"{source}-*.parquet")):
        path.rename(path.with_name("moving-" + path.name))
    for path in out.glob(f"{target}-*.parquet"):
        path.unlink()
    document = next(d for i, d in enumerate(_written(out, f"moving-{source}")) if i == chosen)
    others = (d for i, d in enumerate(_written(out, f"moving-{source}")) if i != chosen)
    write_documents(out, source, others)
    write_documents(out, target, [document])
    for path in out.glob("moving-*.parquet"):
        path.unlink()
    return len(document.text)


def _written(out: Path, prefix: str) -> Iterator[Document]:
    """The documents of `out/prefix-*.parquet`, read back from disk."""
    from zhllm.text.shards import read_documents

    for path in sorted(out.glob(f"{prefix}-*.parquet")):
        yield from read_documents([path])


def _prove(out: Path, tally: Tally) -> None:
    """Raise ProofError unless the counts add up and no text is on disk twice."""
    from zhllm.text.cleaning import digest_of
    from zhllm.text.parquet import count_rows

    rows = {name: count_rows(sorted(out.glob(f"{name}-*.parquet"))) for name in ("train", "valid", "rejected")}
    counted = {**tally.docs, "rejected": tally.rejected.total()}
    if sum(rows.values()) != tally.docs_in or any(rows[name] != n for name, n in counted.items()):
        raise ProofError(f"clean: {tally.docs_in} documents in, counted {counted}, on disk {rows}.")
    digests = {digest_of(d.text) for split in ("train", "valid") for d in _written(out, split)}
    if len(digests) != rows["train"] + rows["valid"]:
        kept = rows["train"] + rows["valid"]
        raise ProofError(f"clean: {kept} documents kept, but only {len(digests)} different texts.")


def _say_rejected(tally: Tally) -> None:
    if tally.rejected:
        reasons = ", ".join(f"{reason} {n}" for reason, n in tally.rejected.most_common())
        say(f"rejected {tally.rejected.total()} of {tally.docs_in} documents: {reasons}")


def _nothing_kept(config: CleanConfig, tally: Tally) -> str:
    reasons = tally.rejected.most_common(3)
    counts = ", ".join(f"{reason} {n}" for reason, n in reasons) or "none came in"
    advice = "; ".join(ADVICE[reason] for reason, _ in reasons if reason in ADVICE)
    return (
        f"{', '.join(map(str, config.documents))}: none of {tally.docs_in} documents is kept ({counts}; "
        f"profile {config.profile}, language {config.language}). {advice or 'Try another --profile'}."
    )


def _metrics(tally: Tally) -> Metrics:
    common = [(line, n) for line, n in tally.short_lines.items() if n >= max(MIN_COMMON_DOCS, tally.docs.total() / 100)]
    common.sort(key=lambda pair: (-pair[1], pair[0]))
    return {
        "docs_in": tally.docs_in,
        "train_docs": tally.docs["train"],
        "valid_docs": tally.docs["valid"],
        "rejected_docs": tally.rejected.total(),
        "rejected": dict(sorted(tally.rejected.items())),
        "repaired_docs": tally.counts["repaired_docs"],
        "chars_in": tally.counts["chars_in"],
        "chars_out": tally.chars.total(),
        "train_chars": tally.chars["train"],
        "valid_chars": tally.chars["valid"],
        "han_share": round(tally.han / max(tally.words, 1), 4),
        "page_lines": tally.counts["page_lines"],
        "header_lines": tally.counts["header_lines"],
        "contents_lines": tally.counts["contents_lines"],
        "common_lines": len(common),
        "most_common_lines": dict(common[:COMMON_LINES_SHOWN]),
    }


STAGE = Stage("clean", 1, CleanConfig, run)
