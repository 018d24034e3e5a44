"""How the learning rate moves over a run, as a share of its highest value.

Sources: cosine, Loshchilov and Hutter 2017; WSD (warm-up, stable, decay), Hu et al. 2024 (MiniCPM),
its decay 1 - sqrt as Hägele et al. 2024 found best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A linear rise over `warmup_steps`, then `shape` down to `final_share` at the end of `steps`.

    `decay_share` is the share of the steps in which wsd comes down; the other shapes do not use it.
    """

    shape: str
    steps: int
    warmup_steps: int
    final_share: float
    decay_share: float = 0.2

    def share(self, step: int) -> float:
        """The rate of `step` (from 0) as a share of the highest."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = max(1, self.steps - self.warmup_steps)
        done = (step - self.warmup_steps) / left
        return self.final_share + (1 - self.final_share) * SHAPES[self.shape](done, self.decay_share)


def _cosine(done: float, _: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _wsd(done: float, decay_share: float) -> float:
    return 1 - math.sqrt(max(0.0, (done - (1 - decay_share)) / decay_share)) if decay_share else 1.0


# Of the share of the steps after warm-up that is done, and of decay_share; from 1 down to 0.
SHAPES: dict[str, Callable[[float, float], float]] = {
    "cosine": _cosine,
    "linear": lambda done, _: 1 - done,
    "wsd": _wsd,
    "constant": lambda _done, _: 1.0,
}
