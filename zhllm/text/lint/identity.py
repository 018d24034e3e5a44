"""Answers that claim to be another assistant, found in the first person only.

An answer that explains what ChatGPT is stays. Between "I am" and a name only words of such an introduction may
stand ("I am a large language model called"), so that "I am not sure what ChatGPT says" claims nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from zhllm.text.lint.assistants import (
    COMMON,
    LABS,
    MAKERS,
    NAMES,
    PLACEHOLDER_MAKER,
    PLACEHOLDER_NAME,
    SIGNS,
    TRADE,
)
from zhllm.text.lint.introductions import (
    ADVERBS_ZH,
    VERBS_EN,
    VERBS_ZH,
    Marked,
    Marks,
    introduces,
    maker_first,
    name_first,
    uses,
)
from zhllm.text.lint.introductions import SIGNS as MARKS

_BUILT_ON = r"基[于於][^。！？，\n]{1,40}?(?:架[构構]|(?:构建|開發|开发|訓練|训练|打造)(?:而成)?的?)[，。]"
# Each alternative begins with a letter, none with [Mm] or \\b: `re` then skips all that none begins with.
_LEAD = re.compile(
    rf"我{ADVERBS_ZH}(?:是|叫做?|(?=由|[来來]自|{_BUILT_ON}))|我[係系](?=\s?[A-Za-z一由{MARKS[1:-1]}])|"
    r"我名[叫为為]|我的(?:中文|英文)?(?:全名|名字|名[称稱])(?:是|叫做?|[为為])|叫我|[称稱]呼?我[为為]"
    r"|本人(?:是|名?叫)|在下(?:是|乃|名?叫)|我(?=\s?[（(])"
    r"|我的(?:底[层層]|[语語]言|基[础礎]|背[后後]的?)*大?模型是|我(?=，)(?:(?<=\A.)|(?<=[。！？!?\n].))"
    r"|I\sam\b|I['’]m\b|I\swas\b|I['’]ve\sbeen\b|I\shave\sbeen\b|my\sname(?:\sis\b|['’]s\b)|My\sname(?:\sis\b|['’]s\b)|call\sme\b|refer\sto\sme\sas\b"
    r"|address\sme\sas\b|I\sgo\sby\b|I\srun\son\b|I\scome(?=\sfrom\b)|my\sunderlying\smodel\sis\b|My\sunderlying\smodel\sis\b"
)
_WEAK_LEAD = re.compile(r"作[为為]|身[为為]|[这這][里裡]是|A(?<=\bA)s\b|a(?<=\ba)s\b|T(?<=\bT)his\sis\b")
# "I am not ChatGPT but …": the lead is behind what the speaker is not.
_BUT = re.compile(r"而是|(?<=[，,])是|b(?<=\bb)ut\b")
_IS_NOT = re.compile(
    rf"(?:我{ADVERBS_ZH}(?:[并並]?不[是叫係系]|[并並]非)|\bI(?:\sam|['’]m)\snot\b)[^。！？!?\n说說想因在要]{{1,60}}\Z"
)
# "As a product of Baidu, I think …" is a sentence about that product.
_IS_THING = re.compile(r"(?:产品|產品|作品|成果|product|creation)\Z")
_DOES = re.compile(
    r"\A[，,]\s?(?:我(?!(?:个人|個人)?(?:认为|認為|觉得|覺得|相信|想|喜[欢歡]|[爱愛]|[发發][现現]|推荐|推薦|[们們]|[经經]常))"
    r"|I\b(?!\s(?:find|think|believe|like|love|use|recommend)))"
)
_ADDRESS = re.compile(r"你是|您是|你叫做?|你的名字[是叫]|\b(?:[Yy]ou\sare|[Yy]ou['’]re|[Yy]our\sname\sis)\b")
_SUPPOSED = (
    "如果",
    "假如",
    "假设",
    "以为",
    "说",
    "当",
    "认为",
    "把",
    "将",
    "不代表",
    "倘若",
    "要是",
    "假設",
    "以為",
    "說",
    "當",
    "認為",
    "將",
)
_SPEAKS = re.compile(r"我(?![们們])|\b(?:I|my|me)\b")
_SERVES = re.compile(r"我(?![们們])|[为為帮幫]您|[为為]你服|[请請][问問]")
# The name first ("ChatGPT, that is me"), or the maker ("OpenAI made me"), are looked for where one of these stands.
_NAME_FIRST = (
    r"是(?:我|在下|本人)(?:[，。！,!啊呀啦哦]|是也|\z)|[您你](?:现在|現在)?正?在[与與和跟]"
    r"|(?s:[Yy]ou(?:.a|['’])re.(?:now.)?(?:talk|chat|speak)ing)"
)
_MADE_ME_ZH = (
    rf"(?:{VERBS_ZH}|维护|运营|維護|運營)(?:出[来來]|而成|完成)?的?了?我|(?:{VERBS_ZH})我的"
    rf"|我的(?:{VERBS_ZH})?[者创創作团團公母主方商]"
)
_MADE_ME_EN = rf"(?s:(?:{VERBS_EN}).me|[Mm]y.(?:creator|developer|maker|parent))"
_IS_NAME_FIRST = re.compile(_NAME_FIRST.replace(r"\z", r"\Z"))
_IS_MADE_ZH, _IS_MADE_EN = re.compile(_MADE_ME_ZH), re.compile(_MADE_ME_EN)
_HAS_ME = re.compile(r"\s(?:me\b|[cdmp](?:reator|eveloper|aker|arent))")
_SIGN = re.compile(MARKS)
# The words of an introduction are no longer than this together, and end with a sentence.
_INTRODUCTION_CHARS = 500
_SENTENCE_END = re.compile("[。！？?]")
# Of Rust's regular expressions, which know no look-around: a text that claims something has one of the first, or
# one of the second and one of the third.
_OF_ADVERBS = "".join(sorted(set(re.findall(r"\w", ADVERBS_ZH.partition("{")[0]))))
_LEADING = (
    rf"我[{_OF_ADVERBS}]*(?:[是叫由]|[来來]自|基[于於]|[并並]?(?:不[是叫係系]|非))|我[係系名]|我的|叫我|[称稱]呼?我|本人|在下"
    r"|(?s:我.?[（(])|我，|我所?(?:使用|[采採]用|[运運]行|搭[载載]|用)的是"
    r"|(?s:I.am|I['’]m|I.was|I['’]ve.been|I.have.been|[Mm]y.name|(?:call|to|address).me|I.go.by|I.run.on|I.come.from|[Mm]y.underlying)"
    r"|[你您](?:是|叫|的名字)|(?s:[Yy]ou.are|[Yy]ou['’]re|[Yy]our.name)"
)
_SAID_BEHIND = rf"{_NAME_FIRST}|{_MADE_ME_ZH}|{_MADE_ME_EN}"
SPEAKING = rf"{_LEADING}|{_SAID_BEHIND}"
SPEAKING_PERHAPS = "作[为為]|身[为為]|[这這][里裡]是|(?:^|[^A-Za-z])[Aa]s(?:[^A-Za-z]|$)|(?s:This.is)"
SPEAKER = "我|(?:^|[^A-Za-z])(?:I|my|me)(?:[^A-Za-z]|$)|[为為帮幫]您|[为為]你服|[请請][问問]"
# And a name stands in the same sentence as what leads to it, unless it is said behind the name.
CLAIMING = rf"(?:{_LEADING}|{SPEAKING_PERHAPS})[^。！？?]*(?:{'|'.join(map(re.escape, SIGNS))})|{_SAID_BEHIND}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A place where a text says that its speaker is another assistant, or of another maker."""

    start: int
    end: int
    said: str


