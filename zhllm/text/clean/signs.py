"""Which texts of a block the slow rules might change: supersets, found on arrays.

A text without any sign is left as it is, and `cleaning.clean_text` on it would do the same
(tests/property/test_blocks.py); the few with one go through the rules themselves.

Shapes: N codes, M codes of ink, D documents, L lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zhllm.text.clean import charclass
from zhllm.text.clean.blocks import CODE_POINTS, SPACE, TAB, Codes, Index, Mask, runs_at
from zhllm.text.clean.boilerplate import MAX_LINE_CHARS, TRIGGERS
from zhllm.text.clean.charclass import CharCounts
from zhllm.text.clean.furniture import (
    MAX_HEADER_CHARS,
    MIN_HAN,
    MIN_REPEATS,
    SENTENCE_END,
    SYNTAX_START,
    UNDERLINES,
    is_on_every_page,
)
from zhllm.text.clean.grams import Ink
from zhllm.text.clean.measures import Lines, Scan
from zhllm.text.script import traditional_characters

_DASHES = "-—–－―~～·•"
_DOTS = ".．·・•…"


def may_be_mojibake(chars: CharCounts) -> bool:
    """Whether trying to repair a text is worth the time.

    The first byte of a Chinese character in UTF-8 is 0xE3 to 0xEF, which Latin-1 and Windows-1252 read as
    an accented letter; read as GBK, UTF-8 gives Han characters that are hardly ever used.
    """
    return chars.accented >= 2 or chars.frequent_han * 4 < chars.han


_FACTORS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D], dtype=np.uint32)
_PAIR_FACTORS = np.uint16(0x9E37), np.uint16(0x85EB)
_KEY_SHIFT = np.uint32(16)  # a filter of 16 bits stays near the first cache


class _Beginnings(NamedTuple):
    """The first characters of triggers, as many as the table's length, by hash.

    `longer` and `own` are filters by the first bits of the hashes: of all triggers that are so long, and of those
    of which no more is looked at; `hashes` are theirs, in order.
    """

    longer: Mask
    own: Mask
    hashes: Codes


def with_triggers(scanned: Scan) -> Index:
    """Lines that may hold a trigger of boilerplate and are not too long to be boilerplate.

    The first characters of the triggers are looked for by hash, two everywhere and more only where these
    stand: an automaton over all triggers costs four times as much (polars' `contains_any`, 8 ms/MB and 5 ms a call).
    """
    codes, lines = scanned.block.codes, scanned.lines
    found: list[Index] = []
    places = np.flatnonzero(_trigger_pairs().take(_pair_keys(codes)))
    hashes = codes[places] * _FACTORS[0]
    for length, beginnings in _trigger_tables().items():
        hashes = hashes + codes.take(places + length - 1, mode="clip") * _FACTORS[length - 1]
        kept = np.flatnonzero(beginnings.longer.take(hashes >> _KEY_SHIFT))
        places, hashes = places[kept], hashes[kept]
        hits = np.flatnonzero(beginnings.own.take(hashes >> _KEY_SHIFT))
        nearest = np.searchsorted(beginnings.hashes, hashes[hits]).clip(max=len(beginnings.hashes) - 1)
        found.append(places[hits[beginnings.hashes[nearest] == hashes[hits]]])
    numbers = np.searchsorted(lines.starts, np.concatenate(found), side="right") - 1
    marked = np.bincount(numbers, minlength=len(lines.starts)) > 0
    return np.flatnonzero(marked & (lines.lengths <= MAX_LINE_CHARS))


def _pair_keys(codes: Codes) -> npt.NDArray[np.uint16]:
    """A key for each two neighbours of some codes [..., N]: [..., N - 1]."""
    low = codes.astype(np.uint16)
    return np.asarray(low[..., :-1] * _PAIR_FACTORS[0] + low[..., 1:] * _PAIR_FACTORS[1])


def _first_codes(texts: Iterable[str], length: int) -> Codes:
    return np.array([[ord(char) for char in text[:length]] for text in texts], dtype=np.uint32)


@lru_cache(maxsize=1)
def _trigger_pairs() -> Mask:
    """A filter of the pairs that triggers begin with."""
    pairs = np.zeros(1 << 16, dtype=np.bool_)
    pairs[_pair_keys(_first_codes(TRIGGERS, 2))] = True
    return pairs


@lru_cache(maxsize=1)
def _trigger_tables() -> dict[int, _Beginnings]:
    """The beginnings of triggers by their lengths."""
    tables: dict[int, _Beginnings] = {}
    for length in range(2, len(_FACTORS) + 1):
        longer, own = (np.zeros(1 << 16, dtype=np.bool_) for _ in range(2))
        hashes = _hashes([t for t in TRIGGERS if min(len(t), len(_FACTORS)) == length], length)
        longer[_hashes([t for t in TRIGGERS if len(t) >= length], length) >> _KEY_SHIFT] = True
        own[hashes >> _KEY_SHIFT] = True
        tables[length] = _Beginnings(longer, own, np.sort(hashes))
    return tables


def _hashes(texts: Iterable[str], length: int) -> Codes:
    return np.asarray((_first_codes(texts, length) * _FACTORS[:length]).sum(axis=1, dtype=np.uint32))


def with_traditional(scanned: Scan) -> list[int]:
    """Documents with a character that OpenCC turns into another, Simplified one."""
    return scanned.block.docs_with(_traditional().take(scanned.block.codes))


@lru_cache(maxsize=1)
def _traditional() -> Mask:
    return _table("".join(traditional_characters()))


def _table(chars: str) -> Mask:
    table = np.zeros(CODE_POINTS, dtype=np.bool_)
    table[[ord(char) for char in chars]] = True
    return table


def with_furniture(scanned: Scan, shortened: Collection[int] = ()) -> list[int]:
    """Documents that may hold page numbers, running headers or dotted contents (see `furniture`).

    From those `shortened` lines may go before furniture is looked for.
    """
    marks = np.zeros(scanned.block.docs, dtype=np.bool_)
    # Two codes more, so that what stands behind a code can always be asked for.
    flags = np.concatenate([_flags().take(scanned.ink.codes), np.zeros(2, dtype=np.uint8)])
    leads = np.flatnonzero(flags & _LEADS != 0)
    kinds = flags[leads]
    _mark_page_words(scanned, flags, leads[kinds & (_PAGE | _P) != 0], marks)
    _mark_numbered(scanned, flags, leads[kinds & _DIGIT != 0], marks)
    _mark_leaders(scanned.ink, flags, leads[kinds & _DOT != 0], marks)
    _mark_bare_numbers(scanned, marks)
    _mark_repeated(scanned, shortened, marks)
    return np.flatnonzero(marks).tolist()


_DIGIT, _NUMERAL, _DASH, _DOT, _PAGE, _P = (np.uint8(1 << i) for i in range(6))
_LEADS = _DIGIT | _DOT | _PAGE | _P


@lru_cache(maxsize=1)
def _flags() -> npt.NDArray[np.uint8]:
    """What a character may be in page furniture, one bit each, [0x110000]."""
    flags = np.where(charclass.table() == charclass.DIGIT, _DIGIT | _NUMERAL, np.uint8(0))
    for chars, bit in (
        ("一二三四五六七八九十百零〇", _NUMERAL),
        (_DASHES, _DASH),
        (_DOTS, _DOT),
        ("页", _PAGE),
        ("pP", _P),
    ):
        flags[[ord(char) for char in chars]] |= bit
    return flags


def _short(lines: Lines) -> Mask:
    """Which lines are so short that they may be headers."""
    return np.asarray((lines.lengths > 0) & (lines.lengths <= MAX_HEADER_CHARS))


def _short_lines_at(scanned: Scan, ink: Index) -> Index:
    """The short lines, each once, in which some codes of ink stand."""
    numbers = np.searchsorted(scanned.lines.starts, scanned.ink_places[ink], side="right") - 1
    is_new = np.diff(numbers, prepend=-1) != 0
    return np.asarray(numbers[is_new & _short(scanned.lines)[numbers]])


def _mark_page_words(scanned: Scan, flags: npt.NDArray[np.uint8], leads: Index, marks: Mask) -> None:
    """Texts with a short line with "页" behind a numeral or "page" before one (white space does not count)."""
    codes, of_page = scanned.ink.codes, flags[leads] & _PAGE != 0
    chinese = leads[of_page & (flags[leads - 1] & _NUMERAL != 0)]
    latin = leads[~of_page & (leads < len(codes) - 4)]
    for behind, letter in enumerate("age", 1):
        latin = latin[codes[latin + behind] | 0x20 == ord(letter)]
    latin = latin[flags[latin + 4] & _NUMERAL != 0]
    for places in (chinese, latin):
        marks[scanned.lines.docs[_short_lines_at(scanned, places)]] = True


def _mark_numbered(scanned: Scan, flags: npt.NDArray[np.uint8], digits: Index, marks: Mask) -> None:
    """Texts with three short lines that hold a number between dashes, or before "/" and another number.

    Three make a group of headers; one is enough where the line is nothing else.
    """
    codes, lines = scanned.ink.codes, scanned.lines
    starts, ends = runs_at(digits)
    dashed = (flags[starts - 1] & flags[ends] & _DASH != 0) & (ends - starts <= 4)
    # Before "/" the last digits count: a year, or the line before, may end in digits too.
    parted = (codes.take(ends, mode="clip") == ord("/")) & (flags[ends + 1] & _DIGIT != 0)
    line = _short_lines_at(scanned, ends[dashed | parted] - 1)
    marks |= np.bincount(lines.docs[line], minlength=len(marks)) >= MIN_REPEATS
    first = scanned.block.codes[lines.starts[line]]
    last = scanned.block.codes[lines.starts[line] + lines.lengths[line] - 1]
    framed = _framed().take(last) & (_framed().take(first) | (first == SPACE) | (first == TAB))
    marks[lines.docs[line[framed]]] = True


@lru_cache(maxsize=1)
def _framed() -> Mask:
    return _table(_DASHES + "|")


def _mark_leaders(ink: Ink, flags: npt.NDArray[np.uint8], dots: Index, marks: Mask) -> None:
    """Texts with a number, or its bracket, behind three leader dots."""
    starts, ends = runs_at(dots)
    ends = ends[ends - starts >= 3]
    behind = ink.codes.take(ends, mode="clip")
    ends = ends[(flags[ends] & _DIGIT != 0) | (behind == ord("(")) | (behind == ord("（"))]
    marks[np.searchsorted(ink.starts, ends, side="right") - 1] = True


def _mark_bare_numbers(scanned: Scan, marks: Mask) -> None:
    """Texts with three short lines of nothing but digits, "/" and white space."""
    codes, lines = scanned.block.codes, scanned.lines
    numbers = np.flatnonzero(_short(lines))
    for place in (lines.starts, lines.starts + lines.lengths - 1):
        numbers = numbers[_bare().take(codes[place[numbers]])]
    chars = codes.take(lines.starts[numbers, None] + np.arange(MAX_HEADER_CHARS), mode="clip")
    bare = _bare().take(chars) | (np.arange(MAX_HEADER_CHARS) >= lines.lengths[numbers, None])
    docs = lines.docs[numbers[bare.all(axis=1)]]
    marks |= np.bincount(docs, minlength=len(marks)) >= MIN_REPEATS


@lru_cache(maxsize=1)
def _bare() -> Mask:
    table: Mask = (charclass.table() == charclass.DIGIT) | (charclass.table() == charclass.SPACE)
    table[ord("/")] = True
    return table


def _mark_repeated(scanned: Scan, shortened: Collection[int], marks: Mask) -> None:
    """Texts with a short Chinese line that stands on every page, or at least three times where others may go."""
    lines, starts = scanned.lines, scanned.block.starts
    chosen = np.flatnonzero(_short(lines) & (lines.lengths >= MIN_HAN))
    salted = lines.hashes[chosen] ^ lines.docs[chosen].astype(np.uint64)
    in_order = np.sort(salted)
    thrice = in_order[MIN_REPEATS - 1 :][in_order[MIN_REPEATS - 1 :] == in_order[: len(in_order) - MIN_REPEATS + 1]]
    if not len(thrice):
        return
    repeated = chosen[thrice[np.minimum(np.searchsorted(thrice, salted), len(thrice) - 1)] == salted]
    repeated = repeated[_may_be_headers(scanned, repeated) & ~marks[lines.docs[repeated]]]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    docs, keys = lines.docs[repeated].tolist(), lines.hashes[repeated].tolist()
    for line, doc, key in zip(repeated.tolist(), docs, keys, strict=True):
        groups[doc, key].append(line)
    for (doc, _), group in groups.items():
        places = (lines.starts[group] - starts[doc]).tolist()
        chars = int(starts[doc + 1] - starts[doc]) - 1
        if doc in shortened or is_on_every_page(places, chars) or _is_underlined(scanned, group):
            marks[doc] = True


def _may_be_headers(scanned: Scan, numbers: Index) -> Mask:
    """Which short lines are Chinese and neither code nor a part of a sentence."""
    codes, starts, lengths = scanned.block.codes, scanned.lines.starts[numbers], scanned.lines.lengths[numbers]
    may_be: Mask = ~_syntax_start().take(codes[starts]) & ~_sentence_end().take(codes[starts + lengths - 1])
    left = np.flatnonzero(may_be)
    classes = scanned.classes.take(starts[left, None] + np.arange(MAX_HEADER_CHARS), mode="clip")
    is_han = (classes == charclass.HAN) | (classes == charclass.FREQUENT)
    is_han &= np.arange(MAX_HEADER_CHARS) < lengths[left, None]
    may_be[left] = is_han.sum(axis=1) >= MIN_HAN
    return may_be


def _is_underlined(scanned: Scan, lines: Sequence[int]) -> bool:
    """Whether behind one of some lines stands what may make it a heading, so that it does not count."""
    behind = scanned.block.codes.take(scanned.lines.starts.take(np.array(lines) + 1, mode="clip"))
    return any(chr(code) in UNDERLINES for code in behind.tolist())


@lru_cache(maxsize=1)
def _syntax_start() -> Mask:
    return _table("".join(SYNTAX_START))


@lru_cache(maxsize=1)
def _sentence_end() -> Mask:
    return _table("".join(SENTENCE_END))
