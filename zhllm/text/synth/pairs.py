"""One question with its answer and its evidence, and the chats it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import xxhash

from zhllm.text.prompt_format import Message
from zhllm.text.script import MIN_TRADITIONAL_SHARE, to_traditional, traditional_characters

Kind = Literal["factual", "procedure", "definition", "comparison", "unanswerable"]
Style = Literal["closed-book", "grounded", "both"]
KINDS: tuple[Kind, ...] = ("factual", "procedure", "definition", "comparison", "unanswerable")

_ASKED = {
    "zh": (
        "请根据下面的材料回答问题。\n\n材料：\n{text}\n\n问题：{question}",
        "阅读以下内容，然后回答问题。\n\n{text}\n\n问题：{question}",
        "{text}\n\n请依据以上内容回答：{question}",
        "问题：{question}\n\n回答时只依据下面的材料：\n{text}",
    ),
    "en": (
        "Answer the question from the passage.\n\nPassage:\n{text}\n\nQuestion: {question}",
        "Read the passage and answer the question.\n\n{text}\n\nQuestion: {question}",
    ),
}
REFUSALS = {
    "zh": (
        "材料中没有提到这一点，无法根据材料回答这个问题。",
        "根据所给的材料，无法回答这个问题：其中没有相关的内容。",
        "所给材料没有涉及这个问题，因此无法据此作答。",
    ),
    "en": (
        "The passage does not say, so the question cannot be answered from it.",
        "This cannot be answered from the passage: it holds nothing about it.",
    ),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer; the evidence is the slice [start, end) of the document's text.

    `context` is the slice that a grounded chat shows; `rule` says what made the pair.
    """

    kind: Kind
    question: str
    answer: str
    start: int
    end: int
    context: tuple[int, int]
    rule: str
    title: str = ""


def chance(seed: int, *parts: object) -> int:
    """A number that depends on nothing but its arguments: the same on every machine and in every order."""
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, (seed, *parts))).encode("utf-8", "surrogatepass"))


def refusal(language: str, seed: int, question: str) -> str:
    """The words of an answer to what a text does not say."""
    known = _in_script(REFUSALS, language)
    return known[chance(seed, "refusal", question) % len(known)]


def language_of(text: str, language: str) -> str:
    """Of a text that is to be asked about in `language`: "en", "zh", or "zh-Hant" for Traditional Chinese."""
    if language == "en":
        return "en"
    found = sum(map(text.count, traditional_characters().intersection(text)))
    return "zh-Hant" if found >= MIN_TRADITIONAL_SHARE * max(len(text), 1) else "zh"


def _in_script(words: Mapping[str, tuple[str, ...]], language: str) -> tuple[str, ...]:
    if language == "zh-Hant":
        return tuple(map(to_traditional, words["zh"]))
    return words[language]


def messages_of(pair: Pair, text: str, style: Style, language: str, seed: int) -> Iterator[tuple[str, list[Message]]]:
    """(style, messages) of the chats of a pair from its document's text; a refusal needs its text beside it."""
    if style != "grounded" and pair.kind != "unanswerable":
        yield "closed-book", [_said("user", pair.question), _said("assistant", pair.answer)]
    if style != "closed-book":
        ways = _in_script(_ASKED, language)
        way = ways[chance(seed, "asked", pair.question) % len(ways)]
        asked = way.format(text=text[slice(*pair.context)].strip(), question=pair.question)
        yield "grounded", [_said("user", asked), _said("assistant", pair.answer)]


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def meta_of(pair: Pair, text: str, style: str, document: str, language: str) -> dict[str, Any]:
    """What a chat's `meta` keeps: the evidence as it stands in the document and how the pair was made."""
    evidence = {"document": document, "text": text[pair.start : pair.end], "start": pair.start}
    if pair.title:
        evidence["title"] = pair.title
    return {"evidence": evidence, "kind": pair.kind, "style": style, "rule": pair.rule, "language": language}
