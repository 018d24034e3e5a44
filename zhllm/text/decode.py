"""Bytes to text: UTF-8, UTF-16 with a mark, or GB18030 where it is plausible Chinese; else refused.

GB18030 gives some character for almost any bytes, so "it decodes" proves nothing: without the test of
plausibility a Latin-1, Big5 or damaged file becomes Chinese-looking rubbish in silence.
"""

from __future__ import annotations

import codecs
import re

from zhllm.text.frequent import FREQUENT_HAN

# UTF-32's mark begins with UTF-16's, so it stands first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Measured on 2,500 excerpts of 60 to 400 characters: Chinese has a share of at least 0.30 (Traditional
# poetry; laws and manuals from 0.54), Big5 read as GB18030 at most 0.26 (99 % under 0.18), UTF-8 read
# as GBK at most 0.16, EUC-KR and EUC-JP about 0.11.
MIN_FREQUENT_SHARE = 0.28

# Full-width forms, circled numbers and box drawing say nothing about the language.
_TELLING = re.compile(r"[^\x00-\x7f\u2460-\u25ff\uff00-\uff5e]")
_PLAUSIBLE = re.compile(f"[{FREQUENT_HAN}，。、；：？！“”‘’（）《》〈〉【】…—·]")


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
        return _decode_gb18030(data, error), "gb18030"
    if "\0" in text and text.count("\0") * 100 > len(text):
        raise DecodeError("holds binary data, or UTF-16 without its mark", data.index(0))
    return text, "utf-8"


def _decode_marked(data: bytes, mark: bytes, encoding: str) -> str:
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        offset = error.start + len(mark)
        raise DecodeError(f"has the mark of {encoding} but byte {offset} is not {encoding}", offset) from error


def _decode_gb18030(data: bytes, not_utf8: UnicodeDecodeError) -> str:
    byte = f"0x{data[not_utf8.start]:02x}"
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError as error:
        reason = f"is neither UTF-8 (byte {not_utf8.start}, {byte}) nor GB18030 (byte {error.start})"
        raise DecodeError(reason, not_utf8.start) from error
    if not is_plausible_chinese(text):
        reason = f"is not UTF-8 (byte {not_utf8.start}, {byte}), and read as GB18030 it is not Chinese"
        raise DecodeError(reason, not_utf8.start)
    return text


def is_plausible_chinese(text: str) -> bool:
    """Whether the characters beyond ASCII are those of real Chinese (see MIN_FREQUENT_SHARE)."""
    telling = len(_TELLING.findall(text))
    return len(_PLAUSIBLE.findall(text)) >= MIN_FREQUENT_SHARE * telling
