"""Pairs from a document without any model: every rule over its outline, checked, chosen and bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from zhllm.text.document import Document
from zhllm.text.script import to_traditional
from zhllm.text.synth import rules_law, rules_section, rules_sentence, rules_table
from zhllm.text.synth.chunks import Chunk, chunks_of
from zhllm.text.synth.grounding import (
    Limits,
    Seen,
    answer_problem,
    names_in,
    pairs_of_characters,
    plain,
    question_problem,
    seen_in,
)
from zhllm.text.synth.numbers import numbers_in
from zhllm.text.synth.outline import Outline
from zhllm.text.synth.pairs import KINDS, Kind, Pair, Style, chance, language_of, refusal

# In this order: of two rules that ask the same the first is kept.
RULES = (
    rules_section.written_questions,
    rules_law.definitions,
    rules_table.tables,
    rules_law.enumerations,
    rules_law.inline_enumerations,
    rules_section.question_headings,
    rules_section.steps,
    rules_law.articles,
    rules_sentence.facts,
    rules_section.sections,
)

DEFAULT_SHARES: Mapping[Kind, float] = {
    "factual": 0.5,
    "procedure": 0.15,
    "definition": 0.1,
    "comparison": 0.1,
    "unanswerable": 0.15,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to make of a document."""

    seed: int = 0
    style: Style = "closed-book"
    chunk_chars: int = 800
    per_document: int = 200
    shares: Mapping[Kind, float] = field(default_factory=lambda: DEFAULT_SHARES)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Refused:
    """A pair that was not kept, and why."""

    pair: Pair
    reason: str


def pairs_of(document: Document, settings: Settings) -> tuple[list[Pair], list[Refused]]:
    """The pairs that the rules find in a document, in its order, and those that are not kept with the reason."""
    outline = Outline(document)
    chunks = chunks_of(outline, settings.chunk_chars)
    language = language_of(document.text, settings.limits.language)
    found: list[Pair] = []
    refused: list[Refused] = []
    for rule in RULES:
        for pair in rule(outline, settings.seed):
            if not settings.shares.get(pair.kind, 0):
                continue
            if any(pair.start < end and start < pair.end for start, end in outline.furniture):
                refused.append(Refused(pair, "page furniture in the answer"))
                continue
            if language == "zh-Hant":
                pair = replace(pair, question=to_traditional(pair.question), answer=_traditional(pair, document.text))
            pair = replace(pair, context=context_of(pair.start, pair.end, chunks, settings.chunk_chars))
            problem = problem_of(pair, outline.document.text, settings.limits)
            (found.append(pair) if problem is None else refused.append(Refused(pair, problem)))
    if settings.style != "closed-book" and settings.shares.get("unanswerable", 0):
        found += _unanswerable(found, chunks, language, settings)
    kept, left = chosen(found, settings)
    refused += [Refused(pair, "over the limit per document") for pair in left]
    return sorted(kept, key=order_of), sorted(refused, key=lambda item: order_of(item.pair))


def _traditional(pair: Pair, text: str) -> str:
    """The answer in Traditional characters where it has words of our own; what is quoted stays as it is."""
    return pair.answer if pair.answer in text else to_traditional(pair.answer)


def order_of(pair: Pair) -> tuple[int, int, str]:
    """Where a pair stands among those of its document."""
    return pair.start, pair.end, pair.question


def problem_of(pair: Pair, text: str, limits: Limits, path: str = "") -> str | None:
    """What keeps a pair out of a document's text; `path` are the headings over it, which it may name too."""
    context = f"{pair.title} {path}\n{text[slice(*pair.context)]}"
    problem = question_problem(pair.question, limits)
    return problem or answer_problem(pair.question, pair.answer, text[pair.start : pair.end], context, limits)


def context_of(start: int, end: int, chunks: Sequence[Chunk], chars: int) -> tuple[int, int]:
    """The slice to show beside a question: the chunk of its evidence, made longer where that goes beyond it."""
    for chunk in chunks:
        if chunk.start <= start < chunk.end:
            return (chunk.start, max(chunk.end, end)) if end - chunk.start <= 2 * chars else (start, end)
    return start, end


