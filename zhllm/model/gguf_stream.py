"""Writing a GGUF file block by block: rows are read, encoded by several threads, and written in order.

No tensor is ever held whole: what is in memory is two blocks of rows for each thread.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T

from zhllm.errors import DataError
from zhllm.model import gguf_q8_0
from zhllm.model.gguf_blocks import F16_MAX, Engine, dequantize, quantize
from zhllm.model.gguf_file import Source, add_model
from zhllm.model.gguf_vocab import add_vocabulary
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.model.rope import rope_factors
from zhllm.model.tensors import F32, Array, from_f32, to_f32

# Values that one thread takes at once.
BLOCK_VALUES = 1 << 19
# Values converted at once. Larger arrays are new pages from the system each time, ten times as slow (0.4 against
# 9.6 ns a value for bfloat16 to float32); the searching types have work enough for more.
FAST_VALUES, SLOW_VALUES = 1 << 16, 1 << 17
_FAST = (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0)

_SAME = {T.F32: "F32", T.F16: "F16", T.BF16: "BF16"}
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Encoder:
    """How values become blocks: whose quantiser, with how many threads, and what counts how much.

    `importance` holds for a GGUF tensor's name one weight for each input channel, (row length,).
    """

    engine: Engine = "own"
    workers: int = 1
    importance: Mapping[str, F32] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """A tensor of the file: its name there and here (None: `values` themselves), its shape and type."""

    target: str
    name: str | None
    shape: tuple[int, ...]
    kind: T
    values: F32 | None = None

    @property
    def rows(self) -> int:
        """Rows, one for a tensor of one dimension."""
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        """Bytes in the file."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return int(math.prod(self.shape) // block * size)

    def blocks(self) -> Iterator[slice]:
        """The rows, cut into blocks of about BLOCK_VALUES values."""
        step = max(1, BLOCK_VALUES // self.shape[-1])
        return (slice(start, min(start + step, self.rows)) for start in range(0, self.rows, step))


def plan_of(source: Source, file_type: str, has_importance: bool = False) -> list[Planned]:
    """Every tensor of a file of this type, in file order."""
    factors = rope_factors(source.config)
    found = [] if factors is None else [Planned("rope_freqs.weight", None, factors.shape, T.F32, factors)]
    mixture = source.mixture(file_type, has_importance)
    for name, target in source.names.items():
        shape = source.weights.specs[name].shape
        found.append(Planned(target, name, shape, mixture.of(target, shape)))
    return found


def write_gguf(
    source: Source,
    path: Path,
    file_type: str,
    template: str | None,
    end_id: int,
    on_bytes: Callable[[int], None] = lambda size: None,
    encoder: Encoder | None = None,
) -> None:
    """Write one GGUF file; `on_bytes` hears of bytes written.

    Raises DataError for a weight that is not a number or too large for the type. The bytes do not
    depend on `encoder.workers`.
    """
    from zhllm.model.llama import EMBED

    encoder = encoder or Encoder()
    writer = GGUFWriter(path, source.architecture)
    add_model(writer, source, path.stem, file_type)
    add_vocabulary(writer, source.folder, source.weights.specs[EMBED].shape[0], template, end_id)
    plan = plan_of(source, file_type, bool(encoder.importance))
    write_tensors(writer, plan, lambda planned, rows: encode(source, planned, rows, encoder), encoder.workers, on_bytes)


def write_tensors(
    writer: GGUFWriter,
    plan: list[Planned],
    encode_rows: Callable[[Planned, slice], Array],
    workers: int,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> None:
    """Write everything from the header to the last tensor, and close the file, also where it fails."""
    with closing(writer):
        for item in plan:
            writer.add_tensor_info(item.target, item.shape, np.dtype(np.float32), item.size_bytes, raw_dtype=item.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        work = [(item, rows) for item in plan for rows in item.blocks()]
        # None after the last: pairs of a block and what follows it tell where a tensor ends.
        ends = [None if b is None else b[0].target for _, b in pairwise([*work, None])]
        with closing(in_order(lambda task: encode_rows(*task), work, workers)) as encoded:
            for (item, _), follows, data in zip(work, ends, encoded, strict=True):
                writer.write_block(item.target, data, is_last=item.target != follows)
                on_bytes(data.nbytes)


def in_order(function: Callable[[In], Out], items: Iterable[In], workers: int) -> Generator[Out, None, None]:
    """`function` of each item, by `workers` threads, in the items' order; at most two results wait for each."""
    if workers <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def stored_rows(source: Source, name: str, rows: slice) -> Array:
    """Rows of a source tensor in the GGUF file's order, (n, row length), in storage dtype."""
    raw = source.mapped(name)
    raw = raw.reshape(-1, raw.shape[-1])
    order = source.row_order(name)
    if order is None:
        return raw[rows]
    if len(source.weights.specs[name].shape) == 1:  # a bias: one row here, whose values move
        return raw[:, order]
    return raw[order[rows]]


def encode(source: Source, planned: Planned, rows: slice, encoder: Encoder) -> Array:
    """Rows of one tensor as the bytes of its type; DataError where a weight cannot be stored."""
    if planned.values is not None:
        return planned.values.reshape(-1, planned.shape[-1])[rows]
    assert planned.name is not None
    stored = stored_rows(source, planned.name, rows)
    dtype = source.weights.specs[planned.name].dtype
    if _SAME.get(planned.kind) == dtype:
        if not _is_finite(stored, dtype):
            _refuse(source, planned, rows, to_f32(stored, dtype), np.inf)
        return np.ascontiguousarray(stored)
    if planned.kind == T.Q8_0 and dtype in ("BF16", "F32") and encoder.engine != "llama.cpp":
        blocks = np.ascontiguousarray(stored).reshape(-1, 32)
        largest = gguf_q8_0.magnitudes(blocks)
        if _fits(largest, F16_MAX):
            return gguf_q8_0.quantize(blocks, largest).reshape(len(stored), -1)
    block, size = GGML_QUANT_SIZES[planned.kind]
    out = np.empty((len(stored), stored.shape[1] // block * size), np.uint8)
    step = max(1, (FAST_VALUES if planned.kind in _FAST else SLOW_VALUES) // stored.shape[1])
    for start in range(0, len(stored), step):
        part = slice(rows.start + start, min(rows.start + start + step, rows.stop))
        values = np.ascontiguousarray(to_f32(stored[start : start + step], dtype))
        limit = np.inf if planned.kind in (T.F32, T.BF16) else F16_MAX
        if not _fits(values, limit):
            _refuse(source, planned, part, values, limit)
        out[start : start + step] = _encoded(values, planned, encoder)
    return out


def _encoded(values: F32, planned: Planned, encoder: Encoder) -> Array:
    if planned.kind == T.F32:
        return values.view(np.uint8)
    if planned.kind == T.F16:
        return values.astype(np.float16).view(np.uint8)
    if planned.kind == T.BF16:
        return from_f32(values, "BF16").view(np.uint8)
    return quantize(values, planned.kind, encoder.engine, encoder.importance.get(planned.target))


def check_finite(source: Source) -> None:
    """DataError that names the first weight that is not a number; reads everything."""
    for item in plan_of(source, "f32"):
        for rows in item.blocks():
            encode(source, item, rows, Encoder())


def _fits(values: F32, limit: float) -> bool:
    if values.size == 0:
        return True
    low, high = float(values.min()), float(values.max())  # NaN where there is one
    return -limit <= low and high <= limit and math.isfinite(low) and math.isfinite(high)


# The exponent's bits, all of them set for infinity and NaN.
_EXPONENT = {"F32": (np.uint32, 0x7F800000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}


def _is_finite(stored: Array, dtype: str) -> bool:
    kind, exponent = _EXPONENT[dtype]
    bits = np.ascontiguousarray(stored).view(kind)
    return bits.size == 0 or int((bits & kind(exponent)).max()) < exponent


def _refuse(source: Source, planned: Planned, rows: slice, values: F32, limit: float) -> None:
    bad = np.argwhere(~((np.abs(values) <= limit) & np.isfinite(values)))
    row, column = (int(n) for n in bad[0])
    assert planned.name is not None
    order = source.row_order(planned.name)
    where = row + rows.start if order is None or len(planned.shape) == 1 else int(order[row + rows.start])
    beyond = "" if limit == np.inf else f" or beyond ±{limit:.0f}, the largest that {planned.kind.name} holds"
    raise DataError(
        f"{source.folder}: {planned.name} has {values[row, column]} in row {where}, column {column}: not finite"
        f"{beyond}. "
        "Look for a failed training or merge in this tensor."
    )


def decoded_rows(data: Array, kind: T) -> F32:
    """Rows of a GGUF tensor, (n, bytes of a row), as float32 (n, row length)."""
    return dequantize(data, kind)
