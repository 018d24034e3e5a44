"""Runs and evaluations side by side: every number of each, and whether a difference is more than luck.

A difference is judged on the items that both have (zhllm.tools._compare_items).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import ConfigError, DataError
from zhllm.tools._compare_items import Difference, Items, items_of, known_difference, paired
from zhllm.tools._compare_words import CompareWords
from zhllm.tools._report_files import Faults
from zhllm.tools._report_run import Run, Step, read_run
from zhllm.tools._report_scores import ROLES, Score, read_differences, read_hashes, read_scores
from zhllm.tools._report_words import is_number

# The task whose table has a title of its own.
_TABLES = {"sources": "bits"}
# What a number is of: "" or a step, a task ("" for a step's metric), the part, the measure.
Key = tuple[str, str, tuple[str, ...], str]


@dataclass(frozen=True)
class Numbers:
    """All numbers of one thing that is compared; `items` holds the scores of single items, `data` digests.

    `to_base` is what an evaluation itself found of the model and the one beside it, `base_of` the label of the
    evaluation whose other model this is.
    """

    label: str
    scores: Mapping[Key, Score]
    items: Mapping[Key, Items]
    data: Mapping[Key, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    to_base: Mapping[Key, Difference] = field(default_factory=dict)
    base_of: str | None = None


def read_numbers(path: Path, words: CompareWords, role: str = "model", every: bool = False) -> Numbers:
    """The numbers of a run folder or an evaluate folder, remarks in these words; ConfigError where it is neither."""
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such folder. Give run folders or folders of zhllm evaluate.")
    if (path / manifest.NAME).is_file() and not (path / "run.json").is_file():
        return _of_evaluation(path, role, words)
    run = read_run(path)
    return _of_run(run, every, words)


def _of_evaluation(folder: Path, role: str, words: CompareWords) -> Numbers:
    made = manifest.read(folder)
    stage = made.key.get("stage") if made is not None else None
    if made is None or stage != "evaluate":
        raise ConfigError(f"{folder}: is the folder of {stage}. Give run folders or folders of zhllm evaluate.")
    try:
        found, hashes = read_scores(folder), read_hashes(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'scores.json'}: cannot be read ({error}). Evaluate again.") from error
    inputs = made.key.get("inputs")
    digests = tuple(map(str, inputs.get("data", ()))) if isinstance(inputs, dict) else ()
    scores = {("", s.task, s.part, s.metric): s for s in found.get(role, [])}
    faults = Faults()
    items = _items(folder, role, list(scores), faults)
    paths = made.made_by.get("input_paths")
    model = (paths.get(role) or ["?"])[0] if isinstance(paths, dict) else "?"
    label = str(folder) if role == ROLES[1] else words("against", folder=folder, model=model)
    base_of = None if role == ROLES[1] else str(folder)
    known = {("", s.task, s.part, s.metric): s for s in found.get(role, []) if not s.part}
    differences = read_differences(folder)
    to_base = {key: known_difference(differences[s.metric]) for key, s in known.items() if s.metric in differences}
    return Numbers(label, scores, items, _data(scores, digests, hashes), _told(faults, words), to_base, base_of)


def _data(keys: Iterable[Key], digests: tuple[str, ...], hashes: Mapping[str, str]) -> dict[Key, tuple[str, ...]]:
    """What each number was measured on: the hash of its task, else the digests of all data of the evaluation."""
    found = {}
    for key in keys:
        # The tables of a task are called after it or one of its measures, or as _TABLES says.
        title = _TABLES.get(key[1], key[1])
        task = max((name for name in hashes if title.startswith(name)), key=len, default="")
        found[key] = (hashes[task],) if task else digests
    return found


def _of_run(run: Run, every: bool, words: CompareWords) -> Numbers:
    scores: dict[Key, Score] = {}
    items: dict[Key, Items] = {}
    data: dict[Key, tuple[str, ...]] = {}
    faults = Faults()
    for name, value in _summary(run, faults).items():
        scores["", "", (), name] = Score("", (), name, value)
    for step in run.of("evaluate"):
        try:
            found, hashes = read_scores(step.folder), read_hashes(step.folder)
        except (OSError, ValueError) as error:
            faults.add(step.name, "unreadable", file=f"{step.name}/scores.json", error=str(error))
            continue
        own = {(step.name, s.task, s.part, s.metric): s for s in found.get(ROLES[1], [])}
        scores |= own
        items |= _items(step.folder, ROLES[1], list(own), faults)
        data |= _data(own, tuple(s.digest for s in step.sources if s.setting == "data"), hashes)
    for step in run.steps if every else ():
        scores |= _metrics(step)
    return Numbers(str(run.folder), scores, items, data, (*_told(faults, words), *_states(run, words)))


def _told(faults: Faults, words: CompareWords) -> tuple[str, ...]:
    return tuple(f"{name}{words.colon}{words(remark.key, **remark.values)}" for name, remark in faults.found)


def _states(run: Run, words: CompareWords) -> list[str]:
    wrong = [step.name for step in run.steps if step.state not in ("done", "waiting")]
    return [words("not_whole", steps=words.comma.join(wrong))] if wrong else []


def _summary(run: Run, faults: Faults) -> dict[str, float]:
    """The flat numbers of summary.json."""
    path = run.folder / "summary.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(k): float(v) for k, v in found.items() if is_number(v) and math.isfinite(v)}
    except (OSError, ValueError, AttributeError) as error:
        faults.add("", "unreadable", file="summary.json", error=str(error))
        return {}


def _metrics(step: Step) -> dict[Key, Score]:
    """Every finite number of a step's manifest that is no score."""
    if step.stage == "evaluate":
        return {}
    numbers = {k: float(v) for k, v in step.metrics.items() if is_number(v) and math.isfinite(v)}
    seconds = {} if step.seconds is None else {"seconds": step.seconds}
    return {(step.name, "", (), k): Score("", (), k, v) for k, v in {**numbers, **seconds}.items()}


