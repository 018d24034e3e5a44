"""Names and makers of others in a sentence, and the signs that take their places: `rewriting` fills in the own ones.

Whoever stands where only a maker can stand (由 … 开发, developed by …) gives the maker's sign, whatever it is else.
"""

from __future__ import annotations

import re
from functools import cache

from zhllm.text.lint.introductions import (
    ADVERBS_ZH,
    BASED_ON,
    BY,
    BY_ZH,
    KIND_ZH,
    MADE_BY_EN,
    MADE_ZH,
    MAKERS,
    NAME,
    ORGANISATION,
    ORGANISATION_EN,
    OWNED,
    OWNER_EN,
    OWNER_OF_ZH,
    OWNER_ZH,
    SIGNS,
    VERBS_EN,
    VERBS_ZH,
    WHO_BY,
    Marked,
)

# Of a private use area: no text that was mended has them.
OWN, MAKER = "\ue0f0", "\ue0f1"
_END = r"(?=\s*(?:[。，,！!；;)）]|\.(?!\d)|\Z))"
_OF_ORG = r"(?:\s?(?:科技|股份|有限|公司|集[团團]|[团團][队隊]|研究院|研究[团團][队隊]|[实實][验驗]室|大模型团队))*"
_NEXT_MAKER = rf"(?:\s?(?:和|[与與]|、|及|以及|旗下的?|下[属屬]的?|,\s|,?\sand|[/（(]|)\s?{MAKER}[)）]?)"
_IS_ME = (
    rf"(?:我{ADVERBS_ZH}(?:是|叫做?)|名叫|名[为為]|[称稱]呼?我[为為]|叫我|\bI\sam|I['’]m|[Nn]ame\sis|[Cc]all\sme)\s?"
)


@cache
def wrong() -> re.Pattern[str]:
    """What reads wrong: a name where a maker must stand, or the other way round, or twice."""
    return re.compile(
        rf"{OWN}[\s·]?{OWN}|{MAKER}[\s·]?{MAKER}|(?:由|被)\s?{OWN}\s?{MADE_ZH}|{OWN}\s?(?:公司|集[团團]|[团團][队隊]|[实實][验驗]室|研究院|科技|旗下)"
        rf"|(?<=[是为為，,（(]){OWN}\s?(?:自主)?(?:{VERBS_ZH})[了的]|{OWN}\s?(?:{VERBS_ZH})了我|(?:{VERBS_EN})\sby\s{OWN}|{OWN}\s(?:{VERBS_EN})\sme\b"
        rf"|{_IS_ME}{MAKER}(?=[，。,.！!]|\Z)|{MAKER}(?:旗下|[A-Za-z0-9])|{OWN}[A-Za-z0-9]|我{ADVERBS_ZH}是\s?{OWN}的\s?{KIND_ZH}|{OWNER_ZH}(?:是|[为為])\s?{OWN}|{OWN}\s?是我的{OWNER_ZH}|[A-Za-z0-9](?:{OWN}|{MAKER})"
    )


_BASED_ON = rf"(?:which\sis\s|that\sis\s)?(?:{BASED_ON})"


@cache
def _based() -> re.Pattern[str]:
    """Clauses on what it is based on."""
    return re.compile(rf"[，,]?\s?(?<!我)是?{_BASED_ON}{_END}|\s?{_BASED_ON}")


_MADE_ZH = rf"{BY_ZH}{MADE_ZH}(?!了?我)|{ORGANISATION}\s?{MADE_ZH}(?!了?我)|{OWNER_OF_ZH}{OWNED}"


@cache
def _made() -> re.Pattern[str]:
    """Clauses on the maker; 是 stays before what 由 … 开发的 describes."""
    return re.compile(
        rf"[，,]?\s?(?<!我)是?(?:{_MADE_ZH}){_END}|,?\s?(?:{MADE_BY_EN})|(?P<zh>\s?(?:{_MADE_ZH}))(?=\s?(?P<next>.))"
    )


