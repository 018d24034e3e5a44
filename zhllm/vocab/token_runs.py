"""Runs of tokens in flat arrays, and the symbols in them: the form in which BPE is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from zhllm.text.runs import CountedRuns

Array = np.ndarray[Any, Any]

NO_TOKEN = 0  # between runs
INSIDE = -1

# The hash of a string is a polynomial of its characters modulo 2**64, so that of two joined follows from theirs.
_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
# The length of "no token": with it every pair is too long.
TOO_LONG = 1 << 30


@dataclass
class TokenRuns:
    """Runs of tokens in one array: a token's symbol at its first and at its last character, 0 between runs.

    For each position `weights` says how often its run occurs, and `starts` whether a token begins there;
    `texts[s]` is the string of symbol s. The first and the last position belong to no run.
    """

    symbols: Array
    weights: Array
    starts: Array
    texts: list[str]

    @classmethod
    def of_characters(cls, runs: CountedRuns, characters: Iterable[str]) -> TokenRuns:
        """Every character is a token; runs end at what is not in `characters`."""
        texts = ["", *sorted(set(characters))]
        table = np.zeros(0x110000, np.int32)
        table[[ord(char) for char in texts[1:]]] = np.arange(1, len(texts))
        codes = np.frombuffer(runs.text.encode("utf-32-le"), np.uint32)
        lengths = np.diff(np.flatnonzero(codes == ord("\n")), prepend=-1)
        symbols = np.zeros(len(codes) + 1, np.int32)
        symbols[1:] = table[codes]
        weights = np.zeros(len(symbols), _type_for(runs.counts))
        weights[1:] = np.repeat(runs.counts.astype(weights.dtype), lengths)
        return cls(symbols, weights, symbols > NO_TOKEN, texts)

    @classmethod
    def of_tokens(cls, blocks: Iterable[tuple[Sequence[Sequence[str]], Array]]) -> TokenRuns:
        """Runs that are cut already, in blocks of runs and their counts."""
        symbol_of = _Numbered({"": NO_TOKEN})
        nothing = np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_)
        parts = [nothing, *(_laid_out(runs, counts, symbol_of) for runs, counts in blocks)]
        symbols, weights, starts = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return cls(symbols, weights, starts, list(symbol_of))


class _Numbered(dict[str, int]):
    """Numbers strings in the order in which they come."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


def _laid_out(runs: Sequence[Sequence[str]], counts: Array, symbol_of: _Numbered) -> tuple[Array, Array, Array]:
    """Symbols, weights and starts of some runs, each with a 0 behind it."""
    rows = np.fromiter(map(len, runs), np.int64, len(runs))
    tokens = np.fromiter(map(symbol_of.__getitem__, chain.from_iterable(runs)), np.int32, rows.sum())
    lengths = np.fromiter(map(len, symbol_of), np.int64, len(symbol_of))[tokens]
    ends = np.cumsum(lengths) + np.repeat(np.arange(len(runs)), rows)
    # Characters of a run: what its tokens hold; its place ends with a 0.
    held = np.append(0, np.cumsum(lengths))[np.append(0, np.cumsum(rows))]
    symbols = np.full(int(lengths.sum()) + len(runs), INSIDE, np.int32)
    symbols[held[1:] + np.arange(len(runs))] = NO_TOKEN
    symbols[ends - lengths], symbols[ends - 1] = tokens, tokens
    starts = np.zeros(len(symbols), np.bool_)
    starts[ends - lengths] = True
    return symbols, np.repeat(counts.astype(_type_for(counts)), np.diff(held) + 1), starts


class Symbols:
    """Numbers for strings; arrays of their lengths and hashes."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: list[str] = []
        self.lengths = np.zeros(1024, np.int32)
        self._hashes = np.zeros(1024, np.uint64)
        self._number_of: dict[str, int] = {}
        for text in texts:
            self.number(text)
        self.lengths[NO_TOKEN] = TOO_LONG

    def number(self, text: str) -> int:
        """The symbol of a string, a new one if need be."""
        symbol = self._number_of.setdefault(text, len(self.texts))
        if symbol == len(self.texts):
            self.texts.append(text)
            if symbol == len(self.lengths):
                self.lengths = np.concatenate([self.lengths, np.zeros_like(self.lengths)])
                self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self.lengths[symbol], self._hashes[symbol] = len(text), _hash(text)
        return symbol

    def hashes(self, left: Array, right: Array) -> Array:
        """The hash of what each pair of symbols makes."""
        lengths = np.where(right == NO_TOKEN, 0, self.lengths.take(right))
        powers = np.array([pow(_BASE, n, 1 << 64) for n in range(int(lengths.max(initial=0)) + 1)], np.uint64)
        joined: Array = self._hashes.take(left) * powers.take(lengths) + self._hashes.take(right)
        return joined


class Strings:
    """A set of strings, to be asked which pairs of symbols make one of them."""

    def __init__(self, symbols: Symbols, *texts: Iterable[str]) -> None:
        self._symbols, self._texts = symbols, set(chain(*texts))
        self._hashes = np.array(sorted(map(_hash, self._texts)) or [0], np.uint64)

    def among(self, left: Array, right: Array) -> list[tuple[int, str]]:
        """The pairs that do, by index, with their strings."""
        if not self._texts:
            return []
        hashes = self._symbols.hashes(left, right)
        place = np.searchsorted(self._hashes, hashes)
        place[place == len(self._hashes)] = 0
        texts = self._symbols.texts
        found = (self._hashes[place] == hashes).nonzero()[0].tolist()
        strings = ((i, texts[left[i]] + texts[right[i]]) for i in found)
        return [(i, string) for i, string in strings if string in self._texts]


def _hash(text: str) -> int:
    value = 0
    for char in text:
        value = (value * _BASE + ord(char)) & _MASK
    return value


def _type_for(counts: Array) -> type[Any]:
    return np.int64 if counts.max(initial=0) > np.iinfo(np.int32).max else np.int32
