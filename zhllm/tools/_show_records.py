"""Records out of large files: the first ones, a seeded choice, or those that match, in bounded memory.

Files are read as streams, parquet a few rows at a time, so the first records of any file are there at once.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from zhllm.errors import DataError
from zhllm.text.document import Document, Rejected
from zhllm.text.read.json_values import Record
from zhllm.text.read.records import MAX_RECORD_BYTES, is_json_lines, parse_line, read_records
from zhllm.text.read.sources import READERS, RECORD_KINDS, Keys, SourceFile, kind_of, read_file
from zhllm.text.read.streams import open_bytes
from zhllm.text.read.tables import Row, read_csv

JSON_KINDS = (".jsonl", ".ndjson", ".json")
# Rows that are unpacked together: a row may be a book.
BATCH_ROWS = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Which records: `count` of those that match, the first ones or a choice that depends on `seed` alone."""

    count: int
    seed: int | None = None
    identity: str | None = None
    pattern: re.Pattern[str] | None = None
    reason: str | None = None

    @property
    def is_filter(self) -> bool:
        """Whether a record has to match anything."""
        return not (self.identity is None and self.pattern is None and self.reason is None)

    def matches(self, record: dict[str, Any]) -> bool:
        """Whether the id is the one asked for, some text in it matches, and the reason holds what was given."""
        if self.identity is not None and str(record.get("id")) != self.identity:
            return False
        if self.reason is not None and self.reason not in str(record.get("reason", "")):
            return False
        return self.pattern is None or any(map(self.pattern.search, texts_of(record)))


@dataclass(frozen=True)
class Placed:
    """A record and where it stands, as `file:line` or `file, row N`."""

    place: str
    record: dict[str, Any]


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a record, also of its lists and objects; numbers as they are written."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)
    elif value is not None:
        yield str(value)


def is_readable(file: Path) -> bool:
    """Whether the file's name says that records or documents are in it."""
    return kind_of(file.name) in READERS or kind_of(file.name) in JSON_KINDS


def has_records(file: Path) -> bool:
    """Whether the file's name says that it may hold many records; any other is one document."""
    return kind_of(file.name) in RECORD_KINDS


def chosen(files: Sequence[Path], query: Query) -> Iterator[Placed]:
    """The records asked for, in the order of the files; DataError at one that cannot be read."""
    if query.seed is not None and not query.is_filter:
        if all(kind_of(file.name) == ".parquet" for file in files):
            yield from _sampled_rows(files, query.count, query.seed)
            return
        if all(_has_lines(file) for file in files):
            lines = ((file, *line) for file in files for line in _lines(file))
            yield from (_parsed(*line) for line in reservoir(lines, query.count, query.seed))
            return
    found = (one for file in files for one in _read(file) if not query.is_filter or query.matches(one.record))
    yield from islice(found, query.count) if query.seed is None else reservoir(found, query.count, query.seed)


def reservoir(items: Iterable[T], count: int, seed: int) -> list[T]:
    """`count` of the items, each as likely as any other, in their order (Li's algorithm L: a draw a hit)."""
    rng, stream = random.Random(seed), enumerate(items)
    held = list(islice(stream, count))
    weight = 1.0
    while len(held) == count:
        weight *= math.exp(math.log(1.0 - rng.random()) / count)
        skipped = int(math.log(1.0 - rng.random()) / math.log1p(-weight)) if weight < 1 else 0
        following = next(islice(stream, skipped, None), None)
        if following is None:
            break
        held[rng.randrange(count)] = following
    return [item for _, item in sorted(held, key=lambda one: one[0])]


def _has_lines(file: Path) -> bool:
    return kind_of(file.name) in JSON_KINDS and is_json_lines(partial(open_bytes, file))


def _lines(file: Path) -> Iterator[tuple[int, int, bytes]]:
    """(offset, line from 1, bytes) of each line with something on it, none longer than a record may be."""
    offset = number = 0
    with open_bytes(file) as opened:
        while data := opened.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(data) > MAX_RECORD_BYTES:
                raise DataError(f"{file}:{number}: the line has more than {MAX_RECORD_BYTES:,} bytes.")
            if data.strip():
                yield offset, number, data
            offset += len(data)


