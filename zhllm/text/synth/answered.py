"""Pairs from what a language model answered about a chunk: parsed, located, checked like every other pair."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zhllm.text.synth.answers import Answer, answers_in
from zhllm.text.synth.chunks import Chunk
from zhllm.text.synth.grounding import locate, question_problem, unanswerable_problem
from zhllm.text.synth.outline import Outline
from zhllm.text.synth.pairs import KINDS, Kind, Pair, language_of, refusal
from zhllm.text.synth.rules import Refused, Settings, problem_of
from zhllm.text.synth.rules_section import kind_of

_NOTHING = re.compile(r"(?:无|没有|不适用|none|n/?a|null|unanswerable|无法回答|-)?[。.]?", re.IGNORECASE)


def pairs_from(
    text: str, chunk: Chunk, outline: Outline, asked: Sequence[Kind], settings: Settings
) -> tuple[list[Pair], list[Refused]]:
    """The pairs of one answer that hold, and what does not with the reason; `asked` are the kinds of the request."""
    found: list[Pair] = []
    refused: list[Refused] = []
    for answer in answers_in(text):
        if isinstance(answer, str):
            refused.append(Refused(_pair(Answer("", ""), "factual", chunk, outline), answer))
            continue
        kind = _kind_of(answer, asked)
        pair = _pair(answer, kind, chunk, outline)
        problem, pair = _checked(pair, answer, chunk, outline, settings)
        if problem is None:
            found.append(pair)
        else:
            refused.append(Refused(pair, problem))
    return found, refused


def _pair(answer: Answer, kind: Kind, chunk: Chunk, outline: Outline) -> Pair:
    place = (chunk.start, chunk.end)
    return Pair(kind, answer.question, answer.answer, *place, place, "model", outline.title)


def _kind_of(answer: Answer, asked: Sequence[Kind]) -> Kind:
    named = next((kind for kind in KINDS if kind == answer.kind.lower()), None)
    if _NOTHING.fullmatch(answer.answer) or named == "unanswerable":
        return "unanswerable"
    guessed = named or kind_of(answer.question)
    return guessed if named or guessed in asked else asked[0]


def _checked(pair: Pair, answer: Answer, chunk: Chunk, outline: Outline, settings: Settings) -> tuple[str | None, Pair]:
    """(why the pair cannot be kept or None, the pair with its evidence located)."""
    limits, text = settings.limits, outline.document.text
    if pair.kind == "unanswerable":
        if settings.style == "closed-book" or not settings.shares.get("unanswerable", 0):
            return "unanswerable in a closed book", pair
        problem = question_problem(pair.question, limits)
        problem = problem or unanswerable_problem(pair.question, f"{' '.join(chunk.path)}\n{chunk.text}")
        language = language_of(text, limits.language)
        said = refusal(language, settings.seed, pair.question)
        return problem, _with(pair, answer=said, place=(chunk.start, chunk.end))
    place = locate(answer.evidence, chunk.text) if answer.evidence else None
    if place is None:
        return "no evidence" if not answer.evidence else "evidence is not in the text", pair
    pair = _with(pair, answer=pair.answer, place=(chunk.start + place[0], chunk.start + place[1]))
    return problem_of(pair, text, limits, " ".join(chunk.path)), pair


def _with(pair: Pair, answer: str, place: tuple[int, int]) -> Pair:
    return Pair(pair.kind, pair.question, answer, *place, pair.context, pair.rule, pair.title)
