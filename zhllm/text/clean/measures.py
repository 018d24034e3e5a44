"""What the rules of quality ask of a text, measured for a whole block of texts at once.

Equal to the measures of `charclass.count_chars` and `quality` for each text by itself.

Shapes: N codes, D documents, L lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from zhllm.text.clean import charclass
from zhllm.text.clean.blocks import NEWLINE, Block, Index, block_of
from zhllm.text.clean.charclass import CharCounts
from zhllm.text.clean.grams import Hashes, Ink, ink_at, line_hashes
from zhllm.text.clean.quality import GRAM_CHARS, LONG_ENOUGH_TO_COUNT

_SAMPLED = np.uint64(3)
_FEW = 8  # times as many grams as are looked at, where a quarter is to be expected
_DOC_SALT = np.uint64(0xD1342543DE82EF95)
# Times the share that must be new of a document is looked at, and some characters more. With 4 and a limit of
# 0.98 it is known of all but 4 % of dirty_zh's characters that they are below, for a tenth of the exact measure's time.
_HEAD, _HEAD_CHARS = 4, 32
# A repeated 10-gram holds seven 4-grams, which repeat too.
_FOURS_IN_GRAM = GRAM_CHARS - 3
_FACTORS = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a block: `starts` [L], `lengths` [L] in characters, `docs` [L], `hashes` [L]."""

    starts: Index
    lengths: Index
    docs: Index
    hashes: Hashes


