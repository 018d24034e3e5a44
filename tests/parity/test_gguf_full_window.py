"""Prompts cut to all that a model reads: a GGUF file and its directory are asked the same and say the same.

llama.cpp refuses a prompt that fills its context, so a file reads one token less, and so does a directory beside it.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from evaluated import encoder, read_scores, write_cmmlu
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.choice import ChoiceProtocol, prompt_of, wording_for
from zhllm.evals.choice_sets import Columns, read_sets
from zhllm.evals.likelihood import Ask
from zhllm.infer import llamacpp
from zhllm.infer.llamacpp import LlamaServer
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import write_gguf
from zhllm.stages import _evaluate_models
from zhllm.stages._evaluate_models import open_scorer, window_beside

pytestmark = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")

CONTEXT = 192
# Both compute in float32; the sums of an answer's tokens are compared.
BORDER = 1e-4


@pytest.fixture(scope="module")
def models(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model directory and its file in float32."""
    root = tmp_path_factory.mktemp("window")
    folder = random_model(root / "model", toy.extended, max_position_embeddings=CONTEXT)
    write_gguf(open_source(folder), root / "model.gguf", "f32", None, 2)
    return folder, root / "model.gguf"


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp keeps keys and values in float32, so that what differs is what it was asked."""
    monkeypatch.setattr(_evaluate_models, "LlamaServer", partial(LlamaServer, float32_cache=True))


def pairs(path: Path) -> Path:
    """Prompts from short to far too long for the model, so that most are cut to its window."""
    return write_jsonl(path, [
        {"id": f"{i}", "prompt": [{"role": "user", "content": "仪器每三天在实验室检查一次。" * i + f"第{i}件在哪里？"}],
         "chosen": "在仓库。", "rejected": "记录在食堂。"}
        for i in (1, 10, 15, 16, 18)
    ])  # fmt: skip


def by_role(out: Path, task: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of the model and of the one beside it."""
    records = [json.loads(line) for line in (out / f"{task}.jsonl").read_bytes().splitlines()]
    model, against = ([r for r in records if r["model"] == role] for role in ("model", "against"))
    assert len(model) == len(against) > 0
    return model, against


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_cut_to_the_window_score_as_in_the_directory(
    models: tuple[Path, Path], tmp_path: Path, swapped: bool
) -> None:
    folder, file = models
    one, other = (folder, file) if swapped else (file, folder)
    data = pairs(tmp_path / "preferences-00000.jsonl")
    out = stage("evaluate", tmp_path / "out", model=one, against=other, task=["preference"], data=[data],
                prompt_format="plain")  # fmt: skip
    own, beside = by_role(out, "preference")
    assert 1 < sum(r["cut"] for r in own) < 5, "some prompts fill the window, some do not"
    for a, b in zip(own, beside, strict=True):
        assert (a["id"], a["cut"], a["chosen_tokens"]) == (b["id"], b["cut"], b["chosen_tokens"])
        for key in ("chosen_nats", "rejected_nats"):
            assert a[key] == pytest.approx(b[key], abs=BORDER), (a["id"], key)
    protocol = read_scores(out)["protocols"]["preference"]
    assert protocol["window_tokens"] == CONTEXT - llamacpp.SPARE_TOKENS


def test_worked_examples_that_fill_the_context_are_left_out_of_both(toy: Toy, tmp_path: Path) -> None:
    """The context is as long as the first question with two examples."""
    data = write_cmmlu(tmp_path / "sets", 3, ["chinese_history"])
    subjects, protocol = read_sets([data], Columns()), ChoiceProtocol(2, "letter")
    put = prompt_of(subjects[0], subjects[0].questions[0], 2, protocol, wording_for(subjects))
    (ids,) = encoder(toy.extended)([put.context])
    folder = random_model(tmp_path / "model", toy.extended, max_position_embeddings=len(ids))
    write_gguf(open_source(folder), file := tmp_path / "model.gguf", "f32", None, 2)
    settings: dict[str, Any] = {"task": ["choice"], "data": [data], "shots": 2, "score_by": ["letter", "text"]}
    out = stage("evaluate", tmp_path / "out", model=file, against=folder, **settings)
    own, beside = by_role(out, "choice")
    stage("evaluate", tmp_path / "alone", model=folder, **settings)
    alone = [json.loads(line) for line in (tmp_path / "alone" / "choice.jsonl").read_bytes().splitlines()]
    assert (own[0]["shots"], alone[0]["shots"]) == (1, 2), "a directory alone reads all that it can"
    for a, b in zip(own, beside, strict=True):
        assert (a["question"], a["by"], a["shots"], a["prefix"]) == (b["question"], b["by"], b["shots"], b["prefix"])
        assert a["log_likelihoods"] == pytest.approx(b["log_likelihoods"], abs=BORDER)


def test_a_prompt_of_exactly_the_window_is_read(models: tuple[Path, Path]) -> None:
    """And one token more is not: the error names what was asked."""
    folder, file = models
    with open_scorer(folder, None, None, window_beside(file)) as own, open_scorer(file, None, None) as llama:
        assert own.context == llama.context == CONTEXT - llamacpp.SPARE_TOKENS
        (ids,) = own.encode(["第三台仪器由谁在实验室检查并登记？" * 40])
        (same,) = llama.encode(["第三台仪器由谁在实验室检查并登记？" * 40])
        assert ids == same
        for size in (llama.context - 1, llama.context):
            prompt = tuple(ids[:size])
            ask = Ask(((*prompt, 300), (*prompt, 301), (*prompt[:-2], 5, 6, 7)), size - 2)
            assert llama.score([ask])[0] == pytest.approx(own.score([ask])[0], abs=BORDER)
        prompt = tuple(ids[: llama.context + 1])
        for name, said in (("暗号.csv:7", r"model\.gguf: 暗号\.csv:7: "), ("", r"the prompt that ends in '.*谁.*': ")):
            with pytest.raises(DataError, match=f"{said}llama.cpp refused .*exceeds the available context size"):
                llama.score([Ask(((*prompt, 300), (*prompt, 301)), len(prompt), name)])


def test_only_a_directory_beside_a_file_reads_less(models: tuple[Path, Path]) -> None:
    folder, file = models
    assert window_beside(folder) is None and window_beside(None) is None and window_beside(file) == CONTEXT - 1
    with open_scorer(folder, None, None) as alone:
        assert alone.context == CONTEXT
