"""Hashes of every line and every character n-gram of a block of texts, by prefix sums.

A polynomial hash of codes[i:i+n] is a difference of two prefix sums of `codes * A**k`, times A**-i; with A
odd everything is exact modulo 2**64, and any n costs two steps per character (Karp and Rabin, 1987).

Shapes: N codes of a block, M of them no white space, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from zhllm.text.clean import charclass
from zhllm.text.clean.blocks import Block, Codes, Index, Mask, block_of

Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 2**64)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@lru_cache(maxsize=4)
def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _rounded(count: int) -> int:
    """A table size that serves many blocks."""
    return 1 << max(count, 1 << 18).bit_length()


def mixed(hashes: Hashes) -> Hashes:
    """Hashes whose every bit depends on every bit (the finisher of splitmix64, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * _MIX_1
    hashes = (hashes ^ (hashes >> np.uint64(27))) * _MIX_2
    hashes ^= hashes >> np.uint64(31)
    return hashes


def _folded(hashes: Hashes) -> Hashes:
    """Half of `mixed`, in place: the high bits of a product depend on all bits already, now the low ones do too."""
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX_1
    hashes ^= hashes >> np.uint64(29)
    return hashes


def line_hashes(codes: Codes, starts: Index) -> Hashes:
    """A hash of each line; `starts` are the lines' first codes, each line reaches to the next, [L]."""
    size = _rounded(len(codes))
    weighted = codes.astype(np.uint64) * _powers(_BASE, size)[: len(codes)]
    return mixed(np.add.reduceat(weighted, starts) * _powers(_INVERSE, size)[starts])


@dataclass(frozen=True)
class Ink:
    """The codes of a block that are no white space: `codes` [M], `starts` [D + 1]."""

    codes: Codes
    starts: Index

    @cached_property
    def _sums(self) -> Hashes:
        """Prefix sums of the weighted codes, [M + 1]."""
        sums = np.zeros(len(self.codes) + 1, dtype=np.uint64)
        np.cumsum(
            self.codes.astype(np.uint64) * _powers(_BASE, _rounded(len(self.codes)))[: len(self.codes)], out=sums[1:]
        )
        return sums

    @property
    def lengths(self) -> Index:
        """Characters of each document, [D]."""
        return np.diff(self.starts)

    def grams(self, n: int) -> Hashes:
        """The hash of every n-gram, [M - n + 1], those across documents too (see `within`)."""
        count = max(len(self.codes) - n + 1, 0)
        inverse = _powers(_INVERSE, _rounded(len(self.codes)))[:count]
        if not count:
            return np.zeros(0, dtype=np.uint64)
        hashes = self._sums[n:] - self._sums[:count]
        hashes *= inverse
        return _folded(hashes)

    def within(self, n: int) -> Mask:
        """Which n-grams lie within one document, [M - n + 1]."""
        count = max(len(self.codes) - n + 1, 0)
        inside = np.ones(count, dtype=np.bool_)
        first = np.maximum(self.starts[1:] - n + 1, self.starts[:-1])
        across = (first[:, None] + np.arange(n - 1))[np.arange(n - 1) < (self.starts[1:] - first)[:, None]]
        inside[across[across < count]] = False
        return inside

    def heads(self, docs: Index, lengths: Index) -> Ink:
        """The first `lengths` codes of some documents."""
        starts = np.concatenate([[0], np.cumsum(lengths)])
        if len(docs) == len(self.starts) - 1 and starts[-1] == len(self.codes):
            return self
        where = np.repeat(self.starts[docs] - starts[:-1], lengths) + np.arange(starts[-1])
        return Ink(self.codes.take(where), starts)

    def docs_of(self, count: int) -> Index:
        """The document of each of the first `count` codes."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)[:count]


def ink_of(block: Block, is_space: Mask) -> Ink:
    """The codes of a block without white space; `is_space` [N]."""
    return ink_at(block, np.flatnonzero(~is_space))


def ink_at(block: Block, places: Index) -> Ink:
    """The codes of a block at some places, in order."""
    return Ink(block.codes.take(places), np.searchsorted(places, block.starts))


def ink_of_texts(texts: Sequence[str]) -> Ink:
    """The ink of some texts (at least one)."""
    block = block_of(texts)
    return ink_of(block, charclass.table().take(block.codes) == charclass.SPACE)
