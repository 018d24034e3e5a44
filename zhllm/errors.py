"""The errors zhllm raises for people: each says what, where, the values and what to do.

Exit codes of the command line: 0 done, 1 failed, 2 usage or config, 3 data, 4 missing package or
device, 130 interrupted.
"""

from __future__ import annotations


class ZhllmError(Exception):
    """An error a person can act on; `exit_code` is what the command line returns for it."""

    exit_code = 1


class StageError(ZhllmError):
    """A stage could not finish its work (exit code 1)."""


class ProofError(StageError):
    """What a stage made does not hold what the stage promises, so nothing was written (exit code 1)."""


class ConfigError(ZhllmError):
    """A command, a config or a recipe asks for something that cannot be (exit code 2)."""

    exit_code = 2


class DataError(ZhllmError):
    """An input is there but is not what the stage needs (exit code 3)."""

    exit_code = 3


class MissingError(ZhllmError):
    """A package or a device that this work needs is not on this machine (exit code 4)."""

    exit_code = 4
