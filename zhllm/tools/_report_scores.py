"""What evaluations measured, of any version of scores.json: every score with its interval, models side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.tools._report_run import Run, Step

ROLES = ("against", "model")
# Numbers beside scores that are no scores themselves.
_COUNTS = {"chars", "tokens", "bytes", "questions", "n", "items", "count", "documents", "low", "high", "shots", "seed",
           "subjects", "resamples"}  # fmt: skip
_LOWER = ("bits", "loss", "perplexity", "repeat", "repetition", "switch", "garbled", "leak", "empty", "extract",
          "memor", "error", "sources", "no_code")  # fmt: skip
_SHARES = ("accuracy", "match", "rate", "share", "f1", "pass_", "no_code", "_acc", "choice", "health")


@dataclass(frozen=True)
class Score:
    """One number of one model: its 95 % interval, how many items it is a mean of, what guessing gives."""

    task: str
    part: tuple[str, ...]
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    baseline: float | None = None
    is_chance: bool = False
    is_few: bool = False

    @property
    def mark(self) -> str:
        """The key of the words beside it: "few" items to compare with guessing, "chance", or ""."""
        return "few" if self.is_few else "chance" if self.is_chance else ""

    @property
    def lower_is_better(self) -> bool:
        """Whether less of it is better."""
        return any(word in self.metric for word in _LOWER)

    @property
    def is_share(self) -> bool:
        """Whether it is a share of one, to be written in percent."""
        return any(word in self.metric for word in _SHARES) and 0 <= self.value <= 1


@dataclass(frozen=True)
class Row:
    """A score and whose it is: the model's name and the step that measured it."""

    model: str
    step: str
    role: str
    score: Score


@dataclass(frozen=True)
class Group:
    """The same measure on the same data, of every model that was asked, the base first.

    `difference` is what one evaluation found item by item: model less base, {value, low, high}, the ends only where
    there is an interval.
    """

    task: str
    metric: str
    data: str
    rows: tuple[Row, ...]
    difference: Mapping[str, float] | None = None


def read_scores(folder: Path) -> dict[str, list[Score]]:
    """The scores of an evaluate folder by role; raises OSError, ValueError where scores.json is not readable."""
    found = _read(folder)
    if isinstance(listed := found.get("scores"), list):
        return _listed(listed, found.get("tables"))
    return {
        role: [score for task, part in tasks.items() for score in _scores(str(task), (), part)]
        for role in ROLES
        if isinstance(tasks := found.get(role), dict)
    }


def read_differences(folder: Path) -> dict[str, dict[str, float]]:
    """By measure: model less against on the same items, {value, low, high, p, n}; what is null is left out.

    Raises OSError, ValueError as `read_scores`.
    """
    found = _read(folder).get("differences")
    return {
        str(name): {key: value for key, value in one.items() if _number(value) is not None}
        for name, one in (found.items() if isinstance(found, dict) else ())
        if isinstance(one, dict) and _number(one.get("value")) is not None
    }


def read_hashes(folder: Path) -> dict[str, str]:
    """By task: the hash of what was asked, of whose data; empty where an older evaluation has none.

    Raises OSError, ValueError as `read_scores`.
    """
    found = _read(folder).get("protocols")
    return {
        str(task): str(one["hash"])
        for task, one in (found.items() if isinstance(found, dict) else ())
        if isinstance(one, dict) and "hash" in one
    }


