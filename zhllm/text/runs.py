"""The distinct Han runs of a corpus with their counts, in bounded memory whatever the size of the corpus.

A text is cut into chunks at line ends, and the hash of a chunk gives it a level: half of all chunks have
level 0, a quarter level 1, and so on. When the runs held are too many, those of the lowest level are
dropped. What is left is a sample of chunks that depends neither on the order of the documents nor on
chance; the counts of single characters are always over everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any, Literal

import numpy as np
import xxhash

from zhllm.text.han import HAN

Script = Literal["keep", "simplified", "traditional", "both"]

# Characters of distinct runs held at once, and one more for each run. tests/bench/vocab.py: 100 MB of mixed
# Chinese come to 17 million, and train-vocab then needs 0.7 GB at its peak.
MAX_HELD = 20_000_000
CHUNK_CHARS = 20_000
_BATCH_CHARS = 400_000

_CODES = 0x32400  # behind the last Han character
_NEWLINE = ord("\n")

# OpenCC's conversions.
_CONFIGS: dict[Script, tuple[str | None, ...]] = {
    "keep": (None,),
    "simplified": ("t2s",),
    "traditional": ("s2t",),
    "both": ("t2s", "s2t"),
}


@dataclass(frozen=True)
class CountedRuns:
    """Distinct Han runs, in `text` each followed by a line end, and how often each one occurs (`counts`, int64).

    `characters` counts every Han character of the corpus; `share` is how much of them the runs were
    taken from (1 when nothing had to be dropped).
    """

    text: str
    counts: np.ndarray[Any, np.dtype[np.int64]]
    characters: Mapping[str, int]
    share: float = 1.0

    @classmethod
    def of(cls, runs: Mapping[str, int]) -> CountedRuns:
        """Runs that were counted elsewhere."""
        characters: Counter[str] = Counter()
        for run, count in runs.items():
            for char in run:
                characters[char] += count
        return cls._packed(runs, characters, 1.0)

    @classmethod
    def _packed(cls, runs: Mapping[str, int], characters: Mapping[str, int], share: float) -> CountedRuns:
        text = "\n".join(runs) + "\n" if runs else ""
        return cls(text, np.fromiter(runs.values(), np.int64, len(runs)), characters, share)

    def __len__(self) -> int:
        return len(self.counts)

    def only(self, characters: Iterable[str]) -> CountedRuns:
        """The same with a space for every other character."""
        inside = np.zeros(_CODES, np.bool_)
        inside[[_NEWLINE, *map(ord, characters)]] = True
        codes = _codes(self.text)
        return replace(self, text=np.where(inside[codes], codes, np.uint32(ord(" "))).tobytes().decode("utf-32-le"))

    def blocks(self, size: int = 16384) -> Iterator[tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]]:
        """The runs and their counts, `size` at a time."""
        ends = np.flatnonzero(_codes(self.text) == _NEWLINE)
        borders = [0, *(ends[size - 1 :: size] + 1).tolist(), len(self.text)]
        for first, start, end in zip(range(0, len(self), size), borders, borders[1:], strict=False):
            yield self.text[start : end - 1].split("\n"), self.counts[first : first + size]


class RunCounter:
    """Counts the Han runs of texts that are given to it one after the other, in the wished script."""

    def __init__(self, script: Script = "keep", max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self._convert = [_converter(config) for config in _CONFIGS[script]]
        self._waiting: dict[int, list[str]] = {}
        self._waiting_chars: Counter[int] = Counter()
        self._tables: dict[int, Counter[str]] = {}
        self._held: Counter[int] = Counter()
        self._lowest = 0
        self._han: Counter[int] = Counter()
        self._characters = np.zeros(_CODES, np.int64)

    def add(self, text: str) -> None:
        """Count the runs of one document."""
        for chunk in _chunks(text):
            level = _level(chunk)
            self._waiting.setdefault(level, []).append(chunk)
            self._waiting_chars[level] += len(chunk)
            if self._waiting_chars[level] >= _BATCH_CHARS:
                self._count(level)

    def finish(self) -> CountedRuns:
        """Everything counted so far; the counter is empty afterwards."""
        for level in sorted(self._waiting):
            self._count(level)
        runs: dict[str, int] = {}
        for level in sorted(self._tables):
            table = self._tables.pop(level)
            for run in runs.keys() & table.keys():
                table[run] += runs[run]
            runs.update(table)
        found = np.flatnonzero(self._characters)
        characters = {chr(code): int(self._characters[code]) for code in found.tolist()}
        kept = sum(han for level, han in self._han.items() if level >= self._lowest)
        return CountedRuns._packed(runs, characters, kept / max(1, self._han.total()))

    def _count(self, level: int) -> None:
        self._waiting_chars[level] = 0
        text = _only_runs("\n".join(self._waiting.pop(level)))
        for convert in self._convert:
            found = _only_runs(convert(text)) if convert else text
            seen = np.bincount(_codes(found), minlength=_CODES)
            seen[_NEWLINE] = 0
            self._characters += seen
            self._han[level] += int(seen.sum())
            if level >= self._lowest:
                self._hold(level, found.split())

    def _hold(self, level: int, runs: list[str]) -> None:
        table = self._tables.setdefault(level, Counter())
        before = len(table)
        table.update(runs)
        new = islice(reversed(table), len(table) - before)  # a dict keeps the order in which keys came
        self._held[level] += sum(map(len, new)) + len(table) - before
        while self._held.total() > self._max_held:
            self._tables.pop(self._lowest, None)
            del self._held[self._lowest]
            self._lowest += 1


def count_runs(texts: Iterable[str], script: Script = "keep") -> CountedRuns:
    """The Han runs of `texts`; see the module for what is held."""
    counter = RunCounter(script)
    for text in texts:
        counter.add(text)
    return counter.finish()


_RUN = re.compile(f"[{HAN}]+")
_LINE_END = re.compile("\n")
_BORDER = re.compile("[\x00-\u2fff\uac00-\uffff]")


def _chunks(text: str) -> Iterator[str]:
    """The text in pieces of about CHUNK_CHARS, cut behind a line end where one is near, never inside a run."""
    start = 0
    while len(text) - start > 2 * CHUNK_CHARS:
        middle = start + CHUNK_CHARS
        found = _LINE_END.search(text, middle, middle + CHUNK_CHARS) or _BORDER.search(text, middle)
        end = found.end() if found else len(text)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _level(chunk: str) -> int:
    """Zero bits at the end of the chunk's hash: level k has a share of 2 ** -(k + 1)."""
    digest = xxhash.xxh3_64_intdigest(chunk.encode("utf-8", "surrogatepass")) | 1 << 62
    return (digest & -digest).bit_length() - 1


@cache
def _is_han() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each code point whether it is Han."""
    table = np.zeros(0x110000, np.bool_)
    for found in _RUN.finditer("".join(map(chr, range(_CODES)))):
        table[found.start() : found.end()] = True
    return table


def _codes(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _only_runs(text: str) -> str:
    """The Han runs of a text, each followed by a line end: `han_runs` for long texts."""
    codes = _codes(text + "\n")
    han = _is_han()[codes]
    kept = han.copy()
    kept[1:] |= han[:-1]
    data: bytes = np.where(han, codes, np.uint32(_NEWLINE))[kept].tobytes()
    return data.decode("utf-32-le")


def _converter(config: str | None) -> Callable[[str], str] | None:
    if config is None:
        return None
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC(config).convert
    return convert
