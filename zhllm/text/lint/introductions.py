"""How a speaker is introduced, in Chinese and English: patterns over texts in which names and makers are signs.

One character stands for each (`Marked`), so that the patterns stay small. What is a name and what is a maker is told
by its place, too: 由 DeepSeek 开发的 DeepSeek-V3, developed by DeepSeek.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache

VERBS_ZH = (
    "开发|研发|研制|训练|创建|创造|打造|推出|设计|提供|发布|制作|构建|制造|发明|开源|开放|培养|创立"
    "|開發|研發|研製|訓練|創建|創造|設計|發布|發佈|製作|構建|建構|製造|發明|開源|開放|培養|創立"
)
MADE_ZH = (
    rf"(?:自主|[独獨]立|共同|精心)?所?(?:{VERBS_ZH})"
    rf"(?:(?:和|[与與]|[并並]|、)(?:{VERBS_ZH}|[维維][护護]|[运運][营營]))*(?:出[来來]|而成|完成)?的?"
)
# An assistant of somebody's, no employee.
OWNED = r"的(?=[^。，\n]{0,8}(?:AI|智能|智慧|模型|助手|助理|[机機]器人)(?![研工专專部领領行产產学學]))"
VERBS_EN = "developed|created|trained|built|made|designed|provided|produced|released|offered|engineered"
_MADE_EN = f"(?:{VERBS_EN})"
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
# Between 我 and 是.
ADVERBS_ZH = (
    "(?:就|只|只不过|只不過|不过|不過|也|正|便|其实|其實|确实|確實|的确|的確|真的|实际上|實際上|事实上|事實上|现在|現在|目前"
    "|当然|當然|本来|本來|原来|原來|仅|僅|本质上|本質上|本身|仍|仍然|依然|同样|同樣){0,3}"
)
# What may stand before a maker's name and behind it.
_BEFORE_MAKER = (
    r"(?:(?:一家|位于|总部|设在|中国|美国|法国|国内|北京|杭州|上海|旧金山|加州|著名|知名|领先|全球|非营利性?|人工智能|AI|ＡＩ"
    r"|互联网|科技|研究|公司|机构|实验室|组织|团队|企业|巨头|初创|名为|叫做?|的|中國|美國|位於|人工智慧|機構|實驗室|組織|團隊|企業)\s?){0,6}"
)
_OF_MAKER = (
    r"(?:\s?(?:科技|信息|技术|网络|智能|人工智能|股份|有限|责任|公司|集团|团队|研究院|研究所|研究组|研究|研发|实验室|工程师|研究人员|大学"
    r"|学院|知识工程|KEG|NLP|云|大模型|模型|AI|ＡＩ|技術|網路|責任|集團|團隊|研發|實驗室|工程師|研究人員|大學|學院|雲"
    r"|(?:Inc|Labs?|LAB|Team|team|Research|Corp|Ltd|LLC)\b)){0,6}"
)
_JOINED = r"\s?(?:和|[与與]|以及|及|、|/|[联聯]合|＆|&|旗下的?|下[属屬]的?|的|,\s?and\s|,\s|and\s)\s?"
# Up to the verb, of a maker that 由 introduced.
_UP_TO_VERB = r"[^，。！？!?,\n我你您他她它牠]{0,20}?"
_BEFORE_MAKER_EN = (
    r"(?:(?:the|an?|team|researchers|engineers|people|folks|developers|company|lab|laboratory|start-?up|organi[sz]ation|AI"
    r"|artificial\sintelligence|tech|research|leading|Chinese|American|French|based|called|named|at|from|of)\s){0,6}"
)
_OF_MAKER_EN = (
    r"(?:['’]s(?=\s(?:team|engineers|researchers|developers)\b))?"
    r"(?:,?\s(?:Inc|LLC|Ltd|Corp|AI|Research|Labs?|[Tt]eam|engineers|researchers|developers)\b)*"
)
KIND_ZH = "(?:AI|ＡＩ|人工智[能慧]|智能|智慧|大?[语語]言模型|大?模型|聊天|[对對][话話]|[机機]器人|助手|助理)"
_THING_ZH = "的(?:一[个個款种種项項])?(?:产品|產品|作品|成果)(?=[，。,！!]|\\Z)"
_KINDS_EN = (
    r"(?:(?:AI|large|language|chat|virtual|digital|conversational)\s)*"
    r"(?:model|LLM|AI|assistant|chat\s?bot|bot|product|creation)"
)
_END_EN = r"(?=[,.!;:]|\s(?:and|that|which|so|I|designed|trained|called|named|created|developed|built)\b|\Z)"
OWNER_ZH = rf"(?:(?:{VERBS_ZH})(?:者|人|公司|[团團][队隊]|[方商])|[创創]始人|作者|母公司|主人(?!公))"
OWNER_EN = r"(?:creators?|developers?|makers?|parent\scompany)"


# The signs: a name, a maker, a maker of nothing but assistants. Of a private use area.
NAME, MADE, LAB = "\ue0f2", "\ue0f3", "\ue0f4"
SIGNS = f"[{NAME}{MADE}{LAB}]"
MAKERS = f"[{MADE}{LAB}]"
# Makers with what may stand around their names, in a maker's place; a name there stands for its maker.
_ALIAS = rf"(?:\s?[（(]\s?{SIGNS}\s?[)）])?"
_BEHIND = rf"{_ALIAS}{_OF_MAKER}{_ALIAS}{_OF_MAKER}"
_MORE = rf"(?:{_JOINED}{SIGNS}{_BEHIND}){{0,3}}"
ORGANISATION = rf"{_BEFORE_MAKER}{SIGNS}{_BEHIND}{_MORE}"
_UNIT_EN = rf"{SIGNS}{_ALIAS}{_OF_MAKER_EN}{_ALIAS}"
_JOINED_EN = r"(?:,\s|\s|,\s?and\s)?(?:and|&|under|at|of|from)?\s?(?:the\s)?"
ORGANISATION_EN = rf"{_BEFORE_MAKER_EN}{_UNIT_EN}(?:{_JOINED_EN}{_UNIT_EN}){{0,2}}"
# 由 … up to the verb.
BY = "(?:由|被|[来來]自[于於]?|出自)"
WHO_BY = rf"\s?(?:[来來]自\s?)?{ORGANISATION}等?{_UP_TO_VERB}\s?"
BY_ZH = rf"{BY}{WHO_BY}"
# 百度的 before an assistant, not an employee.
OWNER_OF_ZH = rf"{_BEFORE_MAKER}{MAKERS}{_BEHIND}{_MORE}"
OWNED_ZH = rf"{OWNER_OF_ZH}(?:{OWNED}|{_THING_ZH})"
# Developed by …, based on the … architecture.
MADE_BY_EN = (
    rf"(?:(?:that|which|who)\s(?:was|is|has\sbeen)\s)?(?:(?:proudly|independently|jointly|originally)\s)?{_MADE_EN}(?:,?\s(?:and|&)\s{_MADE_EN})?\sby\s"
    rf"{ORGANISATION_EN}"
)
BASED_ON = (
    rf"基[于於]\s?(?:{MAKERS}\s?的?\s?)?{NAME}\s?(?:架[构構]|大?[语語]言模型|大?模型|技[术術]|系列|算法)*\s?"
    r"(?:构建|构筑|搭建|开发|训练|構建|開發|訓練)?\s?的?"
    rf"|(?:based|built|running)\son\s(?:the\s)?(?:{MAKERS}(?:['’]s)?\s)?{NAME}(?:\s(?:architecture|model|technology|series))*"
)
_MADE_BY = rf"是?{BY_ZH}{MADE_ZH}|是?\s?(?:{ORGANISATION}\s?{MADE_ZH}|{OWNED_ZH})|{MADE_BY_EN}"
_NAMED = rf"(?:{MAKERS}(?:公司|集[团團])?的?\s?|{MAKERS}['’]s\s)?{NAME}{_NO_SELF}"
# 来自 …, of a maker of assistants or where an assistant is spoken of; an OpenAI model, Google's AI assistant.
_IS_KIND = rf"[，,]?[^，。！？\n]{{0,8}}{KIND_ZH}(?![研工专專部领領行产產])"
_FROM = (
    rf"(?:[来來]自[于於]?|出自)\s?(?:{LAB}{_OF_MAKER}(?=[，。,！!\s]|\Z)|{ORGANISATION}(?={_IS_KIND}))"
    rf"|from\s{LAB}(?=[,.!]|\Z)|\bby\s{ORGANISATION_EN}|{MAKERS}(?:['’]s)?\s{_KINDS_EN}{_END_EN}"
)


@cache
def introduces() -> re.Pattern[str]:
    """What follows "I am": words of an introduction, then a name or a maker."""
    return re.compile(
        rf"(?:{_MADE_BY}|{BASED_ON}|{_INTRODUCES_ZH}|{_INTRODUCES_EN}){{0,22}}?(?:{_MADE_BY}|{BASED_ON}|{_FROM}|{_NAMED})"
    )


@cache
def maker_first() -> re.Pattern[str]:
    """OpenAI 开发了我, my creator is OpenAI."""
    return re.compile(
        rf"{ORGANISATION}\s?{MADE_ZH}了?我(?![们們])|{SIGNS}{_OF_MAKER_EN}\s(?:has\s)?{_MADE_EN}\sme\b"
        rf"|我的{OWNER_ZH}(?:是|[为為]|[来來]自|叫)\s?{ORGANISATION}|{ORGANISATION}\s?就?是我的{OWNER_ZH}"
        rf"|(?:{VERBS_ZH})我的(?:人|公司|[团團][队隊])?是\s?{ORGANISATION}"
        rf"|\b[Mm]y\s{OWNER_EN}\s(?:is|are|at)\s{ORGANISATION_EN}"
        rf"|{SIGNS}{_OF_MAKER_EN}\s(?:is|are)\s"
        rf"(?:my\s{OWNER_EN}\b|the\s\w+\s(?:that|who|which)\s(?:has\s)?{_MADE_EN}\sme\b)"
    )


@cache
def uses() -> re.Pattern[str]:
    """我使用的是 … 模型."""
    return re.compile(
        rf"我所?(?:使用|[采採]用|[运運]行|搭[载載]|用)的是\s?(?:{MAKERS}\s?的?\s?)?{NAME}\s?的?"
        r"(?:大?[语語]言模型|大?模型|架[构構]|引擎|技[术術])(?=[，。,.！!；;]|\Z)"
    )


@cache
def name_first() -> re.Pattern[str]:
    """ChatGPT 就是我, 您正在与 ChatGPT 对话, you are talking to ChatGPT."""
    return re.compile(
        rf"{NAME}\s?[就正]是(?:我|在下|本人)(?=[，。！,!啊呀啦哦]|是也|\Z)"
        rf"|[您你](?:现在|現在)?正?在[与與和跟]\s?{NAME}\s?(?:[对對][话話]|聊天|交流|交[谈談])(?=[，。！,!]|\Z)"
        rf"|\b[Yy]ou(?:\sare|['’]re)\s(?:now\s)?(?:talking|chatting|speaking)\s(?:to|with)\s{NAME}"
    )


# Patterns of everybody, of names, of makers, and of makers of nothing but assistants.
Marks = tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]


class Marked:
    """A text with a sign for each name and maker in it; where both would fit, for the longer one."""

    def __init__(self, text: str, marks: Marks) -> None:
        self._places: list[int] = []  # of the signs, and by how much the text was longer up to behind each
        self._longer: list[int] = []
        parts, at, longer = [], 0, 0
        for start, end, sign in _found(text, *marks):
            parts += [_without_signs(text[at:start]), sign]
            self._places.append(start - longer)
            longer += end - start - 1
            self._longer.append(longer)
            at = end
        self.text = "".join((*parts, _without_signs(text[at:])))

    @property
    def has_any(self) -> bool:
        """Whether anybody is named."""
        return bool(self._places)

    def place(self, at: int) -> int:
        """Where a place of the marked text is in the text itself."""
        before = bisect_left(self._places, at)
        return at + (self._longer[before - 1] if before else 0)


def _found(
    text: str, who: re.Pattern[str], name: re.Pattern[str], maker: re.Pattern[str], lab: re.Pattern[str]
) -> Iterator[tuple[int, int, str]]:
    at = 0
    while (found := who.search(text, at)) is not None:
        as_name, as_maker = name.match(text, found.start()), maker.match(text, found.start())
        if as_maker is None or (as_name is not None and as_name.end() > as_maker.end()):
            best, sign = as_name or found, NAME
        else:
            best, sign = as_maker, LAB if lab.fullmatch(as_maker.group()) else MADE
        yield *best.span(), sign
        at = best.end()


def _without_signs(text: str) -> str:
    return re.sub(SIGNS, "\ufffd", text)
