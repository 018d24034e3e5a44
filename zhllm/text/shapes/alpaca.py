"""Alpaca records, which BELLE, Firefly and many others follow: an instruction, perhaps an input, an output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zhllm.text.prompt_format import Message
from zhllm.text.shapes.record import FieldError, checked_text, text_of


def alpaca_messages(value: dict[str, Any]) -> tuple[Message, ...]:
    """The chat of an Alpaca record: system, history, then instruction and input against output."""
    messages = []
    system = text_of(value, "system")
    if system:
        messages.append({"role": "system", "content": system})
    for question, answer in history_of(value):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    asked = "\n".join(part for part in (text_of(value, "instruction"), text_of(value, "input")) if part)
    if not asked:
        raise FieldError("instruction", "is empty, and so is input")
    answer = text_of(value, "output")
    if not answer:
        raise FieldError("output", "is empty" if "output" in value else "is missing")
    return (*messages, {"role": "user", "content": asked}, {"role": "assistant", "content": answer})


def history_of(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each earlier [question, answer] of a record."""
    history = value.get("history") or []
    if not isinstance(history, list):
        raise FieldError("history", f"is {type(history).__name__}, not a list of [question, answer]")
    for i, turn in enumerate(history):
        if not isinstance(turn, list) or len(turn) != 2:
            raise FieldError(f"history[{i}]", "is not [question, answer]")
        question, answer = (checked_text(text, f"history[{i}][{j}]") for j, text in enumerate(turn))
        if not question or not answer:
            raise FieldError(f"history[{i}]", "holds an empty text")
        yield question, answer
