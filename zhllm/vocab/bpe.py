"""Learning BPE merges over counted runs, with the counts that the tokenisation afterwards really has.

The tokenisation is SentencePiece's: the best-ranked string that two neighbouring tokens make is joined
first, the leftmost of equals. Each merge is learnt on what all earlier ones leave, so its count is exact
when it is made and no pass over the text is needed later.

Why one pair of symbols is all there is to a string: where tokens end at both ends of a string, no join
ever crossed these ends, so inside it everything went as if it stood alone. Hence it has the same tokens
at all such places, and a string that is a piece is whole at all of them. Only a base can have a piece that
none of its own joins forms; where a new piece makes it possible, it is joined at once (`known`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from zhllm.vocab.candidates import Candidates
from zhllm.vocab.token_runs import INSIDE, NO_TOKEN, Array, Strings, Symbols, TokenRuns

# Pairs that are sorted at once when the text is first read, 8 bytes each.
_SORTED_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Merge:
    """A piece of two tokens, and how often it is formed."""

    text: str
    count: int


def learn_merges(
    runs: TokenRuns,
    size: int,
    min_count: int,
    max_chars: int,
    first: Mapping[str, int] | None = None,
    known: Mapping[str, float] | None = None,
) -> list[Merge]:
    """The merges in rank order: those of `first`, then up to `size` more, each time the most frequent string.

    Ties go by the string. A merge that is learnt is formed `min_count` times or more and has at most
    `max_chars` characters. Those of `first` may be longer; a string of `first` is left out when it is
    formed less often than its value says. `known` is the rank of each string the base can join, all before
    what is learnt: such a string is never learnt, and joined at once where a merge makes it possible.
    `runs.symbols` is used up.
    """
    learner = _Learner(runs, min_count if size else None, max_chars, first or {}, known or {})
    return learner.form_first() + learner.learn(size)


@dataclass
class _Found:
    """Where a pair stands (`standing`), where of that it is joined (`joined`), and how often it is formed.

    `rewritten` are the runs in which a string of the base follows from it, by their first position.
    """

    standing: Array
    joined: Array
    count: int
    rewritten: dict[int, list[str]] = field(default_factory=dict)


class _Learner:
    """The text as it is tokenised so far, and the pairs that may be joined next.

    A pair of symbols only loses occurrences after it came up, so its count then is an upper bound, and it
    is enough to count again when its turn comes. `min_count` is None where nothing is learnt after `first`.
    """

    def __init__(
        self,
        runs: TokenRuns,
        min_count: int | None,
        max_chars: int,
        first: Mapping[str, int],
        known: Mapping[str, float],
    ) -> None:
        self._text, self._weights = runs.symbols, runs.weights
        self._symbols = Symbols(runs.texts)
        self._min_count, self._max_chars = min_count, max_chars
        self._first, self._known = first, known
        self._known_strings = Strings(self._symbols, known)
        self._special = Strings(self._symbols, first, known)
        self._longest = max([max_chars, *map(len, first)])
        self._ends = np.flatnonzero(self._text == NO_TOKEN) if known else self._text[:0]
        self._candidates = Candidates()
        self._asked: dict[str, list[int]] = {}
        self._file_all(runs.starts)

    def form_first(self) -> list[Merge]:
        """Join the strings that were asked for, in their order."""
        merges = []
        for text, least in self._first.items():
            rows = self._asked.pop(text, [])
            found = [self._find(row, text) for row in rows]
            count = sum(f.count for f in found)
            if count >= least:
                for row, f in zip(rows, found, strict=True):
                    self._form(row, text, f)
                merges.append(Merge(text, count))
        self._special, self._longest = self._known_strings, self._max_chars
        return merges

    def learn(self, size: int) -> list[Merge]:
        """Join the most frequent string, `size` times or until none is frequent enough."""
        merges: list[Merge] = []
        if self._min_count is None:
            return merges
        for count in self._candidates.counts():
            if len(merges) == size:
                break
            level: list[tuple[str, int]] = []
            while len(merges) < size:
                for row in self._candidates.take(count):
                    heapq.heappush(level, (self._string(row), row))
                if not level:
                    break
                text, row = heapq.heappop(level)
                found = self._find(row, text)
                if found.count == count:
                    self._form(row, text, found)
                    merges.append(Merge(text, count))
                elif found.count >= self._min_count:
                    self._candidates.keep(row, found.standing)
                    self._candidates.put(row, found.count)
        return merges

    def _string(self, row: int) -> str:
        left, right = self._candidates.pair(row)
        return self._symbols.texts[left] + self._symbols.texts[right]

    def _file_all(self, starts: Array) -> None:
        """File every pair of neighbours in the text, a range of left symbols at a time."""
        text, total = self._text, len(self._symbols.texts)
        for first, last in _ranges(np.bincount(text[starts], minlength=total), 2**31 // total):
            at = np.flatnonzero(starts & (text >= first) & (text < last))
            left = text[at]
            right = text[at + self._symbols.lengths[left]]
            paired = right != NO_TOKEN
            keys = (left[paired] - first).astype(np.int64) * total + right[paired]
            if len(keys):
                keys, begins, at = _grouped(keys, at[paired])
                self._file(first + keys // total, keys % total, begins, at)

    def _file_neighbours(self, symbol: int, at: Array, fresh: Sequence[int]) -> None:
        """File the pairs that a new symbol makes at its places; `fresh` are all symbols that are new there."""
        length = len(self._symbols.texts[symbol])
        if length >= self._longest:
            return
        right, left = self._text.take(at + length), self._text.take(at - 1)
        lengths = self._symbols.lengths.take(left)
        right_near = self._symbols.lengths.take(right) <= self._longest - length
        left_near = lengths <= self._longest - length
        for other in fresh:  # their right neighbours are filed as such
            left_near &= left != other
        # A left neighbour's key comes behind those of all right ones.
        total = len(self._symbols.texts)
        keys = np.concatenate([right[right_near], left[left_near] + np.int32(total)])
        if len(keys):
            keys, begins, places = _grouped(keys, np.concatenate([at[right_near], (at - lengths)[left_near]]))
            is_left = keys >= total
            keys[is_left] -= total
            self._file(np.where(is_left, keys, symbol), np.where(is_left, symbol, keys), begins, places)

    def _file(self, left: Array, right: Array, begins: Array, positions: Array) -> None:
        """File pairs, given in groups of positions, that are frequent enough or asked for."""
        counts = np.add.reduceat(self._weights.take(positions), begins, dtype=np.int64)
        ends = np.append(begins[1:], len(positions))
        for group in (left == right).nonzero()[0].tolist():
            there = positions[begins[group] : ends[group]]
            counts[group] = self._sum(_apart(there, int(self._symbols.lengths[left[group]])))
        waits, asked = self._judge(left, right, counts)
        worth = waits.copy()
        worth[list(asked)] = True
        groups = worth.nonzero()[0]
        if not len(groups):
            return
        sizes = ends - begins
        rows = self._candidates.add(left[groups], right[groups], sizes[groups], positions[worth.repeat(sizes)])
        for row, count, wait in zip(rows, counts[groups].tolist(), waits[groups].tolist(), strict=True):
            if wait:
                self._candidates.put(row, count)
        for row, group in zip(rows, groups.tolist(), strict=True) if asked else ():
            if group in asked:
                self._asked.setdefault(asked[group], []).append(row)

    def _judge(self, left: Array, right: Array, counts: Array) -> tuple[Array, dict[int, str]]:
        """Which pairs may be learnt, and which are asked for, with their strings."""
        lengths = self._symbols.lengths.take(left) + self._symbols.lengths.take(right)
        waits = np.zeros(len(left), np.bool_)
        if self._min_count is not None:
            waits = (counts >= self._min_count) & (lengths <= self._max_chars)
        asked: dict[int, str] = {}
        for group, string in self._special.among(left, right):
            if string in self._first:
                asked[group] = string
            if string in self._known:
                waits[group] = False
        return waits, asked

    def _sum(self, positions: Array) -> int:
        return int(self._weights.take(positions).sum(dtype=np.int64))

    def _find(self, row: int, string: str) -> _Found:
        """Count a pair where it still stands."""
        left, right = self._candidates.pair(row)
        length = int(self._symbols.lengths[left])
        at = self._candidates.positions(row)
        at = at[(self._text.take(at) == left) & (self._text.take(at + length) == right)]
        joined = _apart(at, length) if left == right else at
        found = _Found(at, joined, self._sum(joined))
        if self._known:
            self._find_rewritten(found, string)
        return found

    def _form(self, row: int, string: str, found: _Found) -> None:
        """Join the pair where it was found, and file the pairs that come up."""
        left, _ = self._candidates.pair(row)
        symbol, at = self._symbols.number(string), found.joined
        middle = at + self._symbols.lengths[left]
        self._text[middle - 1] = INSIDE
        self._text[middle] = INSIDE
        self._text[at] = symbol
        self._text[at + (len(string) - 1)] = symbol
        made = {symbol: [at]}
        for start, tokens in found.rewritten.items():
            for other, position in self._rewrite(start, tokens):
                made.setdefault(other, []).append(np.array([position], at.dtype))
        for other, places in made.items():
            there = np.sort(np.concatenate(places)) if len(places) > 1 else places[0]
            self._file_neighbours(other, there, list(made))

    def _find_rewritten(self, found: _Found, string: str) -> None:
        """Set apart the runs in which a string of the base follows, and count there what is really formed."""
        at = found.joined
        symbol = np.full(len(at), self._symbols.number(string))
        next_too = np.append(np.where(np.diff(at) == len(string), symbol[1:], NO_TOKEN), NO_TOKEN)[: len(at)]
        left = np.concatenate([symbol, self._text.take(at - 1), symbol])
        right = np.concatenate([self._text.take(at + len(string)), symbol, next_too])
        odd = np.zeros(len(at), np.bool_)
        odd[[i % len(at) for i, _ in self._known_strings.among(left, right)]] = True
        if not odd.any():
            return
        run_of = np.searchsorted(self._ends, at)
        runs = np.unique(run_of[odd])
        found.joined = at[~np.isin(run_of, runs)]
        found.count = self._sum(found.joined)
        for start in (self._ends[runs - 1] + 1).tolist():
            tokens = [self._symbols.texts[s] for _, s in self._tokens(start)]
            found.rewritten[start], formed = join_with_known(tokens, string, self._known)
            found.count += formed * int(self._weights[start])

    def _tokens(self, start: int) -> Iterator[tuple[int, int]]:
        """(position, symbol) of the tokens of a run."""
        while (symbol := int(self._text[start])) != NO_TOKEN:
            yield start, symbol
            start += len(self._symbols.texts[symbol])

    def _rewrite(self, start: int, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Write a run's tokens; gives (symbol, position) of those that are new."""
        before = set(self._tokens(start))
        for token in tokens:
            symbol, stop = self._symbols.number(token), start + len(token)
            self._text[start:stop] = INSIDE
            self._text[[start, stop - 1]] = symbol
            if (start, symbol) not in before:
                yield symbol, start
            start = stop


