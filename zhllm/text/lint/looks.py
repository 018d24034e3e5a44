"""Which texts of a block a check must look at: supersets, found by one search over all texts for each.

polars' searches run over UTF-8 at hundreds of megabytes a second; what they do not mark is sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from zhllm.text.clean.pii_kinds import words
from zhllm.text.clean.pii_signs import ACCOUNT_WORDS
from zhllm.text.lint.assistants import SIGNS
from zhllm.text.lint.tokens import TOKEN_SIGNS

_DIGIT, _APART = "[0-9０-９]", r"[-‐‑‒–—－ \t()（）.．]{0,5}"
_PLATE = f"[{''.join(sorted(words('plate_provinces')))}][A-ZＡ-Ｚ]"
_ACCOUNT = f"(?i:{'|'.join(ACCOUNT_WORDS).replace('+', '[+]')})|[ｖＶｗＷ][ｘＸ]|[ｑＱ]{{2}}"
_HEX = "[0-9a-fA-F０-９ａ-ｆＡ-Ｆ]"
# Seven digits with at most five signs between two of them, four numbers with dots, a mailbox, a plate, an account.
_LONG_NUMBER = rf"{_DIGIT}(?:{_APART}{_DIGIT}){{6}}"
_FOUR_NUMBERS = rf"{_DIGIT}(?:[.．]{_DIGIT}{{1,3}}){{3}}"
_PERSONAL = "|".join((_LONG_NUMBER, _FOUR_NUMBERS, "[@＠]", _PLATE, f"[23２３]{_HEX}{{3}}:", _ACCOUNT))
# A first byte of UTF-8 and a next one, read as Latin-1 or Windows-1252; control characters; what has no meaning.
_GARBLED = (
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\u009f\u200b\u2060\ufeff\ufff9-\ufffd\ufffe\uffff\ue000-\uf8ff"
    "\\x{f0000}-\\x{10ffff}]"
)


@lru_cache(maxsize=1)
def _polars() -> Any:
    import polars

    return polars


class Looks:
    """Some texts, and the numbers of those that each search marks."""

    def __init__(self, texts: Sequence[str]) -> None:
        polars = _polars()
        self.texts = texts
        self._series = polars.Series(texts, dtype=polars.String)

    def matching(self, pattern: str) -> list[int]:
        """Texts in which a regular expression of Rust's matches."""
        found: list[int] = self._series.str.contains(pattern).arg_true().to_list()
        return found

    def lacking(self, pattern: str) -> list[int]:
        """Texts in which it does not match."""
        found: list[int] = (~self._series.str.contains(pattern)).arg_true().to_list()
        return found

    @property
    def personal(self) -> list[int]:
        """What may hold personal data."""
        return self.matching(_PERSONAL)

    @property
    def garbled(self) -> list[int]:
        """What may have lost its encoding."""
        return self.matching(_GARBLED)

    @cached_property
    def signed(self) -> list[int]:
        """What names an assistant, a maker, a control token or a placeholder, or has a code fence."""
        found: list[int] = self._series.str.contains_any([*SIGNS, *TOKEN_SIGNS, "```"]).arg_true().to_list()
        return found

    @property
    def sizes(self) -> tuple[list[int], list[int]]:
        """Bytes and characters of each text."""
        return self._series.str.len_bytes().to_list(), self._series.str.len_chars().to_list()
