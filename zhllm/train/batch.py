"""What the loop is fed: rows of tokens in which documents or chats stand side by side.

B rows, T tokens a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """`input_ids`, `labels`, `position_ids`, each (B, T) int64.

    `labels[b, t]` is the token that follows `input_ids[b, t]`, or IGNORED where none is to be
    learnt. Positions start again at 0 where another document begins: that is what keeps documents
    from attending to each other (with no attention mask and no cache).
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor

    @property
    def learnt_tokens(self) -> int:
        """How many labels are not IGNORED."""
        return int((self.labels != IGNORED).sum())

    def split(self, rows: int) -> list[Batch]:
        """The batch cut into batches of at most `rows` rows."""
        parts = (torch.split(tensor, rows) for tensor in (self.input_ids, self.labels, self.position_ids))
        return [Batch(*part) for part in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(self.input_ids.to(device), self.labels.to(device), self.position_ids.to(device))


def stack(rows: Sequence[tuple[Ids, Ids, Ids]]) -> Batch:
    """A batch from (input_ids, labels, position_ids) rows of equal length."""
    parts = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return Batch(*parts)


def positions_of(starts: Ids, first: int, count: int) -> Ids:
    """(count,) positions of the tokens first..first+count-1, given where documents start.

    A document that began before `first` continues at position 0: its earlier tokens are not seen.
    """
    index = np.arange(first, first + count)
    begin = starts[np.searchsorted(starts, index, side="right") - 1]
    positions: Ids = index - np.maximum(begin, first)
    return positions
