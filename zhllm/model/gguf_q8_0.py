"""Q8_0 blocks in numpy, from float32 or straight from bfloat16, byte for byte those of llama.cpp.

A block is d (F16) and 32 int8: value = d · code, d being the largest magnitude / 127, and a code x · (1 / d) in
float32, rounded half away from zero. Source: `quantize_row_q8_0_ref` of llama.cpp's ggml/src/ggml-quants.c.

Speed decides how things are done here: numpy does few passes, each over arrays that stay in a core's cache and
stand ready, and each in vector instructions. Per value 3.6 ns, llama.cpp's own portable loop 6.3 (Xeon 2.5 GHz).

Shape letter: N blocks.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from zhllm.model.tensors import F32, Array

# Values worked on at once: the arrays of one part take 1.3 MB. With half as many numpy's calls weigh 6 % more.
PART: Final = 1 << 17

# A block as one record: its codes are moved as 32 bytes at once, not byte by byte.
_BLOCK: Final = np.dtype([("d", "<f2"), ("codes", "V32")])

# Four values as one item, by the bytes of a value.
_FOUR: Final = {2: np.dtype(np.uint64), 4: np.dtype(np.complex128)}

# For a smaller d than this, 2 / d is no float32.
_NARROW: Final = np.float32(5.9e-39)
_ALMOST_HALF: Final = np.nextafter(np.float32(0.5), np.float32(0))


class _Scratch(threading.local):
    """Each thread's arrays for one part: new ones would be new pages from the system, slower than the work in them."""

    def __init__(self) -> None:
        self.values = np.empty(PART, np.float32)
        self.doubled, self.half = np.empty(PART, np.int16), np.empty(PART, np.int16)
        self.codes = np.empty(PART, np.int8)


_scratch = _Scratch()


def magnitudes(blocks: Array) -> F32:
    """The largest magnitude of each block: float32, or bfloat16 as uint16 bits, (N, 32) as float32 (N,).

    Not a number or infinite where a value is: such bits are larger than any number's.
    """
    bits = blocks.view(np.dtype(f"u{blocks.itemsize}"))
    unsigned = bits.dtype.type
    found = np.empty((len(bits), 4), unsigned)
    for start in range(0, len(bits), PART // 32):
        part = bits[start : start + PART // 32]
        # Four values are moved as one, so that the block's eight fours stand below each other and rows are compared.
        across = _scratch.values.view(unsigned)[: part.size]
        four = _FOUR[bits.itemsize]
        np.copyto(across.view(four).reshape(8, -1), part.view(four).T)
        np.bitwise_and(across, unsigned(np.iinfo(unsigned).max >> 1), out=across)
        np.maximum.reduce(across.reshape(8, -1), axis=0, out=found[start : start + len(part)].reshape(-1))
    largest = np.maximum.reduce(np.ascontiguousarray(found.T), axis=0)
    return largest.view(np.float32) if bits.itemsize == 4 else _widened(largest)


def quantize(blocks: Array, largest: F32) -> Array:
    """Blocks as `magnitudes` takes them, all finite, and what it gave, as uint8 (N, 34)."""
    d = largest / np.float32(127)
    # Twice the factor: twice the quotient is cut off to a whole number, whose last bit decides the rounding.
    out = np.empty(len(blocks), _BLOCK)
    out["d"] = d
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factors = np.where(d == 0, np.float32(0), np.float32(2) / d)
        for start in range(0, len(blocks), PART // 32):
            part = slice(start, start + PART // 32)
            out["codes"][part] = _codes(blocks[part].reshape(-1), factors[part]).view("V32")
    narrow = np.flatnonzero((d > 0) & (d < _NARROW))
    if narrow.size:
        out["codes"][narrow] = _narrow_codes(blocks[narrow], d[narrow]).view("V32")[:, 0]
    return out.view(np.uint8).reshape(-1, 34)


def _widened(bits: Array) -> F32:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _codes(values: Array, factors: F32) -> Array:
    """Values / d rounded half away from zero, as int8 that the next call overwrites."""
    scaled = _scratch.values[: values.size]
    if values.itemsize == 2:
        bits = scaled.view(np.uint32)
        np.copyto(bits, values)
        values = np.left_shift(bits, np.uint32(16), out=bits).view(np.float32)
    np.multiply(values, np.repeat(factors, 32), out=scaled)
    doubled, half, codes = (kept[: values.size] for kept in (_scratch.doubled, _scratch.half, _scratch.codes))
    np.copyto(doubled, scaled, casting="unsafe")
    # t, cut off towards zero, gives (t + 1) >> 1, of a negative one t >> 1: u = t - [t < 0], then u - (u >> 1).
    np.right_shift(doubled, 15, out=half)
    np.add(doubled, half, out=doubled)
    np.right_shift(doubled, 1, out=half)
    np.subtract(doubled, half, out=doubled)
    np.copyto(codes, doubled, casting="unsafe")
    return codes


def _narrow_codes(blocks: Array, d: F32) -> Array:
    """Codes (N, 32) where 2 / d, or even 1 / d, is infinite: C's x86-64 code makes 0 of what is not finite then."""
    values = _widened(blocks) if blocks.itemsize == 2 else blocks
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * (np.float32(1) / d)[:, None]
    scaled[~np.isfinite(scaled)] = 0
    return (scaled + np.copysign(_ALMOST_HALF, scaled)).astype(np.int8)
