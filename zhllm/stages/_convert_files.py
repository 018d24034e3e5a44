"""The input of `convert` in portions: what one worker takes at a time.

A file whose lines stand for themselves is cut at line ends, so that one large file keeps all workers busy; other
files are read whole, as a stream. Where a portion begins depends on the input only, so equal inputs give equal
portions in every run, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import orjson

from zhllm.text.document import Rejected, UnreadableError
from zhllm.text.read import cut
from zhllm.text.read.records import MAX_RECORD_BYTES, Record, parse_line
from zhllm.text.read.sources import SourceFile, kind_in, kind_of, walk
from zhllm.text.shapes.alpaca import plain_columns
from zhllm.text.shapes.reading import is_line_by_line, read_units, units_or_rejected
from zhllm.text.shapes.record import Format, Options, Unit
from zhllm.text.shapes.tables import BOOK_KINDS, TABLE_KINDS

# Of a folder; a file that is named itself is read whatever its name.
KINDS = (*cut.RECORDS, *TABLE_KINDS, *BOOK_KINDS, ".parquet")
PORTION_FILES = 200
# Smaller files are taken whole, several at a time.
CUT_BYTES = 1_000_000
# What `convert` wrote: its other files say what became of records and are none.
_CANONICAL = ("chats-*.jsonl", "preferences-*.jsonl")
# A line that long is parsed with all of `parse_line`'s checks.
_LONG_LINE_BYTES = 4_000_000
# Lines that are read together.
_BATCH_LINES = 20_000
_EMPTY_LINES = (b"", b"\xef\xbb\xbf")


@dataclass(slots=True)
class Plain:
    """Successive records of the shape that most large files are made of, read already: questions and answers.

    `line` is that of the first; every one has a line.
    """

    line: int
    asked: Sequence[str]
    answers: Sequence[str]


Item = Unit | Rejected | Plain


@dataclass(frozen=True, slots=True)
class Portion:
    """The number of its (first) file, its own number in it, and the files; `piece` holds the lines of a cut file.

    `bytes_on_disk` of the input have been taken in with it since the one before.
    """

    file: int
    number: int
    files: tuple[SourceFile, ...]
    piece: cut.Piece | None = None
    bytes_on_disk: int = 0

    @property
    def key(self) -> str:
        """The portion's name: sorted, they are in the order of the input."""
        return f"{self.file:07d}-{self.number:07d}"

    def items(self, format: Format, options: Options) -> Iterator[tuple[str, Item]]:
        """Everything in it, each with the name of its file, in order."""
        for file in self.files:
            items = _units(file, format, options) if self.piece is None else _lines(file, self.piece, format, options)
            for item in items:
                yield file.name, item


def _units(file: SourceFile, format: Format, options: Options) -> Iterator[Item]:
    """The units of a whole file; one that is none says why."""
    if file.skip is not None:
        yield Rejected(file.name, "file" if file.is_lost else "skipped", file.skip)
        return
    nothing = True
    try:
        for item in read_units(file, format, options):
            nothing = False
            yield item
    except OSError as error:
        yield Rejected(file.name, "file", f"cannot be read ({error.strerror or error})")
    except UnreadableError as error:
        yield Rejected(file.name, "file", str(error))
    else:
        if nothing:
            yield Rejected(file.name, "skipped", "is empty")


def _lines(file: SourceFile, piece: cut.Piece, format: Format, options: Options) -> Iterator[Item]:
    """The units of a piece of JSON lines: what `read_units` gives of the same lines."""
    if piece.lost is not None:
        yield piece.lost
        return
    may_be_plain = format in ("auto", "alpaca") and not options.columns
    lines, offset = piece.lines.removesuffix(b"\n").split(b"\n"), piece.offset
    for first in range(0, len(lines), _BATCH_LINES):
        batch = lines[first : first + _BATCH_LINES]
        values, line, start = _parsed(batch), piece.line + first, 0
        asked, answers = plain_columns(values if may_be_plain else repeat(None, len(batch)))
        for odd in [number for number, text in enumerate(asked) if not text]:
            yield Plain(line + start, asked[start:odd], answers[start:odd])
            offset += sum(map(len, batch[start:odd])) + odd - start
            start, value, begins = odd + 1, values[odd], offset
            offset += len(batch[odd]) + 1
            if isinstance(value, dict):
                yield from units_or_rejected(Record(line + odd, value, begins), file.name, format, options)
            else:
                yield from _unusual(file, batch[odd], line + odd, begins, format, options)
        yield Plain(line + start, asked[start:], answers[start:])
        offset += sum(map(len, batch[start:])) + len(batch) - start


