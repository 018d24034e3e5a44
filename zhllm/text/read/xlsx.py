"""Excel workbooks (.xlsx) to rows: what a person sees, dates as dates; read as a stream, bombs refused."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from zhllm.text.document import UnreadableError
from zhllm.text.read.archives import open_zip, open_zipped
from zhllm.text.read.streams import MAX_WHOLE_BYTES, TooLargeError
from zhllm.text.read.tables import Row
from zhllm.text.read.xml import xml_events

MAX_STRINGS = 2_000_000
MAX_COLUMNS = 16_384  # Excel's own limit
# A row is held as a tree; a cell is two or three elements.
MAX_ROW_ELEMENTS = 8 * MAX_COLUMNS
_REFERENCE = re.compile(r"([A-Z]{1,3})\d+")
# Formats that Excel knows by number and shows as a date or time, those of Chinese Excel (27-36, 50-58) too.
_DATE_FORMATS = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
_LITERAL = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
_DATE_LETTER = re.compile(r"[ymdhs]", re.IGNORECASE)
_FIRST_DAY, _FIRST_DAY_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of a workbook and its rows, which are read as they are asked for."""

    name: str
    rows: Iterator[Row]


@dataclass(frozen=True, slots=True)
class _Book:
    """What the cells of every sheet refer to."""

    strings: list[str]
    date_styles: frozenset[int]
    first_day: datetime


