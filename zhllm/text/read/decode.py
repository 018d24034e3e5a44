"""Bytes to text: UTF-8, UTF-16, GB18030 or Big5, where the reading is plausible Chinese; else refused.

GB18030, Big5 and UTF-16 give some character for almost any bytes, so "it decodes" proves nothing:
without the test of plausibility a Latin-1, Japanese or damaged file becomes Chinese-looking rubbish in
silence. A wrong guess is worse than a refusal: the readings compete, and a close race is refused.

A text of many lines with a few bad bytes, or cut off inside a character, is read line by line: where all
but a hundredth of the lines are UTF-8 or plausible GB18030, the bad lines are told and the others kept.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from zhllm.text.frequent import FREQUENT_HAN

# UTF-32's mark begins with UTF-16's, so it stands first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SHOWN = {"utf-8": "UTF-8", "gb18030": "GB18030"}
_WIDE = ("utf-16-le", "utf-16-be")
# cp950 is what Windows writes as Big5; big5hkscs adds the Cantonese characters of Hong Kong.
_LEGACY = (("gb18030",), ("cp950", "big5hkscs"))
# Japanese kana in EUC-JP are the bytes of the most frequent Big5 characters, so this reading competes too,
# judged by its kana; it is never the answer.
_RIVAL = "euc_jp"

# Measured on 2,500 excerpts of 60 to 400 characters: Chinese has a share of at least 0.30 (Traditional
# poetry; laws and manuals from 0.54), Big5 read as GB18030 at most 0.26 (99 % under 0.18), UTF-8 read
# as GBK at most 0.16, EUC-KR and EUC-JP about 0.11.
MIN_FREQUENT_SHARE = 0.28
# How far the best reading must lead the next. Measured with the three numbers here on excerpts of five
# Chinese corpora (and OpenCC's Traditional of them) in GB18030, Big5 and UTF-16 of both orders, 750 each:
# of 18,000 with 16 to 2,000 characters 98.6 % are read rightly, 1.3 % refused (half of these have under
# three Chinese characters), one is wrong; the rest are also valid UTF-8. All 3,300 excerpts of EUC-KR,
# Shift-JIS, EUC-JP, Windows-1251, KOI8-R and Latin-1 with 12 to 80 characters are refused.
MIN_LEAD = 0.15
# Characters that are added to those counted, as if they spoke against the reading: one is no proof.
DOUBT_CHARS = 3
MIN_CONTROLS = 100
_SAMPLE_CHARS = 100_000
# A text of fewer lines is read whole or not at all; of more, one bad line in so many is set aside, or a single one.
MIN_LINES = 20
LINES_PER_BAD = 100

# Full-width forms, circled numbers and box drawing say nothing about the language.
_TELLING = re.compile(r"[^\x00-\x7f\u2460-\u25ff\uff00-\uff5e]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffe\uffff]")

# UTF-8 that was read as Latin-1 or Windows-1252 and saved so: each Chinese character is an accented letter and two
# more, of which about half are controls (C1). No binary data: `clean` mends it.
_ACCENTED = re.compile(r"[\xc2-\xf4][^\x00-\x7f\xc0-\xff]{1,3}")


@cache
def _plausible() -> re.Pattern[str]:
    """What real Chinese is mostly made of; compiling it takes longer than most files, which are UTF-8, need."""
    return re.compile(f"[{FREQUENT_HAN}，。、；：？！“”‘’（）《》〈〉【】…—·「」『』]")


class DecodeError(ValueError):
    """Bytes that are no text zhllm reads; `offset` is the first byte that is not UTF-8."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.offset = offset


def decode(data: bytes) -> tuple[str, str]:
    """The text of some bytes, without its mark, and the name of its encoding; raises DecodeError."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_marked(data, mark, encoding), encoding
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _decode_unmarked(data, error)
    if "\0" in text and text.count("\0") * 100 > len(text):
        wide = _best_reading(data, (_WIDE[:1], _WIDE[1:]))
        if wide is None:
            raise DecodeError("holds binary data, not text", data.index(0))
        return data.decode(wide), wide
    sample = _sample(text)
    if _controls(sample) > max(MIN_CONTROLS, len(sample) // 10):
        raise DecodeError("holds binary data: more than a tenth are control characters", 0)
    return text, "utf-8"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not in its text's encoding; `offset` is its first bad byte's in the file, `number` from 1."""

    offset: int
    number: int
    reason: str
    text: str


