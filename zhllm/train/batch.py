"""What the loop is fed: rows of tokens in which documents or chats stand side by side.

B rows, T tokens a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """`input_ids`, `labels`, `position_ids`, each (B, T) int64, and `sources`, (B, T) int64 or None.

    `labels[b, t]` is the token that follows `input_ids[b, t]`, or IGNORED where none is to be
    learnt. Positions start again at 0 where another document begins: that is what keeps documents
    from attending to each other (with no attention mask and no cache). `sources[b, t]` numbers the
    source that the label is of; None where there is only one.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    sources: Tensor | None = None

    @property
    def learnt_tokens(self) -> int:
        """How many labels are not IGNORED."""
        return int((self.labels != IGNORED).sum())

    def rows(self, numbers: Sequence[int]) -> Batch:
        """Some of the rows."""
        return self._each(lambda tensor: tensor[list(numbers)])

    def without_labels(self) -> Batch:
        """The same rows with nothing to learn."""
        return replace(self, labels=torch.full_like(self.labels, IGNORED))

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        sources = None if self.sources is None else change(self.sources)
        return Batch(change(self.input_ids), change(self.labels), change(self.position_ids), sources)


def stack(rows: Sequence[tuple[Ids, Ids, Ids]], sources: Sequence[Ids] | None = None) -> Batch:
    """A batch from (input_ids, labels, position_ids) rows of equal length, and their sources (T,)."""
    inputs, labels, positions = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return Batch(inputs, labels, positions, None if sources is None else torch.from_numpy(np.stack(sources)))
