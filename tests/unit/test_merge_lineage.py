"""The merge an adapter was trained on, in a run that was moved: found beside, or said where it was looked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import run
from toys import Toy, stage

from zhllm import manifest
from zhllm.errors import DataError
from zhllm.stages._merge_lineage import check_lineage, upstream

SETTINGS = {"steps": 1, "rows_per_step": 2, "lora_rank": 2, "learning_rate": 1e-2, "trainable": "lora"}


@pytest.fixture(scope="module")
def made(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose manifests hold paths relative to where it was made, moved: resize, three adapters, two merges."""
    root = tmp_path_factory.mktemp("lineage")
    before = Path.cwd()
    os.chdir(root)
    try:
        demo = Path("runs/demo")
        base = Path(shutil.copytree(toy.resized, demo / "resize"))
        for number, name in enumerate(("pretrain", "sft", "third")):
            stage("pretrain", demo / name, model=base, data=toy.packed, **SETTINGS)
            if number < 2:
                base = stage("merge", demo / f"merge-{name}", model=base, adapter=[demo / name])
    finally:
        os.chdir(before)
    return Path(shutil.move(root / "runs" / "demo", root / "d"))


@pytest.fixture
def moved(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run in another folder, which is the working directory."""
    shutil.copytree(made, tmp_path / "d")
    monkeypatch.chdir(tmp_path)
    return Path("d")


def test_the_merge_between_two_adapters_is_found_beside_them(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "merge --model d/resize --adapter d/pretrain d/sft -o both".split()
    code, _, err = run(words, capsys)
    assert code == 0, err
    card = Path("both/README.md").read_text()
    assert "### model: merge-pretrain\n\n`merge`, digest" in card and "not at hand" not in card


def test_each_adapter_may_be_of_the_merge_of_a_merge(moved: Path) -> None:
    d = moved
    check_lineage(d / "resize", [d / "pretrain", d / "sft", d / "third"])
    check_lineage(d / "merge-pretrain", [d / "sft", d / "third"])
    for wrong in ([d / "sft", d / "pretrain"], [d / "pretrain", d / "third"], [d / "pretrain", d / "sft", d / "sft"]):
        with pytest.raises(DataError, match="was trained on another model"):
            check_lineage(d / "resize", wrong)


@pytest.mark.parametrize("where", ["adapter", "model"])
def test_it_is_looked_for_beside_the_adapter_and_beside_the_model(moved: Path, where: str) -> None:
    adapters = [moved / "pretrain", moved / "sft"]
    model = moved / "resize"
    Path("away").mkdir()
    if where == "model":
        adapters = [Path(shutil.move(path, f"away/{path.name}")) for path in adapters]
    else:
        model = Path(shutil.move(model, "away/resize"))
    check_lineage(model, adapters)


def test_what_is_at_hand_is_named(moved: Path) -> None:
    with pytest.raises(DataError, match=r"than d/resize .*\. Give the model it was trained on: d/merge-pretrain\.$"):
        check_lineage(moved / "resize", [moved / "sft"])
    with pytest.raises(DataError, match=r"\. Give the model it was trained on: d/merge-pretrain\.$"):
        manifest.check_trained_on(moved / "sft", moved / "resize")
    manifest.check_trained_on(moved / "sft", moved / "merge-pretrain")
    with pytest.raises(
        DataError, match="d/merge-sft is not the merge of d/resize and the adapters before this one. Give the model"
    ):
        check_lineage(moved / "resize", [moved / "pretrain", moved / "third"])


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def another(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "resize", folder)


def changed(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def anyones(folder: Path) -> None:
    (folder / manifest.NAME).unlink()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (gone, "not there"),
        (another, "another digest"),
        (changed, "changed after the stage wrote it"),
        (anyones, "not compared: no stage wrote it"),
    ],
)
def test_what_is_missing_and_where_it_was_looked_for_is_said(
    moved: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], found: str
) -> None:
    change(moved / "merge-pretrain")
    code, shown, err = run("merge --model d/resize --adapter d/pretrain d/sft -o both".split(), capsys)
    assert (code, shown, err.count("\n")) == (3, "", 1) and not Path("both").exists()
    assert err.startswith("error: d/sft: was trained on another model (runs/demo/merge-pretrain, digest ")
    assert err.endswith(
        "That model was looked for and is not at hand: runs/demo/merge-pretrain (not there), d/merge-pretrain "
        f"({found}). Without it nobody can tell whether it is the merge of d/resize and the adapters before this one. "
        "Put it beside d/sft, or give the model it was trained on.\n"
    )
    with pytest.raises(DataError, match=r"not there\), d/merge-pretrain \(" + found + r"\)\. Put it beside d/sft,"):
        manifest.check_trained_on(moved / "sft", moved / "resize")


def test_the_line_upstream_says_what_is_not_at_hand(moved: Path) -> None:
    names = {name for _, name, _, _ in upstream([("adapter", moved / "third")])}
    assert {"third", "merge-sft", "sft", "merge-pretrain", "pretrain"} <= names
    gone(moved / "merge-pretrain")
    anyones(moved / "merge-sft")
    found = {name: made for _, name, _, made in upstream([("a", moved / "third"), ("b", moved / "sft")])}
    assert found["merge-pretrain (not at hand)"] is None
    assert found["merge-sft (not compared: no stage wrote it)"] is None


def test_a_base_of_no_stage_is_read_only_where_it_must_be(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chat does not hash a large base that stands where it stood; merge does, and sees what changed in it."""
    monkeypatch.chdir(tmp_path)
    base = Path(shutil.copytree(toy.resized, "base"))
    anyones(base)
    trained = stage("pretrain", Path("a"), model=base, data=toy.packed, **SETTINGS)
    changed(base)
    manifest.check_trained_on(trained, base)
    with pytest.raises(DataError, match=r"at hand: base \(not compared: no stage wrote it\)\. Put it beside a,"):
        check_lineage(base, [trained])
