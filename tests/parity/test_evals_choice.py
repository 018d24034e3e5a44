"""Multiple choice against one forward pass an option, lm-evaluation-harness, llama.cpp, and a merged adapter.

The harness is not a dependency: install it (`pip install lm-eval`) and the test of it runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import Plain, byte_level_model, encoder, few, llama2_model, read_scores, worst, write_cmmlu
from toys import Toy, stage, write_jsonl

from zhllm.evals.bits import bits_per_char
from zhllm.evals.choice import By, ChoiceProtocol, prompt_of, run_choice, wording_for
from zhllm.evals.choice_sets import Columns, Subject, read_sets
from zhllm.evals.likelihood import TorchScorer
from zhllm.infer.llamacpp import available
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import write_gguf
from zhllm.model.transformers_model import open_model
from zhllm.stages._evaluate_models import open_scorer
from zhllm.text.prompt_format import FORMATS

BORDER = 1e-4
FULL = bool(os.environ.get("ZHLLM_FULL"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"llama-2": llama2_model(root / "llama2", real_data), "byte-level": byte_level_model(root / "bytes")}


@pytest.fixture(scope="module")
def cmmlu(real_data: Path) -> list[Subject]:
    subjects = read_sets([real_data / "eval" / "cmmlu"], Columns())
    assert [(s.name, len(s.questions), len(s.examples)) for s in subjects] == [
        ("chinese_history", 323, 5), ("college_medicine", 273, 5), ("computer_science", 204, 5),
        ("elementary_chinese", 252, 5), ("jurisprudence", 411, 5),
    ]  # fmt: skip
    return subjects


@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
@pytest.mark.parametrize(("shots", "by"), [(0, "letter"), (5, "letter"), (5, "text")])
def test_all_five_subjects_of_cmmlu_score_as_one_pass_an_option(
    models: dict[str, Path], cmmlu: list[Subject], tokenizer: str, shots: int, by: Any
) -> None:
    subjects = few(cmmlu, 2)
    plain = Plain(models[tokenizer])
    scorer = TorchScorer(plain.model, plain.encode)
    result = run_choice(scorer, subjects, ChoiceProtocol(shots, by))
    assert worst(result, plain.of_result(subjects, result)) < BORDER
    if shots == 5:
        assert plain.tokens > 4 * scorer.tokens_computed


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
@pytest.mark.parametrize(("shots", "by"), [(0, "letter"), (0, "text"), (5, "letter")])
def test_many_questions_of_cmmlu_score_as_one_pass_an_option(
    models: dict[str, Path], cmmlu: list[Subject], tokenizer: str, shots: int, by: Any
) -> None:
    """Of each subject the first questions; all 1,463 with ZHLLM_FULL (`make prove`)."""
    if shots and not FULL:
        pytest.skip("twenty minutes on a core; set ZHLLM_FULL=1")
    plain, subjects = Plain(models[tokenizer]), cmmlu if FULL else few(cmmlu, 12)
    result = run_choice(TorchScorer(plain.model, plain.encode), subjects, ChoiceProtocol(shots, by))
    assert len(result.marked) == (1463 if FULL else 60)
    assert worst(result, plain.of_result(subjects, result)) < BORDER


def harness_scores(
    folder: Path, model: Path, prompts: Sequence[tuple[str, Sequence[str]]], cpu_s: list[float] | None = None,
    lm: Any = None,
) -> list[list[float]]:  # fmt: skip
    """What lm-evaluation-harness makes of the same prompts, as a task of its own over a local file.

    `cpu_s` is given the CPU seconds without the loading of the model, which is `lm` or the harness's own for it.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder.mkdir()
    records: list[dict[str, object]] = [{"context": c, "choices": list(o), "gold": 0} for c, o in prompts]
    data = write_jsonl(folder / "questions.jsonl", records)
    (folder / "task.yaml").write_text(
        f"task: own\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data}\n"
        f"  cache_dir: {folder}/cache\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: context\ndoc_to_choice: choices\n"
        'doc_to_target: gold\ntarget_delimiter: ""\nmetric_list:\n  - metric: acc\n',
        encoding="utf-8",
    )
    lm = lm or HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=4, add_bos_token=True)
    start = time.process_time()
    found = lm_eval.simple_evaluate(
        lm, tasks=["own"], task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        log_samples=True, bootstrap_iters=0,
    )  # fmt: skip
    if cpu_s is not None:
        cpu_s.append(time.process_time() - start)
    samples = sorted(found["samples"]["own"], key=lambda s: s["doc_id"])
    return [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]


