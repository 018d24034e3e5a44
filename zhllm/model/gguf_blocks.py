"""Float rows to the blocks of any GGUF type and back, by our own code or by llama.cpp's.

The rule kept here: both write the same bytes. Q8_0 and Q4_0 stand here because gguf-py's way through whole
arrays is several times slower; K-quants are in `kquants`, weighted ones in `kquants_weighted`.
"""

from __future__ import annotations

import threading
from typing import Final, Literal

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize as gguf_dequantize

from zhllm.errors import MissingError
from zhllm.model import kquants, kquants_weighted
from zhllm.model.tensors import F32, Array

# The largest that a float16 holds: blocks keep their scales so.
F16_MAX: Final = 65504.0

# Types that only llama.cpp's quantiser writes.
LLAMA_ONLY: Final = (T.Q3_K, T.Q2_K)

# Values worked on at once: a few arrays of them stay in a core's cache.
_PART: Final = 1 << 16


def quantize(rows: F32, kind: T, engine: Literal["own", "llama.cpp"] = "own", importance: F32 | None = None) -> Array:
    """Finite float32 (N, row length) as uint8 (N, bytes per row).

    `importance` (row length,) is the weight of each input channel's error. Raises MissingError where
    llama.cpp's quantiser is needed and not installed.
    """
    if engine == "llama.cpp" or kind in LLAMA_ONLY:
        return _by_llama_cpp(rows, kind, importance)
    if importance is not None and kind != T.Q8_0:
        return kquants_weighted.quantize(rows, kind, importance)
    write = {T.Q8_0: _write_q8_0, T.Q4_0: _write_q4_0}.get(kind)
    if write is None:
        return kquants.quantize(rows, kind)
    block, size = GGML_QUANT_SIZES[kind]
    x = rows.reshape(-1, block)
    out = np.empty((len(x), size), np.uint8)
    step = _PART // block
    for start in range(0, len(x), step):
        write(x[start : start + step], out[start : start + step])
    return out.reshape(len(rows), -1)


def _by_llama_cpp(rows: F32, kind: T, importance: F32 | None) -> Array:
    chunk = kquants.llama_quantize_chunk()
    if chunk is None:
        raise MissingError(
            f"{kind.name} tensors and --quantizer llama.cpp need llama.cpp's quantiser, which no installed xllamacpp "
            'exports: pip install "zhllm[llama]".'
        )
    return chunk(rows, kind, importance)


# The largest float32 below a half: x plus it with x's sign, cut off, is x rounded half away from zero, as C's
# roundf does. As bits, because numpy's copysign takes four times as long.
_ALMOST_HALF: Final = np.uint32(0x3EFFFFFF)
_SIGN: Final = np.uint32(0x80000000)

# A block as one record: its codes are moved as 32 bytes at once, not byte by byte.
_Q8_0: Final = np.dtype([("d", "<f2"), ("codes", "V32")])


class _Scratch(threading.local):
    """Each thread's arrays for one part: new ones would be new pages from the system, slower than the work in them."""

    def __init__(self) -> None:
        self.first, self.second = np.empty(_PART, np.float32), np.empty(_PART, np.float32)
        self.codes = np.empty(_PART, np.int8)


_scratch = _Scratch()


def _write_q8_0(x: F32, out: Array) -> None:
    """Blocks (N, 32) as d (F16) and 32 int8: value = d · code, d the largest magnitude / 127.

    Speed decides the order of what is done here: the largest of each block is sought across a transposed
    copy (1.4 ns a value; along the rows 4.1), and the factors are spread before they are multiplied.
    """
    across = _scratch.first[: x.size].reshape(32, -1)
    np.copyto(across, x.T)
    d = np.abs(across, out=across).max(axis=0) / np.float32(127)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    scaled, half = (buffer[: x.size].reshape(x.shape) for buffer in (_scratch.first, _scratch.second))
    np.copyto(half, inverse[:, None])
    np.multiply(half, x, out=scaled)
    bits = half.view(np.uint32)
    np.bitwise_and(scaled.view(np.uint32), _SIGN, out=bits)
    np.bitwise_or(bits, _ALMOST_HALF, out=bits)
    np.add(scaled, half, out=scaled)
    codes = _scratch.codes[: x.size]
    np.copyto(codes.reshape(x.shape), scaled, casting="unsafe")
    blocks = out.reshape(-1).view(_Q8_0)
    blocks["d"] = d
    blocks["codes"] = codes.view(_Q8_0["codes"])


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
