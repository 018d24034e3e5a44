"""The language of a text by its script, without a model: zh, zh-Hant, en, mixed, other, or none (""), as of "42"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zhllm.text.clean.blocks import CODE_POINTS, block_of, block_ranges
from zhllm.text.lint.looks import ACCENTED, FOREIGN, HAN, TRADITIONAL, Looks
from zhllm.text.script import MIN_TRADITIONAL_SHARE, traditional_characters

LANGUAGES = ("zh", "zh-Hant", "en", "mixed", "other")
KNOWN = ("", *LANGUAGES)
_ZH, _TRADITIONAL = KNOWN.index("zh"), KNOWN.index("zh-Hant")
# A word of Latin letters weighs as much as this many characters of Chinese.
_HAN_PER_WORD = 1.7
_HAN, _LATIN_LETTER, _FOREIGN, _ACCENTED = (np.uint8(1 << i) for i in range(4))
_MIXED = 0.25
_HAN_CHAR = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")


def languages_of(looks: Looks) -> npt.NDArray[np.uint8]:
    """The language of each text as its place in KNOWN, [D].

    Most are told by their bytes a character, the others by counting words.
    """
    sizes, chars = looks.sizes
    han = np.zeros(len(sizes), dtype=np.bool_)
    han[looks.with_han] = True
    found = np.where(han, _ZH, KNOWN.index("en")).astype(np.uint8)
    found[looks.without_words] = 0
    odd = np.zeros(len(sizes), dtype=np.bool_)
    odd[looks.unusual(f"[{FOREIGN}{ACCENTED}]")] = True
    # In Chinese half of the characters or more have three bytes.
    counted = np.flatnonzero(odd | (han & (sizes - chars < chars)))
    texts = [looks.texts[number] for number in counted.tolist()]
    for some in block_ranges(texts):
        found[counted[some]] = _by_words(texts[some])
    for i in looks.unusual(f"[{TRADITIONAL}]"):
        if found[i] == _ZH and is_traditional(looks.texts[i]):
            found[i] = _TRADITIONAL
    return found


@lru_cache(maxsize=1)
def _scripts() -> npt.NDArray[np.uint8]:
    """What each code point is, [0x110000]."""
    table = np.zeros(CODE_POINTS, np.uint8)
    for chars, kind in (
        (HAN, _HAN),
        ("A-Za-z\u00c0-\u024f", _LATIN_LETTER),
        (FOREIGN, _FOREIGN),
        (ACCENTED, _ACCENTED),
    ):
        for first, last in _ranges_of(chars):
            table[first : last + 1] |= kind
    return table


def _ranges_of(chars: str) -> list[tuple[int, int]]:
    """The ranges of code points of a character class."""
    plain = re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), chars)
    return [(ord(first), ord(last)) for first, last in re.findall("(.)-(.)", plain, re.DOTALL)]


def _by_words(texts: Sequence[str]) -> list[int]:
    """The languages of some texts, as places in KNOWN, by their words.

    Han and other scripts count by character, Latin by word; letters count only where there are accents.
    """
    block = block_of(texts)
    kinds = _scripts().take(block.codes)
    is_letter = kinds & _LATIN_LETTER != 0
    begins = is_letter.copy()
    begins[1:] &= ~is_letter[:-1]
    counts = [block.of_each(kinds & kind != 0) for kind in (_HAN, _FOREIGN, _ACCENTED)]
    han, foreign, accented = (count.tolist() for count in counts)
    words, letters = block.of_each(begins).tolist(), block.of_each(is_letter).tolist()
    return [KNOWN.index(name) for name in map(_language, han, words, foreign, letters, accented)]


def _language(han: int, latin: int, foreign: int, letters: int, accented: int) -> str:
    """From characters of Han, words of Latin letters, characters of other scripts, and letters and accents."""
    words = _HAN_PER_WORD * latin
    total = han + foreign + words
    if not total:
        return ""
    if foreign >= 0.1 * total and foreign > 3:
        return "other"
    if han and min(han, words) >= _MIXED * total:
        return "mixed"
    if han > words:
        return "zh"
    # One letter in forty has an accent in the languages that have some.
    return "other" if accented * 40 > letters or not latin else "en"


def language_of(text: str) -> str:
    """The language of one text."""
    return KNOWN[languages_of(Looks([text]))[0]]


def is_traditional(text: str) -> bool:
    """Whether a Chinese text is written in Traditional characters, beyond a quoted name."""
    traditional = traditional_characters()
    return sum(map(text.count, traditional.intersection(text))) >= max(2, MIN_TRADITIONAL_SHARE * len(text))


_ASKS = re.compile(
    r"翻译|译成|译为|英文|英语|中文|汉语|法语|日语|韩语|德语|西班牙|俄语|单词|句子|语法|代码|程序|编程|函数|脚本|命令|SQL|[Pp]ython|[Jj]ava|HTML|CSS|"
    r"\b(?:translat|Chinese|Mandarin|English|French|Japanese|Korean|Spanish|German|language|pinyin|code|program|function|script|regex)",
    re.IGNORECASE,
)
_MIN_WORDS = 8


def is_switch(question: str, asked: str, answer: str, answered: str) -> bool:
    """Whether an answer is in Chinese to a question in English, or the other way, that asks for no such thing."""
    if {asked[:2], answered[:2]} != {"zh", "en"} or "```" in answer or _ASKS.search(question):
        return False
    weights = [len(_HAN_CHAR.findall(text)) + len(_LATIN.findall(text)) for text in (question, answer)]
    return weights[0] >= 4 and weights[1] >= _MIN_WORDS