def chosen(found: Sequence[Pair], settings: Settings) -> tuple[list[Pair], list[Pair]]:
    """At most `per_document` pairs, the kinds in their shares as far as there are enough; and the rest."""
    if len(found) <= settings.per_document:
        return list(found), []
    queues = {kind: [p for p in found if p.kind == kind] for kind in KINDS}
    for queue in queues.values():
        queue.sort(key=lambda p: chance(settings.seed, "choose", p.question, p.start))
    taken = dict.fromkeys(KINDS, 0)
    for _ in range(settings.per_document):
        open_kinds = [kind for kind in KINDS if taken[kind] < len(queues[kind])]
        # The kind that is furthest behind its share (Sainte-Lague's divisors).
        best = max(open_kinds, key=lambda kind: (settings.shares[kind] / (2 * taken[kind] + 1), -KINDS.index(kind)))
        taken[best] += 1
    kept = [p for kind in KINDS for p in queues[kind][: taken[kind]]]
    return kept, [p for kind in KINDS for p in queues[kind][taken[kind] :]]


def _unanswerable(found: Sequence[Pair], chunks: Sequence[Chunk], language: str, settings: Settings) -> list[Pair]:
    """Questions beside a chunk of the same document that does not answer them, in their share."""
    share = settings.shares["unanswerable"] / sum(settings.shares.values())
    wanted = round(len(found) * share / max(1 - share, 1e-9)) if share < 1 else len(found)
    drawn = _mixed(found, settings.seed)
    passages = [(c, seen_in(c.text)) for c in chunks if len(c.text) > _MIN_PASSAGE]
    made: dict[str, Pair] = {}
    for pair in drawn:
        if len(made) >= wanted:
            break
        chunk = None if pair.question in made else _beside(pair, passages, settings.seed)
        if chunk is not None:
            said = refusal(language, settings.seed, pair.question)
            place = (chunk.start, chunk.end)
            rule = f"{pair.rule}, elsewhere"
            made[pair.question] = Pair("unanswerable", pair.question, said, *place, place, rule, pair.title)
    return list(made.values())


_ASKING = re.compile("什么|多少|哪些|怎样|如何|请问|根据")
_TRIES, _MIN_PASSAGE = 8, 60


def _beside(pair: Pair, passages: Sequence[tuple[Chunk, Seen]], seed: int) -> Chunk | None:
    """A chunk that does not answer a question: the first of some that are drawn."""
    if pair.rule == "section" or not passages:
        return None
    for turn in range(_TRIES):
        chunk, seen = passages[chance(seed, "beside", pair.question, turn) % len(passages)]
        if (chunk.end <= pair.start or chunk.start >= pair.end) and does_not_answer(pair, seen):
            return chunk
    return None


def _mixed(found: Sequence[Pair], seed: int) -> list[Pair]:
    """In an order drawn by the seed in which the rules take turns, so that no frequent one fills all places."""
    drawn = sorted(found, key=lambda p: chance(seed, "unanswerable", p.question))
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, Pair]] = []
    for pair in drawn:
        seen[pair.rule] = seen.get(pair.rule, 0) + 1
        turns.append((seen[pair.rule], len(turns), pair))
    return [pair for *_, pair in sorted(turns, key=lambda turn: turn[:2])]


def does_not_answer(pair: Pair, seen: Seen) -> bool:
    """Whether a text holds next to nothing of what the answer adds to the question, and not all of the question.

    A name or a number of the answer settles it: 批准人 | 陆怀舟 in a table answers who approves as a sentence does.
    """
    question = plain(pair.question)
    names = [plain(name) for name in names_in(pair.answer)]
    numbers = numbers_in(pair.answer) - numbers_in(pair.question)
    if numbers & seen.numbers or any(name in seen.letters for name in names if name and name not in question):
        return False
    added = pairs_of_characters(pair.answer) - pairs_of_characters(pair.question)
    asked = pairs_of_characters(_ASKING.sub("", pair.question))
    return len(added & seen.pairs) <= 0.15 * len(added) and len(asked & seen.pairs) <= 0.6 * len(asked)