def join_with_known(tokens: Sequence[str], string: str, known: Mapping[str, float]) -> tuple[list[str], int]:
    """A run after `string` is joined, left to right, and what is known with each new token at once; how often.

    Between a known string to the left and one to the right the better rank decides, then the left one.
    """
    parts, at, formed = list(tokens), 0, 0
    while at < len(parts) - 1:
        if parts[at] + parts[at + 1] != string:
            at += 1
            continue
        parts[at : at + 2] = [string]
        formed += 1
        while True:
            near = [i for i in (at - 1, at) if 0 <= i < len(parts) - 1 and parts[i] + parts[i + 1] in known]
            if not near:
                break
            at = min(near, key=lambda i: (known[parts[i] + parts[i + 1]], i))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts, formed


def _apart(positions: Array, length: int) -> Array:
    """Of places where a token of `length` is followed by itself, those that are joined, left to right."""
    if len(positions) < 2:
        return positions
    index = np.arange(len(positions))
    begins = np.ones(len(positions), np.bool_)
    np.not_equal(positions[1:] - positions[:-1], length, out=begins[1:])
    since = index - np.maximum.accumulate(np.where(begins, index, 0))
    joined: Array = positions[since % 2 == 0]
    return joined


def _grouped(keys: Array, positions: Array) -> tuple[Array, Array, Array]:
    """Positions sorted by key (below 2**31), then position: the distinct keys, where each begins, the positions."""
    packed = keys.astype(np.int64)
    packed <<= 32
    packed |= positions
    packed.sort()
    places = packed.astype(np.int32)  # the low half
    packed >>= 32
    is_first = np.ones(len(packed), np.bool_)
    np.not_equal(packed[1:], packed[:-1], out=is_first[1:])
    begins = is_first.nonzero()[0]
    return packed[begins], begins, places


def _ranges(tally: Array, widest: int) -> Iterator[tuple[int, int]]:
    """Ranges of symbols, with `_SORTED_AT_ONCE` tokens each unless one symbol alone has more."""
    first = seen = 0
    for symbol, count in enumerate(tally.tolist()):
        if symbol > first and (seen + count > _SORTED_AT_ONCE or symbol - first >= widest):
            yield first, symbol
            first, seen = symbol, 0
        seen += count
    yield first, len(tally)
