"""The notices and service folders: announcements, reports, logs and records."""

from __future__ import annotations

import random
from collections.abc import Sequence

from corpora.make import dirt
from corpora.make.blocks import Block, Document, Heading, Items, Para, Table, plain
from corpora.make.docx import docx_bytes
from corpora.make.house import Files, json_lines, utf8
from corpora.make.lexicon import ENGINEERS
from corpora.make.prose_notices import NOTICES_PROSE
from corpora.make.prose_training import LESSONS
from corpora.make.records import (
    PLOTS,
    Record,
    logs,
    minutes,
    quiz,
    records,
    slots_for,
    weeklies,
    writer,
)
from corpora.make.scenes import days
from corpora.make.source import document

NOTICE_HEADER = "澜溪仪器有限公司 内部通知"
NOTICE_FOOTER = "抄送：各部门　打印份数以实际需要为准"
NOTICE_HEAD = ("职务", "项目", "内容")
ROUTINE = (("lecture", "讲座预告", 9), ("found", "失物招领", 7), ("upkeep", "设施维护通知", 9))


def notice_files() -> Files:
    """Announcements as text and Word by turns, routine ones, and a few bad pages."""
    files: Files = {}
    for number, (name, text) in enumerate(NOTICES_PROSE.items()):
        one = document(name, text, NOTICE_HEAD)
        if number % 3 == 2:
            data = docx_bytes(one.title, one.blocks, NOTICE_HEADER, "第 ")
            files[f"notices/{name}.docx"] = data
        else:
            files[f"notices/{name}.txt"] = utf8(_notice_text(one))
    files |= _routine()
    files |= _odd_encodings(files)
    files["notices/quiz-answers.txt"] = utf8(_quiz_sheet("notices", "公司知识问答答案汇总", 3, 2))
    files["notices/contacts.docx"] = _contacts()
    files["notices/copy-of-new-building.txt"] = files["notices/new-building.txt"]
    files["notices/copy-of-health-check.docx"] = files["notices/health-check.docx"]
    files["notices/separator-page.txt"] = utf8(dirt.symbol_page())
    files["notices/blank-form.txt"] = utf8(f"{NOTICE_HEADER}\n\n\n。\n\n第 1 页 共 1 页\n")
    swaps = (("配电房的老设备要换新", "配电房的旧设备需要更换"), ("请大家提前做好准备", "请各位做好准备"))
    revised = dirt.near_copy(files["notices/power-cut.txt"].decode(), swaps)
    files["notices/power-cut-reprint.txt"] = utf8(revised)
    return files


def _notice_text(one: Document) -> str:
    """A notice as text, between a header and a footer; one with trailing spaces."""
    text = plain(one.blocks)
    if one.name == "open-day":
        text = dirt.trailing_spaces(text)
    return f"{NOTICE_HEADER}\n{text}{NOTICE_FOOTER}\n第 1 页 共 1 页\n"


def _odd_encodings(files: Files) -> Files:
    """One file in GB18030, one with a byte-order mark, one with Windows line ends."""
    mascot = files["notices/mascot.txt"].decode()
    choir = files["notices/choir.txt"].decode()
    party = files["notices/annual-party.txt"].decode()
    return {
        "notices/mascot.txt": mascot.encode("gb18030"),
        "notices/choir.txt": b"\xef\xbb\xbf" + utf8(choir),
        "notices/annual-party.txt": utf8(party.replace("\n", "\r\n")),
    }


def _routine() -> Files:
    """Small notices of everyday life, one file a kind: full-width, hard-wrapped, plain."""
    files: Files = {}
    for kind, title, count in ROUTINE:
        pen = writer(len(kind) * 101)
        parts: list[str] = []
        for number, day in enumerate(days(count, 9), 1):
            body = pen.tell(PLOTS[kind], slots_for(pen, day))
            parts.append(f"{title}（第{number}号）\n{body}\n")
        text = "\n".join(parts)
        text = dirt.full_width(text) if kind == "lecture" else text
        text = dirt.hard_wrap(text) if kind == "found" else text
        files[f"notices/{kind}.txt"] = utf8(f"{NOTICE_HEADER}\n{text}")
    return files


