"""Rules for headings and their sections, written questions and answers, and lists of steps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zhllm.text.synth.outline import ITEM, Outline, Section, without_numbering
from zhllm.text.synth.pairs import Kind, Pair, chance
from zhllm.text.synth.rules_law import in_law, joined

_ASKED = re.compile(r"^(?:问|Q|Question|提问|问题)\s*\d*\s*[：:.、]\s*(?P<text>.+)$", re.IGNORECASE)
_ANSWERED = re.compile(r"^(?:答|A|Answer|回答|解答|答复)\s*\d*\s*[：:.、]\s*(?P<text>.+)$", re.IGNORECASE)
_ONE_LINE = re.compile(r"^(?:[-*•·]\s+)?问[：:]\s*(?P<q>[^？?]{3,80}[？?])\s*答[：:]\s*(?P<a>[^？?]{1,300})$")
_PROCEDURE = re.compile(r"怎么|怎样|如何|步骤|流程|程序|手续|该怎么办")
_STEPS = re.compile(r"(?:步骤|流程|程序|方法|做法|操作|手续)$")
_QUESTION_HEADING = re.compile(r"[？?]$|^(?:怎样|怎么|如何|为什么|为何|什么是|谁|哪些|何时|几)")
_SUBJECT_TAIL = re.compile(
    r"\s*(?:使用手册|用户手册|操作手册|产品手册|使用说明书?|说明书|用户指南|使用指南|快速入门|操作指南|手册|指南)(?:[（(].*[)）])?$"
)
_SECTION_ASKED = (
    "《{title}》中“{heading}”部分讲了什么？",
    "请介绍一下《{title}》中关于“{heading}”的内容。",
    "关于“{heading}”，《{title}》是怎么说的？",
)
_LAW_SECTION = re.compile(r"^第.+[章节编]")


def subject_of(outline: Outline) -> str:
    """What a manual is about: its title without 使用手册 and the like; "" where the title says no more."""
    found = _SUBJECT_TAIL.sub("", outline.title)
    return found if found != outline.title else ""


def kind_of(question: str) -> Kind:
    """The kind that a question's own words tell."""
    if re.search("是指什么|什么是|什么意思|定义", question):
        return "definition"
    if re.search("不同|区别|差别|分别", question):
        return "comparison"
    return "procedure" if _PROCEDURE.search(question) else "factual"


def written_questions(outline: Outline, seed: int) -> Iterator[Pair]:
    """问：… 答：…, on two lines or on one."""
    del seed
    for section in outline.sections:
        for block, after in zip(section.blocks, [*section.blocks[1:], None], strict=True):
            place = (block.start, block.end)
            if found := _ONE_LINE.match(block.text):
                yield _written(outline, found["q"], found["a"], place)
            elif after is not None and (asked := _ASKED.match(block.text)) and (said := _ANSWERED.match(after.text)):
                answer, end = said["text"], after.end
                yield _written(outline, asked["text"], answer, (block.start, end))


def _written(outline: Outline, question: str, answer: str, place: tuple[int, int]) -> Pair:
    question = question.strip()
    return Pair(
        kind_of(question), question, _sentence(answer.strip()), *place, place, "written question", outline.title
    )


def _sentence(answer: str) -> str:
    return answer if answer[-1] in "。！？!?.）)”" else answer + "。"


def question_headings(outline: Outline, seed: int) -> Iterator[Pair]:
    """A heading that asks, and what stands under it."""
    del seed
    for section in outline.sections:
        heading = without_numbering(section.heading)
        if not _QUESTION_HEADING.search(heading) or outline.is_law or len(heading) < 4:
            continue
        place = _body(section)
        if place is None:
            continue
        question = heading.rstrip("？?") + "？"
        question = _with_subject(outline, question)
        answer = joined(outline.slice(*place))
        yield Pair(kind_of(question), question, answer, *place, place, "question heading", outline.title)


def _with_subject(outline: Outline, question: str) -> str:
    """A heading's question stands under its title, so it seldom names what it is about."""
    subject = re.sub("[（(][^（）()]*[)）]", "", subject_of(outline) or outline.title).split("：")[-1].strip()
    if not subject or any(subject[i : i + 2] in question for i in range(len(subject) - 1)):
        return question
    return f"关于{subject}，{question}" if len(subject) <= 20 else f"《{outline.title}》中，{question}"


def steps(outline: Outline, seed: int) -> Iterator[Pair]:
    """A list of steps under a heading that names a procedure."""
    del seed
    for section in outline.sections:
        heading = without_numbering(section.heading)
        items = [block for block in section.blocks if block.kind == "item"]
        if not _STEPS.search(heading) or len(heading) > 20 or len(items) < 2 or outline.is_law:
            continue
        first, last = section.blocks.index(items[0]), section.blocks.index(items[-1])
        if last - first + 1 != len(items) or not re.match(r"\d|[（(]|第", ITEM.match(items[0].text)[0]):  # type: ignore[index]
            continue
        place = (items[0].start, items[-1].end)
        subject = subject_of(outline)
        whose = subject if subject and subject not in heading else ""
        question = f"{whose}的{heading}是什么？" if whose else in_law(outline, f"{heading}是什么？")
        said = f"{whose + '的' if whose else ''}{heading}如下：\n{joined(outline.slice(*place))}"
        yield Pair("procedure", question, said, *place, place, "steps", outline.title)


def sections(outline: Outline, seed: int) -> Iterator[Pair]:
    """What a section of a titled document says, whole."""
    if outline.is_law or not outline.title:
        return
    for section in outline.sections:
        heading = without_numbering(section.heading)
        place = _body(section)
        is_asked = _QUESTION_HEADING.search(heading)
        if place is None or not 2 <= len(heading) <= 20 or heading == outline.title or is_asked:
            continue
        if any(block.kind == "row" for block in section.blocks) or re.search(r"[：:。，]|第?\d+组|一览|目录", heading):
            continue
        if place[1] - place[0] < 40:
            continue
        way = _SECTION_ASKED[chance(seed, "section", outline.title, heading) % len(_SECTION_ASKED)]
        question = way.format(title=outline.title.strip("《》"), heading=heading)
        answer = joined(outline.slice(*place))
        yield Pair("factual", question, answer, *place, place, "section", outline.title)


def _body(section: Section) -> tuple[int, int] | None:
    """Where the section's text stands, tables at its end left out; None where something else stands in between."""
    blocks = list(section.blocks)
    while blocks and blocks[-1].kind == "row":
        blocks.pop()
    if not blocks or any(block.kind == "row" for block in blocks):
        return None
    return blocks[0].start, blocks[-1].end
