"""Runs and evaluations side by side: every number of each, and whether a difference is more than luck.

A difference of means over the same items (of bits: of a sum over a sum) is judged by a paired bootstrap: the items are
drawn again, with a fixed seed, and the share of draws on the other side of zero, doubled, is p (Efron and Tibshirani
1993, chapter 16). Items are those that both wrote into answers.jsonl or the jsonl of the task.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import ConfigError, DataError
from zhllm.tools._compare_words import CompareWords
from zhllm.tools._report_files import Faults, jsonl_of
from zhllm.tools._report_run import Run, Step, read_run
from zhllm.tools._report_scores import ROLES, Score, read_differences, read_scores
from zhllm.tools._report_words import is_number

RESAMPLES, SEED, LEVEL = 10_000, 0, 0.05
_BY = {"letter": "accuracy", "text": "text_accuracy"}  # ways of scoring multiple choice
_PER = {"bits_per_char": "chars", "bits_per_byte": "bytes"}  # what bits of documents are divided by
_BLOCK_CELLS = 4_000_000  # counts that are drawn at once
_CALLED = {
    "accuracy": "right",
    "per_token_accuracy": "per_token_right",
    "extraction_rate": "extracted",
}  # measures that items call otherwise
_CONTROLS = "_controls"  # of measures of what was never planted

# What a number is of: "" or a step, a task ("" for a step's metric), the part, the measure.
Key = tuple[str, str, tuple[str, ...], str]


@dataclass(frozen=True)
class Numbers:
    """All numbers of one thing that is compared; `items` holds the scores of single items, `data` digests.

    `to_base` is what an evaluation itself found of the model and the one beside it, `weights` what the items of a
    number that is a sum over a sum are divided by, `base_of` the label of the evaluation whose other model this is.
    """

    label: str
    scores: Mapping[Key, Score]
    items: Mapping[Key, Mapping[str, float]]
    data: Mapping[Key, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    to_base: Mapping[Key, Difference] = field(default_factory=dict)
    weights: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)
    base_of: str | None = None


@dataclass(frozen=True)
class Difference:
    """How a number differs from the first one's: by how much, with which interval and p, over how many items."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None

    @property
    def is_significant(self) -> bool | None:
        """Whether it is more than luck at the 5 % level; None where there are no items to judge by."""
        if self.p is not None:
            return self.p < LEVEL
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0


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
        found = read_scores(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'scores.json'}: cannot be read ({error}). Evaluate again.") from error
    inputs = made.key.get("inputs")
    digests = tuple(map(str, inputs.get("data", ()))) if isinstance(inputs, dict) else ()
    scores = {("", s.task, s.part, s.metric): s for s in found.get(role, [])}
    faults = Faults()
    items, weights = _items(folder, role, list(scores), faults)
    paths = made.made_by.get("input_paths")
    model = (paths.get(role) or ["?"])[0] if isinstance(paths, dict) else "?"
    label = str(folder) if role == ROLES[1] else words("against", folder=folder, model=model)
    base_of = None if role == ROLES[1] else str(folder)
    known = {("", s.task, s.part, s.metric): s for s in found.get(role, []) if not s.part}
    differences = read_differences(folder)
    to_base = {key: _known(differences[s.metric]) for key, s in known.items() if s.metric in differences}
    return Numbers(
        label, scores, items, dict.fromkeys(scores, digests), _told(faults, words), to_base, weights, base_of
    )


def _known(found: Mapping[str, float]) -> Difference:
    return Difference(found["value"], found["low"], found["high"], None, int(found["n"]) if "n" in found else None)


def _of_run(run: Run, every: bool, words: CompareWords) -> Numbers:
    scores: dict[Key, Score] = {}
    items: dict[Key, Mapping[str, float]] = {}
    weights: dict[Key, Mapping[str, float]] = {}
    data: dict[Key, tuple[str, ...]] = {}
    faults = Faults()
    for name, value in _summary(run, faults).items():
        scores["", "", (), name] = Score("", (), name, value)
    for step in run.of("evaluate"):
        try:
            found = read_scores(step.folder)
        except (OSError, ValueError) as error:
            faults.add(step.name, "unreadable", file=f"{step.name}/scores.json", error=str(error))
            continue
        own = {(step.name, s.task, s.part, s.metric): s for s in found.get(ROLES[1], [])}
        scores |= own
        own_items, own_weights = _items(step.folder, ROLES[1], list(own), faults)
        items, weights = items | own_items, weights | own_weights
        data |= dict.fromkeys(own, tuple(s.digest for s in step.sources if s.setting == "data"))
    for step in run.steps if every else ():
        scores |= _metrics(step)
    return Numbers(str(run.folder), scores, items, data, (*_told(faults, words), *_states(run, words)), weights=weights)


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


