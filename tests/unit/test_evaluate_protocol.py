"""What is asked for answers has a hash of words, template and settings, and what repeats counts once in every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluated import read_scores
from toys import Toy, random_model, stage, write_jsonl

SETTINGS: dict[str, Any] = {"max_tokens": 3, "prompt_format": "plain"}


@pytest.fixture(scope="module")
def model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model: it has no template of its own."""
    return random_model(tmp_path_factory.mktemp("protocol") / "model", toy.extended)


def asked(path: Path, count: int, times: int = 1) -> Path:
    lines = [{"id": f"{path.stem}{t}", "question": f"第{i}号样品𠮷几天检查？", "answer": "三天"}
             for t in range(times) for i in range(count)]  # fmt: skip
    return write_jsonl(path, lines)


def protocol(folder: Path, task: str = "questions") -> dict[str, Any]:
    found: dict[str, Any] = read_scores(folder)["protocols"][task]
    return found


def test_the_hash_holds_words_template_and_settings_and_no_names(model: Path, tmp_path: Path) -> None:
    made = {}
    for name, file, change in (
        ("first", asked(tmp_path / "a.jsonl", 3), {}),
        ("same", asked(tmp_path / "叫什么都行.jsonl", 3), {}),
        ("template", tmp_path / "a.jsonl", {"prompt_format": "llama2"}),
        ("longer", tmp_path / "a.jsonl", {"max_tokens": 4}),
        ("words", asked(tmp_path / "b.jsonl", 4), {}),
    ):
        out = stage("evaluate", tmp_path / name, model=model, task=["questions", "generate"],
                    data=[f"questions={file}", f"generate={file}"], **{**SETTINGS, **change})  # fmt: skip
        made[name] = [protocol(out, task) for task in ("questions", "generate")]
    for place in (0, 1):
        hashes = {name: found[place]["hash"] for name, found in made.items()}
        assert hashes["first"] == hashes["same"] and len(set(hashes.values())) == 4
        assert made["template"][place]["asked"] == made["first"][place]["asked"] != made["longer"][place]["asked"]
    assert [made[name][0]["template"] for name in ("first", "template")] == ["plain", "llama2"]


def test_repeated_prompts_count_once(model: Path, tmp_path: Path) -> None:
    """Twelve prompts five times, under five ids: the intervals of the twelve, and a note that tells."""
    found = {}
    for times in (1, 5):
        file = asked(tmp_path / f"{times}.jsonl", 12, times)
        out = stage("evaluate", tmp_path / f"out{times}", model=model, task=["questions", "generate"],
                    data=[f"questions={file}", f"generate={file}"], **SETTINGS)  # fmt: skip
        scores = read_scores(out)
        found[times] = {s["name"]: s for s in scores["scores"]}
        notes = [note for note in scores["notes"]["model"] if "48 of 60 items repeat others" in note]
        assert len(notes) == (2 if times == 5 else 0)
    assert len(found[1]) == 6
    for name, once in found[1].items():
        five = found[5][name]
        assert (five["n"], five["units"], once["n"]) == (60, 12, 12) and "units" not in once
        for key in ("value", "low", "high"):
            assert five[key] == (None if once[key] is None else pytest.approx(once[key], abs=1e-9)), (name, key)
