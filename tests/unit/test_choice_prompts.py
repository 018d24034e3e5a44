"""What multiple choice writes of each question: the text that was scored, and what was too long to be asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluated import HEADER, byte_level_model, read_scores, write_cmmlu
from test_evaluate_choice import scorer_of
from toys import Toy, random_model, stage

from zhllm.errors import DataError
from zhllm.evals.choice import ChoiceProtocol, run_choice
from zhllm.evals.choice_sets import Columns, read_sets
from zhllm.evals.likelihood import Answer, Ask, TorchScorer
from zhllm.infer import llamacpp
from zhllm.model.directory import set_chat_template
from zhllm.stages._evaluate_models import chat_format_of, open_scorer
from zhllm.stages.evaluate import table
from zhllm.text.prompt_format import FORMATS


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def chat_model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a chat template and control tokens of its own."""
    model = random_model(tmp_path_factory.mktemp("chat") / "model", toy.extended, max_position_embeddings=4096)
    set_chat_template(model, FORMATS["llama2"].jinja())
    return model


def scored_ids(monkeypatch: pytest.MonkeyPatch) -> list[Ask]:
    """Every question that a model directory is asked from now on, as ids."""
    asked: list[Ask] = []
    judge = TorchScorer.judge

    def keep(self: TorchScorer, asks: Sequence[Ask]) -> list[list[Answer]]:
        asked.extend(asks)
        return judge(self, asks)

    monkeypatch.setattr(TorchScorer, "judge", keep)
    return asked


@pytest.mark.parametrize("way", ["plain", "chat"])
@pytest.mark.parametrize("shots", [0, 5])
def test_the_scored_ids_are_made_again_of_what_is_written(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, shots: int
) -> None:
    asked = scored_ids(monkeypatch)
    data = write_cmmlu(tmp_path / "cmmlu")
    out = stage("evaluate", tmp_path / "out", model=chat_model, task=["choice"], data=[data], shots=shots,
                score_by=["letter", "text"], chat=way == "chat")  # fmt: skip
    records, begins = lines(out / "choice.jsonl"), lines(out / "choice-prefixes.jsonl")
    prefixes = {record["prefix"]: record for record in begins}
    assert len(prefixes) == len(begins) == 4, "one a subject and a way of scoring"
    assert len(records) == 24
    chat = chat_format_of(chat_model, None) if way == "chat" else None
    made = []
    with open_scorer(chat_model, None, chat) as scorer:
        for record in records:
            begin = prefixes[record["prefix"]]
            assert (begin["by"], begin["subject"], begin["shots"]) == (record["by"], record["subject"], shots)
            assert record["question"] in record["prompt"] and record["question"] not in begin["text"]
            context = begin["text"] + record["prompt"]
            options = scorer.encode([context + continuation for continuation in record["continuations"]])
            made.append(tuple(map(tuple, options)))
    assert sorted(made) == sorted(ask.options for ask in asked)
    letters = next(record for record in records if record["by"] == "letter")
    assert letters["continuations"] == ["A", "B", "C", "D"] and letters["prompt"].endswith("答案：")
    assert table(out), "the folder can be shown"


