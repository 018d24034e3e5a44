"""`status` and `show`: what they say of folders that are whole, half done, damaged or none."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from test_cli import run
from toys import Toy, stage, write_jsonl

from zhllm import manifest
from zhllm.text.prompt_format import FORMATS
from zhllm.tools.show import coloured_chat
from zhllm.tools.status import state_of
from zhllm.vocab.tokenizer import Tokenizer

CHAT = [
    {"role": "user", "content": "样品在哪里？"}, {"role": "assistant", "content": "在实验室。"},
    {"role": "user", "content": "谢谢👍🏽"}, {"role": "assistant", "content": "不客气。"},
]  # fmt: skip


def test_status_tells_done_unfinished_waiting_and_damaged(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["read", "again", "begun", "trained", "later"]
    steps = [{"name": name, "stage": "collect", "about": "Two\nlines."} for name in names]
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "r", "steps": steps}))
    for name in names[:2]:
        stage("collect", tmp_path / name, source=[toy.root / "zh.jsonl"])
    damaged = next((tmp_path / "again").glob("documents-*.parquet"))
    damaged.write_bytes(damaged.read_bytes() + b"x")
    manifest.partial_of(tmp_path / "begun").mkdir()
    (points := manifest.checkpoints_of(tmp_path / "trained")).mkdir()
    for step in (200, 400):
        (points / f"step-{step:08d}").mkdir()
    rows = state_of(tmp_path)
    states = ["done", "damaged", "unfinished", "unfinished", "waiting"]
    assert [(row["step"], row["state"]) for row in rows] == list(zip(names, states, strict=True))
    assert rows[0]["metrics"]["docs"] == 50 and "files_read 1" in rows[0]["note"]
    assert [row["note"] for row in rows[2:]] == ["begun", "last checkpoint step-00000400", "Two lines."]
    assert damaged.name in rows[1]["note"]
    code, out, _ = run(["status", str(tmp_path)], capsys)
    assert code == 0 and len(out.splitlines()) == len(names)
    code, out, _ = run(["status", str(tmp_path), "--json"], capsys)
    assert code == 0 and json.loads(out) == rows


def test_status_of_another_folder_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["status", str(tmp_path)], capsys)
    assert code == 2 and err.count("\n") == 1 and "is not a run folder (no run.json)" in err


@pytest.mark.parametrize("name", ["llama2", "plain"])
def test_what_is_learnt_is_green_and_the_tokens_are_the_chats(toy: Toy, name: str) -> None:
    shown = coloured_chat(CHAT, toy.extended, name)
    parts = shown.split("·")
    green = [click.unstyle(part) for part in parts if part.startswith("\x1b[32m")]
    tokenizer = Tokenizer(toy.extended)
    ids = [tokenizer.fast.token_to_id(token) for token in green]
    answers = tokenizer.decode(ids, keep_special=True).split("</s>")
    assert [answer.strip() for answer in answers] == ["在实验室。", "不客气。", ""]
    every = [tokenizer.fast.token_to_id(click.unstyle(part)) for part in parts]
    assert every == tokenizer.encode_prompt(FORMATS[name].render(CHAT))


def test_show_chooses_by_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_jsonl(tmp_path / "a.jsonl", [{"number": n, "text": "行\u2028内"} for n in range(50)]))

    def numbers(*options: str) -> list[str]:
        code, out, _ = run(["show", path, "-n", "4", *options], capsys)
        assert code == 0
        return [line.split(": ")[1] for line in click.unstyle(out).split("\n") if line.startswith("number")]

    assert numbers() == ["0", "1", "2", "3"]
    assert numbers("--seed", "1") == numbers("--seed", "1") != numbers("--seed", "2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{', r"a.jsonl:2: is not JSON"),
        ("a.bin", "x", "show reads parquet, jsonl, json and tsv"),
        ("folder/a.txt", "x", "nothing to show: no shards, no jsonl and no manifest.json"),
    ],
)
def test_show_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    code, _, err = run(["show", str(path.parent if "/" in name else path)], capsys)
    assert code == 3 and err.count("\n") == 1 and message in err
