"""Characters that say nothing: of a broken encoding, of private use, control characters."""

from __future__ import annotations

import re

from zhllm.text.clean.normalise import TABLE, repair_mojibake
from zhllm.text.clean.quality import MAX_MOJIBAKE_SHARE, mojibake_share

# Of what `normalise` takes out the part that changes no letter and no layout: chats hold code and emoji.
_NEWLINES = (0x0B, 0x0C, 0x85, 0x2028, 0x2029)
_REMOVED = (*range(0x09), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0), 0x200B, 0x2060, 0xFEFF,
            0xFFF9, 0xFFFA, 0xFFFB, 0xFFFE, 0xFFFF)  # fmt: skip
_TABLE = {code: TABLE[code] for code in (*_NEWLINES, *_REMOVED)}
_CONTROL = re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(_TABLE)) + "]")
_LOST = re.compile("[\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")


def mended(text: str) -> str:
    """The text without control characters and with mojibake read as it was meant; what is not certain stays."""
    text = repair_mojibake(text) or text
    return text.translate(_TABLE) if _CONTROL.search(text) else text


def lost_in(text: str) -> str | None:
    """What of a text cannot be mended, in words; None where nothing is."""
    found = _LOST.findall(text)
    if not found:
        share = mojibake_share(text, len("".join(text.split())))
        return f"{share:.0%} mojibake" if share > MAX_MOJIBAKE_SHARE else None
    return f"{len(found)} of U+FFFD or private use, first U+{ord(found[0]):04X}"


def mending(before: str, after: str) -> str:
    """What `mended` did to a text, in words: the signs taken out, or the first words as they are meant."""
    gone = dict.fromkeys(f"U+{ord(char):04X}" for char in before if ord(char) in _TABLE)
    if len(gone) and before.translate(_TABLE) == after:
        return " ".join(gone)
    at = next(i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1])
    return f"“{before[at : at + 12]}” was “{after[at : at + 6]}”"
