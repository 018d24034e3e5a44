"""A document as a list of blocks, and its Markdown and plain-text forms.

Every kind of sample document is first put together from the four blocks below;
``pages`` turns them into HTML and ``docx`` into a Word file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CHINESE_DIGITS = "一二三四五六七八九十"


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the document."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Para:
    """A paragraph of running text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list, numbered or not."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first row is its head."""

    rows: tuple[tuple[str, ...], ...]


Block = Heading | Para | Items | Table


@dataclass(frozen=True)
class Document:
    """A named document: the stem of its file, its title and its blocks."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def flow(text: str) -> list[str]:
    """Split a hand-wrapped data text into paragraphs, joining wrapped lines.

    A blank line parts two paragraphs.  Lines are joined without a space, as
    Chinese needs, but with one where both sides are Latin letters or digits.
    """
    found: list[str] = []
    for chunk in text.strip().split("\n\n"):
        joined = ""
        for line in (part.strip() for part in chunk.splitlines()):
            gap = " " if _latin(joined[-1:]) and _latin(line[:1]) else ""
            joined += gap + line
        if joined:
            found.append(joined)
    return found


def _latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def chinese_number(number: int) -> str:
    """A number from 1 to 99 in Chinese digits, as chapter titles use it."""
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else ("十" if tens == 1 else CHINESE_DIGITS[tens - 1] + "十")
    return head + (CHINESE_DIGITS[ones - 1] if ones else "")


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks as Markdown."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {text}")
            case Para(text):
                parts.append(text)
            case Items(items, numbered):
                parts.append("\n".join(_marked(items, numbered)))
            case Table(rows):
                parts.append(_pipe_table(rows))
    return "\n\n".join(parts) + "\n"


def _marked(items: Sequence[str], numbered: bool) -> list[str]:
    return [f"{n}. {item}" if numbered else f"- {item}" for n, item in enumerate(items, 1)]


def _pipe_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def plain(blocks: Iterable[Block]) -> str:
    """The blocks as plain text, one paragraph a line."""
    lines: list[str] = []
    counter = 0
    for block in blocks:
        match block:
            case Heading(text, level):
                counter = 0 if level == 1 else counter + 1
                label = f"{chinese_number(counter)}、" if level > 1 else ""
                lines += ["", label + text] if lines else [text]
            case Para(text):
                lines.append(text)
            case Items(items, numbered):
                lines += [f"（{n}）{x}" if numbered else f"· {x}" for n, x in enumerate(items, 1)]
            case Table(rows):
                lines += ["；".join(_cells(rows[0], row)) + "。" for row in rows[1:]]
    return "\n".join(lines) + "\n"


def _cells(head: Sequence[str], row: Sequence[str]) -> list[str]:
    return [f"{name}：{cell}" for name, cell in zip(head, row, strict=True)]
