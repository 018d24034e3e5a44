"""The language of a text by its script, without a model: zh, zh-Hant, en, mixed, other, or none (""), as of "42"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from zhllm.text.lint.looks import Looks
from zhllm.text.script import MIN_TRADITIONAL_SHARE, traditional_characters

LANGUAGES = ("zh", "zh-Hant", "en", "mixed", "other")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"
_FOREIGN = "\u0370-\u1fff\u3041-\u30ff\uac00-\ud7a3\ufb1d-\ufdff\ufe70-\ufefc"
# Characters one of which stands in nearly every Traditional text of ten characters.
_FREQUENT_TRADITIONAL = (
    "這個們來時說國為會對過學與後還樣經發種動開關問題長門間見東車書無電話點實現當應將體從進種業產總標類間則處達給讓請"
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_ACCENTED = re.compile(r"[\u00df-\u024f]")
# A word of Latin letters weighs as much as this many characters of Chinese.
_HAN_PER_WORD = 1.7
_MIXED = 0.25


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(f"[{_HAN}]"), re.compile(f"[{_FOREIGN}]")


def languages_of(looks: Looks) -> list[str]:
    """The language of each text; most are told by their bytes a character."""
    sizes = zip(*looks.sizes, strict=True)
    odd = set(looks.matching(f"[{_FOREIGN}]"))
    with_han = set(looks.matching(f"[{_HAN}]".replace("\U00020000-\U000323af", r"\x{20000}-\x{323af}")))
    letters = set(looks.matching("[A-Za-z]"))
    accented = set(looks.matching(_ACCENTED.pattern))
    found = []
    for i, (size, chars) in enumerate(sizes):
        is_wide = size - chars >= chars  # half of the characters or more have three bytes, as Chinese
        if i in odd or i in accented or (i in with_han and not is_wide):
            found.append(language_of(looks.texts[i]))
        else:
            found.append("zh" if i in with_han else "en" if i in letters else "")
    for i in looks.matching(f"[{_FREQUENT_TRADITIONAL}]"):
        if found[i] == "zh" and is_traditional(looks.texts[i]):
            found[i] = "zh-Hant"
    return found


def language_of(text: str) -> str:
    """The language of one text, by its words: Han by character, others by word."""
    han_pattern, foreign_pattern = _patterns()
    han, foreign = len(han_pattern.findall(text)), len(foreign_pattern.findall(text))
    words = _HAN_PER_WORD * len(_LATIN.findall(text))
    total = han + foreign + words
    if not total:
        return ""
    if foreign >= 0.1 * total and foreign > 3:
        return "other"
    if han and min(han, words) >= _MIXED * total:
        return "mixed"
    if han > words:
        return "zh-Hant" if is_traditional(text) else "zh"
    return "other" if _is_accented(text) else "en"


def is_traditional(text: str) -> bool:
    """Whether a Chinese text is written in Traditional characters, beyond a quoted name."""
    traditional = traditional_characters()
    return sum(map(text.count, traditional.intersection(text))) >= max(2, MIN_TRADITIONAL_SHARE * len(text))


def _is_accented(text: str) -> bool:
    """Whether a text of Latin letters is of a language with accents: one in forty letters has one."""
    letters = sum(map(len, _LATIN.findall(text)))
    return len(_ACCENTED.findall(text)) * 40 > letters


def language_of_record(languages: Sequence[str]) -> str:
    """The language of a record from those of its texts."""
    said = [language for language in languages if language]
    if not said:
        return ""
    return said[0] if len(set(said)) == 1 else "mixed"


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
    han_pattern, _ = _patterns()
    weights = [len(han_pattern.findall(text)) + len(_LATIN.findall(text)) for text in (question, answer)]
    return weights[0] >= 4 and weights[1] >= _MIN_WORDS
