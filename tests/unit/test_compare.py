"""`compare`: columns that meet, differences that are paired over the items both have, and what cannot be compared."""

from __future__ import annotations

import json
import random
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import run

from zhllm import manifest
from zhllm.evals.intervals import PAIRED_ROUNDS, difference
from zhllm.evals.resampling import drawn_means, units_of
from zhllm.tools._compare_items import value_of
from zhllm.tools._compare_words import TEXTS


def evaluated(
    folder: Path, right: list[bool], data: str = "d", against: list[bool] | None = None, names: list[str] | None = None
) -> Path:
    """A folder as `evaluate --task questions` leaves it; the answers decide the accuracy."""
    partial = manifest.start_partial(folder)
    names = names or [f"第{i}题\U00020bb7" for i in range(len(right))]
    lines, scores = [], []
    for role, hits in (("model", right), ("against", against)):
        if hits is None:
            continue
        value = sum(hits) / len(hits)
        scores.append({"role": role, "task": "questions", "name": "accuracy", "value": value,
                       "low": max(0, value - 0.1), "high": min(1, value + 0.1), "n": len(hits)})  # fmt: skip
        asked = zip(names, hits, strict=True)
        lines += [{"model": role, "id": n, "question": f"{n}在哪里？", "right": h} for n, h in asked]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (partial / "answers.jsonl").write_text(text, encoding="utf-8")
    (partial / "scores.json").write_text(json.dumps({"model": {}, "scores": scores, "tables": {}}), encoding="utf-8")
    key = {"stage": "evaluate", "version": 2, "config": {}, "inputs": {"data": [data]}}
    made_by = {"seconds": 1.0, "input_paths": {"data": ["d.jsonl"], "model": ["/m"], "against": ["/base"]}}
    manifest.finish(partial, folder, key, {"accuracy": sum(right) / len(right)}, made_by)
    return folder


