"""Many texts as one array of code points: what `normalise` does to one text, done to thousands at once.

Python's own loops over characters cost about 100 ns each; the same work on an array of code points costs
about 1 ns a step. `normalise_all` equals `normalise` on every text (tests/property/test_blocks.py), and the
few texts that hold something rare (joiners, uncomposed letters) go through `normalise` itself.

Shapes: N characters, D documents, L lines, R runs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.charclass import chars_of
from zhllm.text.clean.normalise import TABLE, normalise

Codes = npt.NDArray[np.uint32]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A block's arrays stay in a core's second-level cache: 1 MB of code points, 2 MB of hashes.
BLOCK_CHARS = 250_000
CODE_POINTS = 0x110000
NEWLINE, SPACE, TAB, CARRIAGE_RETURN, IDEOGRAPHIC_SPACE = 0x0A, 0x20, 0x09, 0x0D, 0x3000

_DROPPED = np.uint32(0xFFFFFFFF)
# Flags of a code point, one table lookup for all of them.
_ODD, _RARE, _BLANK, _NEWLINE, _WIDE, _RETURN = (np.uint8(1 << i) for i in range(6))


@dataclass(frozen=True, slots=True)
class Block:
    """Texts laid end to end, a newline after each.

    `codes` [N] uint32; document d is `codes[starts[d]:starts[d + 1]]`, its last code the newline that was
    added; `starts` [D + 1].
    """

    codes: Codes
    starts: Index

    @property
    def docs(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1

    def texts(self) -> list[str]:
        """The texts, without the newlines that were added."""
        whole = self.codes.tobytes().decode("utf-32-le", "surrogatepass")
        ends = (self.starts[1:] - 1).tolist()
        return [whole[start:end] for start, end in zip(self.starts[:-1].tolist(), ends, strict=True)]

    def of_each(self, per_code: npt.NDArray[Any]) -> Index:
        """Sums of a value per code over each document, [D]."""
        return np.add.reduceat(per_code, self.starts[:-1], dtype=np.int64)

    def docs_with(self, mask: Mask) -> list[int]:
        """Numbers of the documents that hold a code where `mask` [N] is set."""
        return np.flatnonzero(self.of_each(mask)).tolist() if mask.any() else []


def block_of(texts: Sequence[str]) -> Block:
    """Texts as one block; there must be at least one."""
    whole = "\n".join(texts) + "\n"
    codes = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=starts[1:])
    return Block(codes, starts)


def block_ranges(texts: Sequence[str], chars: int = BLOCK_CHARS) -> Iterator[slice]:
    """Slices of a list of texts that hold about `chars` characters each."""
    start = held = 0
    for i, text in enumerate(texts):
        held += len(text)
        if held >= chars:
            yield slice(start, i + 1)
            start, held = i + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))


@lru_cache(maxsize=1)
def _mapping() -> Codes:
    """What each code point becomes, [0x110000]; _DROPPED where it goes."""
    table = np.arange(CODE_POINTS, dtype=np.uint32)
    for code, target in TABLE.items():
        table[code] = _DROPPED if target is None else ord(target)
    return table


# The scripts beyond the BMP, up to the emoji: looking each character up would cost more than they do.
_RARE_SCRIPTS = (0x10000, 0x1F000)


@lru_cache(maxsize=1)
def _flags() -> npt.NDArray[np.uint8]:
    """The flags of each code point, [0x110000]."""
    table = np.zeros(CODE_POINTS, dtype=np.uint8)
    table[_mapping() != np.arange(CODE_POINTS)] = _ODD
    table[[SPACE, TAB]] |= _BLANK
    table[NEWLINE] |= _NEWLINE
    table[CARRIAGE_RETURN] |= _RETURN
    table[IDEOGRAPHIC_SPACE] |= _WIDE | _BLANK
    table[_rare_codes()] |= _RARE
    table[slice(*_RARE_SCRIPTS)] |= _RARE
    return table


def _rare_codes() -> list[int]:
    """Code points whose texts `normalise` must see itself: joiners, and what NFC may change.

    NFC changes a letter that it decomposes, puts marks in order, and joins two code points; the second of
    such a pair is a mark, a Hangul vowel or final, or the second half of some decomposition. _RARE_SCRIPTS
    are not looked at, as all of them are taken for rare.
    """
    rare = [0x200C, 0x200D, *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]
    for start, end in ((0xC0, 0x3400), (0xA000, 0xAC00), (0xD7A4, 0xD800), (0xF900, 0x10000), (0x2F800, 0x2FA20)):
        chars = chars_of(start, end)
        rare += [start + i for i, order in enumerate(map(unicodedata.combining, chars)) if order]
        for char, parts in zip(chars, map(unicodedata.decomposition, chars), strict=True):
            if parts and not parts.startswith("<"):
                rare += [int(part, 16) for part in parts.split()[1:2]]
                if unicodedata.normalize("NFC", char) != char:
                    rare.append(ord(char))
    return rare


def normalise_all(texts: Sequence[str]) -> list[str]:
    """`normalise` of each text."""
    return [text for some in block_ranges(texts) for text in normal_block(texts[some]).texts()]


def normal_block(texts: Sequence[str]) -> Block:
    """The normal forms of some texts (at least one) as a block."""
    block = block_of(texts)
    flags = _flags().take(block.codes)
    rare = block.docs_with(flags & _RARE != 0)
    if rare:
        changed = list(texts)
        for i in rare:
            changed[i] = normalise(changed[i])
        block = block_of(changed)
        flags = _flags().take(block.codes)
    block, flags = _mapped(block, flags)
    return _without_extra_newlines(_without_edge_blanks(block, flags))


def _without(block: Block, gone: Index) -> tuple[Block, Mask]:
    """A block without the codes at some places, and which codes stay; no document's own newline may be gone."""
    keep = np.ones(len(block.codes), dtype=np.bool_)
    keep[gone] = False
    return Block(block.codes[keep], block.starts - np.searchsorted(gone, block.starts)), keep


