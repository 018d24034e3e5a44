"""Word files (.docx) to text: paragraphs as lines, table rows as lines of cells.

Page headers and footers, deleted text and comments are not part of the text. Entities are never
expanded and the size is capped, so a hostile file costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from zhllm.text.document import Marks, Parsed, UnreadableError, meta_of
from zhllm.text.read.archives import open_zip, open_zipped
from zhllm.text.read.html import CELL_SEPARATOR
from zhllm.text.read.streams import MAX_WHOLE_BYTES, TooLargeError
from zhllm.text.read.xml import xml_events

# One paragraph or table is held as a tree, about 250 bytes an element.
MAX_BLOCK_ELEMENTS = 1_000_000
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# Deleted and moved text, the second copy of a text box, and properties (whose tabs are tab stops).
_LEFT_OUT = frozenset((f"{_W}del", f"{_W}moveFrom", f"{_MC}Fallback", f"{_W}pPr"))
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_BODY_DEPTH = 2  # w:document, w:body, then the blocks
_TITLE = 0


class DocxError(UnreadableError):
    """A file that is not a Word document zhllm can read."""


def read_docx(file: Path | BinaryIO) -> Parsed:
    """The text of a .docx file, its title and headings; raises UnreadableError that says what is wrong."""
    try:
        archive = open_zip(file)
    except UnreadableError as error:
        raise DocxError("is not a .docx file (an old .doc, or protected?); save it as .docx") from error
    with archive:
        names = {info.filename: info for info in archive.infolist()}
        if "word/document.xml" not in names:
            raise DocxError("is a zip file without word/document.xml, not a Word document")
        levels: dict[str, int] = {}
        if "word/styles.xml" in names:
            with open_zipped(archive, names["word/styles.xml"]) as styles:
                levels = _style_levels(styles)
        with open_zipped(archive, names["word/document.xml"]) as document:
            return _assemble(_blocks(document), levels)


def _assemble(blocks: Iterator[etree._Element], levels: dict[str, int]) -> Parsed:
    lines: list[str] = []
    headings, title, offset = Marks(), "", 0
    for block in blocks:
        for line, level in _lines(block, levels):
            if level is not None and line.strip():
                title = title or (line.strip() if level == _TITLE else "")
                headings.add(max(level, 1), offset)
            if lines or line:  # blank lines before the text would move every offset
                lines.append(line)
                offset += len(line) + 1
        if offset > MAX_WHOLE_BYTES:
            raise TooLargeError(f"its text is longer than {MAX_WHOLE_BYTES:,} characters; split it")
    return Parsed("\n".join(lines).rstrip("\n"), meta_of(headings, title=title))


def _blocks(file: BinaryIO) -> Iterator[etree._Element]:
    """The paragraphs and tables of a document one after another; each is dropped after its use."""
    depth = elements = 0
    has_body = False
    for event, element in xml_events(file, ("start", "end")):
        depth += 1 if event == "start" else -1
        elements += 1
        has_body = has_body or element.tag == f"{_W}body"
        if elements > 2 * MAX_BLOCK_ELEMENTS:
            raise TooLargeError(f"holds a table or section of over {MAX_BLOCK_ELEMENTS:,} elements; split it")
        if event == "end" and depth == _BODY_DEPTH:
            yield element
            parent = element.getparent()
            element.clear()
            while parent is not None and len(parent) > 1:
                del parent[0]
            elements = 0
    if not has_body:
        raise DocxError("holds no document body")


def _style_levels(file: BinaryIO) -> dict[str, int]:
    """The heading level of every paragraph style that is one; that of the title is 0."""
    levels: dict[str, int] = {}
    for event, style in xml_events(file, ("end",)):
        if event == "end" and style.tag == f"{_W}style":
            name = style.find(f"{_W}name")
            outline = style.find(f"{_W}pPr/{_W}outlineLvl")
            word = (name.get(f"{_W}val", "") if name is not None else "").lower()
            if word == "title":
                levels[style.get(f"{_W}styleId", "")] = _TITLE
            elif word.startswith("heading ") and word[8:].isdecimal():
                levels[style.get(f"{_W}styleId", "")] = int(word[8:])
            elif outline is not None and outline.get(f"{_W}val", "9") in "012345678":
                levels[style.get(f"{_W}styleId", "")] = int(outline.get(f"{_W}val")) + 1
            style.clear()
    return levels


def _level(paragraph: etree._Element, levels: dict[str, int]) -> int | None:
    """The heading level of a paragraph, by its own outline level or by its style."""
    outline = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
    if outline is not None and outline.get(f"{_W}val", "9") in "012345678":
        return int(outline.get(f"{_W}val")) + 1
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return None if style is None else levels.get(style.get(f"{_W}val", ""))


def _lines(block: etree._Element, levels: dict[str, int]) -> Iterator[tuple[str, int | None]]:
    """The lines of a paragraph, a table or what holds some, and the level of those that are headings."""
    if block.tag == f"{_W}p":
        yield _paragraph(block), _level(block, levels)
    elif block.tag == f"{_W}tbl":
        for row in _rows(block):
            yield row, None
    elif block.tag not in _LEFT_OUT:
        for element in block:
            yield from _lines(element, levels)


def _cell(cell: etree._Element) -> str:
    return " ".join(" ".join(line for child in cell for line, _ in _lines(child, {})).split())


def _rows(table: etree._Element) -> Iterator[str]:
    # Rows and cells may be wrapped (content controls); those of a nested table belong to that table.
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl")) is table:
            cells = [c for c in row.iter(f"{_W}tc") if next(c.iterancestors(f"{_W}tr")) is row]
            yield CELL_SEPARATOR.join(map(_cell, cells))


def _paragraph(element: etree._Element) -> str:
    pieces: list[str] = []
    walk = etree.iterwalk(element, events=("start",))
    for _, node in walk:
        if node.tag in _LEFT_OUT:
            walk.skip_subtree()
        elif node.tag == f"{_W}t":
            pieces.append(node.text or "")
        elif node.tag == f"{_W}p" and node is not element:
            pieces.append("\n")  # a text box inside the paragraph
        else:
            pieces.append(_BREAKS.get(node.tag, ""))
    return "".join(pieces).strip("\n")
