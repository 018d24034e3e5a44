"""Which shape a record has, by its keys alone."""

from __future__ import annotations

from typing import Any

from zhllm.text.shapes.record import FieldError, Shape


def recognise(value: dict[str, Any]) -> Shape:
    """The shape of a record by its keys; raises FieldError where it is none of the known ones."""
    if isinstance(value.get("prompt"), dict):
        return "oasst"
    if "replies" in value and "text" in value:
        return "oasst-messages"
    if "instruction" in value and "chosen" not in value:
        return "alpaca"
    keys = ", ".join(list(value)[:8]) or "none"
    raise FieldError("", f"neither alpaca (instruction, output) nor oasst (prompt, replies); keys: {keys}")
