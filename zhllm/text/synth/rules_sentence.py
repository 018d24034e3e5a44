"""Rules for single sentences: the place of a number, a date, a person or a name becomes a question word.

Chinese leaves the question word where the answer stands (每九十天换一次: 每多少天换一次？), so a masked
sentence is a grammatical question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zhllm.text.synth.chunks import sentences
from zhllm.text.synth.numbers import ARABIC, HAN_NUMBER
from zhllm.text.synth.outline import ARTICLE, Outline, without_numbering
from zhllm.text.synth.pairs import Pair
from zhllm.text.synth.rules_law import in_law, label_length, named

_MIN_CHARS, _MAX_CHARS = 8, 70
_BACK = re.compile(
    r"它|他(?!人)|她|[这那]|该|此|其(?!他|余|实|中)|其中|上述|前述|前[款条项]|本[条款项节](?!例)|如下|下列|以下|我|你|您|咱|俺|大家|"
    r"例如|比如|据说|听说|大约|可能|也许|大概|左右|多少|什么|怎么|昨天|今天|明天|去年|今年|明年|上周|本周|下周|上次|下次|当时|当天|次日起|刚才|"
    r"以前|后来|最后|最近|有人|有一|某|说|问|觉得|认为|以为|看到|听到|还是|似乎|好像|甚至|换句话|也就是|请|請|或者(?=直接)|欢迎|记牢|[“”‘’「」（）()]"
)
_BAD_START = re.compile(
    r"^(?:超过|不足|不到|未满|满|达到|逾|但|而|因此|所以|也|还|又|并|同时|否则|然后|接着|不过|于是|再|就|才|如|若|当|一共|共|即|前|后|"
    r"过期|过了|用完|到期|没有|不|另|除|对|从|在|按|由|把|被|让|请|要|应|可|只|都|每|最|第|凡|无|有|是|以|为|与|和|或|及|至|则|"
    r"中间|情况|增加|删去|修改|具体|期间|届时|随后|之后|之前|一般|通常|平时|目前|现在|首先|其次|例|\d)"
)
_STATES = re.compile(
    r"应当|应[^用急]|必须|不得|不能|至少|最多|最少|不超过|不少于|上限|下限|期限|有效|每[年月天周次季度人晚份台个两半件位]|是|为|要|提前|之?内|可以|有|需|叫|可|供应|开始|锁门|发车|发放|上班|下班|达|施行|生效"
)
_NUMERAL = rf"(?:{ARABIC}|{HAN_NUMBER})"
_TIME = re.compile(
    r"(?:清晨|早上|上午|中午|下午|晚上|夜里|傍晚|凌晨)?(?<![\d零一二三四五六七八九十百千])"
    r"(?:\d{1,2}|[零一二两三四五六七八九十]{1,3})点(?!之)(?:半|一刻|三刻|整|(?:\d{1,2}|[零一二三四五六七八九十]{1,3})分?)?(?:钟)?(?![\d零一二三四五六七八九十米毫克倍度])"
)
_DATE = re.compile(
    r"(?:\d{4}|[〇零一二三四五六七八九]{4})年(?:[\d一二三四五六七八九十]{1,3}月(?:[\d一二三四五六七八九十]{1,3}[日号])?)?|"
    r"(?<![\d一二三四五六七八九十个])(?:\d{1,2}|[一二三四五六七八九十]{1,3})月(?:(?:\d{1,2}|[一二三四五六七八九十]{1,3})[日号]|[初中末底])"
)
_WEEKDAY = re.compile(r"(?<=每)(?:周|星期)[一二三四五六日天]")
_COUNTED = re.compile(
    rf"(?<![第\d零〇两一二三四五六七八九十百千万几数.A-Za-z-])(?P<n>{_NUMERAL})(?P<half>半)?(?P<unit>个工作日|个自然日|个小时|小时|分钟|秒钟|个月|个季度|周岁|岁|"
    r"天|日|年|周|次|元|万元|美元|倍|摄氏度|度|升|毫升|微升|千克|公斤|毫克|微克|克|厘米|毫米|微米|纳米|公里|千米|米每秒|米|分贝|转|"
    r"GB|MB|TB|伏|瓦|人|名|份|折|位|节|孔|平方米|页|条(?!件|例|款)|套)(?!之|以[上下]|[^\s，。；]{0,6}以下)"
)
_PERCENT = re.compile(rf"百分之{HAN_NUMBER}|{ARABIC}\s*[%％]")
_NAMED = re.compile(r"^(?P<x>[^，。：；]{3,24}?)(?:名叫|叫做|叫)(?P<z>[^，。：；不]{2,12})。$")
_BY = re.compile(
    r"^(?P<x>[^，。：；]{2,24}?)由(?P<z>[^，。：；]{2,30})(?P<verb>负责|保管|审批|批准|承担|管理|主持|制定|解释|领导|供电|配送|规定|决定|选举产生)(?P<rest>(?:[、并和][^，。：；的]{1,10})?)。$"
)
_AT = re.compile(
    r"^(?P<x>[^，。：；]{2,20}?(?<![是正现存实内外潜]))(?P<at>在|位于|设在)(?P<z>[^，。：；的时得应可将经]{1,14}(?:楼|层|室|厅|侧|区|广场|镇|县|市|村|路|街|仓库|园|旁边|门口|中心|院|馆))。$"
)
_OF = re.compile(
    r"^(?P<x>[^，。：；是]{2,24}?)的(?P<y>[^，。：；的是不]{2,10}?)(?P<verb>是)(?P<z>[^，。：；是]{1,40})。$"
)
_PERSON = re.compile(
    r"(?:负责人|联系人|管理员|经理|主管|总监|主任|主持人|馆长|厂长|校长|院长|董事长|代表人|讲师|师|创始人|主席|部长|组长|处长|科长|审批人|批准人|保管人)$"
)
_DURATION = re.compile(r"[半\d一二两三四五六七八九十百]+个?(?:半年|年|月|季度|星期|周|天|小时|分钟)")
_VAGUE = re.compile("[一两](?:天|年|周|次|位|名|人|份|套|节|条)")
_ABOUT = re.compile("[一二两三四五六七八九]{2}")  # 两三年 is no number
_BARE_HOUR = re.compile("[一两二三四]点")
_HOW_MUCH = "多少"


def facts(outline: Outline, seed: int) -> Iterator[Pair]:
    """One question a sentence where the sentence says something lasting of something it names."""
    del seed
    for section in outline.sections:
        heading = without_numbering(section.heading)
        for block in section.blocks:
            if block.kind not in ("paragraph", "item") or "：" in block.text[:14] and not outline.is_law:
                continue
            body = block.start + label_length(block.text)
            for number, (start, sentence) in enumerate(sentences(outline.slice(body, block.end), body)):
                if number == 0 and block.is_continued or not _stands(sentence, outline.is_law):
                    continue
                if (asked := question_of(sentence)) is not None:
                    yield _pair(outline, asked, sentence, start, heading)


def _pair(outline: Outline, asked: tuple[str, str], sentence: str, start: int, heading: str) -> Pair:
    question, rule = asked
    answer = named(outline, sentence)
    place = (start, start + len(sentence))
    return Pair("factual", in_law(outline, question, heading), answer, *place, place, rule, outline.title)


def _stands(sentence: str, is_law: bool) -> bool:
    """Whether a sentence says of itself what it is about."""
    return (
        _MIN_CHARS <= len(sentence) <= _MAX_CHARS
        and sentence[-1] == "。"
        and sentence.count("，") <= (3 if is_law else 1)
        and not _BACK.search(sentence)
        and not _BAD_START.match(sentence)
        and not re.search("是?指", sentence[:25])
        and not ARTICLE.match(sentence)
    )


def question_of(sentence: str) -> tuple[str, str] | None:
    """(question, rule) for a sentence that stands alone, or None."""
    for pattern, rule, make in (
        (_BY, "agent", _who),
        (_NAMED, "name", lambda found: f"{found['x']}叫什么？"),
        (_AT, "place", lambda found: f"{found['x']}{found['at']}哪里？"),
        (_OF, "attribute", _what),
    ):
        found = pattern.match(sentence)
        if found and (question := make(found)):
            return question, rule
    return _counted(sentence)


def _who(found: re.Match[str]) -> str | None:
    if re.search("可以|应当|不|都|[和与]$", found["x"]) and not found["x"].endswith("应当"):
        return None
    who = "什么" if found["verb"] == "供电" or re.search("(?:法律|法规|章程|规定)$", found["z"]) else "谁"
    return f"{found['x']}由{who}{found['verb']}{found['rest']}？"


def _what(found: re.Match[str]) -> str | None:
    x, y, z = found["x"], found["y"], found["z"]
    if re.search(r"^(?:目的|原则|意思|道理|好处|东西|人|事|时候|样子)", y) or re.search(
        _NUMERAL + r"(?![\u4e00-\u9fff]*[色钢])", z
    ):
        return None
    if z.endswith("的") and not z.endswith("色的"):
        return None
    first, last = _tags(x)[0], _tags(z)[-1]
    if first.startswith(("v", "p", "d", "c")) and first != "vn":
        return None
    if _DURATION.fullmatch(z):
        return f"{x}的{y}是多久？"
    what = (
        "是谁"
        if _PERSON.search(y) or last == "nr" and len(z) <= 4
        else "是什么颜色"
        if re.search("色的?$", z)
        else f"{found['verb']}什么"
    )
    if re.search("(?:时间|日期)$", y):
        what = "是什么时候"
    elif re.search("(?:地点|位置|地址)$", y):
        what = "是哪里"
    return f"{x}的{y}{what}？"


def _tags(text: str) -> list[str]:
    """The parts of speech of a text's words, as jieba's dictionary has them."""
    import rjieba

    return [tag for _, tag in rjieba.tag(text)]


def _counted(sentence: str) -> tuple[str, str] | None:
    """The last number, time or date of a sentence as a question word."""
    found = _places(sentence) if _STATES.search(sentence) else []
    if not found:
        return None
    start, end, word, rule = max(found)
    before, after = sentence[:start], sentence[end:-1]
    if start == 0 and rule == "date":  # how a story begins
        return None
    if re.search(r"[“《（(]$", before) or re.match("以上|以下|左右|或者|到|至", after):
        return None
    if re.search(rf"(?:{_NUMERAL}|[天年月日])(?:至|到|、|或者?|－|-|~)$", before):
        return None
    rest = _rest(before, after)
    if rest is None or len(before) + len(rest) < 4:
        return None
    return f"{before}{word}{rest}？", rule


def _places(sentence: str) -> list[tuple[int, int, str, str]]:
    """Every (start, end, question word, rule) in a sentence."""
    dates = [(m.start(), m.end(), "什么时候", "date") for m in _DATE.finditer(sentence)]
    found = [
        (m.start(), m.end(), ("几" if m["unit"] == "折" else _HOW_MUCH) + m["unit"], "number")
        for m in _COUNTED.finditer(sentence)
        if m["n"] != "一"
        and (m["unit"] == "折" or not _ABOUT.fullmatch(m["n"]))
        and not m["half"]
        and not _VAGUE.match(m[0])
    ]
    found += [(m.start(), m.end(), "百分之多少", "number") for m in _PERCENT.finditer(sentence)]
    found += [(m.start(), m.end(), "几点", "time") for m in _TIME.finditer(sentence) if not _BARE_HOUR.fullmatch(m[0])]
    found += [(m.start(), m.end(), "周几", "time") for m in _WEEKDAY.finditer(sentence)]
    return dates + [one for one in found if not any(start <= one[0] < end for start, end, *_ in dates)]


def _rest(before: str, after: str) -> str | None:
    """What of the sentence after the answer belongs to the question; None where it would make no question."""
    if after.startswith("，") and re.search("是|为|超过|少于|低于|高于|[每满限达]", before.split("，")[-1]):
        return ""  # 任期为五年，可以连选连任: what follows is another statement
    if exception := re.search("，[^，]*(?:除外|另有规定)[^，]*$", after):
        after = after[: exception.start()]
    if after.count("，") > 1 or re.search("，(?:但|并且|否则|不过|而|也|其余|也就)", after):
        return None
    return after
