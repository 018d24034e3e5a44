"""Bits of few documents: losses by stretches of text, whatever the tokenizer, and intervals that draw those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from evaluated import byte_level_model, read_scores
from hypothesis import given
from hypothesis import strategies as st
from test_compare import rows
from toys import Toy, random_model, stage, write_jsonl

from zhllm.cli import cli
from zhllm.evals.bits import bits_per_char, cell_bytes, cell_nats
from zhllm.evals.intervals import CELL_CHARS
from zhllm.stages.evaluate import table

LONG = "".join(f"第{i}台仪器每{2 + i % 7}天校准一次，𠮷先生登记👩‍👩‍👧。The lab keeps　ＡＢＣ。\n" for i in range(40))
SHORT = "实验室的样品每三天记录一次。"


@pytest.fixture(scope="module")
def models(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model on the extended SentencePiece tokenizer, one on the base's that spells Chinese, one byte-level."""
    root = tmp_path_factory.mktemp("bits")
    return {
        "extended": random_model(root / "extended", toy.extended, max_position_embeddings=512),
        "base": random_model(root / "base", toy.tokenizer),
        "byte": byte_level_model(root / "byte"),
    }


def written(path: Path, texts: list[str]) -> Path:
    return write_jsonl(path, [{"id": f"{path.stem}{i}", "text": t} for i, t in enumerate(texts)])


