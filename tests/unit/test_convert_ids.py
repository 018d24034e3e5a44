"""Ids that records of a source share: none is given twice in the output, whatever the files and processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toys import write_jsonl

from zhllm import stage
from zhllm.stages import convert


def run(sources: list[Path], out: Path, **settings: Any) -> dict[str, Any]:
    config = convert.ConvertConfig(source=tuple(sources), **settings)
    return stage.execute(convert.STAGE, config, out).manifest.metrics


def alpaca(name: Any, asked: str) -> dict[str, Any]:
    return {"id": name, "instruction": asked, "output": f"{asked}答：请联系行政部。🧑\u200d💼𠮷"}


def ids(out: Path, kind: str = "chats") -> list[str]:
    return [json.loads(line)["id"] for path in sorted(out.glob(f"{kind}-*")) for line in path.open("rb")]


def test_the_first_keeps_its_id_and_the_others_are_called_by_their_place(tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", [alpaca(7, "一"), alpaca("七", "二"), alpaca("7", "三"), alpaca("七", "二")])
    b = tmp_path / "b.json"
    b.write_text(json.dumps([alpaca("七", "四"), alpaca("b", "五"), alpaca("七", "六"), alpaca('"', "七")]))
    c = write_jsonl(tmp_path / "c.jsonl", [alpaca("7@a.jsonl#3", "八"), alpaca('"', "九")])
    metrics = run([a, b, c], tmp_path / "out")
    assert ids(tmp_path / "out") == [
        "7", "七", "7@a.jsonl#3.2", "七@b.json#1", "b", "七@b.json#1.2", '"', "7@a.jsonl#3", '"@c.jsonl#2',
    ]  # fmt: skip
    assert (metrics["renamed_ids"], metrics["duplicate_chats"], metrics["chats"]) == (4, 1, 9), "of equal ones none"
    shown = json.loads((tmp_path / "out" / "report.json").read_bytes())["repairs"]["renamed_ids"]
    assert shown["times"] == 4 and "b.json" in str(shown["cases"][1]) and "七" in str(shown["cases"][1])


def test_pairs_have_ids_of_their_own_and_records_without_one_are_named_as_ever(tmp_path: Path) -> None:
    pairs = [{"id": "p", "prompt": f"问题{i}？", "chosen": "三年整机保修。", "rejected": "不知道。"} for i in range(3)]
    source = write_jsonl(tmp_path / "a.jsonl", [alpaca("p", "一"), *pairs, {"instruction": "问", "output": "好的。"}])
    metrics = run([source], tmp_path / "out")
    assert ids(tmp_path / "out") == ["p", "a.jsonl#5"]
    assert ids(tmp_path / "out", "preferences") == ["p", "p@a.jsonl#3", "p@a.jsonl#4"]
    assert metrics["renamed_ids"] == 2


def test_many_equal_ids_give_the_same_bytes_for_any_workers(tmp_path: Path) -> None:
    sources = [write_jsonl(tmp_path / f"{n}.jsonl", [alpaca("同", f"{n}的第{i}个") for i in range(400)]) for n in "ab"]
    metrics = run(sources, tmp_path / "one")
    assert metrics["renamed_ids"] == 799 and len(set(ids(tmp_path / "one"))) == 800
    run(sources, tmp_path / "two", workers=2)
    names = ["chats-00000.jsonl", "report.json", "report.html"]
    assert [(tmp_path / "one" / n).read_bytes() for n in names] == [(tmp_path / "two" / n).read_bytes() for n in names]
