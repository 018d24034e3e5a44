"""The segments that the evaluation script of CMRC 2018 compares (Cui et al. 2019): Han characters, and words.

The signs of its list are taken out first, so that what stood on both sides of one is one word: LX-300 becomes lx300.
What stands between Han characters is parted by the Penn Treebank's conventions, as by NLTK's word_tokenize (3.10), but
that NLTK finds the ends of English sentences with a trained model and this by a rule. As in the script, Han characters
outside its range count as letters, and full width is not folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SIGNS = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"
_OUT = str.maketrans("", "", SIGNS)
_PART = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")
# A word of letters and a full stop before more text end a sentence, but for titles and the like.
_SENTENCE = re.compile(r"(?<!\w)([^\W\d_]{2,})\.[\"')\]}]*(?=\s+\S)")
_ABBREVIATIONS = {"co", "corp", "dr", "gen", "gov", "inc", "jr", "ltd", "mr", "mrs", "ms", "mt", "prof", "rep", "rev",
                  "sen", "sr", "st", "vs"}  # fmt: skip

# Where words are parted, one after the other; what only concerns SIGNS is left out.
_RULES = [
    (re.compile(pattern), put)
    for pattern, put in (
        (r"([«‘„])", r" \1 "),
        (r'^"', " `` "),
        (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
        (r"(?i)(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)", "' "),
        (r"([^.])\.([\])}>\"'» ]*+)\s*$", r"\1 . \2 "),
        (r",(\D)", r" , \1"),
        (r",$", " , "),
        (r"(\.{2,}|[;@#$%&\u2012-\u2015?!])", r" \1 "),
        (r"([^'])' ", r"\1 ' "),
        (r"([\]\[(){}<>])", r" \1 "),
        (r"^|$", " "),
        (r"(»)", r" \1 "),
        (r"''|\"", " '' "),
        (r"\s+", " "),
        (r"([^' ])('[smd]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'re|'ve|n't) ", r"\1 \2 "),
    )
]
# Words that are two.
_TWO = {"cannot": 3, "d'ye": 1, "gimme": 3, "gonna": 3, "gotta": 3, "lemme": 3, "more'n": 4}
_CONTRACTED = re.compile(rf"\b(?:(?:{'|'.join(_TWO)})\b|wanna(?=\s))")
_JOINED = [re.compile(rf" ('t)({word})\b") for word in ("is", "was")]


def segments(text: str) -> list[str]:
    """The Han characters and words of a text, without the signs and in lower case."""
    found: list[str] = []
    for part in _PART.findall(text.lower().strip().translate(_OUT)):
        found += [part] if "\u4e00" <= part <= "\u9fa5" else [w for s in _sentences(part) for w in treebank_words(s)]
    return found


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for found in _SENTENCE.finditer(text):
        if found[1] not in _ABBREVIATIONS:
            yield text[start : found.end()]
            start = found.end()
    yield text[start:]


def treebank_words(sentence: str) -> list[str]:
    """The words of one sentence in lower case without SIGNS."""
    text = sentence.strip()
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    text = _CONTRACTED.sub(_parted, text)
    for pattern in _JOINED:
        text = pattern.sub(r" \1 \2 ", text)
    return text.split()


def _parted(found: re.Match[str]) -> str:
    at = _TWO.get(found[0], 3)
    return f" {found[0][:at]} {found[0][at:]} "
