"""The input of `clean` in portions of a few megabytes: what one worker takes at a time.

Where a portion begins depends on the input only, never on how many workers there are, so its number names
the same documents in every run: on one machine, on a cluster, and after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from zhllm.errors import DataError
from zhllm.text.document import Document, Item, Rejected
from zhllm.text.read.cut import PIECE_BYTES, RECORDS, opened_lines, pieces_of, too_long
from zhllm.text.read.records import MAX_RECORD_BYTES, parse_line
from zhllm.text.read.shards import document_files
from zhllm.text.read.sources import Keys, SourceFile, document_of, kind_of, read_file

PORTION_ITEMS = 20_000
# Bytes of other formats that become documents only in the worker: a PDF or a Word file is mostly pictures.
PORTION_FILES = 200
# Formats that may hold any number of documents, so that they are cut while they are read.
_STREAMED = (*RECORDS, ".parquet", ".csv", ".tsv", ".xml")
# A line that long is parsed by itself, with all of `parse_line`'s checks.
_LONG_LINE_BYTES = 4_000_000
_IDENTITIES = (str, int, type(None))


@dataclass(frozen=True, slots=True)
class Portion:
    """One file's number, the portion's number in it, and what to read: JSON lines, files, or what was read.

    `bytes_on_disk` of the input have been taken in with it since the one before.
    """

    file: int
    number: int
    name: str = ""
    lines: bytes = b""
    offset: int = 0
    line: int = 1
    files: tuple[SourceFile, ...] = ()
    items: list[Item] = field(default_factory=list)
    bytes_on_disk: int = 0

    @property
    def key(self) -> str:
        """The portion's name: sorted, they are in the order of the input."""
        return f"{self.file:07d}-{self.number:07d}"

    def read(self, keys: Keys) -> Iterator[Item]:
        """The documents of the portion, and what could not be read, in order."""
        yield from self.items
        if self.lines:
            yield from _read_lines(self, keys)
        for file in self.files:
            yield from read_file(file, keys)


def _read_lines(portion: Portion, keys: Keys) -> Iterator[Item]:
    """The records of JSON lines: those of the usual form quickly, all others by `parse_line`."""
    data, name, start, line = portion.lines, portion.name, 0, portion.line
    view = memoryview(data)
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        document = _usual(view[start:end], name, line, keys) if end - start < _LONG_LINE_BYTES else None
        if document is not None:
            yield document
        elif not (written := data[start:end]).isspace():
            yield from _unusual(written.removesuffix(b"\n"), name, portion.offset + start, line, keys, end - start)
        start, line = end, line + 1


def _usual(data: memoryview, name: str, line: int, keys: Keys) -> Document | None:
    """The document of a record with a text and no surprises; orjson gives no lone surrogates."""
    try:
        value = orjson.loads(data)
        text, identity = value.pop(keys.text), value.pop(keys.id, None)
    except (ValueError, KeyError, AttributeError, TypeError):  # no JSON, no text, no object
        return None
    if type(text) is not str or type(identity) not in _IDENTITIES:
        return None
    identity = f"{name}#{line}" if identity in (None, "") else str(identity)
    return Document(identity, text, name, orjson.dumps(value).decode() if value else "{}")


def _unusual(data: bytes, name: str, offset: int, line: int, keys: Keys, size: int) -> Iterator[Item]:
    """What `records.read_records` would give; `size` is the line's with its end."""
    if size > MAX_RECORD_BYTES:
        yield too_long(data, name, offset, line, size)
        return
    if data.strip() in (b"", b"\xef\xbb\xbf"):
        return
    record = parse_line(data, name, offset, line)
    yield record if isinstance(record, Rejected) else document_of(record, name, keys)


def portions_of(paths: Sequence[Path], keys: Keys) -> Iterator[Portion]:
    """The portions of files and folders in order; each file's are read as a stream."""
    number = 0
    waiting: list[SourceFile] = []
    for path in paths:
        files = document_files(path)
        if not any(file.skip is None for file in files):
            raise DataError(f"{path}: holds no documents. Give documents, or a folder of collect or clean.")
        for file in files:
            if file.skip is None and kind_of(file.name) in _STREAMED:
                if waiting:
                    yield _of_files(number, waiting)
                    number, waiting = number + 1, []
                yield from _of_stream(number, file, keys)
                number += 1
                continue
            waiting.append(file)
            if len(waiting) >= PORTION_FILES or _is_much(waiting):
                yield _of_files(number, waiting)
                number, waiting = number + 1, []
    if waiting:
        yield _of_files(number, waiting)


def _is_much(files: Sequence[SourceFile]) -> bool:
    return sum(map(_size, files)) >= 2 * PIECE_BYTES


def _size(file: SourceFile) -> int:
    return file.path.stat().st_size if file.member is None and file.path.is_file() else 0


def _of_files(number: int, files: Sequence[SourceFile]) -> Portion:
    return Portion(number, 0, files=tuple(files), bytes_on_disk=sum(map(_size, files)))


def _of_stream(number: int, file: SourceFile, keys: Keys) -> Iterator[Portion]:
    """The portions of a file that holds any number of documents."""
    opened = opened_lines(file)
    if opened is None:
        yield from _of_items(number, read_file(file, keys), _size(file))
        return
    with opened:
        for k, piece in enumerate(pieces_of(file, opened)):
            if piece.lost is not None:
                yield Portion(number, k, items=[piece.lost])
            else:
                taken = piece.bytes_on_disk
                yield Portion(number, k, file.name, piece.lines, piece.offset, piece.line, bytes_on_disk=taken)


def _of_items(number: int, items: Iterable[Item], size: int) -> Iterator[Portion]:
    """What was read here already, about as much at a time as of JSON lines."""
    waiting: list[Item] = []
    chars = k = 0
    for item in items:
        waiting.append(item)
        chars += len(item.text) if isinstance(item, Document) else 0
        if chars >= PIECE_BYTES // 3 or len(waiting) >= PORTION_ITEMS:
            yield Portion(number, k, items=waiting)
            waiting, chars, k = [], 0, k + 1
    if waiting or not k:
        yield Portion(number, k, items=waiting, bytes_on_disk=size)
