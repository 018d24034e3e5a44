"""Advertisements and web frame (contact bait, follow-us, footers, navigation) out of Chinese text, line by line.

A line goes on sufficient evidence only: a phrase that nothing else says, or several that articles also use
and that cover much of the line. A sentence *about* gambling, WeChat or copyright stays. The phrases are data
(boilerplate.toml).
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from functools import lru_cache
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

LEXICON = Path(__file__).with_name("boilerplate.toml")

# The longest footers (a disclaimer, the licences of a portal) have 300 characters; a paragraph has more.
MAX_LINE_CHARS = 400
# How much of the words of a line phrases must cover where the line also holds a word of [about].
ABOUT_SHARE = 0.75
MUCH_POINTS = 5  # ... unless there is so much evidence, some of it strong
ABOUT_SHARE_WITH_MUCH = 0.40
# ... where `whole` phrases are all there is, and where two or more weak ones are.
WHOLE_SHARE = 0.95
WEAK_SHARES = {2: 0.55, 3: 0.45, 4: 0.40}
# ... and for one strong phrase; each further point halves it, down to the least.
STRONG_SHARE = 0.25
LEAST_SHARE = 0.10

# An account, a telephone or a placeholder that stands for one after masking.
_ID = r"(?:\[[^\[\]]{1,12}\]|[A-Za-z][\w-]{4,19}|\+?\d[\d -]{4,15})"
# Addresses, placeholders and numbers are neither words nor evidence.
_DETAIL = re.compile(
    r"https?://[^\s()（）]+|(?:www|m|wap)\.[\w.-]+|[\w.+-]+@[\w.-]+|\]\([^()]*\)|\[[^\[\]\d]{1,12}\](?!\()|\d[\d.,:_+%-]*",
    re.ASCII,
)
_WORD = re.compile(r"\w")
_BLANK_LINES = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|《[^《》]*》|`[^`]*`")
# Headings, images, link targets, tags and comments of Markdown, HTML and code are structure, 第三条 is law.
_STRUCTURE = re.compile(r"\s*(?:#|!\[|\[[\w-]+\]:|<|//|/\*|\*\s|第[一二三四五六七八九十百千零〇\d]+条)")


class _Phrase(NamedTuple):
    text: str
    group: str
    worth: int  # points of evidence
    whole: bool  # whether it suffices as the whole line


# Two of these may be enough: one weak phrase never is.
_MAY_SUFFICE = {"strong": 2, "whole": 2, "weak": 1, "hints": 0}


class _Lexicon:
    """The phrases by their first two characters, the triggers, patterns and words of [about]."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.about = re.compile("|".join(map(re.escape, tables["about"]["words"])))
        self.patterns: list[tuple[re.Pattern[str], str]] = []
        self._by_start: dict[str, list[_Phrase]] = defaultdict(list)
        triggers: dict[str, int] = {}
        for group, table in tables.items():
            for kind, worth in (("strong", 2), ("whole", 1), ("weak", 1), ("fill", 0), ("hints", None)):
                for text in {s for t in table.get(kind, ()) for s in (t, t.lower(), t.upper())}:
                    if kind != "fill":
                        triggers[text] = max(triggers.get(text, 0), _MAY_SUFFICE[kind])
                    if worth is not None:
                        self._by_start[text[:2]].append(_Phrase(text, group, worth, kind == "whole"))
            for pattern in table.get("patterns", ()):
                self.patterns.append((re.compile(pattern.replace("[ID]", _ID), re.IGNORECASE), group))
        self.triggers = tuple(sorted(triggers))
        self.triggers_by_start: dict[str, dict[str, int]] = defaultdict(dict)
        for text in self.triggers:
            self.triggers_by_start[text[:2]][text] = triggers[text]
        self._by_length: dict[str, tuple[tuple[int, dict[str, _Phrase]], ...]] = {}

    def phrases(self, start: str) -> tuple[tuple[int, dict[str, _Phrase]], ...]:
        """Phrases by text, by length, the longest first; of equal texts that of the most worth.

        Those with one start are put in order when they are first asked for: a small input needs few.
        """
        if start not in self._by_start:
            return ()
        if start not in self._by_length:
            by_length: dict[int, dict[str, _Phrase]] = defaultdict(dict)
            for phrase in sorted(self._by_start[start], key=lambda p: (-len(p.text), -p.worth, p.group)):
                by_length[len(phrase.text)].setdefault(phrase.text, phrase)
            self._by_length[start] = tuple(by_length.items())
        return self._by_length[start]


_LEXICON = _Lexicon(tomllib.loads(LEXICON.read_text(encoding="utf-8")))

# Literal phrases: a line that holds none of them is never removed.
TRIGGERS: tuple[str, ...] = _LEXICON.triggers