def _items(
    folder: Path, role: str, keys: Sequence[Key], faults: Faults
) -> tuple[dict[Key, Mapping[str, float]], dict[Key, Mapping[str, float]]]:
    """The scores of single items of every key whose mean they are, and what they are divided by where they are.

    What was asked twice is told apart by its turn.
    """
    found: dict[Key, Mapping[str, float]] = {}
    weights: dict[Key, Mapping[str, float]] = {}
    for task in dict.fromkeys(key[1] for key in keys if key[1]):
        file = "answers.jsonl" if task == "questions" else f"{task}.jsonl"
        records = [record for record in jsonl_of(folder, file, folder.name, faults) if record.get("model") == role]
        for key in (key for key in keys if key[1] == task and not key[2]):
            if key[3] in _PER:
                under = _values(records, task, _PER[key[3]])
                weights |= {key: under} if under else {}
            values = _values(records, task, "bits" if key[3] in _PER else key[3])
            found |= {key: values} if values else {}
    return found, weights


def _values(records: Sequence[Mapping[str, Any]], task: str, metric: str) -> dict[str, float]:
    values: dict[str, float] = {}
    turns: Counter[str] = Counter()
    for record in records:
        value = _value(record, metric.removeprefix(f"{task}_"))
        asked = str(record.get("id") or record.get("question") or record.get("prompt") or "")
        if value is not None and asked:
            name = f"{record.get('subject', '')}\n{asked}"
            turns[name] += 1
            values[f"{name}\n{turns[name]}"] = value
    return values


def _value(record: Mapping[str, Any], metric: str) -> float | None:
    """What an item's record says of a measure; None where it says nothing."""
    if "by" in record:  # multiple choice: the same question once for each way of scoring
        if metric != _BY.get(str(record["by"])):
            return None
        metric = "accuracy"
    if record.get("is_control", False) != metric.endswith(_CONTROLS):
        return None
    metric = metric.removesuffix(_CONTROLS)
    if metric == "pass_at_1" and "outcome" in record:
        return float(record["outcome"] == "passed")
    named = (record.get(name) for name in (metric, f"is_{metric}", _CALLED.get(metric, metric)))
    value = next((v for v in named if isinstance(v, bool | int | float)), None)
    return float(value) if value is not None and math.isfinite(value) else None


def difference(first: Numbers, other: Numbers, key: Key) -> Difference | None:
    """`other` less `first`, paired over common items where both have them; None where one lacks the number."""
    if key not in first.scores or key not in other.scores:
        return None
    value = other.scores[key].value - first.scores[key].value
    one, two = first.items.get(key, {}), other.items.get(key, {})
    shared = sorted(one.keys() & two.keys())
    if len(shared) < 2:
        return other.to_base.get(key, Difference(value)) if first.base_of == other.label else Difference(value)
    under = first.weights.get(key)
    return paired([two[name] - one[name] for name in shared], None if under is None else [under[n] for n in shared])


def paired(differences: Sequence[float], weights: Sequence[float] | None = None) -> Difference:
    """The mean of the items' differences, or their sum over that of the weights, with its interval and two-sided p.

    The interval is the bootstrap's of 95 %.
    """
    import numpy as np

    counts = Counter(zip(differences, weights or [1.0] * len(differences), strict=True))
    values, under = np.array(list(counts)).T
    often = np.array(list(counts.values()))
    n, rng = len(differences), np.random.default_rng(SEED)
    # Drawing n items again is drawing how often each value comes: the same distribution, for any number of items.
    step = max(1, _BLOCK_CELLS // len(counts))
    blocks = (rng.multinomial(n, often / n, size=min(step, RESAMPLES - i)) for i in range(0, RESAMPLES, step))
    drawn = np.concatenate([block @ values / (block @ under) for block in blocks])
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    p = min(1.0, 2 * max(tail, 1 / RESAMPLES))
    return Difference(float(values @ often / (under @ often)), float(low), float(high), p, n)


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
        weights={new[key]: under for key, under in one.weights.items()},
    )
