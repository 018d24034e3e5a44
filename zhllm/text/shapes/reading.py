"""Files to units: the smallest pieces that can be converted by themselves, as a stream.

What a file holds decides how it is read, not its extension: a workbook, JSON lines, a list, one object
around a list (SQuAD's "data"), or else rows. Only flat OASST messages are held as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from zhllm.text.document import Rejected, UnreadableError
from zhllm.text.read.decode import encoding_of
from zhllm.text.read.json_values import read_members
from zhllm.text.read.records import Record, is_json_lines, read_records
from zhllm.text.read.sources import SourceFile, kind_of
from zhllm.text.read.streams import ZIP_MAGIC, read_head
from zhllm.text.shapes.flat_trees import gathered, is_flat
from zhllm.text.shapes.recognise import recognise
from zhllm.text.shapes.record import FieldError, Format, Options, Unit
from zhllm.text.shapes.squad import squad_units
from zhllm.text.shapes.tables import BOOK_KINDS, TABLE_KINDS, named_values, read_table, roles_of

Layout = Literal["records", "members", "flat", "rows", "book", "parquet"]

# One object that holds the records in a list: SQuAD's "data", LMFlow's "instances". Not a line whose "data" is
# a list of turns. Before the list stand plain values ("version").
MEMBERS = ("data", "instances")
PARQUET_MAGIC = b"PAR1"
_STRING = r'"(?:[^"\\]|\\.)*+"'
_AROUND = re.compile(
    rf'\s*\{{\s*(?:{_STRING}\s*:\s*(?:{_STRING}|[-+.\w]+|\{{[^{{}}]*\}})\s*,\s*)*+"(?:{"|".join(MEMBERS)})"\s*:\s*\['
    r'\s*(?:\]|\{(?!\s*"(?:from|role|value|content)"))'
)
_JSON = re.compile(r'\s*(?:\{\s*["}]|\{\s*$|\[\s*[\[{\]"]|\[\s*$)')


def is_line_by_line(file: SourceFile, format: Format) -> bool:
    """Whether each line of a file stands for itself, so that the file can be cut at line ends.

    Its lines then give, by `parse_line` and `units_or_rejected`, what `read_units` gives.
    """
    try:
        return _layout(file, format) == "records" and is_json_lines(file.open)
    except (OSError, UnreadableError):
        return False


def read_units(file: SourceFile, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    """Every unit of a file in order, and every part that is none, with its line and field."""
    try:
        layout = _layout(file, format)
        if layout in ("rows", "book"):
            yield from read_table(file, layout == "book", options)
        elif layout == "flat":
            yield from _gathered(file, format, options)
        else:
            for record in _records(file, layout):
                yield from _units(record, file.name, format, options)
    except OSError as error:
        yield Rejected(file.name, "file", f"cannot be read ({error.strerror or error})")
    except UnreadableError as error:
        yield Rejected(file.name, "file", str(error))


def _units(record: Record | Rejected, name: str, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    if isinstance(record, Rejected):
        yield record
    else:
        yield from units_or_rejected(record, name, format, options)


def units_or_rejected(record: Record, name: str, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    """The units of a record, or that it has no known shape."""
    try:
        yield from units_of(record, format, options)
    except FieldError as error:
        field = f"{record.at}{error.field}".rstrip(".")
        yield Rejected(name, "record", error.reason, record.offset, record.line, field=field)


def units_of(record: Record, format: Format, options: Options) -> list[Unit]:
    """The units of one record, as a rule one; raises FieldError where its shape is not known."""
    value = record.value
    if options.columns and format in ("auto", "qa", "table"):
        roles = roles_of(list(value), options)
        if roles:
            return [Unit(record.line, named_values(value, roles), "table", at=record.at)]
    shape = recognise(value) if format == "auto" else format
    if shape == "squad":
        return [replace(unit, at=record.at + unit.at) for unit in squad_units(value, record.line)]
    if shape == "oasst-messages" and is_flat(value):
        raise FieldError("", "is a message of a tree, but the file begins with other records; give these files apart")
    if shape == "table":
        shape = "qa"
    return [Unit(record.line, value, shape, at=record.at)]


def _layout(file: SourceFile, format: Format) -> Layout:
    """How a file is to be read, by its first bytes and, for rows, by its name."""
    with file.open() as opened:
        head = read_head(opened)
    kind = kind_of(file.name)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    if head.startswith(ZIP_MAGIC) or kind in BOOK_KINDS:
        return "book"
    encoding = encoding_of(head)
    text = head.decode(encoding, "ignore").lstrip("\ufeff")
    if _JSON.match(text) is None and (kind in TABLE_KINDS or format == "table" or _begins_with_header(text)):
        return "rows"
    if _AROUND.match(text):
        return "members"
    return "flat" if format in ("auto", "oasst-messages") and _begins_flat(file) else "records"


def _begins_with_header(text: str) -> bool:
    """Whether the first line names columns of questions and answers, as in a table that has lost its name."""
    cells = [cell.strip(' "') for cell in re.split(r"[,;\t]", text.lstrip().partition("\n")[0][:1000])]
    return bool(roles_of(cells, Options()))


def _begins_flat(file: SourceFile) -> bool:
    """Whether the first record is an OASST message without its replies."""
    for record in read_records(file.open, file.name):
        if isinstance(record, Record):
            return is_flat(record.value)
    return False


def _records(file: SourceFile, layout: Layout) -> Iterator[Record | Rejected]:
    if layout == "parquet":
        return _rows(file)
    return _members(file) if layout == "members" else read_records(file.open, file.name)


def _rows(file: SourceFile) -> Iterator[Record | Rejected]:
    """The rows of a parquet file, without the cells that hold nothing; the line is the row's number."""
    from zhllm.text.read.parquet import not_utf8, read_rows

    for found in read_rows(file.at_random(), file.name):
        if isinstance(found, Rejected):
            yield found
            continue
        row, number = found
        if isinstance(row, UnicodeDecodeError):
            yield not_utf8(row, file.name, number)
        else:
            yield Record(number, {column: cell for column, cell in row.items() if cell is not None})


def _members(file: SourceFile) -> Iterator[Record | Rejected]:
    with file.open() as opened:
        encoding = encoding_of(read_head(opened))
    with file.open() as opened:
        yield from read_members(opened, file.name, encoding, MEMBERS)


def _gathered(file: SourceFile, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    """The trees of flat messages; whatever else stands among them is a unit of its own."""
    others: list[Unit | Rejected] = []

    def messages() -> Iterator[Record]:
        for record in read_records(file.open, file.name):
            if isinstance(record, Record) and is_flat(record.value):
                yield record
            else:
                others.extend(_units(record, file.name, format, options))

    yield from gathered(messages(), file.name)
    yield from others
