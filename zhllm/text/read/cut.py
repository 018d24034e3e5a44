"""Files of JSON lines in pieces that end at line ends: what several processes can take one each of.

Where a piece begins depends on the file only, so equal files are cut alike in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from zhllm.text.document import Rejected, UnreadableError, sample_of
from zhllm.text.read.records import MAX_RECORD_BYTES, is_json_lines
from zhllm.text.read.sources import SourceFile, kind_of
from zhllm.text.read.streams import Guarded

PIECE_BYTES = 8_000_000
READ_BYTES = 1_000_000
RECORDS = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a file from byte `offset` and line `line` (from 1) on, or in their place what was lost.

    `bytes_on_disk` of the file have been taken in with it since the one before.
    """

    lines: bytes = b""
    offset: int = 0
    line: int = 1
    bytes_on_disk: int = 0
    lost: Rejected | None = None


def opened_lines(file: SourceFile) -> BinaryIO | None:
    """The bytes of a file of JSON lines; None for any other, and for one that cannot be opened."""
    try:
        return file.open() if kind_of(file.name) in RECORDS and is_json_lines(file.open) else None
    except (OSError, UnreadableError):
        return None


class _Stream:
    """A file that ends where it is damaged; `fault` then says how."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self.fault: str | None = None

    def read(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            return b"" if self.fault else self._opened.read1(READ_BYTES)  # type: ignore[attr-defined]
        except UnreadableError as error:
            self.fault = str(error)
        except OSError as error:
            self.fault = f"it cannot be read ({error.strerror or error})"
        return b""

    def read_on(self, held: bytes) -> tuple[bytes, bool]:
        """What is held and what comes next, a piece or more of it, and whether the file may go on after that."""
        pieces, size = [held], len(held)
        while data := self.read():
            pieces.append(data)
            size += len(data)
            if size >= PIECE_BYTES:
                break
        return b"".join(pieces), bool(data)


def pieces_of(file: SourceFile, opened: BinaryIO) -> Iterator[Piece]:
    """An open file of JSON lines in pieces; what cannot be read is lost, what came before it is not."""
    held, offset, line, k, taken = b"", 0, 1, 0, 0
    stream, goes_on = _Stream(opened), True
    while goes_on:
        held, goes_on = stream.read_on(held)
        # What stands behind the last line end of a damaged file is cut off.
        end = (held.rfind(b"\n") + 1) if goes_on or stream.fault else len(held)
        if not end and len(held) > MAX_RECORD_BYTES:
            begins = held[:1000]
            size, held = _skip_line(stream, held)
            if not stream.fault:
                yield Piece(lost=too_long(begins, file.name, offset, line, size))
                offset, line, k = offset + size, line + 1, k + 1
        elif end:
            lines, held = held[:end], held[end:]
            if not lines.isspace():
                now = _position(opened)
                yield Piece(lines, offset, line, now - taken)
                taken, k = now, k + 1
            offset, line = offset + end, line + lines.count(b"\n")
    if stream.fault:
        where = f"after {line - 1} lines {stream.fault}"
        yield Piece(lost=Rejected(file.name, "file", where, offset, line))
    elif not k:
        yield Piece(lost=Rejected(file.name, "skipped", "is empty"))


def too_long(begins: bytes, name: str, offset: int, line: int, size: int) -> Rejected:
    """A line over MAX_RECORD_BYTES that begins so."""
    reason = f"the line has {size:,} bytes, over {MAX_RECORD_BYTES:,}"
    return Rejected(name, "record", reason, offset, line, sample_of(begins))


def _position(opened: BinaryIO) -> int:
    """Bytes on disk that were taken in."""
    raw = getattr(opened, "raw", None)
    return raw.consumed() if isinstance(raw, Guarded) else opened.tell()


def _skip_line(stream: _Stream, held: bytes) -> tuple[int, bytes]:
    """Read on to the end of a line that is too long: its bytes, and what was read beyond it."""
    size = 0
    while b"\n" not in held:
        size += len(held)
        held = stream.read()
        if not held:
            return size, held
    end = held.index(b"\n") + 1
    return size + end, held[end:]
