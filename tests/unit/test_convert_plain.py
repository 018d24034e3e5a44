"""Plain Alpaca lines take a shorter way through convert: it leads to the same place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from toys import write_jsonl

from zhllm import stage
from zhllm.stages import _convert_work, convert
from zhllm.text.chats import read_chats
from zhllm.text.lint.turns import messages_of_pair
from zhllm.text.read import cut
from zhllm.text.shapes.alpaca import alpaca_messages, plain_columns
from zhllm.text.shapes.record import FieldError

USUAL: list[dict[str, Any]] = [
    {"instruction": " 多久校准一次？𠮷 ", "input": "", "output": "每年。\n"},
    {"instruction": "翻译", "input": " 你好 ", "output": "Hello 🧑‍💼"},
    {"instruction": "", "input": "问", "output": "答"},
    {"instruction": "\u3000", "input": "问", "output": "答"},
]
ODD: list[dict[str, Any]] = [
    {"instruction": "问", "input": "", "output": " "},
    {"instruction": "", "input": "", "output": "答"},
    {"instruction": "Human: 你好\nAssistant: 好\nHuman: 再见\nAssistant:", "input": "", "output": "再见"},
    {"instruction": "问", "input": None, "output": "答"},
    {"instruction": "问", "input": "", "output": 7},
    {"instruction": "问", "input": "", "output": ["好", "坏"]},
    {"instruction": "问", "output": "答"},
    {"instruction": "问", "input": "", "output": "答", "history": [["早", "早"]]},
    {"instruction": "问", "input": "", "output": "答", "id": "七"},
]


@pytest.mark.parametrize("value", USUAL)
def test_a_plain_record_gives_the_messages_that_any_alpaca_record_gives(value: dict[str, Any]) -> None:
    (asked,), (answer,) = plain_columns([value])
    assert messages_of_pair(asked, answer) == alpaca_messages(value)


@pytest.mark.parametrize("value", ODD)
def test_what_is_not_plain_is_left_to_the_longer_way(value: dict[str, Any]) -> None:
    assert plain_columns([value, value]) == (["", ""], ["", ""])


def test_both_ways_give_the_same_chats_and_the_same_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [dict(USUAL[n % 4], output=f"答{n}。") if n % 3 else ODD[n // 3 % 9] for n in range(1500)]
    write_jsonl(tmp_path / "lines.jsonl", records)
    (tmp_path / "list.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr(cut, "PIECE_BYTES", 20_000)
    monkeypatch.setattr("zhllm.stages._convert_files.CUT_BYTES", 1_000)
    monkeypatch.setattr("zhllm.stages._convert_files._BATCH_LINES", 7)
    found = []
    for name in ("lines.jsonl", "list.json"):
        monkeypatch.setattr(_convert_work, "BLOCK_ITEMS", 30 if name == "lines.jsonl" else 4000)
        config = convert.ConvertConfig(source=(tmp_path / name,), max_rejected_share=1)
        metrics = stage.execute(convert.STAGE, config, tmp_path / f"out-{name}").manifest.metrics
        rejected = (tmp_path / f"out-{name}" / "rejected.jsonl").read_text().splitlines()
        # In a list that stands on one line a record is named by its place.
        reasons = [(re.sub(r"^\[\d+\]\.?", "", e["field"]), e["reason"]) for e in map(json.loads, rejected)]
        said = [(chat.messages, chat.meta) for chat in read_chats([tmp_path / f"out-{name}"])]
        found.append((said, reasons, metrics))
    assert found[0] == found[1]
    assert len(found[0][0]) > 900 and len(found[0][1]) > 100


def test_ids_name_the_lines_and_the_bytes_are_the_same_for_any_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [dict(USUAL[n % 3], output=f"答{n % 700}。") for n in range(20_000)]
    write_jsonl(tmp_path / "much.jsonl", records)
    written = []
    for workers in (1, 2):
        config = convert.ConvertConfig(source=(tmp_path / "much.jsonl",), workers=workers)
        stage.execute(convert.STAGE, config, tmp_path / f"out{workers}")
        written.append(
            {p.name: p.read_bytes() for p in (tmp_path / f"out{workers}").iterdir() if p.name != "manifest.json"}
        )
    assert written[0] == written[1]
    first = next(iter(read_chats([tmp_path / "out1"])))
    assert first.id == "much.jsonl#1" and first.source == "much.jsonl"
    with pytest.raises(FieldError):
        alpaca_messages(ODD[0])
