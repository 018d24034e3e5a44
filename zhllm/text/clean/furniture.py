"""Page furniture out of a text: page numbers, running headers and footers, dotted tables of contents.

A document that was paged carries lines which interrupt its sentences and repeat on every page. Each
rule asks for evidence of pages, since a manual also repeats short lines ("参数", "```sql") rightly.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import median

MAX_HEADER_CHARS = 40
MIN_REPEATS = 3
MIN_HAN = 4
# One printed page holds 300 to 1,500 characters; headings that repeat in a manual stand closer.
PAGE_CHARS = (250, 5000)
MAX_GAP_RATIO = 4.0

_NUMBER = r"(?:\d{1,4}|[一二三四五六七八九十百零〇]{1,5})"
_PAGE_WORDS = (
    rf"第\s*{_NUMBER}\s*页(?:\s*[,，/、|]?\s*[（(]?共\s*{_NUMBER}\s*页[)）]?)?|"
    rf"共\s*{_NUMBER}\s*页\s*[,，/、|]?\s*第\s*{_NUMBER}\s*页|"
    r"[Pp](?:age|AGE)\s*\d{1,4}(?:\s*(?:of|/)\s*\d{1,4})?"
)
_DASHED = r"[-—–－―~～·•]+\s*\d{1,4}\s*[-—–－―~～·•]+"
_NUMBERED = re.compile(r"[\d页]")  # every line with a page number has one
_PAGE_LINE = re.compile(rf"\s*(?:[-—–|]\s*)?(?:{_PAGE_WORDS}|{_DASHED})(?:\s*[-—–|])?\s*")
_BARE_NUMBER = re.compile(r"\s*(\d{1,4})(?:\s*/\s*(\d{1,4}))?\s*")
_WITH_PAGE = re.compile(
    rf"(?P<before>.*?)[\s|｜/]*(?:{_PAGE_WORDS}|{_DASHED}|\d{{1,4}}\s*/\s*\d{{1,4}})[\s|｜/]*(?P<after>.*)"
)
_PAGE_MARK = re.compile("[页gG/—–－―~～·•-]")  # each line with a page number in it has one
_DOT_LEADER = re.compile(r"(?:(?:[.．·・•]\s?){4,}|…{3,})\s*[（(]?\d{1,4}[)）]?\s*$")
_LAST_NUMBER = re.compile(r"\d{1,4}")
_CONTENTS_END = tuple("0123456789)）")
# A line that ends so goes on or introduces something; one that begins so is Markdown, code or a list.
SENTENCE_END = tuple("。；！？：，、;:,!?…{}[]()<>|`=+*#>\\/”")
SYNTAX_START = tuple(" \t#|`-*>+=<{}[]()~:：.!?$@&/\\\"'0123456789")
UNDERLINES = "-=~^#*:"
_UNDERLINE = re.compile(rf"([{UNDERLINES}])\1{{2,}}")  # makes the line above it a heading
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_CODE = re.compile(r"""[<>{}\[\]=`"'$\\_;]""")


@dataclass(frozen=True, slots=True)
class Furniture:
    """A text without its page furniture, and how many lines of each kind were taken out."""

    text: str
    page_lines: int = 0
    header_lines: int = 0
    contents_lines: int = 0


class _Page:
    """The lines of a text and where each starts, counted in characters, if that is asked for."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.chars = len(text)

    @cached_property
    def starts(self) -> list[int]:
        """Where each line starts."""
        return [0, *accumulate(len(line) + 1 for line in self.lines[:-1])]

    def is_on_every_page(self, indices: list[int]) -> bool:
        """Whether lines stand a printed page apart, evenly, from the first page to the last."""
        return is_on_every_page([self.starts[i] for i in indices], self.chars)


def is_on_every_page(places: list[int], chars: int) -> bool:
    """Whether places in a text of so many characters stand a printed page apart, evenly, from first to last page."""
    if len(places) < MIN_REPEATS:
        return False
    gaps = [b - a for a, b in pairwise(places)]
    page = median(gaps)
    even = min(gaps) * MAX_GAP_RATIO >= page and max(gaps) <= page * MAX_GAP_RATIO
    whole = max(places[0], chars - places[-1]) <= page * MAX_GAP_RATIO / 2
    return even and whole and PAGE_CHARS[0] <= page <= PAGE_CHARS[1]


def remove_furniture(text: str) -> Furniture:
    """Take page numbers, running headers and footers and dotted contents lines out of normalised text."""
    page = _Page(text)
    short = [i for i, line in enumerate(page.lines) if line and len(line) <= MAX_HEADER_CHARS]
    numbered = [i for i in short if _NUMBERED.search(page.lines[i])]
    numbers = {i for i in numbered if _PAGE_LINE.fullmatch(page.lines[i])}
    numbers |= _numbers_in_order(page, numbered)
    headers = _headers_with_page(page, numbered, numbers)
    headers |= _repeated_headers(page, short, numbers | headers)
    contents = _contents(page)
    gone = numbers | headers | contents
    if not gone:
        return Furniture(text)
    return Furniture(_without(page.lines, gone), len(numbers), len(headers - numbers), len(contents - headers))


def _contents(page: _Page) -> set[int]:
    """Lines of a dotted table of contents: their page numbers count up, those of a price list do not."""
    found = [i for i, line in enumerate(page.lines) if line.endswith(_CONTENTS_END) and _is_contents(line)]
    numbers = [int(_LAST_NUMBER.findall(page.lines[i])[-1]) for i in found]
    falls = sum(b < a for a, b in pairwise(numbers))
    return set() if len(found) >= MIN_REPEATS and falls * 10 > len(found) else set(found)


def _is_contents(line: str) -> bool:
    """Whether a line is one of a dotted table of contents: 第一章 总则 ........ 3"""
    return len(line) <= 120 and _DOT_LEADER.search(line) is not None


def _numbers_in_order(page: _Page, short: list[int]) -> set[int]:
    """Lines that are bare numbers where at least three of them count up, a page apart."""
    found = [(i, int(m[1])) for i in short if (m := _BARE_NUMBER.fullmatch(page.lines[i]))]
    counts_up = all(0 < b - a <= 3 for (_, a), (_, b) in pairwise(found))
    indices = [i for i, _ in found]
    return set(indices) if counts_up and page.is_on_every_page(indices) else set()


def _headers_with_page(page: _Page, short: list[int], numbers: set[int]) -> set[int]:
    """Lines like "员工手册  第 3 页" whose words stand with at least three different page numbers."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i in short:
        is_marked = i not in numbers and _PAGE_MARK.search(page.lines[i])
        match = _WITH_PAGE.fullmatch(page.lines[i]) if is_marked else None
        if match:
            groups[match["before"].strip() + "\0" + match["after"].strip()].append(i)
    return {
        i
        for group in groups.values()
        if len({page.lines[i] for i in group}) >= MIN_REPEATS and page.is_on_every_page(group)
        for i in group
    }


def _repeated_headers(page: _Page, short: list[int], marks: set[int]) -> set[int]:
    """Short lines repeated beside page marks, or on every page from the first to the last."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i in short:
        line = page.lines[i]
        is_text = not line.startswith(SYNTAX_START) and not line.endswith(SENTENCE_END)
        if i not in marks and is_text and not _UNDERLINE.fullmatch("".join(page.lines[i + 1 : i + 2])):
            groups[line].append(i)
    gone: set[int] = set()
    for line, group in groups.items():
        if len(group) >= MIN_REPEATS and len(line) >= 2:
            beside = sum(_is_beside(page, i, marks) for i in group)
            chinese = len(_HAN.findall(line)) >= MIN_HAN and not _CODE.search(line)
            if beside * 3 >= len(group) * 2 or (chinese and page.is_on_every_page(group)):
                gone.update(group)
    return gone


def _is_beside(page: _Page, index: int, marks: set[int]) -> bool:
    """Whether a page mark is among the two lines with text before or after a line."""
    for step in (-1, 1):
        seen, i = 0, index + step
        while seen < 2 and 0 <= i < len(page.lines):
            if i in marks:
                return True
            seen += bool(page.lines[i])
            i += step
    return False


def _without(lines: list[str], gone: set[int]) -> str:
    """The lines that stay, with at most one blank line where something was taken out."""
    kept = [line for i, line in enumerate(lines) if i not in gone]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")
