"""Questions out of one's own documents: right, alike for equal texts, with distractors of the same kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluated import read_scores
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.own_documents import MASK, own_documents


def test_every_question_is_answered_by_its_paragraph(real_data: Path) -> None:
    files = sorted((real_data / "docs_laws").glob("*.md"))[:8]
    texts = [file.read_text(encoding="utf-8") for file in files]
    subjects, possible = own_documents(texts, 40)
    assert [s.name for s in subjects] == ["numbers", "names", "terms"] or possible["names"] == 0
    whole = "\n".join(texts)
    for subject in subjects:
        assert len(subject.questions) == min(40, possible[subject.name])
        for choice in subject.questions:
            masked = choice.question.removeprefix("下面的空格应填什么？")
            right = choice.options[choice.answer]
            assert masked.count(MASK) == 1 and masked.replace(MASK, right) in whole
            others = [o for o in choice.options if o != right]
            assert len(others) == 3 == len(set(others)) and not any(o in masked for o in others)
    assert own_documents(texts, 40) == (subjects, possible)
    answers = [c.answer for s in subjects for c in s.questions]
    assert all(answers.count(place) for place in range(4)), "the right option stands everywhere"


def test_the_stage_asks_a_model_about_documents(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended, max_position_embeddings=1024)
    lines = "\n".join(f"第{i}号样品存放在实验室的低温柜里，每{3 + i}天由专人检查并登记一次。" for i in range(12))
    data = write_jsonl(tmp_path / "texts.jsonl", [{"id": "a", "text": lines}])
    out = stage("evaluate", tmp_path / "out", model=model, task=["own"], data=[data], own_questions=5)
    found = read_scores(out)
    (score, _) = found["scores"]
    assert score["name"] == "own_accuracy" and score["chance"] == 0.25 and score["n"] == 5
    assert any("could give: numbers 12" in note for note in found["notes"]["model"])
    with pytest.raises(DataError, match="has no paragraph with a number, name or term"):
        plain = write_jsonl(tmp_path / "t.jsonl", [{"id": "b", "text": "好。"}])
        stage("evaluate", tmp_path / "none", model=model, task=["own"], data=[plain])
