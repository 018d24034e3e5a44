"""The language of a text by its script, without a model: zh, zh-Hant, en, mixed, other, or none (""), as of "42"."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from zhllm.text.lint.looks import ACCENTED, FOREIGN, HAN, TRADITIONAL, Looks
from zhllm.text.script import MIN_TRADITIONAL_SHARE, traditional_characters

LANGUAGES = ("zh", "zh-Hant", "en", "mixed", "other")
KNOWN = ("", *LANGUAGES)
_ZH, _TRADITIONAL = KNOWN.index("zh"), KNOWN.index("zh-Hant")
# A word of Latin letters weighs as much as this many characters of Chinese.
_HAN_PER_WORD = 1.7
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
    found[looks.lacking("[A-Za-z]", np.flatnonzero(~han))] = 0
    odd = np.zeros(len(sizes), dtype=np.bool_)
    odd[looks.unusual(f"[{FOREIGN}{ACCENTED}]")] = True
    # In Chinese half of the characters or more have three bytes.
    counted = np.flatnonzero(odd | (han & (sizes - chars < chars))).tolist()
    found[counted] = [KNOWN.index(language) for language in _by_words(looks, counted, odd[counted])]
    for i in looks.unusual(f"[{TRADITIONAL}]"):
        if found[i] == _ZH and is_traditional(looks.texts[i]):
            found[i] = _TRADITIONAL
    return found


def _by_words(looks: Looks, some: list[int], odd: npt.NDArray[np.bool_]) -> list[str]:
    """The languages of some texts, by their words: Han and other scripts by character, Latin by word.

    `odd` are those of them that hold other scripts or accents, [len(some)].
    """
    han, latin = (looks.counts(pattern, some).tolist() for pattern in (f"[{HAN}]", "[A-Za-z\u00c0-\u024f]+"))
    rest = np.zeros((3, len(some)), dtype=np.int64)
    patterns = (f"[{FOREIGN}]", "[A-Za-z\u00c0-\u024f]", f"[{ACCENTED}]")
    rest[:, odd] = [looks.counts(pattern, np.array(some, dtype=np.int64)[odd]) for pattern in patterns]
    return list(map(_language, han, latin, *rest.tolist()))


def _language(han: int, latin: int, foreign: int, letters: int, accented: int) -> str:
    """From characters of Han, words of Latin letters, characters of other scripts, and letters and accents.

    Letters count only where there are accents.
    """
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