def first(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_scores(folder)["scores"][0]
    return found


# --- stretches


@pytest.mark.parametrize("name", ["extended", "base", "byte"])
def test_stretches_share_out_the_loss_of_the_text(models: dict[str, Path], name: str) -> None:
    found = bits_per_char(models[name], [LONG, "", SHORT])
    assert [len(cells) for cells in found.cells_of] == [-(-len(LONG) // CELL_CHARS), 0, 1]
    assert [sum(cells) for cells in found.cells_of] == pytest.approx(found.nats_of, rel=1e-12)
    # A random model loses about as much on every token: what a stretch loses goes with its bytes and tokens.
    if name == "byte":
        sizes = np.array(cell_bytes(LONG), float)
        assert np.array(found.cells_of[0]) / sizes == pytest.approx(found.nats_of[0] / sizes.sum(), rel=0.2)


@given(st.integers(0, 400), st.integers(1, 9), st.integers(0, 3))
def test_stretches_end_where_their_tokens_do(chars: int, size: int, extra: int) -> None:
    """Tokens of `size` letters that lose their number: by hand, token by token, byte by byte."""
    text = "a" * chars
    sizes = np.array([min(size, chars - at) for at in range(0, chars, size)], float)
    nats = np.arange(1.0, len(sizes) + 1)
    by_byte = [n / s for n, s in zip(nats, sizes, strict=True) for _ in range(int(s))]
    wanted = [sum(by_byte[at : at + CELL_CHARS]) for at in range(0, chars, CELL_CHARS)]
    assert cell_nats(text, nats, sizes) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    # Tokens without bytes of their own (unknown characters) keep their loss.
    odd = cell_nats(text, np.append(nats, [7.0] * extra), np.append(sizes, [0.0] * extra))
    assert sum(odd) == pytest.approx(nats.sum() + 7.0 * extra if chars else 0)


# --- the command


def test_one_document_has_an_interval_of_its_stretches(models: dict[str, Path], tmp_path: Path) -> None:
    data = written(tmp_path / "one.jsonl", [LONG])
    words = ["evaluate", "--model", models["extended"], "--against", models["byte"], "--task", "bits", "--data", data]
    done = CliRunner().invoke(cli, [*map(str, words), "-o", str(tmp_path / "out")], catch_exceptions=False)
    found = read_scores(tmp_path / "out")
    for score in found["scores"]:
        assert score["low"] < score["value"] < score["high"], "no interval of no width"
        assert (score["n"], score["units"]) == (1, -(-len(LONG) // CELL_CHARS))
    gap = found["differences"]["bits_per_char"]
    assert gap["low"] < gap["value"] < gap["high"] and gap["value"] == pytest.approx(
        found["model"]["bits"]["bits_per_char"] - found["against"]["bits"]["bits_per_char"], rel=1e-9
    )
    assert "Fewer than 10 different documents: intervals draw blocks of stretches of 64" in done.stdout
    assert "window_tokens 512" in done.stdout and "windows of 512 tokens" in done.stdout


def test_a_short_document_has_no_interval_anywhere(models: dict[str, Path], tmp_path: Path) -> None:
    """Null in JSON, and the reason in the terminal and on the page."""
    data = written(tmp_path / "one.jsonl", [SHORT])
    out = stage("evaluate", tmp_path / "out", model=models["base"], against=models["byte"], task=["bits"], data=[data])
    found = read_scores(out)
    assert found["model"]["bits"]["bits_per_char_low"] is None and first(out)["high"] is None
    told = "1 of 8 stretches of 64 characters"
    assert first(out)["no_interval"] == found["differences"]["bits_per_byte"]["no_interval"] == told
    lines = table(out)
    assert f"none: {told}" in lines[1] and f"(no interval: {told})" in lines[1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"none: {told}" in page and f"no interval: {told}" in page and "None" not in page and "nan" not in page


def test_ten_documents_are_drawn_themselves_and_the_same_ones_count_once(
    models: dict[str, Path], tmp_path: Path
) -> None:
    texts = [f"{SHORT}第{i}号样品在仓库{'里，由专人登记' * (i % 4)}。" for i in range(12)]
    once, five = written(tmp_path / "once.jsonl", texts), written(tmp_path / "five.jsonl", texts * 5)
    few = written(tmp_path / "few.jsonl", [LONG[:1500], LONG[1500:]])
    twice = written(tmp_path / "twice.jsonl", [LONG[:1500], LONG[1500:]] * 2)
    made = {p.stem: stage("evaluate", tmp_path / f"out-{p.stem}", model=models["extended"], task=["bits"], data=[p])
            for p in (once, five, few, twice)}  # fmt: skip
    for one, other in (("once", "five"), ("few", "twice")):
        a, b = first(made[one]), first(made[other])
        assert [a[k] for k in ("value", "low", "high")] == pytest.approx([b[k] for k in ("value", "low", "high")])
    assert (first(made["five"])["n"], first(made["five"])["units"]) == (60, 12)
    assert not any("Fewer than" in n for n in read_scores(made["once"])["notes"]["model"])


def test_the_hash_knows_texts_and_windows_and_no_names(models: dict[str, Path], tmp_path: Path) -> None:
    hashes = []
    for names, texts in ((("a", "b"), (SHORT, LONG)), (("z", "甲"), (SHORT, LONG)), (("a", "b"), (SHORT, LONG + "。"))):
        folder = tmp_path / f"data{len(hashes)}"
        folder.mkdir()
        paths = [written(folder / f"{name}.jsonl", [text]) for name, text in zip(names, texts, strict=True)]
        out = stage(
            "evaluate", folder / "out", model=models["base"], task=["bits"], data=paths[:: 1 - 2 * (names[0] == "z")]
        )
        hashes.append(read_scores(out)["protocols"]["bits"]["hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_sources_of_few_documents_have_intervals_of_stretches(models: dict[str, Path], tmp_path: Path) -> None:
    data = [written(tmp_path / "a.jsonl", [LONG]), written(tmp_path / "b.jsonl", [SHORT])]
    found = read_scores(stage("evaluate", tmp_path / "out", model=models["extended"], task=["bits"], data=data))
    long, short = (found["tables"]["model"]["sources"][path.name] for path in data)
    assert long["low"] < long["value"] < long["high"]
    assert short["low"] is None and short["no_interval"].startswith("1 of 8 stretches")


def test_records_hold_stretches(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "d.jsonl", [LONG, SHORT])
    out = stage("evaluate", tmp_path / "out", model=models["extended"], task=["bits"], data=[data])
    long, short = map(json.loads, (out / "bits.jsonl").read_text(encoding="utf-8").splitlines())
    assert sum(long["cells"]) == pytest.approx(long["bits"], abs=1e-2) and sum(long["cell_bytes"]) == long["bytes"]
    assert "cells" not in short
    found, _ = rows([out, out], capsys)
    assert found["rows"][0]["values"][0] == pytest.approx(first(out)["value"])


def test_compare_pairs_stretches_of_few_documents(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two documents are shared of two and of three; the tokenizers are others, the stretches the same."""
    halves = [LONG[:1500], LONG[1500:]]
    more = written(tmp_path / "more.jsonl", ["另一篇文档，别处没有。" * 9, *reversed(halves)])
    one = stage("evaluate", tmp_path / "one", model=models["extended"], task=["bits"],
                data=[written(tmp_path / "two.jsonl", halves)])  # fmt: skip
    other = stage("evaluate", tmp_path / "other", model=models["byte"], task=["bits"], data=[more])
    found, _ = rows([one, other], capsys)
    for row, measure in zip(found["rows"], ("bits_per_char", "bits_per_byte"), strict=False):
        gap = row["differences"][0]
        assert row["measure"] == measure and (gap["n"], gap["of"]) == (2, [2, 3])
        assert gap["low"] < gap["value"] < gap["high"] and gap["value"] == pytest.approx(gap["other"] - gap["first"])
    both = stage("evaluate", tmp_path / "both", model=models["byte"], against=models["extended"], task=["bits"],
                 data=[tmp_path / "two.jsonl"])  # fmt: skip
    own = read_scores(both)["differences"]["bits_per_char"]
    gap = found["rows"][0]["differences"][0]
    assert [gap[k] for k in ("value", "low", "high", "p")] == pytest.approx(
        [own[k] for k in ("value", "low", "high", "p")], rel=1e-3
    )
    lines = [json.loads(line) for line in (other / "bits.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line.pop("cells", None)
    (other / "bits.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    older = rows([one, other], capsys)[0]["rows"][0]["differences"][0]
    assert (older["low"], older["p"]) == (None, None) and "an older evaluation has no stretches" in older["no_interval"]
