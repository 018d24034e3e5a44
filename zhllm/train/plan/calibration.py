"""Real steps of a training setting on this machine, timed by the stage itself in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zhllm.errors import ConfigError, DataError, MissingError, StageError, ZhllmError

# Where a training stage leaves the times of its steps (zhllm.manifest, zhllm.stages._training_run).
LOGS, SPEED_FILE = "logs", "speed.jsonl"
STEPS = 20
# The first steps warm caches and kernels up.
LEFT_OUT = 3
KINDS: dict[int, type[ZhllmError]] = {2: ConfigError, 3: DataError, 4: MissingError}


@dataclass(frozen=True)
class Calibration:
    """What real steps took. `host_bytes`: the most memory of the process; `peak_memory_gb`: the stage's own count."""

    steps: int
    seconds_per_step: float
    fastest_s: float
    slowest_s: float
    host_bytes: int | None
    peak_memory_gb: float | None


def calibrate(words: Sequence[str], steps: int = STEPS) -> Calibration:
    """Run `zhllm WORDS --steps N -o TEMPORARY` and give the median step, the first few left out.

    The stage validates before and after its steps; that is not in the times. Raises the kind of error that the
    stage left with, with its last line.
    """
    with tempfile.TemporaryDirectory(prefix="zhllm-plan-") as folder:
        out = Path(folder) / "calibration"
        command = [sys.executable, "-m", "zhllm", *words, "--steps", str(steps), "-o", str(out)]
        code, message, host_bytes = _run(command)
        if code:
            lines = [line for line in message.splitlines() if line.strip()] or [f"exit code {code}"]
            reason = lines[-1].removeprefix("error: ")
            raise KINDS.get(code, StageError)(f"the calibration did not get through: {reason}")
        speeds = [json.loads(line) for line in (out / LOGS / SPEED_FILE).read_text("utf-8").splitlines()]
    kept = speeds[LEFT_OUT:] or speeds
    seconds = [float(speed["seconds"]) for speed in kept]
    devices = [float(speed["peak_memory_gb"]) for speed in kept if "peak_memory_gb" in speed]
    median = statistics.median(seconds)
    return Calibration(len(seconds), median, min(seconds), max(seconds), host_bytes, max(devices, default=None))


def _run(command: Sequence[str]) -> tuple[int, str, int | None]:
    """(exit code, what stood on stderr, the most bytes that the process held)."""
    with tempfile.TemporaryFile() as errors:
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            _, status, usage = os.wait4(started.pid, 0)
        except BaseException:
            started.terminate()
            started.wait()
            raise
        started.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        message = errors.read().decode("utf-8", "replace")
    return started.returncode, message, usage.ru_maxrss * 1024 if sys.platform == "linux" else None
