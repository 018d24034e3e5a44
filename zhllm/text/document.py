"""One text and where it came from, and one piece of input that could not become a text.

Readers yield both, in the order of the input, so that whoever reads them can account for everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SAMPLE_CHARS = 120


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its identity; `meta` is a JSON object as text, so that it passes through unread."""

    id: str
    text: str
    source: str
    meta: str = "{}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Input that gave no document: which, where (byte offset and line from 1, if known) and why.

    `kind` says what was lost: a "file" (the rest of it), one "record", or nothing because the file
    was "skipped" (not a document).
    """

    file: str
    kind: Literal["file", "record", "skipped"]
    reason: str
    offset: int | None = None
    line: int | None = None
    sample: str = ""

    def where(self) -> str:
        """`file:line` or `file (byte N)`, as error messages name a place."""
        if self.line is not None:
            return f"{self.file}:{self.line}"
        return self.file if self.offset is None else f"{self.file} (byte {self.offset})"


Item = Document | Rejected


def sample_of(data: bytes | str) -> str:
    """The first characters of some input in one line, safe to store and print."""
    text = data[: SAMPLE_CHARS * 4].decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    text = text[:SAMPLE_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text).strip()
