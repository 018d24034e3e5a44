"""JSON records from any file that holds some: JSON lines, a JSON list, or one object; also gzipped.

What the file holds decides, not its extension. A line that is not JSON costs that line only.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from zhllm.text.decode import DecodeError, decode
from zhllm.text.document import Rejected, sample_of

# A line of 64 MB is a broken file or a bomb; a book is 2 MB. The cap keeps memory bounded.
MAX_RECORD_BYTES = 64_000_000
MAX_FILE_BYTES = 1_000_000_000
_PEEK_BYTES = 65_536
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object and the line (from 1) it begins on."""

    line: int
    value: dict[str, Any]


class TooLargeError(ValueError):
    """A file larger, once decompressed, than what is read as a whole."""


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, decompressed where it is gzip (by its first bytes, not its name)."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if is_gzip else path.open("rb")


def read_whole(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a file, decompressed; raises TooLargeError above `max_bytes` (a gzip bomb)."""
    with open_bytes(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLargeError(f"is larger than {max_bytes:,} bytes; split it, or give it as JSON lines")
    return data


def read_records(path: Path, name: str) -> Iterator[Record | Rejected]:
    """Every JSON object of a file in order, and every line or part that is none."""
    try:
        with open_bytes(path) as file:
            head = file.read(_PEEK_BYTES)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_one_value(head):
            yield from _read_value(read_whole(path), name)
        else:
            yield from _read_lines(path, name)
    except _GZIP_ERRORS as error:
        yield Rejected(name, "file", f"its gzip data is damaged ({error})")
    except TooLargeError as error:
        yield Rejected(name, "file", str(error))


def _is_one_value(head: bytes) -> bool:
    """Whether a file beginning so is one JSON value (a list, an indented object), not JSON lines."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        return True
    if not start.startswith(b"{"):
        return False
    lines = [line for line in start.split(b"\n")[:-1] if line.strip()][:3]
    # One sound line says JSON lines, so that a broken first one costs itself only; `{` alone and
    # `"a": [` are the lines of one indented value.
    return bool(lines) and not any(_is_object(line) for line in lines)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _read_lines(path: Path, name: str) -> Iterator[Record | Rejected]:
    offset = line = 0
    with open_bytes(path) as file:
        while True:
            try:
                data = file.readline(MAX_RECORD_BYTES + 1)
                size = len(data)
                if size > MAX_RECORD_BYTES:
                    size += _skip_line(file)
            except _GZIP_ERRORS as error:
                reason = f"its gzip data is damaged after {line} lines ({error})"
                yield Rejected(name, "file", reason, offset, line + 1)
                return
            if not data:
                return
            line += 1
            if size > MAX_RECORD_BYTES:
                reason = f"the line has {size:,} bytes, over {MAX_RECORD_BYTES:,}"
                yield Rejected(name, "record", reason, offset, line, sample_of(data))
            elif data.strip() and data.strip() != b"\xef\xbb\xbf":
                yield _parse_line(data, name, offset, line)
            offset += size


def _skip_line(file: BinaryIO) -> int:
    """Read on to the end of a line that is too long; its further bytes."""
    skipped = 0
    while data := file.readline(1_000_000):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped


def _parse_line(data: bytes, name: str, offset: int, line: int) -> Record | Rejected:
    try:
        value = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        try:
            value = orjson.loads(decode(data)[0])
        except DecodeError as undecodable:
            return Rejected(name, "record", str(undecodable), offset + undecodable.offset, line, sample_of(data))
        except orjson.JSONDecodeError:
            return Rejected(name, "record", f"is not JSON: {error.msg}", offset, line, sample_of(data))
    if not isinstance(value, dict):
        reason = f"is a JSON {type(value).__name__}, not an object"
        return Rejected(name, "record", reason, offset, line, sample_of(data))
    return Record(line, value)


def _read_value(data: bytes, name: str) -> Iterator[Record | Rejected]:
    try:
        text = decode(data)[0]
    except DecodeError as error:
        line = data.count(b"\n", 0, error.offset) + 1
        yield Rejected(name, "file", str(error), error.offset, line, sample_of(data[error.offset - 20 :]))
        return
    if not text.lstrip().startswith("["):
        yield from _read_stream(text, name, _space_end(text, 0), 1, closing="")
    else:
        yield from _read_stream(text, name, text.index("[") + 1, 1, closing="]")


def _space_end(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _read_stream(text: str, name: str, position: int, line: int, closing: str) -> Iterator[Record | Rejected]:
    """Values one after another, with or without commas between; a syntax error ends the file.

    json's own decoder and not orjson: only it says where each value ends, so each gets its line.
    """
    decoder = json.JSONDecoder()
    counted = 0
    while True:
        position = _space_end(text, position)
        if text.startswith(",", position) and closing:
            position = _space_end(text, position + 1)
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text) or text.startswith("]", position):
            if position >= len(text) and closing:
                yield Rejected(name, "file", "the JSON list has no end: the file is cut off", line=line)
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            reason = f"is not JSON: {error}"
            yield Rejected(name, "file", reason, line=line, sample=sample_of(text[position:]))
            return
        if isinstance(value, dict):
            yield Record(line, value)
        else:
            reason = f"is a JSON {type(value).__name__}, not an object"
            yield Rejected(name, "record", reason, line=line, sample=sample_of(text[counted:position]))
