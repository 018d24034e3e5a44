"""Files of a stage's folder that a report draws from, of any version, whole or not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zhllm.tools._report_run import Remark, Step


class Faults:
    """What could not be read while a page was made; (step, remark), each once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Remark]] = []

    def add(self, step: str, key: str, **values: Any) -> None:
        """Note something of a step."""
        remark = (step, Remark(key, values))
        if remark not in self.found:
            self.found.append(remark)

    def tried(self, step: Step, file: str, make: Callable[[], Any], otherwise: Any) -> Any:
        """What `make` gives; `otherwise`, and a note, where the file is not what it expects."""
        try:
            return make()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            self.add(step.name, "unreadable", file=f"{step.name}/{file}", error=f"{type(error).__name__}: {error}")
            return otherwise


def json_of(step: Step, file: str, faults: Faults) -> dict[str, Any]:
    """A JSON object of a step's folder; empty where there is none, or (with a note) it cannot be read."""
    path = step.folder / file
    if not path.is_file():
        return {}
    found = faults.tried(step, file, lambda: json.loads(path.read_text(encoding="utf-8")), {})
    if not isinstance(found, dict):
        faults.add(step.name, "unreadable", file=f"{step.name}/{file}", error="no object")
        return {}
    return found


def jsonl_of(folder: Path, file: str, step: str, faults: Faults) -> list[dict[str, Any]]:
    """The objects of a JSON lines file; lines that are none are counted in a note."""
    path = folder / file
    if not path.is_file():
        return []
    good, bad = [], 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                good.append(record)
            elif line.strip():
                bad += 1
    if bad:
        faults.add(step, "bad_lines", file=f"{step}/{file}", count=bad)
    return good


def points_of(records: list[dict[str, Any]], name: str) -> tuple[list[tuple[float, float]], int]:
    """((step, value) of every record that has the value as a finite number, how many have another)."""
    points, lost = [], 0
    for record in records:
        value, at = record.get(name), record.get("step")
        if value is None or not isinstance(at, int | float):
            continue
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((float(at), float(value)))
        else:
            lost += 1
    return points, lost


def finite(found: Mapping[str, Any], *names: str) -> float | None:
    """The first of some numbers that is there and finite."""
    for name in names:
        value = found.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None
