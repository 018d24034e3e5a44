"""Which characters are Han: the one definition that vocabulary, cleaning and scoring share."""

from __future__ import annotations

import re

# Unicode 16 blocks: URO, Extension A, the plane-2 and plane-3 extensions; and 々〇, which are written
# inside Chinese words. Compatibility ideographs are left out: NFC maps them to the unified ones.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af々〇"

_RUN = re.compile(f"[{HAN}]+")
_ONLY = re.compile(f"[{HAN}]+\\Z")


def is_han(text: str) -> bool:
    """Whether `text` is one or more Han characters and nothing else."""
    return _ONLY.match(text) is not None


def han_runs(text: str) -> list[str]:
    """The maximal runs of Han characters in `text`, in order."""
    return _RUN.findall(text)
