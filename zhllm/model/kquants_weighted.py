"""Quantisation with an importance matrix: the error of each input channel counts as much as the channel is used.

As in `kquants` the bytes are those of llama.cpp's x86-64 build (the `_impl` functions of ggml-quants.c).
Shape letters as there: N rows, S super-blocks of 256, E values in a group, G groups; `x` is float32 (E, G).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T

from zhllm.model.kquants import (
    F32,
    U8,
    _Affine,
    _Fit,
    _SixBit,
    fit_affine,
    fit_symmetric,
    pack_affine,
    pack_q6_k,
    round_to_codes,
    symmetric_divisors,
)
from zhllm.model.tensors import Array

# (rmin, rdelta, nstep) of make_qkx3_quants.
_OFFSETS: Final = tuple(np.float32(-0.9) + np.float32(0.05) * np.float32(i) for i in range(37))
_AFFINE: Final = {bits: _Affine(np.float32(2**bits - 1), _OFFSETS) for bits in (4, 5)}
_BITS: Final = {T.Q4_K: 4, T.Q5_K: 5, T.Q4_1: 4, T.Q5_1: 5, T.Q4_0: 4, T.Q5_0: 5}

# Values in one batch, 384 KiB for each float32 array (measured for `kquants`).
_BATCH: Final = 384 * 256
# Below this a group of scales is "all zero" (llama.cpp's GROUP_MAX_EPS).
_ZERO: Final = np.float32(1e-15)


def quantize(rows: F32, kind: T, importance: F32) -> Array:
    """Finite float32 (N, row length) as uint8 (N, bytes per row); `importance` (row length,) is not negative.

    For Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.
    """
    block, size = GGML_QUANT_SIZES[kind]
    out = np.empty((len(rows), rows.shape[1] // block * size), np.uint8)
    step = max(1, _BATCH // rows.shape[1])
    with np.errstate(all="ignore"):  # groups of tiny values overflow or divide 0 by 0, as in C
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            used = np.broadcast_to(importance, part.shape)
            _write(part, np.ascontiguousarray(used), kind, out[start : start + step].reshape(-1, size))
    return out


def _write(rows: F32, used: F32, kind: T, out: U8) -> None:
    if kind == T.Q6_K:
        x, weights = _groups(rows, 16), _groups(used, 16)
        pack_q6_k(x, *fit_symmetric(x, weights, symmetric_divisors(32)), out)
        return
    # Mean square of what is quantised together: a super-block, or for the 32-value types the whole row.
    together = rows.reshape(-1, 256) if kind in (T.Q4_K, T.Q5_K) else rows
    squares = _in_turn(np.ascontiguousarray((together * together).T))
    if kind in (T.Q4_K, T.Q5_K):
        squares = np.float32(2) * squares
    mean = np.repeat(squares / np.float32(together.shape[1]), together.shape[1] // 32)
    x = _groups(rows, 32)
    weights = _groups(used, 32) * np.sqrt(mean + x * x)
    if kind in (T.Q4_0, T.Q5_0):
        _write_symmetric(x, weights, _BITS[kind], out)
        return
    fit = fit_affine(x, weights, _AFFINE[_BITS[kind]])
    if kind in (T.Q4_1, T.Q5_1):
        _write_affine(x, fit, _BITS[kind], out)
        return
    totals = np.ascontiguousarray(weights.sum(axis=0).reshape(-1, 8).T)
    scales, minima = (_six_bit(np.ascontiguousarray(v.reshape(-1, 8).T), totals) for v in (fit.scale, -fit.low))
    pack_affine(x, fit, scales, minima, _AFFINE[_BITS[kind]].top, out)


def _groups(values: F32, size: int) -> F32:
    return np.ascontiguousarray(values.reshape(-1, size).T)


def _six_bit(x: F32, weights: F32) -> _SixBit:
    """(8, S) values ≥ 0 as whole float32 0 … 63, (S, 8), and their F16 unit (S, 1), by weighted least squares.

    make_qp_quants: the best of nine steps, then five rounds in which each code moves where that helps.
    """
    top = np.float32(63)
    largest = x.max(axis=0)
    empty = largest < _ZERO
    largest = np.where(empty, np.float32(1), largest)
    inverse = top / largest
    best = _squared_error(x, weights, np.rint(inverse * x), np.reciprocal(inverse))
    for tenth in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = (np.float32(0.1) * np.float32(tenth) + top) / largest
        error = _squared_error(x, weights, np.minimum(np.rint(tried * x), top), np.reciprocal(tried))
        won = error < best
        inverse, best = np.where(won, tried, inverse), np.where(won, error, best)
    codes = np.minimum(np.rint(inverse * x), top)
    weights_x = weights * x
    sum_xl, sum_l2 = _in_turn(weights_x * codes), _in_turn(weights * codes * codes)
    for _ in range(5):
        for i in range(len(x)):
            xl, l2 = sum_xl - weights_x[i] * codes[i], sum_l2 - weights[i] * codes[i] * codes[i]
            new = np.minimum(np.rint(x[i] * l2 / xl), top)
            new_xl, new_l2 = xl + weights_x[i] * new, l2 + weights[i] * new * new
            better = new_xl * new_xl * sum_l2 > sum_xl * sum_xl * new_l2
            moved = (xl > 0) & (l2 > 0) & (new != codes[i]) & better
            codes[i] = np.where(moved, new, codes[i])
            sum_xl, sum_l2 = np.where(moved, new_xl, sum_xl), np.where(moved, new_l2, sum_l2)
    unit = np.where((sum_l2 > 0) & ~empty, sum_xl / sum_l2, np.float32(0)).astype(np.float32)
    codes[:, empty] = 0
    return np.ascontiguousarray(codes.T), unit.astype("<f2")[:, None]


def _squared_error(x: F32, weights: F32, codes: F32, scale: F32) -> F32:
    difference = x - scale * codes
    return _in_turn(weights * difference * difference)


def _in_turn(values: F32) -> F32:
    """Sums over axis 0, one value after the other, as C adds; of a single column numpy would add pairs."""
    total: F32 = values.sum(axis=0) if values.shape[1] > 1 else np.add.accumulate(values, axis=0)[-1]
    return total


def _write_symmetric(x: F32, weights: F32, bits: int, out: U8) -> None:
    """Q4_0 and Q5_0 blocks: d (F16), [bit 4 of 32 codes,] 16 bytes of low nibbles."""
    top = np.float32(2 ** (bits - 1))
    scale, inverse = fit_symmetric(x, weights, symmetric_divisors(int(top)))
    codes = np.clip(np.rint(x * inverse), -top, top - np.float32(1)) + top
    codes[:, np.abs(x).max(axis=0) < _ZERO] = 0
    _pack(codes, scale[:, None], bits, out)


def _write_affine(x: F32, fit: _Fit, bits: int, out: U8) -> None:
    """Q4_1 and Q5_1 blocks: d and minimum (F16), [bit 4 of 32 codes,] 16 bytes of low nibbles."""
    codes = np.empty_like(x)
    round_to_codes(x, fit.origin, fit.inverse, np.float32(2**bits - 1), codes)
    codes[:, fit.scale == 0] = 0
    _pack(codes, np.stack([fit.scale, fit.low], axis=1), bits, out)


def _pack(codes: F32, halves: F32, bits: int, out: U8) -> None:
    natural = codes.astype(np.uint8).T
    width = 2 * halves.shape[1]
    out[:, :width] = halves.astype("<f2").view(np.uint8)
    if bits == 5:
        out[:, width:-16] = np.packbits(natural >> 4, axis=1, bitorder="little")
    low = natural & 15
    out[:, -16:] = low[:, :16] | low[:, 16:] << 4
