"""Scores with their uncertainty: bootstrap and exact intervals, the mark of chance, paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zhllm.evals.resampling import (
    Z95,
    Numbers,
    Units,
    binomial_tail,
    block_means,
    drawn_means,
    exact_limits,
    flipped,
    pooled,
    student_95,
    units_of,
)

ROUNDS = 2000
# Of a difference, whose p is the share of few rounds.
PAIRED_ROUNDS = 10_000
# Fewer hits or misses than these have an exact interval instead of a bootstrap, which needs some of both.
FEW = 10
# Of so many things a difference has the exact interval and p of all choices of signs; fewer than the least have none.
LEAST_FLIPPED, MOST_FLIPPED = 6, 12
# Fewer documents than these are drawn in blocks of their text; so many cells of CELL_CHARS it takes at least.
MIN_CELLS, CELL_CHARS = 8, 64

ALL_SAME = "all items have the same value"
ONE_ITEM = "a single item"
ONE_IN_GROUP = "a group of a single item"


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval over n items; `chance` is what guessing gives, where guessing is possible.

    `units` is how many things are drawn, where that is not n: items that do not repeat others, stretches of text.
    `low` and `high` are None together where nothing can be said, and `no_interval` says why.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None = None
    units: int | None = None
    no_interval: str | None = None

    @property
    def is_chance(self) -> bool:
        """Whether the figure cannot be told from guessing."""
        if self.chance is None:
            return False
        if self.low is None or self.high is None:
            return math.isclose(self.value, self.chance, abs_tol=1e-9)
        return self.low <= self.chance <= self.high

    @property
    def is_few(self) -> bool:
        """Whether there are too few items to compare the figure with guessing at all."""
        return self.chance is not None and (self.n if self.units is None else self.units) < FEW

    def record(self) -> dict[str, Any]:
        """As scores.json has it; no interval is null with a reason."""
        found: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        if self.units is not None:
            found["units"] = self.units
        if self.no_interval is not None:
            found["no_interval"] = self.no_interval
        if self.chance is not None:
            found |= {"chance": self.chance, "is_chance": self.is_chance}
        return found | ({"is_few": True} if self.is_few else {})


def mean_score(
    values: Sequence[float],
    chance: float | None = None,
    strata: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    clusters: Sequence[str] | None = None,
    is_share: bool = True,
) -> Score:
    """The mean with its percentile bootstrap interval (Efron 1979), seeded.

    `weights` make it a ratio of sums, sum(value) / sum(weight), as for bits of texts of unlike length. With
    `strata` each is drawn from on its own. Items with the same label of `clusters` repeat each other and are drawn
    together. A share with fewer than ten hits or misses has the exact interval of Clopper and Pearson (1934), so
    that a small group is compared with chance by the exact binomial test; `is_share` is False of values that only
    happen to be 0 or 1. Raises ValueError where there is no value.
    """
    if not len(values):
        raise ValueError("there is no value to take a mean of.")
    units = units_of(values, weights, clusters, strata)
    value = float(units.values.sum() / units.weights.sum())
    if weights is None and is_share and (limits := _few_limits(units)) is not None:
        return _score(value, limits, len(values), units, chance)
    if len(units.values) == 1:
        return _score(value, ONE_ITEM, len(values), units, chance)
    drawn = drawn_means(Units(units.values, units.weights, pooled(units.strata)), ROUNDS)[:, 0]
    low, high = _percentiles(_stretched(drawn, value, len(units.values)))
    if weights is None and units.values.min() >= 0 and max(values) <= 1:
        low, high = max(low, 0.0), min(high, 1.0)
    return _score(value, (low, high), len(values), units, chance)


def cells_score(values: Sequence[float], weights: Sequence[float], n: int) -> Score:
    """A ratio of sums over the cells of n documents, too few to be drawn themselves: blocks of cells are drawn.

    Raises ValueError where there is no cell.
    """
    if not len(values):
        raise ValueError("there is no cell to take a mean of.")
    held, under = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    value = float(held.sum() / under.sum())
    if len(held) < MIN_CELLS:
        return Score(value, None, None, n, no_interval=too_short(len(held)))
    low, high = _percentiles(block_means(held, under, ROUNDS))
    if low == high:
        return Score(value, None, None, n, no_interval=ALL_SAME)
    return Score(value, low, high, n, units=len(held))


def too_short(cells: int) -> str:
    """Why there is no interval of so few cells."""
    return f"{cells} of {MIN_CELLS} stretches of {CELL_CHARS} characters"


def macro_score(
    values: Sequence[float],
    groups: Sequence[str],
    chance: float | None = None,
    clusters: Sequence[str] | None = None,
) -> Score:
    """The mean of the groups' means, each group resampled on its own; items that repeat each other together."""
    if len(set(groups)) == 1:
        return mean_score(values, chance, clusters=clusters)
    units = units_of(values, None, clusters, groups, by_group=True)
    value = float((units.values.sum(0) / units.weights.sum(0)).mean())
    if value in (0.0, 1.0) and (limits := _few_limits(units_of(values, None, clusters))) is not None:
        return _score(value, limits, len(values), units, chance)
    if (np.bincount(units.strata) == 1).any():
        return _score(value, ONE_IN_GROUP, len(values), units, chance)
    return _score(value, _percentiles(drawn_means(units, ROUNDS).mean(1)), len(values), units, chance)