def _items(folder: Path, role: str, keys: Sequence[Key], faults: Faults) -> dict[Key, Items]:
    """The items of every key whose mean they are."""
    found: dict[Key, Items] = {}
    for task in dict.fromkeys(key[1] for key in keys if key[1]):
        own = {key[3]: key for key in keys if key[1] == task and not key[2]}
        found |= {own[metric]: items for metric, items in items_of(folder, role, task, list(own), faults).items()}
    return found


def difference(first: Numbers, other: Numbers, key: Key) -> Difference | None:
    """`other` less `first`, paired over common items where both have them; None where one lacks the number."""
    if key not in first.scores or key not in other.scores:
        return None
    one, two = first.items.get(key), other.items.get(key)
    found = None if one is None or two is None else paired(one, two, first.scores[key].is_share)
    if found is not None:
        return found
    alone = Difference(other.scores[key].value - first.scores[key].value)
    return other.to_base.get(key, alone) if first.base_of == other.label else alone


def rows_of(compared: Sequence[Numbers]) -> list[Key]:
    """Every key that any of them has, in the order of the first that has it."""
    return list(dict.fromkeys(key for one in compared for key in one.scores))


def matched(compared: Sequence[Numbers], whole_runs: bool) -> list[Numbers]:
    """The numbers with keys that meet: steps have names in runs only, so evaluations are matched without them.

    Where a run has the same task and measure in several steps, the one on the data of an evaluation that is compared
    is taken, else the step's name stays.
    """
    if whole_runs:
        return list(compared)
    wanted = {(key[1:], digests) for one in compared for key, digests in one.data.items() if not key[0]}
    return [_unnamed(one, wanted) for one in compared]


def _unnamed(one: Numbers, wanted: set[tuple[Any, tuple[str, ...]]]) -> Numbers:
    often = Counter(key[1:] for key in one.scores if key[1])
    new: dict[Key, Key] = {}
    for key in one.scores:
        alone = often[key[1:]] == 1 or (key[1:], one.data.get(key)) in wanted
        new[key] = ("", *key[1:]) if key[1] and alone else key
    twice = [name for name, count in Counter(new.values()).items() if count > 1]
    if twice:
        steps = ", ".join(key[0] for key in new if new[key] == twice[0])
        raise ConfigError(
            f"{one.label}: has {steps} of the same task on the same data. Give the folder of one of them."
        )
    return replace(
        one,
        scores={new[key]: score for key, score in one.scores.items()},
        items={new[key]: items for key, items in one.items.items()},
        data={new[key]: digests for key, digests in one.data.items()},
    )
