"""Float rows to GGUF blocks in numpy: the K-quants that gguf-py cannot write, and gguf-py's own.

The rule kept here: a K-quant block is byte for byte what llama.cpp's x86-64 build writes without
an importance matrix. Formats and searches are those of `quantize_row_{q4_K,q5_K,q6_K}_ref` in
its ggml/src/ggml-quants.c; `gguf.quants.dequantize` reads the blocks back. The bytes agree
because every float32 operation is done, and every sum added up, in the order of the C loops: a
group's values lie along axis 0, where numpy adds one row after the other (along axis 1 it would
add pairwise), and that build has no fused multiply-add. They may differ, with no effect on the
values read back, in groups narrower than 1e-36; gguf-py's types, in the sign of a zero.

Shape letters: N rows, S super-blocks of 256 values, E values in a group (32; Q6_K: 16),
G groups (8 or 16 in a super-block). `x` is float32 (E, G), column g being group g.
"""

import ctypes
import importlib.util
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, QK_K, GGMLQuantizationType
from gguf.quants import quantize as gguf_quantize
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]
# Whole float32 0 … 63, (S, 8), and the F16 unit (S, 1) to multiply them by.
_SixBit: TypeAlias = tuple[F32, NDArray[np.float16]]
Quantizer: TypeAlias = Callable[[F32, GGMLQuantizationType, F32 | None], U8]

_T = GGMLQuantizationType

_HERE: Final = (_T.Q4_K, _T.Q5_K, _T.Q6_K)

_GGUF_PY: Final = (_T.Q4_0, _T.Q4_1, _T.Q5_0, _T.Q5_1, _T.Q8_0)

# Largest weight taken: F16's largest. The blocks keep their scales as F16, Q4_1 and Q5_1 their
# minimum itself, so anything larger may read back as infinity.
_MAX_WEIGHT: Final = 65504.0

# Values held as float32 while rows are quantised, 8 MiB; a row is never split.
_BLOCK_VALUES: Final = 2**21

# Super-blocks in one batch, 384 KiB for each float32 array. Measured on an AMD EPYC with 1 MiB of
# L2: Q4_K 54 MB/s at 128 (numpy's overhead for each call), 68 at 384, 64 at 512 (cache).
_BATCH: Final = 384

# Below this a Q6_K group is "all zero" (llama.cpp's GROUP_MAX_EPS).
_ZERO: Final = np.float32(1e-15)
# Below this a quotient such as 63 / value overflows float32; the F16 scale is 0 long before.
_TINY: Final = np.float32(1e-36)


def quantize(
    rows: NDArray[np.floating],
    type: GGMLQuantizationType,
    engine: Literal["numpy", "llama"] = "numpy",
) -> U8:
    """Quantise each row on its own; both engines give the same bytes.

    Takes floats (N, row length) and gives uint8 (N, bytes per row). Works through blocks of
    rows, so `rows` may be a memory map: beyond the result it needs about 20 MiB.

    Raises ValueError for a type not written here, an array that is not 2-D, a row length that
    the type's block size does not divide, and a value that is not finite or beyond ±65504;
    RuntimeError where engine "llama" is asked for and not installed.
    """
    row_bytes = _bytes_per_row(rows.shape, type)
    convert = _numpy_engine if engine == "numpy" else llama_quantize_chunk()
    if convert is None:
        found = "no installed xllamacpp exports ggml_quantize_chunk"
        raise RuntimeError(f'engine "llama": {found}. Install xllamacpp, or use engine "numpy".')
    out = np.empty((rows.shape[0], row_bytes), np.uint8)
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        block = np.ascontiguousarray(rows[start : start + step], dtype=np.float32)
        _refuse_unstorable(block, start)
        out[start : start + step] = convert(block, type, None)
    return out


