"""Which lines of a block could hold personal data: a superset, found on arrays.

Each group of kinds has a few characters that it cannot be without; these are looked for all at once, and what
stands beside them is looked at only there.

Shapes: N codes, P places, R runs of digits, D documents.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.blocks import CODE_POINTS, Codes, Index, Mask, runs_at
from zhllm.text.clean.measures import Scan
from zhllm.text.clean.pii_kinds import words
from zhllm.text.clean.pii_names import PRIVATE

Flags = npt.NDArray[np.uint16]

# Bits of a code point; what people also write for "-", "." and "@" counts as that.
_BITS = tuple(np.uint16(1 << i) for i in range(14))
(
    _DIGIT,
    _BETWEEN,
    _BRACKET,
    _DOT,
    _HEX,
    _PROVINCE,
    _WORD,
    _AT,
    _COLON,
    _CAPITAL,
    _NAME,
    _LETTER,
    _PHONE_END,
    _WORD_GOES_ON,
) = _BITS
_LEADS = _DIGIT | _PROVINCE | _WORD | _AT | _COLON
_ALIKE = {"-": "‐‑‒–—－-", ".": "．.", "@": "＠@", "+": "＋+"}
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS = _CAPITALS + _CAPITALS.lower()
_DIGITS = "0123456789"
# A pair of characters that begins, or is in, every word before an account (微信, 加微, QQ, VX, 扣扣, 企鹅号).
_PAIRS = ("微信", "薇信", "加微", "加薇", "我微", "我薇", "扣扣", "企鹅", "加v", "v信", "q群") + tuple(
    plus + word for plus in _ALIKE["+"] for word in "微薇"
)
_LETTER_PAIRS = ("vx", "wx", "qq")
_ALL_PAIRS = (*_PAIRS, *_LETTER_PAIRS, "we")
_BEHIND_LETTERS = " \t(=:\"'/Vv123456789"  # beside Chinese, or a name
_MAX_DIGITS = 21


@lru_cache(maxsize=1)
def _table() -> Flags:
    table = np.zeros(CODE_POINTS, dtype=np.uint16)
    for chars, bit in (
        (_DIGITS, _DIGIT),
        (_ALIKE["-"] + " ", _BETWEEN),
        ("()（）", _BRACKET),
        (_ALIKE["."], _DOT),
        (_DIGITS + "abcdefABCDEF", _HEX),
        ("".join(words("plate_provinces")), _PROVINCE),
        ("".join(pair[0] + pair[0].upper() for pair in _ALL_PAIRS), _WORD),
        ("".join(pair[1] + pair[1].upper() for pair in _ALL_PAIRS), _WORD_GOES_ON),
        (_ALIKE["@"], _AT),
        (":", _COLON),
        (_DIGITS + _CAPITALS, _CAPITAL),
        (_DIGITS + _LETTERS + "_" + _ALIKE["+"] + _ALIKE["-"], _NAME),
        (_LETTERS, _LETTER),
        ("话話机真LlXx", _PHONE_END),
    ):
        table[[ord(char) for char in set(chars)]] |= bit
    return table


def with_personal_data(scanned: Scan) -> Index:
    """Lines (of all lines of the block) in which `pii.find` might find something."""
    codes, lines = scanned.block.codes, scanned.lines
    flags = _table().take(codes)
    leads = np.flatnonzero(_has(flags, _LEADS))
    kinds = flags[leads]
    places = np.concatenate(
        [
            _numbers(codes, flags, leads[_has(kinds, _DIGIT)]),
            _plates(flags, leads[_has(kinds, _PROVINCE)]),
            _accounts(codes, flags, leads[_has(kinds, _WORD)]),
            _mailboxes(flags, leads[_has(kinds, _AT)]),
            _long_addresses(codes, flags, leads[_has(kinds, _COLON)]),
        ]
    )
    numbers = np.searchsorted(lines.starts, places, side="right") - 1
    return np.flatnonzero(np.bincount(numbers, minlength=len(lines.starts)))


def _has(flags: Flags, bits: np.uint16) -> Mask:
    """Where any of some bits is set."""
    return np.asarray(flags & bits != 0)


def _around(flags: Flags, places: Index, first: int, end: int) -> Flags:
    """The flags from `first` to `end` characters behind some places, [P, end - first]; a block ends in a newline."""
    return flags.take(places[:, None] + np.arange(first, end), mode="wrap" if first < 0 else "clip")


def _numbers(codes: Codes, flags: Flags, digits: Index) -> Index:
    """Where runs of digits begin that may be a telephone, card or IP number, or a part of one."""
    starts, ends = runs_at(digits)
    long = np.flatnonzero(ends - starts >= 7)
    grouped = _is_joined(flags, starts, ends, long) | _is_joined(flags, starts, ends, long + 1)
    long = long[grouped | _may_be_number(codes, flags, starts[long], ends[long])]
    return np.concatenate([starts[long], _parted(flags, starts, ends), _dotted(codes, flags, starts, ends)])


def _is_joined(flags: Flags, starts: Index, ends: Index, runs: Index) -> Mask:
    """Which runs may belong to the one before: at most five spaces, hyphens and brackets stand between them."""
    gaps = starts.take(runs, mode="clip") - ends[runs - 1]
    is_between = _has(_around(flags, ends[runs - 1], 0, 5), _BETWEEN | _BRACKET)
    return np.asarray((gaps > 0) & (gaps <= 5) & (is_between | (np.arange(5) >= gaps[:, None])).all(axis=1))


def _may_be_number(codes: Codes, flags: Flags, starts: Index, ends: Index) -> Mask:
    """Runs of 7 or 8 digits behind 电话 or Tel, or of more with a beginning and neighbours that numbers have.

    Ten need the 0 of an area code or a sign before them, eleven may also begin with 1, more are cards and more.
    """
    lengths = ends - starts
    after_word = _has(_around(flags, starts, -6, 0), _PHONE_END).any(axis=1)
    first, before, behind = codes[starts], codes[starts - 1], codes[ends]
    begins = _is_in(before, "+＋(（") | (first == ord("0")) | ((lengths >= 11) & (first == ord("1"))) | (lengths >= 12)
    is_open = ~_has(flags[starts - 1], _LETTER) & (~_has(flags[ends], _LETTER) | _is_in(behind, "XxEe"))
    is_long = (lengths >= 10) & (lengths <= _MAX_DIGITS)
    return np.asarray((after_word & (lengths <= 8)) | (is_open & begins & is_long))


def _is_in(codes: Codes, chars: str) -> Mask:
    """Which codes are one of a few characters."""
    return np.asarray((codes[:, None] == np.array([ord(char) for char in chars], dtype=np.uint32)).any(axis=1))


def _parted(flags: Flags, starts: Index, ends: Index) -> Index:
    """Three digits, a sign and four more: every number in groups has such a place."""
    lengths = ends - starts
    near = (starts[1:] == ends[:-1] + 1) & _has(flags[ends[:-1]], _BETWEEN)
    return np.asarray(starts[:-1][near & (lengths[:-1] >= 3) & (lengths[1:] >= 4)])


def _dotted(codes: Codes, flags: Flags, starts: Index, ends: Index) -> Index:
    """Four numbers of at most three digits with dots between, that are no private address."""
    short = ends - starts <= 3
    near = (starts[1:] == ends[:-1] + 1) & _has(flags[ends[:-1]], _DOT) & short[1:] & short[:-1]
    found = starts[: max(len(near) - 2, 0)][near[:-2] & near[1:-1] & near[2:]]
    heads = codes.take(found[:, None] + np.arange(8), mode="clip").tolist()
    is_public = [not "".join(map(chr, head)).startswith(PRIVATE) for head in heads]
    return np.asarray(found[np.array(is_public, dtype=np.bool_)])


def _plates(flags: Flags, provinces: Index) -> Index:
    """A province before a capital letter and, with or without a dot, capital letters and digits."""
    behind = _has(_around(flags, provinces, 1, 6), _CAPITAL)
    return provinces[behind[:, [0, 2, 3, 4]].all(axis=1)]


def _accounts(codes: Codes, flags: Flags, leads: Index) -> Index:
    """The pairs of characters that words before an account begin with; behind vx, wx and qq what may follow these."""
    leads = leads[_has(flags.take(leads + 1, mode="clip"), _WORD_GOES_ON)]
    words_at = leads[_is_pair(codes, leads, _PAIRS)]
    wechat_at = leads[_is_pair(codes, leads, ("we",)) & _is_pair(codes, leads + 2, ("ch",))]
    letters_at = leads[_is_pair(codes, leads, _LETTER_PAIRS) & ~_has(flags[leads - 1], _LETTER | _DIGIT)]
    behind = codes.take(letters_at + 2, mode="clip")
    name = _around(flags, letters_at, 2, 8)
    is_account = _has(name, _NAME).all(axis=1) & _has(name[:, 0], _LETTER)
    is_account |= (behind > 0x7F) | _is_in(behind, _BEHIND_LETTERS)
    return np.concatenate([words_at, wechat_at, letters_at[is_account]])


def _is_pair(codes: Codes, places: Index, pairs: tuple[str, ...]) -> Mask:
    """Where one of some pairs stands, whatever its case."""
    wanted = _pair_codes(pairs)
    found = _lower(codes.take(places, mode="clip")) << np.uint64(21) | _lower(codes.take(places + 1, mode="clip"))
    return np.asarray(wanted[np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)] == found)


def _lower(codes: Codes) -> npt.NDArray[np.uint64]:
    capital = (codes >= ord("A")) & (codes <= ord("Z"))
    return np.where(capital, codes + 32, codes).astype(np.uint64)


@lru_cache(maxsize=8)
def _pair_codes(pairs: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    return np.sort(np.array([ord(pair[0]) << 21 | ord(pair[1]) for pair in pairs], dtype=np.uint64))


def _mailboxes(flags: Flags, ats: Index) -> Index:
    """An "@" behind the last character of a name and before a label with a dot behind it."""
    behind = _around(flags, ats, 1, 65)
    label = np.argmin(_has(behind, _NAME), axis=1)
    dotted = _has(behind[np.arange(len(ats)), label], _DOT)
    return np.asarray(ats[_has(flags[ats - 1], _NAME) & (label > 0) & dotted])


def _long_addresses(codes: Codes, flags: Flags, colons: Index) -> Index:
    """Four hexadecimal digits, the first 2 or 3, before a colon."""
    colons = colons[colons >= 4]
    colons = colons[(codes[colons - 4] == ord("2")) | (codes[colons - 4] == ord("3"))]
    return colons[_has(_around(flags, colons, -3, 0), _HEX).all(axis=1)]
