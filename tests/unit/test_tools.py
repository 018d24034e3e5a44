"""`status`: what it says of folders that are whole, half done, damaged or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import run
from toys import Toy, stage

from zhllm import manifest
from zhllm.tools.status import state_of


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
    assert rows[0]["metrics"]["docs"] == 50 and "files 1" in rows[0]["note"]
    assert [row["note"] for row in rows[2:]] == ["begun", "last checkpoint step-00000400", "Two lines."]
    assert damaged.name in rows[1]["note"]
    code, out, _ = run(["status", str(tmp_path)], capsys)
    assert code == 0 and [line.split()[0] for line in out.splitlines()[: len(names)]] == names
    code, out, _ = run(["status", str(tmp_path), "--json"], capsys)
    assert code == 0 and json.loads(out) == rows


def test_status_of_another_folder_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["status", str(tmp_path)], capsys)
    assert code == 2 and err.count("\n") == 1 and "is not a run folder (no run.json, and" in err