def _parsed(file: Path, offset: int, number: int, data: bytes) -> Placed:
    return _placed(file, parse_line(data, str(file), offset, number))


def _placed(file: Path, found: Record | Rejected) -> Placed:
    if isinstance(found, Rejected):
        raise DataError(f"{found.where()}: {found.reason}.")
    return Placed(f"{file}:{found.line}", found.value)


def _read(file: Path) -> Iterator[Placed]:
    kind = kind_of(file.name)
    if kind == ".parquet":
        yield from _rows(file)
    elif kind in (".csv", ".tsv"):
        yield from _table(file, kind == ".tsv")
    elif kind in JSON_KINDS:
        yield from (_placed(file, found) for found in read_records(file, str(file)))
    elif kind in READERS:
        yield from _documents(file)
    else:
        known = ", ".join(sorted({*JSON_KINDS, *READERS}))
        raise DataError(f"{file}: is not a kind of file that show reads ({known}, and folders that zhllm wrote).")


def _documents(file: Path) -> Iterator[Placed]:
    """What collect would make of the file."""
    for item in read_file(SourceFile(file, str(file)), Keys()):
        if isinstance(item, Document):
            yield Placed(item.id, {"id": item.id, "text": item.text, "source": item.source, "meta": item.meta})
        else:
            raise DataError(f"{item.where()}: {item.reason}.")


def _table(file: Path, is_tsv: bool) -> Iterator[Placed]:
    names: list[str] | None = None
    for row in read_csv(partial(open_bytes, file), str(file), is_tsv):
        if not isinstance(row, Row):
            raise DataError(f"{row.where()}: {row.reason}.")
        if names is None:
            names = [name.strip() for name in row.cells]
        elif any(cell.strip() for cell in row.cells):
            extra = [f"column {n}" for n in range(len(names) + 1, len(row.cells) + 1)]
            yield Placed(f"{file}:{row.line}", dict(zip([*names, *extra], row.cells, strict=False)))


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: is not a whole parquet file ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _rows(file: Path) -> Iterator[Placed]:
    opened = _opened(file)
    yield from _rows_of(opened, file, range(opened.num_row_groups), 0)


def _rows_of(opened: pq.ParquetFile, file: Path, groups: Sequence[int], before: int) -> Iterator[Placed]:
    """The rows of some row groups, numbered from `before` + 1."""
    number = before
    try:
        for batch in opened.iter_batches(BATCH_ROWS, row_groups=list(groups)):
            for row in batch.to_pylist():
                number += 1
                yield Placed(f"{file}, row {number}", row)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: is damaged after row {number} ({_first_line(error)}).") from error


def _sampled_rows(files: Sequence[Path], count: int, seed: int) -> Iterator[Placed]:
    """Rows chosen by their number; only the row groups that hold one are read."""
    opened = [(file, _opened(file)) for file in files]
    places = [
        (file, parquet, group, row) for file, parquet, group, rows in _row_groups(opened, count, seed) for row in rows
    ]
    for (file, _, group), found in groupby(places, key=lambda place: (place[0], id(place[1]), place[2])):
        wanted = list(found)
        parquet = wanted[0][1]
        before = sum(parquet.metadata.row_group(i).num_rows for i in range(group))
        rows = enumerate(_rows_of(parquet, file, [group], before))
        inside = {row for *_, row in wanted}
        yield from (placed for row, placed in islice(rows, max(inside) + 1) if row in inside)


def _row_groups(
    opened: Sequence[tuple[Path, pq.ParquetFile]], count: int, seed: int
) -> Iterator[tuple[Path, pq.ParquetFile, int, list[int]]]:
    """(file, opened, row group, rows in it) of a seeded choice of all rows."""
    total = sum(parquet.metadata.num_rows for _, parquet in opened)
    left = sorted(random.Random(seed).sample(range(total), min(count, total)))
    first = 0
    for file, parquet in opened:
        for group in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(group).num_rows
            yield file, parquet, group, [row - first for row in left if first <= row < end]
            first = end
