"""Whether the tensors of a GGUF file are those of the model directory, read again from the disk, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Protocol

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import ReaderTensor

from zhllm.errors import ProofError
from zhllm.model.gguf_blocks import dequantize
from zhllm.model.gguf_file import Source, unpermute
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import BLOCK_VALUES, Planned, in_order, stored_rows
from zhllm.model.tensors import F32, to_f32

# The largest error a row may have, as a share of its length, by the type that its file's name gives. A logit
# proof alone says little of a model whose layers do little yet; a row in the wrong place is off by 1.4. For q8_0
# it is the bound (a block's largest value / 254 for each of 32), for the others twice what the worst rows show.
ROW_ERROR_LIMIT = {
    "f32": 0.0, "f16": 1e-3, "bf16": 4e-3, "q8_0": 0.025, "q6_k": 0.15, "q5_k_m": 0.2, "q4_k_m": 0.4,
    "q4_k_s": 0.4, "q4_0": 0.5, "q3_k_m": 0.6, "q2_k": 0.8,
}  # fmt: skip
# With an importance matrix the unimportant channels of a row may be far off; its rows still may not be exchanged.
WEIGHTED_ROW_ERROR_LIMIT = 1.0


class _Reader(gguf.GGUFReader):  # type: ignore[misc]
    """gguf-py's reader, without an array of numpy for every token (2 s for 35,000; `GgufFile` has compared them)."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
        if raw_type != gguf.GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)  # type: ignore[no-any-return]
        (item,), (length,) = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
        if item != gguf.GGUFValueType.STRING:
            size = 12 + int(length) * self.gguf_scalar_to_np[gguf.GGUFValueType(item)]().nbytes
        else:
            size, held = 12, memoryview(self.data)[orig_offs:]  # np.memmap takes 20 µs a slice
            for _ in range(int(length)):
                size += 8 + int.from_bytes(held[size : size + 8], "little")
        return size, [], [], [gguf.GGUFValueType.ARRAY]


def check_with_gguf_py(file: GgufFile, source: Source) -> None:
    """ProofError unless gguf-py finds in the file the source's tensors, where and as our own reader finds them."""
    shapes = {target: source.weights.specs[name].shape for name, target in source.names.items()}
    found: dict[str, ReaderTensor] = {t.name: t for t in _Reader(str(file.path)).tensors}
    wrong = [
        name for name, shape in shapes.items()
        if name not in file.tensors or file.tensors[name].shape != shape or name not in found
        or tuple(int(n) for n in reversed(found[name].shape)) != shape
        or found[name].tensor_type != file.tensors[name].type
        or int(found[name].data_offset) != file.tensors[name].offset
    ]  # fmt: skip
    strange = sorted(found.keys() - shapes.keys() - {"rope_freqs.weight"})
    if wrong or strange:
        raise ProofError(
            f"{file.path.name}: {len(wrong)} tensors are missing or misshapen, e.g. {wrong[:3]}, and {len(strange)} "
            f"are not the model's, e.g. {strange[:3]}."
        )


def largest_row_error(file: GgufFile, source: Source, workers: int = 1) -> tuple[float, str]:
    """How far the worst row of all tensors is from the source, relative to its length, and where.

    Rows shorter than 1 % of their tensor's are measured by that: float16 has no digits left for the
    1e-38 that unused tokens have in some models.
    """
    plan = [Planned(target, name, file.tensors[target].shape, file.tensors[target].type)
            for name, target in source.names.items()]  # fmt: skip
    work = [(item, rows) for item in plan for rows in item.blocks()]
    measured = in_order(lambda task: _measured(file, source, *task), work, workers)
    worst = (0.0, "")
    for item, group in groupby(zip(work, measured, strict=True), lambda pair: pair[0][0]):
        lengths, errors = (np.concatenate(parts) for parts in zip(*(found for _, found in group), strict=True))
        lengths = np.maximum(lengths, 0.01 * np.sqrt(np.mean(lengths**2)))
        shares = errors / np.where(lengths == 0, 1, lengths)
        row = int(np.argmax(shares))  # of a NaN, where there is one
        if not shares[row] <= worst[0]:
            order = None if item.name is None or len(item.shape) == 1 else source.row_order(item.name)
            worst = (float(shares[row]), f"row {row if order is None else int(order[row])} of {item.name}")
    return worst


