"""One spelling for equal text, without changing what it says: NFC, clean line ends, nothing invisible.

NFC and not NFKC: NFKC turns ，：！ into ASCII, ① into 1 and ㎡ into m2. Full-width letters, digits and
the ideographic space are folded; Chinese punctuation stays. `normalise` is idempotent.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from zhllm.text.read.decode import is_plausible_chinese

# Left alone here: 200D and 200C (joiners, see _LOST_JOINER) and FE0E/FE0F (emoji or text style).
_REMOVED = (
    *range(0x09),
    *range(0x0E, 0x20),
    *range(0x7F, 0x85),
    *range(0x86, 0xA0),
    0x00AD,  # soft hyphen
    0x034F,
    0x061C,
    0x180E,
    0x200B,  # zero-width space
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),  # direction marks
    *range(0x2060, 0x2070),  # word joiner, invisible operators, more direction marks
    *range(0xD800, 0xE000),  # lone surrogates
    *range(0xFE00, 0xFE0E),  # variation selectors: another drawing of the same character
    0xFEFF,  # byte order mark
    *range(0xFFF9, 0xFFFD),
    0xFFFE,
    0xFFFF,
    *range(0xE0100, 0xE01F0),
)
_NEWLINES = (0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)
_SPACES = (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F)
_FULL_WIDTH = (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))

TABLE: dict[int, str | None] = {
    **dict.fromkeys(_REMOVED),
    **dict.fromkeys(_NEWLINES, "\n"),
    **dict.fromkeys(_SPACES, " "),
    **{code: chr(code - 0xFEE0) for code in _FULL_WIDTH},
}
# Two searches, since one character beyond the BMP makes re test every range in turn (60 times slower).
_ODD = re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(TABLE) if code < 0x10000) + "]")
_ODD_BEYOND_BMP = re.compile("[\U000e0100-\U000e01ef]")

_EMOJI = (
    "\u00a9\u00ae\u200d\u203c\u2049\u20e3\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f"
)
# Scripts in which a joiner changes the letters: Arabic, Syriac ... Indic, Khmer, Mongolian.
_JOINING = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af"
_LOST_JOINER = re.compile(
    rf"\u200d+(?![{_EMOJI}{_JOINING}])|(?<![{_EMOJI}{_JOINING}])\u200d+|\u200c+(?![{_JOINING}])|(?<![{_JOINING}])\u200c+"
)
_INDENT = re.compile(r"^[ \t\u3000]*\u3000[ \t\u3000]*", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str) -> str:
    """The normal form of a text (see the module); paragraph indents, trailing space and extra blank lines go.

    Lines are separated by one "\\n", paragraphs by at most one blank line.
    """
    text = text.replace("\r\n", "\n")
    if _ODD.search(text) or _ODD_BEYOND_BMP.search(text):
        text = text.translate(TABLE)
    if "\u200d" in text or "\u200c" in text:
        # NFC before, as it changes what stands beside a joiner, and after, as it joins what was parted.
        text = _LOST_JOINER.sub("", unicodedata.normalize("NFC", text))
    if "\u3000" in text:
        text = _INDENT.sub("", text).replace("\u3000", " ")
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


# Windows-1252 as browsers read it: the bytes it does not define stay as they are, like those of Latin-1.
_UNLIKE_LATIN = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ"
_WINDOWS_1252 = dict(zip(range(0x100), range(0x100), strict=True)) | {
    ord(c): 0x80 + i for i, c in enumerate(_UNLIKE_LATIN)
}
_REST = f"[\x80-\xbf{_UNLIKE_LATIN}]"
# The bytes of UTF-8 as such characters: a first one, then one to three more. Others beside them are left of
# characters that lost a byte, and then what is whole is whole by chance. `re` looks for a set of first characters
# four times as fast as for one of several beginnings.
_UTF8_AS_LATIN = re.compile(
    rf"[\xc2-\xf4](?<![\x80-\xff].)(?:(?<=[\xc2-\xdf]){_REST}|(?<=[\xe0-\xef]){_REST}{{2}}|(?<=[\xf0-\xf4]){_REST}{{3}})"
    rf"(?:[\xc2-\xdf]{_REST}|[\xe0-\xef]{_REST}{{2}}|[\xf0-\xf4]{_REST}{{3}})*(?![\x80-\xff])"
)


# Their bytes in GBK are none of Chinese in UTF-8, so a text with one of them makes no round trip.
_USUAL = frozenset("的一是了在有人这为和")


def repair_mojibake(text: str) -> str | None:
    """The text that was meant where UTF-8 was read as Latin-1, Windows-1252 or GBK; None where it was not.

    Runs of Latin letters and signs are mended by themselves, and lines of Chinese; only a strict round
    trip that ends in plausible Chinese counts, so that no sound text is touched and what lost bytes stays.
    """
    mended = _meant_by_latin(text)
    if meant := _meant_by_gbk(mended):
        return meant
    if "\ufffd" not in mended:  # else bytes are lost, and with half of its lines mended the text is still garbled
        mended = "\n".join([_meant_by_gbk(line) or line for line in mended.split("\n")])
    return mended if mended != text else None


def _meant_by_latin(text: str) -> str:
    """The text with its runs mended: all, where together they are plausible Chinese, else those that are."""
    runs = [(match, _decoded(match.group())) for match in _UTF8_AS_LATIN.finditer(text)]
    # A line of a poem may be rare characters only, so the others speak for it.
    together = is_plausible_chinese("".join(meant or "" for _, meant in runs))
    parts: list[str] = []
    at = 0
    for match, meant in runs:
        if meant is not None and (together or is_plausible_chinese(meant)):
            parts += (text[at : match.start()], meant)
            at = match.end()
    return "".join([*parts, text[at:]])


def _decoded(run: str) -> str | None:
    try:
        return codecs.charmap_encode(run, "strict", _WINDOWS_1252)[0].decode("utf-8")
    except UnicodeError:
        return None


def makes_round_trip(text: str) -> bool:
    """Whether a line of a text may be UTF-8 that was read as GBK: its bytes in GBK are UTF-8, as of few sound lines."""
    return any(_as_utf8(line) is not None for line in text.split("\n") if not line.isascii())


def _as_utf8(text: str) -> str | None:
    try:
        return text.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return None


def _meant_by_gbk(text: str) -> str | None:
    if text.isascii() or not _USUAL.isdisjoint(text) or (meant := _as_utf8(text)) is None:
        return None
    return meant if is_plausible_chinese(meant) and not is_plausible_chinese(text) else None
