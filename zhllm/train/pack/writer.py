"""Parts to token sets: chosen documents of every source in flat files, counted, and read again as proof."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zhllm.errors import ProofError
from zhllm.train.pack.info import SOURCES_DTYPE, STARTS_DTYPE, Counts, PackInfo, SetInfo
from zhllm.train.pack.mixture import Portion, highest_rank, ranks
from zhllm.train.pack.parts import Part

# Lengths of documents are counted by powers of two: 1, 2 to 3, 4 to 7, ... tokens.
LENGTH_BINS = 32
# Tokens that are read at once for the proof.
PROOF_TOKENS = 1 << 23
SUFFIXES = ("tokens", "starts", "sources")


@dataclass(frozen=True)
class Taken:
    """Of one source in one set: what there was, what was written, what of it again; lengths by powers of two."""

    available: Counts
    written: Counts
    left_out: Counts
    repeated: Counts
    lengths: NDArray[np.int64]


class SetWriter:
    """The three files of one set, written source by source."""

    def __init__(self, folder: Path, name: str, dtype: str) -> None:
        self._paths = [folder / f"{name}.{suffix}.bin" for suffix in SUFFIXES]
        self._dtype = dtype
        self._tokens = 0

    def __enter__(self) -> SetWriter:
        with ExitStack() as stack:
            self._files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in self._paths]
            self._close = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def add(self, source: int, parts: Sequence[Path], portion: Portion, seed: int) -> Taken:
        """Write a source's documents: all of them `portion.passes` times, then the chosen rest."""
        limit = highest_rank(parts, portion, seed, source)
        available = chosen = Counts()
        lengths = np.zeros(LENGTH_BINS, np.int64)
        for number in range(portion.passes + (limit >= 0)):
            first = 0
            for path in parts:
                part = Part(path)
                kept = None
                if number == portion.passes:
                    kept = ranks(seed, source, first, len(part.lengths)) <= np.uint64(limit)
                    chosen += part.counts(kept)
                self._write(part, kept, source)
                lengths += _by_length(part.lengths if kept is None else part.lengths[kept])
                first += len(part.lengths)
        for path in parts:
            available += Part(path).counts()
        return _taken(available, chosen, portion.passes, lengths)

    def _write(self, part: Part, kept: NDArray[np.bool_] | None, source: int) -> None:
        """Append a part's documents, or some of them."""
        lengths = part.lengths if kept is None else part.lengths[kept]
        ids = part.ids if kept is None else part.ids[np.repeat(kept, part.lengths)]
        ends = self._tokens + np.cumsum(lengths, dtype=np.int64)
        starts = (ends - lengths).astype(STARTS_DTYPE)
        columns = (ids.astype(self._dtype, copy=False), starts, np.full(len(lengths), source, SOURCES_DTYPE))
        for file, column in zip(self._files, columns, strict=True):
            file.write(np.ascontiguousarray(column).data)
        self._tokens += len(ids)


def _by_length(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.bincount(np.frexp(lengths)[1] - 1, minlength=LENGTH_BINS)


def _taken(available: Counts, chosen: Counts, passes: int, lengths: NDArray[np.int64]) -> Taken:
    none = Counts()
    written = chosen
    for _ in range(passes):
        written += available
    if not passes:
        return Taken(available, written, available - chosen, none, lengths)
    return Taken(available, written, none, written - available, lengths)


def set_info(taken: dict[str, Taken]) -> SetInfo:
    """The counts of a set from those of its sources."""
    total = Counts()
    for one in taken.values():
        total += one.written
    return SetInfo(*total.values(), {name: one.written for name, one in taken.items()})


def prove_set(folder: Path, name: str, info: PackInfo) -> None:
    """Read a written set from disk; ProofError unless it holds what was counted.

    As many tokens and documents as pack.json says, every id of the vocabulary, and every document with one end token,
    its last.
    """
    counts, size = info.sets[name], np.dtype(info.dtype).itemsize
    paths = [folder / f"{name}.{suffix}.bin" for suffix in SUFFIXES]
    held = [path.stat().st_size // width for path, width in zip(paths, (size, 8, 2), strict=True)]
    if held != [counts.tokens, counts.docs, counts.docs]:
        raise ProofError(
            f"{name}: {counts.tokens:,} tokens of {counts.docs:,} documents were made, on disk are {held}."
        )
    with paths[0].open("rb") as tokens, paths[1].open("rb") as starts:
        is_sound = np.fromfile(starts, STARTS_DTYPE, 1) == [0]
        for first in range(0, counts.tokens, PROOF_TOKENS):
            some = np.fromfile(tokens, info.dtype, PROOF_TOKENS)  # mapped, it would count as memory in use
            ends = np.flatnonzero(some == info.eos_id) + first + 1
            following = np.fromfile(starts, STARTS_DTYPE, len(ends))
            if first + len(some) == counts.tokens:
                following = np.append(following, counts.tokens)
            if not is_sound or some.max() >= info.vocab_size or not np.array_equal(ends, following):
                last = first + len(some)
                raise ProofError(f"{name}: tokens {first:,} to {last:,} on disk are not those that were made.")
