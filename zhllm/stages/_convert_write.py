"""The last pass of `convert`: kept lines of all parts become shards of bounded size, which are read back.

Where a shard ends depends on the kept lines only, never on how the work was shared out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from zhllm.errors import ProofError
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


def write_shards(out: Path, table: Table, found: Found) -> list[Path]:
    """The kept lines as KIND-00000.jsonl and so on; raises ProofError unless they read back as they were counted."""
    kept = np.flatnonzero(found.fates == KEPT)
    paths = []
    for number, some in enumerate(_shards(table, kept)):
        path = out / f"{table.kind}-{number:05d}.jsonl"
        with path.open("wb") as written:
            for at, start, end in _runs(table, some):
                _copy(table.parts[at].lines_at(table.kind), start, end, written)
        paths.append(path)
    _prove(paths, table, kept)
    return paths


def _shards(table: Table, kept: Numbers) -> Iterator[Numbers]:
    """The kept rows of each shard: as many as fit, one at least."""
    ends = np.cumsum(table.rows["size"][kept], dtype=np.int64)
    start, before = 0, 0
    while start < len(kept):
        end = max(int(np.searchsorted(ends, before + SHARD_BYTES, side="right")), start + 1)
        yield kept[start:end]
        start, before = end, int(ends[end - 1])


def _runs(table: Table, numbers: Numbers) -> Iterator[tuple[int, int, int]]:
    """Stretches of bytes that hold these rows: the number of a part, from where, up to where."""
    part_of = np.searchsorted(table.starts, numbers, side="right") - 1
    breaks = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(part_of) != 0)) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(numbers)]]) - 1
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        end = int(table.offsets[numbers[last]]) + int(table.rows["size"][numbers[last]])
        yield int(part_of[first]), int(table.offsets[numbers[first]]), end


def _copy(path: Path, start: int, end: int, written: BinaryIO) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            data = file.read(min(COPY_BYTES, end - start))
            if not data:
                raise ProofError(f"{path}: ends before byte {end:,}; was it changed while convert worked?")
            written.write(data)
            start += len(data)


def _prove(paths: Sequence[Path], table: Table, kept: Numbers) -> None:
    """Raise ProofError unless every line ends where it was counted, and those looked at say what they said."""
    ends = np.cumsum(table.rows["size"][kept], dtype=np.int64)
    found, before = 0, 0
    for path in paths:
        first = found
        for at in _line_ends(path):
            if not np.array_equal(at + before, ends[found : found + len(at)]):
                raise ProofError(f"{path}: the lines after number {found - first:,} are not as long as was counted.")
            found += len(at)
        _look_at(path, table, kept[first:found], ends[first:found] - before)
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


def _look_at(path: Path, table: Table, numbers: Numbers, ends: Numbers) -> None:
    """Check evenly spread ones of the lines of a file, which end at `ends`."""
    step = max(len(table.rows) // READ_BACK, 1)
    with path.open("rb") as file:
        for number, end in zip(numbers[::step].tolist(), ends[::step].tolist(), strict=True):
            file.seek(end - int(table.rows["size"][number]))
            _check(path, file.read(int(table.rows["size"][number])), table, number)


def _check(path: Path, line: bytes, table: Table, number: int) -> None:
    item = read_item(table.kind, line)
    problem = message_problem(item.messages) if isinstance(item, Chat) else message_problem(item.prompt, "user")
    if problem or item.digest() != table.rows["digest"][number].tobytes():
        why = problem or "it says something else"
        raise ProofError(f"{path}: the record of {table.place(number)} is not as it was written: {why}.")
