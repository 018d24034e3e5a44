"""Records and files through the shapes, without the stage, for tests of every shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zhllm.text.chats import Chat
from zhllm.text.document import Rejected
from zhllm.text.read.records import Record
from zhllm.text.read.sources import SourceFile
from zhllm.text.shapes.converting import converted
from zhllm.text.shapes.reading import read_units, units_of
from zhllm.text.shapes.record import Converted, FieldError, Options, identity_of


def made(value: dict[str, Any], format: Any = "auto", **options: Any) -> Converted:
    """What a record becomes that is one unit."""
    (unit,) = units_of(Record(7, value), format, Options(**options))
    return converted(unit, identity_of(value, "a#7"), "a.jsonl", Options(**options))


def turns(chat: Chat) -> list[tuple[str, str]]:
    """(first letter of the role, text) of each message; context only answers are in brackets."""
    return [(m["role"][0], f"({m['content']})" if m.get("weight") == 0 else m["content"]) for m in chat.messages]


def only_turns(value: dict[str, Any], format: Any = "auto", **options: Any) -> list[tuple[str, str]]:
    """The turns of the one chat of a record."""
    (chat,) = made(value, format, **options).chats
    return turns(chat)


def refused(value: dict[str, Any], field: str, reason: str, format: Any = "auto") -> None:
    """Check that a record is refused for a field, with a reason that begins so."""
    with pytest.raises(FieldError) as caught:
        made(value, format)
    assert caught.value.field == field
    assert caught.value.reason.startswith(reason), caught.value.reason


def read(path: Path, format: Any = "auto", **options: Any) -> tuple[list[Converted], list[tuple[Any, ...]]]:
    """What the units of a file become, and (line, field, reason) of what is refused."""
    good, bad = [], []
    file = SourceFile(path, path.name)
    for unit in read_units(file, format, Options(**options)):
        if isinstance(unit, Rejected):
            bad.append((unit.line, unit.field, unit.reason))
            continue
        try:
            good.append(
                converted(unit, identity_of(unit.value, f"{path.name}#{unit.line}"), path.name, Options(**options))
            )
        except FieldError as error:
            bad.append((unit.line, error.field, error.reason))
    return good, bad


def write_lines(path: Path, values: list[Any]) -> Path:
    """Values as JSON lines."""
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8")
    return path
