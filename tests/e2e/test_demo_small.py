"""The demo's recipe from its first step to its answers, with few training steps; then everything again."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from chromium import Page
from toys import run_apart

from zhllm import manifest
from zhllm.cli import main
from zhllm.infer import llamacpp
from zhllm.model.tensors import Checkpoint
from zhllm.recipe import open_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed"),
]

SMALLER = {
    "train-tokenizer.size": 600,
    "init-model.size": "toy",
    "pretrain-english.steps": 4,
    "train-vocab.size": 300,
    "pretrain.steps": 4,
    "pretrain.lora_rank": 4,
    "sft.steps": 4,
    "sft.lora_rank": 4,
    "evaluate-merged.max_tokens": 4,
    "evaluate-gguf.max_tokens": 4,
}
# DESIGN.md, "Interfaces that stay".
SUMMARY = {
    "chars_per_token_before", "chars_per_token_after", "bpc_zh_before", "bpc_zh_after", "bpc_en_before",
    "bpc_en_after", "accuracy_base", "accuracy_merged", "accuracy_gguf_q8_0", "seconds", "paths",
}  # fmt: skip


def zhllm(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints; it must succeed."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert not left.value.code, err
    return out


def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    arguments = ["run", "recipes/demo", "-o", str(run)]
    for key, value in SMALLER.items():
        arguments += ["--set", f"{key}={value}"]
    monkeypatch.chdir(Path(__file__).parents[2])
    shown = zhllm(capsys, *arguments)
    steps = [step.name for step in open_recipe(Path("recipes/demo"), run).steps]
    check_folders(run, steps)
    check_summary(run, shown)
    check_second_run(run, arguments, len(steps))
    check_status(run, steps, capsys)
    check_report(run, len(steps), shown, tmp_path, capsys)
    check_show(run, capsys)
    check_chat(run, capsys, monkeypatch)


def check_folders(run: Path, steps: list[str]) -> None:
    """A folder a step, whole, and nothing else: no partial folder, no checkpoints."""
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == sorted(steps)
    for step in steps:
        made = manifest.read(run / step)
        found = {p.relative_to(run / step).as_posix() for p in (run / step).rglob("*")}
        assert made is not None
        aside = (manifest.LOGS, manifest.CARD)
        assert {name for name in found if name.split("/")[0] not in aside} == {*made.files, manifest.NAME}
    merged = Checkpoint(run / "merge")
    assert (
        merged.specs["lm_head.weight"].shape[0] == json.loads((run / "merge" / "config.json").read_text())["vocab_size"]
    )


def check_summary(run: Path, shown: str) -> None:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= SUMMARY
    paths = summary.pop("paths")
    assert set(paths) == {"merged", "gguf_f16", "gguf_q8_0", "gguf_q4_k_m"}
    assert all(Path(path).exists() for path in paths.values())
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in summary.values())
    assert all(0 <= summary[name] <= 1 for name in summary if name.startswith("accuracy"))
    assert summary["chars_per_token_after"] > summary["chars_per_token_before"]
    assert summary["bpc_zh_after"] < summary["bpc_zh_before"]
    rows = [line for line in shown.splitlines() if line.startswith("  ") and "->" in line]
    assert len(rows) == 3 and "Talk to it:  zhllm chat" in shown
    questions = [line.removeprefix("  Q: ") for line in shown.splitlines() if line.startswith("  Q: ")]
    assert list(json.loads((run / "answers.json").read_text(encoding="utf-8"))) == questions and len(questions) == 3


def check_second_run(run: Path, arguments: list[str], steps: int) -> None:
    """Nothing is done again, and nothing heavy imported to find that out."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.parent != run}
    answers = (run / "answers.json").stat().st_mtime_ns
    done, seconds, modules = run_apart(arguments)
    assert done.returncode == 0 and done.stderr.count(": up to date\n") == steps
    assert f"every step is up to date ({steps} of {steps})" in done.stderr
    assert seconds < 5 and not modules & {"torch", "transformers", "polars", "numpy"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (run / "answers.json").stat().st_mtime_ns == answers
    changed, _, _ = run_apart([*arguments, "--check", "--set", "evaluate-gguf.max_tokens=5"])
    assert changed.returncode == 0 and changed.stdout.endswith(f"{steps} steps, all valid\n")


def check_status(run: Path, steps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lines = zhllm(capsys, "status", str(run)).splitlines()
    assert [line.split()[:4] for line in lines[: len(steps)]] == [[step, "up", "to", "date"] for step in steps]
    assert any(line.startswith("right answers, company.jsonl ") for line in lines), "scores before and after"
    rows = json.loads(zhllm(capsys, "status", str(run), "--json"))
    assert [row["step"] for row in rows] == steps and all(row["metrics"] for row in rows)


def check_report(run: Path, steps: int, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page that a run ends with, opened in a browser: whole, silent, alone, and as narrow as a phone."""
    page = run / "index.html"
    assert f"Build report:  {page}" in shown
    chinese = tmp_path / "报告.html"
    assert zhllm(capsys, "report", str(run), "--lang", "zh", "--out", str(chinese)) == f"{chinese}\n"
    card = (run / "merge" / manifest.CARD).read_text(encoding="utf-8")
    assert "| right answers | company.jsonl | merge |" in card and "| q4_k_m |" in card
    sizes = """[...document.querySelectorAll('svg,figure,table')].filter(e => !e.closest('details')).map(e => {
        const box = e.getBoundingClientRect(); return Math.min(box.width, box.height)})"""
    for file, title in ((page, "The line"), (chinese, "流水线")):
        for width in (1100, 360):
            with Page(width) as browser:
                browser.open(file.as_uri())
                drawn = browser.run(sizes)
                assert browser.complaints == [] and browser.requests == [file.as_uri()]
                assert len(drawn) > 30 and min(drawn) > 5, "every picture has a size"
                assert browser.run("document.documentElement.scrollWidth") <= width
                assert title in browser.run("document.body.innerText")
                assert browser.run("document.querySelectorAll('.map circle').length") == steps
                assert browser.run("[...document.links].every(a => a.protocol === 'file:')")


def check_show(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = zhllm(capsys, "show", str(run / "clean"), "-n", "1")
    assert clean.count("text: ") >= 2 and "reason: " in clean, "kept and rejected documents"
    assert zhllm(capsys, "show", str(run / "convert"), "--file", "chats-*", "-n", "2").count("assistant: ") >= 2
    tokens = zhllm(capsys, "show", str(run / "convert"), "-n", "1", "--tokenizer", str(run / "sft"))
    assert "·" in tokens and "</s>■+}" in tokens and "end tokens learnt: 1" in tokens
    shown = zhllm(capsys, "show", str(run / "pretrain"), "--manifest")
    assert "stage " in shown and "as it was read" in shown
    shown = zhllm(capsys, "show", str(run / "pretrain"), "--manifest", "--json")
    assert shown == (run / "pretrain" / "manifest.json").read_text(encoding="utf-8")
    assert "piece  count" in zhllm(capsys, "show", str(run / "train-vocab"), "-n", "1", "--seed", "3")


def check_chat(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    merged, gguf = str(run / "merge"), str(run / "export" / "company-f16.gguf")
    asked = ["--once", "年假有几天？", "--max-tokens", "6"]
    once = zhllm(capsys, "chat", merged, *asked)
    assert once.endswith("\n")
    done, _, modules = run_apart(["chat", gguf, *asked])
    assert (done.returncode, done.stdout) == (0, once), done.stderr
    assert not modules & {"torch", "transformers", "xllamacpp"}, "llama.cpp runs in a child, without torch"
    typed = "年假有几天？\n/clear\n年假有几天？\n/exit\n不再回答\n"
    done, _, _ = run_apart(["chat", gguf, "--max-tokens", "6"], typed)
    assert (done.returncode, done.stdout) == (0, once * 2)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert zhllm(capsys, "chat", merged, "--max-tokens", "6") == once * 2
