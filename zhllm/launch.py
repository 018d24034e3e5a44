"""A step of a recipe in several processes: accelerate's launcher as a child, and how the work in it ended.

The launcher stands in a session of its own, so that Ctrl-C reaches it once, from here, and not twice. It ends
when this process does, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from zhllm import ranks
from zhllm.errors import ConfigError, DataError, MissingError, StageError
from zhllm.progress import say
from zhllm.yaml_file import read_yaml

PR_SET_PDEATHSIG = 1  # of prctl(2), Linux
ERRORS = {error.exit_code: error for error in (StageError, ConfigError, DataError, MissingError)}


@dataclass(frozen=True)
class Launch:
    """A config file of `accelerate launch`, and how many processes it starts on all machines together."""

    file: Path
    processes: int

    def words(self) -> list[str]:
        """The start of a command line that runs zhllm in these processes."""
        return ["accelerate", "launch", "--config_file", str(self.file), "-m", "zhllm"]


def read_launch(file: Path) -> Launch:
    """The launch that a config file of accelerate asks for; ConfigError where it is none."""
    if not file.is_file():
        raise ConfigError(f"launch: {file}: there is no such file. Give a config file of accelerate launch.")
    count = read_yaml(file).get("num_processes")
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"launch: {file}: num_processes is {count!r}. Say there how many processes to start.")
    return Launch(file, count)


def run_launched(launch: Launch, arguments: Sequence[str]) -> None:
    """Run `zhllm ARGUMENTS` in the processes of a launch.

    Raises what the first of them to fail said, as the error it was; KeyboardInterrupt when a signal came,
    which was passed on, so that training saved its state.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch.words()[2:], *arguments]
    with tempfile.TemporaryDirectory(prefix="zhllm-launch-") as folder:
        failure = Path(folder) / "failure.json"
        environment = {**os.environ, ranks.FAILURE_FILE: str(failure)}
        # What the processes print is for people here: stdout belongs to the command that launched them.
        with _Signals() as signals:
            child = subprocess.Popen(
                command, env=environment, stdout=2, start_new_session=True, preexec_fn=_end_with_parent
            )
            signals.pass_to(child)
            code = child.wait()
        told = json.loads(failure.read_text(encoding="utf-8")) if failure.is_file() else None
    if signals.came or (told and told["exit_code"] == 130):
        raise KeyboardInterrupt(told["message"] if told else "interrupted")
    if told:
        raise ERRORS.get(told["exit_code"], StageError)(f"{arguments[0]}: {told['message']}")
    if code:
        raise StageError(f"{arguments[0]}: accelerate launch ended with exit code {code}; what it said stands above.")


def _end_with_parent() -> None:
    """In the launcher: be sent SIGTERM, which it passes on, when the process that started it is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class _Signals:
    """While inside, SIGTERM and Ctrl-C are passed to a child once instead of ending this process."""

    def __init__(self) -> None:
        self.came: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Signals:
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def pass_to(self, child: subprocess.Popen[bytes]) -> None:
        """The child that signals are for, those that have come already too."""
        self._child = child
        if self.came is not None:
            child.send_signal(self.came)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.came is None:
            say("stopping the processes; training saves its state first ...")
            self.came = number
            if self._child is not None:
                self._child.send_signal(number)
