"""New embedding rows, made from the base's own, block by block: never more than a few MB beside the tensor read.

V base rows, N new rows, H hidden size. A new row is described by the base ids of its text, its
sub-tokens; control pieces and padding have no text, and get the mean of all base rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from zhllm.model.tensors import F32, Array, Checkpoint, Spec, Writer, from_f32, row_blocks, to_f32

Init = Literal["subtoken-mean", "mean", "zero", "normal"]

# Float32 arithmetic on a block of bf16 rows takes some eight times its size; this keeps that below a
# real model's largest tensor.
BLOCK_BYTES = 4 << 20


def new_rows(
    base: Checkpoint, name: str, base_rows: int, sub_ids: Sequence[Sequence[int]], init: Init, seed: int = 0
) -> Iterator[F32]:
    """Blocks of (N, H) float32 rows for a matrix; row k is made for the sub-tokens `sub_ids[k]`.

    Every rule reads this matrix alone, and of it the first `base_rows` rows, so embeddings and head
    each follow their own; rows behind them pad the base and say nothing. A row without sub-tokens is
    the mean row by any rule: in a head its logit is then the mean of the V base logits, and since
    exp(mean) <= mean(exp), n of them take at most n / V as much probability as the base's tokens do.

    - subtoken-mean: the mean of the rows `sub_ids[k]`.
    - mean: the mean of all rows (Hewitt 2021, "Initializing New Word Embeddings for Pretrained
      Language Models"): no new token is likelier than the base's are on average.
    - normal: drawn with the mean and the standard deviation of each dimension, as CLP-Transfer
      (Ostendorff and Rehm 2023) starts: Hewitt's normal without its covariances.
    - zero: zeros.
    """
    matrix, dtype = base.raw(name)[:base_rows], base.specs[name].dtype
    mean, deviation = moments(matrix, dtype)
    rng = np.random.default_rng((seed, *name.encode()))
    for block in row_blocks(len(sub_ids), mean.nbytes, BLOCK_BYTES):
        rows = np.tile(mean, (len(sub_ids[block]), 1))
        for row, ids in zip(rows, sub_ids[block], strict=True):
            if ids and init == "subtoken-mean":
                row[:] = to_f32(matrix[list(ids)], dtype).mean(axis=0, dtype=np.float64)
            elif ids and init == "normal":
                row += deviation * rng.standard_normal(len(mean), np.float32)
            elif ids and init == "zero":
                row[:] = 0
        yield rows


def moments(matrix: Array, dtype: str) -> tuple[F32, F32]:
    """(H,) mean and (H,) standard deviation over all rows, summed in float64 block by block."""
    total = np.zeros((2, matrix.shape[1]), np.float64)
    for block in row_blocks(matrix.shape[0], matrix[0].nbytes, BLOCK_BYTES):
        rows = to_f32(matrix[block], dtype)
        total += rows.sum(axis=0, dtype=np.float64), np.square(rows, dtype=np.float64).sum(axis=0)
    mean, square = total / matrix.shape[0]
    return mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)


def write_grown(base: Checkpoint, out: Path, base_rows: int, added_rows: int, rows: Mapping[str, Iterable[F32]]) -> int:
    """Write a model's tensors, those named in `rows` with these (n, H) blocks behind their first `base_rows` rows.

    Everything else is copied as it is stored. Returns the bytes written.
    """
    size = base_rows + added_rows
    plan = [Spec(s.name, s.dtype, (size, *s.shape[1:])) if s.name in rows else s for s in base.specs.values()]
    with Writer(out, plan) as writer:
        for spec in plan:
            added = rows.get(spec.name)
            writer.write(spec.name, base.raw(spec.name) if added is None else grown(base, spec.name, base_rows, added))
    return sum(spec.size_bytes for spec in plan)


def grown(base: Checkpoint, name: str, keep_rows: int, added: Iterable[F32]) -> Iterator[Array]:
    """Storage blocks of the grown matrix: the first `keep_rows` base rows as they are, then the added blocks."""
    dtype = base.specs[name].dtype
    for block in _blocks(base, name, keep_rows):
        yield np.array(base.raw(name)[block])  # a slice would keep the file's pages in memory
    for rows in added:
        yield from_f32(rows, dtype)


def row_norms(model: Checkpoint, name: str, rows: slice) -> F32:
    """(n,) Euclidean norms of some rows of a matrix."""
    matrix, dtype = model.raw(name)[rows], model.specs[name].dtype
    blocks = row_blocks(len(matrix), 4 * matrix.shape[1], BLOCK_BYTES)
    norms = [np.linalg.norm(to_f32(matrix[block], dtype), axis=1) for block in blocks]
    return np.concatenate(norms) if norms else np.zeros(0, np.float32)


def same_rows(base: Checkpoint, other: Checkpoint, name: str, rows: int | None = None) -> bool:
    """Whether two models' tensors are equal bit for bit in their first `rows` rows (None: whole, shape and all)."""
    one, two = base.specs[name], other.specs[name]
    if one.dtype != two.dtype or one.shape[1:] != two.shape[1:] or (rows is None and one.shape != two.shape):
        return False
    blocks = _blocks(base, name, one.shape[0] if rows is None else rows)
    return all(base.raw(name)[block].tobytes() == other.raw(name)[block].tobytes() for block in blocks)


def _blocks(model: Checkpoint, name: str, rows: int) -> Iterable[slice]:
    spec = model.specs[name]
    return row_blocks(rows, spec.size_bytes // max(spec.shape[0], 1), BLOCK_BYTES)
