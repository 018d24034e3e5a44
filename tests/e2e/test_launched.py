"""A recipe whose training runs in two processes that accelerate launches on a CPU."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import ROOT
from toys import Toy

from zhllm.manifest import checkpoints_of

CPU2 = ROOT / "recipes/accelerate/cpu-2.yaml"


def write(folder: Path, toy: Toy, **changes: Any) -> Path:
    """A recipe of one training step."""
    step = {
        "model": str(toy.resized), "data": str(toy.packed), "lora_rank": 4, "steps": 4, "rows_per_step": 4,
        "checkpoint_every": 1, "device": "cpu", **changes,
    }  # fmt: skip
    content = {"about": "One.", "stages": {"pretrain": step}, "summary": {"bits": "pretrain.bits_per_char_valid"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder


def two_of(folder: Path, name: str) -> Path:
    """A launch config of the tree with two processes."""
    content = yaml.safe_load((ROOT / f"recipes/accelerate/{name}.yaml").read_text())
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**content, "num_processes": 2}))
    return folder / f"{name}.yaml"


def started(recipe: Path, out: Path, *assignments: str) -> subprocess.Popen[str]:
    flags = [word for text in assignments for word in ("--set", text)]
    return subprocess.Popen(
        [sys.executable, "-m", "zhllm", "run", str(recipe), "-o", str(out), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "pretrain/metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_recipe_trains_in_two_processes_and_then_it_is_up_to_date(toy: Toy, tmp_path: Path) -> None:
    """Copies and parts alike, a gate too; in one process afterwards the same step is up to date."""
    found = []
    write(tmp_path, toy, gate="replay:+50%", validate_every=2)
    for name in ("cpu-2", "fsdp2"):
        out = tmp_path / name
        running = started(tmp_path, out, f"launch={two_of(tmp_path, name)}")
        shown, said = running.communicate(timeout=300)
        assert running.returncode == 0, said
        assert "bits" in shown and "learnt_tokens" not in shown and "[1/1] pretrain: done" in said
        found.append(losses(out))
    assert found[0] == pytest.approx(found[1], rel=1e-5) and len(found[0]) == 4
    again = started(tmp_path, tmp_path / "cpu-2")
    assert "[1/1] pretrain: up to date" in again.communicate(timeout=60)[1] and again.returncode == 0


@pytest.mark.slow
def test_an_error_in_the_processes_is_that_of_the_run(toy: Toy, tmp_path: Path) -> None:
    running = started(write(tmp_path, toy, gate="fr:+3%", validate_every=2), tmp_path / "run", f"launch={CPU2}")
    said = running.communicate(timeout=300)[1]
    last = said.splitlines()[-1]
    assert running.returncode == 2, said
    assert last.startswith(
        "error: pretrain: --gate fr:+3%: the retained set must be a validation set beside the target"
    )
    assert not (tmp_path / "run/pretrain").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_the_processes_which_save(toy: Toy, tmp_path: Path, number: int) -> None:
    """Ctrl-C is passed on; when the run itself is killed, its launcher ends the processes."""
    out = tmp_path / "run"
    running = started(write(tmp_path, toy, steps=4000), out, f"launch={CPU2}")
    while not list(checkpoints_of(out / "pretrain").glob("step-????????")):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.05)
    below = psutil.Process(running.pid).children(recursive=True)
    assert len(below) >= 3, "a launcher and two processes"
    running.send_signal(number)
    said = running.communicate(timeout=100)[1]
    if number == signal.SIGINT:
        assert running.returncode == 130, said
        assert "training saves its state first" in said and "interrupted after step" in said.splitlines()[-1]
    gone, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
    assert list(checkpoints_of(out / "pretrain").glob("step-????????")) and not (out / "pretrain").exists()


@pytest.mark.slow
def test_two_machines_train_together(toy: Toy, tmp_path: Path) -> None:
    """Two launchers that meet as two machines do: zhllm run on one, the line of --steps on the other."""
    content = yaml.safe_load((ROOT / "recipes/accelerate/two-machines.yaml").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "two.yaml"
    changes = {"num_processes": 2, "main_process_ip": "127.0.0.1", "main_process_port": port}
    file.write_text(yaml.safe_dump({**content, **changes}))
    write(tmp_path, toy)
    first = started(tmp_path, tmp_path / "run", f"launch={file}")
    script = subprocess.run(
        [sys.executable, "-m", "zhllm", "run", str(tmp_path), "--steps", "--set", f"launch={file}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    line = script[script.index("accelerate launch") :].replace("\\\n", " ").replace("$RUN", str(tmp_path / "run"))
    words = [sys.executable, "-m", "accelerate.commands.launch", "--machine_rank", "1", *shlex.split(line)[2:]]
    second = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    for running in (first, second):
        said = running.communicate(timeout=300)[1]
        assert running.returncode == 0, said
    assert len(losses(tmp_path / "run")) == 4
