"""Answers that claim to be another assistant, found in the first person only.

An answer that explains what ChatGPT is stays. Between "I am" and a name only words of such an introduction may
stand ("I am a large language model called"), so that "I am not sure what ChatGPT says" claims nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property

from zhllm.text.lint.assistants import (
    COMMON,
    MAKERS,
    NAMES,
    PLACEHOLDER_MAKER,
    PLACEHOLDER_NAME,
    SIGNS,
    TRADE,
)

_VERBS_ZH = (
    "开发|研发|研制|训练|创建|创造|打造|推出|设计|提供|发布|制作|构建|制造|发明|开源|开放|培养|创立"
    "|開發|研發|研製|訓練|創建|創造|設計|發布|發佈|製作|構建|建構|製造|發明|開源|開放|培養|創立"
)
MADE_ZH = (
    rf"(?:自主|[独獨]立|共同|精心)?所?(?:{_VERBS_ZH})"
    rf"(?:(?:和|[与與]|[并並]|、)(?:{_VERBS_ZH}|[维維][护護]|[运運][营營]))*(?:出[来來]|而成|完成)?的?"
)
OWNED = r"的(?=[^。，\n]{0,8}(?:AI|智能|智慧|模型|助手|助理|[机機]器人))"  # an assistant of somebody's, no employee
_VERBS_EN = "developed|created|trained|built|made|designed|provided|produced|released|offered|engineered"
_MADE_EN = f"(?:{_VERBS_EN})"
# "I am a user of ChatGPT" in Chinese begins with the name.
_NO_SELF = (
    r"(?!\s?(?:的?(?:用户|粉丝|忠实|爱好者|开发者|员工|工程师|创始人|研究|客户|读者|竞争|替代|同类|朋友|使用者|人(?!工)"
    r"|用戶|粉絲|忠實|愛好者|開發者|員工|工程師|創始人|客戶|讀者|競爭|同類)"
    r"|公司|users?\b|fan\b))"
)
# No two of these begin one text alike where that can be helped: each would be tried at every place before it.
_INTRODUCES_ZH = (
    "一[个款名位种]|个|您的|你的|专属|超?大规模|大型|预训练|先进|强大|友好|智能|人工智能|AI|ＡＩ|语言|大模型|模型|助手|助理|聊天|对话|机器人"
    r"|程序|系统|虚拟|生成式|自然语言处理|叫做?|名叫|名为|名字[叫是]做?|被?[称稱][为為作]|可以叫我"
    r"|一[個種]|個|專屬|超?大規模|預訓練|強大|人工智慧|智慧|語言|助理|機器人|程式|系統|虛擬|自然語言處理|名為"
    r"|大名鼎鼎|传说中|傳說中|的|是|[，,、\s“\"「《【（(]"
)
_INTRODUCES_EN = (
    r"\b(?:an?|the|your|AI|artificial|intelligence|virtual|large|language|models?|assistant|chat\s?bot|bot|helpful|friendly"
    r"|powerful|advanced|digital|conversational|intelligent|just|actually|called|named|known|as|program|system|based|powered"
    r"|trained|by)\b|-|A\.I\."
)
# Each alternative begins with a letter, none with [Mm] or \\b: `re` then skips all that none begins with.
_LEAD = re.compile(
    r"我就?是|我[係系](?=\s?[A-Za-z一由])|我叫做?|我名[叫为為]|我的(?:中文|英文)?(?:全名|名字|名[称稱])(?:是|叫做?|[为為])|叫我|[称稱]呼?我[为為]"
    r"|本人(?:是|名?叫)|在下(?:是|乃|名?叫)|我(?=由|[来來]自|\s?[（(])|我(?=，)(?:(?<=\A.)|(?<=[。！？!?\n].))"
    r"|I\sam\b|I['’]m\b|I\swas\b|I['’]ve\sbeen\b|I\shave\sbeen\b|my\sname(?:\sis\b|['’]s\b)|My\sname(?:\sis\b|['’]s\b)|call\sme\b|refer\sto\sme\sas\b"
    r"|address\sme\sas\b|I\sgo\sby\b"
)
_WEAK_LEAD = re.compile(r"作[为為]|身[为為]|[这這][里裡]是|A(?<=\bA)s\b|a(?<=\ba)s\b|T(?<=\bT)his\sis\b")
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
    rf"(?:{_VERBS_ZH}|维护|运营|維護|運營)(?:出[来來]|而成|完成)?的?了?我|我的(?:{_VERBS_ZH})?[者创創作团團公母主]"
)
_MADE_ME_EN = rf"(?s:(?:{_VERBS_EN}).me|[Mm]y.(?:creator|developer|maker|parent))"
_IS_NAME_FIRST = re.compile(_NAME_FIRST.replace(r"\z", r"\Z"))
_IS_MADE_ZH, _IS_MADE_EN = re.compile(_MADE_ME_ZH), re.compile(_MADE_ME_EN)
_HAS_ME = re.compile(r"\s(?:me\b|[cdmp](?:reator|eveloper|aker|arent))")
_SIGN = re.compile("|".join(map(re.escape, SIGNS)))
# The words of an introduction are no longer than this together, and end with a sentence.
_INTRODUCTION_CHARS = 500
_SENTENCE_END = re.compile("[。！？?]")
# Of Rust's regular expressions, which know no look-around: a text that claims something has one of the first, or
# one of the second and one of the third.
_LEADING = (
    r"我就?是|我[係系叫名]|我的|叫我|[称稱]呼?我|本人|在下|我由|我[来來]自|(?s:我.?[（(])|我，"
    r"|(?s:I.am|I['’]m|I.was|I['’]ve.been|I.have.been|[Mm]y.name|(?:call|to|address).me|I.go.by)"
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


@dataclass(frozen=True)
class Grammar:
    """How a speaker is introduced by some names and makers (patterns)."""

    name: str
    maker: str

    @cached_property
    def organisation(self) -> str:
        """A maker with what may stand behind its name in Chinese."""
        return rf"(?:{self.maker})(?:\s?(?:科技)?(?:股份)?(?:有限)?(?:公司|集团|团队|研究院|研究团队|实验室))?"

    @cached_property
    def made_by_zh(self) -> str:
        """由 … 开发的."""
        org = self.organisation
        return rf"(?:是?由|被|来自于?|出自)\s?{org}等?\s?{MADE_ZH}|是?\s?{org}\s?(?:{MADE_ZH}|{OWNED})"

    @cached_property
    def made_by_en(self) -> str:
        """Developed by …"""
        return (
            rf"(?:(?:that|which|who)\s(?:was|is|has\sbeen)\s)?(?:proudly\s)?{_MADE_EN}(?:,?\s(?:and|&)\s{_MADE_EN})?\sby\s"
            r"(?:(?:the|a)\s)?(?:(?:team|researchers|engineers|people|folks|developers|company)\s?(?:at|from|of)?\s)?"
            rf"(?:{self.maker})"
        )

    @cached_property
    def based_on(self) -> str:
        """基于 … 架构的, based on the … architecture."""
        return (
            rf"基于\s?(?:(?:{self.maker})\s?的?\s?)?(?:{self.name})\s?(?:架构|大?语言模型|大?模型|技术|系列|算法)*\s?"
            r"(?:构建|开发|训练)?\s?的?"
            rf"|(?:based|built|running)\son\s(?:the\s)?(?:(?:{self.maker})(?:['’]s)?\s)?(?:{self.name})"
            r"(?:\s(?:architecture|model|technology|series))*"
        )

    @cached_property
    def said(self) -> re.Pattern[str]:
        """What follows "I am": words of an introduction, then a name or a maker."""
        made, name = rf"{self.made_by_zh}|{self.made_by_en}", rf"(?:{self.name}){_NO_SELF}"
        based = self.based_on
        return re.compile(rf"(?:{made}|{based}|{_INTRODUCES_ZH}|{_INTRODUCES_EN}){{0,22}}?(?:{made}|{based}|{name})")

    @cached_property
    def maker_first(self) -> re.Pattern[str]:
        """OpenAI 开发了我, my creator is OpenAI."""
        org = self.organisation
        return re.compile(
            rf"{org}\s?{MADE_ZH}了?我(?![们們])|(?:{self.maker})\s(?:has\s)?{_MADE_EN}\sme\b"
            rf"|我的(?:{_VERBS_ZH})?(?:者|[创創]始人|作者|[团團][队隊]|公司|母公司|主人)(?:是|[为為]|[来來]自|叫)\s?{org}"
            r"|\b[Mm]y\s(?:creators?|developers?|makers?|parent\scompany)\s(?:is|are|at)\s(?:the\s)?(?:team\sat\s)?"
            rf"(?:{self.maker})"
        )

    @cached_property
    def name_first(self) -> re.Pattern[str]:
        """ChatGPT 就是我, 您正在与 ChatGPT 对话, you are talking to ChatGPT."""
        return re.compile(
            rf"(?:{self.name})\s?[就正]是(?:我|在下|本人)(?=[，。！,!啊呀啦哦]|是也|\Z)"
            rf"|[您你](?:现在|現在)?正?在[与與和跟]\s?(?:{self.name})\s?(?:[对對][话話]|聊天|交流|交[谈談])(?=[，。！,!]|\Z)"
            rf"|\b[Yy]ou(?:\sare|['’]re)\s(?:now\s)?(?:talking|chatting|speaking)\s(?:to|with)\s(?:{self.name})"
        )


@cache
def others() -> Grammar:
    """The grammar of the known assistants."""
    return Grammar(NAMES, MAKERS)


@cache
def _name() -> re.Pattern[str]:
    return re.compile(NAMES)


def claims(text: str, role: str, grammar: Grammar | None = None) -> list[Claim]:
    """Where an answer claims to be another assistant, or a system text says so to its reader; in order."""
    if role == "user":
        return []
    grammar = grammar or others()
    spans = []
    for lead in (_ADDRESS if role == "system" else _LEAD).finditer(text):
        said = _introduction(grammar, text, lead.end())
        if said is not None and not text[: lead.start()].endswith(_SUPPOSED):
            spans.append((lead.start(), said.end()))
    if role == "assistant":
        for lead in _WEAK_LEAD.finditer(text):
            said = _introduction(grammar, text, lead.end())
            speaks = _SERVES if lead.group().endswith("是") else _SPEAKS
            if said is not None and speaks.search(_rest_of_sentence(text, said.end())):
                spans.append((lead.start(), said.end()))
        if ("我" in text and _IS_MADE_ZH.search(text)) or (_HAS_ME.search(text) and _IS_MADE_EN.search(text)):
            spans += [match.span() for match in grammar.maker_first.finditer(text)]
        if _IS_NAME_FIRST.search(text):
            found = (match.span() for match in grammar.name_first.finditer(text))
            spans += [span for span in found if not text[: span[0]].endswith(_SUPPOSED)]
    return [Claim(start, end, text[start:end]) for start, end in sorted(spans) if _is_own(text, start, end)]


def _introduction(grammar: Grammar, text: str, start: int) -> re.Match[str] | None:
    """What follows a lead, where that names somebody."""
    sign = _SIGN.search(text, start, start + _INTRODUCTION_CHARS)
    if sign is None or _SENTENCE_END.search(text, start, sign.start()):
        return None
    return grammar.said.match(text, start)


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
    return TRADE.search(near) is not None


_PLACEHOLDER = re.compile(f"{PLACEHOLDER_NAME}|{PLACEHOLDER_MAKER}")
_SELF = re.compile(r"我|这里是|助手|\b(?:I|me|my)\b|assistant")


def placeholders(text: str, role: str) -> list[str]:
    """The unfilled names and makers of an answer that speaks of itself; a template in code is none."""
    if role == "user" or "`" in text or ("{{" not in text and ">" not in text):
        return []
    found = [match.group() for match in _PLACEHOLDER.finditer(text)]
    return found if found and _SELF.search(text) else []
