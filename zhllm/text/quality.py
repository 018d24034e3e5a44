"""Which texts are no use for training, and why: thresholds as data, every refusal with a reason code.

The thresholds of web pipelines reject ordinary private documents (a price list, a statute, a short
notice), so each kind of source has a profile of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from zhllm.text.charclass import CharCounts

Language = Literal["zh", "en", "any"]
ProfileName = Literal["document", "web", "dialogue"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Thresholds of one kind of source; a text beyond one of them is rejected with its name."""

    min_chars: int  # too_short: characters that are not space
    min_language_share: float  # low_han_share, low_latin_share: of the characters that words are made of
    max_symbol_share: float  # symbol_share: symbols and unassigned, of the characters that are not space
    max_digit_share: float  # digit_share: a table of numbers teaches no language
    max_repeated_share: float  # repeated_lines: characters in lines that stood before
    max_contents_share: float  # contents_page: lines of a dotted table of contents


# Measured on 4,600 statutes, manuals and textbooks and 22,000 poems (shared/data/corpus).
PROFILES: dict[ProfileName, Profile] = {
    # Private documents are few and somebody wrote them on purpose, so only what is no text at all goes.
    # Under 14 characters stand lost lines of poems (0.3 % of them) and forms with a letterhead only.
    # Chinese manuals full of code have a Han share of 0.02 to 0.1 (English ones with a Chinese head up to
    # 0.016); the most symbols are 0.24, the most digits 0.37.
    "document": Profile(14, 0.02, 0.45, 0.60, 0.70, 0.60),
    # A web page is mostly frame: short, repeated, foreign or numeric pages are the rule there. A page of
    # running text has a Han share over 0.5 and symbols under 0.1 (95 % of the manuals above).
    "web": Profile(80, 0.30, 0.15, 0.25, 0.30, 0.25),
    # "好的。" is a turn; people repeat themselves and send emoji and numbers.
    "dialogue": Profile(2, 0.10, 0.60, 0.80, 0.90, 0.60),
}

# Of the Han characters of a sound text, the frequent ones are 0.25 (99 % of Song poems) to 0.9; UTF-8
# read as GBK has under 0.1. Fewer than 50 characters say nothing.
MIN_FREQUENT_SHARE = 0.14
MIN_HAN_TO_JUDGE = 50
# One character lost in a name is no reason: U+FFFD must come three times and be 1 % of the text.
MAX_REPLACEMENT_SHARE = 0.01
MIN_REPLACEMENTS = 3

_LONG_ENOUGH_TO_COUNT = 4
_RUN = re.compile(r"(\S)\1{59,}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text was refused: a reason code, and the value against its threshold for people."""

    reason: str
    detail: str


def judge(
    text: str, counts: CharCounts, profile: Profile, language: Language, contents_share: float = 0.0
) -> Refusal | None:
    """The first rule a cleaned text breaks, or None; `contents_share` is of the lines already removed."""
    if contents_share > profile.max_contents_share:
        return _over("contents_page", contents_share, profile.max_contents_share)
    if counts.ink < profile.min_chars:
        return Refusal("too_short", f"{counts.ink} characters, fewer than {profile.min_chars}")
    return _judge_shape(text, counts, profile) or _judge_encoding(counts) or _judge_language(counts, profile, language)


def _over(reason: str, share: float, limit: float) -> Refusal:
    return Refusal(reason, f"{share:.1%}, over {limit:.0%}")


def _judge_encoding(counts: CharCounts) -> Refusal | None:
    """Text that was decoded wrongly before it came here."""
    broken = counts.replacements / counts.ink
    if counts.replacements >= MIN_REPLACEMENTS and broken > MAX_REPLACEMENT_SHARE:
        return _over("garbled", broken, MAX_REPLACEMENT_SHARE)
    if counts.han >= MIN_HAN_TO_JUDGE and counts.frequent_han < MIN_FREQUENT_SHARE * counts.han:
        share = counts.frequent_han / counts.han
        return Refusal("garbled", f"{share:.1%} usual Han characters, under {MIN_FREQUENT_SHARE:.0%}")
    return None


def _judge_language(counts: CharCounts, profile: Profile, language: Language) -> Refusal | None:
    if language == "any":
        return None
    own = counts.han if language == "zh" else counts.latin
    share = own / max(counts.words, 1)
    if share >= profile.min_language_share:
        return None
    reason = "low_han_share" if language == "zh" else "low_latin_share"
    return Refusal(reason, f"{share:.1%}, under {profile.min_language_share:.0%}")


def _judge_shape(text: str, counts: CharCounts, profile: Profile) -> Refusal | None:
    symbols = (counts.symbols + counts.others) / counts.ink
    if symbols > profile.max_symbol_share:
        return _over("symbol_share", symbols, profile.max_symbol_share)
    digits = counts.digits / counts.ink
    if digits > profile.max_digit_share:
        return _over("digit_share", digits, profile.max_digit_share)
    repeated = repeated_share(text, counts.ink)
    if repeated > profile.max_repeated_share:
        return _over("repeated_lines", repeated, profile.max_repeated_share)
    return None


def repeated_share(text: str, ink: int) -> float:
    """Share of the characters (without space) that stand in repeated lines or in runs of one character."""
    lines = Counter(line for line in text.split("\n") if len(line) >= _LONG_ENOUGH_TO_COUNT)
    repeated = sum(len("".join(line.split())) * (n - 1) for line, n in lines.items() if n > 1)
    runs = sum(len(match.group()) for match in _RUN.finditer(text)) if _RUN.search(text) else 0
    return max(repeated, runs) / max(ink, 1)
