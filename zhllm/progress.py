"""Progress for people, on stderr: lines, and a bar with rate and time left.

On a terminal the bar is drawn live; elsewhere (a log file, CI) it becomes a line every ten seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zhllm import ranks

LOG_EVERY_S = 10.0


def say(message: str) -> None:
    """One line for people, on stderr; where several processes work together, of the main one."""
    if not ranks.is_main():
        return
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


class Bar:
    """Counts work done; `total` may be None when it is not known beforehand."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done: float = 0
        self.note = ""
        self._start = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Count `amount` more; `note` is a short text shown behind the numbers."""
        self.done += amount
        self.note = self.note if note is None else note
        now = time.monotonic()
        if now - self._shown >= (0.1 if self._live else LOG_EVERY_S):
            self._shown = now
            self._write(end="" if self._live else "\n")

    def close(self) -> None:
        """Draw the last state; without a terminal only where the bar was shown before."""
        if self._live:
            self._write(end="\n")

    def _write(self, end: str) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / seconds
        text = f"{self.label}: {self.done:,.0f}"
        if self.total:
            done = min(self.done, self.total)
            left_s = (self.total - done) / rate if rate else 0.0
            text += f"/{self.total:,} {self.unit} ({done / self.total:.0%}), {left_s:.0f} s left"
        else:
            text += f" {self.unit}"
        text += f", {rate:,.1f} {self.unit}/s {self.note}"
        sys.stderr.write(("\r\x1b[K" if self._live else "") + text.rstrip() + end)
        sys.stderr.flush()


@contextmanager
def bar(label: str, total: int | None = None, unit: str = "items") -> Iterator[Bar]:
    """A `Bar` that is closed when the block ends."""
    shown = Bar(label, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def append_jsonl(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line (UTF-8, keys in the given order)."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
