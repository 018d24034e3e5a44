"""Write a minimal but proper Word document, byte for byte the same every time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from corpora.make.blocks import Block, Heading, Items, Para, Table

STAMP = (2024, 1, 1, 0, 0, 0)
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"

CONTENT_TYPES = (
    f'{HEAD}<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{WORD}.document.main+xml"/>'
    f'<Override PartName="/word/styles.xml" ContentType="{WORD}.styles+xml"/>'
    f'<Override PartName="/word/header1.xml" ContentType="{WORD}.header+xml"/>'
    f'<Override PartName="/word/footer1.xml" ContentType="{WORD}.footer+xml"/>'
    '<Override PartName="/docProps/core.xml"'
    ' ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>'
    "</Types>"
)
ROOT_RELS = (
    f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="word/document.xml"/>'
    f'<Relationship Id="rId2" Type="{PACKAGE}/relationships/metadata/core-properties"'
    ' Target="docProps/core.xml"/></Relationships>'
)
DOCUMENT_RELS = (
    f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{OFFICE}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId2" Type="{OFFICE}/header" Target="header1.xml"/>'
    f'<Relationship Id="rId3" Type="{OFFICE}/footer" Target="footer1.xml"/></Relationships>'
)


def _style(kind: str, name: str, shown: str, size: int) -> str:
    outline = f'<w:pPr><w:outlineLvl w:val="{kind}"/></w:pPr>' if kind else ""
    return (
        f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="{shown}"/>{outline}'
        f'<w:rPr><w:sz w:val="{size}"/></w:rPr></w:style>'
    )


STYLES = (
    f"{HEAD}<w:styles {W}>"
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/>'
    '<w:rPr><w:rFonts w:eastAsia="SimSun"/><w:sz w:val="21"/></w:rPr></w:style>'
    + _style("0", "Heading1", "heading 1", 32)
    + _style("1", "Heading2", "heading 2", 28)
    + _style("2", "Heading3", "heading 3", 24)
    + _style("", "ListParagraph", "List Paragraph", 21)
    + "</w:styles>"
)


def _runs(text: str) -> str:
    """One run, or two: Word often splits a sentence, and readers must cope."""
    cut = len(text) // 2 if len(text) > 40 else len(text)
    pieces = [piece for piece in (text[:cut], text[cut:]) if piece]
    return "".join(f'<w:r><w:t xml:space="preserve">{escape(piece)}</w:t></w:r>' for piece in pieces)


def _paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}{_runs(text)}</w:p>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    width = 9000 // len(rows[0])
    grid = f'<w:gridCol w:w="{width}"/>' * len(rows[0])
    body = "".join("<w:tr>" + "".join(_cell(cell, width) for cell in row) + "</w:tr>" for row in rows)
    layout = '<w:tblPr><w:tblW w:w="9000" w:type="dxa"/></w:tblPr>'
    return f"<w:tbl>{layout}<w:tblGrid>{grid}</w:tblGrid>{body}</w:tbl>"


def _cell(text: str, width: int) -> str:
    return f'<w:tc><w:tcPr><w:tcW w:w="{width}" w:type="dxa"/></w:tcPr>{_paragraph(text)}</w:tc>'


def _body(blocks: Iterable[Block]) -> str:
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(_paragraph(text, f"Heading{level}"))
            case Para(text):
                parts.append(_paragraph(text))
            case Items(items, numbered):
                marks = (f"{n}．" if numbered else "• " for n in range(1, len(items) + 1))
                pairs = zip(marks, items, strict=True)
                parts += [_paragraph(mark + item, "ListParagraph") for mark, item in pairs]
            case Table(rows):
                parts.append(_table(rows) + "<w:p/>")
    return "".join(parts)


def _footer(text: str) -> str:
    field = '<w:fldSimple w:instr=" PAGE "><w:r><w:t>1</w:t></w:r></w:fldSimple>'
    return f"{HEAD}<w:ftr {W}><w:p>{_runs(text)}{field}</w:p></w:ftr>"


def _core(title: str) -> str:
    stamp = "2024-01-01T00:00:00Z"
    return (
        f'{HEAD}<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:dcterms="http://purl.org/dc/terms/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{escape(title)}</dc:title><dc:creator>zhllm</dc:creator>"
        f'<dcterms:created xsi:type="dcterms:W3CDTF">{stamp}</dcterms:created>'
        "</cp:coreProperties>"
    )


def docx_bytes(title: str, blocks: Iterable[Block], header: str, footer: str) -> bytes:
    """A Word document with a running header and footer."""
    section = (
        '<w:sectPr><w:headerReference w:type="default" r:id="rId2"/>'
        '<w:footerReference w:type="default" r:id="rId3"/>'
        '<w:pgSz w:w="11906" w:h="16838"/>'
        '<w:pgMar w:top="1440" w:right="1440" w:bottom="1440" w:left="1440"'
        ' w:header="720" w:footer="720" w:gutter="0"/></w:sectPr>'
    )
    parts = (
        ("[Content_Types].xml", CONTENT_TYPES),
        ("_rels/.rels", ROOT_RELS),
        ("docProps/core.xml", _core(title)),
        ("word/_rels/document.xml.rels", DOCUMENT_RELS),
        (
            "word/document.xml",
            f"{HEAD}<w:document {W} {R}><w:body>{_body(blocks)}{section}</w:body></w:document>",
        ),
        ("word/footer1.xml", _footer(footer)),
        ("word/header1.xml", f"{HEAD}<w:hdr {W}>{_paragraph(header)}</w:hdr>"),
        ("word/styles.xml", STYLES),
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # Stored, not deflated: another zlib would deflate to other bytes.
        for name, text in parts:
            info = zipfile.ZipInfo(name, date_time=STAMP)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, text.encode("utf-8"))
    return buffer.getvalue()
