"""synth's pairs on their way: made from every document in order, compared with all others, written and proved."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from zhllm import manifest
from zhllm.errors import DataError, ProofError, StageError
from zhllm.progress import bar, say
from zhllm.text.chats import Chat, read_chats
from zhllm.text.document import Document
from zhllm.text.parallel import map_in_order
from zhllm.text.read.shards import read_documents
from zhllm.text.synth.chunks import Chunk, chunks_of
from zhllm.text.synth.near import Questions, digest_of
from zhllm.text.synth.outline import Outline
from zhllm.text.synth.pairs import Pair, chance, language_of, messages_of, meta_of
from zhllm.text.synth.rules import Refused, Settings, chosen, order_of, pairs_of

if TYPE_CHECKING:
    from zhllm.stages._synth_ask import AnswerLog
    from zhllm.stages._synth_config import SynthConfig

REJECTED = "rejected.jsonl"
SPOOL = ".pairs"  # in the output folder while the stage runs
SHARD_BYTES = 256_000_000
BATCH_DOCS, BATCH_CHARS = 64, 400_000
SAMPLES = 4


@dataclass(frozen=True)
class Made:
    """What one document gave: pairs with their chats, and pairs that were refused."""

    source: str
    document: str
    pairs: list[tuple[Pair, list[Chat]]]
    refused: list[Refused]


@dataclass
class Tally:
    """What was counted, and some pairs of each rule to be shown."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    refused: dict[str, list[dict[str, str]]] = field(default_factory=dict)


def documents_of(config: SynthConfig) -> Iterator[Document]:
    """The documents in order; of a folder that `clean` split, the training ones."""
    return read_documents(config.documents, split="train")


def made_by_rules(config: SynthConfig, settings: Settings) -> Iterator[Made]:
    """What the rules find in every document, in order."""
    batches = _batches(documents_of(config))
    with bar("synth", unit="documents") as shown:
        for batch in map_in_order(partial(_rules_of, settings), batches, config.workers):
            shown.advance(len(batch))
            yield from batch


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    chars = 0
    for document in documents:
        batch.append(document)
        chars += len(document.text)
        if len(batch) >= BATCH_DOCS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _rules_of(settings: Settings, batch: list[Document]) -> list[Made]:
    return [_made(document, *pairs_of(document, settings), settings) for document in batch]


def _made(document: Document, pairs: Sequence[Pair], refused: list[Refused], settings: Settings) -> Made:
    language = language_of(document.text, settings.limits.language)
    found = []
    for pair in pairs:
        chats = [
            Chat("", tuple(messages), document.source, meta_of(pair, document.text, style, document.id, language))
            for style, messages in messages_of(pair, document.text, settings.style, language, settings.seed)
        ]
        found.append((pair, chats))
    return Made(document.source, document.id, found, refused)


@dataclass(frozen=True)
class _Request:
    """One passage to ask about: the body that is sent."""

    number: int
    chunk: Chunk
    kinds: list[Any]
    body: dict[str, Any]


def made_by_model(config: SynthConfig, settings: Settings, out: Path) -> Iterator[Made]:
    """What the model answers about every document, in order, once all its answers are there."""
    from zhllm.stages._synth_ask import ANSWERS, AnswerLog, ask_all

    drawn = _drawn(config, settings)
    folder = manifest.checkpoints_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    with AnswerLog(folder / ANSWERS) as log:
        if config.answers is not None:
            say(f"synth: {log.also_read(config.answers):,} answers of {config.answers} are known")
        asked = (request.body for _, requests in _requests(config, settings, drawn) for request in requests)
        with bar("synth", len(drawn), "requests") as shown:
            failed = ask_all(asked, config, log, shown)
        if failed:
            raise StageError(
                f"--endpoint {config.endpoint}: {len(failed)} of {len(drawn)} requests got no answer, the last one: "
                f"{failed[-1]}. The others are kept: run the same command again to ask only for these."
            )
        yield from _answered(config, settings, drawn, log, out / ANSWERS)


def _requests(
    config: SynthConfig, settings: Settings, drawn: frozenset[int] | None
) -> Iterator[tuple[Outline, list[_Request]]]:
    """Every document with the requests about it; those numbered in `drawn`, or all."""
    from zhllm.stages._synth_ask import body_of
    from zhllm.text.synth.prompts import kinds_for, messages_for

    number = 0
    for document in documents_of(config):
        outline, requests = Outline(document), []
        for chunk in chunks_of(outline, settings.chunk_chars):
            if drawn is None or number in drawn:
                kinds = kinds_for(number, config.per_chunk, settings.shares, config.seed)
                body = body_of(config, messages_for(chunk, kinds, config.language))
                requests.append(_Request(number, chunk, kinds, body))
            number += 1
        yield outline, requests


