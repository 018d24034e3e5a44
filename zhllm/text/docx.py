"""Word files (.docx) to text: paragraphs as lines, table rows as lines of cells.

Page headers and footers, deleted text and comments are not part of the text. Entities are never
expanded and the size is capped, so a hostile file costs nothing.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from zhllm.text.html import CELL_SEPARATOR

MAX_XML_BYTES = 256_000_000
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# Deleted and moved text, the second copy of a text box, and properties (whose tabs are tab stops).
_LEFT_OUT = frozenset((f"{_W}del", f"{_W}moveFrom", f"{_MC}Fallback", f"{_W}pPr"))
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}


class DocxError(ValueError):
    """A file that is not a Word document zhllm can read."""


def docx_to_text(path: Path) -> str:
    """The text of a .docx file; raises DocxError that says what is wrong with it."""
    root = _parse(_read_body(path))
    body = root.find(f"{_W}body")
    if body is None:
        raise DocxError("holds no document body")
    return "\n".join(_lines(body)).strip("\n")


def _read_body(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("word/document.xml") as file:
            data = file.read(MAX_XML_BYTES + 1)
    except zipfile.BadZipFile as error:
        raise DocxError("is not a .docx file (an old .doc, or protected?); save it as .docx") from error
    except KeyError as error:
        raise DocxError("is a zip file without word/document.xml, not a Word document") from error
    except (RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise DocxError(f"cannot be unpacked ({error})") from error
    if len(data) > MAX_XML_BYTES:
        raise DocxError(f"its text is larger than {MAX_XML_BYTES:,} bytes")
    return data


def _parse(data: bytes) -> etree._Element:
    # Word never writes a DTD. One is either an entity bomb or a reference to some other file.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DocxError(f"its XML is damaged ({error})") from error
    if root.getroottree().docinfo.doctype:
        raise DocxError("declares a DTD, which no Word file does; it may be an attack")
    return root


def _lines(parent: etree._Element) -> Iterator[str]:
    for element in parent:
        if element.tag == f"{_W}p":
            yield _paragraph(element)
        elif element.tag == f"{_W}tbl":
            yield from _rows(element)
        elif element.tag not in _LEFT_OUT:
            yield from _lines(element)


def _rows(table: etree._Element) -> Iterator[str]:
    # Rows and cells may be wrapped (content controls); those of a nested table belong to that table.
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl")) is table:
            cells = [c for c in row.iter(f"{_W}tc") if next(c.iterancestors(f"{_W}tr")) is row]
            yield CELL_SEPARATOR.join(" ".join(" ".join(_lines(cell)).split()) for cell in cells)


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