@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
@pytest.mark.parametrize("by", ["letter", "text"])
def test_scores_are_those_of_the_harness(
    models: dict[str, Path], cmmlu: list[Subject], tmp_path: Path, tokenizer: str, by: Any
) -> None:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed")
    model, subjects, protocol = models[tokenizer], few(cmmlu, 2), ChoiceProtocol(2, by)
    scorer = TorchScorer(open_model(model, torch.float32), encoder(model))
    result = run_choice(scorer, subjects, protocol)
    wording, by_name = wording_for(subjects), {s.name: s for s in subjects}
    put = [prompt_of(by_name[m.subject], m.choice, 2, protocol, wording) for m in result.marked]
    assert worst(result, harness_scores(tmp_path / "own", model, [(p.context, p.options) for p in put])) < BORDER


@pytest.mark.skipif(not available(), reason="xllamacpp is not installed")
@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
def test_a_gguf_file_scores_as_its_source(
    models: dict[str, Path], cmmlu: list[Subject], tmp_path: Path, tokenizer: str
) -> None:
    """llama.cpp keeps its cache in f16, so a sum over many tokens differs in the fourth digit."""
    folder, subjects = models[tokenizer], few(cmmlu[:1], 1)
    source = open_source(folder)
    write_gguf(source, tmp_path / "model.gguf", "f32", None, 2)
    with open_scorer(folder, None, None) as torch_scorer, open_scorer(tmp_path / "model.gguf", None, None) as llama:
        ways: list[By] = ["letter"] if tokenizer == "llama-2" else ["letter", "text"]  # 0.5 s for each of its tokens
        for by in ways:
            own = run_choice(torch_scorer, subjects, ChoiceProtocol(1, by))
            (other,) = run_choice(llama, subjects, ChoiceProtocol(1, by)).marked
            assert other.nats == pytest.approx(own.marked[0].nats, rel=1e-3, abs=1e-2)


@pytest.mark.skipif(not available(), reason="xllamacpp is not installed")
def test_a_gguf_without_the_template_is_refused_in_a_line(models: dict[str, Path], tmp_path: Path) -> None:
    from zhllm.errors import DataError

    write_gguf(open_source(models["byte-level"]), tmp_path / "model.gguf", "f16", None, 2)
    data, file = write_cmmlu(tmp_path / "c", 2), tmp_path / "model.gguf"
    with pytest.raises(DataError, match="model.gguf: has no chat template .a base model.*. Give --prompt-format"):
        stage("evaluate", tmp_path / "out", model=file, task=["choice"], data=[data], chat=True)
    with pytest.raises(DataError, match='model.gguf: the format "chatml" writes .*not a control token'):
        stage("evaluate", tmp_path / "out", model=file, task=["choice"], data=[data], chat=True, prompt_format="chatml")


def test_an_adapter_scores_as_merged(toy: Toy, tmp_path: Path) -> None:
    adapter = stage(
        "sft", tmp_path / "sft", model=toy.resized, chats=[toy.chats], prompt_format="plain", epochs=0.2, seq_len=128,
        trainable="new-rows+lora",
    )  # fmt: skip
    merged = stage("merge", tmp_path / "merged", model=toy.resized, adapter=[adapter])
    subjects = read_sets([write_cmmlu(tmp_path / "c", 4)], Columns())
    chat = FORMATS["plain"]
    found = []
    for model, on_it in ((toy.resized, adapter), (merged, None), (toy.resized, None)):
        with open_scorer(model, on_it, chat) as scorer:
            found.append(run_choice(scorer, subjects, ChoiceProtocol(0, "text", chat)))
    live, plain, base = found
    assert worst(live, [m.nats for m in plain.marked]) < 1e-2  # merge rounds to the base's dtype
    assert worst(base, [m.nats for m in plain.marked]) > 0.1
    settings: dict[str, Any] = {"task": ["bits"], "data": [toy.zh]}
    scores = read_scores(stage("evaluate", tmp_path / "bits", model=toy.resized, adapter=adapter, **settings))
    records = (tmp_path / "bits" / "scores.json").read_text(encoding="utf-8")
    assert json.loads(records)["tables"] == {"model": {}}
    merged_scores = read_scores(stage("evaluate", tmp_path / "merged-bits", model=merged, **settings))
    (own, _), (other, _) = scores["scores"], merged_scores["scores"]
    assert own["value"] == pytest.approx(other["value"], rel=1e-4) and own["n"] == other["n"] > 1


def test_bits_of_an_adapterless_scorer_are_those_of_training(toy: Toy) -> None:
    from zhllm.evals.bits import scored_bits
    from zhllm.vocab.tokenizer import Tokenizer

    texts = ["实验室的样品每三天记录一次。" * 9, "好", "The lab keeps 𠮷 cold."]
    with open_scorer(toy.resized, None, None) as scorer:
        found = scored_bits(scorer, Tokenizer(toy.resized), texts, window=24)
        own = bits_per_char(toy.resized, texts, window=24)
    assert (found.window, found.cells_of) == (24, [pytest.approx(cells, rel=1e-4) for cells in own.cells_of])
    assert found.tokens == own.tokens and found.nats_of == pytest.approx(own.nats_of, rel=1e-4)
    assert sum(own.nats_of) == pytest.approx(own.nats)
