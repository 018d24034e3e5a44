"""What `convert` knows of a portion after the first pass: canonical lines on disk, and a row of numbers for each.

A part is a few files: chats and preferences as lines, their rows, what was rejected, and a summary, written last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

CASES = 5  # of each finding, and of what was rejected
RECORD_OUTCOMES = ("converted", "other_language", "rejected")
OUTCOMES = (*RECORD_OUTCOMES, "skipped", "left_out", "damaged")  # the others are of files
# Of a canonical line: what it says; what is asked (of a preference also both answers, in whichever order); bytes of
# the line, characters and number of its texts, tokens (-1 where nobody counted), and where it is from: the number of
# the file in the part, the line in it; its language as its place in KNOWN (text/lint/language.py); a hash of its id.
ROW = np.dtype(
    [("digest", "<u8", 2), ("key", "<u8", 2), ("size", "<u4"), ("chars", "<u4"), ("turns", "<u2")]
    + [("tokens", "<i4"), ("file", "<u4"), ("line", "<u4"), ("language", "u1"), ("id", "<u8")]
)
Rows = npt.NDArray[np.void]


@dataclass
class Summary:
    """The counts of a part, and the first cases of each kind; equal inputs give equal ones.

    `records` counts by outcome, `files` the same for each file; `items` what became of chats and preferences;
    `findings` and `dropped` count by kind of item and finding; `cases` holds [file, line, detail, text] of the first.
    """

    records: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    cases: dict[str, list[list[Any]]] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    lint: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def count(self, file: str, outcome: str, count: int) -> None:
        """Count records of a file by their outcome; for those converted that is their shape."""
        of_file = self.files.setdefault(file, Counter())
        if outcome not in OUTCOMES:
            self.shapes[outcome] += count
            of_file[f"shape {outcome}"] += count
            outcome = "converted"
        for name in ("in", outcome) if outcome in RECORD_OUTCOMES else (outcome,):
            self.records[name] += count
            of_file[name] += count

    def add(self, other: Summary) -> None:
        """Count a later part in."""
        for name in ("records", "items", "shapes", "repairs", "facts", "reasons", "lint"):
            getattr(self, name).update(getattr(other, name))
        for mine, theirs in ((self.findings, other.findings), (self.dropped, other.dropped), (self.files, other.files)):
            for name, counts in theirs.items():
                mine.setdefault(name, Counter()).update(counts)
        for name, cases in other.cases.items():
            own = self.cases.setdefault(name, [])
            own += cases[: CASES - len(own)]
        self.rejected += other.rejected[: max(CASES - len(self.rejected), 0)]

    def to_json(self) -> bytes:
        """The summary as JSON."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, data: bytes) -> Summary:
        """What `to_json` wrote."""
        found = cls(**orjson.loads(data))
        for name in ("records", "items", "shapes", "repairs", "facts", "reasons", "lint"):
            setattr(found, name, Counter(getattr(found, name)))
        for name in ("findings", "dropped", "files"):
            setattr(found, name, {key: Counter(value) for key, value in getattr(found, name).items()})
        return found


@dataclass(frozen=True)
class Part:
    """A part on disk."""

    path: Path
    summary: Summary

    def lines_at(self, kind: str) -> Path:
        """The file of its canonical lines."""
        return lines_at(self.path, kind)

    @property
    def rejected_at(self) -> Path:
        """The file of what was rejected."""
        return rejected_at(self.path)

    def rows(self, kind: str) -> Rows:
        """A row for each of its canonical lines, in order."""
        return np.load(rows_at(self.path, kind)) if self.summary.items[kind] else np.zeros(0, ROW)


def total(parts: Sequence[Part]) -> Summary:
    """The counts of all parts."""
    found = Summary()
    for part in parts:
        found.add(part.summary)
    return found


def part_at(path: Path) -> Part | None:
    """The part of that name; None where it is not there, or not whole."""
    try:
        summary = Summary.from_json(summary_at(path).read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    is_whole = all(
        (path.parent / name).is_file() and (path.parent / name).stat().st_size == size
        for name, size in summary.sizes.items()
    )
    return Part(path, summary) if is_whole else None


def lines_at(path: Path, kind: str) -> Path:
    """The file of a part's canonical lines."""
    return path.with_name(f"{path.name}.{kind}.jsonl")


def rows_at(path: Path, kind: str) -> Path:
    """The file of their rows."""
    return path.with_name(f"{path.name}.{kind}.npy")


def rejected_at(path: Path) -> Path:
    """The file of what was rejected."""
    return path.with_name(f"{path.name}.rejected.jsonl")


def summary_at(path: Path) -> Path:
    """The file of the summary, which is there when all else is."""
    return path.with_name(f"{path.name}.json")
