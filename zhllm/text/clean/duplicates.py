"""Which documents say what another one says already: exactly, nearly, or in long paragraphs.

The first in the order of the input is kept. A near-duplicate is similar to a document that is kept, so no
chain of similarities joins what is not similar, and no two documents that are kept are near-duplicates.

Shapes: N documents of all parts, K of them colliding, P pairs.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.blocks import Index
from zhllm.text.clean.gram_sets import GramSets, Texts, without_repeats
from zhllm.text.clean.grams import Hashes
from zhllm.text.clean.sketches import BANDS, PLACES, Sketches, at_most_equal, share_band, similarity

Groups = npt.NDArray[np.int32]
Shares = npt.NDArray[np.float64]
Alike = tuple[int, Index, Shares]  # a row, the earlier rows like it, and the shares of places they have in common

# The estimate from 128 places has a standard error of at most 0.044: beyond this distance from the
# threshold it decides, nearer the sets of 5-grams themselves are compared.
_SURE = 0.15
# Documents so alike go to the same side of the split, though both are kept.
RELATED = 0.5


# Documents that are decided together, and others they are compared with at once.
_TOGETHER, _OTHERS, _PAIRS = 128, 512, 4096
_MANY = 16  # candidates of one document


@dataclass(frozen=True, slots=True)
class Near:
    """Near-duplicates by number, the kept document each is similar to, and how much: 24 bytes each.

    `related` pairs join the kept documents that are alike into clusters: N documents have at most N - 1.
    """

    numbers: array[int] = field(default_factory=lambda: array("q"))
    leaders: array[int] = field(default_factory=lambda: array("q"))
    similar: array[float] = field(default_factory=lambda: array("d"))
    related: list[tuple[int, int]] = field(default_factory=list)

    def found(self) -> Iterator[tuple[int, tuple[int, float]]]:
        """Each near-duplicate, with its leader and their similarity."""
        yield from zip(self.numbers, zip(self.leaders, self.similar, strict=True), strict=True)


def exact_duplicates(digests: npt.NDArray[np.uint64], numbers: Index) -> dict[int, int]:
    """For each of the documents `numbers` (ascending) that repeats an earlier one that one's number.

    `digests` [N, 2].
    """
    own = digests[numbers]
    order = np.lexsort((numbers, own[:, 1], own[:, 0]))
    same = np.concatenate([[False], (own[order[1:]] == own[order[:-1]]).all(axis=1)]) if len(order) else order > 0
    firsts = numbers[order[~same]].tolist()
    first_of = (np.cumsum(~same) - 1)[same].tolist()
    return dict(zip(numbers[order[same]].tolist(), map(firsts.__getitem__, first_of), strict=True))


def near_duplicates(sketches: Sketches, numbers: Index, threshold: float, texts: Texts) -> Near:
    """Documents whose 5-grams have a Jaccard similarity of `threshold` or more with an earlier one that is kept.

    `sketches` [N, 128] of the documents `numbers` (ascending); `texts` gives a document's text.
    """
    members, groups = _collisions(sketches, numbers)
    search = _Search(sketches, threshold, texts)
    for start in range(0, len(members), _TOGETHER):
        search.decide(members[start : start + _TOGETHER], groups[start : start + _TOGETHER])
    return search.near


def _collisions(sketches: Sketches, numbers: Index) -> tuple[Index, Groups]:
    """The K documents that share a band with another one, and the group of each in every band, [K, 32]; 0 is none."""
    bands = np.ascontiguousarray(sketches).view(np.uint64)
    found: list[tuple[Groups, Groups]] = []
    collides = np.zeros(len(numbers), dtype=np.bool_)
    groups = 0
    for band in range(BANDS if len(numbers) else 0):
        keys = bands[numbers, band]
        order = np.argsort(keys)
        same = np.concatenate([[False], keys[order[1:]] == keys[order[:-1]], [False]])
        in_group = same[1:] | same[:-1]
        group = np.cumsum(in_group & ~same[:-1])[in_group] + groups
        found.append((order[in_group].astype(np.int32), group.astype(np.int32)))  # of copies, the most there is
        collides[order[in_group]] = True
        groups = int(group.max(initial=groups))
    row_of = np.cumsum(collides) - 1
    of_members = np.zeros((int(collides.sum()), BANDS), dtype=np.int32)
    while found:
        places, group_of = found.pop()
        of_members[row_of[places], len(found)] = group_of
    return numbers[collides], of_members


class _Search:
    """Decides documents in order, some at a time, beside the kept ones that share a band with any of them."""

    def __init__(self, sketches: Sketches, threshold: float, texts: Texts) -> None:
        self.near = Near()
        self._sketches, self._threshold = sketches, threshold
        self._grams = GramSets(texts)
        self._leaders: dict[int, list[int]] = defaultdict(list)  # the kept documents of each group
        self._cluster: dict[int, int] = {}  # of kept documents: another one of the same cluster, or itself

    def decide(self, members: Index, groups: Groups) -> None:
        """Which of the next members are near-duplicates; the others are kept."""
        leaders = {leader for group in np.unique(groups).tolist() for leader in self._leaders.get(group, ())}
        others = np.concatenate([np.array(sorted(leaders), dtype=np.int64), members])
        kept = np.ones(len(others), dtype=np.bool_)
        least, sure = min(self._threshold - _SURE, RELATED), self._threshold + _SURE
        alike = list(_alike(self._sketches[others], len(leaders), least, sure))
        may_be = self._may_be_near(others, alike)
        for row, rows, estimates in alike:
            alive = kept[rows]
            tried = np.flatnonzero(alive & (estimates >= self._threshold - _SURE) & may_be.get(row, True))
            kept[row] = not self._is_near(int(others[row]), others[rows], estimates, tried)
            if kept[row] and (related := alive & (estimates >= RELATED)).any():
                self._join(int(others[row]), others[rows[related]].tolist())
        for number, own, is_kept in zip(members.tolist(), groups, kept[len(leaders) :].tolist(), strict=True):
            for group in own[own > 0].tolist() if is_kept else ():
                self._leaders[group].append(number)

    def _may_be_near(self, others: Index, alike: list[Alike]) -> dict[int, npt.NDArray[np.bool_]]:
        """For rows with many candidates, as filled-in forms have, which of these a bound of the similarity allows."""
        few: set[int] = set()
        many: list[Alike] = []
        for row, rows, estimates in alike:
            near = rows[estimates >= self._threshold - _SURE]
            if len(near) and estimates[0] < self._threshold + _SURE:
                few.update([row], near.tolist() if len(near) <= _MANY else ())
                many += [(row, rows, estimates)] if len(near) > _MANY else []
        self._grams.prepare(others[sorted(few)].tolist())
        if not many:
            return {}
        columns = np.unique(np.concatenate([rows for _, rows, _ in many]))
        most = self._grams.most_alike(others[[row for row, _, _ in many]].tolist(), others[columns].tolist())
        return {
            row: bounds[np.searchsorted(columns, rows)] >= self._threshold
            for (row, rows, _), bounds in zip(many, most, strict=True)
        }

    def _is_near(self, number: int, candidates: Index, similar: Shares, tried: Index) -> bool:
        """Whether one of the candidates is similar enough: the first is noted; `similar` is made exact on the way."""
        for place in tried.tolist():
            candidate = int(candidates[place])
            if similar[place] < self._threshold + _SURE:
                similar[place] = self._grams.jaccard(candidate, number)
            if similar[place] >= self._threshold:
                self.near.numbers.append(number)
                self.near.leaders.append(candidate)
                self.near.similar.append(round(float(similar[place]), 3))
                return True
        return False

    def _join(self, number: int, others: list[int]) -> None:
        """Put a document into one cluster with others; only what was apart makes a pair."""
        roots = {self._root(other) for other in {self._cluster.get(other, other) for other in others}}
        self.near.related.extend((root, number) for root in sorted(roots))
        self._cluster.update(dict.fromkeys((*roots, number), min(roots)))

    def _root(self, number: int) -> int:
        while (further := self._cluster.get(number, number)) != number:
            self._cluster[number] = self._cluster.get(further, further)
            number = further
        return number


def _alike(rows: Sketches, first: int, least: float, sure: float) -> Iterator[Alike]:
    """Each row from `first` on that has any with the earlier rows that share a band and `least` of their places.

    Those come with their share of equal places, the most similar first, then in order. A row that shares `sure`
    of its places with one before `first` will not be kept: none is compared with it.
    """
    old = np.split(np.arange(first), range(_OTHERS, first, _OTHERS))
    found = [_pairs(rows, first, earlier, least) for earlier in old]
    dropped = [later[estimates >= sure] for later, _, estimates in found]
    found.append(_pairs(rows, first, np.setdiff1d(np.arange(first, len(rows)), np.concatenate(dropped)), least))
    later, earlier, estimates = np.concatenate(found, axis=1)
    order = np.lexsort((earlier, -estimates, later))
    later, earlier, estimates = later[order].astype(np.int64), earlier[order].astype(np.int64), estimates[order]
    ends = [*np.flatnonzero(np.diff(later, prepend=-1)).tolist(), len(later)]
    for start, end in pairwise(ends):
        yield int(later[start]), earlier[start:end], estimates[start:end]


def _pairs(rows: Sketches, first: int, others: Index, least: float) -> Shares:
    """Pairs of rows from `first` on and others before them: later, earlier and share of equal places, [3, P]."""
    equal = at_most_equal(rows[first:], rows[others])
    later, column = np.divmod(np.flatnonzero(equal >= math.ceil(least * PLACES)), max(len(others), 1))
    later, earlier = later + first, others[column]
    later, earlier = later[earlier < later], earlier[earlier < later]
    found = [np.zeros((3, 0))]
    for start in range(0, len(later), _PAIRS):
        two, one = later[start : start + _PAIRS], earlier[start : start + _PAIRS]
        a, b = rows[two], rows[one]
        estimates = np.where(share_band(a, b), similarity(a, b), 0)
        found.append(np.stack([two, one, estimates])[:, estimates >= least])
    return np.concatenate(found, axis=1)


def repeated_hashes(hashes: Sequence[Hashes]) -> Hashes:
    """The hashes that occur at least twice in all arrays together, sorted."""
    in_order = np.sort(np.concatenate([np.zeros(0, dtype=np.uint64), *hashes]))
    return without_repeats(in_order[1:][in_order[1:] == in_order[:-1]])


def clusters(count: int, pairs: Sequence[tuple[int, int]]) -> Index:
    """The least document of each document's cluster, [N], where pairs join documents."""
    parent = np.arange(count)

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = int(parent[number])
        return number

    for a, b in pairs:
        one, other = sorted((root(a), root(b)))
        parent[other] = one
    for number in {n for pair in pairs for n in pair}:
        parent[number] = root(number)
    return parent


def leak(sketches: Sketches, train: Index, valid: Index, threshold: float) -> tuple[int, int, float] | None:
    """A validation document whose sketch agrees with a training document's beyond doubt, if there is one.

    Looked for from the sketches alone, by another way than `near_duplicates`.
    """
    bands = np.ascontiguousarray(sketches).view(np.uint64)
    for band in range(BANDS):
        keys = bands[train, band]
        order = np.argsort(keys, kind="stable")
        wanted = bands[valid, band]
        first = np.searchsorted(keys[order], wanted, side="left")
        last = np.searchsorted(keys[order], wanted, side="right")
        for v in np.flatnonzero(last > first).tolist():
            others = train[order[first[v] : last[v]]]
            agreement = similarity(sketches[others], sketches[valid[v]])
            if agreement.max(initial=0.0) >= min(threshold + _SURE, 1.0):
                return int(valid[v]), int(others[int(agreement.argmax())]), float(agreement.max())
    return None