@cache
def _made_by() -> re.Pattern[str]:
    """Where only a maker can stand."""
    return re.compile(
        rf"(?P<by>{BY}){WHO_BY}(?={MADE_ZH})|(?P<bare>{ORGANISATION}\s?(?={MADE_ZH}))"
        rf"|(?P<en>\b(?:{VERBS_EN}|model|assistant|AI|LLM|chat\s?bot|product)\sby\s){ORGANISATION_EN}"
        rf"|(?P<me>{SIGNS}(?=\s(?:has\s)?(?:{VERBS_EN})\sme\b))"
        rf"|(?P<mine>我的{OWNER_ZH}(?:是|[为為]|[来來]自|叫)\s?|(?:{VERBS_ZH})我的(?:人|公司|[团團][队隊])?是\s?){ORGANISATION}"
        rf"|(?P<mine_en>\b[Mm]y\s{OWNER_EN}\s(?:is|are|at)\s){ORGANISATION_EN}"
        rf"|{OWNER_OF_ZH}(?={OWNED})|{ORGANISATION}\s?(?=就?是我的{OWNER_ZH})|{SIGNS}(?=\s(?:is|are)\smy\s{OWNER_EN})"
    )


class Swap:
    """Names and makers by patterns, and the signs for them; without an own maker (`has_maker`) none is named."""

    def __init__(self, has_maker: bool, name: str, maker: str) -> None:
        self._has_maker = has_maker
        self._marks = re.compile(f"{name}|{maker}"), re.compile(name), re.compile(maker), re.compile("(?!)")

    def of(self, text: str) -> str:
        """A sentence with signs; as it is where another maker must be said and there is no own one."""
        marked = _based().sub("", Marked(text, self._marks).text)
        marked = _made_by().sub(_by_own, marked) if self._has_maker else _made().sub(_unmade, marked)
        marked = marked.replace(NAME, OWN)
        marked = re.sub(rf"{OWN}(?:[\s·]?{OWN})+|{OWN}\s?[（(]\s?{OWN}\s?[)）]", OWN, marked)
        if not self._has_maker and re.search(MAKERS, marked):
            return text
        marked = re.sub(rf"{MAKERS}", MAKER, marked)
        marked = re.sub(rf"{MAKER}{_OF_ORG}(?:{_NEXT_MAKER}{_OF_ORG})*(?:\s?于\s?\d{{4}}\s?年)?", MAKER, marked)
        marked = re.sub(rf"{MAKER}的?\s?(?={OWN})", "", marked)
        marked = re.sub(rf"({_IS_ME}){MAKER}(?=[，。,.！!]|\Z)", rf"\1{OWN}", marked)
        marked = re.sub(rf"(我{ADVERBS_ZH}是|我叫)(?=[，。,！!]|\Z)", rf"\1{OWN}", marked)
        return re.sub(r"\b(I\sam|I['’]m)(?=[,.!]|\Z)", rf"\1 {OWN}", marked)


def _by_own(found: re.Match[str]) -> str:
    """The own maker in another's place; "ChatGPT 提供的" is the assistant's, unless it describes somebody."""
    before = found.string[: found.start()].rstrip()[-1:]
    if found["bare"] and before not in "是为為，,（(" and not re.search(MAKERS, found["bare"]):
        return found[0]
    return f"{found['by'] or found['en'] or found['mine'] or found['mine_en'] or ''}{MAKER}"


def _unmade(clause: re.Match[str]) -> str:
    """What stands for a clause on the maker: 一个 where a kind follows that has no numeral."""
    before = clause.string[clause.start() - 1 : clause.start()]
    if not clause["zh"] or before not in ("是", "，", ",") or clause["next"] == "一":
        return ""
    one = "一個" if re.search("[開訓創設發製構語慧]", clause.string) else "一个"
    return "" if clause["next"] == NAME else one
