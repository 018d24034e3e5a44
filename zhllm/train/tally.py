"""What a step or a validation measured: loss per token, bits per character and per byte, per source.

V vocabulary rows, S sources, N learnt tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zhllm.train.batch import IGNORED, Batch

Record = dict[str, Any]
COLUMNS = 4  # nats, tokens, characters, bytes


@dataclass(frozen=True)
class Measure:
    """How labels are counted: (V,) characters and bytes of each id, and the sources' names."""

    chars: Tensor
    sizes: Tensor
    sources: tuple[str, ...] = ("",)

    @staticmethod
    def of(sizes: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], sources: Sequence[str] = ()) -> Measure:
        """From zhllm.vocab.token_sizes and a packed set's sources."""
        chars, counts = (torch.from_numpy(column) for column in sizes)
        return Measure(chars, counts, tuple(sources) or ("",))

    def to(self, device: torch.device) -> Measure:
        """The same on a device."""
        return Measure(self.chars.to(device), self.sizes.to(device), self.sources)


class Tally:
    """Sums over learnt tokens: (S, 4) float64 of nats, tokens, characters, bytes."""

    def __init__(self, measure: Measure, device: torch.device) -> None:
        self._measure = measure.to(device)
        # MPS-like devices without float64 are not supported anywhere in training.
        self.sums = torch.zeros(len(measure.sources), COLUMNS, dtype=torch.float64, device=device)

    def add(self, batch: Batch, losses: Tensor) -> None:
        """Count a batch and the (N,) losses of its learnt tokens, both on the tally's device."""
        learnt = batch.labels != IGNORED
        labels = batch.labels[learnt]
        values = torch.stack(
            [losses.double(), torch.ones_like(losses, dtype=torch.float64),
             self._measure.chars[labels].double(), self._measure.sizes[labels].double()], dim=1,
        )  # fmt: skip
        if batch.sources is None or len(self.sums) == 1:
            self.sums[0] += values.sum(0)
        else:
            self.sums.index_add_(0, batch.sources[learnt], values)

    def record(self, total: Callable[[Tensor], Tensor] = lambda sums: sums) -> Record:
        """loss, tokens, bits_per_char, bits_per_byte of all, and bits_per_char_<source> where there are several.

        `total` adds up the sums of several processes.
        """
        sums = total(self.sums).cpu().numpy()
        nats, tokens, chars, size = (float(value) for value in sums.sum(0))
        found: Record = {"loss": nats / max(tokens, 1), "tokens": int(tokens)}
        found |= {"bits_per_char": _bits(nats, chars), "bits_per_byte": _bits(nats, size)}
        if len(self._measure.sources) > 1:
            for name, row in zip(self._measure.sources, sums.tolist(), strict=True):
                if row[1]:
                    found[f"bits_per_char_{name}"] = _bits(row[0], row[2])
        return found


def _bits(nats: float, count: float) -> float | None:
    """Bits per character or byte; None where the tokens stand for no text (only end tokens)."""
    return nats / math.log(2) / count if count else None
