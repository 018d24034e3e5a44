"""The service folder: cases, calls, letters, visits, orders, logs, reports, lessons."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass

from corpora.make import plots_case, plots_misc, plots_office
from corpora.make.facts import FACTS
from corpora.make.grammar import Beat, Writer, items, plot
from corpora.make.lexicon import LEXICON
from corpora.make.scenes import days, scene

WORDS = {**LEXICON, **plots_misc.EXTRA_LEXICON}
TOPICS = plots_misc.EXTRA_LEXICON["topic"]

# For each product: what is measured, its unit, three set values, the largest
# error of a passed instrument and the decimals shown.
POINTS: dict[str, tuple[str, str, tuple[float, float, float], float, int]] = {
    "水质仪LX-300": ("酸碱度", "", (4.00, 6.86, 9.18), 0.02, 2),
    "水质笔LX-120": ("酸碱度", "", (4.00, 6.86, 9.18), 0.05, 2),
    "墒情仪SQ-50": ("含水率", "%", (10.0, 20.0, 35.0), 1.0, 1),
    "离心机CF-16": ("转速", "转", (3000, 8000, 15000), 20, 0),
    "恒温箱TH-80": ("温度", "度", (30.0, 45.0, 60.0), 0.3, 1),
    "气象站WS-9": ("风速", "米每秒", (5.0, 15.0, 30.0), 0.3, 1),
    "显微镜MV-700": ("尺寸", "微米", (10.0, 50.0, 100.0), 0.2, 1),
    "移液器PT-200": ("容量", "微升", (20.0, 100.0, 200.0), 0.8, 1),
    "电子天平BL-22": ("质量", "克", (1.0, 50.0, 100.0), 0.0002, 4),
    "光度计SP-45": ("波长", "纳米", (450.0, 546.1, 700.0), 0.8, 1),
}

ASKED = (
    ("人$|经理|姓名|主管|管理员", "是谁"),
    ("期$|期限|时长|周期|预热|续航|寿命", "是多久"),
    ("价格|金额|费用|押金|标准|上限|月租|长度|高度|深度|次数", "是多少"),
    ("地点|位置|港口|医院|城市", "是哪里"),
    ("", "是什么"),
)


@dataclass(frozen=True)
class Record:
    """One generated record."""

    id: str
    title: str
    text: str


Titler = Callable[[dict[str, str]], str]

TITLES: dict[str, Titler] = {
    "case": lambda s: f"案例：{s['place']}{s['org']}的{s['product']}",
    "call": lambda s: f"通话记录：{s['product']}（{s['contact']}）",
    "letter": lambda s: f"{s['place']}{s['contact']}的来信",
    "visit": lambda s: f"走访记录：{s['place']}{s['org']}",
    "order": lambda s: f"维修工单{s['code']}：{s['product']}",
    "training": lambda s: f"培训笔记：{s['topic']}",
    "calibration": lambda s: f"校准报告{s['code']}：{s['product']}",
    "trouble": lambda s: f"常见问题：{s['product']}",
}
PLOTS: dict[str, list[Beat]] = {
    "case": plot("case", plots_case.CASE),
    "call": plot("call", plots_case.CALL),
    "letter": plot("letter", plots_case.LETTER),
    "visit": plot("visit", plots_case.VISIT),
    "order": plot("order", plots_office.ORDER_TEXT),
    "weekly": plot("weekly", plots_office.WEEKLY),
    "minutes": plot("minutes", plots_office.MINUTES),
    "calibration": plot("calibration", plots_office.CALIBRATION),
    "log": plot("log", plots_office.LOG_LINE),
    "trouble": plot("trouble", plots_misc.TROUBLE),
    "training": plot("training", plots_misc.TRAINING),
    "lecture": plot("lecture", plots_misc.LECTURE),
    "found": plot("found", plots_misc.FOUND),
    "upkeep": plot("upkeep", plots_misc.UPKEEP),
}
QUIZ = items(plots_misc.QUIZ.replace("=\n", "", 1))


def writer(seed: int) -> Writer:
    """A writer with the common lexicon."""
    return Writer(seed, WORDS)


def slots_for(pen: Writer, day: dt.date) -> dict[str, str]:
    """The slots of one record, with a topic for those that have one."""
    slots = scene(pen, day)
    slots["topic"] = pen.pick("topic", TOPICS)
    slots["points"] = points(pen, slots["product"])
    return slots


def points(pen: Writer, product: str) -> str:
    """Three calibration points, each within the tolerance of the product."""
    name, unit, values, limit, decimals = POINTS[product]
    lines: list[str] = []
    for number, value in enumerate(values, 1):
        error = pen.rng.uniform(-limit, limit)
        shown = f"{value + error:.{decimals}f}"
        off = f"{float(shown) - value:+.{decimals}f}"
        lines.append(
            f"{name}第{number}点：标准值{value:.{decimals}f}{unit}，示值{shown}{unit}，误差{off}{unit}。"
        )
    return "\n".join(lines)


def records(kind: str, count: int, seed: int) -> list[Record]:
    """A number of records of one kind, in order of date."""
    pen = writer(seed)
    made: list[Record] = []
    for number, day in enumerate(days(count, seed % 17), 1):
        slots = slots_for(pen, day)
        text = pen.tell(PLOTS[kind], slots)
        if kind == "order":
            text = _order_head(pen, slots) + text
        made.append(Record(f"{kind}-{number:03d}", TITLES[kind](slots), text))
    return made


def _order_head(pen: Writer, slots: dict[str, str]) -> str:
    level = pen.pick("level", ("一般", "紧急", "特急", "低"))
    source = pen.pick("channel", WORDS["channel"])
    return (
        f"工单编号：{slots['code']}　紧急程度：{level}\n"
        f"用户：{slots['place']}{slots['org']}，联系人{slots['contact']}，电话{slots['phone']}\n"
        f"产品：{slots['product']}　受理日期：{slots['date']}　来源：{source}\n"
    )


def weeklies(count: int, seed: int) -> list[Record]:
    """Weekly reports of the service groups."""
    pen = writer(seed)
    made: list[Record] = []
    for number, day in enumerate(days(count, 4), 1):
        slots = slots_for(pen, day)
        group = pen.pick("group", ("华北组", "江南组", "西南组", "沿海组", "高原组", "总部组"))
        title = f"客服周报（{group}，截至{day.year}年{day.month}月{day.day}日）"
        made.append(Record(f"weekly-{number:02d}", title, pen.tell(PLOTS["weekly"], slots)))
    return made


def minutes(count: int, seed: int) -> list[Record]:
    """Minutes of meetings."""
    pen = writer(seed)
    made: list[Record] = []
    for number, day in enumerate(days(count, 11), 1):
        slots = slots_for(pen, day)
        title = f"会议纪要：{slots['topic']}"
        made.append(Record(f"minutes-{number:02d}", title, pen.tell(PLOTS["minutes"], slots)))
    return made


def logs(count: int, lines: int, seed: int) -> list[Record]:
    """Maintenance logs, one dated line for each event."""
    pen = writer(seed)
    made: list[Record] = []
    for number, day in enumerate(days(count, 2), 1):
        told: list[str] = []
        for n in range(lines):
            date = day + dt.timedelta(days=n // 2)
            hour = pen.rng.randint(13, 17) if n % 2 else pen.rng.randint(8, 11)
            clock = f"{hour:02d}:{pen.rng.randint(0, 59):02d}"
            event = pen.tell(PLOTS["log"], slots_for(pen, date))
            told.append(f"{date.month:02d}-{date.day:02d} {clock} {event}")
        title = f"维修组日志（{day.year}年{day.month}月起）"
        made.append(Record(f"log-{number:02d}", title, "\n".join(told)))
    return made


def asked(attribute: str) -> str:
    """The end of a question for an attribute: who, how long, how much, where or what."""
    return next(end for word, end in ASKED if re.search(word, attribute))


def quiz(source: str, rounds: int, seed: int) -> list[str]:
    """Every fact of a source said again, once a round, each time another way."""
    pen = writer(seed)
    day = days(1)[0]
    lines: list[str] = []
    for turn in range(rounds):
        slots = scene(pen, day)
        for place, one in enumerate(fact for fact in FACTS if fact.source == source):
            said = {"entity": one.entity, "attribute": one.attribute, "value": one.value}
            said["asked"] = asked(one.attribute)
            frame = QUIZ[(place + turn * 5 + seed) % len(QUIZ)]
            slots["surname"] = pen.pick("surname", WORDS["surname"])
            slots["colleague"] = scene(pen, day)["colleague"]
            lines.append(pen.expand(frame, slots | said))
    return lines
