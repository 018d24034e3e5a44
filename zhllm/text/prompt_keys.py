"""By what a prompt is recognised: space, punctuation and case are aside, signs of reckoning and code stay.

首都是哪里？ and 首都 是哪里? are one; 3-2 and 3+2 are two, and so are texts of nothing but marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from zhllm.text.prompt_format import Message

_MARKS = "，。、；：！？…—“”《》"
# Before a letter or a digit such a sign is part of a word, a number or code: 3.5, a.b, x:y.
_ASCII_MARKS = ".,;:!?"
_GONE, _MARK, _WORD = (np.uint8(1 << i) for i in range(3))
_CODE_POINTS = 0x110000
_NUL = b"\0\0\0\0"
# Spaces, marks and nearly all letters that have a case stand below.
_BMP = range(0x10000)


@cache
def _flags() -> npt.NDArray[np.uint8]:
    """The flags of each code point, [0x110000]."""
    table = np.zeros(_CODE_POINTS, np.uint8)
    table[[code for code in _BMP if chr(code).isspace()]] = _GONE
    table[list(map(ord, _MARKS))] = _GONE
    table[list(map(ord, _ASCII_MARKS))] = _MARK
    table[[code for code in range(0x80) if chr(code).isalnum()]] = _WORD
    return table


@cache
def _small() -> npt.NDArray[np.uint32]:
    """The small letter of each code point where that is one, else itself, [0x110000]."""
    table = np.arange(_CODE_POINTS, dtype=np.uint32)
    table[: len(_BMP)] = [ord(small) if len(small := chr(code).lower()) == 1 else code for code in _BMP]
    return table


def _bare(text: str) -> npt.NDArray[np.uint32]:
    """The code points of a text without space and marks, in small letters."""
    codes = np.frombuffer(_utf_32(text), np.uint32)
    flags = _flags().take(codes)
    is_inside = np.zeros(len(codes), np.bool_)
    is_inside[:-1] = flags[1:] & _WORD != 0
    return _small().take(np.compress((flags & _GONE == 0) & ((flags & _MARK == 0) | is_inside), codes))


def plain_texts(texts: Sequence[str]) -> list[bytes | memoryview]:
    """What of each text tells it from others, as UTF-32 with a NUL behind it; all are looked at in one pass."""
    joined = "\0".join([*texts, ""])
    if joined.count("\0") != len(texts):
        return [(bytes(_bare(text)) or _utf_32(text)) + _NUL for text in texts]
    # A NUL is neither space nor mark, letter nor digit: what stands before it is treated as at the end of a text.
    codes = _bare(joined)
    ends = ((np.flatnonzero(codes == 0) + 1) * len(_NUL)).tolist()
    data = memoryview(codes.tobytes())
    found: list[bytes | memoryview] = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for number in [i for i, bare in enumerate(found) if len(bare) == len(_NUL)]:
        found[number] = _utf_32(texts[number]) + _NUL
    return found


def _utf_32(text: str) -> bytes:
    return text.encode("utf-32-le", "surrogatepass")


def prompt_text(messages: Sequence[Message]) -> bytes:
    """What tells a prompt from others, of texts and roles; of one message of the user's it is that of its text."""
    plain = plain_texts([message["content"] for message in messages])
    roles = ("" if message["role"] == "user" else message["role"] for message in messages)
    return b"".join(part for text, role in zip(plain, roles, strict=True) for part in (text, role.encode()))
