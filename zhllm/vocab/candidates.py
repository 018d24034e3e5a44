"""Pairs of neighbouring symbols that BPE may join: where they were seen, and which are the most frequent."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from zhllm.vocab.token_runs import Array


class Candidates:
    """Rows of pairs, and a queue of them: one bucket of rows for each count, the highest first.

    The count a row waits with is an upper bound: whoever takes it counts again.
    """

    def __init__(self) -> None:
        self._rows = np.zeros((1024, 5), np.int32)  # left, right, chunk, start, stop
        self._chunks: list[Array] = []
        self._size = 0
        self._buckets: dict[int, list[int]] = {}
        self._counts: list[int] = []

    def add(self, left: Array, right: Array, sizes: Array, positions: Array) -> range:
        """New rows whose positions follow each other in `positions`; gives their numbers."""
        first, self._size = self._size, self._size + len(sizes)
        while self._size > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        rows = self._rows[first : self._size]
        rows[:, 0], rows[:, 1], rows[:, 2] = left, right, len(self._chunks)
        rows[:, 4] = np.cumsum(sizes)
        rows[:, 3] = rows[:, 4] - sizes
        self._chunks.append(positions)
        return range(first, self._size)

    def pair(self, row: int) -> tuple[int, int]:
        """The two symbols."""
        left, right = self._rows[row, :2].tolist()
        return left, right

    def positions(self, row: int) -> Array:
        """Where the pair was seen, ascending."""
        chunk, start, stop = self._rows[row, 2:].tolist()
        positions: Array = self._chunks[chunk][start:stop]
        return positions

    def keep(self, row: int, positions: Array) -> None:
        """Forget the positions that are no more."""
        self._rows[row, 2:] = len(self._chunks), 0, len(positions)
        self._chunks.append(positions)

    def put(self, row: int, count: int) -> None:
        """Let a row wait with its count."""
        bucket = self._buckets.get(count)
        if bucket is None:
            bucket = self._buckets[count] = []
            heapq.heappush(self._counts, -count)
        bucket.append(row)

    def counts(self) -> Iterator[int]:
        """The counts with which rows wait, highest first; what is put meanwhile must not be higher."""
        while self._counts:
            yield -heapq.heappop(self._counts)

    def take(self, count: int) -> list[int]:
        """The rows that wait with a count, which then wait no more."""
        return self._buckets.pop(count, [])