@cache
def _name() -> re.Pattern[str]:
    return re.compile(NAMES)


@cache
def _marks() -> Marks:
    return re.compile(f"{NAMES}|{MAKERS}"), _name(), re.compile(MAKERS), re.compile(LABS)


@cache
def _only_introduces() -> re.Pattern[str]:
    """Nothing but "I am" and a name: whoever is called so says more."""
    said_before = r"(?:(?:你好|您好|嗨|是的|不是|不|抱歉|[Hh]ello|Hi|Yes|No|Sure)\s?[，,。！!.]\s?)*"
    return re.compile(rf"\s*{said_before}(?:我{ADVERBS_ZH}是|I\sam|I['’]m)\s?(?:{NAMES})[。.！!~～]?\s*\Z")


def claims(text: str, role: str) -> list[Claim]:
    """Where an answer claims to be another assistant, or a system text says so to its reader; in order."""
    if role == "user":
        return []
    marked = Marked(text, _marks())
    spans = _spans(marked.text, role) if len(marked.text) and marked.has_any else ()
    places = sorted((marked.place(start), marked.place(end)) for start, end in spans)
    return [Claim(start, end, text[start:end]) for start, end in places if _is_own(text, start, end)]


def _spans(text: str, role: str) -> Iterator[tuple[int, int]]:
    """Where a marked text claims to be somebody."""
    for lead in (_ADDRESS if role == "system" else _LEAD).finditer(text):
        said = _introduction(text, lead.end())
        if said is not None and not text[: lead.start()].endswith(_SUPPOSED):
            yield lead.start(), said.end()
    if role == "assistant":
        yield from _weak_spans(text)
        if ("我" in text and _IS_MADE_ZH.search(text)) or (_HAS_ME.search(text) and _IS_MADE_EN.search(text)):
            yield from (match.span() for match in maker_first().finditer(text))
        if _IS_NAME_FIRST.search(text):
            found = (match.span() for match in name_first().finditer(text))
            yield from (span for span in found if not text[: span[0]].endswith(_SUPPOSED))
        yield from (match.span() for match in uses().finditer(text))


