"""Which documents of which source become training text, and how often: from shares to a choice.

The choice of a document depends on the seed, its source and its place there, and on nothing else: not on the
number of workers, and not on what other sources hold but for how much of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zhllm.train.pack.info import Counts
from zhllm.train.pack.parts import Part
from zhllm.train.pack.permutation import keys_of, mixed

Unit = Literal["tokens", "chars"]
BIN_BITS = 16
BINS = 1 << BIN_BITS


@dataclass(frozen=True)
class Portion:
    """How much of a source is taken: all of it `passes` times, and `rest` tokens (or characters) once more."""

    passes: int = 1
    rest: int = 0
    unit: Unit = "tokens"


class TooLittleError(ValueError):
    """A source cannot fill its share; `times` says how often its text would have to be read."""

    def __init__(self, name: str, available: int, wanted: int) -> None:
        super().__init__(name)
        self.name, self.available, self.wanted = name, available, wanted
        self.times = -(-wanted // available)


def portions_of_mix(
    available: Mapping[str, Counts], shares: Mapping[str, float], max_repeats: int
) -> dict[str, Portion]:
    """Portions of the sources whose training tokens stand in the given shares.

    The source named first is taken whole, once; of each other as many tokens as its share asks for: a part
    of its text, or more than all of it up to `max_repeats` times. Raises TooLittleError.
    """
    first = next(iter(shares))
    whole = available[first].tokens / shares[first]
    found = {first: Portion()}
    for name, share in list(shares.items())[1:]:
        wanted, there = round(whole * share), available[name].tokens
        if wanted > max_repeats * there:
            raise TooLittleError(name, there, wanted)
        found[name] = Portion(*divmod(wanted, there))
    return found


def portion_of_replay(corpus_chars: int, replay: Counts, share: float, max_repeats: int) -> Portion:
    """The portion of the replay text that makes `share` of all characters, as far as the text goes."""
    wanted = round(corpus_chars * share / (1 - share))
    if wanted >= max_repeats * replay.chars:
        return Portion(max_repeats, 0, "chars")
    return Portion(*divmod(wanted, replay.chars), "chars")


def ranks(seed: int, source: int, first: int, count: int) -> NDArray[np.uint64]:
    """(count,) ranks of the documents first, first + 1, ... of a source: those of the lowest are chosen first."""
    (key,) = keys_of(seed, source, count=1)
    return mixed(mixed(np.arange(first + 1, first + count + 1, dtype=np.uint64)) ^ key)


def highest_rank(parts: Sequence[Path], portion: Portion, seed: int, source: int) -> int:
    """The rank up to which documents are chosen, so that they have `portion.rest` together; -1 for none.

    The last one is chosen whole. Ranks are counted in bins first: only those of the bin in which the sum is
    reached are sorted, and memory stays at that.
    """
    if not portion.rest:
        return -1
    sums = np.zeros(BINS)
    for found, weights in _ranked(parts, portion.unit, seed, source):
        sums += np.bincount(_bin(found), weights, BINS)
    sums = np.cumsum(sums)
    at = int(np.searchsorted(sums, portion.rest))
    reached = int(sums[at - 1]) if at else 0
    for rank, weight in sorted(_inside(parts, portion.unit, seed, source, at)):
        reached += weight
        if reached >= portion.rest:
            return rank
    raise AssertionError("a rest is less than all there is")


def _bin(found: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (found >> np.uint64(64 - BIN_BITS)).astype(np.int64)


def _inside(parts: Sequence[Path], unit: Unit, seed: int, source: int, number: int) -> Iterator[tuple[int, int]]:
    """(rank, weight) of the documents in one bin."""
    for found, weights in _ranked(parts, unit, seed, source):
        inside = _bin(found) == number
        yield from zip(found[inside].tolist(), weights[inside].tolist(), strict=True)


def _ranked(
    parts: Sequence[Path], unit: Unit, seed: int, source: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int32]]]:
    """(D,) ranks and weights of each part's documents."""
    first = 0
    for path in parts:
        part = Part(path)
        weights = part.lengths if unit == "tokens" else part.chars
        yield ranks(seed, source, first, len(weights)), weights
        first += len(weights)
