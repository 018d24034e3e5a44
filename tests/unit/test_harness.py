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

from zhllm.errors import DataError
from zhllm.evals.harness_results import answers_of, figures, leaves_of, protocol_of
from zhllm.evals.harness_tasks import LOCAL, local_files, network


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
