"""Simplified and Traditional Chinese: texts from one script to the other, by OpenCC's phrase tables."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=2)
def _converter(name: str) -> Any:
    import opencc

    return opencc.OpenCC(name)


def to_simplified(text: str) -> str:
    """The text in Simplified characters."""
    return str(_converter("t2s").convert(text))


def to_traditional(text: str) -> str:
    """The text in Traditional characters."""
    return str(_converter("s2t").convert(text))