def _mapped(block: Block, flags: npt.NDArray[np.uint8]) -> tuple[Block, npt.NDArray[np.uint8]]:
    """Each code as the table has it, "\\r\\n" as one newline; and the flags of what is there now."""
    odd = np.flatnonzero(flags & _ODD != 0)
    if not len(odd):
        return block, flags
    codes = block.codes.copy()
    codes[odd] = mapped = _mapping()[codes[odd]]
    is_gone = mapped == _DROPPED
    returns = np.flatnonzero(flags[odd] & _RETURN != 0)
    # A "\r" at the end of a document is a newline of its own: what follows is not the document's.
    last = np.zeros(len(codes) + 1, dtype=np.bool_)
    last[block.starts[1:] - 1] = True
    behind = odd[returns] + 1
    is_gone[returns] |= (block.codes[behind] == NEWLINE) & ~last[behind]
    stays = np.flatnonzero(~is_gone)
    flags[odd[stays]] = _flags()[mapped[stays]]
    block = Block(codes, block.starts)
    if not is_gone.any():
        return block, flags
    block, keep = _without(block, odd[is_gone])
    return block, flags[keep]


def runs_at(places: Index) -> tuple[Index, Index]:
    """Start and end of each run of places, which are in order."""
    breaks = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    return places[breaks], places[np.append(breaks[1:], len(places)) - 1] + 1 if len(places) else places


def _without_edge_blanks(block: Block, flags: npt.NDArray[np.uint8]) -> Block:
    """No blanks at the end of lines, no paragraph indents (U+3000); other U+3000 become spaces."""
    blanks = np.flatnonzero(flags & _BLANK != 0)
    starts, ends = runs_at(blanks)
    codes = block.codes
    gone = codes[ends] == NEWLINE
    wide = blanks[flags[blanks] & _WIDE != 0]
    if len(wide):
        is_wide = np.searchsorted(wide, ends) > np.searchsorted(wide, starts)
        gone |= is_wide & ((starts == 0) | (codes[starts - 1] == NEWLINE))
        codes = codes.copy()
        codes[wide] = SPACE
    block = Block(codes, block.starts)
    return _without(block, blanks[np.repeat(gone, ends - starts)])[0] if gone.any() else block


def _without_extra_newlines(block: Block) -> Block:
    """At most one blank line together, none at either end of a document.

    Newlines are looked at in runs; a run ends at the newline that was added to a document.
    """
    places = np.flatnonzero(block.codes == NEWLINE)
    last = np.zeros(len(places), dtype=np.bool_)
    last[np.searchsorted(places, block.starts[1:] - 1)] = True
    follows = np.zeros(len(places), dtype=np.bool_)
    follows[1:] = (places[1:] == places[:-1] + 1) & ~last[:-1]
    heads = np.flatnonzero(~follows)
    run = np.cumsum(~follows) - 1
    ordinal = np.arange(len(places)) - heads[run]
    tails = np.concatenate([heads[1:], [len(places)]]) - 1
    at = places[heads]
    leading = block.starts[np.searchsorted(block.starts, at, side="right") - 1] == at
    drop = ~last & (leading[run] | last[tails][run] | (ordinal >= 2))
    return _without(block, places[drop])[0] if drop.any() else block