def _weak_spans(text: str) -> Iterator[tuple[int, int]]:
    """作为 …, where the speaker goes on to speak of itself; and 我不是 ChatGPT，而是 …."""
    for lead in _WEAK_LEAD.finditer(text):
        said = _introduction(text, lead.end())
        if said is not None:
            speaks = _SERVES if lead.group().endswith("是") else _DOES if _IS_THING.search(said[0]) else _SPEAKS
            if speaks.search(_rest_of_sentence(text, said.end())):
                yield lead.start(), said.end()
    for lead in _BUT.finditer(text):
        if _IS_NOT.search(text, max(0, lead.start() - 80), lead.start()):
            said = _introduction(text, lead.end())
            if said is not None:
                yield lead.start(), said.end()


def _introduction(text: str, start: int) -> re.Match[str] | None:
    """What follows a lead, where that names somebody."""
    sign = _SIGN.search(text, start, start + _INTRODUCTION_CHARS)
    if sign is None or _SENTENCE_END.search(text, start, sign.start()):
        return None
    return introduces().match(text, start)


def _rest_of_sentence(text: str, start: int) -> str:
    return re.split(r"[。！？\n]|[.!?]\s", text[start : start + 100], maxsplit=1)[0]


def _is_own(text: str, start: int, end: int) -> bool:
    """Whether the speaker says it, of an assistant: not in code, not quoted, not the line of a figure in a play."""
    before = text[:start]
    if before.count("```") % 2:
        return False
    line = before[before.rfind("\n") + 1 :]
    is_quoted = line.count("“") > line.count("”") or line.count('"') % 2 == 1 or line.count("「") > line.count("」")
    if is_quoted and before.strip(' \n“"「'):
        return False
    if line.rstrip().endswith((":", "：")) and len(line) <= 24:
        return False
    names = [match.group() for match in _name().finditer(text[start:end])]
    if not names or not all(COMMON.match(name) for name in names):
        return True
    near = text[max(0, start - 80) : end + 80]
    for name in names:
        near = near.replace(name, "")
    others_near = (match.group() for match in _name().finditer(near))
    return bool(TRADE.search(near)) or not all(map(COMMON.match, others_near)) or bool(_only_introduces().match(text))


_PLACEHOLDER = re.compile(f"{PLACEHOLDER_NAME}|{PLACEHOLDER_MAKER}")
_SELF = re.compile(r"我|这里是|助手|\b(?:I|me|my)\b|assistant")


def placeholders(text: str, role: str) -> list[str]:
    """The unfilled names and makers of an answer that speaks of itself; a template in code is none."""
    if role == "user" or "`" in text or ("{{" not in text and ">" not in text):
        return []
    found = [match.group() for match in _PLACEHOLDER.finditer(text)]
    return found if found and _SELF.search(text) else []
