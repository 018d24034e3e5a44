"""The numbers that a text names, as values: 1,500 and １５００ and 一千五百 are one number."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_STEPS = {"十": 10, "百": 100, "千": 1000}
_GREAT = {"万": 10_000, "亿": 100_000_000}
HAN_NUMBER = "[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?"
ARABIC = r"\d+(?:[,，]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
# What is counted: a numeral of one character is a number only before one of these, or after 第, 周 and the like.
UNITS = (
    "天日年月周岁人名元角分度米克升吨次个条章款项倍秒时点号层楼台支两位件份种门节页本家套间届级期块张片瓶箱袋辆架座根"
    "亩里寸尺斤公厘毫千小工季届盏颗滴杯毛瓦伏转折孔成组类步"
)
_WORDS = re.compile(
    "一般|万一|十分(?!钟|之)|千万(?=别|不|要)|一定|统一|唯一|一起|一样|一旦|一切|一直|同一|单一|一致|一律|一边|一面|"
    "三方|四周|四处|百姓|万物|十足|一些|一方|第一时间|一经|之一|一并|一同|不一|逐一|任一|某一|一步|进一步|一共|一下|一点(?!钟)|"
    "一次性|一体|一系列|两者|二者|一种|一个|两个方面"
)
_CODES = re.compile(r"[A-Za-z][A-Za-z_-]*\d[\w.-]*", re.ASCII)  # QX-900, IP67: names, not numbers
_FOUND = re.compile(
    rf"百分之({HAN_NUMBER}|{ARABIC})|({ARABIC})\s*([%％万亿千百]?)|(?<![\d{''.join(_DIGITS)}])({HAN_NUMBER})"
)


def value_of(numeral: str) -> Decimal | None:
    """The value of a Chinese numeral such as 三百零五, 二〇二六, 两万五千 or 零点一; None where it is none."""
    whole, _, part = numeral.partition("点")
    value = _whole(whole)
    if value is None:
        return None
    digits = "".join(str(_DIGITS[c]) for c in part)
    return Decimal(f"{value}.{digits}") if digits else Decimal(value)


def _whole(text: str) -> int | None:
    if all(c in _DIGITS for c in text):
        return int("".join(str(_DIGITS[c]) for c in text)) if text else None
    total = section = digit = 0
    last_step = 0
    for c in text:
        if c in _DIGITS:
            digit = _DIGITS[c]
        elif c in _STEPS:
            last_step = _STEPS[c]
            section += (digit or 1) * last_step
            digit = 0
        else:
            last_step = _GREAT[c]
            total = (total + section + digit) * last_step if c == "亿" else total + (section + digit or 1) * last_step
            section = digit = 0
    short = digit * last_step // 10 if digit and last_step > 10 and text[-2] != "零" else digit  # 两万五 is 25,000
    return total + section + short


def numbers_in(text: str) -> set[str]:
    """The numbers of a text, each as its plain decimal value; a percentage ends with "%"."""
    text = _WORDS.sub("，", _CODES.sub("，", unicodedata.normalize("NFKC", text)))
    found = set()
    for match in _FOUND.finditer(text):
        percent, arabic, step, han = match.groups()
        if percent is not None:
            value = value_of(percent) if percent[0] not in "0123456789" else Decimal(percent.replace(",", ""))
            found.add(_plain(value) + "%")
        elif arabic is not None:
            value = Decimal(arabic.replace(",", ""))
            factor = (_GREAT | {"千": 1000, "百": 100}).get(step, 1)
            found.add(_plain(value * factor) + ("%" if step == "%" else ""))
        elif _counts(text, match.start(), match.end(), han):
            found.add(_plain(value_of(han)))
    return {value for value in found if value.strip("%")}


def _counts(text: str, start: int, end: int, han: str) -> bool:
    """Whether a Chinese numeral there is a number and not a part of a word."""
    if len(han) > 1 and han not in ("千万", "百万", "万千", "亿万", "百千"):
        return True
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    return before in tuple("第周期") or (bool(after) and after in UNITS)


def _plain(value: Decimal | None) -> str:
    if value is None:
        return ""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
