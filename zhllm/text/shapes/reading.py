"""Files to units: the smallest pieces that can be converted by themselves, as a stream."""

from __future__ import annotations

from collections.abc import Iterator

from zhllm.text.document import Rejected
from zhllm.text.read.records import Record, is_json_lines, read_records
from zhllm.text.read.sources import SourceFile
from zhllm.text.shapes.recognise import recognise
from zhllm.text.shapes.record import FieldError, Format, Options, Unit


def is_line_by_line(file: SourceFile, format: Format) -> bool:
    """Whether each line of a file stands for itself, so that the file can be cut at line ends.

    Its lines then give, by `parse_line` and `units_of`, what `read_units` gives.
    """
    return is_json_lines(file.open)


def read_units(file: SourceFile, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    """Every unit of a file in order, and every part that is none, with its line and field."""
    for record in read_records(file.open, file.name):
        if isinstance(record, Rejected):
            yield record
        else:
            yield from units_or_rejected(record, file.name, format, options)


def units_or_rejected(record: Record, name: str, format: Format, options: Options) -> Iterator[Unit | Rejected]:
    """The units of a record, or that it has no known shape."""
    try:
        yield from units_of(record, format, options)
    except FieldError as error:
        yield Rejected(name, "record", error.reason, record.offset, record.line, field=error.field)


def units_of(record: Record, format: Format, options: Options) -> list[Unit]:
    """The units of one record, as a rule one; raises FieldError where its shape is not known."""
    return [Unit(record.line, record.value, recognise(record.value) if format == "auto" else format)]
