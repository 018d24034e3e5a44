"""Which characters are Han: the one definition that vocabulary, cleaning and scoring share."""

from __future__ import annotations

import re
from functools import cache

# Unicode 16 blocks: URO, Extension A, the plane-2 and plane-3 extensions; and 々〇, which are written
# inside Chinese words. Compatibility ideographs are left out: NFC maps them to the unified ones.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af々〇"


@cache
def _run() -> re.Pattern[str]:
    """A run of Han; compiled when first needed, as it takes 8 ms."""
    return re.compile(f"[{HAN}]+")


def is_han(text: str) -> bool:
    """Whether `text` is one or more Han characters and nothing else."""
    return _run().fullmatch(text) is not None


def han_runs(text: str) -> list[str]:
    """The maximal runs of Han characters in `text`, in order."""
    return _run().findall(text)