def rows(folders: list[Path], capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[dict[str, Any], str]:
    code, out, err = run(["compare", *map(str, folders), "--json", *flags], capsys)
    assert code == 0, err
    return json.loads(out), err


def test_the_paired_interval_is_that_of_every_resample() -> None:
    """Of five items all 625 draws of four (Rao and Wu 1988) can be listed; the seeded ones must agree with them."""
    changes = [1.0, 0.0, -1.0, 0.75, 0.5]
    means = sorted(sum(drawn) / 4 for drawn in product(changes, repeat=4))
    drawn = np.sort(drawn_means(units_of(changes), PAIRED_ROUNDS)[:, 0])
    assert (drawn <= 0).mean() == pytest.approx(sum(m <= 0 for m in means) / len(means), abs=0.015)
    ends = np.quantile(drawn, (0.025, 0.975))
    assert ends == pytest.approx((means[15], means[-16]), abs=0.07)
    many = [change + 0.01 * turn for turn in range(4) for change in changes]
    assert difference(many, [0.0] * 20) == difference(many, [0.0] * 20), "the seed is fixed"


def test_p_is_small_only_where_items_decide() -> None:
    rng = random.Random(0)
    sure = difference([0.9] * 30 + [0.1] * 70, [0.1] * 100)
    assert sure["p"] == 2 / PAIRED_ROUNDS and sure["is_clear"]
    luck = difference([rng.uniform(-1.0, 1.0) for _ in range(400)], [0.0] * 400)
    assert luck["p"] > 0.05 and not luck["is_clear"]


def test_the_shared_questions_are_told_with_their_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 60 and 50 questions 40 are the same; on those both answer 30, whatever the columns say."""
    names = [f"第{i}题\U00020bb7" for i in range(60)]
    first = evaluated(tmp_path / "first", [True] * 30 + [False] * 30, names=names)
    other = evaluated(tmp_path / "other", [True] * 30 + [False] * 10 + [True] * 10,
                      names=[*names[:40], *(f"别的{i}" for i in range(10))])  # fmt: skip
    found, _ = rows([first, other], capsys)
    (row,) = found["rows"]
    gap = row["differences"][0]
    assert row["values"] == [0.5, 0.8] and (gap["value"], gap["first"], gap["other"]) == (0.0, 0.75, 0.75)
    assert (gap["n"], gap["of"], gap["changed"], gap["p"]) == (40, [60, 50], 0, 1.0)
    assert gap["low"] == -gap["high"] == pytest.approx(-0.066, abs=1e-3), "forty equal answers do not prove it"
    page = tmp_path / "c.html"
    code, out, _ = run(["compare", str(first), str(other), "--html", str(page)], capsys)
    told = (
        "+0.0 points [-6.6, +6.6], p = 1.000, n = 40 (right and wrong alike); "
        "on the 40 questions that both have (of 60 and 50): [1] 75.0 %, [2] 75.0 %"
    )
    assert code == 0 and told in out and told in page.read_text(encoding="utf-8").replace("\u00a0", " ")
    _, chinese, _ = run(["compare", str(first), str(other), "--lang", "zh"], capsys)
    assert "（答案对错完全相同）；两边都有的 40 道题（各有 60 和 50）：[1] 75.0 %，[2] 75.0 %" in chinese
    _, same, _ = run(["compare", str(first), str(first)], capsys)
    assert "n = 60 (right and wrong alike)" in same and "that both have" not in same


def test_questions_five_times_are_as_sure_as_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, hits = [f"第{i}题" for i in range(20)], [i % 3 > 0 for i in range(20)]
    better = [h or i < 6 for i, h in enumerate(hits)]
    gaps = []
    for times in (1, 5):
        pair = [evaluated(tmp_path / f"{times}{side}", values * times, names=names * times)
                for side, values in enumerate((hits, better))]  # fmt: skip
        found, _ = rows(pair, capsys)
        gaps.append(found["rows"][0]["differences"][0])
    assert [gaps[0][k] for k in ("value", "low", "high", "p")] == pytest.approx(
        [gaps[1][k] for k in ("value", "low", "high", "p")]
    )
    assert (gaps[1]["n"], gaps[1]["units"], gaps[0]["units"]) == (100, 20, None)


def test_questions_are_known_by_their_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of lines are no names: two files whose questions are others have none in common."""
    first, other = evaluated(tmp_path / "a", [True] * 12), evaluated(tmp_path / "b", [False] * 12)
    text = (other / "answers.jsonl").read_text(encoding="utf-8").replace("在哪里？", "是谁的？")
    (other / "answers.jsonl").write_text(text, encoding="utf-8")
    found, _ = rows([first, other], capsys)
    gap = found["rows"][0]["differences"][0]
    assert (gap["value"], gap["n"], gap["p"], found["rows"][0]["significant"]) == (-1.0, None, None, [None])


def test_differences_pair_the_items_that_both_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = evaluated(tmp_path / "一", [False] * 20)
    other = evaluated(tmp_path / "b c", [True] * 15 + [False] * 5)
    third = evaluated(tmp_path / "third", [True] * 4, names=["第0题\U00020bb7", "第1题\U00020bb7", "x", "y"])
    found, err = rows([first, other, third], capsys)
    assert found["compared"] == [str(first), str(other), str(third)] and err == ""
    (row,) = found["rows"]
    assert row["values"] == [0.0, 0.75, 1.0] and row["significant"] == [True, False], "two of two may be luck"
    assert (row["differences"][0]["value"], row["differences"][0]["n"]) == (0.75, 20)
    assert (row["differences"][1]["value"], row["differences"][1]["n"]) == (1.0, 2)
    code, out, _ = run(["compare", str(first), str(other), "--html", str(tmp_path / "c.html")], capsys)
    assert code == 0 and "+75.0 points" in out and "p < 0.001 *" in out
    assert "+75.0 points" in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_one_evaluation_is_compared_with_its_own_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = evaluated(tmp_path / "e", [True] * 20, against=[False] * 20)
    found, _ = rows([folder], capsys)
    assert found["compared"] == [f"{folder} (against: /base)", str(folder)]
    assert found["rows"][0]["values"] == [0.0, 1.0] and found["rows"][0]["differences"][0]["n"] == 20


def test_runs_meet_by_step_and_other_data_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (("one", "d"), ("two", "other")):
        evaluated(tmp_path / name / "asked", [name == "two"] * 10, data)
        evaluated(tmp_path / name / f"only-{name}", [True] * 10)
        (tmp_path / name / "summary.json").write_text('{"seconds": 3, "bad": NaN, "paths": {}}')
    found, err = rows([tmp_path / "one", tmp_path / "two"], capsys)
    told = {row["step"] or row["measure"]: row["values"] for row in found["rows"]}
    assert told == {"seconds": [3, 3], "asked": [0, 1], "only-one": [1, None], "only-two": [None, 1]}
    assert err.count("measured on other data") == 1 and "asked questions: measured on other data" in err
    every, _ = rows([tmp_path / "one", tmp_path / "two"], capsys, "--all")
    assert len(every["rows"]) == len(found["rows"]), "an evaluation has no other numbers"


def test_a_task_is_on_other_data_by_its_own_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other tasks of an evaluation may read what they like; an evaluation without hashes goes by all its data."""
    folders = [evaluated(tmp_path / name, [True] * 12, data) for name, data in (("a", "d"), ("b", "other"))]
    for hashes, told in ((("1", "1"), 0), (("1", "2"), 1), (("1", None), 1)):
        for folder, own in zip(folders, hashes, strict=True):
            found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            found["protocols"] = {} if own is None else {"questions": {"hash": own}, "quest": {"hash": folder.name}}
            (folder / "scores.json").write_text(json.dumps(found), encoding="utf-8")
        assert rows(folders, capsys)[1].count("measured on other data") == told


def test_an_evaluation_meets_the_run_s_step_on_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(tmp_path / "run" / "asked", [True] * 10, "d")
    evaluated(tmp_path / "run" / "asked-others", [False] * 10, "other")
    alone = evaluated(tmp_path / "alone", [False] * 10, "d")
    found, _ = rows([alone, tmp_path / "run"], capsys)
    assert found["rows"][0]["values"] == [0.0, 1.0]
    evaluated(tmp_path / "run" / "again", [True] * 10, "d")
    code, _, err = run(["compare", str(alone), str(tmp_path / "run")], capsys)
    assert code == 2 and "again, asked of the same task on the same data" in err and err.count("\n") == 1


def test_what_cannot_be_compared_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = evaluated(tmp_path / "alone", [True] * 3)
    partial = manifest.start_partial(tmp_path / "clean")
    manifest.finish(partial, tmp_path / "clean", {"stage": "clean", "inputs": {}}, {}, {"seconds": 0})
    broken = evaluated(tmp_path / "broken", [True] * 3)
    (broken / "scores.json").write_text("{")
    for folders, told, exit_code in (
        ([tmp_path / "nothing"], "there is no such folder", 2),
        ([alone], "nothing to compare it with", 2),
        ([alone, tmp_path / "clean"], "is the folder of clean", 2),
        ([alone, broken], "scores.json: cannot be read", 3),
    ):
        code, _, err = run(["compare", *map(str, folders)], capsys)
        assert (code, err.count("\n")) == (exit_code, 1) and told in err


@pytest.mark.parametrize(
    ("metric", "record", "value"),
    [
        ("accuracy", {"right": True}, 1.0),
        ("text_accuracy", {"by": "text", "right": 0.5}, 0.5),
        ("accuracy", {"by": "text", "right": 0.5}, None),
        ("text_per_char_accuracy", {"by": "text", "right": 0.5}, None),
        ("char_f1", {"char_f1": 0.25}, 0.25),
        ("healthy", {"is_healthy": False}, 0.0),
        ("pass_at_1", {"outcome": "passed"}, 1.0),
        ("pass_at_1", {"outcome": "timeout"}, 0.0),
        ("extraction_rate", {"extracted": 1.0}, 1.0),
        ("extraction_rate", {"extracted": True, "is_control": True}, None),
        ("extraction_rate_controls", {"extracted": True, "is_control": True}, 1.0),
        ("exposure_bits_controls", {"exposure_bits": 2.5, "is_control": False}, None),
        ("per_token_accuracy", {"right": 1.0, "per_token_right": 0.0}, 0.0),
        ("char_f1", {"char_f1": float("nan")}, None),
        ("macro_accuracy", {"right": True}, None),
    ],
)
def test_an_item_says_what_it_adds_to_a_measure(metric: str, record: dict[str, Any], value: float | None) -> None:
    assert value_of(record, metric) == value


def test_the_page_is_in_chinese_where_it_is_asked_for_or_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remembered = {"steps": [{"name": "asked", "stage": "evaluate"}], "lang": "zh"}
    for name, data in (("one", "d"), ("two", "other")):
        evaluated(tmp_path / name / "asked", [name == "two"] * 10, data)
        (tmp_path / name / "run.json").write_text(json.dumps(remembered), encoding="utf-8")
    folders, page = [str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "c.html"
    chinese = (
        '<html lang="zh-Hans">',
        "<h1>对比</h1>",
        "asked 问答 答对率",
        "+100.0个百分点",
        "所用数据不同或问法不同",
        "差值均相对第一列",
    )
    english = ('<html lang="en">', "<h1>Comparison</h1>", "right answers", "+100.0 points", "measured on other data")
    for flags, there, missing in (
        (["--lang", "zh"], chinese, english), (["--lang", "en"], english, chinese), ([], chinese, english),
    ):  # fmt: skip
        code, out, err = run(["compare", *folders, "--html", str(page), *flags], capsys)
        assert code == 0, err
        text = page.read_text(encoding="utf-8")
        assert all(word in text for word in there) and not any(word in text for word in missing)
        assert ("答对率" in out) == (flags == ["--lang", "zh"]) and ("questions accuracy" in out) == (flags == [])
        assert ("所用数据不同" in err) == (flags == ["--lang", "zh"])
    alone = evaluated(tmp_path / "e", [True] * 20, against=[False] * 20)
    code, out, _ = run(["compare", str(alone), "--lang", "zh"], capsys)
    assert code == 0 and "（对照模型：/base）" in out and "p < 0.001 *" in out
    for english_words, chinese_words in TEXTS.values():
        assert set(re.findall(r"\{\w+\}", english_words)) == set(re.findall(r"\{\w+\}", chinese_words))
