"""What `show` shows as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zhllm.chart import Axis, Series, line_chart
from zhllm.errors import ConfigError
from zhllm.page import (
    Html,
    Page,
    Token,
    escape,
    excerpt,
    heading,
    join,
    paragraph,
    table,
    tokens,
    visible,
    visible_ends,
)
from zhllm.tools._show_view import Block, Cell, Curve, Facts, Heading, Span, Table, Text, Tokens, Words

_TAGS = {"chosen-only": "ins", "rejected-only": "del"}
_SHORT = 60  # characters


def write_page(blocks: Iterable[Block], title: str, target: Path) -> None:
    """Write the blocks as a page; ConfigError where the file cannot be written."""
    page = Page(title, "Shown by zhllm show.")
    section = ""
    parts: list[Html] = []
    for block in blocks:
        if isinstance(block, Heading):
            _close(page, section, parts)
            section, parts = block.text, []
        else:
            parts.append(_html(block))
    _close(page, section, parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.html(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html {target}: cannot be written ({error.strerror}).") from error


def _close(page: Page, section: str, parts: list[Html]) -> None:
    if section or parts:
        page.section(section or "Content", *parts)


def _html(block: Block) -> Html:
    if isinstance(block, Words):
        if not block.text:
            return Html("<hr>\n")
        return Html(f'<p class="alarm">{escape("⚠ " + block.text)}</p>\n') if block.is_alarm else paragraph(block.text)
    if isinstance(block, Text):
        if _is_short(block):
            return paragraph(Html(f"<strong>{escape(block.label)}</strong> "), *map(_span, block.spans))
        return join([heading(block.label), excerpt(join(map(_span, block.spans)))])
    if isinstance(block, Tokens):
        return join([heading(block.label) if block.label else Html(""), tokens(map(_token, block.spans))])
    if isinstance(block, Facts):
        return table(["", ""], map(_fact, block.rows), block.title) if block.rows else Html("")
    if isinstance(block, Table):
        return table(block.columns, block.rows, block.title)
    if isinstance(block, Curve):
        return line_chart([Series(block.title, block.points)], Axis(block.x), Axis(block.title), block.title)
    raise TypeError(f"{type(block).__name__} has no place in a page")


def _fact(row: tuple[str, Cell]) -> tuple[str, Cell]:
    """Settings as they were written: 0.003, not 0.003000."""
    return (row[0], f"{row[1]:,.4g}") if isinstance(row[1], float) else row


def _is_short(block: Text) -> bool:
    """Whether a text stands on one line beside its label: an id, a source, a number."""
    return (
        all(not s.kind and "\n" not in s.text for s in block.spans) and sum(len(s.text) for s in block.spans) <= _SHORT
    )


def _span(span: Span) -> Html:
    tag = _TAGS.get(span.kind)
    if tag is None:
        return escape(visible(span.text, spaces=False))
    return Html(f"<{tag}>{escape(visible_ends(span.text))}</{tag}>")


def _token(span: Span) -> Token:
    kinds = [span.kind] * bool(span.kind) + ["end"] * span.is_end + ["start"] * span.starts_document
    about = f"{span.hint}; {span.kind}" if span.hint and span.kind else span.hint or span.kind
    text = span.text + (f"({span.tokens})" if span.tokens > 1 else "")
    return Token(text, about, " ".join(kinds))
