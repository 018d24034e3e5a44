"""One text and where it came from, and one piece of input that could not become a text.

Readers yield both, in the order of the input, so that whoever reads them can account for everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

SAMPLE_CHARS = 120
# A file of nothing but headings would make its list larger than its text.
MAX_MARKS = 5000


class UnreadableError(ValueError):
    """A file that cannot become a document; the message is the reason, fit to follow the file's name."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its identity; `meta` is a JSON object as text, so that it passes through unread."""

    id: str
    text: str
    source: str
    meta: str = "{}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """The text of one file and what its format tells about it (see `meta_of`)."""

    text: str
    meta: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Input that gave no document: which, where (byte offset and line from 1, if known) and why.

    `kind` says what was lost: a "file" (the rest of it), one "record", or nothing because the file
    was "skipped" (not a document), or parts that are no documents and were "left out", as the reason counts.
    `field` is the path of what is wrong in a record, where that is known.
    """

    file: str
    kind: Literal["file", "record", "skipped", "left out"]
    reason: str
    offset: int | None = None
    line: int | None = None
    sample: str = ""
    field: str = ""

    def where(self) -> str:
        """`file:line` or `file (byte N)`, as error messages name a place."""
        if self.line is not None:
            return f"{self.file}:{self.line}"
        return self.file if self.offset is None else f"{self.file} (byte {self.offset})"


Item = Document | Rejected

_OFFSETS = ("headings", "headings_left_out", "pages")


def without_offsets(meta: str) -> str:
    """Metadata without what the readers tell of places in the text, for a text that is not the same any more."""
    if not any(key in meta for key in _OFFSETS):
        return meta
    try:
        values = orjson.loads(meta)
    except orjson.JSONDecodeError:  # a column of somebody's own in a parquet file
        return meta
    if not isinstance(values, dict):
        return meta
    places = [key for key in _OFFSETS[::2] if isinstance(values.get(key), list)]  # a number of pages stays
    gone = {*places, *(_OFFSETS[1:2] if "headings" in places else ())}
    return json_of({key: value for key, value in values.items() if key not in gone}) if gone else meta


class Marks:
    """The headings of a text as [level from 1, offset into the text]; the first MAX_MARKS are kept."""

    def __init__(self) -> None:
        self.kept: list[list[int]] = []
        self.left_out = 0

    def add(self, level: int, offset: int) -> None:
        """Remember a heading."""
        if len(self.kept) < MAX_MARKS:
            self.kept.append([level, offset])
        else:
            self.left_out += 1


def meta_of(headings: Marks | None = None, **values: object) -> dict[str, object]:
    """What a format tells about a text, as compact JSON values; what is empty is left out."""
    meta = {name: value for name, value in values.items() if value}
    if headings is not None and headings.kept:
        meta["headings"] = headings.kept
        if headings.left_out:
            meta["headings_left_out"] = headings.left_out
    return meta


def json_of(meta: dict[str, object]) -> str:
    """`meta` as JSON text."""
    return orjson.dumps(meta, default=str).decode() if meta else "{}"


def sample_of(data: bytes | str) -> str:
    """The first characters of some input in one line, safe to store and print."""
    text = data[: SAMPLE_CHARS * 4].decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    text = text[:SAMPLE_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")
    return text.strip() if text.isprintable() else "".join(c if c.isprintable() else " " for c in text).strip()
