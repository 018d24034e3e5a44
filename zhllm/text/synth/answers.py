"""What a language model wrote, read leniently: JSON in fences, after thoughts, cut off, or with words around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
# A comma before a closing bracket, the most frequent slip.
_TRAILING = re.compile(r",(\s*[}\]])")
_DECODER = json.JSONDecoder(strict=False)  # line ends inside strings
# Why an answer gives no pair at all.
NO_JSON, NO_WORDS, ONLY_THOUGHTS = "no JSON in the answer", "the answer is empty", "the answer holds thoughts only"
_KEYS = {
    "question": ("question", "问题", "q", "instruction", "query"),
    "answer": ("answer", "答案", "回答", "a", "output", "response"),
    "evidence": ("evidence", "证据", "依据", "原文", "quote", "context", "span"),
    "kind": ("kind", "type", "类型", "类别"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, its answer and the quoted evidence as a model gave them; "" where it gave none."""

    question: str
    answer: str
    evidence: str = ""
    kind: str = ""


def answers_in(text: str) -> list[Answer | str]:
    """Every pair in a model's words, or the reason why an object is none; a reason alone where there is nothing."""
    said = _THOUGHT.sub("", text)
    objects = list(_objects(said))
    if not objects:
        return [NO_JSON if said.strip() else NO_WORDS if not text.strip() else ONLY_THOUGHTS]
    return [_answer(found) for found in objects]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects that hold a question, at any depth; of a list that was cut off, those that are whole."""
    at = 0
    while found := _OPENING.search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, found.start())
        except (json.JSONDecodeError, RecursionError):
            value, at = _mended(text, found.start())
        if value is not None:
            yield from _flat(value)


def _mended(text: str, start: int) -> tuple[Any, int]:
    """The same with trailing commas taken out, as far as one object goes; (None, next place) where it is none."""
    if text[start] == "{":
        end = text.find("}", start)
        while 0 <= end - start <= 8000:
            try:
                return _DECODER.decode(_TRAILING.sub(r"\1", text[start : end + 1])), end + 1
            except (json.JSONDecodeError, RecursionError):
                end = text.find("}", end + 1)
    return None, start + 1


def _flat(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        if any(key in value for key in _KEYS["question"]):
            yield value
        else:
            for item in value.values():
                yield from _flat(item)


def _answer(value: dict[str, Any]) -> Answer | str:
    texts = {name: _text(value, keys) for name, keys in _KEYS.items()}
    missing = [name for name in ("question", "answer") if not texts[name]]
    return f"no {missing[0]} in the answer" if missing else Answer(**texts)


def _text(value: dict[str, Any], keys: tuple[str, ...]) -> str:
    found = next((value[key] for key in keys if value.get(key)), "")
    if isinstance(found, list):
        found = "\n".join(str(item) for item in found)
    return str(found).strip() if isinstance(found, (str, int, float)) else ""
