"""Which texts are no use for training, and why: every refusal with a reason code.

The thresholds of web pipelines reject ordinary private documents (a price list, a statute, a short
notice), so each kind of source has a profile of its own (profiles.toml). The rules look at counts and
shares only; the functions on text below define these shares, however they are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

from zhllm.text.clean.charclass import CharCounts
from zhllm.text.clean.profiles import Profile

Language = Literal["zh", "en", "any"]

# Of the Han characters of a sound text, the frequent ones are 0.25 (99 % of Song poems) to 0.9; UTF-8
# read as GBK has under 0.1. Fewer than 50 characters say nothing.
MIN_FREQUENT_SHARE = 0.14
MIN_HAN_TO_JUDGE = 50
# One character lost in a name is no reason: U+FFFD must come three times and be 1 % of the text.
MAX_REPLACEMENT_SHARE = 0.01
MIN_REPLACEMENTS = 3
# 800 statutes, poems, manuals and questions read as Latin-1 or Windows-1252 with what these do not define taken
# out: 99 % have over 0.02 (statutes over 0.65, a page of SQL 0.018). No sound text of the corpora has any, nor
# have French, Czech, Vietnamese or pinyin.
MAX_MOJIBAKE_SHARE = 0.02
# First bytes of Chinese characters in UTF-8 read as Latin-1 or Windows-1252, each with what is left of the rest.
_MOJIBAKE = re.compile(r"(?:[\xe3-\xef][\xa1-\xbf€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œŸŽž]{0,2} ?){4,}")

LONG_ENOUGH_TO_COUNT = 4  # characters of a line: "}" and "返回" repeat in every sound text
GRAM_CHARS = 10


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text was refused: a reason code, and the value against its threshold for people."""

    reason: str
    detail: str


class Shape(NamedTuple):
    """Shares of a document that its character counts do not tell."""

    repeated_lines: float  # repeated_lines_share
    repeated_grams: float  # repeated_grams_share
    contents: float  # of its lines, those removed as a dotted table of contents
    boilerplate: float  # of its characters, those in lines removed as boilerplate
    sensitive_hits: int = 0
    mojibake: float = 0.0  # mojibake_share


def judge(counts: CharCounts, shape: Shape, profile: Profile, language: Language) -> Refusal | None:
    """The first rule a cleaned text breaks, or None; `counts` are of the text without removed lines."""
    if shape.contents > profile.max_contents_share:
        return _over("contents_page", shape.contents, profile.max_contents_share)
    if shape.boilerplate > profile.max_boilerplate_share:
        return _over("advertisement", shape.boilerplate, profile.max_boilerplate_share)
    if counts.ink < profile.min_chars:
        return Refusal("too_short", f"{counts.ink} characters, fewer than {profile.min_chars}")
    return (
        _judge_shape(counts, shape, profile)
        or _judge_encoding(counts, shape.mojibake)
        or _judge_language(counts, profile, language)
        or _judge_sensitive(shape.sensitive_hits, profile.max_sensitive_hits)
    )


def is_too_long(chars: int, limit: int) -> Refusal:
    """The refusal of a text that is too long to be held in memory several times over."""
    return Refusal("too_long", f"{chars:,} characters, more than {limit:,}: split it, by chapters for example")


def _over(reason: str, share: float, limit: float) -> Refusal:
    return Refusal(reason, f"{share:.1%}, over {limit:.0%}")


def _judge_encoding(counts: CharCounts, mojibake: float) -> Refusal | None:
    """Text that was decoded wrongly before it came here."""
    if mojibake > MAX_MOJIBAKE_SHARE:
        return _over("garbled", mojibake, MAX_MOJIBAKE_SHARE)
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
    return Refusal(reason, f"{share:.2%}, under {profile.min_language_share:.1%}")


def may_be_garbled(counts: CharCounts) -> bool:
    """Whether `mojibake_share` may be over its threshold: it counts at most three characters for each accented one."""
    return 3 * counts.accented > MAX_MOJIBAKE_SHARE * counts.ink


def _judge_shape(counts: CharCounts, shape: Shape, profile: Profile) -> Refusal | None:
    symbols, digits = (counts.symbols + counts.others) / counts.ink, counts.digits / counts.ink
    if symbols > profile.max_symbol_share:
        return _over("symbol_share", symbols, profile.max_symbol_share)
    if digits > profile.max_digit_share:
        return _over("digit_share", digits, profile.max_digit_share)
    if shape.repeated_lines > profile.max_repeated_lines_share:
        return _over("repeated_lines", shape.repeated_lines, profile.max_repeated_lines_share)
    if shape.repeated_grams > profile.max_repeated_grams_share:
        return _over("repeated_grams", shape.repeated_grams, profile.max_repeated_grams_share)
    return None


def _judge_sensitive(hits: int, limit: int | None) -> Refusal | None:
    if limit is None or hits <= limit:
        return None
    return Refusal("sensitive", f"{hits} hits of the lexicon, over {limit}")


def mojibake_share(text: str, ink: int) -> float:
    """Share of the `ink` characters (all but space) in runs like "è´åä¿¡ç": Chinese in UTF-8 read as Latin-1.

    What `normalise.repair_mojibake` cannot mend, since bytes were lost; 0.0 for a text without accented letters.
    """
    return sum(len("".join(match.group().split())) for match in _MOJIBAKE.finditer(text)) / max(ink, 1)


def repeated_lines_share(text: str, ink: int) -> float:
    """Share of the `ink` characters (all but space) that stand in a line which stood before in the text.

    Lines are what `text.split("\\n")` gives; those shorter than LONG_ENOUGH_TO_COUNT count as new.
    """
    lines = Counter(line for line in text.split("\n") if len(line) >= LONG_ENOUGH_TO_COUNT)
    repeated = sum(len("".join(line.split())) * (n - 1) for line, n in lines.items() if n > 1)
    return repeated / max(ink, 1)


def repeated_grams_share(text: str) -> float:
    """Share of the characters (all but space) that a repeated 10-gram covers; 0.0 where there are fewer than 10.

    With s the text without white space, the 10-gram s[i:i+10] is repeated where an equal one begins at
    some j < i. It covers its ten characters, and a character that several cover counts once. (Gopher's
    rule, Rae et al. 2021, table A1, with one length and on characters.)
    """
    chars = "".join(text.split())
    seen: set[str] = set()
    covered = covered_to = 0
    for end in range(GRAM_CHARS, len(chars) + 1):
        gram = chars[end - GRAM_CHARS : end]
        if gram in seen:
            covered += end - max(covered_to, end - GRAM_CHARS)
            covered_to = end
        else:
            seen.add(gram)
    return covered / max(len(chars), 1)