@cache
def llama_quantize_chunk() -> Quantizer | None:
    """llama.cpp's own quantiser out of the xllamacpp wheel, which is not imported; None where there is none.

    The function found takes float32 (N, row length), a type, and None or an importance (row length,), and
    gives uint8 (N, bytes per row). It runs without the GIL, so threads may share a tensor's rows among them.
    """
    spec = importlib.util.find_spec("xllamacpp")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.so"))):
        try:
            chunk = ctypes.CDLL(str(path)).ggml_quantize_chunk
        except (OSError, AttributeError):
            continue
        # (type, source, target, first value, rows, row length, importance matrix) -> bytes
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
        chunk.restype = ctypes.c_size_t
        return partial(_llama_engine, chunk)
    return None


def _llama_engine(chunk: Callable[..., int], rows: F32, type: GGMLQuantizationType, importance: F32 | None) -> U8:
    """`quantize` by ggml_quantize_chunk."""
    # On a bad length ggml aborts the process.
    block_size, block_bytes = GGML_QUANT_SIZES[type]
    if rows.ndim != 2 or rows.shape[1] % block_size or (importance is not None and len(importance) != rows.shape[1]):
        raise ValueError(f"rows of shape {rows.shape} cannot be {type.name}: a block holds {block_size} values.")
    out = np.empty((rows.shape[0], rows.shape[1] // block_size * block_bytes), np.uint8)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    pointer = None if weights is None else weights.ctypes.data
    written = chunk(type.value, rows.ctypes.data, out.ctypes.data, 0, *rows.shape, pointer)
    if written != out.nbytes:
        raise RuntimeError(f"ggml_quantize_chunk wrote {written} bytes, not {out.nbytes}")
    return out


def _bytes_per_row(shape: tuple[int, ...], type: GGMLQuantizationType) -> int:
    """Bytes of one quantised row; raises ValueError for what cannot be quantised at all."""
    if type not in _HERE and type not in _GGUF_PY:
        names = ", ".join(t.name for t in (*_GGUF_PY, *_HERE))
        raise ValueError(f"type {type.name} is not written here. Choose one of {names}.")
    if len(shape) != 2:
        raise ValueError(f"rows have shape {shape}, but two dimensions (rows, length) are needed")
    block_size, block_bytes = GGML_QUANT_SIZES[type]
    if shape[1] % block_size:
        raise ValueError(f"row length {shape[1]} is not a multiple of {block_size}, the block size of {type.name}.")
    return int(shape[1] // block_size * block_bytes)


def _refuse_unstorable(block: F32, first_row: int) -> None:
    """Raise ValueError for a value that a block cannot hold, naming the row in the tensor."""
    if block.size == 0 or (block.max() <= _MAX_WEIGHT and block.min() >= -_MAX_WEIGHT):
        return  # NaN compares False, so it does not return here
    row, column = np.argwhere(~(np.abs(block) <= _MAX_WEIGHT))[0]
    raise ValueError(
        f"row {first_row + row}, column {column}: the value {block[row, column]} is not finite "
        f"or beyond ±{_MAX_WEIGHT:.0f}. Look for a failed training or merge in this tensor."
    )


def _numpy_engine(rows: F32, type: GGMLQuantizationType, importance: None = None) -> U8:
    """`quantize` for rows already checked: contiguous float32 (N, row length)."""
    # Groups of tiny values overflow or divide 0 by 0, as in C; their F16 scale is 0 anyway.
    with np.errstate(all="ignore"):
        if type in _GGUF_PY:
            return np.asarray(gguf_quantize(rows, type), dtype=np.uint8)
        out = np.empty((rows.size // QK_K, GGML_QUANT_SIZES[type][1]), np.uint8)
        blocks = rows.reshape(-1, QK_K)
        for start in range(0, len(blocks), _BATCH):
            part = slice(start, start + _BATCH)
            if type == _T.Q6_K:
                _write_q6_k(blocks[part], out[part])
            else:
                _write_q4_or_q5_k(blocks[part], out[part], _AFFINE[type])
    return out.reshape(rows.shape[0], -1)


class _Affine(NamedTuple):
    """How an affine type is searched: codes 0 … `top`, a trial for `top + offset` steps each."""

    top: np.float32
    offsets: tuple[np.float32, ...]


def tenths(first: float, indices: Iterable[int]) -> tuple[np.float32, ...]:
    """`first + 0.1 i` for each index i, with the float32 roundings of the C expression."""
    return tuple(np.float32(first) + np.float32(0.1) * np.float32(i) for i in indices)


_AFFINE: Final = {
    _T.Q4_K: _Affine(np.float32(15), tenths(-1, range(21))),
    _T.Q5_K: _Affine(np.float32(31), tenths(-0.5, range(16))),
}


class _Fit(NamedTuple):
    """Each (G,): `x ≈ scale · code + low`, low ≤ 0, for `code = round(inverse · (x - origin))`."""

    scale: F32
    inverse: F32
    origin: F32
    low: F32


class _Groups(NamedTuple):
    """What the affine search knows: `x` and weights (E, G), and sums (G,)."""

    x: F32
    weights: F32
    sum_w: F32
    sum_wx: F32


def plain_weights(x: F32) -> F32:
    """A value's weight without an importance matrix: its magnitude plus the group's root mean square."""
    rms = np.sqrt((x * x).sum(axis=0) / np.float32(len(x)))
    weights: F32 = rms + np.abs(x)
    return weights


def fit_affine(x: F32, weights: F32, kind: _Affine) -> _Fit:
    """Weighted least-squares scale and minimum for each group of `x` (make_qkx2_quants, make_qkx3_quants).

    Of the plain min-max fit and one refit for each offset, the one of least weighted squared error wins.
    """
    groups = _Groups(x, weights, weights.sum(axis=0), (weights * x).sum(axis=0))
    high, low = x.max(axis=0), np.minimum(x.min(axis=0), np.float32(0))
    span = high - low
    flat = np.flatnonzero(span <= _TINY)  # their codes stay 0, which no trial can improve
    span[flat] = 1
    inverse = kind.top / span
    scale = np.float32(1) / inverse
    scale[flat] = 0
    codes, work, spare = (np.empty_like(x) for _ in range(3))
    round_to_codes(x, low, inverse, kind.top, codes)
    best = _Fit(scale, inverse, low.copy(), low)
    best_error = _weighted_error(groups, codes, scale, low, work)
    for offset in kind.offsets:
        # As in llama.cpp, the origin of a trial is the last winner's minimum, not the group's.
        span = high - best.low
        span[flat] = 1
        inverse = (offset + kind.top) / span
        round_to_codes(x, best.low, inverse, kind.top, codes)
        scale, low, solved = _solve_affine(groups, codes, work, spare)
        error = _weighted_error(groups, codes, scale, low, work)
        won = np.flatnonzero(solved & (error < best_error))
        tried = (scale, inverse, best.low, low, error)  # best.low is read before it is written
        for kept, new in zip((*best, best_error), tried, strict=True):
            kept[won] = new[won]
    return best


def round_to_codes(x: F32, origin: F32, inverse: F32, top: np.float32, codes: F32) -> None:
    """Write `round(inverse · (x - origin))`, clipped to 0 … top, into float32 `codes` (E, G)."""
    np.subtract(x, origin, out=codes)
    np.multiply(codes, inverse, out=codes)
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(0), top, out=codes)


def _solve_affine(groups: _Groups, codes: F32, work: F32, spare: F32) -> tuple[F32, F32, Mask]:
    """Scale and low, each (G,), that fit `codes` to `x` best with low ≤ 0; and where solvable."""
    np.multiply(groups.weights, codes, out=work)
    sum_l = work.sum(axis=0)
    # One product serves both sums, in the order (w l) x and (w l) l of the C source.
    sum_xl = np.multiply(work, groups.x, out=spare).sum(axis=0)
    sum_l2 = np.multiply(work, codes, out=work).sum(axis=0)
    determinant = groups.sum_w * sum_l2 - sum_l * sum_l
    scale = (groups.sum_w * sum_xl - groups.sum_wx * sum_l) / determinant
    low = (sum_l2 * groups.sum_wx - sum_l * sum_xl) / determinant
    above = np.flatnonzero(low > 0)
    scale[above] = sum_xl[above] / sum_l2[above]
    low[above] = 0
    return scale, low, determinant > 0


def _weighted_error(groups: _Groups, codes: F32, scale: F32, low: F32, work: F32) -> F32:
    """`Σ weights · (scale · codes + low - x)²` of each group, (G,)."""
    np.multiply(codes, scale, out=work)
    np.add(work, low, out=work)
    np.subtract(work, groups.x, out=work)
    np.multiply(work, work, out=work)
    error: F32 = np.multiply(work, groups.weights, out=work).sum(axis=0)
    return error


def _write_q4_or_q5_k(blocks: F32, out: U8, kind: _Affine) -> None:
    """Quantise `blocks` (S, 256) into `out`: d, dmin, 8 packed scale pairs, [bit 4,] low nibbles.

    A value reads back as `d · scale · code - dmin · minimum`, scale and minimum 6 bits a group.
    """
    x = np.ascontiguousarray(blocks.reshape(-1, 32).T)
    fit = fit_affine(x, plain_weights(x), kind)
    pack_affine(x, fit, _six_bit(fit.scale.reshape(-1, 8)), _six_bit(-fit.low.reshape(-1, 8)), kind.top, out)


def pack_affine(x: F32, fit: _Fit, by_scale: _SixBit, by_minimum: _SixBit, top: np.float32, out: U8) -> None:
    """Write the blocks of `x` (32, G) into `out`, with the group's scales and minima in six bits as given."""
    (scales, d), (minima, d_min) = by_scale, by_minimum
    step = (d.astype(np.float32) * scales).reshape(-1)
    minimum = (d_min.astype(np.float32) * minima).reshape(-1)
    lost = np.flatnonzero(step == 0)
    step[lost] = 1
    codes = x + minimum
    np.divide(codes, step, out=codes)
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(0), top, out=codes)
    # Codes under a zero scale are never looked at; llama.cpp leaves the search's in them.
    found = np.empty((len(x), len(lost)), np.float32)
    round_to_codes(x[:, lost], fit.origin[lost], fit.inverse[lost], top, found)
    codes[:, lost] = found
    natural = codes.astype(np.uint8).T.reshape(-1, 8, 32)
    out[:, 0:2] = d.view(np.uint8)
    out[:, 2:4] = d_min.view(np.uint8)
    out[:, 4:16] = _pack_scale_pairs(scales.astype(np.uint8), minima.astype(np.uint8))
    if top > 15:
        # Bit g of byte i is bit 4 of value i of group g.
        high = np.packbits(natural >> 4, axis=1, bitorder="little")
        out[:, 16:48] = high.reshape(-1, 32)
    low = natural & 15
    out[:, -128:] = (low[:, 0::2] | low[:, 1::2] << 4).reshape(-1, 128)


def _six_bit(values: F32) -> _SixBit:
    """(S, 8) values ≥ 0 as whole float32 0 … 63 and the F16 unit (S, 1) to multiply them by."""
    largest = values.max(axis=1, keepdims=True)
    inverse = np.where(largest > _TINY, np.float32(63) / largest, np.float32(0))
    whole = np.clip(np.rint(inverse * values), np.float32(0), np.float32(63))
    return whole, np.maximum(largest / np.float32(63), np.float32(0)).astype("<f2")


def _pack_scale_pairs(scales: U8, minima: U8) -> U8:
    """Two (S, 8) of 6 bits in (S, 12) bytes.

    Bytes 0-3 and 4-7 hold the scales and minima of groups 0-3, bytes 8-11 the low nibbles of
    groups 4-7 (minimum above scale), whose two high bits fill bytes 0-7 up.
    """
    packed = np.empty((len(scales), 12), np.uint8)
    packed[:, 0:4] = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    packed[:, 4:8] = minima[:, :4] | (minima[:, 4:] >> 4) << 6
    packed[:, 8:12] = scales[:, 4:] & 15 | (minima[:, 4:] & 15) << 4
    return packed


def symmetric_divisors(top: int) -> tuple[np.float32, ...]:
    """Steps tried; `top` is not tried again at its place: rounding could let it win a lost tie."""
    return tenths(top, (0, *range(-9, 0), *range(1, 10)))


def fit_symmetric(x: F32, weights: F32, divisors: tuple[np.float32, ...]) -> tuple[F32, F32]:
    """Scale and the codes' inverse step, each (G,), of `value ≈ scale · code`, code -top … top - 1.

    Weighted least squares (make_qx_quants, rmse_type 1): of the trial steps, the first of which is -top,
    the one whose codes explain most wins. The extreme value is given the negative end, so scales are
    negative where it is positive. Both are 0 for a group that is all zero.
    """
    top = divisors[0]
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=0)[None], axis=0)[0]
    zero = np.abs(extreme) < _ZERO
    weights_x = weights * x
    scale, best = np.zeros_like(extreme), np.full_like(extreme, -1)
    best_inverse = -top / extreme
    codes, work = np.empty_like(x), np.empty_like(x)
    for divisor in divisors:
        inverse = -divisor / extreme
        np.multiply(x, inverse, out=codes)
        np.rint(codes, out=codes)
        np.clip(codes, -top, top - np.float32(1), out=codes)
        sum_xl = np.multiply(weights_x, codes, out=work).sum(axis=0)
        np.multiply(weights, codes, out=work)
        sum_l2 = np.multiply(work, codes, out=work).sum(axis=0)
        won = np.flatnonzero((sum_l2 > 0) & (sum_xl * sum_xl > best * sum_l2))
        best_inverse[won] = inverse[won]
        scale[won] = sum_xl[won] / sum_l2[won]
        best[won] = scale[won] * sum_xl[won]
    scale[zero] = best_inverse[zero] = 0
    return scale, best_inverse


def _write_q6_k(blocks: F32, out: U8) -> None:
    """Quantise `blocks` (S, 256) into `out`: low nibbles, high bit pairs, 16 int8 scales, d.

    A value reads back as `d · scale · (code - 32)`.
    """
    x = np.ascontiguousarray(blocks.reshape(-1, 16).T)
    pack_q6_k(x, *fit_symmetric(x, x * x, symmetric_divisors(32)), out)


def pack_q6_k(x: F32, scale: F32, inverse: F32, out: U8) -> None:
    """Write the blocks of `x` (16, G) into `out`, with the scales found for its groups."""
    by_block = scale.reshape(-1, 16)
    extreme = np.take_along_axis(by_block, np.abs(by_block).argmax(axis=1)[:, None], axis=1)
    empty = np.abs(extreme[:, 0]) < _ZERO
    extreme[empty] = 1
    unit = np.float32(-128) / extreme
    scales = np.minimum(np.rint(unit * by_block), np.float32(127))
    d = (np.float32(1) / unit).astype("<f2")
    step = (d.astype(np.float32) * scales).reshape(-1)
    lost = np.flatnonzero(step == 0)
    step[lost] = 1
    codes = np.divide(x, step)
    # Nobody looks at codes under a zero scale; llama.cpp leaves the search's there, the lowest in a group of zeros.
    codes[:, lost] = np.where(inverse[lost] == 0, np.float32(-32), x[:, lost] * inverse[lost])
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(-32), np.float32(31), out=codes)
    natural = (codes + np.float32(32)).astype(np.uint8).T.reshape(-1, 2, 4, 32)
    low, high = natural & 15, natural >> 4
    out[:, 0:128] = (low[:, :, 0:2] | low[:, :, 2:4] << 4).reshape(-1, 128)
    pairs = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    out[:, 128:192] = pairs.reshape(-1, 64)
    out[:, 192:208] = scales.astype(np.int8).view(np.uint8)
    out[:, 208:210] = d.view(np.uint8)
    out[empty] = 0