def _drawn(config: SynthConfig, settings: Settings) -> frozenset[int]:
    """The numbers of the passages to ask about: all, or --requests of them by the seed."""
    count = sum(len(chunks_of(Outline(document), settings.chunk_chars)) for document in documents_of(config))
    if not count:
        raise DataError(f"{', '.join(map(str, config.documents))}: holds no text to ask about.")
    wanted = min(config.requests or count, count)
    if wanted < count:
        say(f"synth: {wanted:,} of {count:,} passages are asked about (--requests)")
    return frozenset(heapq.nsmallest(wanted, range(count), key=lambda n: chance(config.seed, "request", n)))


def _answered(
    config: SynthConfig, settings: Settings, drawn: frozenset[int], log: AnswerLog, answers: Path
) -> Iterator[Made]:
    """The pairs of the answers, document by document; the answers go to `answers` in the order of the requests."""
    from zhllm.stages._synth_ask import key_of
    from zhllm.text.synth.answered import pairs_from

    written: set[str] = set()
    with answers.open("wb") as file:
        for outline, requests in _requests(config, settings, drawn):
            found: list[Pair] = []
            refused: list[Refused] = []
            for request in requests:
                answered = log.read(key_of(request.body))
                if answered.key not in written:
                    written.add(answered.key)
                    file.write(answered.to_json())
                pairs, left = pairs_from(answered.text, request.chunk, outline, request.kinds, settings)
                if answered.error:
                    left = [Refused(left[0].pair, f"request refused: {answered.error}")]
                found += pairs
                refused += left
            kept, over = chosen(found, settings)
            refused += [Refused(pair, "over the limit per document") for pair in over]
            yield _made(outline.document, sorted(kept, key=order_of), refused, settings)


def write(made: Iterable[Made], config: SynthConfig, settings: Settings, out: Path) -> Tally:
    """Write chats and rejected pairs; raises DataError where too little is left, ProofError where a proof fails."""
    tally, questions = Tally(), Questions()
    contradicted: set[bytes] = set()
    spool = out / SPOOL
    with (out / REJECTED).open("wb") as rejected:
        with spool.open("wb") as file:
            for document in made:
                _compare(document, questions, contradicted, tally, rejected, file)
        with ExitStack() as stack, spool.open("rb") as file:
            shards = _Shards(out, stack)
            for line in file:
                _finish(orjson.loads(line), contradicted, tally, rejected, shards)
    spool.unlink()
    _check(config, tally, out)
    _prove(config, tally, out)
    return tally


def _compare(
    made: Made, questions: Questions, contradicted: set[bytes], tally: Tally, rejected: IO[bytes], spool: IO[bytes]
) -> None:
    tally.counts["documents"] += 1
    tally.counts["pairs_found"] += len(made.pairs) + len(made.refused)
    for refused in made.refused:
        _reject(made.source, made.document, refused.pair, refused.reason, tally, rejected)
    for pair, chats in made.pairs:
        problem = None if pair.kind == "unanswerable" else questions.problem(pair.question, pair.answer)
        if problem == "contradicting answer":
            contradicted.add(digest_of(pair.question))
        elif problem is not None:
            _reject(made.source, made.document, pair, problem, tally, rejected)
            continue
        values = {"document": made.document, "source": made.source, "pair": _values(pair)}
        lines = [{"messages": chat.messages, "meta": chat.meta} for chat in chats]
        spool.write(orjson.dumps(values | {"chats": lines}, option=orjson.OPT_APPEND_NEWLINE))


def _values(pair: Pair) -> dict[str, Any]:
    names = ("kind", "question", "answer", "start", "end", "rule", "title")
    return {name: getattr(pair, name) for name in names} | {"context": list(pair.context)}


def _finish(
    entry: dict[str, Any], contradicted: set[bytes], tally: Tally, rejected: IO[bytes], shards: _Shards
) -> None:
    """Write the chats of one pair; a question with several answers cannot stand alone."""
    values = entry["pair"]
    pair = Pair(**{**values, "context": tuple(values["context"])})
    is_twofold = pair.kind != "unanswerable" and digest_of(pair.question) in contradicted
    kept = [chat for chat in entry["chats"] if not (is_twofold and chat["meta"]["style"] == "closed-book")]
    tally.counts["closed_book_left_out"] += bool(kept) and len(entry["chats"]) - len(kept)
    if not kept:
        _reject(entry["source"], entry["document"], pair, "contradicting answer", tally, rejected)
        return
    tally.counts["pairs"] += 1
    tally.kinds[pair.kind] += 1
    tally.rules[pair.rule] += 1
    tally.sources[entry["source"]] += 1
    _sample(tally.samples, pair.rule, entry["source"], pair)
    for chat in kept:
        number = tally.counts["chats"]
        tally.counts["chats"] += 1
        tally.counts[chat["meta"]["style"] + "_chats"] += 1
        identity = f"{entry['document']}#{number}"
        shards.write(Chat(identity, tuple(chat["messages"]), entry["source"], chat["meta"]).to_json())


