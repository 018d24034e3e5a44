"""Weights as streams: tensors are read and written one at a time, never the whole model.

Reads safetensors and torch's .bin, writes safetensors; numpy only. bfloat16 stands as its uint16 bit
pattern. Format: huggingface/safetensors README (8-byte little-endian header length, JSON header, then
the data).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from zhllm.errors import DataError
from zhllm.model.torch_bin import Place, read_places

Array = NDArray[Any]
F32 = NDArray[np.float32]

# bfloat16 has no numpy type; the others stand as they are.
STORAGE = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
BIN_INDEX = "pytorch_model.bin.index.json"
BIN_SINGLE = "pytorch_model.bin"


@dataclass(frozen=True)
class Spec:
    """Name, dtype (safetensors' spelling) and shape of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        return math.prod(self.shape) * np.dtype(STORAGE[self.dtype]).itemsize


def to_f32(array: Array, dtype: str) -> F32:
    """Values as float32 (exact for F32, F16, BF16)."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32, copy=False)


def from_f32(values: F32, dtype: str) -> Array:
    """Storage of float32 values, rounded once to nearest even."""
    if dtype != "BF16":
        return values.astype(STORAGE[dtype], copy=False)
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def read_header(path: Path) -> Iterator[tuple[Spec, int]]:
    """Each tensor of a safetensors file and where in the file its data begin; DataError when it is damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            raise DataError(f"{path}: is not a safetensors file, or it is cut off ({size} bytes).")
        text = file.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        entries = [(name, e["dtype"], tuple(e["shape"]), *e["data_offsets"]) for name, e in header.items()]
        end = max((e[-1] for e in entries), default=0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: its safetensors header is damaged ({error}).") from error
    if 8 + length + end != size:
        raise DataError(f"{path}: is cut off: {size} bytes, its header says {8 + length + end}.")
    for name, dtype, shape, start, stop in entries:
        if dtype not in STORAGE:
            raise DataError(f"{path}: {name} has dtype {dtype}, which zhllm does not read.")
        spec = Spec(name, dtype, shape)
        if stop - start != spec.size_bytes:
            raise DataError(
                f"{path}: {name} takes {stop - start} bytes, but its shape {shape} of {dtype} needs {spec.size_bytes}."
            )
        yield spec, 8 + length + start


class Checkpoint:
    """The tensors of a model folder (or of one .safetensors or .bin file), read on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.specs: dict[str, Spec] = {}
        self._where: dict[str, tuple[Path, Place]] = {}
        files, named = _files_of(path)
        for file in files:
            for place in _places(file):
                self.specs[place.name] = Spec(place.name, place.dtype, place.shape)
                self._where[place.name] = (file, place)
        lost = sorted(named - self.specs.keys())
        if lost:
            raise DataError(f"{path}: its index names {len(lost)} tensors that its shards do not hold: {lost[:3]}")

    def where(self, name: str) -> tuple[Path, Place]:
        """The file that holds a tensor, and its place there; DataError when there is none."""
        if name not in self.specs:
            raise DataError(f"{self.path}: has no tensor {name} (it holds {len(self.specs)} tensors).")
        return self._where[name]

    def raw(self, name: str) -> Array:
        """A tensor in storage dtype, memory-mapped read-only; DataError when it is not there."""
        file, place = self.where(name)
        dtype = np.dtype(STORAGE[place.dtype])
        if math.prod(place.shape) == 0:
            return np.zeros(place.shape, dtype)
        if place.is_contiguous:
            return np.memmap(file, dtype, "r", place.offset, place.shape)
        span = 1 + sum((n - 1) * step for n, step in zip(place.shape, place.strides, strict=True))
        values = np.memmap(file, dtype, "r", place.offset, (span,))
        steps = tuple(step * dtype.itemsize for step in place.strides)
        return np.lib.stride_tricks.as_strided(values, place.shape, steps, writeable=False)

    def f32(self, name: str) -> F32:
        """A tensor as float32."""
        return to_f32(self.raw(name), self.specs[name].dtype)


def _places(file: Path) -> Iterator[Place]:
    if file.suffix == ".bin":
        yield from read_places(file)
        return
    for spec, offset in read_header(file):
        strides = tuple(math.prod(spec.shape[n + 1 :]) for n in range(len(spec.shape)))
        yield Place(spec.name, spec.dtype, spec.shape, strides, offset)


def _files_of(path: Path) -> tuple[list[Path], set[str]]:
    """The files that hold a folder's weights, and the tensors its index promises (none without one)."""
    if path.is_file():
        return [path], set()
    for index, single in ((INDEX, SINGLE), (BIN_INDEX, BIN_SINGLE)):
        if (path / index).is_file():
            return _indexed(path, index)
        if (path / single).is_file():
            return [path / single], set()
    raise DataError(f"{path}: holds no {SINGLE} or {INDEX}, and no {BIN_SINGLE} or {BIN_INDEX}.")


def _indexed(path: Path, index: str) -> tuple[list[Path], set[str]]:
    try:
        weight_map: dict[str, str] = json.loads((path / index).read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(weight_map.values()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path / index}: cannot be read as an index of shards ({error!r}).") from error
    missing = [name for name in shards if not (path / name).is_file()]
    if missing:
        raise DataError(f"{path}: {index} names {len(missing)} shards that are not there: {missing[:3]}")
    return [path / name for name in shards], set(weight_map)


class Writer:
    """Writes planned tensors, in the planned order, into shards of at most `max_shard_bytes`.

    Use as a context manager; leaving it normally with tensors missing is an error.
    """

    def __init__(self, folder: Path, plan: Sequence[Spec], max_shard_bytes: int = 4 << 30) -> None:
        self.folder, self.plan = folder, list(plan)
        self._shards = split(self.plan, max_shard_bytes)
        self._next = 0
        self._file: BinaryIO | None = None
        self._shard_of = [number for number, shard in enumerate(self._shards) for _ in shard]

    def write(self, name: str, blocks: Array | Iterable[Array]) -> None:
        """Append one tensor's data: an array, or its consecutive row blocks, in storage dtype."""
        spec = self.plan[self._next]
        assert spec.name == name, f"planned {spec.name}, got {name}"
        if self._next == 0 or self._shard_of[self._next] != self._shard_of[self._next - 1]:
            self._open(self._shard_of[self._next])
        assert self._file is not None
        written = 0
        for block in [blocks] if isinstance(blocks, np.ndarray) else blocks:
            assert block.dtype == STORAGE[spec.dtype], f"{name}: {block.dtype} for {spec.dtype}"
            written += self._file.write(np.ascontiguousarray(block).data)
        assert written == spec.size_bytes, f"{name}: {written} bytes for {spec.size_bytes}"
        self._next += 1

    def _open(self, number: int) -> None:
        if self._file is not None:
            self._file.close()
        self._file = (self.folder / shard_name(number, len(self._shards))).open("wb")
        self._file.write(header_of(self._shards[number]))

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if kind is not None:
            return
        assert self._next == len(self.plan), f"{len(self.plan) - self._next} planned tensors were not written"
        write_index(self.folder, self._shards)


def header_of(specs: Sequence[Spec]) -> bytes:
    """The first bytes of a safetensors file whose tensors follow one another in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in specs:
        end = offset + spec.size_bytes
        header[spec.name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def shard_name(number: int, count: int) -> str:
    """What the shard of this number, from 0, is called."""
    return SINGLE if count == 1 else f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def write_index(folder: Path, shards: Sequence[Sequence[Spec]]) -> None:
    """Write the index of several shards; one shard needs none."""
    if len(shards) > 1:
        weight_map = {spec.name: shard_name(n, len(shards)) for n, shard in enumerate(shards) for spec in shard}
        total = sum(spec.size_bytes for shard in shards for spec in shard)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def split(plan: Sequence[Spec], max_shard_bytes: int) -> list[list[Spec]]:
    """The plan in order, cut into shards of at most `max_shard_bytes` (or one tensor, where it is larger)."""
    shards: list[list[Spec]] = [[]]
    filled = 0
    for spec in plan:
        if shards[-1] and filled + spec.size_bytes > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(spec)
        filled += spec.size_bytes
    return shards


def row_blocks(rows: int, row_bytes: int, block_bytes: int = 64 << 20) -> Iterable[slice]:
    """Slices that cut `rows` into blocks of about `block_bytes`."""
    step = max(1, block_bytes // max(row_bytes, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
