"""`evaluate --harness` against lm-evaluation-harness with its own model class, on local data.

lm-eval is no dependency: install it (`pip install -e '.[harness]'`) and these tests run.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluated import byte_level_model, llama2_model, read_scores, write_cmmlu
from toys import stage, write_jsonl

from zhllm import manifest
from zhllm.cli import main
from zhllm.infer.llamacpp import available
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import write_gguf
from zhllm.stages import evaluate

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")

TASKS = {
    "zh_choice": """
output_type: multiple_choice
doc_to_text: "题目：{{question}}\\n答案："
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
fewshot_split: dev
num_fewshot: 2
fewshot_config: {sampler: first_n}
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 2.5}
""",
    "zh_last_word": """
output_type: loglikelihood
doc_to_text: "{{question}} "
doc_to_target: "{{choices[0]}}"
metric_list: [{metric: acc}, {metric: perplexity}]
""",
    "zh_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
""",
    "zh_written": """
output_type: generate_until
doc_to_text: "问：{{question}}\\n答："
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["。", "\\n"], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
""",
}


def own_tasks(folder: Path, questions: int = 7) -> Path:
    """Task files on local json, and a group of two of them."""
    folder.mkdir(parents=True)
    records: list[dict[str, object]] = [
        {"question": f"第{i}台仪器 No.{i} 由谁保管？", "choices": [f"實驗室𠮷{i}", "仓库", "办公室　Ａ", "食堂👩‍👩‍👧"],
         "gold": i % 4, "text": f"仪器{i}每三天校准一次，𠮷先生登记。" * (1 + 12 * (i % 2))}
        for i in range(questions)
    ]  # fmt: skip
    test, dev = write_jsonl(folder / "test.jsonl", records[2:]), write_jsonl(folder / "dev.jsonl", records[:2])
    where = {"data_files": {"test": str(test), "dev": str(dev)}, "cache_dir": str(folder.parent / "cache")}
    for name, rest in TASKS.items():
        data = f"task: {name}\ndataset_path: json\ndataset_kwargs: {json.dumps(where)}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(data + rest, encoding="utf-8")
    group = "group: zh_both\ntask: [zh_choice, zh_last_word]\naggregate_metric_list: [{metric: acc}]\n"
    (folder / "group.yaml").write_text(group, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    short = {"max_position_embeddings": 160}
    return {"llama-2": llama2_model(root / "llama2", real_data), "byte-level": byte_level_model(root / "b", **short)}


def run(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(args)
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def by_harness(model: Path, include: Path, names: list[str]) -> dict[str, Any]:
    """What lm-eval finds with its own class for a transformers model."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
    manager = TaskManager(include_path=str(include), include_defaults=False)
    found: dict[str, Any] = lm_eval.simple_evaluate(lm, tasks=names, task_manager=manager, bootstrap_iters=10)
    return found


@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
def test_every_kind_of_task_scores_as_in_the_harness(models: dict[str, Path], tmp_path: Path, tokenizer: str) -> None:
    """Half of the rolled texts are longer than the byte-level model reads, and so are its worked examples."""
    include, model = own_tasks(tmp_path / "tasks"), models[tokenizer]
    scores = read_scores(
        stage("evaluate", tmp_path / "out", model=model, harness=["zh_both", "zh_text", "zh_written"],
              harness_include=[include])
    )  # fmt: skip
    theirs = by_harness(model, include, ["zh_both", "zh_text", "zh_written"])
    own = {s["name"]: s for s in scores["scores"]} | {
        f"harness_{task}_{title.rpartition(' ')[2]}": s
        for title, table in scores["tables"]["model"].items()
        for task, s in table.items()
    }
    expected = {
        f"harness_{task}_{key.partition(',')[0]}": value
        for task, found in {**theirs["results"], **theirs["groups"]}.items()
        for key, value in found.items()
        if key.endswith(",none") and "stderr" not in key
    }
    assert own.keys() == expected.keys() and len(own) == 7
    assert {name: s["value"] for name, s in own.items()} == pytest.approx(expected, rel=1e-4)
    assert own["harness_zh_choice_acc"]["chance"] == 0.25 and own["harness_zh_choice_acc"]["n"] == 5
    assert scores["protocols"]["harness"]["tasks"]["zh_choice"]["version"] == 2.5
    lines = [json.loads(line) for line in (tmp_path / "out" / "harness.jsonl").read_text("utf-8").splitlines()]
    answers = {line["id"]: line["answers"] for line in lines}
    assert len(answers) == 20
    for task, samples in theirs["samples"].items():
        for sample in samples:
            given, response = answers[f"{task}/{sample['doc_id']}"], [r[0] for r in sample["resps"]]
            if task == "zh_written":
                assert given == response
            else:
                wanted = [float(r[0]) if isinstance(r, tuple | list) else float(r) for r in response]
                assert given == pytest.approx(wanted, abs=2e-3 if task == "zh_text" else 1e-4)
    assert ("lost their beginning" in str(scores["notes"])) == (tokenizer == "byte-level")


def test_known_tasks_read_local_files(models: dict[str, Path], real_data: Path, tmp_path: Path) -> None:
    """CMMLU as lm-eval has it, on the files of CMMLU; a random model is not told from chance."""
    folder, names = real_data / "eval" / "cmmlu", ["cmmlu_jurisprudence", "cmmlu_elementary_chinese"]
    settings: dict[str, Any] = {"harness": names, "data": [f"{name}={folder}" for name in names], "harness_limit": 6,
                                "harness_shots": 5}  # fmt: skip
    out = stage("evaluate", tmp_path / "out", model=models["llama-2"], against=models["byte-level"], **settings)
    scores = read_scores(out)
    assert [s["n"] for s in scores["scores"]] == [6] * 8
    own = {s["name"]: s for s in scores["scores"] if s["role"] == "model"}
    assert own["harness_cmmlu_jurisprudence_acc"]["is_chance"]
    assert scores["differences"].keys() == own.keys()
    tasks = scores["protocols"]["harness"]["tasks"]
    assert {name: (t["version"], t["shots"], t["of_items"]) for name, t in tasks.items()} == {
        "cmmlu_jurisprudence": (1.0, 5, 411), "cmmlu_elementary_chinese": (1.0, 5, 252),
    }  # fmt: skip
    again = stage("evaluate", tmp_path / "again", model=models["byte-level"], **settings)
    assert read_scores(again)["protocols"]["harness"]["hash"] == scores["protocols"]["harness"]["hash"]
    fewer = stage("evaluate", tmp_path / "fewer", model=models["llama-2"], **{**settings, "harness_shots": 1})
    assert read_scores(fewer)["protocols"]["harness"]["hash"] != scores["protocols"]["harness"]["hash"]


def test_compare_pairs_the_items(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    include = own_tasks(tmp_path / "tasks", 30)
    for name, model in models.items():
        stage("evaluate", tmp_path / name, model=model, harness=["zh_choice"], harness_include=[include])
    code, out, err = run(["compare", str(tmp_path / "llama-2"), str(tmp_path / "byte-level"), "--json"], capsys)
    assert code == 0, err
    found = {row["measure"]: row for row in json.loads(out)["rows"]}
    assert found.keys() == {"harness_zh_choice_acc", "harness_zh_choice_acc_norm"}
    row = found["harness_zh_choice_acc"]
    assert row["differences"][0]["n"] == 28 and row["differences"][0]["p"] is not None
    assert row["differences"][0]["value"] == pytest.approx(row["values"][1] - row["values"][0])


@pytest.mark.skipif(not available(), reason="xllamacpp is not installed")
def test_a_gguf_file_scores_as_its_directory(models: dict[str, Path], tmp_path: Path) -> None:
    include, model = own_tasks(tmp_path / "tasks", 3), models["llama-2"]
    write_gguf(open_source(model), tmp_path / "model.gguf", "f32", None, 2)
    settings: dict[str, Any] = {"harness": ["zh_choice", "zh_written"], "harness_include": [include]}
    lines = []
    for source in (model, tmp_path / "model.gguf"):
        out = stage("evaluate", tmp_path / f"out-{source.suffix}", model=source, **settings)
        lines.append([json.loads(line) for line in (out / "harness.jsonl").read_text("utf-8").splitlines()])
    for one, other in zip(*lines, strict=True):
        if isinstance(one["answers"][0], str):
            assert one["answers"] == other["answers"]
        else:
            assert one["answers"] == pytest.approx(other["answers"], rel=1e-3, abs=1e-2)


def test_what_the_harness_cannot_do_is_told_in_a_line(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    include = own_tasks(tmp_path / "tasks")
    unknown = TASKS["zh_written"].replace("max_gen_toks: 12", "num_beams: 4")
    data = (include / "zh_written.yaml").read_text("utf-8").partition("output_type")[0]
    (include / "beams.yaml").write_text(data.replace("zh_written", "zh_beams") + unknown, encoding="utf-8")
    broken = data.replace("zh_written", "zh_broken") + TASKS["zh_written"].replace("{{question}}", "{{no.such.thing}}")
    (include / "broken.yaml").write_text(broken, encoding="utf-8")
    cmmlu = write_cmmlu(tmp_path / "c")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "坏.yaml").write_text("task: zh_bad\ndoc_to_text: [\n", encoding="utf-8")
    wrong = [
        (["--harness", "zh_bad", "--harness-include", str(tmp_path / "own")], 2, r"坏.yaml:3:1: not valid YAML"),
        (["--harness", "zh_nothing_like_it"], 2, r"lm-eval knows no such task. No file in .*tasks names it, either"),
        (["--harness", "cmmlu_jurisprudense"], 2, "lm-eval knows no such task. Did you mean cmmlu_jurispr"),
        (["--harness", "cmmlu_jurisprudence"], 3, "are not on this machine .*Give local files: --data cmmlu_jur.*=DIR"),
        (["--harness", "cmmlu_jurisprudence", "--data", f"cmmlu_jurisprudence={cmmlu}"], 3, "cannot be read as the"),
        (["--harness", "cmmlu_jurisprudence", "--data", f"cmmlu_jurisprudence={include}"], 3, "cannot be read as the"),
        (["--harness", "zh_beams"], 3, "generates with num_beams"),
        (["--harness", "zh_broken"], 3, "cannot be read as the task wants|lm-eval failed"),
        (["--harness", "zh_choice", "--chat"], 3, "has no chat template"),
        (["--harness", "humaneval"], 3, "humaneval"),
    ]  # fmt: skip
    for flags, code, said in wrong:
        command = ["evaluate", "--model", str(models["llama-2"]), *flags, "--harness-include", str(include)]
        got, _, err = run([*command, "-o", str(tmp_path / "out")], capsys)
        last = err.strip().splitlines()[-1]
        assert (got, len(err.split("error: "))) == (code, 2), (flags, err)
        assert re.search(said, last), (flags, last)
    assert manifest.read(tmp_path / "out") is None


def test_the_tasks_of_the_documentation_are_known_to_lm_eval() -> None:
    from zhllm.evals.harness_tasks import _manager

    root = Path(__file__).resolve().parents[2]
    texts = [(root / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")]
    texts.append(evaluate.run.__doc__ or "")
    asked = [re.findall(r"--harness ((?:\w+ )+)", text) for text in texts]
    assert all(asked)
    names = {name for found in asked for some in found for name in some.split()} - {"my_task"}
    assert names and names <= set(_manager(sorted(names), []).all_tasks)


def test_the_command_prints_its_table_and_nothing_of_lm_eval(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A perplexity of a random model has no end of digits, lm-eval prints that it bootstraps one, and asks git."""
    monkeypatch.chdir(tmp_path)
    include = own_tasks(tmp_path / "tasks")
    command = ["evaluate", "--model", str(models["llama-2"]), "--harness", "zh_last_word", "--harness-include"]
    code, out, err = run([*command, str(include), "-o", str(tmp_path / "out")], capfd)
    assert code == 0, err
    assert out.startswith("score ") and "bootstrapping" not in out + err and "it/s]" not in err
    assert "fatal" not in err, "git says so outside of a repository"
    assert max(map(len, out.splitlines())) < 140 and "harness_zh_last_word_perplexity" in out