class _Parts:
    """The files inside a workbook, by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = {info.filename.lower(): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._infos

    def events(self, name: str) -> Iterator[tuple[str, etree._Element]]:
        """The begin and end of every element of a part; none where there is no such part."""
        if name in self:
            with open_zipped(self._archive, self._infos[name.lower()]) as file:
                yield from xml_events(file, ("start", "end"))


def read_sheets(file: Path | BinaryIO) -> Iterator[Sheet]:
    """The sheets of a workbook in order; raises UnreadableError that says what is wrong with it."""
    try:
        archive = open_zip(file)
    except UnreadableError as error:
        raise UnreadableError("is not an .xlsx file (an old .xls, or protected?); save it as .xlsx") from error
    with archive:
        parts = _Parts(archive)
        if "xl/workbook.xml" not in parts:
            raise UnreadableError("is a zip file without xl/workbook.xml, not an Excel workbook")
        targets = _targets(parts)
        names, is_1904 = _sheet_names(parts)
        first_day = _FIRST_DAY_1904 if is_1904 else _FIRST_DAY
        book = _Book(_shared_strings(parts), _date_styles(parts), first_day)
        for name, relation in names:
            target = targets.get(relation, "")
            if "worksheet" in target:  # a chart sheet has no cells
                yield Sheet(name, _rows(parts.events(target), book))


def _local(element: etree._Element) -> str:
    """The name without its namespace: the strict form of the format has others."""
    return _without_namespace(element.tag)


@lru_cache(maxsize=1000)
def _without_namespace(tag: str) -> str:
    return str(tag).rpartition("}")[2]


def _attribute(element: etree._Element, name: str) -> str:
    return next((str(v) for k, v in element.attrib.items() if str(k).rpartition("}")[2] == name), "")


def _targets(parts: _Parts) -> dict[str, str]:
    """The parts of the workbook by the id they are referred to with."""
    found = {}
    for event, element in parts.events("xl/_rels/workbook.xml.rels"):
        if event == "end" and _local(element) == "Relationship":
            target = _attribute(element, "Target")
            found[_attribute(element, "Id")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    return found


def _sheet_names(parts: _Parts) -> tuple[list[tuple[str, str]], bool]:
    names, is_1904 = [], False
    for event, element in parts.events("xl/workbook.xml"):
        if event == "end" and _local(element) == "sheet":
            relation = next((str(v) for k, v in element.attrib.items() if str(k).endswith("}id")), "")
            names.append((_attribute(element, "name"), relation))
        elif event == "end" and _local(element) == "workbookPr":
            is_1904 = _attribute(element, "date1904") in ("1", "true")
    return names, is_1904


def _shared_strings(parts: _Parts) -> list[str]:
    strings: list[str] = []
    chars = 0
    for element in _each(parts.events("xl/sharedStrings.xml"), "si"):
        strings.append(_text_in(element))
        chars += len(strings[-1])
        if chars > MAX_WHOLE_BYTES or len(strings) > MAX_STRINGS:
            raise TooLargeError(f"holds more than {MAX_STRINGS:,} texts or {MAX_WHOLE_BYTES:,} characters; split it")
    return strings


def _each(events: Iterator[tuple[str, etree._Element]], name: str) -> Iterator[etree._Element]:
    """The elements of a name, each dropped after its use; raises TooLargeError for one without end."""
    elements = 0
    for event, element in events:
        elements += event == "start"
        if elements > MAX_ROW_ELEMENTS:
            raise TooLargeError(f"holds a row or text of over {MAX_ROW_ELEMENTS:,} elements")
        if event == "end" and _local(element) == name:
            yield element
            parent = element.getparent()
            element.clear()
            while parent is not None and len(parent) > 1:
                del parent[0]
            elements = 0


def _text_in(element: etree._Element) -> str:
    """The text of a cell, its runs joined; phonetic guides are no part of it."""
    if len(element) == 1 and _local(element[0]) == "t":  # nearly all are
        return element[0].text or ""
    pieces = []
    for node in element.iter():
        if _local(node) == "t" and all(_local(above) != "rPh" for above in node.iterancestors()):
            pieces.append(node.text or "")
    return "".join(pieces)


def _date_styles(parts: _Parts) -> frozenset[int]:
    """The cell styles that show a number as a date or time."""
    dates, styles, in_cells = set(_DATE_FORMATS), [], False
    for event, element in parts.events("xl/styles.xml"):
        local = _local(element)
        if local == "cellXfs":
            in_cells = event == "start"
        elif event == "end" and local == "numFmt":
            code = _LITERAL.sub("", _attribute(element, "formatCode"))
            if _DATE_LETTER.search(code) and "general" not in code.lower():
                dates.add(int(_attribute(element, "numFmtId") or -1))
        elif event == "end" and local == "xf" and in_cells:
            styles.append(int(_attribute(element, "numFmtId") or 0))
    return frozenset(i for i, number in enumerate(styles) if number in dates)


def _rows(events: Iterator[tuple[str, etree._Element]], book: _Book) -> Iterator[Row]:
    number = 0
    for element in _each(events, "row"):
        written = element.get("r", "")
        number = int(written) if written.isdecimal() and len(written) < 9 else number + 1
        cells: list[str] = []
        for cell in element:
            if _local(cell) == "c":
                column = _column(cell.get("r", "")) or len(cells) + 1
                if not len(cells) < column <= MAX_COLUMNS:
                    raise UnreadableError(f"row {number} has a cell at an impossible place ({cell.get('r')})")
                cells.extend([""] * (column - len(cells) - 1))
                cells.append(_value(cell, book))
        yield Row(number, cells)


def _column(reference: str) -> int:
    match = _REFERENCE.fullmatch(reference)
    number = 0
    for letter in match[1] if match else "":
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _value(cell: etree._Element, book: _Book) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _text_in(cell)
    value = next((node.text or "" for node in cell if _local(node) == "v"), "")
    if kind == "s":
        place = int(value) if value.isdecimal() and len(value) < 9 else -1
        return book.strings[place] if 0 <= place < len(book.strings) else ""
    if kind == "b":
        return "TRUE" if value == "1" else "FALSE"
    if kind != "n" or not value:
        return value
    style = cell.get("s", "0")
    return _number(value, style.isdecimal() and int(style) in book.date_styles, book.first_day)


def _number(value: str, is_date: bool, first_day: datetime) -> str:
    """A number as Excel shows it: 15 digits; a date in ISO form without a time of midnight."""
    try:
        number = float(value)
        if not is_date:
            return f"{number:.15g}"
        moment = first_day + timedelta(seconds=round(number * 86_400))
    except (ValueError, OverflowError):
        return value
    if number < 1:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%Y-%m-%d}" if moment.time() == datetime.min.time() else f"{moment:%Y-%m-%d %H:%M:%S}"
