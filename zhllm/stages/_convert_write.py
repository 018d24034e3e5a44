"""The last pass of `convert`: kept lines of all parts become shards of bounded size, which are read back.

Where a shard ends depends on the kept lines only, never on how the work was shared out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from zhllm.errors import ProofError
from zhllm.stages._convert_ids import Renamed
from zhllm.stages._convert_items import read_item
from zhllm.stages._convert_parts import Part
from zhllm.stages._convert_rows import KEPT, Found, Numbers, Table
from zhllm.text.chats import Chat, message_problem

SHARD_BYTES = 256_000_000
COPY_BYTES = 1 << 20
# Lines that are looked at; of more, evenly spread ones. Where they end is compared of all.
READ_BACK = 5_000


def write_rejected(out: Path, parts: Sequence[Part]) -> None:
    """All that was rejected, in order, as rejected.jsonl."""
    with (out / "rejected.jsonl").open("wb") as written:
        for part in parts:
            if part.rejected_at.name in part.summary.sizes:
                with part.rejected_at.open("rb") as file:
                    shutil.copyfileobj(file, written, COPY_BYTES)


def write_shards(out: Path, table: Table, found: Found, renamed: Renamed) -> list[Path]:
    """The kept lines as KIND-00000.jsonl and so on; raises ProofError unless they read back as they were counted."""
    kept = np.flatnonzero(found.fates == KEPT)
    sizes = renamed.sizes(table)[kept]
    paths = []
    for number, some in enumerate(_shards(sizes, kept)):
        path = out / f"{table.kind}-{number:05d}.jsonl"
        with path.open("wb") as written:
            for run in _runs(table, some, renamed):
                _write(table, run, renamed, written)
        paths.append(path)
    _prove(paths, table, kept, sizes)
    return paths


def _shards(sizes: Numbers, kept: Numbers) -> Iterator[Numbers]:
    """The kept rows of each shard, whose lines have these sizes: as many as fit, one at least."""
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while start < len(kept):
        end = max(int(np.searchsorted(ends, before + SHARD_BYTES, side="right")), start + 1)
        yield kept[start:end]
        start, before = end, int(ends[end - 1])


class _Run(NamedTuple):
    """A stretch of bytes of a part that holds the rows from `first` to `last`: all have new ids, or none."""

    part: int
    start: int
    end: int
    first: int
    last: int
    is_renamed: bool


def _runs(table: Table, numbers: Numbers, renamed: Renamed) -> Iterator[_Run]:
    """The stretches that hold these rows."""
    part_of = np.searchsorted(table.starts, numbers, side="right") - 1
    is_renamed = np.isin(numbers, renamed.rows)
    breaks = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(part_of) != 0) | np.diff(is_renamed)) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(numbers)]]) - 1
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        a, b = int(numbers[first]), int(numbers[last])
        end = int(table.offsets[b]) + int(table.rows["size"][b])
        yield _Run(int(part_of[first]), int(table.offsets[a]), end, a, b, bool(is_renamed[first]))


def _write(table: Table, run: _Run, renamed: Renamed, written: BinaryIO) -> None:
    path = table.parts[run.part].lines_at(table.kind)
    if not run.is_renamed:
        _copy(path, run.start, run.end, written)
        return
    with path.open("rb") as file:
        file.seek(run.start)
        for number in range(run.first, run.last + 1):
            line = file.read(int(table.rows["size"][number]))
            written.write(renamed.line(number, line, int(table.rows["line"][number])))


def _copy(path: Path, start: int, end: int, written: BinaryIO) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            data = file.read(min(COPY_BYTES, end - start))
            if not data:
                raise ProofError(f"{path}: ends before byte {end:,}; was it changed while convert worked?")
            written.write(data)
            start += len(data)


def _prove(paths: Sequence[Path], table: Table, kept: Numbers, sizes: Numbers) -> None:
    """Raise ProofError unless every line ends where it was counted, and those looked at say what they said."""
    ends = np.cumsum(sizes)
    found, before = 0, 0
    for path in paths:
        first = found
        for at in _line_ends(path):
            if not np.array_equal(at + before, ends[found : found + len(at)]):
                raise ProofError(f"{path}: the lines after number {found - first:,} are not as long as was counted.")
            found += len(at)
        some = slice(first, found)
        _look_at(path, table, kept[some], ends[some] - before, sizes[some])
        before += path.stat().st_size
    if found != len(kept) or before != int(ends[-1] if len(ends) else 0):
        raise ProofError(f"convert: {len(kept)} {table.kind} were counted, {found} are in the files.")


def _line_ends(path: Path) -> Iterator[Numbers]:
    """Where the lines of a file end, in bytes, some at a time."""
    offset = 0
    with path.open("rb") as file:
        while data := file.read(COPY_BYTES):
            yield np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + offset + 1
            offset += len(data)


def _look_at(path: Path, table: Table, numbers: Numbers, ends: Numbers, sizes: Numbers) -> None:
    """Check evenly spread ones of the lines of a file, which end at `ends` and have `sizes`."""
    step = max(len(table.rows) // READ_BACK, 1)
    with path.open("rb") as file:
        for number, end, size in zip(*(values[::step].tolist() for values in (numbers, ends, sizes)), strict=True):
            file.seek(end - size)
            _check(path, file.read(size), table, number)


def _check(path: Path, line: bytes, table: Table, number: int) -> None:
    item = read_item(table.kind, line)
    problem = message_problem(item.messages) if isinstance(item, Chat) else message_problem(item.prompt, "user")
    if problem or item.digest() != table.rows["digest"][number].tobytes():
        why = problem or "it says something else"
        raise ProofError(f"{path}: the record of {table.place(number)} is not as it was written: {why}.")
