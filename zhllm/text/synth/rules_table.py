"""Rules for tables: what a cell says, and how two rows differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from zhllm.text.synth.outline import Block, Outline, without_numbering
from zhllm.text.synth.pairs import Kind, Pair, chance
from zhllm.text.synth.rules_law import in_law

_ATTRIBUTE = ("项目", "属性", "参数", "指标", "名目", "字段", "性能", "参数名称", "事项内容")
_VALUE = ("规定", "参数", "数值", "值", "答复", "内容", "要求", "说明", "取值", "规格", "标准", "答案", "备注")
_MAX_HEADER_CHARS, _MAX_ENTITY_CHARS, _MAX_VALUE_CHARS = 14, 30, 120
_PERSON = re.compile(r"(?:人|员|者|师|经理|主管|总监|主任|[处科部校院所局厂馆]长)$")
_NUMBER = re.compile(
    r"^[约近第每≤≥<>±]{0,2}\s*[\d零一二两三四五六七八九十半][\d零一二两三四五六七八九十百千万亿.,，点半]*\s*[^\s，。、]{0,5}$"
)
_PEOPLE = re.compile("姓名|名字|人员|联系人|员工|学生|客户|患者|工程师")
_REACHED = re.compile("电话|号码|地址|生日|出生|年龄|工资|薪")
_DURATION = re.compile(
    r"^[半\d零一二两三四五六七八九十百千.]+(?:个)?(?:工作日|自然日|年|月|季度|星期|周|天|日|小时|分钟|秒)半?$"
)
_CODE = re.compile(r"^[A-Za-z]")


@dataclass(frozen=True, slots=True)
class _Row:
    cells: tuple[str, ...]
    block: Block


def tables(outline: Outline, seed: int) -> Iterator[Pair]:
    """A question a cell, and one a pair of neighbouring rows that differ, from tables with a line of column names."""
    for section in outline.sections:
        for rows in _tables(section.blocks):
            heading = without_numbering(section.heading)
            if _is_of_attributes(rows):
                yield from _attributes(outline, rows, heading, seed)
            else:
                yield from _columns(outline, rows, heading, seed)


def _tables(blocks: Sequence[Block]) -> Iterator[list[_Row]]:
    """Neighbouring rows of one width with a head of at least two short names."""
    held: list[_Row] = []
    for block in [*blocks, Block("paragraph", "", -1)]:
        cells = tuple(cell.strip() for cell in block.text.strip("|").split("|")) if block.kind == "row" else ()
        if cells and (not held or len(cells) == len(held[0].cells)):
            held.append(_Row(cells, block))
            continue
        if _is_table(held):
            yield held
        held = [_Row(cells, block)] if cells else []


def _is_table(rows: list[_Row]) -> bool:
    if len(rows) < 2 or len(rows[0].cells) < 2:
        return False
    head = rows[0].cells
    return len(set(head)) == len(head) and all(
        0 < len(name) <= _MAX_HEADER_CHARS and not _NUMBER.match(name) for name in head
    )


def _is_of_attributes(rows: list[_Row]) -> bool:
    """Whether the columns are a thing, the name of something about it, and its value."""
    head = rows[0].cells
    return len(head) == 3 and (head[1] in _ATTRIBUTE or head[2] in _VALUE) and head[1] != "数量"


def _attributes(outline: Outline, rows: list[_Row], heading: str, seed: int) -> Iterator[Pair]:
    for row in rows[1:]:
        entity, name, value = row.cells
        if _fits(entity, name, value):
            yield _asked(outline, row, (entity, name, value), heading, seed)
    for one, other in pairwise(rows[1:]):
        same = (
            _alike(one.cells[0], other.cells[0]) and one.cells[1] == other.cells[1] and one.cells[0] != other.cells[0]
        )
        same = same and _comparable(one.cells[2], other.cells[2])
        if same and _fits(*one.cells) and _fits(*other.cells):
            yield _compared(outline, one, other, (one.cells, other.cells), heading)


def _columns(outline: Outline, rows: list[_Row], heading: str, seed: int) -> Iterator[Pair]:
    head, body = rows[0].cells, rows[1:]
    entities = [row.cells[0] for row in body]
    if len(set(entities)) < len(entities) or any(_NUMBER.match(entity) for entity in entities):
        return
    is_of_people = bool(_PEOPLE.search(head[0]))
    for row in body:
        for name, value in zip(head[1:], row.cells[1:], strict=True):
            if _fits(row.cells[0], name, value) and not (is_of_people and _REACHED.search(name)):
                yield _asked(outline, row, (row.cells[0], name, value), heading, seed)
    for one, other in pairwise(body):
        for place, name in enumerate(head[1:], 1):
            sides = [(row.cells[0], name, row.cells[place]) for row in (one, other)]
            if _fits(*sides[0]) and _fits(*sides[1]) and _comparable(sides[0][2], sides[1][2]):
                yield _compared(outline, one, other, sides, heading)


def _is_person(entity: str) -> bool:
    """Whether a name is of a person, whose telephone is nobody's business."""
    import rjieba

    return 2 <= len(entity) <= 4 and rjieba.tag(entity)[0][1].startswith("nr")


