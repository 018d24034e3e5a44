"""What `show` shows, apart from where: blocks of text, tokens, facts and tables, and their look in a terminal.

Whatever a colour says, a mark says too where there is no colour; a sign that the terminal's encoding lacks has a
plain one in its place.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import click

from zhllm.page import visible, visible_ends

Cell = str | int | float | None


@dataclass(frozen=True)
class Span:
    """A stretch of text, or what `tokens` tokens write together; `kind` is a name of LOOKS."""

    text: str
    kind: str = ""
    hint: str = ""
    tokens: int = 1
    is_end: bool = False
    starts_document: bool = False


@dataclass(frozen=True)
class Heading:
    """The name of what follows."""

    text: str


@dataclass(frozen=True)
class Words:
    """A line that says something of what is shown; with `is_alarm`, something that is wrong."""

    text: str
    is_alarm: bool = False


@dataclass(frozen=True)
class Text:
    """Somebody's text under a label, as it is but for what cannot be seen."""

    label: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Tokens:
    """Tokens one after the other, their borders visible."""

    label: str
    spans: Sequence[Span]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: Sequence[tuple[str, Cell]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under column titles."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True)
class Curve:
    """Values over steps, for a page only: in the terminal a table stands beside it."""

    title: str
    x: str
    points: Sequence[tuple[float, float]]


Block = Heading | Words | Text | Tokens | Facts | Table | Curve


@dataclass(frozen=True)
class Look:
    """How a kind of span looks: with colours, and between which marks without."""

    style: Mapping[str, Any]
    marks: tuple[str, str] = ("", "")
    about: str = ""


LOOKS = {
    "": Look({}, about="only read"),
    "learnt": Look({"fg": "green", "bold": True}, ("{+", "+}"), "learnt"),
    "context": Look({"fg": "yellow", "underline": True}, ("{0", "0}"), "an answer of weight 0, only read"),
    "cut": Look({"fg": "red", "dim": True, "strikethrough": True}, ("[-", "-]"), "cut off"),
    "pad": Look({"dim": True}),
    "chosen": Look({"fg": "green"}),
    "chosen-only": Look({"fg": "green", "bold": True, "underline": True}, ("{+", "+}")),
    "rejected": Look({"fg": "red"}),
    "rejected-only": Look({"fg": "red", "bold": True, "underline": True}, ("[-", "-]")),
}
BETWEEN, END, START = "·", "■", "¶"
# For terminals that have no such sign, GBK's for one.
_PLAIN = {"\u2423": "_", "\u23ce": "\\n", "\u240d": "\\r", "\u21e5": "\\t", BETWEEN: "|", END: "<END>", START: "<DOC>",
          "\u2026": "...", "\u2013": "-", "\u2212": "-", "\u00d7": "x", "\u00a0": " ", "\u3000": "  ",
          "\u2190": "<-"}  # fmt: skip


class Terminal:
    """Blocks as lines of text for a stream of this encoding (None: any sign goes)."""

    def __init__(self, has_colour: bool, encoding: str | None = None) -> None:
        self.has_colour = has_colour
        self._plain = {ord(a): b for a, b in _PLAIN.items() if not _can_write(a, encoding)}

    def lines(self, blocks: Iterable[Block]) -> Iterator[str]:
        """The blocks as text, one by one as they come."""
        for block in blocks:
            yield from (line.translate(self._plain) for line in self._lines(block))

    def _lines(self, block: Block) -> Iterator[str]:
        if isinstance(block, Heading):
            yield "\n" + self._styled(visible(block.text, spaces=False), {"bold": True, "underline": True})
        elif isinstance(block, Words):
            text = visible(block.text, spaces=False)
            yield self._styled("! " + text if block.is_alarm else text, {"fg": "red"} if block.is_alarm else {})
        elif isinstance(block, Text):
            yield self._label(block.label) + "".join(self._marked(span.kind, _readable(span)) for span in block.spans)
        elif isinstance(block, Tokens):
            yield self._label(block.label) + self._token_text(block.spans)
        elif isinstance(block, Facts):
            yield from self._titled(block.title, ([name, value] for name, value in block.rows))
        elif isinstance(block, Table):
            yield from self._titled(block.title, [list(block.columns), *block.rows])

    def _label(self, label: str) -> str:
        return self._styled(f"{visible(label, spaces=False)}: ", {"fg": "cyan"}) if label else ""

    def _styled(self, text: str, style: Mapping[str, Any]) -> str:
        return click.style(text, **style) if self.has_colour and style else text

    def _marked(self, kind: str, text: str) -> str:
        look = LOOKS[kind]
        if self.has_colour:
            return self._styled(text, look.style)
        return look.marks[0] + text + look.marks[1]

    def _token_text(self, spans: Sequence[Span]) -> str:
        parts = []
        for kind, together in groupby(spans, key=lambda span: span.kind):
            shown = [_shown_token(span) for span in together]
            if self.has_colour:
                parts.append(BETWEEN.join(self._styled(text, LOOKS[kind].style) for text in shown))
            else:
                parts.append(self._marked(kind, BETWEEN.join(shown)))
        return BETWEEN.join(parts).replace(f"\n{BETWEEN}", "\n")

    def _titled(self, title: str, rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
        if title:
            yield self._styled(title, {"bold": True})
        yield from aligned([["" if v is None else _cell(v) for v in row] for row in rows])


def _can_write(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _readable(span: Span) -> str:
    return visible_ends(span.text) if span.kind.endswith("-only") else visible(span.text, spaces=False)


def _shown_token(span: Span) -> str:
    text = visible(span.text).replace("\u23ce", "\u23ce\n")
    start, end = START if span.starts_document else "", END if span.is_end else ""
    return start + text + (f"({span.tokens})" if span.tokens > 1 else "") + end


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else visible(str(value), spaces=False).replace("\n", " ")


def width_of(text: str) -> int:
    """Columns that a text takes in a terminal: two for a wide character, none for a combining one."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows whose cells stand under each other; the last column as long as it is."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text + " " * (width - width_of(text)) for text, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


@dataclass
class Counted:
    """How many records were shown, by the block stream that counts them."""

    shown: int = field(default=0)


def write(lines: Iterable[str], has_colour: bool) -> None:
    """The lines to standard output; what its encoding cannot write is written as an escape.

    Raises BrokenPipeError where the reader has gone.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        click.echo(line, color=has_colour)