def _parsed(lines: Sequence[bytes]) -> list[object]:
    """The values of lines without surprises; None for any other, which `parse_line` looks at."""
    try:
        if max(map(len, lines)) <= _LONG_LINE_BYTES:
            return list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        pass
    return list(map(_parsed_line, lines))


def _parsed_line(data: bytes) -> object:
    try:
        return orjson.loads(data) if len(data) <= _LONG_LINE_BYTES else None
    except orjson.JSONDecodeError:
        return None


def _unusual(
    file: SourceFile, written: bytes, line: int, offset: int, format: Format, options: Options
) -> Iterator[Item]:
    """The units of a line that is empty, very long, in another encoding, or no record."""
    if len(written) >= MAX_RECORD_BYTES:
        yield cut.too_long(written, file.name, offset, line, len(written) + 1)
    elif written.strip() not in _EMPTY_LINES:
        found = parse_line(written, file.name, offset, line)
        yield from [found] if isinstance(found, Rejected) else units_or_rejected(found, file.name, format, options)


def files_of(sources: Sequence[Path]) -> Iterator[SourceFile]:
    """The files of the sources in order; what a folder holds besides records is marked as skipped."""
    for source in sources:
        if source.is_dir() and (written := _canonical_files(source)):
            yield from written
            continue
        for file in walk(source):
            if not source.is_dir():
                yield replace(file, skip=None) if file.path.is_file() else file
            elif file.skip is None and kind_in(file) not in KINDS:
                yield replace(
                    file, skip=f"is neither JSON, parquet nor a table ({kind_of(file.name) or 'no extension'})"
                )
            else:
                yield file


def _canonical_files(folder: Path) -> list[SourceFile]:
    """The chats and preferences of a folder that `convert` or `synth` wrote."""
    paths = [path for pattern in _CANONICAL for path in sorted(folder.glob(pattern))]
    return [SourceFile(path, path.name) for path in paths]


def portions_of(sources: Sequence[Path], format: Format) -> Iterator[Portion]:
    """The portions of files and folders in order."""
    number, waiting = 0, list[SourceFile]()
    for file in files_of(sources):
        if _is_cut(file, format):
            if waiting:
                yield _whole(number, waiting)
                number, waiting = number + 1, []
            yield from _pieces(number, file)
            number += 1
            continue
        waiting.append(file)
        if len(waiting) >= PORTION_FILES or sum(map(_size, waiting)) >= cut.PIECE_BYTES:
            yield _whole(number, waiting)
            number, waiting = number + 1, []
    if waiting:
        yield _whole(number, waiting)


def _is_cut(file: SourceFile, format: Format) -> bool:
    """Whether a file is large and made of lines that stand for themselves."""
    if file.skip is not None:
        return False
    try:
        return (file.member is not None or _size(file) >= CUT_BYTES) and is_line_by_line(file, format)
    except (OSError, UnreadableError):
        return False  # reading it says what is wrong


def _pieces(number: int, file: SourceFile) -> Iterator[Portion]:
    with file.open() as opened:
        for k, piece in enumerate(cut.pieces_of(file, opened)):
            yield Portion(number, k, (file,), piece, piece.bytes_on_disk)


def _whole(number: int, files: Sequence[SourceFile]) -> Portion:
    return Portion(number, 0, tuple(files), bytes_on_disk=sum(map(_size, files)))


def _size(file: SourceFile) -> int:
    try:
        return file.path.stat().st_size if file.member is None and file.path.is_file() else 0
    except OSError:
        return 0
