"""MinHash sketches of texts by character 5-grams: equal places of two sketches estimate Jaccard similarity.

One hash per gram instead of 128: its first bits choose one of 128 places, each place keeps its least
hash, and a place that stays empty in a short text takes another's value in an order of its own.
Broder (1997), On the resemblance and containment of documents; Li, Owen, Zhang (2012), One permutation
hashing; Shrivastava (2017), Optimal densification for fast and accurate minwise hashing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.blocks import Codes
from zhllm.text.clean.grams import Hashes, Ink, ink_of_texts, mixed

Sketches = npt.NDArray[np.uint16]

GRAM_CHARS = 5
PLACES = 128
# Four places that are equal together make two texts candidates: of pairs with similarity 0.7 all but
# 1 in 6,000 have such a band, of pairs with 0.3 23 %.
BANDS, ROWS = 32, 4
# Of 32 bits the first seven choose the place and the others are the value; its last 16 are kept.
_PLACE_SHIFT, _VALUE_BITS = np.uint32(25), np.uint32((1 << 25) - 1)
# Two values that differ have equal low bits once in 16: of 128 places of what is not alike 8, with 58 and more to find.
_LOW_BITS = 4
_EMPTY = np.uint32(2**32 - 1)
_BASE, _BASE_2, _BASE_4 = (np.uint32(pow(0x7F4A7C15, power, 2**32)) for power in (1, 2, 4))
_STIRRING = (np.uint32(16), np.uint32(0x85EBCA6B)), (np.uint32(13), np.uint32(0xC2B2AE35))
# Turns in which all empty places are filled together, each 40 % of what is left; the rest would take 120 more.
_TURNS, _TURN_BITS = 8, np.uint8(7)
_TOGETHER = 4096  # places, half a megabyte of turns


def shingles(ink: Ink) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of a block's 5-grams and their documents; a text shorter than that is one gram as a whole."""
    grams, docs = ink.grams(GRAM_CHARS), ink.docs_of(max(len(ink.codes) - GRAM_CHARS + 1, 0))
    inside = ink.within(GRAM_CHARS)
    whole, short = _short(ink)
    return np.concatenate([grams[inside], whole]), np.concatenate([docs[inside], short])


