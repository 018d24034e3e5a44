"""Rules for numbered articles, definitions and enumerations: wordings that laws, regulations and manuals share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from zhllm.text.synth.chunks import sentences
from zhllm.text.synth.outline import ARTICLE, ITEM, Block, Outline, without_numbering
from zhllm.text.synth.pairs import Kind, Pair, chance

_ARTICLE_ASKED = (
    "《{title}》{article}规定了什么？",
    "《{title}》{article}的内容是什么？",
    "请问《{title}》{article}是怎么规定的？",
)
_CALLED = re.compile(
    r"^(?:本(?:法|条例|规定|办法|章程|规则|细则|编|制度|手册|法律)|前款|前条)?(?:所称|中所称|所指)的?(?P<x>[^，。；：]{2,25}?)"
    r"，?(?:是|系)?指(?P<y>.{4,})$"
)
_MEANS = re.compile(r"^(?P<x>[^，。；：、“”]{2,20}?)，?(?:是指|系指|指的是)(?P<y>.{5,})$")
_NO_TERM = re.compile(
    r"^(?:这|那|该|此|其|它|他|她|本|也就|就|即|前|上述|下列|所谓|如果|主要|这里|我|你|您)|[的是]$|^第|应当|可以|不得|条$|款$"
)
_NOUNS = (
    "基本条件|情形|行为|条件|规定|职责|事项|内容|权利|义务|要求|材料|文件|方式|措施|原则|条款|因素|程序|情况|职权|"
    "人员|单位|机构|资料|信息|服务|工作|处分|处罚|财产|权益|标准|步骤|方法|制度|资源|活动|费用|待遇|证件|证明|领域|任务|"
    "做法|问题|记录|配件|注意事项|经费|收入|合同|标志|组织|作品|物品|设施|岗位|劳动者|行业"
)
_LISTED_NOUN = re.compile(rf"(?:下列|以下)(?P<kind>[\u4e00-\u9fff]{{0,4}}?(?:{_NOUNS}))(?P<one>之一)?")
_HOLDS = re.compile(r"^(?P<x>[^，。；：]{2,25}?)(?:主要|一般|通常)?(?:包括|包含|分为|由以下)[：:]?$")
_HOLDS_INLINE = re.compile(
    r"^(?P<x>[^，。；：、“”]{2,20}?)(?P<how>主要包括|一般包括|通常包括|包括|分为)(?P<y>[^，。；：]{2,20}(?:、[^，。；：]{1,20})*(?:和|以及|及|与|、)[^，。；：]{1,25})。$"
)
MAX_LEAD_CHARS = 120


def articles(outline: Outline, seed: int) -> Iterator[Pair]:
    """What each article of a law says, whole."""
    if not outline.is_law:
        return
    for section in outline.sections:
        starts = [n for n, block in enumerate(section.blocks) if ARTICLE.match(block.text)]
        for first, after in pairwise([*starts, len(section.blocks)]):
            yield _article(outline, section.blocks[first:after], seed)


def _article(outline: Outline, blocks: Sequence[Block], seed: int) -> Pair:
    found = ARTICLE.match(blocks[0].text)
    assert found is not None
    article, title = found[0], _law_name(outline)
    start = blocks[0].start + found.end()
    start += len(outline.slice(start, blocks[0].end)) - len(outline.slice(start, blocks[0].end).lstrip())
    said = joined(outline.slice(start, blocks[-1].end))
    way = _ARTICLE_ASKED[chance(seed, "article", title, article) % len(_ARTICLE_ASKED)]
    question = way.format(title=title, article=article)
    gap = "" if "\n" not in said else "\n"
    answer = f"《{title}》{article}规定：{gap}{said}"
    return _pair(outline, "factual", question, answer, (start, blocks[-1].end), "article")


def definitions(outline: Outline, seed: int) -> Iterator[Pair]:
    """What a term means: 本法所称X，是指…, X是指…; with the items that follow where it ends with a colon."""
    for section in outline.sections:
        for place, block in enumerate(section.blocks):
            if block.kind == "row" or block.is_continued:
                continue
            body = block.start + label_length(block.text)
            for start, sentence in sentences(outline.slice(body, block.end), body):
                whole = sentence if sentence[-1] != "；" else ""
                end = start + len(sentence)
                if sentence.endswith(("：", ":")):
                    items = _items_after(section.blocks, place)
                    end = items[-1].end if items else start
                pair = _definition(outline, whole, start, end, seed) if end > start else None
                if pair is not None:
                    yield pair


def _definition(outline: Outline, sentence: str, start: int, end: int, seed: int) -> Pair | None:
    called, means = _CALLED.match(sentence), _MEANS.match(sentence)
    found = called or means
    if (
        found is None
        or _NO_TERM.search(found["x"])
        or re.search('[“”"‘’]', found["x"].strip("“”"))
        or "？" in sentence
        or not sentence.endswith(("。", "：", ":"))
    ):
        return None
    term = found["x"].strip("“”\"'")
    said = joined(outline.slice(start, end))
    if called and not called["x"].startswith("所"):
        meaning = joined(outline.slice(start + called.start("y"), end))
        said = f"《{_law_name(outline)}》所称的{term}，是指{meaning}"
        return _pair(
            outline, "definition", f"《{_law_name(outline)}》所称的{term}是指什么？", said, (start, end), "term"
        )
    plain_way = ("什么是{x}？", "{x}是指什么？", "{x}是什么意思？")[chance(seed, "term", term) % 3]
    question = plain_way.format(x=term)
    if outline.is_law:
        question = f"根据《{_law_name(outline)}》，{plain_way.format(x=term)}"
    return _pair(outline, "definition", question, said, (start, end), "term")


def enumerations(outline: Outline, seed: int) -> Iterator[Pair]:
    """What a list holds, asked in the words of the line before it: 有下列情形之一的，… becomes 有哪些情形的，…"""
    del seed
    for section in outline.sections:
        for place, block in enumerate(section.blocks):
            items = _items_after(section.blocks, place)
            if not block.text.endswith(("：", ":")) or len(items) < 2 or block.is_continued or block.kind == "row":
                continue
            start = block.start + label_length(block.text)
            lead = list(sentences(outline.slice(start, block.end), start))[-1]
            if _stands(lead[1]) and not _CALLED.match(lead[1]) and (question := _asked_of(lead[1])):
                said = named(outline, joined(outline.slice(lead[0], items[-1].end)))
                question = in_law(outline, question, without_numbering(section.heading))
                yield _pair(outline, "factual", question, said, (lead[0], items[-1].end), "list")


def inline_enumerations(outline: Outline, seed: int) -> Iterator[Pair]:
    """X包括A、B和C。"""
    del seed
    for section in outline.sections:
        for block in section.blocks:
            if block.kind != "paragraph" or block.is_continued:
                continue
            body = block.start + label_length(block.text)
            for start, sentence in sentences(outline.slice(body, block.end), body):
                found = _HOLDS_INLINE.match(sentence)
                if not found or _NO_TERM.search(found["x"]) or not _stands(sentence):
                    continue
                what = _what_of(found)
                question = in_law(outline, f"{found['x']}{what}", without_numbering(section.heading))
                place = (start, start + len(sentence))
                yield _pair(outline, "factual", question, named(outline, sentence), place, "inline list")


def _what_of(found: re.Match[str]) -> str:
    """包括哪些, with the noun that the list itself ends with: 等合同, 等工作."""
    if found["how"] == "分为":
        return "分为哪几种？"
    noun = re.search("等(?:有形和无形)?([\u4e00-\u9fff]{2,4})$", found["y"])
    return f"{found['how']}哪些{noun[1] if noun else ''}？"


def _asked_of(lead: str) -> str | None:
    """The question that a line before a list answers, or None."""
    lead = lead.rstrip("：:")
    if not 4 <= len(lead) <= MAX_LEAD_CHARS or "？" in lead:
        return None
    if found := _HOLDS.match(lead):
        return None if _NO_TERM.search(found["x"]) else f"{lead.rstrip('：:')}哪些内容？"
    listed = list(_LISTED_NOUN.finditer(lead))
    if len(listed) != 1 or len(re.findall("下列|以下", lead)) != 1:
        return None
    found = listed[0]
    return f"{lead[: found.start()]}哪些{found['kind']}{lead[found.end() :]}？"


def _stands(lead: str) -> bool:
    """Whether a sentence can be asked on its own: nothing in it points back."""
    return not re.search(
        r"前[款条项]|本[法条]第|本[条款项节](?!例)|上述|前述|^(?:但|其中|此外|同时|并|且|也|还|即|除|这|那|该|其(?!他)|此(?!外))|有下列情形之一的?除外"
        r"|(?:^|[，、])(?:其(?!他|中|余|实)|该|此|它们?|他们?)",
        lead,
    )


def named(outline: Outline, text: str) -> str:
    """The text with a law's name where the law says 本法, so that it is understood elsewhere."""
    if not outline.is_law:
        return text
    return re.sub("本(?:法|条例|规定|办法|章程|规则|细则)(?![人院定律])", f"《{_law_name(outline)}》", text)