def _measured(file: GgufFile, source: Source, item: Planned, rows: slice) -> tuple[F32, F32]:
    """Of each row its length in the source, and that of its error."""
    assert item.name is not None
    dtype = source.weights.specs[item.name].dtype
    stored, data = stored_rows(source, item.name, rows), file.tensors[item.target].data[rows]
    wanted = np.ascontiguousarray(to_f32(stored, dtype))
    if item.kind in (T.F32, T.F16, T.BF16) and np.array_equal(dequantize(data, item.kind), wanted):
        return np.sqrt(np.einsum("ij,ij->i", wanted, wanted)), np.zeros(len(wanted), np.float32)
    found = dequantize(data, item.kind)
    found -= wanted
    return tuple(np.sqrt(np.einsum("ij,ij->i", v, v)) for v in (wanted, found))


class _Buffer:
    """One float32 buffer, as large as the largest tensor, in which each tensor is formed.

    The allocator would keep what many matrices of different sizes leave behind: a gigabyte for a 1.1 B model.
    """

    def __init__(self) -> None:
        self._values = np.empty(0, np.float32)

    def shaped(self, shape: tuple[int, ...]) -> F32:
        """The beginning of the buffer, as large as it takes; what was formed before is overwritten."""
        size = int(np.prod(shape))
        if self._values.size < size:
            self._values = np.empty(size, np.float32)
        return self._values[:size].reshape(shape)


class Layout(Protocol):
    """Where a GGUF file has what transformers names, and by how many heads a tensor's rows are permuted."""

    @property
    def names(self) -> Mapping[str, str]:
        """GGUF's names by transformers'."""

    def heads(self, name: str) -> int | None:
        """The number of heads; None for rows that are kept in order."""


class FileWeights(_Buffer):
    """The tensors of a GGUF file by transformers' names, dequantised as they are asked for, rows in its order."""

    def __init__(self, file: GgufFile, source: Layout) -> None:
        super().__init__()
        self.file, self.source = file, source

    def tensor(self, name: str) -> F32:
        """A whole tensor as float32; it stands until the next one is asked for."""
        found = self.file.tensors[self.source.names[name]]
        out = self.shaped(found.shape)
        heads = self.source.heads(name)
        # Where the rows of the file belong, by the inverse of the order in which they were written.
        order = None if heads is None else np.argsort(unpermute(np.arange(found.shape[0]), heads))
        if len(found.shape) == 1:
            out[slice(None) if order is None else order] = dequantize(found.data, found.type)[0]
            return out
        for rows in row_slices(*found.shape):
            out[rows if order is None else order[rows]] = dequantize(found.data[rows], found.type)
        return out

    def rows(self, name: str, rows: slice | np.ndarray[Any, Any]) -> F32:
        """Rows of a matrix whose rows keep their order."""
        found = self.file.tensors[self.source.names[name]]
        return dequantize(np.ascontiguousarray(found.data[rows]), found.type)


class SourceWeights(_Buffer):
    """The tensors of the model directory, as float32."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def tensor(self, name: str) -> F32:
        """A whole tensor as float32; it stands until the next one is asked for."""
        spec = self.source.weights.specs[name]
        out, stored = self.shaped(spec.shape), self.source.mapped(name)
        if len(spec.shape) == 1:
            out[:] = to_f32(stored, spec.dtype)
            return out
        for rows in row_slices(*spec.shape):
            out[rows] = to_f32(stored[rows], spec.dtype)
        return out

    def rows(self, name: str, rows: slice | np.ndarray[Any, Any]) -> F32:
        """Rows of a matrix."""
        return to_f32(np.ascontiguousarray(self.source.mapped(name)[rows]), self.source.weights.specs[name].dtype)


def row_slices(rows: int, width: int) -> Iterator[slice]:
    """All rows, cut into blocks of about BLOCK_VALUES values."""
    step = max(1, BLOCK_VALUES // width)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