def difference(
    after: Sequence[float],
    before: Sequence[float],
    weights: Sequence[float] | None = None,
    clusters: Sequence[str] | None = None,
    in_order: bool = False,
    is_share: bool = False,
) -> dict[str, Any]:
    """How much two models differ on the same items: value, 95 % interval, two-sided p, is it clear of 0.

    By the paired bootstrap (Efron and Tibshirani 1993, chapter 16), of clusters where items repeat each other, of
    blocks where the items are cells of text `in_order`; of twelve items or fewer by all choices of signs. Right and
    wrong answers (`is_share`) have the interval of Bonett and Price (2012) and the mid-p of McNemar's test, as
    Fagerland, Lydersen and Laake (2014) recommend: both hold where few answers changed, or none. `no_interval` says
    why low and high are None. Raises ValueError where the items are not the same number.
    """
    if len(after) != len(before):
        raise ValueError(f"{len(after)} and {len(before)} items are not paired.")
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    units = units_of(change.tolist(), weights, clusters)
    found = {"value": float(change.sum() / units.weights.sum()), "n": len(change)}
    if in_order or len(units.values) < len(change):
        found["units"] = len(units.values)
    signs = _signs(units) if is_share and weights is None and not in_order else None
    if signs is not None:
        return found | _of_signs(*signs)
    if reason := _unknown(change, units, in_order):
        p = None if change.any() else 1.0
        return found | {"low": None, "high": None, "p": p, "is_clear": False, "no_interval": reason}
    if not in_order and len(units.values) <= MOST_FLIPPED:
        return found | _of_few(units)
    if in_order:
        drawn = block_means(change, np.asarray(weights or [1.0] * len(change), np.float64), PAIRED_ROUNDS)
    else:
        drawn = drawn_means(units, PAIRED_ROUNDS)[:, 0]
    low, high = _percentiles(drawn)
    zero = 1e-12 * float(np.abs(drawn).max())  # sums that cancel leave a rest
    tail = min(float((drawn <= zero).mean()), float((drawn >= -zero).mean()))
    p = min(1.0, 2 * max(tail, 1 / PAIRED_ROUNDS))
    return found | {"low": low, "high": high, "p": p, "is_clear": low > 0 or high < 0}


def _of_few(units: Units) -> dict[str, Any]:
    """The difference of so few items that drawing them again would be too sure."""
    ends, p = flipped(units)
    if ends is None:
        told = f"{len(units.values)} of {LEAST_FLIPPED} items"
        return {"low": None, "high": None, "p": p, "is_clear": False, "no_interval": told}
    return {"low": ends[0], "high": ends[1], "p": p, "is_clear": ends[0] > 0 or ends[1] < 0}


def _unknown(change: Numbers, units: Units, in_order: bool) -> str | None:
    """Why drawing again would tell nothing of a difference; None where it does."""
    if in_order and len(change) < MIN_CELLS:
        return too_short(len(change))
    if not in_order and len(units.values) < 2:
        return ONE_ITEM
    each = units.values[:, 0] / units.weights[:, 0]
    if not change.any():
        return f"the same on all {len(change)}"
    return ALL_SAME if np.ptp(each) == 0 else None


def _signs(units: Units) -> tuple[int, int, int] | None:
    """(better, worse, all) of units that changed wholly or not at all; None where they changed by parts."""
    if not units.values.any():
        return 0, 0, len(units.values)
    each = units.alone
    if each is None or not np.isin(each, (-1.0, 0.0, 1.0)).all():
        return None
    return int((each > 0).sum()), int((each < 0).sum()), len(each)


def _of_signs(better: int, worse: int, n: int) -> dict[str, Any]:
    """Bonett and Price's interval and McNemar's mid-p of n pairs."""
    up, down = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    half = Z95 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    changed, most = better + worse, max(better, worse)
    mass = binomial_tail(most, changed, 0.5) - binomial_tail(most + 1, changed, 0.5)
    p = 1.0 if better == worse else min(1.0, 2 * binomial_tail(most, changed, 0.5) - mass)
    return {"low": low, "high": high, "p": p, "is_clear": low > 0 or high < 0, "changed": changed}


def _few_limits(units: Units) -> tuple[float, float] | None:
    """The exact interval of a share with few hits or few misses; None where it is no such share."""
    each = units.alone
    if each is None:
        each = units.values.sum(1) / units.weights.sum(1)
        if len(set(each.tolist())) > 1:
            return None
    if not np.isin(each, (0.0, 1.0)).all():
        return None
    hits, n = int(each.sum()), len(each)
    return exact_limits(hits, n) if min(hits, n - hits) < FEW else None


def _score(value: float, found: tuple[float, float] | str, n: int, units: Units, chance: float | None) -> Score:
    fewer = len(units.values) if len(units.values) < n else None
    if not isinstance(found, str) and found[0] == found[1]:
        found = ALL_SAME
    if isinstance(found, str):
        return Score(value, None, None, n, chance, fewer, found)
    return Score(value, *found, n, chance, fewer)


def _stretched(drawn: Numbers, value: float, units: int) -> Numbers:
    """Means of few units, whose spread looks too small, stretched as Student's t is against the normal distribution."""
    return drawn if units >= FEW else value + (drawn - value) * student_95(units - 1) / Z95


def _percentiles(rounds: Numbers) -> tuple[float, float]:
    low, high = np.quantile(rounds, (0.025, 0.975))
    return float(low), float(high)
