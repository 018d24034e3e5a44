"""How items are drawn again, and exact limits where drawing tells nothing.

U units (items, or clusters of items that repeat each other), C columns that are averaged apart (subjects), R rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rounds are drawn in blocks, so that a hundred thousand items take no gigabyte.
BLOCK_CELLS = 4_000_000
Z95 = 1.959964

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What is drawn: (U, C) sums of values and of what they are divided by, and (U,) stratum of each unit."""

    values: Numbers
    weights: Numbers
    strata: Places

    @property
    def alone(self) -> Numbers | None:
        """(U,) the mean of each unit where all weigh the same in one column; else None."""
        under = self.weights.sum(1)
        return self.values.sum(1) / under if len(under) and (under == under[0]).all() else None


def units_of(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    clusters: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    by_group: bool = False,
) -> Units:
    """The units of items: those with one label of `clusters` are one, in the order of their first items.

    A stratum is what stands in the same `groups`; with `by_group` each group is a column of its own, sorted by name.
    """
    held = np.asarray(values, np.float64)
    under = np.ones_like(held) if weights is None else np.asarray(weights, np.float64)
    names = range(len(held)) if clusters is None else clusters
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    unit = np.array([place[name] for name in names], np.int64)
    order = sorted(set(groups or [""]))
    column = np.zeros(len(held), np.int64) if groups is None else np.searchsorted(order, groups)
    sums, sizes = np.zeros((len(place), len(order))), np.zeros((len(place), len(order)))
    counts = np.zeros((len(place), len(order)), np.bool_)
    np.add.at(sums, (unit, column), held)
    np.add.at(sizes, (unit, column), under)
    counts[unit, column] = True
    # A question that stands in several subjects is drawn for all of them together.
    strata = np.unique(~counts, axis=0, return_inverse=True)[1].reshape(-1)
    if by_group:
        return Units(sums, sizes, strata)
    return Units(sums.sum(1, keepdims=True), sizes.sum(1, keepdims=True), strata)


def drawn_means(units: Units, rounds: int) -> Numbers:
    """(R, C) means of units drawn with replacement within each stratum, seeded.

    Of m units m - 1 are drawn (Rao and Wu 1988), which makes the spread right also where strata are small. A column
    whose stratum is a single unit does not vary.
    """
    rng = np.random.default_rng(0)
    above, under = np.zeros((rounds, units.values.shape[1])), np.zeros((rounds, units.values.shape[1]))
    for stratum in range(int(units.strata.max()) + 1):
        members = np.flatnonzero(units.strata == stratum)
        columns = np.flatnonzero(units.weights[members].any(0))
        count = max(1, len(members) - 1)
        part = len(members) / count  # a stratum keeps its weight
        step = max(1, BLOCK_CELLS // count)
        for start in range(0, rounds, step):
            some = slice(start, min(rounds, start + step))
            drawn = members[rng.integers(0, len(members), (some.stop - some.start, count))]
            for c in columns:
                above[some, c] += part * units.values[drawn, c].sum(1)
                under[some, c] += part * units.weights[drawn, c].sum(1)
    return above / under


def flipped(units: Units) -> tuple[tuple[float, float] | None, float]:
    """The 95 % interval and two-sided p of the mean of few units, exact where gains and losses alike are as likely.

    Each unit may as well have had the other sign (Fisher 1935): p counts how many of the 2^U choices of signs lie as
    far out. The interval holds what this test does not refuse; its ends are means of some of the units (Hartigan
    1969). None where no choice of signs is as rare as 2.5 %, as of five units.
    """
    count = len(units.values)
    some = (np.arange(1, 2**count)[:, None] >> np.arange(count) & 1).astype(np.float64)
    means = np.sort((some @ units.values[:, 0]) / (some @ units.weights[:, 0]))
    zero = 1e-12 * float(np.abs(means).max())  # sums that cancel leave a rest
    tail = 1 + min(int((means <= zero).sum()), int((means >= -zero).sum()))
    place = 2**count // 40
    ends = (float(means[place - 1]), float(means[-place])) if place else None
    return ends, min(1.0, 2 * tail / 2**count)


def pooled(strata: Places) -> Places:
    """Strata in which those of a single unit are one, with the next smallest where that one is still alone."""
    names, counts = np.unique(strata, return_counts=True)
    single = set(names[counts == 1].tolist())
    if len(single) == 1 and len(names) > 1:
        several = [(int(c), int(n)) for n, c in zip(names, counts, strict=True) if c > 1]
        single.add(min(several)[1])
    merged = np.where(np.isin(strata, list(single)), -1, strata) if single else strata
    return np.unique(merged, return_inverse=True)[1].reshape(-1)


def block_means(values: Numbers, weights: Numbers, rounds: int) -> Numbers:
    """(R,) ratios of sums of neighbouring cells of a text, drawn in blocks (Kuensch 1989), seeded.

    The loss of one sentence says something of the next, so n cells are drawn as runs of n^(1/3) (Hall, Horowitz and
    Jing 1995) that may go round the end (Politis and Romano 1992). Few blocks make the spread look too small: it is
    stretched as Student's t is against the normal distribution.
    """
    n = len(values)
    length = max(1, round(n ** (1 / 3)))
    count = max(1, n // length - 1)
    run = (np.arange(n)[:, None] + np.arange(length)) % n
    above, under = values[run].sum(1), weights[run].sum(1)
    drawn = np.random.default_rng(0).integers(0, n, (rounds, count))
    ratios = above[drawn].sum(1) / under[drawn].sum(1)
    middle = float(values.sum() / weights.sum())
    return np.asarray(middle + (ratios - middle) * student_95(count) / Z95, np.float64)


def student_95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 0.03 from 3 degrees of freedom on (Abramowitz and Stegun 26.7.5)."""
    if freedom < 3:
        return (math.inf, 12.7062, 4.3027)[freedom]
    z, v = Z95, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def exact_limits(hits: int, n: int) -> tuple[float, float]:
    """The interval of Clopper and Pearson (1934): the shares that an exact binomial test at 5 % does not refuse."""
    low = 0.0 if hits == 0 else _root(lambda p: binomial_tail(hits, n, p) - 0.025)
    high = 1.0 if hits == n else _root(lambda p: 0.025 - binomial_tail(n - hits, n, 1 - p))
    return low, high


def binomial_tail(hits: int, n: int, share: float) -> float:
    """The probability of at least `hits` of n at this share."""
    if share <= 0.0 or share >= 1.0:
        return float(hits <= 0 or share >= 1.0)
    log_p, log_q = math.log(share), math.log1p(-share)

    def log_mass(k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q

    upper = 2 * hits > n
    found = math.fsum(math.exp(log_mass(k)) for k in (range(hits, n + 1) if upper else range(hits)))
    return min(1.0, found) if upper else max(0.0, 1.0 - found)


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a share crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
