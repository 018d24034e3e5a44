"""Packed token sets as training reads them: flat files mapped into memory, rows computed from places.

T tokens a row. A row's labels are the ids one further on, so every token of a document but its
first is predicted once, also across a row's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zhllm.errors import DataError
from zhllm.train.batch import IGNORED, Batch, Ids, stack
from zhllm.train.pack.info import META, SOURCES_DTYPE, STARTS_DTYPE, rows_of
from zhllm.train.pack.info import PackInfo as PackInfo
from zhllm.train.pack.info import SetInfo as SetInfo
from zhllm.train.pack.info import read_info as read_info
from zhllm.train.pack.permutation import permuted

# Starts that are looked at together when a set is opened.
CHECKED_STARTS = 1 << 20


class TokenSet:
    """One packed set, read row by row; nothing but the rows asked for is held in memory."""

    def __init__(self, folder: Path, name: str, info: PackInfo) -> None:
        self.info, self.seq_len, self.pad_id = info.sets[name], info.seq_len, info.pad_id
        self._vocab_size, self._path = info.vocab_size, folder / f"{name}.tokens.bin"
        self._tokens = _mapped(self._path, info.dtype, self.info.tokens, "tokens")
        self._starts: Ids = _mapped(folder / f"{name}.starts.bin", STARTS_DTYPE, self.info.docs, "documents")
        _check_starts(folder / f"{name}.starts.bin", self._starts, self.info.tokens)
        self._sources: NDArray[np.uint16] | None = None
        if len(info.sources) > 1:
            self._sources = _mapped(folder / f"{name}.sources.bin", SOURCES_DTYPE, self.info.docs, "documents")

    def __len__(self) -> int:
        """Rows; the last may be partly padding, nothing is dropped."""
        return rows_of(self.info.tokens, self.seq_len)

    def row(self, index: int) -> tuple[Ids, Ids, Ids]:
        """(input_ids, labels, position_ids) of one row, each (T,); DataError where the file is damaged."""
        first = index * self.seq_len
        seen = self._tokens[first : first + self.seq_len + 1].astype(np.int64)
        if seen.max() >= self._vocab_size:
            raise DataError(
                f"{self._path}: is damaged: row {index} holds the id {seen.max()}, the vocabulary has "
                f"{self._vocab_size}. Run zhllm pack again."
            )
        count = len(seen) - 1
        inputs = np.full(self.seq_len, self.pad_id, np.int64)
        labels = np.full(self.seq_len, IGNORED, np.int64)
        inputs[:count], labels[:count] = seen[:-1], seen[1:]
        begin, end = np.searchsorted(self._starts, (first + 1, first + count + 1))
        starts = self._starts[begin:end] - first
        labels[starts - 1] = IGNORED  # a document's first token does not follow from the one before
        positions = positions_of(starts[starts < count], self.seq_len)
        positions[count:] = 0  # each padding token is a document of its own
        return inputs, labels, positions

    def sources(self, index: int) -> Ids | None:
        """(T,) the number of the source that each label of a row is of; None where there is one source only."""
        if self._sources is None:
            return None
        first = index * self.seq_len + 1
        begin, end = np.searchsorted(self._starts, (first, first + self.seq_len))
        document = np.searchsorted(self._starts[begin:end], np.arange(first, first + self.seq_len), side="right")
        found: Ids = self._sources[begin - 1 + document].astype(np.int64)
        return found

    def batch(self, rows: Sequence[int]) -> Batch:
        """The given rows as one batch, with the sources of its labels where there are several."""
        sources = [found for i in rows if (found := self.sources(i)) is not None]
        return stack([self.row(i) for i in rows], sources or None)


def positions_of(starts: Ids, count: int) -> Ids:
    """(count,) positions of the tokens of a row, given the places where documents start in it.

    A document that began before the row continues at position 0: its earlier tokens are not seen.
    """
    begin = np.zeros(count, np.int64)
    begin[starts] = starts
    positions: Ids = np.arange(count) - np.maximum.accumulate(begin)
    return positions


def _mapped(path: Path, dtype: str, count: int, what: str) -> NDArray[Any]:
    """The values of a file, mapped into memory; DataError unless it holds as many as pack.json says."""
    width = np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Run zhllm pack again.") from error
    if size != count * width:
        raise DataError(f"{path}: holds {size / width:,g} {what}, {META} says {count:,}. Run zhllm pack again.")
    # The plain view: slices of np.memmap itself cost ten times as much.
    return np.memmap(path, dtype, "r").view(np.ndarray) if count else np.zeros(0, dtype)


def _check_starts(path: Path, starts: Ids, tokens: int) -> None:
    """DataError unless the documents start at 0, one behind the other, all inside the tokens."""
    before = -1
    for first in range(0, len(starts), CHECKED_STARTS):
        some = starts[first : first + CHECKED_STARTS]
        if (first == 0 and some[0] != 0) or some[0] <= before or some[-1] >= tokens or (np.diff(some) <= 0).any():
            raise DataError(f"{path}: is damaged: documents do not start one behind the other. Run zhllm pack again.")
        before = int(some[-1])


def rows_at(step: int, rows_per_step: int, total_rows: int, seed: int) -> list[int]:
    """The rows of one step: a pure function of (seed, step), so a run can continue anywhere.

    Epochs follow each other without a gap, each a permutation of its own. Neither time nor memory
    depends on the number of rows.
    """
    chosen: list[int] = []
    number, end = step * rows_per_step, (step + 1) * rows_per_step
    while number < end:
        epoch, place = divmod(number, total_rows)
        count = min(end - number, total_rows - place)
        chosen += permuted(np.arange(place, place + count), total_rows, seed, epoch).tolist()
        number += count
    return chosen