@dataclass(frozen=True)
class Scan:
    """A block of texts and the class of every code [N]; what else is asked for is found once."""

    block: Block
    classes: npt.NDArray[np.uint8]

    @cached_property
    def ink(self) -> Ink:
        """The codes that are no white space."""
        return ink_at(self.block, self.ink_places)

    @cached_property
    def ink_places(self) -> Index:
        """Where the codes stand that are no white space, [M]."""
        return np.flatnonzero(self.classes != charclass.SPACE)

    @cached_property
    def lines(self) -> Lines:
        """Every line of every document; the last ends with the newline that was added."""
        ends = np.flatnonzero(self.block.codes == NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        docs = np.searchsorted(self.block.starts, starts, side="right") - 1
        return Lines(starts, ends - starts, docs, line_hashes(self.block.codes, starts))

    @cached_property
    def counts(self) -> list[CharCounts]:
        """Counts of each document; the newline that was added to it is not counted."""
        block, classes = self.block, charclass.CLASSES
        keys = np.repeat(np.arange(block.docs) * classes, np.diff(block.starts)) + self.classes
        numbers = np.bincount(keys, minlength=block.docs * classes).reshape(block.docs, classes)
        numbers[:, charclass.SPACE] -= 1
        return charclass.counts_of(numbers)

    def places_of(self, lines: Index) -> Iterator[tuple[int, int, int]]:
        """The document, the offset in it and the length of some lines."""
        docs = self.lines.docs[lines]
        offsets = self.lines.starts[lines] - self.block.starts[docs]
        yield from zip(docs.tolist(), offsets.tolist(), self.lines.lengths[lines].tolist(), strict=True)


def scan(texts: Sequence[str]) -> Scan:
    """Look once at every character of some texts (at least one)."""
    return scan_block(block_of(texts))


def scan_block(block: Block) -> Scan:
    """Look once at every character of a block."""
    return Scan(block, charclass.table().take(block.codes))


def repeated_shares(scanned: Scan, limit: float = 0.0) -> tuple[list[float], list[float]]:
    """`quality.repeated_lines_share` and `quality.repeated_grams_share` of each document.

    The second is 0.0 for documents that are known to have no more than `limit`.
    """
    ink = scanned.ink
    grams = np.zeros(len(ink.lengths), dtype=np.int64)
    some = with_repeated_grams(ink, limit)
    grams[some] = in_repeated_grams(ink.heads(some, ink.lengths[some]))
    chars = np.maximum(ink.lengths, 1)
    return (in_repeated_lines(scanned) / chars).tolist(), (grams / chars).tolist()


def with_repeated_grams(ink: Ink, limit: float) -> Index:
    """Documents of whose characters repeated 10-grams may cover a larger share than `limit`.

    Where so many are covered, so are many at the beginning, and there 4-grams repeat: of each character that
    is covered 0.7, since min(10, gap) <= 10 / 7 * min(7, gap) for the gaps between repeated grams.
    """
    lengths, docs = ink.lengths, len(ink.starts) - 1
    looked_at = np.minimum(lengths, (_HEAD * (1 - limit) * lengths).astype(np.int64) + _HEAD_CHARS)
    heads = ink.heads(np.arange(docs), looked_at)
    covered = _repeated_fours(heads) * GRAM_CHARS / _FOURS_IN_GRAM + lengths - looked_at
    return np.flatnonzero((lengths >= GRAM_CHARS) & (covered + GRAM_CHARS > limit * lengths))


def _repeated_fours(ink: Ink) -> Index:
    """How many 4-grams of each document stood in it before, or seem to by their hashes, [D]."""
    docs = len(ink.starts) - 1
    doc_bits = np.uint32(docs.bit_length())
    twos = ink.codes[:-1] * _FACTORS[0] + ink.codes[1:]
    fours = (twos[:-2] * _FACTORS[1] + twos[2:]) * _FACTORS[2]
    keys = ink.docs_of(len(fours)).astype(np.uint32) << np.uint32(32 - doc_bits) | fours >> doc_bits
    in_order = np.sort(keys)
    again = in_order[1:][in_order[1:] == in_order[:-1]]
    return np.bincount(again >> np.uint32(32 - doc_bits), minlength=docs)


def in_repeated_lines(scanned: Scan) -> Index:
    """Characters (no white space) of each document in lines that stood in it before, [D]."""
    lines = scanned.lines
    long = np.flatnonzero(lines.lengths >= LONG_ENOUGH_TO_COUNT)
    hashes = lines.hashes[long] ^ lines.docs[long].astype(np.uint64) * _DOC_SALT
    again = long[_seen_before(hashes)]
    repeated = np.zeros(scanned.block.docs, dtype=np.int64)
    if len(again):
        ink = np.append(np.add.reduceat(scanned.classes != charclass.SPACE, lines.starts, dtype=np.int64), 0)
        np.add.at(repeated, lines.docs[again], ink[again])
    return repeated


def _seen_before(hashes: Hashes) -> Index:
    """Places of the hashes that stand at an earlier place too, in no order.

    Sorting places by hash costs three times as much as sorting the hashes, so each place is written
    into the low bits of its hash; what then seems equal is compared whole.
    """
    place_bits = np.uint64((1 << max(len(hashes) - 1, 1).bit_length()) - 1)
    in_order = np.sort(hashes & ~place_bits | np.arange(len(hashes), dtype=np.uint64))
    same = np.flatnonzero((in_order[1:] ^ in_order[:-1]) <= place_bits)
    places = (in_order[same + 1] & place_bits).astype(np.int64)
    before = (in_order[same] & place_bits).astype(np.int64)
    return np.asarray(places[hashes[places] == hashes[before]])


def in_repeated_grams(ink: Ink) -> Index:
    """Characters of each document that 10-grams cover which stood in it before, [D].

    Of all 10-grams those are looked at whose hash ends in two zero bits: the same ones wherever they stand.
    In a passage that repeats they overlap, so nearly all of it counts; the exact share
    (`quality.repeated_grams_share`) is never less. Sorting all of them would cost as much as all other measures.
    A few words over and over have few different 10-grams, and chance may take none of them: then all are looked at.
    """
    covered = np.zeros(len(ink.starts) - 1, dtype=np.int64)
    grams = ink.grams(GRAM_CHARS)
    inside = ink.within(GRAM_CHARS)
    chosen = (grams & _SAMPLED == 0) & inside
    where = np.flatnonzero(chosen)
    doc_of = ink.docs_of(len(grams))
    counts = np.maximum(ink.lengths - GRAM_CHARS + 1, 0)
    few = np.flatnonzero(np.bincount(doc_of[where], minlength=len(covered)) * _FEW < counts)
    if len(few):
        for start, count in zip(ink.starts[few].tolist(), counts[few].tolist(), strict=True):
            chosen[start : start + count] = True
        where = np.flatnonzero(chosen)
    docs = doc_of[where]
    salt = docs.astype(np.uint64) * _DOC_SALT
    places = where[_seen_before(grams[where] ^ salt)]
    if not len(places):
        return covered
    steps = np.zeros(len(ink.codes) + 1, dtype=np.int8)
    steps[places] = 1
    steps[places + GRAM_CHARS] -= 1
    is_covered = np.cumsum(steps[:-1], dtype=np.int8) > 0
    return np.add.reduceat(np.append(is_covered, False), ink.starts[:-1], dtype=np.int64) * (ink.lengths > 0)
