"""The deliberate dirt of the sample documents: what ``zhllm``'s cleaning must find.

Every function is plain and deterministic; README.md lists where each is used.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from corpora.make.blocks import Block, Heading, Para

ZERO_WIDTH = ("\u200b", "\u200d", "\ufeff")
CONTROLS = ("\x07", "\x0b", "\x1f", "\x0c")
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECKS = "10X98765432"


def paginate(blocks: Sequence[Block], header: str, footer: str = "") -> list[Block]:
    """Put a page header before and a page number after every section."""
    starts = [n for n, block in enumerate(blocks) if isinstance(block, Heading) and n]
    total = len(starts) + 1
    found: list[Block] = [Para(header)]
    page = 1
    for number, block in enumerate(blocks):
        if number in starts:
            found += _turn(page, total, header, footer)
            page += 1
        found.append(block)
    return [*found, Para(f"第 {page} 页 共 {total} 页")]


def _turn(page: int, total: int, header: str, footer: str) -> list[Block]:
    tail = [Para(footer)] if footer else []
    return [*tail, Para(f"第 {page} 页 共 {total} 页"), Para(header)]


def full_width(text: str) -> str:
    """Write Latin letters, digits and hyphens in their full-width forms."""
    wide = (chr(ord(c) + 0xFEE0) if c.isascii() and (c.isalnum() or c == "-") else c for c in text)
    return "".join(wide)


def zero_width(text: str) -> str:
    """Slip a zero-width character in after every full stop and colon."""
    found: list[str] = []
    for number, char in enumerate(text):
        found.append(char + ZERO_WIDTH[number % 3] if char in "。：" else char)
    return "".join(found)


def controls(text: str) -> str:
    """Put a stray control character into every ninth line."""
    lines = text.split("\n")
    for number in range(4, len(lines), 9):
        middle = len(lines[number]) // 2
        char = CONTROLS[number % len(CONTROLS)]
        lines[number] = lines[number][:middle] + char + lines[number][middle:]
    return "\n".join(lines)


def trailing_spaces(text: str) -> str:
    """Leave spaces and tabs at the end of lines, as old editors do."""
    tails = ("   ", "\t", "", "　　", " ")
    return "\n".join(line + tails[n % len(tails)] for n, line in enumerate(text.split("\n")))


def hard_wrap(text: str, width: int = 34) -> str:
    """Break lines after a fixed number of characters, without regard to sentences."""
    found: list[str] = []
    for line in text.split("\n"):
        found += [line[start : start + width] for start in range(0, len(line), width)] or [""]
    return "\n".join(found)


def spaced(text: str) -> str:
    """Part characters by spaces, as a bad conversion of a heading leaves them."""
    return " ".join(text)


def bad_id_card(chance: random.Random) -> str:
    """An eighteen-place number that no person has.

    The region code is not assigned and the check digit is wrong.
    """
    day = f"{chance.randint(1960, 1999)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}"
    digits = f"9901{chance.randint(1, 20):02d}{day}{chance.randint(100, 999)}"
    total = sum(int(digit) * weight for digit, weight in zip(digits, ID_WEIGHTS, strict=True))
    return digits + ID_CHECKS[(total + 3) % 11]


def bad_phone(chance: random.Random) -> str:
    """An invented telephone number; no real one begins with 000."""
    style = chance.randint(0, 2)
    tail = chance.randint(10000000, 99999999)
    return (f"000-{tail}", f"(000) {tail}", f"000{tail}")[style]


def contents_of_dots(titles: Sequence[str]) -> str:
    """A directory page: titles, dots and page numbers, and nothing to learn from."""
    lines = [f"{title}{'.' * (60 - 2 * len(title))}{n * 7 + 1}" for n, title in enumerate(titles)]
    return "目  录\n\n" + "\n".join(lines) + "\n"


def symbol_page() -> str:
    """A page of separators."""
    rows = ("=" * 60, "-" * 60, "*" * 60, "◆◇" * 20, "~" * 60, "□" * 30, "#" * 48, "……" * 15)
    return "\n".join(rows * 5) + "\n"


def repeated_page(line: str, times: int) -> str:
    """A page of one line over and over."""
    return (line + "\n") * times


def near_copy(text: str, swaps: Sequence[tuple[str, str]]) -> str:
    """A text with a few harmless words changed; every swap must find its word."""
    for old, new in swaps:
        if old not in text:
            raise ValueError(f"nothing to change: {old}")
        text = text.replace(old, new, 1)
    return text
