"""Two processes of one launcher train what one trains, sharded or not, and survive a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file
from toys import Toy, stage

from zhllm import manifest

STEPS = 10
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ENVIRONMENTS = {"ddp": {}, "fsdp2": FSDP2}
ADAPTER = ("new_rows.safetensors", "adapter_model.safetensors")


def settings_of(toy: Toy, **changes: Any) -> dict[str, Any]:
    return {
        "model": toy.resized, "data": toy.packed, "trainable": "new-rows+lora", "lora_rank": 4, "steps": STEPS,
        "rows_per_step": 4, "rows_per_batch": 1, "validate_every": 4, "checkpoint_every": 3, "device": "cpu", **changes,
    }  # fmt: skip


def started(out: Path, settings: dict[str, Any], strategy: str, name: str = "pretrain") -> subprocess.Popen[str]:
    """The stage in two processes under torchrun, one thread each."""
    flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*run, "-m", "zhllm", name, "-o", str(out), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1", **ENVIRONMENTS[strategy]},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(running: subprocess.Popen[str]) -> str:
    said = running.communicate(timeout=300)[1]
    assert running.returncode == 0, said
    return said


def kill(launcher: int) -> None:
    """SIGKILL for the launcher and for what it started, in sessions of their own."""
    processes = [psutil.Process(launcher), *psutil.Process(launcher).children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage("pretrain", tmp_path_factory.mktemp("alone") / "out", **settings_of(toy))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ENVIRONMENTS)
def test_two_processes_learn_what_one_learns_and_survive_a_kill(
    toy: Toy, tmp_path: Path, alone: Path, strategy: str
) -> None:
    """Rows, losses and weights are those of one process with the same rows a step, up to the order of float32
    sums; killed and started again, they are the same to the byte."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(started(whole, settings_of(toy), strategy))
    for ours, theirs in zip(records(alone), records(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for name in ADAPTER:
        one, two = load_file(alone / name), load_file(whole / name)
        assert one.keys() == two.keys() and all((one[k] - two[k]).abs().max() < 1e-6 for k in one)

    running = started(killed, settings_of(toy), strategy)
    while not list(manifest.checkpoints_of(killed).glob("step-????????")):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    kill(running.pid)
    running.wait()
    assert not killed.exists()
    assert "continuing from" in finished(started(killed, settings_of(toy), strategy))
    undisturbed, again = manifest.read(whole), manifest.read(killed)
    assert undisturbed is not None and again is not None and undisturbed.files == again.files


@pytest.mark.slow
def test_a_whole_model_trained_in_shards_is_that_of_one_process(toy: Toy, tmp_path: Path) -> None:
    """In two stages of which the second takes over the first one's rows; and with every weight trained."""
    for number, changes in enumerate(({"trainable": "all"}, {"schedule": "two-stage"})):
        settings = settings_of(toy, steps=4, checkpoint_every=2, **changes)
        one = stage("pretrain", tmp_path / f"one{number}", **settings)
        finished(started(tmp_path / f"two{number}", settings, "fsdp2"))
        two = tmp_path / f"two{number}"
        assert records(one)[-1] == pytest.approx(records(two)[-1], rel=1e-5)
        for path in one.glob("*.safetensors"):
            ours, theirs = load_file(path), load_file(two / path.name)
            assert ours.keys() == theirs.keys() and all((ours[k] - theirs[k]).abs().max() < 1e-6 for k in ours)


@pytest.mark.slow
def test_what_cannot_be_done_by_two_is_refused(toy: Toy, tmp_path: Path) -> None:
    odd = started(tmp_path / "odd", settings_of(toy, rows_per_step=3), "ddp")
    said = odd.communicate(timeout=300)[1]
    assert odd.returncode != 0
    assert "--rows-per-step 3: cannot be dealt to 2 processes equally. Choose a multiple of 2." in said
    merging = started(tmp_path / "merged", {"model": toy.resized, "adapter": toy.base}, "ddp", "merge")
    said = merging.communicate(timeout=300)[1]
    assert merging.returncode != 0 and "merge works in one process" in said
