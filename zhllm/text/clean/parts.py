"""What `clean` knows of a portion after its first pass: one Arrow file each, mapped into memory afterwards.

It holds the cleaned text and what decides its fate among all others: the digest, the sketch, the hashes of
its paragraphs. Of a text that an earlier document has it holds a sample, as that one alone may be kept.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from zhllm.text.arrow_files import SUFFIX as SUFFIX
from zhllm.text.arrow_files import is_whole as is_whole
from zhllm.text.arrow_files import write_whole
from zhllm.text.clean.grams import Hashes
from zhllm.text.clean.remembered import Outcome
from zhllm.text.clean.sketches import PLACES, Sketches
from zhllm.text.document import without_offsets

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("meta", pa.string()),
        ("reason", pa.string()),  # "" where the document goes on
        ("detail", pa.string()),
        ("chars", pa.int32()),
        ("han", pa.int32()),
        ("words", pa.int32()),
        ("digest", pa.binary(16)),
        ("sketch", pa.binary(2 * PLACES)),
        ("paragraphs", pa.list_(pa.uint64())),
    ]
)


# Of a document, or of input that gave none: id, source, meta, and what cleaning gave.
Row = tuple[str, str, str, Outcome]


def write_part(path: Path, rows: Sequence[Row], stats: dict[str, Any]) -> None:
    """Write a part whole; equal rows give equal bytes."""
    ids, sources, metas, outcomes = _columns(rows, 4)
    texts, reasons, details, chars, han, words, digests, sketches, paragraphs = _columns(outcomes, 9)
    lengths = np.array([0, *map(len, paragraphs)], dtype=np.int32)
    flat = np.concatenate([np.zeros(0, dtype=np.uint64), *paragraphs])
    columns = [
        *(pa.array(column, pa.string()) for column in (ids, texts, sources, metas, reasons, details)),
        *(pa.array(column, pa.int32()) for column in (chars, han, words)),
        _fixed(digests, 16),
        _fixed(sketches, 2 * PLACES),
        pa.ListArray.from_arrays(pa.array(np.cumsum(lengths, dtype=np.int32)), pa.array(flat)),
    ]
    schema = _SCHEMA.with_metadata({"stats": orjson.dumps(stats)})
    write_whole(path, columns, schema)


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[Sequence[Any]]:
    """The first columns of some rows."""
    columns: list[Sequence[Any]] = [*zip(*rows, strict=True)] or [()] * count
    return columns[:count]


def _fixed(values: Sequence[bytes], size: int) -> pa.Array:
    buffer = pa.py_buffer(b"".join(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(values), [None, buffer])


class Part:
    """A part that was written, its columns mapped from disk.

    What was looked at counts as memory of the process, so it is let go of; it stays in the system's cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
        with pa.ipc.open_file(pa.py_buffer(self._mapped)) as reader:
            self.stats: dict[str, Any] = orjson.loads(reader.schema.metadata[b"stats"])
            self._batch = reader.get_batch(0)
        self._let_go()

    def _let_go(self) -> None:
        """Give the pages that were looked at back; what is looked at again is mapped again."""
        if sys.platform == "linux":
            self._mapped.madvise(MADV_DONTNEED)

    @property
    def rows(self) -> int:
        """Documents and rejected inputs."""
        return int(self._batch.num_rows)

    def column(self, name: str, rows: npt.NDArray[np.int64] | None = None) -> list[Any]:
        """A column as Python values, or some of its rows."""
        column = self._batch.column(name)
        values: list[Any] = column.to_pylist() if rows is None else [column[row].as_py() for row in rows.tolist()]
        self._let_go()
        return values

    def text(self, row: int) -> str:
        """One text."""
        text = str(self._batch.column("text")[row].as_py())
        self._let_go()
        return text

    def numbers(self, name: str) -> npt.NDArray[np.int32]:
        """A column of numbers, [D]."""
        numbers = np.array(self._batch.column(name).to_numpy())
        self._let_go()
        return numbers

    def table(self, rows: npt.NDArray[np.int64], changed: dict[int, list[int]]) -> pa.Table:
        """Some rows as id, text, source and meta; `changed` has the lines to leave out of texts, by row."""
        columns = self._batch.select(["id", "text", "source", "meta"])
        # Slices of neighbours: pyarrow's `take` would import all of pyarrow.compute, a fifth of a second.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        runs = np.split(rows, breaks) if len(rows) else []
        table = pa.Table.from_batches([columns.slice(int(run[0]), len(run)) for run in runs], columns.schema)
        if changed.keys() & set(rows.tolist()):
            texts = [
                without_lines(text, changed.get(row, ()))
                for row, text in zip(rows.tolist(), table.column("text").to_pylist(), strict=True)
            ]
            metas = [
                without_offsets(meta) if row in changed else meta
                for row, meta in zip(rows.tolist(), table.column("meta").to_pylist(), strict=True)
            ]
            table = table.set_column(1, "text", pa.array(texts, pa.string()))
            table = table.set_column(3, "meta", pa.array(metas, pa.string()))
        return table

    def is_kept(self) -> npt.NDArray[np.bool_]:
        """Which rows no rule refused, [D]."""
        ends = np.frombuffer(self._batch.column("reason").buffers()[1], dtype=np.int32, count=self.rows + 1)
        kept = np.diff(ends) == 0
        self._let_go()
        return np.asarray(kept)

    def digests(self) -> npt.NDArray[np.uint64]:
        """Digests as pairs of numbers, [D, 2]."""
        return self._bytes("digest", np.uint64, 2)

    def sketches(self) -> Sketches:
        """Sketches, [D, 128]."""
        return self._bytes("sketch", np.uint16, PLACES)

    def _bytes(self, name: str, dtype: type[Any], width: int) -> npt.NDArray[Any]:
        buffer = self._batch.column(name).buffers()[1]
        values = np.frombuffer(buffer, dtype=dtype, count=self.rows * width).reshape(self.rows, width).copy()
        self._let_go()
        return values

    def paragraphs(self) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Hashes of all long lines and the row of each."""
        column = self._batch.column("paragraphs")
        lengths = np.diff(column.offsets.to_numpy())
        hashes = np.array(column.flatten().to_numpy())
        self._let_go()
        return hashes, np.repeat(np.arange(self.rows), lengths)


def without_lines(text: str, lines: Sequence[int]) -> str:
    """A text without some of its lines, at most one blank line where one was taken out."""
    if not lines:
        return text
    gone = set(lines)
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number not in gone and (line or (kept and kept[-1])):
            kept.append(line)
    return "\n".join(kept).strip("\n")


def parts_of(folder: Path, keys: Sequence[str]) -> list[Part]:
    """The parts of a folder by their names, in order."""
    return [Part(folder / (key + SUFFIX)) for key in keys]


def total(counters: Sequence[dict[str, int]]) -> Counter[str]:
    """The sum of counts by name."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return summed
