"""What of the harness's bridge needs no lm-eval: its results as scores, local files by split, no network."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from evaluated import write_cmmlu
from test_cli import run
from toys import Toy

from zhllm.errors import ConfigError, DataError
from zhllm.evals.harness_results import answers_of, figures, leaves_of, protocol_of
from zhllm.evals.harness_tasks import LOCAL, local_files, network
from zhllm.stages._evaluate_harness import check_task_files


def sample(doc: int, acc: float, perplexity: Any = (1.0, 2)) -> dict[str, Any]:
    return {
        "doc_id": doc, "filter": "none", "metrics": ["acc", "ppl"], "acc": acc, "ppl": perplexity, "target": "甲",
        "arguments": [("题", "甲"), ("题", "乙"), ("题", "丙")], "resps": [[(-1.5, True)], [(-2.0, False)]],
        "doc_hash": f"d{doc}", "prompt_hash": "p", "target_hash": "t",
    }  # fmt: skip


@pytest.fixture
def found() -> dict[str, Any]:
    """As `lm_eval.simple_evaluate` returns it for a group of two tasks, of 4 and 2 items."""
    one = {"acc,none": 0.75, "acc_stderr,none": 0.25, "ppl,none": 5.0, "ppl_stderr,none": 0.5, "alias": "one"}
    return {
        "results": {"one": one, "two": {"acc,none": 0.5, "acc_stderr,none": "N/A", "ppl,none": 3.0}},
        "groups": {"both": {"acc,none": 4 / 6, "acc_stderr,none": 0.2, "alias": "both"}},
        "group_subtasks": {"both": ["one", "two"]},
        "configs": {"one": {"output_type": "multiple_choice", "dataset_path": "/tmp/x"},
                    "two": {"output_type": "multiple_choice"}},
        "versions": {"one": 1.0, "two": 3},
        "n-shot": {"one": 5, "two": 0},
        "n-samples": {"one": {"original": 9, "effective": 4}, "two": {"original": 2, "effective": 2}},
        "samples": {"one": [sample(i, float(i > 0)) for i in range(4)], "two": [sample(0, 1.0), sample(1, 0.0)]},
    }  # fmt: skip


def test_a_mean_of_items_has_an_interval_of_its_items_and_chance(found: dict[str, Any]) -> None:
    acc, ppl = figures(found, "one")
    assert (acc.of, acc.measure, acc.score.value, acc.score.n, acc.stderr) == ("one", "acc", 0.75, 4, 0.25)
    assert acc.score.chance == pytest.approx(1 / 3) and acc.items == {f"one/{i}": float(i > 0) for i in range(4)}
    assert acc.score.low < 0.75 < acc.score.high
    assert not ppl.items and ppl.score.chance is None
    assert (ppl.score.low, ppl.score.high) == pytest.approx((5 - 1.96 * 0.5, 5 + 1.96 * 0.5), abs=1e-4)


def test_a_group_has_the_items_of_its_tasks(found: dict[str, Any]) -> None:
    (acc,) = figures(found, "both")
    assert acc.score.value == pytest.approx(4 / 6) and len(acc.items) == 6 and "two/1" in acc.items
    assert leaves_of(found, "both") == ["one", "two"] and leaves_of(found, "one") == ["one"]
    found["groups"]["both"]["acc,none"] = (0.75 + 0.5) / 2  # not weighted by size: no mean of items
    (acc,) = figures(found, "both")
    assert not acc.items and acc.score.n == 6
    (_, ppl) = figures(found, "two")
    assert (ppl.score.value, ppl.score.low) == (3.0, None)
    assert ppl.score.no_interval == "lm-eval gives no standard error"


def test_documents_that_repeat_others_count_once(found: dict[str, Any]) -> None:
    once = next(figures(found, "one")).score
    samples = found["samples"]["one"]
    found["samples"]["one"] = [s | {"doc_id": i + 4 * turn} for turn in range(5) for i, s in enumerate(samples)]
    found["n-samples"]["one"] = {"original": 20, "effective": 20}
    five = next(figures(found, "one"))
    assert (five.score.n, five.score.units, len(five.items)) == (20, 4, 20)
    assert (five.score.low, five.score.high) == (once.low, once.high)


def test_the_hash_is_of_what_was_asked_and_not_of_where_it_lies(found: dict[str, Any]) -> None:
    first = protocol_of(found, ["both"])
    assert first["tasks"]["one"]["version"] == 1.0 and first["tasks"]["one"]["shots"] == 5
    found["configs"]["one"]["dataset_path"] = "/elsewhere"
    assert protocol_of(found, ["both"])["hash"] == first["hash"]
    found["samples"]["two"][1]["doc_hash"] = "other"
    assert protocol_of(found, ["both"])["hash"] != first["hash"]


def test_answers_are_likelihoods_or_texts(found: dict[str, Any]) -> None:
    found["samples"]["two"][0]["resps"] = [["三天𠮷"]]
    answers = answers_of(found)
    assert answers["one/0"] == {"target": "甲", "answers": [-1.5, -2.0]}
    assert answers["two/0"]["answers"] == ["三天𠮷"]


def test_local_files_are_known_by_split_and_subset(tmp_path: Path) -> None:
    cmmlu = write_cmmlu(tmp_path / "cmmlu")
    found = local_files(cmmlu)
    assert found.keys() == {"chinese_history", "甲"} and found["甲"].keys() == {"dev", "test"}
    for name in ("law/val.jsonl", "val/art_val.csv", "train.parquet", "notes.txt", "other.csv"):
        path = tmp_path / "mixed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert {k: sorted(v) for k, v in local_files(tmp_path / "mixed").items()} == {
        "law": ["val"], "art": ["val"], "default": ["train"],
    }  # fmt: skip
    single = tmp_path / "mixed" / "other.csv"
    assert local_files(single) == {"default": {"test": single}}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data of a harness task"):
        local_files(tmp_path / "empty")


def test_nothing_reaches_the_network_unless_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants as hub

    for allowed in (False, True):
        with network(allowed), socket.socket() as one:
            assert os.environ["HF_DATASETS_OFFLINE"] == ("0" if allowed else "1")
            assert hub.HF_HUB_OFFLINE is (not allowed)
            if not allowed:
                with pytest.raises(OSError, match=r"no network here: a task wanted to reach 192\.0\.2\.7"):
                    one.connect(("192.0.2.7", 443))
            else:
                one.connect(("192.0.2.7", 443))
            one.connect((min(LOCAL), 1))
    assert asked == [("127.0.0.1", 1), ("192.0.2.7", 443), ("127.0.0.1", 1)]
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_without_lm_eval_a_line_says_what_to_install(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "lm_eval" else find(name, *a))
    command = ["evaluate", "--model", str(toy.resized), "-o", str(tmp_path / "out")]
    code, _, err = run([*command, "--harness", "cmmlu"], capsys)
    assert code == 4
    assert err == 'error: lm-eval is not installed, and --harness needs it: pip install "zhllm[harness]".\n'
    code, _, err = run(command, capsys)
    assert code == 2 and "there is nothing to measure: give --task NAME, or --harness TASK" in err
    code, _, err = run([*command, "--harness", "cmmlu", "--data", f"ceval={toy.zh}"], capsys)
    assert code == 2 and "is not a task of this run (cmmlu)" in err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"坏.yaml": "task: zh_bad\noutput_type: [\ntest_split: test\n"},
            r"坏\.yaml:4:1: not valid YAML: expected ',' or ']'",
        ),
        ({"bad.yaml": "task: zh_bad\n\tdoc_to_text: 问\n"}, r"bad\.yaml:2:1: not valid YAML: found character '\\t'"),
        ({"sub/bad.yaml": "- task: zh_bad\n"}, r"sub/bad\.yaml: holds list, not the keys of a task"),
        ({"bad.yaml": ""}, r"bad\.yaml: holds NoneType, not the keys"),
        ({"bad.yaml": b"task: \xd6\xd0\n"}, r"bad\.yaml: is not UTF-8 .byte 6.*Save it as UTF-8"),
        ({"bad.yaml": "task: a\x07\n"}, r"bad\.yaml: not valid YAML: unacceptable character"),
        ({"a.yaml": "include: _b\ntask: zh_a\n"}, r"_b: cannot be read .No such file.*included by .*a\.yaml"),
        ({"a.yaml": "include: [_b]\ntask: a\n", "_b": "x: 'y\n"}, r"_b:2:1: not valid YAML: .*included by .*a\.yaml"),
        ({"a.yaml": "include: a.yaml\ntask: zh_a\n"}, r"a\.yaml: includes itself"),
    ],
)
def test_a_broken_task_file_is_named_and_not_passed_over(
    tmp_path: Path, files: dict[str, str | bytes], said: str
) -> None:
    """lm-eval skips what it cannot read, and then knows no such task; here the other files are good ones."""
    include = tmp_path / "任务"
    good = {"_base": "output_type: generate_until\n", "组.yaml": "group: g\ntask: [zh_good]\n",
            "good.yaml": "include: _base\ntask: zh_good\ndoc_to_text: !function utils.words\n"}  # fmt: skip
    for name, text in {**good, **files}.items():
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=said):
        check_task_files([include])
    for name in files:
        (include / name).unlink()
    check_task_files([include])


def test_a_folder_without_task_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "task.yml").write_text("task: zh_good\n", encoding="utf-8")
    for path in (tmp_path, tmp_path / "task.yml"):
        with pytest.raises(ConfigError, match=r"--harness-include .*: is no folder with task files \(\*\.yaml\)"):
            check_task_files([path])
