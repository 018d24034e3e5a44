"""Which texts of a block a check must look at: supersets, found by one search over all texts for each.

polars' searches run over UTF-8 at hundreds of megabytes a second; what they do not mark is sound.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.normalise import makes_round_trip
from zhllm.text.clean.pii_kinds import words
from zhllm.text.lint.assistants import SIGNS
from zhllm.text.lint.identity import CLAIMING, SPEAKER, SPEAKING, SPEAKING_PERHAPS
from zhllm.text.lint.tokens import TOKEN_SIGNS

_DIGIT, _APART = "[0-9０-９]", "[-‐‑‒–—－ \u00a0\u3000]"
_PLATE = f"[{''.join(sorted(words('plate_provinces')))}][A-ZＡ-Ｚ]"
# Written out: searching for the words in any case takes twice as long.
_ACCOUNT = (
    "加[微薇vV]|[我+＋][微薇]|[微薇vV]信|扣扣|企鹅|[qQ][qQ群]|[vVwW][xX]|[wW][eE][cC][hH]|[ｖＶｗＷ][ｘＸ]|[ｑＱ]{2}"
)
_HEX = "[0-9a-fA-F０-９ａ-ｆＡ-Ｆ]"
# Seven digits, or three, a sign and four, as `clean` has it; four numbers with dots, a mailbox, a plate, an account.
_LONG_NUMBER = rf"{_DIGIT}{{7}}|{_DIGIT}{{3}}{_APART}{_DIGIT}{{4}}"
_FOUR_NUMBERS = rf"{_DIGIT}(?:[.．]{_DIGIT}{{1,3}}){{3}}"
_PERSONAL = "|".join((_LONG_NUMBER, _FOUR_NUMBERS, "[@＠]", _PLATE, f"[23２３]{_HEX}{{3}}:", _ACCOUNT))
# A first byte of UTF-8 and a next one, read as Latin-1 or Windows-1252; control characters; what has no meaning.
_GARBLED = (
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\u009f\u200b\u2060\ufeff\ufff9-\ufffd\ufffe\uffff\ue000-\uf8ff"
    "\\x{f0000}-\\x{10ffff}]"
)

# UTF-8 read as GBK gives none of these (see `normalise.repair_mojibake`), and other Chinese has one soon.
_COMMON = "[的一是了在有人这为和]"
_SHORT = 7
# Letters of other scripts, Latin letters with accents, and Traditional characters one of which stands in nearly
# every Traditional text of ten characters.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\\x{20000}-\\x{323af}"
FOREIGN = "\u0370-\u1fff\u3041-\u30ff\uac00-\ud7a3\ufb1d-\ufdff\ufe70-\ufefc"
ACCENTED = "\u00df-\u024f"
TRADITIONAL = (
    "這個們來時說國為會對過學與後還樣經發種動開關問題長門間見東車書無電話點實現當應將體從進種業產總標類間則處達給讓請"
)
# One search for all of these: each by itself would take as long, and few texts have any.
_UNUSUAL = "|".join((_PERSONAL, _GARBLED, f"[{FOREIGN}{ACCENTED}{TRADITIONAL}]"))
# Twice as fast as polars' search for many words.
_NAMED, _TOKENED, _SIGNED = (
    "|".join(map(re.escape, signs)) for signs in (SIGNS, TOKEN_SIGNS, (*SIGNS, *TOKEN_SIGNS, "```"))
)
Numbers = npt.NDArray[np.int64]


@lru_cache(maxsize=1)
def _polars() -> Any:
    import polars

    return polars


class Looks:
    """Some texts, and the numbers of those that each search marks, in order."""

    def __init__(self, texts: Sequence[str], series: Any = None) -> None:
        self.texts = texts
        self._series = _polars().Series(texts, dtype=_polars().String) if series is None else series

    def after(self, texts: Sequence[str], changed: Collection[int]) -> Looks:
        """The same of texts of which only some changed: only these are searched again, or marked as suspect."""
        some = np.array(sorted(changed), dtype=np.int64)
        looks = Looks(texts, self._series.clone().scatter(some, [texts[number] for number in some.tolist()]))
        looks._unusual = sorted({*self._unusual, *changed})
        looks.signed = sorted({*self.signed, *changed})
        bytes_, chars = looks.sizes
        found = looks.matching(f"[{HAN}]", some[bytes_[some] > chars[some]])
        looks.with_han = sorted({*self.with_han}.difference(changed).union(found))
        return looks

    def matching(self, pattern: str, among: Sequence[int] | Numbers | None = None) -> list[int]:
        """Texts (of some, or of all) in which a regular expression of Rust's matches."""
        return list(self._found(pattern, among, True))

    def lacking(self, pattern: str, among: Sequence[int] | Numbers | None = None) -> list[int]:
        """Texts in which it does not match."""
        return list(self._found(pattern, among, False))

    def _found(self, pattern: str, among: Sequence[int] | Numbers | None, wanted: bool) -> list[int]:
        series = self._series if among is None else self._series.gather(among)
        places = np.flatnonzero(series.str.contains(pattern).to_numpy() == wanted)
        found: list[int] = (places if among is None else np.asarray(among, dtype=np.int64)[places]).tolist()
        return found

    @cached_property
    def _unusual(self) -> list[int]:
        return self.matching(_UNUSUAL)

    def unusual(self, pattern: str) -> list[int]:
        """What matches one of the patterns that `_UNUSUAL` is made of."""
        return self.matching(pattern, self._unusual)

    @property
    def personal(self) -> list[int]:
        """What may hold personal data."""
        return self.unusual(_PERSONAL)

    @property
    def garbled(self) -> list[int]:
        """What may have lost its encoding."""
        han = np.array(self.with_han, dtype=np.int64)
        is_long = self.sizes[1][han] > _SHORT
        short = self.matching("\n", han[~is_long])
        uncommon = {*self.lacking(_COMMON, han[is_long]), *self.lacking(_COMMON, short)}
        return sorted(
            {
                *self.unusual(_GARBLED),
                *uncommon.intersection(self._unusual),
                *(number for number in uncommon if makes_round_trip(self.texts[number])),
            }
        )

    @cached_property
    def signed(self) -> list[int]:
        """What may name an assistant, a maker, a control token or a placeholder, or have a code fence."""
        return self.matching(_SIGNED)

    @cached_property
    def claiming(self) -> list[int]:
        """What names an assistant or a maker, and has a speaker who may be introduced by that name."""
        named = self.matching(_NAMED, self.signed)
        certain = self.matching(SPEAKING, named)
        perhaps = self.matching(SPEAKER, self.matching(SPEAKING_PERHAPS, named))
        return self.matching(CLAIMING, sorted({*certain, *perhaps}))

    @cached_property
    def tokened(self) -> list[int]:
        """What may spell a control token, the frame of a turn or a placeholder."""
        return self.matching(_TOKENED, self.signed)

    @cached_property
    def with_han(self) -> list[int]:
        """What holds a Han character."""
        bytes_, chars = self.sizes
        return self.matching(f"[{HAN}]", np.flatnonzero(bytes_ > chars))

    @cached_property
    def without_words(self) -> list[int]:
        """What holds neither a Han character nor a letter from A to Z."""
        others = np.ones(len(self.texts), np.bool_)
        others[self.with_han] = False
        return self.lacking("[A-Za-z]", np.flatnonzero(others))

    @cached_property
    def sizes(self) -> tuple[Numbers, Numbers]:
        """Bytes and characters of each text, [D] each."""
        strings = self._series.str
        return strings.len_bytes().to_numpy().astype(np.int64), strings.len_chars().to_numpy().astype(np.int64)