def _contacts() -> bytes:
    """A list of made-up personal data: the telephones and ID cards cannot exist."""
    chance = random.Random(77)
    rows = [("姓名", "电话", "身份证号", "邮箱")]
    for number, name in enumerate(ENGINEERS, 1):
        mail = f"engineer{number:02d}@example.{'cn' if number % 2 else 'com'}"
        rows.append((name, dirt.bad_phone(chance), dirt.bad_id_card(chance), mail))
    blocks: list[Block] = [
        Heading("售后工程师通讯录（培训示例，号码均为虚构）", 1),
        Para("这份通讯录只在培训课上使用，用来说明哪些内容不应当外传。请勿把它贴在公告栏。"),
        Table(tuple(rows)),
        Items(("电话以000开头，打不通。", "身份证号的校验位是错的。", "邮箱使用保留的域名。")),
    ]
    return docx_bytes("售后工程师通讯录", blocks, NOTICE_HEADER, "第 ")


def _quiz_sheet(source: str, title: str, rounds: int, seed: int) -> str:
    lines = [f"{n}. {line}" for n, line in enumerate(quiz(source, rounds, seed), 1)]
    return title + "\n\n" + "\n".join(lines) + "\n"


def service_files() -> Files:
    """Records as JSON lines and text."""
    files: Files = {
        "service/cases.jsonl": utf8(json_lines(_twice(records("case", 130, 11), (3, 40)))),
        "service/calls.jsonl": utf8(json_lines(records("call", 46, 12))),
        "service/letters.jsonl": utf8(json_lines(records("letter", 26, 13))),
        "service/visits.jsonl": utf8(json_lines(_private(records("visit", 36, 14)))),
        "service/work-orders.jsonl": utf8(json_lines(_wide(records("order", 90, 15)))),
        "service/training.jsonl": utf8(json_lines(records("training", 32, 16))),
        "service/calibration.jsonl": utf8(json_lines(records("calibration", 30, 17))),
        "service/empty.txt": b"",
        "service/test-print.txt": utf8(dirt.repeated_page("打印测试 打印测试 ＡＢＣ １２３", 80)),
    }
    for name, text in LESSONS.items():
        files[f"service/{name}.txt"] = utf8(plain(document(name, text).blocks))
    files["service/copy-of-lesson-phone.txt"] = files["service/lesson-phone.txt"]
    swaps = (("比什么保养都强", "胜过任何保养"), ("数字像喝醉了一样", "数字就会东倒西歪"))
    older = dirt.near_copy(files["service/lesson-balance.txt"].decode(), swaps)
    files["service/lesson-balance-old.txt"] = utf8(older)
    for number, one in enumerate(weeklies(24, 18)):
        files[f"service/{one.id}.txt"] = utf8(_weekly_text(number, one))
    for number, one in enumerate(minutes(18, 19)):
        files[f"service/{one.id}.txt"] = utf8(_minutes_text(number, one))
    for number, one in enumerate(logs(6, 40, 20)):
        text = f"{one.title}\n{one.text}\n"
        files[f"service/{one.id}.txt"] = utf8(dirt.controls(text) if number == 2 else text)
    return files


def _twice(made: Sequence[Record], which: tuple[int, ...]) -> list[Record]:
    """Some records again, under another number."""
    return [*made, *(Record(f"case-9{n:02d}", made[n].title, made[n].text) for n in which)]


def _private(made: Sequence[Record]) -> list[Record]:
    """Made-up telephones, ID cards and mail addresses in every third record."""
    chance = random.Random(5)
    found: list[Record] = []
    for number, one in enumerate(made):
        if number % 3:
            found.append(one)
            continue
        line = (
            f"\n登记信息：电话{dirt.bad_phone(chance)}，身份证号{dirt.bad_id_card(chance)}，"
            f"邮箱user{chance.randint(100, 999)}@example.com。"
        )
        found.append(Record(one.id, one.title, one.text + line))
    return found


def _wide(made: Sequence[Record]) -> list[Record]:
    """Full-width letters and digits in every seventh work order."""
    return [
        one if number % 7 else Record(one.id, dirt.full_width(one.title), dirt.full_width(one.text))
        for number, one in enumerate(made)
    ]


def _weekly_text(number: int, one: Record) -> str:
    text = f"{one.title}\n{one.text}\n"
    return dirt.trailing_spaces(text) if number % 8 == 5 else text


def _minutes_text(number: int, one: Record) -> str:
    """Minutes with a repeated header; two are hard-wrapped, one has a spaced title."""
    title = dirt.spaced(one.title) if number == 4 else one.title
    text = f"澜溪仪器有限公司 会议纪要 内部资料\n{title}\n{one.text}\n第 1 页 共 1 页\n"
    return dirt.hard_wrap(text) if number in (7, 8) else text
