"""`compare` on bits per character: documents are paired by their text, and the interval is that of a ratio of sums."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import run
from toys import Toy, random_model, stage, write_jsonl

from zhllm.evals.intervals import PAIRED_ROUNDS, difference
from zhllm.evals.resampling import drawn_means, units_of

TEXTS = [f"第{i}台仪器每{2 + i % 7}天校准一次，𠮷先生登记👩‍👩‍👧。" * (1 + i % 5) for i in range(40)] + ["好", "好"]


def rows(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, out, err = run(["compare", *map(str, folders), "--json"], capsys)
    assert code == 0, err
    return {row["measure"]: row for row in json.loads(out)["rows"] if not row["part"]}


def test_the_interval_of_a_ratio_is_that_of_every_resample() -> None:
    changes, sizes = [3.0, -1.0, 2.0, 0.0, 1.0], [10.0, 1.0, 4.0, 20.0, 8.0]
    ratios = sorted(
        sum(changes[i] for i in drawn) / sum(sizes[i] for i in drawn) for drawn in product(range(5), repeat=4)
    )
    drawn = drawn_means(units_of(changes, sizes), PAIRED_ROUNDS)[:, 0]
    assert (drawn <= 0).mean() == pytest.approx(sum(r <= 0 for r in ratios) / 625, abs=0.015)
    assert np.quantile(drawn, (0.025, 0.975)) == pytest.approx((ratios[15], ratios[-16]), abs=0.05)


def test_thousands_of_documents_are_drawn_in_little_memory() -> None:
    rng = random.Random(0)
    sizes = [float(rng.randint(50, 5000)) for _ in range(3000)]
    found = difference([0.01 * size + rng.gauss(0, 40) for size in sizes], [0.0] * 3000, sizes)
    assert found["low"] < 0.01 < found["high"]
    assert found["is_clear"] and found["high"] - found["low"] < 0.002


def test_documents_are_paired_by_their_text(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other run has the same documents under other names, in another order, and two of its own."""
    one = write_jsonl(tmp_path / "one.jsonl", [{"id": f"a{i}", "text": text} for i, text in enumerate(TEXTS)])
    mixed = [{"id": f"b{i}", "text": text} for i, text in enumerate([*reversed(TEXTS), "另一篇文档。", "再一篇。"])]
    other = write_jsonl(tmp_path / "other.jsonl", mixed)
    base = random_model(tmp_path / "base", toy.tokenizer)
    first = stage("evaluate", tmp_path / "first", model=base, task=["bits"], data=[one])
    lines = [json.loads(line) for line in (first / "bits.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["document"] for line in lines] == [f"a{i}" for i in range(42)]
    assert [(line["chars"], line["bytes"]) for line in lines] == [(len(t), len(t.encode())) for t in TEXTS]
    score = json.loads((first / "scores.json").read_text(encoding="utf-8"))["model"]["bits"]["bits_per_char"]
    assert sum(line["bits"] for line in lines) / sum(map(len, TEXTS)) == pytest.approx(score, rel=1e-6)

    second = stage("evaluate", tmp_path / "second", model=toy.resized, task=["bits"], data=[other])
    found = rows([first, second], capsys)
    per_char = found["bits_per_char"]["differences"][0]
    assert per_char["n"] == 42 and found["bits_per_char"]["significant"] == [True]
    theirs = {line["id"]: line["bits"] for line in map(json.loads, (second / "bits.jsonl").read_text().splitlines())}
    change = sum(theirs[line["id"]] - line["bits"] for line in lines) / sum(map(len, TEXTS))
    assert per_char["value"] == pytest.approx(change, rel=1e-5)
    assert found["bits_per_byte"]["differences"][0]["n"] == 42

    same = stage("evaluate", tmp_path / "same", model=base, task=["bits"], data=[other])
    none = rows([first, same], capsys)["bits_per_char"]
    assert (none["differences"][0]["value"], none["significant"]) == (pytest.approx(0, abs=1e-4), [False])
    code, out, _ = run(["compare", str(first), str(second)], capsys)
    assert code == 0 and "p < 0.001 *, n = 42" in out


def test_the_same_files_are_the_same_data_by_file_or_by_folder(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the table of sources, where another task of one evaluation reads more."""
    (folder := tmp_path / "文").mkdir()
    files = [folder / f"{i}.txt" for i in range(2)]
    for file, text in zip(files, TEXTS, strict=False):
        file.write_text(text, encoding="utf-8")
    asked = write_jsonl(tmp_path / "q.jsonl", [{"question": "样品在哪里？", "answer": "答"}])
    one = stage("evaluate", tmp_path / "one", model=toy.resized, task=["bits"], data=files)
    two = stage("evaluate", tmp_path / "two", model=toy.resized, task=["bits", "questions"], data=[folder, asked],
                prompt_format="plain", max_tokens=2)  # fmt: skip
    code, out, err = run(["compare", str(one), str(two)], capsys)
    assert code == 0 and "0.txt sources" in out and "measured on other data" not in err


def test_a_planted_difference_is_found_and_luck_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0.02 bits a character better on each of 60 documents, in noise that is the same for both; and noise alone."""
    from test_compare import evaluated

    rng = random.Random(1)
    chars = [rng.randint(80, 900) for _ in range(60)]
    before = [c * rng.uniform(3, 6) for c in chars]
    planted = [b - 0.02 * c + rng.gauss(0, 3) for b, c in zip(before, chars, strict=True)]
    luck = [b + rng.gauss(0, 3) for b in before]
    folders = []
    for name, values in (("before", before), ("planted", planted), ("luck", luck)):
        folder = evaluated(tmp_path / name, [True])
        lines = [
            json.dumps({"model": "model", "id": f"{i:032x}", "chars": c, "bytes": 3 * c, "bits": b})
            for i, (c, b) in enumerate(zip(chars, values, strict=True))
        ]
        (folder / "bits.jsonl").write_text("\n".join(lines) + "\n")
        score = {"role": "model", "task": "bits", "name": "bits_per_char", "value": sum(values) / sum(chars), "n": 60}
        (folder / "scores.json").write_text(json.dumps({"model": {}, "scores": [score], "tables": {}}))
        folders.append(folder)
    found = rows(folders, capsys)["bits_per_char"]
    assert found["significant"] == [True, False]
    first, second = found["differences"]
    assert first["low"] < -0.02 < first["high"] < 0 and second["low"] < 0 < second["high"]