@lru_cache(maxsize=8192)  # such lines are the same on thousands of pages
def reason_of(line: str) -> str | None:
    """The group ("contact", "gambling", "navigation", ...) of a line that is advertisement or frame, else None."""
    if len(line) > MAX_LINE_CHARS or _STRUCTURE.match(line) or not _may_suffice(line):
        return None
    evidence = _Evidence(line)
    return evidence.group() if evidence.is_sufficient() else None


def remove_lines(text: str, suspects: Collection[str] | None = None) -> tuple[str, Counter[str]]:
    """The text without such lines, and how many went by group.

    The lines of `text.split("\\n")` that stay, with at most one blank line where some went and none at the
    ends; a text without such lines stays as it is. `suspects` are all lines of the text that hold a
    trigger, where these are known already.
    """
    lines = text.split("\n")
    reasons = [reason_of(line) if suspects is None or line in suspects else None for line in lines]
    removed = Counter(reason for reason in reasons if reason is not None)
    if not removed:
        return text, removed
    kept = "\n".join(line for line, reason in zip(lines, reasons, strict=True) if reason is None)
    if "\n\n\n" in kept:
        kept = _BLANK_LINES.sub("\n\n", kept)
    return kept.strip("\n"), removed


def _may_suffice(line: str) -> bool:
    """Whether a line holds phrases that may be enough, or a trigger and a pattern.

    Nine in ten lines with a trigger end here, before what they hold is weighed.
    """
    triggers = _LEXICON.triggers_by_start
    found: dict[str, int] = {}
    for i, pair in enumerate(map(add, line, line[1:])):
        if pair in triggers and line.startswith(tuple(triggers[pair]), i):
            found |= {text: worth for text, worth in triggers[pair].items() if line.startswith(text, i)}
    return sum(found.values()) >= 2 or (bool(found) and any(pattern.search(line) for pattern, _ in _LEXICON.patterns))


class _Evidence:
    """What speaks for a line being boilerplate: phrases, how much of the line they cover, what else it says."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.points: Counter[str] = Counter()  # by group
        self.strong = self.whole = False
        self.covered = bytearray(len(line))  # 1 by fill, 2 by evidence
        self._details = [match.span() for match in _DETAIL.finditer(line)]
        self._mentions = self._details + [match.span() for match in _QUOTED.finditer(line)]
        seen: set[str] = set()
        for start, end, phrase in self._found():
            self.covered[start:end] = bytes(max(c, 1 + (phrase.worth > 0)) for c in self.covered[start:end])
            if phrase.worth and phrase.text not in seen:
                seen.add(phrase.text)
                self.points[phrase.group] += phrase.worth
                self.strong |= phrase.worth == 2
                self.whole |= phrase.whole

    def _found(self) -> Iterator[tuple[int, int, _Phrase]]:
        """Patterns and phrases that are said here and not only quoted, the longest of each place."""
        for pattern, group in _LEXICON.patterns:
            if (match := pattern.search(self.line)) and not self._is_mentioned(*match.span()):
                yield *match.span(), _Phrase(pattern.pattern, group, 2, False)
        to = 0
        for i, pair in enumerate(map(add, self.line, self.line[1:])):
            for length, phrases in _LEXICON.phrases(pair):
                phrase = phrases.get(self.line[i : i + length])
                if phrase is not None:
                    end = i + length
                    if not self._is_mentioned(i, end):
                        yield i, end, phrase if end > to else _FILL
                        to = max(to, end)
                    break

    def _is_mentioned(self, start: int, end: int) -> bool:
        return any(a <= start and end <= b for a, b in self._mentions)

    def group(self) -> str:
        """The group with the most evidence."""
        return max(self.points, key=lambda name: self.points[name])

    def is_sufficient(self) -> bool:
        """Whether the phrases cover enough of the line for what they are worth."""
        points = self.points.total()
        if not points:
            return False
        words = {match.start() for match in _WORD.finditer(self.line)}
        words -= {i for start, end in self._details for i in range(start, end) if not self.covered[i]}
        share = sum(self.covered[i] > 0 for i in words) / max(len(words), 1)
        needed = self._share_needed(points)
        if share < needed:
            return False
        rest = "".join(" " if c == 2 else char for char, c in zip(self.line, self.covered, strict=True))
        much = self.strong and points >= MUCH_POINTS
        return share >= (ABOUT_SHARE_WITH_MUCH if much else ABOUT_SHARE) or not _LEXICON.about.search(rest)

    def _share_needed(self, points: int) -> float:
        if self.strong:
            return max(STRONG_SHARE * 0.5 ** (points - 2), LEAST_SHARE)
        if points == 1:
            return WHOLE_SHARE if self.whole else 2.0
        return WEAK_SHARES.get(points, min(WEAK_SHARES.values()))


_FILL = _Phrase("", "", 0, False)
