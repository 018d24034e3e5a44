"""Adapters folded into weights, a block of rows at a time: float32 sums, one rounding, many threads.

n rows of a block, O out features, I in features, R the ranks of all adapters together. torch, not numpy:
for bf16 the same block takes half the CPU time (2.6 against 5.1 ns a value at R = 80), since numpy
has no bf16. The blocks do not depend on the number of threads, so neither do the bytes.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from zhllm.errors import DataError
from zhllm.model.lora import Part
from zhllm.model.merging import Target
from zhllm.model.shards import Shards
from zhllm.model.tensors import STORAGE, Checkpoint, to_f32
from zhllm.model.torch_bin import Place

BLOCK_VALUES = 1 << 18  # of one product: its float32 values stay in a core's own cache
READ_BYTES = 4 << 20
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Source(Protocol):
    """Anything that knows where its tensors lie: a checkpoint, or shards being written."""

    def where(self, name: str) -> tuple[Path, Place]:
        """The file that holds a tensor, and its place there."""


class OpenFiles:
    """Files opened once for reading, by any thread."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()

    def descriptor(self, path: Path) -> int:
        """The open file."""
        with self._lock:
            if path not in self._files:
                self._files[path] = os.open(path, os.O_RDONLY)
            return self._files[path]

    def close(self) -> None:
        """Close all of them."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


class RowReader:
    """Rows of one tensor as torch tensors in its stored dtype: read, not mapped, into one buffer."""

    def __init__(self, files: OpenFiles, path: Path, place: Place, read_bytes: int | None = None) -> None:
        self.path, self.place = path, place
        self._file = files.descriptor(path)
        self.width = math.prod(place.shape[1:])
        self.row_bytes = self.width * np.dtype(STORAGE[place.dtype]).itemsize
        self.rows = place.shape[0] if place.shape else 1
        self.step = max(1, min(self.rows, (read_bytes or READ_BYTES) // max(1, self.row_bytes)))
        self._buffer = bytearray(self.step * self.row_bytes)
        self._strided = None if place.is_contiguous else _strided(path, place)

    def read(self, start: int, stop: int) -> Tensor:
        """(n, I) of the rows start to stop, valid until the next call; at most `step` rows."""
        if self._strided is not None:
            values = np.array(self._strided[start:stop], order="C").reshape(stop - start, self.width)
            return torch.from_numpy(values.view(np.uint8)).view(DTYPES[self.place.dtype])
        size = (stop - start) * self.row_bytes
        view = memoryview(self._buffer)[:size]
        got = 0
        while got < size:
            count = os.preadv(self._file, [view[got:]], self.place.offset + start * self.row_bytes + got)
            if not count:
                raise DataError(f"{self.path}: became shorter while it was read.")
            got += count
        return torch.frombuffer(view, dtype=DTYPES[self.place.dtype]).view(stop - start, self.width)


def _strided(path: Path, place: Place) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    single = Checkpoint(path)
    return single.raw(place.name)


def write_merged(base: Checkpoint, targets: Sequence[Target], shards: Shards, workers: int) -> None:
    """Write every target, `workers` tensors at a time, in order; the first error ends it."""
    with (
        closing(OpenFiles()) as files,
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        made = [pool.submit(_write, base, target, shards, files) for target in targets]
        try:
            for each in made:
                each.result()
        except BaseException:
            shards.fail()
            for each in made:
                each.cancel()
            raise


def _write(base: Checkpoint, target: Target, shards: Shards, files: OpenFiles) -> None:
    path, place = base.where(target.source) if target.whole is None else target.whole.tensors.where(target.whole.key)
    name = target.spec.name
    if target.is_copy and place.dtype == target.spec.dtype and place.is_contiguous:
        shards.copy(name, files.descriptor(path), place.offset, target.spec.size_bytes)
    elif target.spec.size_bytes:
        _write_blocks(target, RowReader(files, path, place), shards, base)
    shards.finish(name)


def _write_blocks(target: Target, reader: RowReader, shards: Shards, base: Checkpoint) -> None:
    change = Change(target, reader.rows)
    name, dtype = target.spec.name, DTYPES[target.spec.dtype]
    height = max(1, BLOCK_VALUES // max(1, reader.width))
    made = torch.empty(reader.step, reader.width, dtype=dtype)
    out_bytes = reader.width * dtype.itemsize
    for start in range(0, reader.rows, reader.step):
        stop = min(start + reader.step, reader.rows)
        stored = reader.read(start, stop)
        if not dtype.is_floating_point:
            made[: stop - start] = stored
        for first in range(0, stop - start if dtype.is_floating_point else 0, height):
            last = min(first + height, stop - start)
            values = change.apply(stored[first:last].float(), start + first)
            low, high = torch.aminmax(values)
            if not (float(high) <= torch.finfo(dtype).max and float(low) >= torch.finfo(dtype).min):
                raise DataError(
                    f"{base.path}: merged, {name} would hold values from {float(low):.3g} to {float(high):.3g} in rows "
                    f"{start + first} to {start + last}, which {target.spec.dtype} cannot."
                )
            made[first:last] = values
        shards.write(name, start * out_bytes, made[: stop - start].view(torch.uint8).numpy().reshape(-1).data)


class Change:
    """What a target does to rows, with its factors in memory: (O, R) B times scale, and (R, I) A."""

    def __init__(self, target: Target, total_rows: int) -> None:
        self._rows = [(np.array(rows.places(total_rows)), rows.part) for rows in target.rows]
        self._gains = [scale * _f32(part).reshape(1, -1) for part, scale in target.bias_gains]
        self._flat = len(target.spec.shape) < 2
        self._steps: list[tuple[Tensor, Tensor, Tensor | None]] = []
        for update in target.updates:
            a, b = torch.from_numpy(np.array(update.a)), torch.from_numpy(np.array(update.b)) * update.scale
            magnitude = None if update.magnitude is None else torch.from_numpy(np.array(update.magnitude))
            self._steps.append((b, a, magnitude))
        if len(self._steps) > 1 and all(magnitude is None for *_, magnitude in self._steps):
            b = torch.cat([b for b, *_ in self._steps], dim=1)  # one product for all adapters
            self._steps = [(b, torch.cat([a for _, a, _ in self._steps]), None)]

    def apply(self, weight: Tensor, first: int) -> Tensor:
        """(n, I) float32 rows from row `first` on, changed, perhaps in place.

        With DoRA the norm is that of the base and its own update: what peft computes with several
        adapters at once, each trained on the base alone.
        """
        for places, part in self._rows:
            inside = np.flatnonzero((places >= first) & (places < first + len(weight)))
            if len(inside):
                values = to_f32(part.tensors.raw(part.key)[inside], part.tensors.specs[part.key].dtype)
                weight[torch.from_numpy(places[inside] - first)] = torch.from_numpy(values)
        for gain in self._gains:
            weight = weight + (gain.view_as(weight) if self._flat else gain)
        start, rows, only = weight, slice(first, first + len(weight)), len(self._steps) == 1
        for b, a, magnitude in self._steps:
            if magnitude is None:
                weight = weight.addmm_(b[rows], a) if only else torch.addmm(weight, b[rows], a)
                continue
            gain = b[rows] @ a
            norm = torch.linalg.vector_norm(start + gain, dim=1, keepdim=True)
            weight = (weight + gain) * (magnitude[rows, None] / norm)
        return weight


def _f32(part: Part) -> Tensor:
    return torch.from_numpy(np.array(part.f32()))
