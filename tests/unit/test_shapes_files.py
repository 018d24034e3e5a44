"""Files whose names lie, in every encoding and compression, cut at line ends or read as a whole: one answer."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from shaped import read, turns, write_lines

from zhllm.text.document import Rejected
from zhllm.text.read.records import parse_line
from zhllm.text.read.sources import SourceFile
from zhllm.text.shapes.reading import is_line_by_line, read_units, units_or_rejected
from zhllm.text.shapes.record import Options, Unit

USER = {"role": "user", "content": "年假有几天？请按员工手册回答。"}
RECORDS: list[dict[str, Any]] = [
    {"instruction": "年假有几天？请按员工手册回答。", "input": "", "output": "五天，满十年的十天。"},
    {"messages": [USER, {"role": "assistant", "content": "五天。"}]},
    {"conversations": [{"from": "human", "value": "公章由谁保管？"}, {"from": "gpt", "value": "由行政部保管。"}]},
    {"kind": "问答", "input": "差旅费怎么报销？", "target": "填报销单，附发票。"},
    {"prompt": "周末加班怎么算？", "chosen": "按两倍工资。", "rejected": "不算。"},
    {"prompt": "食堂几点开门？", "completion": "七点半。", "label": True},
    {"context": "食堂七点半开门。", "question": "几点开门？", "answers": ["七点半"]},
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("form", ["lines", "list", "indented", "gz"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
def test_content_decides(tmp_path: Path, name: str, form: str, encoding: str) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    text = "\n".join(lines) if form in ("lines", "gz") else json.dumps(
        RECORDS, ensure_ascii=False, indent=2 if form == "indented" else None
    )  # fmt: skip
    data = text.encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if form == "gz" else data)
    good, bad = read(path)
    assert bad == []
    assert (sum(len(g.chats) for g in good), sum(len(g.preferences) for g in good)) == (5, 2)
    assert turns(good[0].chats[0])[1] == ("a", "五天，满十年的十天。")


def test_lines_by_themselves_give_what_the_whole_file_gives(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl", [*RECORDS, {"文": 1}, [1], {"paragraphs": [{"context": "段", "qas": [{}, {}]}]}]
    )
    path.write_text(path.read_text(encoding="utf-8") + "{坏\n", encoding="utf-8")
    file = SourceFile(path, path.name)
    assert is_line_by_line(file, "auto")
    apart: list[Unit | Rejected] = []
    offset = 0
    for number, data in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        record = parse_line(data, file.name, offset, number)
        offset += len(data)
        apart += [record] if isinstance(record, Rejected) else units_or_rejected(record, file.name, "auto", Options())
    assert apart == list(read_units(file, "auto", Options()))
    assert len(apart) == len(RECORDS) + 5


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"instruction": "问", "output": "答"}\n', True),
        ('[{"instruction": "问", "output": "答"}]\n', False),
        ('{"version": "v1", "data": [{"paragraphs": []}]}', False),
        ('{"message_id": "1", "parent_id": null, "role": "prompter", "text": "问"}\n', False),
        ('{"message_id": "1", "parent_id": null, "role": "prompter", "text": "问", "replies": []}\n', True),
        ("问题,答案\n问,答\n", False),
    ],
)
def test_what_can_be_cut_at_line_ends(tmp_path: Path, text: str, answer: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert is_line_by_line(SourceFile(path, path.name), "auto") is answer
    path = tmp_path / "a.csv"
    path.write_text("问题,答案\n问,答\n", encoding="utf-8")
    assert not is_line_by_line(SourceFile(path, path.name), "auto")


def test_files_that_are_missing_damaged_or_empty(tmp_path: Path) -> None:
    file = SourceFile(tmp_path / "没有.jsonl", "没有.jsonl")
    (gone,) = read_units(file, "auto", Options())
    assert isinstance(gone, Rejected) and gone.kind == "file" and gone.reason.startswith("cannot be read")
    assert not is_line_by_line(file, "auto")
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(json.dumps(RECORDS[0]).encode() * 99)[:-9])
    assert any("damaged" in reason for _, _, reason in read(tmp_path / "a.jsonl")[1])
    (tmp_path / "b.jsonl").write_bytes(b"")
    assert read(tmp_path / "b.jsonl") == ([], [])


def test_a_named_format_refuses_other_shapes(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", RECORDS[:3])
    (refusal,) = read(path, "messages")[1]
    assert refusal[:2] == (1, "messages") and refusal[2].startswith("is no list of turns, nor is any of conversations,")
    assert [line for line, _, _ in read(path, "oasst")[1]] == [1, 2, 3]
    assert read(path, "alpaca")[1] == [
        (2, "instruction", "is empty, and so is input"),
        (3, "instruction", "is empty, and so is input"),
    ]
    assert [field for _, field, _ in read(path, "squad")[1]] == ["context"] * 3
