"""The standard characters of written Chinese, by which a vocabulary's coverage is measured.

`standard_characters.txt` holds the 8,105 characters of the Table of General Standard Chinese Characters
(2013) in the table's order; the first 3,500 are its level one, the common characters. Source: Unicode's
Unihan database, field kTGH.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from zhllm.text.script import to_traditional

COMMON = 3500


@cache
def standard_characters() -> str:
    """All 8,105, in the order of the table."""
    text = resources.files("zhllm.text").joinpath("standard_characters.txt").read_text(encoding="utf-8")
    return text.replace("\n", "")


def common_characters() -> str:
    """The 3,500 of level one."""
    return standard_characters()[:COMMON]


def traditional_characters() -> str:
    """The Traditional forms of the 3,500 common characters that differ from them, each once."""
    both = ((simplified, to_traditional(simplified)) for simplified in common_characters())
    return "".join(dict.fromkeys(t for s, t in both if s != t))