def _sample(samples: dict[str, list[dict[str, str]]], name: str, source: str, pair: Pair) -> None:
    """Keep some pairs of each rule or reason, drawn by their own words."""
    held = samples.setdefault(name, [])
    held.append({"source": source, "question": pair.question, "answer": pair.answer})
    held.sort(key=lambda one: chance(0, one["question"], one["answer"]))
    del held[SAMPLES:]


def _reject(source: str, document: str, pair: Pair, reason: str, tally: Tally, rejected: IO[bytes]) -> None:
    tally.counts["rejected_pairs"] += 1
    tally.reasons[reason.partition(": HTTP")[0]] += 1
    _sample(tally.refused, reason.partition(": HTTP")[0], source, pair)
    values = {"file": source, "document": document, "start": pair.start, "reason": reason, "kind": pair.kind}
    values |= {"rule": pair.rule, "question": pair.question, "answer": pair.answer}
    rejected.write(orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))


class _Shards:
    """chats-00000.jsonl and so on, each of a bounded size."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        self._out, self._stack = out, stack
        self._count = 0
        self._file: IO[bytes] | None = None

    def write(self, line: bytes) -> None:
        """Add one line."""
        if self._file is None or self._file.tell() >= SHARD_BYTES:
            path = self._out / f"chats-{self._count:05d}.jsonl"
            self._file = self._stack.enter_context(path.open("wb"))
            self._count += 1
        self._file.write(line)


def _check(config: SynthConfig, tally: Tally, out: Path) -> None:
    counts, names = tally.counts, ", ".join(map(str, config.documents))
    lost, of = counts["rejected_pairs"], counts["pairs_found"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common(5))
    if not counts["chats"]:
        found = f"{of} pairs of {counts['documents']} documents, none kept ({reasons})" if of else "no pairs found"
        raise DataError(f"{names}: {found}. {_advice(config, tally, out)}")
    if not config.offline and lost > config.max_rejected_share * of:
        raise DataError(
            f"{names}: {lost} of {of} pairs rejected ({lost / of:.1%}, allowed {config.max_rejected_share:.1%}): "
            f"{reasons}. {_advice(config, tally, out)} Or raise --max-rejected-share."
        )


def _advice(config: SynthConfig, tally: Tally, out: Path) -> str:
    """What to do where too few pairs were kept, by the most frequent reason."""
    from zhllm.stages._synth_ask import ANSWERS
    from zhllm.text.synth.answers import NO_JSON, NO_WORDS, ONLY_THOUGHTS

    if config.offline or not tally.reasons:
        return f"Look at {out / REJECTED}, or allow more --kinds."
    most = tally.reasons.most_common(1)[0][0]
    if most in (NO_WORDS, ONLY_THOUGHTS):
        return f"Raise --max-tokens (now {config.max_tokens}; thoughts use them up), or try another --model."
    if most == NO_JSON:
        return f"The model does not write what it is asked for: read {out / ANSWERS}, and try another --model."
    return f"Look at {out / REJECTED}; try another --model."


def _prove(config: SynthConfig, tally: Tally, out: Path) -> None:
    """Raise ProofError unless every pair has one outcome and every chat's evidence stands in its document."""
    counts = tally.counts
    if counts["pairs"] + counts["rejected_pairs"] != counts["pairs_found"]:
        raise ProofError(
            f"synth: {counts['pairs_found']} pairs were found, {counts['pairs']} kept, {counts['rejected_pairs']} "
            "rejected."
        )
    documents = documents_of(config)
    document: Document | None = next(documents, None)
    seen = 0
    for chat in read_chats([out]):
        evidence = chat.meta["evidence"]
        while document is not None and not _stands(evidence, document, chat.source):
            document = next(documents, None)
        if document is None:
            raise ProofError(f"synth: chat {chat.id}: its evidence does not stand in document {evidence['document']}.")
        seen += 1
    if seen != counts["chats"]:
        raise ProofError(f"synth: {counts['chats']} chats were written, {seen} can be read.")


def _stands(evidence: dict[str, Any], document: Document, source: str) -> bool:
    return (
        bool(evidence["text"])
        and (document.id, document.source) == (evidence["document"], source)
        and document.text.startswith(evidence["text"], evidence["start"])
    )
