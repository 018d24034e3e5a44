"""Which documents say what another one says already: exactly, nearly, or in long paragraphs.

The first in the order of the input is kept. A near-duplicate is similar to a document that is kept, so no
chain of similarities joins what is not similar, and no two documents that are kept are near-duplicates.

Shapes: N documents of all parts, K of them colliding, P pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.blocks import Index
from zhllm.text.clean.grams import Hashes, ink_of_texts
from zhllm.text.clean.sketches import BANDS, PLACES, Sketches, at_most_equal, share_band, shingles, similarity

Texts = Callable[[int], str]
Groups = npt.NDArray[np.int32]
Shares = npt.NDArray[np.float64]

# The estimate from 128 places has a standard error of at most 0.044: beyond this distance from the
# threshold it decides, nearer the sets of 5-grams themselves are compared.
_SURE = 0.15
# Documents so alike go to the same side of the split, though both are kept.
RELATED = 0.5


# Documents that are decided together, and others they are compared with at once.
_TOGETHER, _OTHERS, _PAIRS = 128, 4096, 4096


@dataclass(frozen=True, slots=True)
class Near:
    """Near-duplicates by number: the kept document each is similar to, and how much.

    `related` pairs join the kept documents that are alike into clusters: N documents have at most N - 1.
    """

    of: dict[int, tuple[int, float]]
    related: list[tuple[int, int]]


def exact_duplicates(digests: npt.NDArray[np.uint64], numbers: Index) -> dict[int, int]:
    """For each of the documents `numbers` (ascending) that repeats an earlier one that one's number.

    `digests` [N, 2].
    """
    own = digests[numbers]
    order = np.lexsort((numbers, own[:, 1], own[:, 0]))
    same = np.concatenate([[False], (own[order[1:]] == own[order[:-1]]).all(axis=1)]) if len(order) else order > 0
    heads = np.flatnonzero(~same)
    head_of = heads[np.cumsum(~same) - 1] if len(heads) else order
    return dict(zip(numbers[order[same]].tolist(), numbers[order[head_of[same]]].tolist(), strict=True))


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
    found: list[tuple[Index, Groups]] = []
    collides = np.zeros(len(numbers), dtype=np.bool_)
    groups = 0
    for band in range(BANDS if len(numbers) else 0):
        keys = bands[numbers, band]
        order = np.argsort(keys)
        same = np.concatenate([[False], keys[order[1:]] == keys[order[:-1]], [False]])
        in_group = same[1:] | same[:-1]
        group = np.cumsum(in_group & ~same[:-1])[in_group] + groups
        found.append((order[in_group], group.astype(np.int32)))
        collides[order[in_group]] = True
        groups = int(group.max(initial=groups))
    row_of = np.cumsum(collides) - 1
    of_members = np.zeros((int(collides.sum()), BANDS), dtype=np.int32)
    for band, (places, group) in enumerate(found):
        of_members[row_of[places], band] = group
    return numbers[collides], of_members


class _Search:
    """Decides documents in order, some at a time, beside the kept ones that share a band with any of them."""

    def __init__(self, sketches: Sketches, threshold: float, texts: Texts) -> None:
        self.near = Near({}, [])
        self._sketches, self._threshold = sketches, threshold
        self._grams = _Grams(texts)
        self._leaders: dict[int, list[int]] = defaultdict(list)  # the kept documents of each group
        self._cluster: dict[int, int] = {}  # of kept documents: another one of the same cluster, or itself

    def decide(self, members: Index, groups: Groups) -> None:
        """Which of the next members are near-duplicates; the others are kept."""
        leaders = {leader for group in np.unique(groups).tolist() for leader in self._leaders.get(group, ())}
        others = np.concatenate([np.array(sorted(leaders), dtype=np.int64), members])
        kept = np.ones(len(others), dtype=np.bool_)
        least = min(self._threshold - _SURE, RELATED)
        for row, rows, estimates in _alike(self._sketches[others], len(leaders), least):
            alive = kept[rows]
            kept[row] = self._is_kept(int(others[row]), others[rows[alive]], estimates[alive])
        for number, own, is_kept in zip(members.tolist(), groups, kept[len(leaders) :].tolist(), strict=True):
            for group in own[own > 0].tolist() if is_kept else ():
                self._leaders[group].append(number)

    def _is_kept(self, number: int, candidates: Index, estimates: Shares) -> bool:
        """Whether none of the candidates, the most similar first, is similar enough; others may be related."""
        related = estimates >= RELATED
        for place in range(int(np.sum(estimates >= self._threshold - _SURE))):
            candidate, similar = int(candidates[place]), float(estimates[place])
            if similar < self._threshold + _SURE:
                similar = self._grams.jaccard(candidate, number)
                related[place] = similar >= RELATED
            if similar >= self._threshold:
                self.near.of[number] = candidate, round(similar, 3)
                return False
        if related.any():
            self._join(number, candidates[related].tolist())
        return True

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


def _alike(rows: Sketches, first: int, least: float) -> Iterator[tuple[int, Index, Shares]]:
    """Each row from `first` on that has any with the earlier rows that share a band and `least` of their places.

    Those come with their share of equal places, the most similar first, then in order.
    """
    found = [np.zeros((3, 0))]
    for start in range(0, len(rows), _OTHERS):
        later, earlier = np.nonzero(at_most_equal(rows[first:], rows[start : start + _OTHERS]) >= least * PLACES)
        later, earlier = later + first, earlier + start
        is_pair = np.flatnonzero(earlier < later)
        for some in np.split(is_pair, range(_PAIRS, len(is_pair), _PAIRS)):
            a, b = rows[later[some]], rows[earlier[some]]
            estimates = np.where(share_band(a, b), similarity(a, b), 0)
            found.append(np.stack([later[some], earlier[some], estimates])[:, estimates >= least])
    pairs = np.concatenate(found, axis=1)
    later, earlier, estimates = pairs[:, np.lexsort((pairs[1], -pairs[2], pairs[0]))]
    ends = [*np.flatnonzero(np.diff(later, prepend=-1)).tolist(), len(later)]
    for start, end in pairwise(ends):
        yield int(later[start]), earlier[start:end].astype(np.int64), estimates[start:end]


class _Grams:
    """Sets of 5-gram hashes of texts; the last ones are kept, as duplicates stand near each other."""

    KEPT = 4_000_000  # hashes, of 8 bytes

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._sets: dict[int, Hashes] = {}
        self._held = 0

    def jaccard(self, a: int, b: int) -> float:
        """Jaccard similarity of the 5-grams of two documents."""
        one, other = self._of(a), self._of(b)
        both = len(np.intersect1d(one, other, assume_unique=True))
        return both / max(len(one) + len(other) - both, 1)

    def _of(self, number: int) -> Hashes:
        if number not in self._sets:
            self._sets[number] = gram_set(self._texts(number))
            self._held += len(self._sets[number])
            while self._held > self.KEPT and len(self._sets) > 2:
                self._held -= len(self._sets.pop(next(iter(self._sets))))
        return self._sets[number]


def gram_set(text: str) -> Hashes:
    """The different 5-grams of a text without white space, as sorted hashes."""
    return without_repeats(shingles(ink_of_texts([text]))[0])


def without_repeats(hashes: Hashes) -> Hashes:
    """`np.unique`, five times as fast: numpy 2.4 puts them into a hash table first."""
    in_order = np.sort(hashes)
    is_new = np.ones(len(in_order), dtype=np.bool_)
    np.not_equal(in_order[1:], in_order[:-1], out=is_new[1:])
    return in_order[is_new]


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