def with_long(folder: Path, count: int, long: Sequence[int]) -> Path:
    """A set whose questions with these numbers do not fit 512 tokens."""
    (folder / "test").mkdir(parents=True)
    times = [60 if i in long else 1 for i in range(count)]
    rows = [
        f'{i},"第{i}个𠮷样品{"，每三天登记一次" * times[i]}？",甲{i},乙{i},丙{i},丁{i},{"ABCD"[i % 4]}\n'
        for i in range(count)
    ]
    (folder / "test" / "样品.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def short_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_model(tmp_path_factory.mktemp("short"), max_position_embeddings=512)


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_model(tmp_path_factory.mktemp("long"), num_hidden_layers=3)


def test_a_question_that_is_too_long_is_left_out_and_told(
    short_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = with_long(tmp_path / "set", 40, [7, 20])
    out = stage("evaluate", tmp_path / "out", model=short_model, task=["choice"], data=[data])
    found = read_scores(out)
    assert found["scores"][0]["n"] == 38 == found["model"]["choice"]["choice_questions"]
    assert found["model"]["choice"]["choice_letter_too_long"] == 2 == found["protocols"]["choice"]["left out"]
    told = "38 of 40 questions; 2 too long for the 512 tokens the model reads"
    assert any(told in note and "样品.csv:9" in note and "样品.csv:22" in note for note in found["notes"]["model"])
    assert told in capsys.readouterr().err and any("left out 2" in line for line in table(out))
    assert told in (out / "report.html").read_text(encoding="utf-8")
    left_out = [record for record in lines(out / "choice.jsonl") if record["right"] is None]
    assert [record["where"][-2:] for record in left_out] == [":9", "22"]
    assert all(record["too_long_tokens"] > 512 for record in left_out)


def test_too_many_long_questions_are_refused_before_any_is_scored(
    short_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scored_ids(monkeypatch)
    data = with_long(tmp_path / "set", 12, [3, 4])
    settings: dict[str, Any] = {"model": short_model, "task": ["choice"], "data": [data]}
    message = (
        r"样品\.csv:5: the question has \d+ tokens and the model reads 512\. So it is of 2 of 12 questions "
        r"\(also .*样品\.csv:6\)\. Take them out .*, or leave them out: --max-too-long 0\.167\."
    )
    with pytest.raises(DataError, match=message):
        stage("evaluate", tmp_path / "out", **settings)
    assert not asked and not (tmp_path / "out").exists()
    out = stage("evaluate", tmp_path / "out", **settings, max_too_long=0.167)
    assert read_scores(out)["scores"][0]["n"] == 10
    every = with_long(tmp_path / "every", 3, range(3))
    with pytest.raises(DataError, match=r"So it is of 3 of 3 questions .* score a model that reads more\.$"):
        stage("evaluate", tmp_path / "none", **{**settings, "data": [every]}, max_too_long=1.0)


def test_two_models_are_compared_on_what_both_were_asked(short_model: Path, long_model: Path, tmp_path: Path) -> None:
    """The one that reads 8,192 tokens is asked all forty; the difference is of the thirty-eight, item by item."""
    data = with_long(tmp_path / "set", 40, [0, 20])
    found = {}
    for name, model, against in (("one", short_model, long_model), ("other", long_model, short_model)):
        out = stage("evaluate", tmp_path / name, model=model, against=against, task=["choice"], data=[data])
        found[name] = read_scores(out)
        by_role: dict[str, dict[str, float]] = {"model": {}, "against": {}}
        for record in lines(out / "choice.jsonl"):
            if record["right"] is not None:
                by_role[record["model"]][record["question"]] = record["right"]
        both = by_role["model"].keys() & by_role["against"].keys()
        assert len(both) == 38 and {len(own) for own in by_role.values()} == {38, 40}
        by_hand = sum(by_role["model"][q] - by_role["against"][q] for q in both) / 38
        (paired,) = found[name]["differences"].values()
        assert paired["n"] == 38 and paired["value"] == pytest.approx(by_hand)
        assert by_hand != 0, "models that differ, or nothing would be seen"
    assert found["one"]["differences"]["choice_accuracy"]["low"] == pytest.approx(
        -found["other"]["differences"]["choice_accuracy"]["high"], abs=0.02
    )


def test_questions_stay_in_the_order_of_the_set_however_many_examples_fit(tmp_path: Path) -> None:
    """Two models are compared item by item: which examples fit must not change which item is which."""
    folder = tmp_path / "set"
    write_cmmlu(folder, 12)
    for file in (folder / "test").glob("*.csv"):
        rows = file.read_text(encoding="utf-8").splitlines()
        rows[1::3] = [row.replace("校准一次", "校准一次" + "、登记一次" * 14) for row in rows[1::3]]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    subjects = read_sets([folder], Columns())
    model = byte_level_model(tmp_path / "m", max_position_embeddings=700)
    result = run_choice(scorer_of(model), subjects, ChoiceProtocol(5, "letter"))
    assert len({item.shots for item in result.marked}) > 1, "questions of unlike length have unlike examples"
    assert [m.choice for m in result.marked] == [c for s in subjects for c in s.questions]
    assert result.left_out == [False] * 24


def test_own_documents_leave_out_what_is_too_long(tmp_path: Path) -> None:
    """Paragraphs of 400 characters do not fit every small model."""
    model = byte_level_model(tmp_path / "m", max_position_embeddings=256)
    short = [f"第{i}号样品存放在实验室的低温柜里，每{3 + i}天检查。" for i in range(100, 140)]
    long = f"第{777}号样品" + "存放在实验室的低温柜里" * 25 + "，每99天检查。"
    (tmp_path / "文.txt").write_text("\n".join([*short, long]), encoding="utf-8")
    out = stage("evaluate", tmp_path / "out", model=model, task=["own"], data=[tmp_path / "文.txt"])
    found = read_scores(out)
    counts = found["model"]["own"]
    assert counts["own_letter_too_long"] >= 1
    assert any(f"{counts['own_letter_too_long']} too long for the 256" in note for note in found["notes"]["model"])
    assert (out / "own-prefixes.jsonl").is_file()


@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
def test_a_gguf_file_says_the_same_of_long_questions(short_model: Path, tmp_path: Path) -> None:
    export = stage("export", tmp_path / "gguf", model=short_model, type=["f16"])
    data = with_long(tmp_path / "set", 22, [5])
    out = stage("evaluate", tmp_path / "out", model=next(export.glob("*.gguf")), task=["choice"], data=[data])
    assert any("21 of 22 questions; 1 too long for the 511" in note for note in read_scores(out)["notes"]["model"])
    begins = lines(out / "choice-prefixes.jsonl")
    assert len(begins) == 1 and begins[0]["text"].endswith("正确答案。\n\n")
