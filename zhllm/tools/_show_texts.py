"""Records as `show` shows them: documents, chats, preferences with what their answers differ in, rejects, others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os.path import commonprefix
from typing import Any

from zhllm.page import compared
from zhllm.text.chats import message_problem
from zhllm.tools._show_view import Block, Span, Text, Words

# Longer parts between two answers' common beginning and end are marked as a whole: finding what they share takes
# time that grows with the square of their length.
_COMPARED_CHARS = 3000


def is_chat(record: dict[str, Any]) -> bool:
    """Whether a record is meant as a canonical chat."""
    return isinstance(record.get("messages"), list)


def is_preference(record: dict[str, Any]) -> bool:
    """Whether a record is meant as a canonical preference."""
    return isinstance(record.get("prompt"), list) and {"chosen", "rejected"} <= record.keys()


def record_blocks(record: dict[str, Any], max_chars: int | None) -> Iterator[Block]:
    """One record, long texts cut after `max_chars` characters with a word about it (None: never)."""
    if is_preference(record):
        yield from _preference(record)
    elif is_chat(record):
        yield from _chat(record, max_chars)
    else:
        yield from _values(record, (), max_chars)


def not_canonical(record: dict[str, Any], place: str) -> Words | None:
    """What keeps the chat from being canonical, in words."""
    problem = message_problem(record["messages"])
    return Words(f"{place}: is not a canonical chat: {problem}. Run zhllm convert.", True) if problem else None


def identity_blocks(record: dict[str, Any], shown: tuple[str, ...]) -> Iterator[Block]:
    """What a record says of itself beside what is `shown` of it."""
    yield from _values(record, shown, None)


def _values(record: dict[str, Any], without: tuple[str, ...], max_chars: int | None) -> Iterator[Block]:
    for key, value in record.items():
        if key not in without:
            yield from labelled(key, value, max_chars)


def labelled(label: str, value: Any, max_chars: int | None) -> Iterator[Block]:
    """A value under its name, as JSON where it is no text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    cut = text if max_chars is None else text[:max_chars]
    yield Text(label, (Span(cut),))
    if len(cut) < len(text):
        yield Words(f"… {len(text) - len(cut):,} more characters (--chars 0 shows all)")


def _chat(record: dict[str, Any], max_chars: int | None) -> Iterator[Block]:
    yield from _values(record, ("messages",), None)
    yield from _turns(record["messages"], max_chars)


def _turns(messages: list[Any], max_chars: int | None) -> Iterator[Block]:
    for message in messages:
        if not isinstance(message, dict):
            yield from labelled("?", message, max_chars)
            continue
        extra = {key: value for key, value in message.items() if key not in ("role", "content")}
        role = str(message.get("role", "?")) + (f" {json.dumps(extra, ensure_ascii=False, default=str)}" * bool(extra))
        yield from labelled(role, message.get("content"), max_chars)


def _preference(record: dict[str, Any]) -> Iterator[Block]:
    yield from _values(record, ("prompt", "chosen", "rejected"), None)
    yield from _turns(record["prompt"], None)
    chosen, rejected = record["chosen"], record["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        before, after = _difference(rejected, chosen)
        yield Text("chosen", after)
        yield Text("rejected", before)
        if chosen == rejected:
            yield Words("chosen and rejected are the same", is_alarm=True)
    elif isinstance(chosen, str):
        yield Text("chosen (a label: good)", (Span(chosen, "chosen"),))
    elif isinstance(rejected, str):
        yield Text("rejected (a label: bad)", (Span(rejected, "rejected"),))
    else:
        yield Words("is not a canonical preference: neither chosen nor rejected is a text. Run zhllm convert.", True)


def _difference(rejected: str, chosen: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Both answers in stretches, those that only one of them has marked."""
    before, after = [], []
    for is_equal, gone, new in _stretches(rejected, chosen):
        before.append(Span(gone, "rejected" if is_equal else "rejected-only"))
        after.append(Span(new, "chosen" if is_equal else "chosen-only"))
    return tuple(s for s in before if s.text), tuple(s for s in after if s.text)


def _stretches(one: str, other: str) -> list[tuple[bool, str, str]]:
    start = len(commonprefix([one, other]))
    tail = len(commonprefix([one[start:][::-1], other[start:][::-1]]))
    end, other_end = len(one) - tail, len(other) - tail
    if max(end, other_end) - start <= _COMPARED_CHARS:
        return compared(one, other)
    return [(True, one[:start], other[:start]), (False, one[start:end], other[start:other_end]),
            (True, one[end:], other[other_end:])]  # fmt: skip
