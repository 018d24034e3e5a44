"""JSON values that stand in a list or one after another, read as a stream of any length.

json's own decoder and not orjson: only it says where each value ends, so each gets its place.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import orjson

from zhllm.text.document import Rejected, sample_of
from zhllm.text.read.decode import DecodeError, decode

_CHUNK_BYTES = 1 << 20
# An error this near to the end of what was read may be a value that goes on.
_NEAR_CHARS = 64
_SPACE = re.compile(r"[ \t\r\n,\ufeff]*")
_BETWEEN = re.compile(r"[ \t\r\n,\[\]\ufeff]*")
# A value of so many characters is a broken file or a bomb; a book has 1 million.
MAX_VALUE_CHARS = 10_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object, the line (from 1) it begins on, and the byte it begins at once decompressed.

    `at` is its place in a list that has several on a line: "[2]." of the third.
    """

    line: int
    value: dict[str, Any]
    offset: int | None = None
    at: str = ""


_KINDS = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
    type(None): "null",
}


def kind_of_value(value: Any) -> str:
    """What JSON calls a value of this kind; of any other what Python does."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def read_values(file: BinaryIO, name: str, encoding: str) -> Iterator[Record | Rejected]:
    """Every object in a list, or of those that stand one after another with or without commas.

    A broken one is rejected; where the values begin on lines of their own, reading goes on at the next
    line that begins as the first value's did.
    """
    window = _Window(file, encoding)
    begin: re.Pattern[str] | None = None
    number = 0
    while window.skip_between():
        for empty in window.taken_empty():
            yield _empty(name, empty, number)
            number += 1
        begin = begin or window.line_begin()
        record, goes_on = _next_record(window, name, begin, window.place_in_line(number))
        yield record
        number += 1
        if not goes_on:
            return
    for empty in window.taken_empty():
        yield _empty(name, empty, number)
        number += 1
    if window.depth > 0:
        yield _cut_off(window, name)


def read_members(file: BinaryIO, name: str, encoding: str, keys: Sequence[str]) -> Iterator[Record | Rejected]:
    """Every object in the list that an object holds under one of `keys`, however long the list is.

    What else the object holds is passed over, value by value; objects may follow one another.
    """
    window = _Window(file, encoding)
    while window.next_char():
        try:
            key = window.enter_list(keys)
        except (ValueError, RecursionError) as error:
            reason = f"is not JSON: {getattr(error, 'msg', error)}"
            yield Rejected(name, "file", reason, window.offset, window.line, window.sample())
            return
        number = 0
        while key and window.next_char() not in ("]", ""):
            record, goes_on = _next_record(window, name, None, window.place_in_line(number, key))
            yield record
            number += 1
            if not goes_on:
                return
        if key and not window.take("]"):
            yield _cut_off(window, name)
            return


def _empty(name: str, empty: _Empty, number: int) -> Rejected:
    at = f"[{number}]" if empty.is_in_line else ""
    return Rejected(name, "record", "is an empty list, not an object", empty.offset, empty.line, "[]", at)


def _next_record(
    window: _Window, name: str, begin: re.Pattern[str] | None, at: str = ""
) -> tuple[Record | Rejected, bool]:
    """The value that stands here, and whether reading can go on after it."""
    offset, line = window.offset, window.line
    try:
        value, written = window.take_value()
    except (ValueError, RecursionError) as error:
        reason, sample = f"is not JSON: {getattr(error, 'msg', error)}", window.sample()
        found = begin is not None and window.skip_to(begin)
        return Rejected(name, "record" if found else "file", reason, offset, line, sample, at.rstrip(".")), found
    return _checked(value, written, name, offset, line, at), True


def _is_in_line(lead: str) -> bool:
    """Whether more than commas and brackets that open stand on the line before a value, after what ends in `lead`."""
    line = lead.rpartition("\n")
    return not line[1] or "]" in line[2]


def _cut_off(window: _Window, name: str) -> Rejected:
    return Rejected(name, "file", "the JSON list has no end: the file is cut off", window.offset, window.line)


def _checked(value: Any, written: str, name: str, offset: int, line: int, at: str) -> Record | Rejected:
    """The record; one with bytes of another encoding in it is decoded by itself."""
    try:
        written.encode()
    except UnicodeEncodeError:
        data = written.encode("utf-8", "surrogateescape") if "\udc80" <= max(written) <= "\udcff" else b"\xff"
        try:
            value = orjson.loads(decode(data)[0])
        except (DecodeError, orjson.JSONDecodeError) as error:
            return Rejected(name, "record", str(error), offset, line, sample_of(written), at.rstrip("."))
    return record_of(value, name, offset, line, written, at)


def record_of(value: Any, name: str, offset: int, line: int, written: bytes | str, at: str = "") -> Record | Rejected:
    """A JSON value as a record, or why it is none; `written` is how it stands in the file."""
    if isinstance(value, dict):
        return Record(line, value, offset, at)
    reason = f"is a JSON {kind_of_value(value)}, not an object"
    return Rejected(name, "record", reason, offset, line, sample_of(written), at.rstrip("."))


class _Empty(NamedTuple):
    """Where a list stands that holds nothing, and whether its line begins with something else."""

    offset: int
    line: int
    is_in_line: bool


class _Window:
    """The part of a file that is being read, as text, and where it stands in bytes and lines."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        self._errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        self._text, self._at_end = "", False
        self._position = 0
        self._lead, self._is_first = "", True
        self.offset, self.line, self.depth = 0, 1, 0
        self._opened: _Empty | None = None
        self._empty: list[_Empty] = []

    def skip_between(self) -> bool:
        """Pass over space, commas and brackets of lists; False at the end of the file."""
        while True:
            match = _BETWEEN.match(self._text, self._position)
            end = match.end() if match else self._position
            between = self._text[self._position : end]
            self._pass_brackets(between)
            self._lead = (self._lead + between)[-200:]
            self._advance(end)
            if end < len(self._text):
                self._opened = None
                return True
            if not self._fill():
                return False

    def _pass_brackets(self, between: str) -> None:
        """Go into and out of lists, and note those in a list that hold nothing."""
        for bracket in re.finditer(r"[\[\]]", between):
            if bracket.group() == "[":
                passed = between[: bracket.start()]
                offset = self.offset + len(passed.encode(self._encoding, self._errors))
                place = _Empty(offset, self.line + passed.count("\n"), _is_in_line(self._lead + passed))
                self._opened = place if self.depth > 0 else None
                self.depth += 1
            else:
                self._empty += [self._opened] if self._opened else []
                self._opened = None
                self.depth -= 1

    def taken_empty(self) -> list[_Empty]:
        """The empty lists that were passed over since this was asked last."""
        found, self._empty = self._empty, []
        return found

    def place_in_line(self, number: int, key: str = "") -> str:
        """The path of a value that does not begin a line of its list, by its number there; "" of any other."""
        return f"{key}[{number}]." if (key or self.depth > 0) and _is_in_line(self._lead) else ""

    def next_char(self) -> str:
        """The next character that is neither space nor a comma, passing over these; "" at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._position)
            end = match.end() if match else self._position
            self._lead = (self._lead + self._text[self._position : end])[-200:]
            self._advance(end)
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._fill():
                return ""

    def take(self, char: str) -> bool:
        """Pass over a character, if it is the next one."""
        found = self.next_char() == char
        if found:
            self._advance(self._position + 1)
        return found

    def enter_list(self, keys: Sequence[str]) -> str | None:
        """Go on in an object, or into a new one, as far as into the list under one of `keys`; that key.

        None where the object ended before; raises ValueError where it is none.
        """
        self.take("{")
        while not self.take("}"):
            key, _ = self.take_value()
            if not isinstance(key, str) or not self.take(":"):
                raise ValueError("no key of an object")
            if key in keys and self.take("["):
                return key
            self.next_char()
            self.take_value()
        return None

    def line_begin(self) -> re.Pattern[str] | None:
        """A pattern for lines that begin as this value's does, if it stands at the begin of a line."""
        space, brace = self._lead.rpartition("\n")[2].lstrip("\ufeff"), self._text[self._position]
        if brace != "{" or space.strip() or not (self._is_first or "\n" in self._lead):
            return None
        return re.compile(rf"\n{re.escape(space)}(?=\{{)")

    def take_value(self) -> tuple[Any, str]:
        """The value that begins here and how it is written; raises ValueError where there is none."""
        self._lead, self._is_first = "", False
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                near = error.pos >= len(self._text) - _NEAR_CHARS or error.msg.startswith("Unterminated")
                if near and self._fill():
                    continue
                raise
            if end < len(self._text) or not self._fill():
                written = self._text[self._position : end]
                self._advance(end)
                return value, written

    def sample(self) -> str:
        """How what stands here begins."""
        return sample_of(self._text[self._position : self._position + 200])

    def skip_to(self, begin: re.Pattern[str]) -> bool:
        """Go to the next line that begins so; False, and nowhere, where there is none."""
        while True:
            match = begin.search(self._text, self._position)
            if match:
                self._advance(match.end())
                return True
            self._advance(max(self._position, len(self._text) - 1000))
            if not self._fill():
                return False

    def _advance(self, end: int) -> None:
        passed = self._text[self._position : end]
        self.offset += len(passed.encode(self._encoding, self._errors))
        self.line += passed.count("\n")
        self._position = end

    def _fill(self) -> bool:
        """Read on; False at the end of the file, and where one value is too large to be sound."""
        held = len(self._text) - self._position
        if self._at_end:
            return False
        if held > MAX_VALUE_CHARS:
            raise ValueError(f"no end within {held:,} characters")
        data = self._file.read(max(_CHUNK_BYTES, held))  # doubled, so that a long value is tried few times
        self._at_end = not data
        self._text = self._text[self._position :] + self._decoder.decode(data, final=not data)
        self._position = 0
        return True