def in_law(outline: Outline, question: str, heading: str = "") -> str:
    """The question with the name of what it is about where its own words do not tell."""
    name = _law_name(outline)
    question = named(outline, question)
    if not outline.title or f"《{name}》" in question:
        return question
    if outline.is_law:
        return f"根据《{name}》，{question}"
    if re.search(r"[A-Za-z]+-?\d", question) or _meets(question, outline.title) or _meets(question, heading):
        return question
    return f"根据《{name}》，{question}"


def _meets(question: str, title: str) -> bool:
    """Whether two neighbouring Han characters of a title stand in the question: it names its subject."""
    return any(
        title[i : i + 2] in question for i in range(len(title) - 1) if title[i : i + 2].strip() == title[i : i + 2]
    )


def _law_name(outline: Outline) -> str:
    return outline.title.strip("《》")


def label_length(text: str) -> int:
    """How many characters an article's or an item's number and the blanks after it take."""
    found = ARTICLE.match(text) or ITEM.match(text)
    if found is None:
        return 0
    rest = text[found.end() :]
    return found.end() + len(rest) - len(rest.lstrip())


def _items_after(blocks: Sequence[Block], place: int) -> list[Block]:
    """The list items that directly follow a block, until an item that opens a list of its own ends them."""
    items: list[Block] = []
    for block in blocks[place + 1 :]:
        if block.kind != "item" or ARTICLE.match(block.text):
            break
        items.append(block)
    return items


def joined(text: str) -> str:
    """The slice of a document as an answer: no empty lines, no blanks at line ends."""
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def _pair(outline: Outline, kind: Kind, question: str, answer: str, place: tuple[int, int], rule: str) -> Pair:
    return Pair(kind, question, answer, *place, place, rule, outline.title)
