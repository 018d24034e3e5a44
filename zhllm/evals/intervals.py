"""Scores with their uncertainty: bootstrap intervals, the mark of chance, paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 2000
# Rounds are drawn in blocks, so that a hundred thousand items take no gigabyte.
BLOCK_CELLS = 4_000_000
Z95 = 1.959964

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval over n items; `chance` is what guessing gives, where guessing is possible."""

    value: float
    low: float
    high: float
    n: int
    chance: float | None = None

    @property
    def is_chance(self) -> bool:
        """Whether the figure cannot be told from guessing."""
        return self.chance is not None and self.low <= self.chance <= self.high

    def record(self) -> dict[str, Any]:
        """As scores.json has it."""
        plain = {k: v for k, v in asdict(self).items() if v is not None}
        return plain if self.chance is None else plain | {"is_chance": self.is_chance}


def mean_score(
    values: Sequence[float],
    chance: float | None = None,
    strata: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
) -> Score:
    """The mean with its percentile bootstrap interval (Efron 1979), seeded.

    `weights` make it a ratio of sums, sum(value) / sum(weight), as for bits of texts of unlike length. With
    `strata` each is drawn from on its own. Where all of at least two shares are 0, or all 1, resampling cannot
    tell how sure that is, and Wilson's interval (1927) stands in. Raises ValueError where there is no value.
    """
    held = np.asarray(values, np.float64)
    if not len(held):
        raise ValueError("there is no value to take a mean of.")
    under = np.ones_like(held) if weights is None else np.asarray(weights, np.float64)
    value = float(held.sum() / under.sum())
    if weights is None and value in (0.0, 1.0) and bool(np.isin(held, (0.0, 1.0)).all()):
        low, high = _wilson(value, len(held))
    else:
        low, high = _percentiles(_resampled(held, under, _groups(strata, len(held))))
    return Score(value, low, high, len(held), chance)


def share_score(hits: Sequence[bool], chance: float | None = None) -> Score:
    """The share of hits with Wilson's interval (1927), for what is rare: its low end is 0 only where nothing was hit.

    Resampling one hit in thirty would hold 0 too, as if it might have been none. Raises ValueError without a value.
    """
    if not hits:
        raise ValueError("there is no value to take a share of.")
    share = sum(hits) / len(hits)
    return Score(share, *_wilson(share, len(hits)), len(hits), chance)


def macro_score(by_group: Mapping[str, Sequence[float]], chance: float | None = None) -> Score:
    """The mean of the groups' means, each group resampled on its own."""
    rng = np.random.default_rng(0)
    held = [np.asarray(values, np.float64) for _, values in sorted(by_group.items()) if len(values)]
    value = float(np.mean([group.mean() for group in held]))
    n = sum(map(len, held))
    if value in (0.0, 1.0):
        return Score(value, *_wilson(value, n), n, chance)
    rounds = np.mean([group[rng.integers(0, len(group), (ROUNDS, len(group)))].mean(1) for group in held], axis=0)
    return Score(value, *_percentiles(rounds), n, chance)


def difference(
    after: Sequence[float], before: Sequence[float], weights: Sequence[float] | None = None
) -> dict[str, Any]:
    """How much two models differ on the same items: value, 95 % interval of the paired bootstrap, is it clear of 0.

    Raises ValueError where the items are not the same number.
    """
    if len(after) != len(before):
        raise ValueError(f"{len(after)} and {len(before)} items are not paired.")
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    if not change.any():
        return {"value": 0.0, "low": 0.0, "high": 0.0, "n": len(change), "is_clear": False}
    under = np.ones_like(change) if weights is None else np.asarray(weights, np.float64)
    low, high = _percentiles(_resampled(change, under, _groups(None, len(change))))
    value = float(change.sum() / under.sum())
    return {"value": value, "low": low, "high": high, "n": len(change), "is_clear": low > 0 or high < 0}


def _groups(strata: Sequence[str] | None, count: int) -> list[NDArray[np.int64]]:
    if strata is None:
        return [np.arange(count)]
    names = np.asarray(strata)
    return [np.flatnonzero(names == name) for name in sorted(set(strata))]


def _resampled(values: Numbers, weights: Numbers, groups: list[NDArray[np.int64]]) -> Numbers:
    """ROUNDS means of items drawn with replacement within each group."""
    rng = np.random.default_rng(0)
    above, under = np.zeros(ROUNDS), np.zeros(ROUNDS)
    for members in groups:
        step = max(1, BLOCK_CELLS // len(members))
        for start in range(0, ROUNDS, step):
            rounds = slice(start, min(ROUNDS, start + step))
            drawn = members[rng.integers(0, len(members), (rounds.stop - rounds.start, len(members)))]
            above[rounds] += values[drawn].sum(1)
            under[rounds] += weights[drawn].sum(1)
    return above / under


def _percentiles(rounds: Numbers) -> tuple[float, float]:
    low, high = np.quantile(rounds, (0.025, 0.975))
    return float(low), float(high)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share of n; its ends at 0 and 1 are exact."""
    under = n + Z95**2
    middle = (n * share + Z95**2 / 2) / under
    half = Z95 * math.sqrt(n * share * (1 - share) + Z95**2 / 4) / under
    return (0.0 if share == 0.0 else middle - half), (1.0 if share == 1.0 else middle + half)
