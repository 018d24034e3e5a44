"""Questions about a paragraph: the answer, its evidence, refusals, and files of one long object as a stream."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from shaped import made, read, refused, turns

from zhllm.text.chats import Chat
from zhllm.text.read.sources import SourceFile
from zhllm.text.shapes.reading import read_units
from zhllm.text.shapes.record import Options

PARAGRAPH = "公司成立于二〇〇三年，总部设在杭州。🧑\u200d💼创始人姓“𠮷田”，现有员工三百人。"


def qa(text: str, start: int | None, **more: Any) -> dict[str, Any]:
    return {"question": "总部在哪里？", "id": "Q1", "answers": [{"text": text, "answer_start": start}]} | more


def one(value: dict[str, Any], **options: Any) -> Chat:
    (chat,) = made(value, **options).chats
    return chat


def holds_evidence(chat: Chat) -> str:
    evidence = chat.meta["evidence"]
    place, text = evidence["start"], evidence["text"]
    assert chat.messages[-2]["content"][place : place + len(text)] == text == chat.messages[-1]["content"]
    return str(text)


SHAPES = [
    {"title": "公司", "paragraphs": [{"context": PARAGRAPH, "qas": [qa("杭州", 15)]}]},
    {"title": "公司", "context": PARAGRAPH, "qas": [qa("杭州", 15)]},
    {
        "context_id": "C1",
        "title": "公司",
        "context_text": PARAGRAPH,
        "qas": [{"query_text": "总部在哪里？", "query_id": "Q1", "answers": ["杭州", "在杭州"]}],
    },
    {"id": "Q1", "title": "公司", "context": PARAGRAPH, "question": "总部在哪里？",
     "answers": {"text": ["杭州"], "answer_start": [15]}},
]  # fmt: skip


@pytest.mark.parametrize("value", SHAPES)
def test_each_shape_gives_the_paragraph_the_question_and_the_place(value: dict[str, Any]) -> None:
    assert PARAGRAPH[15:17] == "杭州"
    given = made(value)
    (chat,) = given.chats
    asked = f"请根据下面的材料回答问题。\n\n材料：\n{PARAGRAPH}\n\n问题：总部在哪里？"
    assert turns(chat) == [("u", asked), ("a", "杭州")]
    assert holds_evidence(chat) == "杭州"
    assert chat.meta["evidence"]["title"] == "公司"
    assert given.repairs == {}


def test_an_offset_that_is_off_is_mended_to_the_nearest_and_counted() -> None:
    context = "甲在杭州，乙在杭州，丙在杭州。"
    given = made({"context": context, "qas": [qa("杭州", 8)]})
    (chat,) = given.chats
    before = chat.messages[0]["content"].index(context)
    assert chat.meta["evidence"]["start"] == before + 7
    assert given.repairs == {"mended_offsets": 1}
    assert made({"context": context, "qas": [qa("杭州", -1)]}).repairs == {"mended_offsets": 1}
    assert made({"context": context, "qas": [qa("杭州", None)]}).repairs == {}


def test_space_around_paragraph_and_answer_moves_the_place() -> None:
    chat = one({"context": "  \u3000" + PARAGRAPH, "qas": [qa(" 杭州 ", 17)]})
    assert holds_evidence(chat) == "杭州"
    assert made({"context": "  \u3000" + PARAGRAPH, "qas": [qa("杭州", 18)]}).repairs == {}


@pytest.mark.parametrize(
    ("context", "asked", "refusal"),
    [
        (PARAGRAPH, "请根据下面的材料", "根据所给材料无法回答这个问题。"),
        ("公司總部設在臺灣，創辦人姓陳，現有員工三百人。", "請根據下面的材料", "根據所給材料無法回答這個問題。"),
        ("The head office is in Hangzhou (杭州).", "Answer the question", "The passage does not answer this question."),
        ("12345", "Answer the question", "The passage does not answer this question."),
    ],
)
def test_the_wording_follows_the_script_of_the_paragraph(context: str, asked: str, refusal: str) -> None:
    value = {"context": context, "question": "?", "answers": [], "is_impossible": True}
    chat = one(value)
    assert chat.messages[0]["content"].startswith(asked)
    assert chat.messages[1]["content"] == refusal
    assert chat.meta == {}
    assert made(value).facts == {"squad_unanswerable": 1}


@pytest.mark.parametrize(
    "given",
    [{"answers": [], "is_impossible": True}, {"answers": {"text": [], "answer_start": []}}, {"answers": []}],
)
def test_without_an_answer_there_is_a_refusal(given: dict[str, Any]) -> None:
    chat = one({"context": PARAGRAPH, "question": "问？"} | given, refusal_zh="材料里没有。")
    assert chat.messages[1]["content"] == "材料里没有。"
    both = {"is_impossible": True, "answers": [{"text": "杭州", "answer_start": 15}]}
    assert one({"context": PARAGRAPH, "question": "问？"} | both).messages[1]["content"].startswith("根据所给材料")


def paragraph(*questions: Any, **more: Any) -> dict[str, Any]:
    return {"paragraphs": [{"context": PARAGRAPH, "qas": list(questions)} | more]}


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (paragraph(qa("上海", 15)), "paragraphs[0].qas[0].answers[0].text", "is not in the paragraph ('上海')"),
        (paragraph(qa("", 15)), "paragraphs[0].qas[0].answers[0].text", "is empty or missing"),
        (paragraph(qa("杭州", "15")), "paragraphs[0].qas[0].answers[0].answer_start", "is '15', not a whole"),  # type: ignore[arg-type]
        (paragraph({"question": "问？"}), "paragraphs[0].qas[0].answers", "is missing"),
        (paragraph({"question": "问？", "answers": "杭州"}), "paragraphs[0].qas[0].answers", "is text, not a list"),
        (paragraph({"question": "问", "answers": [5]}), "paragraphs[0].qas[0].answers[0]", "is number, not an answer"),
        (paragraph({"question": "问？", "answers": {"text": "杭州"}}), "paragraphs[0].qas[0].answers", "is no object"),
        (paragraph(qa("杭州", 14, question=" ")), "paragraphs[0].qas[0].question", "is empty"),
        (paragraph("问？"), "paragraphs[0].qas[0].question", "is missing"),
        (paragraph(qa("杭州", 15), context=None), "paragraphs[0].qas[0].context", "is missing"),
        (paragraph(qas="字"), "paragraphs[0].question", "is missing"),
        ({"paragraphs": ["字"]}, "paragraphs[0].context", "is missing"),
        ({"paragraphs": []}, "paragraphs", "holds no question"),
        ({"paragraphs": "字"}, "paragraphs", "is text, not a list"),
        ({"context": PARAGRAPH, "qas": []}, "qas", "holds no question"),
    ],
)  # fmt: skip
def test_bad_questions_are_refused_by_path(value: dict[str, Any], field: str, reason: str) -> None:
    refused(value, field, reason)


def test_a_bad_question_costs_itself_only(tmp_path: Path) -> None:
    data = {"version": "v2.0", "data": [paragraph(qa("上海", 1), qa("杭州", 15)), {"题": 1}, paragraph(qa("三百", 0))]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    good, bad = read(path)
    assert [turns(chat)[1][1] for given in good for chat in given.chats] == ["杭州", "三百"]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert bad == [
        (4, "paragraphs[0].qas[0].answers[0].text", "is not in the paragraph ('上海')"),
        (lines.index('   "题": 1'), "", "has no shape that is known; its keys: 题"),
    ]


WRAPPED = [
    {"version": "v1", "data": [paragraph(qa("杭州", 15))]},
    {"data": [paragraph(qa("杭州", 15))], "version": "v1"},
    {"info": {"by": "我们"}, "n": -1.5e3, "ok": True, "data": [paragraph(qa("杭州", 15))], "more": [1, [2]]},
    {"type": "text2text", "instances": [{"input": "问？", "output": "杭州"}]},
    {"data": [{"instruction": "问？", "input": "", "output": "杭州"}]},
]


@pytest.mark.parametrize("value", WRAPPED)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_one_object_around_a_list_in_any_form(tmp_path: Path, value: Any, indent: int | None, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    path.write_text(text.replace("🧑\u200d💼", "") if encoding == "gb18030" else text, encoding=encoding)
    good, bad = read(path)
    assert bad == []
    assert [turns(chat)[1][1] for given in good for chat in given.chats] == ["杭州"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"version": "v1", "data": [{"paragraphs": []}', "the JSON list has no end: the file is cut off"),
        ('{"version": "v1", "data": [{"paragraphs": ', "is not JSON: Expecting value"),
        ('{"data": [{"a": 1}], "version": ', "is not JSON: Expecting value"),
        ('{"data": [{"a": 1}] "version" 5}', "is not JSON: no key of an object"),
    ],
)
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert read(path)[1][-1][2] == reason


def test_lines_whose_data_is_a_list_of_turns_are_no_wrapper(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    talk = [{"from": "human", "value": "问？"}, {"from": "gpt", "value": "答"}]
    path.write_text("".join(json.dumps({"id": str(i), "data": talk}) + "\n" for i in range(3)))
    good, bad = read(path)
    assert (len(good), bad) == (3, [])


def test_a_long_file_is_a_stream(tmp_path: Path) -> None:
    """31 MB in one object on one line: memory is that of a window, not of the file."""
    article = json.dumps({"title": "题", "paragraphs": [{"context": PARAGRAPH * 40, "qas": [qa("杭州", 15)] * 5}]})
    count = 31_000_000 // len(article)
    path = tmp_path / "a.json"
    path.write_text('{"version": "v1", "data": [' + ", ".join([article] * count) + "]}")
    assert path.stat().st_size > 30_000_000
    tracemalloc.start()
    seen = 0
    for _ in read_units(SourceFile(path, path.name), "auto", Options()):
        seen += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 5 * count
    assert peak < 16_000_000, f"{peak:,} bytes"
