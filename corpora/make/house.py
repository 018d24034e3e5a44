"""The handbook, manuals and FAQ folders: hand-written pages, tables and quick references."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence

from corpora.make import dirt
from corpora.make.blocks import Block, Document, Heading, Items, Para, markdown
from corpora.make.docx import docx_bytes
from corpora.make.facts import FACTS
from corpora.make.lexicon import PRODUCTS
from corpora.make.pages import html_page
from corpora.make.prose_faq import CHATS, PAGES
from corpora.make.prose_handbook_a import CHAPTERS_A
from corpora.make.prose_handbook_b import CHAPTERS_B
from corpora.make.prose_manuals_a import MANUALS_A
from corpora.make.prose_manuals_b import MANUALS_B
from corpora.make.prose_traditional import TRADITIONAL
from corpora.make.records import Record, asked, quiz, records
from corpora.make.source import document, fill

Files = dict[str, bytes]

BOOK_HEADER = "澜溪仪器有限公司 员工手册 内部资料"
MANUAL_HEADER = "澜溪仪器有限公司 产品手册 使用前请仔细阅读"
MANUAL_FOOTER = "版权所有 © 澜溪仪器有限公司　未经许可不得转载"
MANUAL_HEAD = ("产品", "项目", "参数")
# The products whose paragraph of parameters is in full-width letters and digits.
WIDE = ("墒情仪SQ-50", "离心机CF-16")
CHAT_TITLES = {
    "service": "客服与投诉",
    "orders": "购买与发票",
    "member": "会员",
    "shipping": "发货",
    "returns": "退换货",
    "repair": "维修与校准",
    "support": "资料与培训",
}
FAQ_HEAD = ("问题", "项目", "答复")


def utf8(text: str) -> bytes:
    """The bytes of a text."""
    return text.encode("utf-8")


def json_lines(entries: Iterable[Record]) -> str:
    """Records as JSON lines, with sorted keys."""
    lines = (json.dumps({"id": r.id, "text": r.text, "title": r.title}, ensure_ascii=False) for r in entries)
    return "".join(line + "\n" for line in lines)


def _spread(lines: Sequence[str], name: str, title: str, size: int = 12) -> Document:
    """A quick reference: many short lines as lists under numbered headings."""
    blocks: list[Block] = [Heading(title, 1)]
    for number, start in enumerate(range(0, len(lines), size), 1):
        blocks.append(Heading(f"卡片第{number}组", 2))
        blocks.append(Items(tuple(lines[start : start + size])))
    return Document(name, title, tuple(blocks))


def handbook_files() -> Files:
    """Chapters in Markdown and Word by turns, with a page header in every one."""
    files: Files = {}
    chapters = [document(name, text) for name, text in (CHAPTERS_A | CHAPTERS_B).items()]
    footer = "人事部门编印　如有疑问以最新版为准"
    for number, one in enumerate(chapters):
        blocks = dirt.paginate(one.blocks, BOOK_HEADER, footer)
        if number % 2:
            # Word keeps running headers apart; one chapter has them in the text as well.
            body = blocks if number == 3 else one.blocks
            data = docx_bytes(one.title, _dusty(one.name, body), BOOK_HEADER, "内部资料 第 ")
            files[f"handbook/{one.name}.docx"] = data
        else:
            files[f"handbook/{one.name}.md"] = utf8(markdown(blocks))
    reference = _spread(quiz("handbook", 3, 5), "13-quick-reference", "员工手册速查卡片")
    files["handbook/13-quick-reference.md"] = utf8(markdown(reference.blocks))
    files["handbook/00-contents.md"] = utf8(dirt.contents_of_dots([c.title for c in chapters]))
    files["handbook/copy-of-03-leave.md"] = files["handbook/03-leave.md"]
    files["handbook/copy-of-06-it.docx"] = files["handbook/06-it.docx"]
    files["handbook/07-safety-draft.md"] = utf8(_draft(files["handbook/07-safety.md"].decode()))
    return files


def _dusty(name: str, blocks: Sequence[Block]) -> list[Block]:
    """Zero-width characters in the paragraphs of one chapter."""
    if name != "08-canteen":
        return list(blocks)
    return [Para(dirt.zero_width(b.text)) if isinstance(b, Para) else b for b in blocks]


def _draft(text: str) -> str:
    swaps = (
        ("看起来干净安静", "看上去又干净又安静"),
        ("请把这句话从脑子里删掉", "请忘掉这句话"),
        ("随手报给物业", "马上告诉物业"),
        ("全程保密", "内容全程保密"),
    )
    return dirt.near_copy(text, swaps)


def manual_files() -> Files:
    """Manuals in Markdown and HTML by turns, a Traditional page and parameter cards."""
    files: Files = {}
    for number, (name, text) in enumerate((MANUALS_A | MANUALS_B).items()):
        one = document(name, text, MANUAL_HEAD)
        if number % 2:
            files[f"manuals/{name}.html"] = utf8(html_page(one.title, one.blocks, "产品中心"))
            continue
        blocks = dirt.paginate(one.blocks, MANUAL_HEADER, MANUAL_FOOTER)
        files[f"manuals/{name}.md"] = utf8(markdown(blocks))
    old = document("mv-700", TRADITIONAL["mv-700-traditional"])
    files["manuals/mv-700-traditional.md"] = utf8(markdown(old.blocks))
    cards = _spread(quiz("manuals", 3, 3), "quick-cards", "产品参数速查卡片")
    files["manuals/quick-cards.html"] = utf8(html_page(cards.title, cards.blocks, "资料中心"))
    files["manuals/parameters.md"] = utf8(_parameters())
    files["manuals/copy-of-ws-9.html"] = files["manuals/ws-9.html"]
    return files


def _parameters() -> str:
    """One paragraph for each product that says its parameters in a row."""
    lines = ["# 全系列产品参数汇总", "下面按产品列出主要的参数和保养要求，供销售和客服的同事查阅。"]
    for product in PRODUCTS:
        facts = [f for f in FACTS if f.source == "manuals" and f.entity == product]
        said = "，".join(f"{f.attribute}是{f.value}" for f in facts)
        text = f"{product}的情况如下：{said}。"
        lines += [f"## {product}", dirt.full_width(text) if product in WIDE else text]
    return "\n\n".join(lines) + "\n"


def faq_files() -> Files:
    """Help pages in HTML, and the same answers as chats, cards and questions."""
    files: Files = {}
    for name, text in PAGES.items():
        one = document(name, text, FAQ_HEAD)
        files[f"faq/{name}.html"] = utf8(html_page(one.title, one.blocks, "服务支持"))
    old = document("help", TRADITIONAL["help-traditional"])
    files["faq/help-traditional.html"] = utf8(html_page(old.title, old.blocks, "服務支持"))
    files["faq/faq.jsonl"] = utf8(json_lines(_answers()))
    files["faq/troubleshooting.jsonl"] = utf8(json_lines(_troubles()))
    files["faq/copy-of-repair.html"] = files["faq/repair.html"]
    return files


def _answers() -> list[Record]:
    """Chats by topic, then one question a fact, some with zero-width characters."""
    found = [
        Record(f"chat-{name}", f"在线咨询记录：{CHAT_TITLES[name]}", fill(text.strip()))
        for name, text in CHATS.items()
    ]
    facts = [fact for fact in FACTS if fact.source == "faq"]
    rounds = quiz("faq", 3, 7)
    for number, fact in enumerate(facts):
        said = "\n".join(rounds[number + turn * len(facts)] for turn in range(3))
        text = (
            f"问：请问{fact.entity}的{fact.attribute}{asked(fact.attribute)}？\n答：{fact.sentence}\n{said}"
        )
        text = dirt.zero_width(text) if number % 10 == 4 else text
        found.append(Record(f"faq-{number + 1:03d}", f"{fact.entity}：{fact.attribute}", text))
    return found


def _troubles() -> list[Record]:
    """Troubleshooting answers; a few appear twice, as in many a real export."""
    made = records("trouble", 150, 31)
    chance = random.Random(8)
    again = [made[chance.randrange(len(made))] for _ in range(5)]
    return made + [Record(f"{r.id}-again", r.title, r.text) for r in again]
