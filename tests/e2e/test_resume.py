"""A training stage killed at any moment and run again ends with the bytes of an undisturbed run."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from toys import Toy, stage

from zhllm import manifest
from zhllm.config import Config
from zhllm.errors import StageError
from zhllm.stage import Stage, execute, key_of, load

STEPS = 60


def settings_of(name: str, toy: Toy) -> dict[str, Any]:
    """Settings of a run of some seconds on the toy."""
    data = {"data": toy.packed} if name == "pretrain" else {"chats": [toy.chats], "seq_len": 64}
    return {
        "model": toy.resized, "trainable": "new-rows+lora", "lora_rank": 4, "lora_dropout": 0.1, "steps": STEPS,
        "rows_per_step": 4, "rows_per_batch": 2, "validate_every": 25, "checkpoint_every": 5, **data,
    }  # fmt: skip


def command(name: str, out: Path, settings: dict[str, Any]) -> list[str]:
    """The same as a command line."""
    words = [sys.executable, "-m", "zhllm", name, "-o", str(out)]
    for field, value in settings.items():
        several = value if isinstance(value, list) else [value]
        words += [f"--{field.replace('_', '-')}", *map(str, several)]
    return words


def kill_at(step: int, words: list[str], out: Path) -> None:
    """Start the command in a process of its own and SIGKILL it as soon as it has made so many steps."""
    metrics = manifest.partial_of(out) / "metrics.jsonl"
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < step:
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.002)
        running.kill()
    assert running.returncode == -signal.SIGKILL and not out.exists() and manifest.partial_of(out).is_dir()


DRAWN = random.sample(range(11, STEPS - 3), 3)  # other steps in every session


@pytest.fixture(scope="module")
def undisturbed(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, manifest.Manifest]:
    """The manifest of each stage's run that nothing disturbed."""
    made = {}
    for name in ("pretrain", "sft"):
        folder = stage(name, tmp_path_factory.mktemp("undisturbed") / name, **settings_of(name, toy))
        made[name] = manifest.read(folder)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "name", "damaged"), [(0, "pretrain", True), (1, "sft", False), (2, "pretrain", False)]
)
def test_killed_at_a_random_step_and_run_again_it_writes_the_same_bytes(
    toy: Toy,
    tmp_path: Path,
    undisturbed: dict[str, manifest.Manifest],
    draw: int,
    name: str,
    damaged: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where the newest checkpoint is damaged: then from the one before, which is said."""
    settings, step = settings_of(name, toy), DRAWN[draw]
    print(f"killed at step {step}")
    out = tmp_path / "killed"
    kill_at(step, command(name, out, settings), out)
    newest = max(manifest.checkpoints_of(out).glob("step-????????"))
    if damaged:
        part = newest / "rank-0.pt"
        part.write_bytes(part.read_bytes()[:-1000])
    capsys.readouterr()
    again = manifest.read(stage(name, out, **settings))
    said = capsys.readouterr().err
    assert f"continuing from {manifest.checkpoints_of(out)}" in said
    assert (f"{newest}: this checkpoint is damaged and is left out" in said) == damaged
    assert again is not None
    assert again.files == undisturbed[name].files and "metrics.jsonl" in again.files
    numbers = {"tokens_per_s"}
    assert {k: v for k, v in again.metrics.items() if k not in numbers} == {
        k: v for k, v in undisturbed[name].metrics.items() if k not in numbers
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed"], "nothing else is left"


@pytest.mark.slow
def test_terminated_it_saves_says_so_and_goes_on_to_the_same_bytes(
    toy: Toy, tmp_path: Path, undisturbed: dict[str, manifest.Manifest]
) -> None:
    settings, out = settings_of("pretrain", toy) | {"checkpoint_every": 1000}, tmp_path / "out"
    metrics = manifest.partial_of(out) / "metrics.jsonl"
    with subprocess.Popen(command("pretrain", out, settings), stderr=subprocess.PIPE, text=True) as running:
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < 7:
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.002)
        running.terminate()
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    step = int(re.findall(r"interrupted after step (\d+), which is saved", said)[0])
    assert step >= 7 and manifest.checkpoints_of(out).joinpath(f"step-{step:08d}").is_dir()
    again = manifest.read(stage("pretrain", out, **settings))
    assert again is not None and again.files == undisturbed["pretrain"].files


class CountConfig(Config):
    """Settings of a stage that counts in its checkpoints."""

    upto: int = Field(3, description="Stop at this number.")
    fail: bool = Field(False, description="Fail at the end.")


def _count(config: CountConfig, out: Path) -> dict[str, int]:
    folder = manifest.checkpoints_of(out)
    done = len(list(folder.glob("step-*.pt")))
    (folder / f"step-{done}.pt").write_text("x")
    (out / "result.txt").write_text("half of it")
    if config.fail:
        raise StageError("failed on purpose")
    return {"done_before": done}


@pytest.mark.parametrize("resumable", [True, False])
def test_a_stage_that_fails_leaves_only_what_it_can_continue_from(tmp_path: Path, resumable: bool) -> None:
    count = Stage("count", 1, CountConfig, _count if resumable else _fail, resumable)
    for _ in range(2):
        with pytest.raises(StageError, match="failed on purpose"):
            execute(count, CountConfig(fail=True), tmp_path / "out")
        left = ["out.checkpoints", "out.partial"] if resumable else ["out.partial"]
        assert sorted(p.name for p in tmp_path.iterdir()) == left


def _fail(config: CountConfig, out: Path) -> dict[str, int]:
    (out / "result.txt").write_text("half of it")
    raise StageError("failed on purpose")


def test_checkpoints_of_other_settings_wait_until_the_folder_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, count = tmp_path / "out", Stage("count", 1, CountConfig, _count, resumable=True)
    failing = CountConfig(fail=True)
    for _ in range(2):
        with pytest.raises(StageError):
            execute(count, failing, out)
    points, aside = manifest.checkpoints_of(out), tmp_path / "out.checkpoints.old"
    assert len(list(points.glob("step-*.pt"))) == 2
    capsys.readouterr()
    with pytest.raises(StageError):
        execute(count, CountConfig(upto=4, fail=True), out)
    said = capsys.readouterr().err
    assert f"{points}: made with other settings or inputs; starting anew. They are kept in {aside} until" in said
    assert (len(list(points.glob("step-*.pt"))), len(list(aside.glob("step-*.pt")))) == (1, 2)
    with pytest.raises(StageError):
        execute(count, failing, out)
    assert f"continuing from {points}, which was set aside" in capsys.readouterr().err
    assert (len(list(points.glob("step-*.pt"))), len(list(aside.glob("step-*.pt")))) == (3, 1), "each is put back"
    assert execute(count, CountConfig(), out).manifest.metrics == {"done_before": 0}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"], "done: nothing of other settings is left"


def test_how_often_it_checkpoints_and_where_it_runs_are_no_other_settings(toy: Toy) -> None:
    pretrain, settings = load("pretrain"), settings_of("pretrain", toy)
    keys = [
        key_of(pretrain, pretrain.config(**{**settings, **changes}))
        for changes in ({}, {"checkpoint_every": 7}, {"device": "cpu"}, {"seed": 1}, {"model": toy.extended})
    ]
    assert keys[0] == keys[1] == keys[2] and keys[0] != keys[3] != keys[4] != keys[0]
