"""Replies to code tasks that hold no code are told from wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluated import read_scores
from scripted import scripted_llama
from test_compare import rows
from toys import Toy, stage, write_jsonl

from zhllm.evals.code_tasks import NO_CODE, CodeTask, has_code
from zhllm.evals.sandbox import run_program
from zhllm.stages import _evaluate_generation as generation
from zhllm.stages._evaluate_generation import outcome_of
from zhllm.stages._evaluate_tasks import Answers


@pytest.mark.parametrize(
    ("reply", "held"),
    [
        ("```python\ndef add(a, b):\n    return a + b\n```", True),
        ("```\n加起来\n```", True),  # a block is taken for code, and is wrong
        ("    return a + b", True),
        ("return a + b + ", True),  # breaks off
        ("def add(a, b):\n    if (", True),
        ("total = a + b", True),
        ("print(a)", True),
        ("if a:\n    pass", True),
        ("", False),
        (" \n\u3000", False),
        ("```python\n# 略\n\n```", False),
        ("我不知道怎么写。", False),
        ("好", False),
        ("不会 𠮷👩‍👩‍👧", False),
        ("The sum of both numbers is returned.", False),
        ("not sure", False),
        ("3", False),
    ],
)
def test_a_reply_without_code_is_told_from_a_wrong_one(reply: str, held: bool) -> None:
    assert has_code(reply) is held
    (task,) = [CodeTask("t", "写", "def add(a, b):\n", "assert add(1, 2) == 3\n", "add")]
    outcome = outcome_of(task, reply)
    assert (outcome == NO_CODE) is (not held) and (outcome == "passed") is (reply in RIGHT)


RIGHT = ("```python\ndef add(a, b):\n    return a + b\n```", "    return a + b")


def test_the_report_tells_what_became_of_replies(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four replies to four tasks: right, wrong, too slow, none."""
    said = {
        "甲": "```python\nx = 1\n```",
        "乙": "```python\nx = 2\n```",
        "丙": "```python\nwhile True: pass\n```",
        "丁": "不会",
    }
    replies = Answers(dict(enumerate(said.values())), {}, list(said), 512, 0)
    monkeypatch.setattr(generation, "answers", lambda config, subject, asked, names: replies)
    monkeypatch.setattr(generation, "run_program", lambda program: run_program(program, time_s=1))
    data = write_jsonl(tmp_path / "m.jsonl", [{"task_id": n, "text": n, "test_list": ["assert x == 1"]} for n in said])
    out = stage("evaluate", tmp_path / "out", model=scripted_llama(tmp_path / "model", toy.extended), task=["code"],
                data=[data], allow_code=True)  # fmt: skip
    found = read_scores(out)
    assert found["model"]["code"]["code_pass_at_1"] == found["model"]["code"]["code_no_code"] == 0.25
    told = "Of 4 replies 1 passed, 1 were wrong, 1 took too long, 1 held no code."
    assert f"code: {told}" in found["notes"]["model"] and told in (out / "report.html").read_text(encoding="utf-8")
    gaps = {row["measure"]: row["differences"][0] for row in rows([out, out], capsys)[0]["rows"]}
    assert gaps["code_no_code"]["n"] == gaps["code_pass_at_1"]["n"] == 4 and gaps["code_no_code"]["other"] == 0.25
