"""The last pass of `clean`: parts and fates become shards, each written and then read back by one worker."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from zhllm.errors import ProofError
from zhllm.text.clean.cleaning import digest_of_utf8
from zhllm.text.clean.fates import REFUSED, TRAIN, VALID, Corpus, Fates
from zhllm.text.clean.parts import Part
from zhllm.text.clean.remembered import SAMPLE_CHARS
from zhllm.text.read.parquet import DOCUMENT_SCHEMA, on_disk, parquet_writer

# About 50 MB of text: what one worker writes at a time.
SHARD_CHARS = 16_000_000
REJECTED_COLUMNS = ("id", "reason", "detail", "source", "sample")
_REJECTED_SCHEMA = pa.schema([(name, pa.string()) for name in REJECTED_COLUMNS])
_ROWS_READ = 1000
# A byte of UTF-8 that begins a character, as a signed number; those that go on one are less.
_FIRST_OF_CHAR = -64
T = TypeVar("T")
_SPLITS = {"train": TRAIN, "valid": VALID}


@dataclass(frozen=True, slots=True)
class PartFates:
    """A part's file and the fates of its rows; `dropped` and `without_lines` by row."""

    path: Path
    fate: npt.NDArray[np.uint8]
    dropped: dict[int, tuple[str, str]]
    without_lines: dict[int, list[int]]


@dataclass(frozen=True, slots=True)
class ShardWork:
    """The parts of one shard of each output, and where it is written."""

    number: int
    parts: list[PartFates]
    out: Path


@dataclass(frozen=True, slots=True)
class Written:
    """What a worker wrote and found when it read it back: rows, characters and digests by split."""

    rows: Counter[str]
    chars: Counter[str]
    digests: bytes  # 16 each, of train and valid together
    reasons: Counter[tuple[str, str]]  # (source, reason); "" for what is kept
    han: int
    words: int


def shards_of(corpus: Corpus, fates: Fates, out: Path) -> Iterator[ShardWork]:
    """The work of the last pass: consecutive parts whose kept texts have about SHARD_CHARS characters."""
    parts: list[PartFates] = []
    chars = number = 0
    dropped, changed = sorted(fates.dropped), sorted(fates.without_lines)
    for part, start in zip(corpus.parts, corpus.starts.tolist(), strict=False):
        end = start + part.rows
        fate = fates.fate[start:end]
        parts.append(
            PartFates(
                part.path,
                fate,
                _slice(fates.dropped, dropped, start, end),
                _slice(fates.without_lines, changed, start, end),
            )
        )
        chars += int(part.numbers("chars")[fate >= TRAIN].sum())
        if chars >= SHARD_CHARS:
            yield ShardWork(number, parts, out)
            parts, chars, number = [], 0, number + 1
    if parts:
        yield ShardWork(number, parts, out)


def _slice(by_number: dict[int, T], in_order: list[int], start: int, end: int) -> dict[int, T]:
    """The entries from `start` to `end`, by row."""
    numbers = in_order[bisect_left(in_order, start) : bisect_left(in_order, end)]
    return {number - start: by_number[number] for number in numbers}


def write_shard(work: ShardWork) -> Written:
    """Write one shard of train, valid and rejected, and read the first two back."""
    paths = {name: work.out / f"{name}-{work.number:05d}.parquet" for name in (*_SPLITS, "rejected")}
    rows: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    numbers = np.zeros(2, dtype=np.int64)
    schemas = {"train": DOCUMENT_SCHEMA, "valid": DOCUMENT_SCHEMA, "rejected": _REJECTED_SCHEMA}
    with on_disk(work.out), ExitStack() as stack:
        writers = {name: stack.enter_context(parquet_writer(paths[name], schemas[name])) for name in paths}
        for fates in work.parts:
            part = Part(fates.path)
            for name, value in _SPLITS.items():
                chosen = np.flatnonzero(fates.fate == value)
                rows[name] += _write(writers[name], part.table(chosen, fates.without_lines))
            rejected = _rejected(part, fates)
            rows["rejected"] += _write(writers["rejected"], rejected)
            kept = fates.fate >= TRAIN
            numbers += [part.numbers("han")[kept].sum(), part.numbers("words")[kept].sum()]
            sources = part.column("source")
            reasons.update((sources[row], "") for row in np.flatnonzero(kept).tolist())
            reasons.update(zip(rejected["source"].to_pylist(), rejected["reason"].to_pylist(), strict=True))
    chars, digests = _read_back(paths, rows)
    pa.default_memory_pool().release_unused()  # else each shard leaves what it needed with this process
    for name, path in paths.items():
        if work.number and not rows[name]:
            path.unlink()  # an empty first shard says that there is none
    return Written(rows, chars, digests, reasons, int(numbers[0]), int(numbers[1]))


def _write(writer: pq.ParquetWriter, table: pa.Table) -> int:
    if table.num_rows:
        writer.write_table(table)
    return int(table.num_rows)


def _rejected(part: Part, fates: PartFates) -> pa.Table:
    """The rows that are not kept, with their reasons."""
    chosen = np.flatnonzero(fates.fate < TRAIN)
    table = part.table(chosen, {})
    refused = np.flatnonzero(fates.fate == REFUSED)
    own = zip(part.column("reason", refused), part.column("detail", refused), strict=True)
    why = dict(zip(refused.tolist(), own, strict=True)) | fates.dropped
    reasons, details = zip(*(why[row] for row in chosen.tolist()), strict=True) if len(chosen) else ((), ())
    samples = [text[:SAMPLE_CHARS] for text in table["text"].to_pylist()]
    columns = [table["id"], pa.array(reasons, pa.string()), pa.array(details, pa.string()), table["source"]]
    return pa.Table.from_arrays([*columns, pa.array(samples, pa.string())], schema=_REJECTED_SCHEMA)


def _read_back(paths: dict[str, Path], rows: Counter[str]) -> tuple[Counter[str], bytes]:
    """Characters and digests of what is on disk now; the numbers of rows must be those written."""
    chars: Counter[str] = Counter()
    digests: list[bytes] = []
    for name in paths:
        file = pq.ParquetFile(paths[name], pre_buffer=False)
        if file.metadata.num_rows != rows[name]:
            raise ProofError(f"{paths[name]}: {file.metadata.num_rows} rows on disk, {rows[name]} were written.")
        if name in _SPLITS:
            for batch in file.iter_batches(_ROWS_READ, columns=["text"]):
                ends, data = _utf8(batch.column(0))
                chars[name] += int(np.count_nonzero(np.frombuffer(data, np.int8) >= _FIRST_OF_CHAR))
                digests += (digest_of_utf8(data[start:end]) for start, end in pairwise(ends))
    return chars, b"".join(digests)


def _utf8(column: pa.StringArray) -> tuple[list[int], bytes]:
    """The bytes of all texts of a column, and where each begins and ends in them: as quick as text is to look at."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    if data is None:
        return ends.tolist(), b""
    return (ends - ends[0]).tolist(), data[int(ends[0]) : int(ends[-1])].to_pybytes()