def decode_lines(data: bytes) -> tuple[str, str, list[BadLine]] | None:
    """What `decode` gives for the good lines of a text, and its few bad ones; None where these are not few."""
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines < MIN_LINES:
        return None
    found = []
    for encoding in ("utf-8",) if start else ("utf-8", "gb18030"):
        bad = _bad_lines(data, start, encoding, max(1, lines // LINES_PER_BAD))
        if bad:
            found.append((encoding, bad))
    for encoding, bad in sorted(found, key=lambda reading: len(reading[1])):
        gone = {line.number for line in bad}
        good = b"".join(line for number, line in _lines(data, start) if number not in gone)
        try:
            text, name = decode(good)
        except DecodeError:
            continue
        if name == encoding:
            return text, name, bad
    return None


def _lines(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The lines with their ends, numbered from 1; the mark at the start is left out."""
    opened = io.BytesIO(data)
    opened.seek(start)
    return enumerate(opened, 1)


def _bad_lines(data: bytes, start: int, encoding: str, most: int) -> list[BadLine]:
    """The lines that are not in an encoding; none where they are more than allowed."""
    bad: list[BadLine] = []
    at = start
    for number, line in _lines(data, start):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            if len(bad) == most:
                return []
            byte = f"byte {at + error.start}, 0x{line[error.start]:02x}"
            reason = f"the line is not {_SHOWN[encoding]} ({byte}) as the rest of the text is"
            bad.append(BadLine(at + error.start, number, reason, line.decode(encoding, "backslashreplace")))
        at += len(line)
    return bad


def encoding_of(head: bytes) -> str:
    """The encoding that a file beginning with these bytes is to be read in; "utf-8" where unclear."""
    ends = [head[: len(head) - missing] for missing in range(4)]  # the head may end inside a character
    # UTF-8 first for all of them: what is cut may be plausible in another encoding.
    for end in sorted(ends, key=lambda end: not _is_utf8(end)):
        try:
            return decode(end)[1]
        except DecodeError:
            continue
    return "utf-8"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _controls(text: str) -> int:
    """How many control characters there are, but for those of mojibake."""
    count = len(_CONTROL.findall(text))
    return len(_CONTROL.findall(_ACCENTED.sub("", text))) if count > MIN_CONTROLS else count


def _decode_marked(data: bytes, mark: bytes, encoding: str) -> str:
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        offset = error.start + len(mark)
        raise DecodeError(f"has the mark of {encoding} but byte {offset} is not {encoding}", offset) from error


def _decode_unmarked(data: bytes, not_utf8: UnicodeDecodeError) -> tuple[str, str]:
    encoding = _best_reading(data, (*_LEGACY, _WIDE[:1], _WIDE[1:], (_RIVAL,)))
    if encoding is not None:
        return data.decode(encoding), encoding
    where = f"byte {not_utf8.start}, 0x{data[not_utf8.start]:02x}"
    try:
        data.decode("gb18030")
    except UnicodeDecodeError as error:
        reason = f"is neither UTF-8 ({where}) nor GB18030 (byte {error.start}), Big5 or UTF-16 Chinese"
        raise DecodeError(reason, not_utf8.start) from error
    reason = f"is not UTF-8 ({where}), and read as GB18030, Big5 or UTF-16 it is not clearly Chinese"
    raise DecodeError(reason, not_utf8.start)


def _best_reading(data: bytes, families: tuple[tuple[str, ...], ...]) -> str | None:
    """The encoding in which the bytes are Chinese, or None: none is plausible, or two are."""
    scores = sorted((_score(data, family) for family in families), reverse=True)
    best, second = scores[0], scores[1]
    unclear = best[0] < MIN_FREQUENT_SHARE or best[0] - second[0] < MIN_LEAD
    return None if unclear or best[1] == _RIVAL else best[1]


def _score(data: bytes, family: tuple[str, ...]) -> tuple[float, str]:
    """How much of a reading is frequent Chinese, and the first encoding of the family it decodes in."""
    for encoding in family:
        try:
            text = _sample(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        if encoding in _WIDE:
            return _wide_share(text), encoding
        proof = _KANA if encoding == _RIVAL else _plausible()
        return len(proof.findall(text)) / (len(_TELLING.findall(text)) + DOUBT_CHARS), encoding
    return 0.0, ""


def _wide_share(text: str) -> float:
    """As the share of a legacy encoding, but ASCII counts as proof: the wrong byte order has none."""
    if _CONTROL.search(text) or not text:
        return 0.0
    telling = len(_TELLING.findall(text))
    if telling * 5 < len(text):
        return (len(text) - telling) / (len(text) + DOUBT_CHARS)
    return len(_plausible().findall(text)) / (telling + DOUBT_CHARS)


def _sample(text: str) -> str:
    """Enough of a long text to judge it: its begin, middle and end."""
    if len(text) <= 3 * _SAMPLE_CHARS:
        return text
    middle = len(text) // 2
    return text[:_SAMPLE_CHARS] + text[middle : middle + _SAMPLE_CHARS] + text[-_SAMPLE_CHARS:]


def is_plausible_chinese(text: str) -> bool:
    """Whether the characters beyond ASCII are those of real Chinese (see MIN_FREQUENT_SHARE)."""
    telling = len(_TELLING.findall(text))
    return len(_plausible().findall(text)) >= MIN_FREQUENT_SHARE * telling


def readable_name(name: str) -> str:
    """A file's name as text: one that is not UTF-8 is GBK, from an older machine, or escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        data = os.fsencode(name)
        try:
            return decode(data)[0]
        except DecodeError:
            return data.decode("utf-8", "backslashreplace")
    return name
