"""A document as blocks with their places: headings, paragraphs, list items, table rows, articles of a law.

Every block is a slice of the document's text, so that whatever is made of blocks can be found again.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import orjson

from zhllm.text.document import Document

BlockKind = Literal["heading", "paragraph", "item", "row", "furniture"]

NUMERAL = "零〇一二三四五六七八九十百千"
ARTICLE = re.compile(rf"第[{NUMERAL}\d]+条(?:之[{NUMERAL}]+)?(?=[\s\u3000])")
ITEM = re.compile(
    rf"(?:[（(][{NUMERAL}\d]+[)）]|[-*•·●▪]\s+|\d+[.、．)）]\s*(?!\d)|[{NUMERAL}]+、|第[{NUMERAL}\d]+步[，：、\s])\s*"
)
_MARKS = re.compile(r"#{1,6}\s+")
_PAGE = re.compile(r"第\s*\d+\s*页(?:\s*[共/]\s*\d+\s*页)?|[-—]\s*\d+\s*[-—]|\d+\s*/\s*\d+")
_CONTENTS = re.compile(r".*[.…·]{6,}\s*\d+")
_RULE = re.compile(r"[-=_*|:#\s]+")
_COMMENT = re.compile(r"<!--.*?-->|```.*|~~~.*")
_NUMBERING = re.compile(
    rf"(?:第[{NUMERAL}\d]+[章节编篇部分讲课]+分?编?\s*|[{NUMERAL}]+、\s*|[（(][{NUMERAL}\d]+[)）]\s*"
    r"|\d+(?:\.\d+)*[.、．]?\s+|\d+(?:\.\d+)*[、．]\s*)"
)
_LAW = re.compile(r"(?:法|条例|规定|办法|章程|规则|细则|法典|修正案|通则|制度)(?:[（(][^（）()]*[)）])?")
# A line that often stands between others is a running title or a stamp; sentences and rows may repeat.
_FURNITURE_TIMES, _FURNITURE_CHARS = 3, 60
_TITLE_CHARS = 40
_NO_TITLE = re.compile(r"[。，；！？!?,|]|^[（(\d]|[：:].*[：:]|[：:]$")
_LETTERHEAD = re.compile("有限公司|内部|资料|文件$")
ENDS = "。！？!?；;：:”』」…"


@dataclass(frozen=True, slots=True)
class Block:
    """A line of a document without the blanks and heading marks around it: `text` stands at `start`."""

    kind: BlockKind
    text: str
    start: int
    level: int = 0  # of a heading, from 1
    is_continued: bool = False  # goes on in the middle of the sentence of the line before

    @property
    def end(self) -> int:
        """The offset after the block."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class Section:
    """A heading's text ("" before the first), the headings above it, and the blocks up to the next heading."""

    heading: str
    path: tuple[str, ...]
    blocks: tuple[Block, ...]


