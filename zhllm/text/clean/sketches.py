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

from zhllm.text.clean.grams import Hashes, Ink, ink_of_texts, mixed

Sketches = npt.NDArray[np.uint16]

GRAM_CHARS = 5
PLACES = 128
# Four places that are equal together make two texts candidates: of pairs with similarity 0.7 all but
# 1 in 6,000 have such a band, of pairs with 0.3 23 %.
BANDS, ROWS = 32, 4
# Of 32 bits the first seven choose the place and the others are the value; its last 16 are kept.
_PLACE_SHIFT, _VALUE_BITS = np.uint32(25), np.uint32((1 << 25) - 1)
_EMPTY = np.uint32(2**32 - 1)
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


def sketches(ink: Ink) -> Sketches:
    """The sketch of every document of a block, [D, 128] uint16 (low bits of the least hash of each place)."""
    grams, count = ink.short_grams(GRAM_CHARS), len(ink.starts) - 1
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
    """Of each of C sketches and each of E others how many places may be equal, [C, E]: those with equal low bytes.

    Half a byte a nanosecond faster than what it bounds, and 20 ns a pair where an index of a pair costs 100.
    """
    equal = np.zeros((len(some), len(others)), dtype=np.uint8)
    same = np.empty(equal.shape, dtype=np.bool_)
    for one, other in zip(some.astype(np.uint8).T.copy(), others.astype(np.uint8).T.copy(), strict=True):
        np.equal(one[:, None], other[None, :], out=same)
        equal += same.view(np.uint8)
    return equal


def share_band(a: Sketches, b: Sketches) -> npt.NDArray[np.bool_]:
    """Which of some pairs of sketches, [P, 128] each and contiguous, have an equal band."""
    return np.asarray((a.view(np.uint64) == b.view(np.uint64)).any(axis=-1))
