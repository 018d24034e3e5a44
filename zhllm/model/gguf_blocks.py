"""Float rows to the blocks of any GGUF type and back, by our own code or by llama.cpp's.

The rule kept here: both write the same bytes. Q4_0 stands here and Q8_0 in `gguf_q8_0` because gguf-py's way through
whole arrays is several times slower; K-quants are in `kquants`, weighted ones in `kquants_weighted`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize as gguf_dequantize

from zhllm.errors import MissingError
from zhllm.model import gguf_q8_0, kquants, kquants_weighted
from zhllm.model.tensors import F32, Array

# The largest that a float16 holds: blocks keep their scales so.
F16_MAX: Final = 65504.0

# Types that only llama.cpp's quantiser writes.
LLAMA_ONLY: Final = (T.Q3_K, T.Q2_K)

# Whose code makes blocks. "auto" is llama.cpp's, but for Q8_0, of which ours is the faster.
Engine: TypeAlias = Literal["own", "llama.cpp", "auto"]

# Values worked on at once: a few arrays of them stay in a core's cache.
_PART: Final = 1 << 16


def quantize(rows: F32, kind: T, engine: Engine = "own", importance: F32 | None = None) -> Array:
    """Finite float32 (N, row length) as uint8 (N, bytes per row).

    `importance` (row length,) is the weight of each input channel's error. Raises MissingError where
    llama.cpp's quantiser is needed and not installed.
    """
    if engine == "llama.cpp" or kind in LLAMA_ONLY or (engine == "auto" and kind != T.Q8_0):
        return _by_llama_cpp(rows, kind, importance)
    block, size = GGML_QUANT_SIZES[kind]
    if kind == T.Q8_0:
        blocks = np.ascontiguousarray(rows).reshape(-1, block)
        return gguf_q8_0.quantize(blocks, gguf_q8_0.magnitudes(blocks)).reshape(len(rows), -1)
    if importance is not None:
        return kquants_weighted.quantize(rows, kind, importance)
    if kind != T.Q4_0:
        return kquants.quantize(rows, kind)
    x = rows.reshape(-1, block)
    out = np.empty((len(x), size), np.uint8)
    step = _PART // block
    for start in range(0, len(x), step):
        _write_q4_0(x[start : start + step], out[start : start + step])
    return out.reshape(len(rows), -1)


def _by_llama_cpp(rows: F32, kind: T, importance: F32 | None) -> Array:
    chunk = kquants.llama_quantize_chunk()
    if chunk is None:
        raise MissingError(
            f"{kind.name} tensors and --quantizer llama.cpp need llama.cpp's quantiser, which no installed xllamacpp "
            'exports: pip install "zhllm[llama]".'
        )
    return chunk(rows, kind, importance)


def _write_q4_0(x: F32, out: Array) -> None:
    """Blocks (N, 32) as d (F16) and 32 nibbles: value = d · (code - 8), d = the extreme value / -8."""
    across = np.ascontiguousarray(x.T)
    high, low = across.max(axis=0), across.min(axis=0)
    extreme = np.where(high > -low, high, low)
    tied = np.flatnonzero((high == -low) & (high != 0))  # the first of the two decides
    extreme[tied] = np.take_along_axis(x[tied], np.abs(x[tied]).argmax(axis=1)[:, None], axis=1)[:, 0]
    d = (extreme + np.float32(0)) / np.float32(-8)  # + 0: no -0
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = np.repeat(inverse, 32)
    np.multiply(codes, x.reshape(-1), out=codes)
    codes += np.float32(8.5)
    nibbles = np.minimum(codes.astype(np.int8), np.int8(15)).view(np.uint8).reshape(-1, 32)
    out[:, 0:2] = d.astype("<f2")[:, None].view(np.uint8)
    out[:, 2:] = nibbles[:, :16] | nibbles[:, 16:] << 4


def dequantize(data: Array, kind: T) -> F32:
    """The inverse: uint8 (N, bytes per row) as float32 (N, row length), in parts that stay in the cache."""
    block, size = GGML_QUANT_SIZES[kind]
    if kind == T.F32:
        return data.view(np.float32)
    if kind == T.F16:
        return data.view(np.float16).astype(np.float32)
    if kind == T.BF16:
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    blocks = np.ascontiguousarray(data).reshape(-1, size)
    out = np.empty((len(blocks), block), np.float32)
    step = _PART // block
    for start in range(0, len(blocks), step):
        part = blocks[start : start + step]
        if kind == T.Q8_0:
            scale = np.ascontiguousarray(part[:, :2]).view("<f2").astype(np.float32)
            np.multiply(part[:, 2:].view(np.int8), scale, out=out[start : start + step])
        else:
            # One row: gguf-py goes through rows sixteen at a time.
            out[start : start + step] = gguf_dequantize(part.reshape(1, -1), kind).reshape(-1, block)
    return out.reshape(len(data), -1)