def _short(ink: Ink) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of the texts that are shorter than a gram, and their numbers."""
    short = np.flatnonzero(ink.lengths < GRAM_CHARS)
    return mixed(np.array([hash_of_short(ink, doc) for doc in short.tolist()], dtype=np.uint64)), short


def hash_of_short(ink: Ink, doc: int) -> int:
    """A number for a text of at most four characters; code points have 21 bits."""
    number = 0
    for code in ink.codes[ink.starts[doc] : ink.starts[doc + 1]].tolist():
        number = (number << 21 | code) + 1
    return number & (2**64 - 1)


def gram_numbers(codes: Codes) -> npt.NDArray[np.uint32]:
    """A number of 32 bits for every 5-gram of M codes, [M - 4]: fewer bits than a set of grams needs, for speed.

    A polynomial in pairs, (c + dB) + (e + fB)B^2 + gB^4 modulo 2**32, stirred like murmur3 does (Appleby, 2011).
    """
    count = len(codes) - GRAM_CHARS + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint32)
    pairs = codes[1:] * _BASE
    pairs += codes[:-1]
    numbers = pairs[2:-1] * _BASE_2
    numbers += pairs[:count]
    rest = np.multiply(codes[4:], _BASE_4, out=pairs[:count])
    numbers += rest
    for shift, factor in _STIRRING:
        numbers ^= np.right_shift(numbers, shift, out=rest)
        numbers *= factor
    return numbers


def sketches(ink: Ink) -> Sketches:
    """The sketch of every document of a block, [D, 128] uint16 (low bits of the least hash of each place)."""
    grams, count = gram_numbers(ink.codes), len(ink.starts) - 1
    # Grams across two documents go to a row of their own, which costs less than leaving them out.
    least = np.full((count + 1) * PLACES, _EMPTY, dtype=np.uint32)
    keys = np.repeat(np.arange(count, dtype=np.uint32) * np.uint32(PLACES), ink.lengths)[: len(grams)]
    keys[~ink.within(GRAM_CHARS)] = count * PLACES
    keys += grams >> _PLACE_SHIFT
    np.minimum.at(least, keys, grams & _VALUE_BITS)
    least = least[: count * PLACES]
    whole, short = _short(ink)
    numbers = whole.astype(np.uint32)
    least[short * PLACES + (numbers >> _PLACE_SHIFT)] = numbers & _VALUE_BITS
    return _filled(least).reshape(count, PLACES)


def _filled(least: npt.NDArray[np.uint32]) -> Sketches:
    """Each empty place takes the value of the first place of its own fixed order that is not empty, [D * 128]."""
    filled = least.astype(np.uint16)
    empty = (least == _EMPTY).reshape(-1, PLACES)
    open_places = np.flatnonzero(empty & ~empty.all(axis=1, keepdims=True))
    for step in _donors()[:_TURNS] - np.arange(PLACES):
        # "clip" saves numpy a look at every index before; all of them are in range.
        values = least.take(open_places + step.take(open_places & (PLACES - 1), mode="clip"), mode="clip")
        filled[open_places] = values
        open_places = open_places.take(np.flatnonzero(values == _EMPTY), mode="clip")
    # What is open still lies in texts with few grams: there all donors of a place are looked at together.
    taken = empty.view(np.uint8) << _TURN_BITS
    for start in range(0, len(open_places), _TOGETHER):
        some = open_places[start : start + _TOGETHER]
        turns = _turns().take(some & (PLACES - 1), axis=0) | taken.take(some // PLACES, axis=0)
        filled[some] = least.take((some & -PLACES) + turns.argmin(axis=1))
    return filled


@lru_cache(maxsize=1)
def _donors() -> npt.NDArray[np.int64]:
    """For each turn and place the place to take from, [127, 128]: every place has its own order of the others."""
    order = np.array([np.random.default_rng(place).permutation(PLACES) for place in range(PLACES)])
    others = order[order != np.arange(PLACES)[:, None]].reshape(PLACES, PLACES - 1)
    return np.ascontiguousarray(others.T)


@lru_cache(maxsize=1)
def _turns() -> npt.NDArray[np.uint8]:
    """The inverse of `_donors`: for each place the turn of every other one, [128, 128]; its own comes last."""
    turns = np.full((PLACES, PLACES), PLACES - 1, dtype=np.uint8)
    np.put_along_axis(turns, _donors().T, np.arange(PLACES - 1, dtype=np.uint8)[None], axis=1)
    return turns


def sketch_of(text: str) -> Sketches:
    """The sketch of one text, [128]."""
    return np.asarray(sketches(ink_of_texts([text]))[0], dtype=np.uint16)


def similarity(a: Sketches, b: Sketches) -> npt.NDArray[np.float64]:
    """Share of equal places of sketches [..., 128]: an unbiased estimate of Jaccard similarity."""
    return np.asarray(np.mean(a == b, axis=-1))


def at_most_equal(some: Sketches, others: Sketches) -> npt.NDArray[np.uint8]:
    """Of each of C sketches and each of E others how many places may be equal, [C, E]: those with equal low bits.

    The low bits of all places lie in a few words, so a pair takes 13 ns; looking at all of its bits takes 100.
    b-bit minwise hashing: Li and Koenig (2010).
    """
    differ = np.zeros((len(some), len(others)), dtype=np.uint8)
    planes = _low_bits(some)[..., None], _low_bits(others)[..., None, :]
    bits, plane = np.empty((2, *differ.shape), dtype=np.uint64)
    for word in range(PLACES // 64):
        bits[:] = 0
        for one, other in zip(planes[0][word], planes[1][word], strict=True):
            bits |= np.bitwise_xor(one, other, out=plane)
        differ += np.bitwise_count(bits)
    return np.uint8(PLACES) - differ


def _low_bits(rows: Sketches) -> npt.NDArray[np.uint64]:
    """The low bits of all places of D sketches, a bit of each place together, [2, 4, D]."""
    low = rows.astype(np.uint8)
    planes = [np.packbits(low & np.uint8(1 << bit), axis=1).view(np.uint64).T for bit in range(_LOW_BITS)]
    return np.stack(planes, axis=1)


def share_band(a: Sketches, b: Sketches) -> npt.NDArray[np.bool_]:
    """Which of some pairs of sketches, [P, 128] each and contiguous, have an equal band."""
    return np.asarray((a.view(np.uint64) == b.view(np.uint64)).any(axis=-1))