def _comparable(value: str, another: str) -> bool:
    """Whether two values are amounts of one unit, so that it makes sense to ask how they differ."""
    units = [re.sub(r"[\d零一二两三四五六七八九十百千万亿半.,点约\s]", "", v) for v in (value, another)]
    return bool(_NUMBER.match(value) and _NUMBER.match(another)) and units[0] == units[1] and len(value) <= 12


def _alike(entity: str, other: str) -> bool:
    """Whether two things have a pair of characters in common, as 新员工年假 and 老员工年假 have."""
    return any(entity[i : i + 2] in other for i in range(len(entity) - 1))


def _fits(entity: str, name: str, value: str) -> bool:
    return (
        1 < len(entity) <= _MAX_ENTITY_CHARS
        and 0 < len(name) <= _MAX_HEADER_CHARS
        and 0 < len(value) <= _MAX_VALUE_CHARS
        and value not in ("-", "—", "/", "无", "√", "×", "N/A", "是", "否")
        and not re.search("[？?。]|是否|身份证|证件号|银行卡|卡号|密码|住址|手机|邮箱|微信", entity + name)
        and not (name.endswith("电话") and _is_person(entity))
        and not re.fullmatch(r"\[.*\]|【.*】", value)
    )


def _asked(outline: Outline, row: _Row, said: tuple[str, str, str], heading: str, seed: int) -> Pair:
    entity, name, value = said
    what = _question_word(name, value)
    variants = (f"{entity}的{name}{what}？", f"请问{entity}的{name}{what}？")
    question = in_law(outline, variants[chance(seed, "cell", entity, name) % 4 == 0], heading)
    verb = "" if what.startswith("表示") else "是"
    kind: Kind = "factual" if verb else "definition"
    answer = f"{_joint(entity, name)}{verb or '表示'}{value.rstrip('。')}。"
    if not verb:
        question = in_law(outline, f"{_joint(entity, name)}表示什么？", heading)
    place = (row.block.start, row.block.end)
    return Pair(kind, question, answer, *place, place, "table cell", outline.title)


def _joint(entity: str, name: str) -> str:
    return f"{entity}的{name}"


def _question_word(name: str, value: str) -> str:
    if re.search(r"(?:故障码|错误码|代码|报警码)\s*[A-Za-z]", name):
        return "表示什么"
    if _PERSON.search(name):
        return "是谁"
    if re.search("(?:期|期限|周期|时长|时间|寿命|天数)$", name) and _DURATION.match(value):
        return "是多久" if not name.endswith("天数") else "是多少"
    if re.search("电话|号码|分机|短号|账号|编号|手机", name):
        return "是多少"
    if re.search(r"(?:时间|日期|日子|时刻|月份|打款日|期限)$", name) and not re.search(
        r"[天年周小时分钟个月日]{1,2}$", value
    ):
        return "是什么时候"
    if re.search(r"(?:地点|位置|地址|场所)$", name):
        return "是哪里" if not name.endswith("位置") else "在哪里"
    return "是多少" if _NUMBER.match(value) and not _CODE.match(value) else "是什么"


def _compared(outline: Outline, one: _Row, other: _Row, sides: Sequence[tuple[str, ...]], heading: str) -> Pair:
    (first, name, value), (second, _, another) = sides
    value, another = value.rstrip("。"), another.rstrip("。")
    question = in_law(outline, f"{first}和{second}的{name}有什么不同？", heading)
    answer = f"{first}的{name}是{value}，而{second}的{name}是{another}。"
    if value == another:
        question = in_law(outline, f"{first}和{second}的{name}相同吗？", heading)
        answer = f"相同，{first}和{second}的{name}都是{value}。"
    place = (one.block.start, other.block.end)
    return Pair("comparison", question, answer, *place, place, "table rows", outline.title)
