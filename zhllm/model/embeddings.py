"""New embedding rows: each the mean of the base rows of its sub-tokens.

V old rows, N new rows, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zhllm.model.tensors import F32, Array, Checkpoint, from_f32, row_blocks, to_f32


def subtoken_mean(base: Checkpoint, name: str, sub_ids: Sequence[Sequence[int]]) -> F32:
    """(N, H) float32: row k is the mean of the base matrix's rows `sub_ids[k]`.

    An empty list gives the mean of all base rows (for a pad token, which has no text). Best of the
    initialisations compared at toy size; embeddings and head each take it from their own matrix.
    """
    matrix, dtype = base.raw(name), base.specs[name].dtype
    rows = np.empty((len(sub_ids), matrix.shape[1]), np.float32)
    for index, ids in enumerate(sub_ids):
        if ids:
            rows[index] = to_f32(matrix[list(ids)], dtype).mean(axis=0, dtype=np.float64)
    empty = [index for index, ids in enumerate(sub_ids) if not ids]
    if empty:
        rows[empty] = mean_row(matrix, dtype)
    return rows


def mean_row(matrix: Array, dtype: str) -> F32:
    """(H,) mean over all rows, summed in float64 block by block."""
    total = np.zeros(matrix.shape[1], np.float64)
    for block in row_blocks(matrix.shape[0], matrix[0].nbytes):
        total += to_f32(matrix[block], dtype).sum(axis=0, dtype=np.float64)
    mean: F32 = (total / matrix.shape[0]).astype(np.float32)
    return mean


def grown(base: Checkpoint, name: str, keep_rows: int, new_rows: F32) -> Iterator[Array]:
    """Storage blocks of the grown matrix: the first `keep_rows` base rows as they are, then the new."""
    matrix, dtype = base.raw(name), base.specs[name].dtype
    for block in row_blocks(keep_rows, matrix[0].nbytes):
        yield matrix[block]
    yield from_f32(new_rows, dtype)
