"""What a killed run continues from: weights, optimiser, random states and records, or nothing at all.

A checkpoint is a folder `step-N` with one file per process, each holding that process's part. It gets
its name when every part is written, so a kill leaves either all of it or none.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zhllm.errors import ConfigError
from zhllm.train.processes import Processes, like, local

KEPT = 2
SMALL_BYTES = 1 << 20  # a disk with less is full
BEST = "best"
State = dict[str, Any]
Optimizers = Sequence[torch.optim.Optimizer]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run (or of one of its phases) in `folder`."""

    folder: Path
    processes: Processes
    warn: Callable[[str], None]

    def save(self, step: int, parameters: Mapping[str, nn.Parameter], optimizers: Optimizers, content: State) -> None:
        """Write `step-N`; the two newest stay. `content` is the loop's own: plain values only."""
        state = {
            "step": step,
            "processes": self.processes.count,
            "parameters": self._part(parameters),
            "optimizers": [_local_state(optimizer) for optimizer in optimizers] if self._writes_part else [],
            "random": random_states(),
            "content": content,
        }
        self._write(f"step-{step:08d}", state)
        if self.processes.is_main:
            for old in sorted(self.folder.glob("step-????????"))[:-KEPT]:
                shutil.rmtree(old)

    def load(self, parameters: Mapping[str, nn.Parameter], optimizers: Optimizers) -> State | None:
        """Restore the newest checkpoint that every process can read; its `content`, or None without one.

        Raises ConfigError where it was made by another number of processes.
        """
        for folder in sorted(self.folder.glob("step-????????"), reverse=True):
            state = self._read(folder)
            if state is None:
                continue
            if state["processes"] != self.processes.count:
                raise ConfigError(
                    f"{folder}: was made by {state['processes']} processes, now there are {self.processes.count}. "
                    f"Start as many, or delete {self.folder} to start anew."
                )
            restore(parameters, state["parameters"])
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                _restore_optimizer(optimizer, saved)
            set_random_states(state["random"])
            content: State = state["content"] | {"step": state["step"]}
            return content
        return None

    def save_best(self, step: int, parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep the parameters of `step` beside the checkpoints, as those to end with."""
        self._write(f"{BEST}-{step:08d}", {"parameters": self._part(parameters)})

    def load_best(self, step: int, parameters: Mapping[str, nn.Parameter]) -> bool:
        """Put the parameters of `save_best(step)` back; False where they cannot be read."""
        state = self._read(self.folder / f"{BEST}-{step:08d}")
        if state is not None:
            restore(parameters, state["parameters"])
        return state is not None

    def drop_best_but(self, step: int | None) -> None:
        """Delete the kept parameters of every other step."""
        if self.processes.is_main:
            for old in self.folder.glob(f"{BEST}-????????"):
                if step is None or old.name != f"{BEST}-{step:08d}":
                    shutil.rmtree(old)

    @property
    def _writes_part(self) -> bool:
        """Whether this process writes weights and moments: unsharded, the main one's are everybody's."""
        return self.processes.shards or self.processes.is_main

    def _part(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        return {name: local(p.detach()) for name, p in parameters.items()} if self._writes_part else {}

    def _write(self, name: str, state: State) -> None:
        target, partial = self.folder / name, self.folder / f"{name}.partial"
        if self.processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.processes.wait()
        _save(state, partial / f"rank-{self.processes.rank}.pt")
        self.processes.wait()
        if self.processes.is_main:
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        self.processes.wait()

    def _read(self, folder: Path) -> State | None:
        """This process's part; None, and the folder deleted, where some process cannot read its own."""
        state, problem = None, ""
        try:
            # Without shards the weights are in the main process's file, the random states in one's own.
            own, shared = folder / f"rank-{self.processes.rank}.pt", folder / "rank-0.pt"
            state = read_state(own)
            if own != shared and not self.processes.shards:
                state = read_state(shared) | {"random": state.get("random")}
        except (zipfile.BadZipFile, OSError) as error:
            problem = str(error)
        if self.processes.all_true(not problem):
            return state
        self.warn(f"{folder}: this checkpoint is damaged and is left out ({problem or 'in another process'})")
        self.processes.wait()
        if self.processes.is_main:
            shutil.rmtree(folder, ignore_errors=True)
        self.processes.wait()
        return None


def write_state(path: Path, state: State) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(state, partial)
    partial.rename(path)


def _save(state: State, path: Path) -> None:
    """torch.save, with a full disk as the OSError that it is."""
    try:
        torch.save(state, path)
    except RuntimeError as error:  # what torch's archive writer makes of a write that was too short
        if shutil.disk_usage(path.parent).free > SMALL_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def read_state(path: Path) -> State:
    """A file's content; raises BadZipFile where it is cut off or a checksum is wrong."""
    with zipfile.ZipFile(path) as archive:  # torch.load itself does not look at the checksums
        wrong = archive.testzip()
    if wrong is not None:
        raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def restore(parameters: Mapping[str, nn.Parameter], parts: Mapping[str, Tensor]) -> None:
    """Copy stored parts into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            local(parameter).copy_(parts[name])


def random_states() -> list[Tensor]:
    """The states of torch's generators: the CPU's, and the current GPU's where there is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def set_random_states(states: Sequence[Tensor]) -> None:
    """Put `random_states` back."""
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])


def _local_state(optimizer: torch.optim.Optimizer) -> State:
    """An optimiser's state with this process's parts in place of sharded tensors."""
    state = optimizer.state_dict()
    parts = {
        index: {name: local(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": parts}


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: State) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {
            name: like(parameters[index], value) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for index, values in saved["state"].items()
    }
    optimizer.load_state_dict({**saved, "state": state})
