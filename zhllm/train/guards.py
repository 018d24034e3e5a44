"""What can end a run from outside: signals, and memory that runs out."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from zhllm.errors import StageError
from zhllm.train.batch import Batch


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C came, and the run's state is saved."""


class Signals:
    """Notes SIGTERM and Ctrl-C instead of dying of them; a second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.came = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._old[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread, which alone gets signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True


@contextmanager
def memory_advice(batches: Sequence[Batch]) -> Iterator[None]:
    """Turn an allocation that fails into a StageError with the numbers that would make it smaller."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_shortage(error):
            raise
        rows, tokens = batches[0].input_ids.shape
        smaller = f"Try --rows-per-batch {rows // 2}" if rows > 1 else "Try shorter rows"
        raise StageError(
            f"memory ran out with --rows-per-batch {rows} of {tokens} tokens ({str(error).splitlines()[0]}). "
            f"{smaller}, --gradient-checkpointing, or fewer trainable values; zhllm plan shows what fits."
        ) from error


def _is_shortage(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