def _read(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("scores.json is no object")
    return found


def _listed(listed: Sequence[Any], tables: Any) -> dict[str, list[Score]]:
    """The scores of a scores.json that lists them, and of its tables the parts."""
    found: dict[str, list[Score]] = {role: [] for role in ROLES}
    for record in listed:
        if isinstance(record, Mapping) and record.get("role") in found:
            score = _with_interval(str(record.get("task")), (), str(record.get("name")), record)
            found[str(record["role"])] += [score] if score is not None else []
    for role, by_title in tables.items() if isinstance(tables, Mapping) else ():
        for title, by_name in by_title.items() if isinstance(by_title, Mapping) else ():
            for name, record in by_name.items() if isinstance(by_name, Mapping) else ():
                score = _with_interval(str(title), (str(name),), str(title), record)
                found.setdefault(str(role), []).extend([score] if score is not None else [])
    return {role: scores for role, scores in found.items() if scores}


def _scores(task: str, part: tuple[str, ...], found: Any) -> Iterator[Score]:
    """Every score of a task and of its parts (subjects, categories)."""
    if not isinstance(found, Mapping):
        return
    for name, value in found.items():
        if not isinstance(value, Mapping) and (name in _COUNTS or str(name).endswith(("_low", "_high"))):
            continue
        if isinstance(value, Mapping) and "value" in value:
            score = _with_interval(task, part, str(name), value)
        elif isinstance(value, Mapping):
            yield from _scores(task, (*part, str(name)), value)
            continue
        else:
            beside = {key: found.get(f"{name}_{key}") for key in ("low", "high")}
            count = found.get("questions") or found.get("n")
            score = _with_interval(task, part, str(name), {"value": value, **beside, "n": count})
        if score is not None:
            yield score


def _with_interval(task: str, part: tuple[str, ...], metric: str, found: Mapping[str, Any]) -> Score | None:
    value = _number(found.get("value"))
    if value is None:
        return None
    low, high, chance = _number(found.get("low")), _number(found.get("high")), found.get("chance")
    baseline = _number(chance)
    told = [found.get(key) for key in ("is_chance", "near_chance", "at_chance")]
    near = chance is True or isinstance(chance, str) or any(mark is True for mark in told)
    if baseline is not None and low is not None and high is not None:
        near = near or low <= baseline <= high
    count = _number(found.get("n"))
    few = found.get("is_few") is True
    return Score(task, part, metric, value, low, high, int(count) if count else None, baseline, near, few)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def model_of(step: Step, role: str) -> str:
    """Whose scores these are, as people name it: the step that made the model, with the file where it is one."""
    for source in step.sources:
        if source.setting == role:
            if source.step:
                return Path(source.file).name if source.file else source.step
            return Path(source.path).name or "?"
    return role


def data_of(step: Step) -> str:
    """What a step's model was asked or shown."""
    found = [source.step or Path(source.path).name for source in step.sources if source.setting == "data"]
    return ", ".join(found)


def _same_data(step: Step) -> tuple[str, ...]:
    return tuple(source.digest for source in step.sources if source.setting == "data")


def groups_of(run: Run) -> tuple[list[Group], list[tuple[Step, str]]]:
    """(every measure of every data set, whole scores and not their parts; steps whose scores cannot be read, why)."""
    rows: dict[tuple[Any, ...], list[Row]] = {}
    about: dict[tuple[Any, ...], str] = {}
    paired: dict[tuple[Any, ...], Mapping[str, float]] = {}
    unread: list[tuple[Step, str]] = []
    for step in run.of("evaluate"):
        try:
            found, differences = read_scores(step.folder), read_differences(step.folder)
        except (OSError, ValueError) as error:
            unread.append((step, f"{type(error).__name__}: {error}"))
            continue
        for role, scores in found.items():
            for score in scores:
                key = (score.task, score.metric, _same_data(step), score.part)
                about.setdefault(key, data_of(step))
                if score.metric in differences and not score.part:
                    paired.setdefault(key, differences[score.metric])
                rows.setdefault(key, []).append(Row(model_of(step, role), step.name, role, score))
    made = [
        Group(key[0], key[1], about[key], _ordered(found), paired.get(key)) for key, found in rows.items() if not key[3]
    ]
    return made, unread


def parts_of(step: Step) -> list[tuple[str, Score]]:
    """(role, score) of a step's parts: subjects and categories; empty where there are none or none can be read."""
    try:
        found = read_scores(step.folder)
    except (OSError, ValueError):
        return []
    return [(role, score) for role, scores in found.items() for score in scores if score.part]


def _ordered(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Bases first, each model once."""
    first = {(row.model, row.score.value): row for row in reversed(rows)}
    kept = [row for row in rows if first[row.model, row.score.value] is row]
    return tuple(sorted(kept, key=lambda row: ROLES.index(row.role)))


def main_groups(groups: Sequence[Group]) -> list[Group]:
    """One measure of each task and data: bits per byte says again what bits per character says."""
    return [g for g in groups if g.metric != "bits_per_byte"]