class Outline:
    """What can be seen of a document's structure."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.meta = _meta_of(document.meta)
        self.blocks = _blocks(document.text, _marked(self.meta))

    @cached_property
    def title(self) -> str:
        """The document's title without its numbering: from the metadata, its first heading or its first line."""
        given = str(self.meta.get("title") or "").strip()
        first = next((b.text for b in self.blocks if b.kind == "heading" and b.level <= 2), "")
        if given and first and given.startswith(first):  # "退货 - 某公司": the page's own name is enough
            given = first
        found = given or first
        return without_numbering(found or self._first_lines())

    def _first_lines(self) -> str:
        """A title among the short lines that a text without headings begins with; a letterhead comes before it."""
        lines = []
        for block in [b for b in self.blocks if b.kind != "furniture"][:3]:
            if block.kind != "paragraph" or len(block.text) > _TITLE_CHARS or _NO_TITLE.search(block.text):
                break
            lines.append(block.text)
        numbered = [line for line in lines if _NUMBERING.match(line)]
        named = [line for line in lines if not _LETTERHEAD.search(line)]
        return next(iter(numbered or named or lines), "")

    @cached_property
    def furniture(self) -> list[tuple[int, int]]:
        """Where page furniture stands."""
        return [(block.start, block.end) for block in self.blocks if block.kind == "furniture"]

    @cached_property
    def is_law(self) -> bool:
        """Whether it is made of numbered articles, as laws and regulations are."""
        articles = sum(1 for b in self.blocks if ARTICLE.match(b.text))
        return articles >= 2 and bool(_LAW.search(self.title))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The sections in order; furniture is in none."""
        found: list[Section] = []
        path: list[tuple[int, str]] = []
        heading = ""
        body: list[Block] = []
        for block in self.blocks:
            if block.kind == "heading":
                found.append(Section(heading, tuple(text for _, text in path[:-1]), tuple(body)))
                path = [*(entry for entry in path if entry[0] < block.level), (block.level, block.text)]
                heading, body = block.text, []
            elif block.kind != "furniture":
                body.append(block)
        found.append(Section(heading, tuple(text for _, text in path[:-1]), tuple(body)))
        return tuple(section for section in found if section.blocks)

    def slice(self, start: int, end: int) -> str:
        """The document's text there."""
        return self.document.text[start:end]


def without_numbering(heading: str) -> str:
    """A heading without "第三章", "二、" or "1.2" before it, and with single spaces."""
    text = " ".join(heading.split())
    return text[found.end() :].strip() if (found := _NUMBERING.match(text)) and found.end() < len(text) else text


def _meta_of(text: str) -> dict[str, object]:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return values if isinstance(values, dict) else {}


def _marked(meta: dict[str, object]) -> dict[int, int]:
    """Offset to level of the headings that the reader told."""
    marks = meta.get("headings")
    if not isinstance(marks, list):
        return {}
    return {int(mark[1]): int(mark[0]) for mark in marks if isinstance(mark, list) and len(mark) == 2}


def _blocks(text: str, marked: dict[int, int]) -> list[Block]:
    lines = text.split("\n")
    times = Counter(line.strip() for line in lines)
    asked = {line.strip() for line in lines if _is_question(line.strip())}
    found: list[Block] = []
    offset, open_end = 0, False
    for line in lines:
        inner = line.strip(" \t\r\u3000\u200b\ufeff")
        start = offset + (line.index(inner) if inner else 0)
        if inner:
            is_asked = inner in asked and len(asked) > 1
            block = _block(inner, start, marked.get(offset, marked.get(start)), times[line.strip()], is_asked)
            wrapped = open_end and block.kind == "paragraph"
            found.append(Block(block.kind, block.text, block.start, block.level, wrapped))
            open_end = block.kind in ("paragraph", "item") and inner[-1] not in ENDS
        else:
            open_end = False
        offset += len(line) + 1
    return found


def _is_question(line: str) -> bool:
    return 5 <= len(line) <= _TITLE_CHARS and line[-1] in "？?" and not re.search(r"[。！；：:]", line)


def _block(text: str, start: int, level: int | None, times: int, is_asked: bool) -> Block:
    if marks := _MARKS.match(text):
        return Block("heading", text[marks.end() :], start + marks.end(), level or len(text) - len(text.lstrip("#")))
    if level is not None:
        return Block("heading", text, start, level)
    if _COMMENT.fullmatch(text) or _PAGE.fullmatch(text) or _CONTENTS.fullmatch(text) or _RULE.fullmatch(text):
        return Block("furniture", text, start)
    if " | " in text or text.startswith("|"):
        return Block("row", text, start)
    if times >= _FURNITURE_TIMES and len(text) <= _FURNITURE_CHARS:
        return Block("furniture", text, start)
    if is_asked:
        return Block("heading", text, start, 6)
    return Block("item" if ITEM.match(text) else "paragraph", text, start)
