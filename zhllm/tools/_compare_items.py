"""The items that two evaluations have in common, and whether they say that the models differ.

Items are what both wrote into answers.jsonl or the jsonl of the task. They are known by what was asked, not by names of
files, and what was asked several times counts once. How a difference is judged stands in zhllm.evals.intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zhllm.tools._report_files import Faults, jsonl_of

LEVEL = 0.05
_BY = {"letter": "accuracy", "text": "text_accuracy"}  # ways of scoring multiple choice
_PER = {"bits_per_char": "chars", "bits_per_byte": "bytes"}  # what bits of documents are divided by
_CALLED = {
    "accuracy": "right",
    "per_token_accuracy": "per_token_right",
    "extraction_rate": "extracted",
}  # measures that items call otherwise
_OUTCOMES = {"pass_at_1": "passed", "no_code": "no code"}  # of programs, that a measure counts
_CONTROLS = "_controls"  # of measures of what was never planted
NO_CELLS = "few documents, of which an older evaluation has no stretches"


@dataclass(frozen=True)
class Item:
    """What one item adds: its value, what that is divided by, what it asks, and both by stretches of a text."""

    value: float
    weight: float
    asked: str
    cells: tuple[float, ...] = ()
    cell_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Items:
    """The items of a number by what they are known by; `is_ratio` where they are sums over sums."""

    of: Mapping[str, Item] = field(default_factory=dict)
    is_ratio: bool = False

    def mean(self, names: Sequence[str]) -> float:
        """The number over some of them."""
        return math.fsum(self.of[n].value for n in names) / math.fsum(self.of[n].weight for n in names)


@dataclass(frozen=True)
class Difference:
    """How a number differs from the first one's: by how much, with which interval and p, over how many items.

    `value` is over the `n` items that both have, where there are any: there the first one's number is `first` and the
    other's `other`, `of` how many items each has. `units` is how many are drawn, where that is not n, `changed` how
    many answers are others, `no_interval` why there is none.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None
    units: int | None = None
    changed: int | None = None
    no_interval: str | None = None
    first: float | None = None
    other: float | None = None
    of: tuple[int, int] | None = None

    @property
    def is_significant(self) -> bool | None:
        """Whether it is more than luck at the 5 % level; None where there are no items to judge by."""
        if self.p is not None:
            return self.p < LEVEL
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0

    @property
    def is_of_part(self) -> bool:
        """Whether one of the two has items that the other one lacks."""
        return self.of is not None and self.of != (self.n, self.n)


def known_difference(found: Mapping[str, Any]) -> Difference:
    """One that an evaluation found itself, as scores.json has it."""
    kept = {key: found.get(key) for key in ("low", "high", "p", "no_interval")}
    counts = {key: int(found[key]) for key in ("n", "units", "changed") if key in found}
    return Difference(found["value"], **kept, **counts)  # type: ignore[arg-type]


def items_of(folder: Path, role: str, task: str, metrics: Sequence[str], faults: Faults) -> dict[str, Items]:
    """The items of each measure of a task whose mean it is."""
    file = "answers.jsonl" if task == "questions" else f"{task}.jsonl"
    records = [record for record in jsonl_of(folder, file, folder.name, faults) if record.get("model") == role]
    found = {metric: _items(records, task, metric) for metric in metrics}
    return {metric: items for metric, items in found.items() if items.of}


def _items(records: Sequence[Mapping[str, Any]], task: str, metric: str) -> Items:
    """What was asked twice is told apart by its turn."""
    under = _PER.get(metric)
    items: dict[str, Item] = {}
    turns: Counter[str] = Counter()
    for record in records:
        value = value_of(record, "bits" if under else metric.removeprefix(f"{task}_"))
        weight = value_of(record, under) if under else 1.0
        asked = _asked(record)
        if value is not None and weight is not None and asked:
            turns[asked] += 1
            cells, weights = _cells(record, under) if under else ((), ())
            items[f"{asked}\n{turns[asked]}"] = Item(value, weight, asked, cells, weights)
    return Items(items, under is not None)


def _asked(record: Mapping[str, Any]) -> str:
    """What an item is known by: a digest of what was asked, else its words (in its subject), else its id."""
    if "asked" in record:
        return str(record["asked"])
    words = record.get("question") or record.get("prompt")
    return f"{record.get('subject', '')}\n{words}" if words else str(record.get("id") or "")


def _cells(record: Mapping[str, Any], under: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A document's bits by stretches of text; none where an older evaluation did not write them."""
    from zhllm.evals.intervals import CELL_CHARS

    chars, cells, sizes = record.get("chars"), record.get("cells"), record.get("cell_bytes")
    if not isinstance(chars, int) or (chars > CELL_CHARS and not (isinstance(cells, list) and isinstance(sizes, list))):
        return (), ()
    if not isinstance(cells, list) or not isinstance(sizes, list):
        return (record["bits"],), (record[under],)
    by_chars = [min(CELL_CHARS, chars - at) for at in range(0, chars, CELL_CHARS)]
    return tuple(cells), tuple(map(float, by_chars if under == "chars" else sizes))


def value_of(record: Mapping[str, Any], metric: str) -> float | None:
    """What an item's record says of a measure; None where it says nothing."""
    if "by" in record:  # multiple choice: the same question once for each way of scoring
        if metric != _BY.get(str(record["by"])):
            return None
        metric = "accuracy"
    if record.get("is_control", False) != metric.endswith(_CONTROLS):
        return None
    metric = metric.removesuffix(_CONTROLS)
    if metric in _OUTCOMES and "outcome" in record:
        return float(record["outcome"] == _OUTCOMES[metric])
    named = (record.get(name) for name in (metric, f"is_{metric}", _CALLED.get(metric, metric)))
    value = next((v for v in named if isinstance(v, bool | int | float)), None)
    return float(value) if value is not None and math.isfinite(value) else None


def paired(first: Items, other: Items, is_share: bool) -> Difference | None:
    """`other` less `first` on the items that both have; None where there are none."""
    from zhllm.evals.intervals import FEW, difference

    shared = [name for name in first.of if name in other.of]
    if not shared:
        return None
    one, two = [first.of[name] for name in shared], [other.of[name] for name in shared]
    asked = [item.asked for item in one]
    if first.is_ratio and len(set(asked)) < FEW:
        found = _in_cells(one, two)
    else:
        weights = [item.weight for item in one] if first.is_ratio else None
        found = difference([i.value for i in two], [i.value for i in one], weights, asked, is_share=is_share)
    means = first.mean(shared), other.mean(shared)
    told = {key: found.get(key) for key in ("low", "high", "p", "units", "changed", "no_interval")}
    return Difference(
        means[1] - means[0], **told, n=len(shared), first=means[0], other=means[1], of=(len(first.of), len(other.of))
    )


def _in_cells(one: Sequence[Item], two: Sequence[Item]) -> dict[str, Any]:
    """The difference over stretches of few documents, those that are there several times as often as they are."""
    from zhllm.evals.intervals import difference

    often = Counter(item.asked for item in one)
    pairs = {item.asked: (item, other) for item, other in zip(one, two, strict=True)}
    if any(not a.cells or len(a.cells) != len(b.cells) for a, b in pairs.values()):
        return {"no_interval": NO_CELLS}
    before = [often[asked] * bits for asked, (item, _) in pairs.items() for bits in item.cells]
    after = [often[asked] * bits for asked, (_, item) in pairs.items() for bits in item.cells]
    weights = [often[asked] * size for asked, (item, _) in pairs.items() for size in item.cell_weights]
    return difference(after, before, weights, in_order=True)
