"""What lm-evaluation-harness found, as scores with intervals over items, and what it asked, as a hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zhllm.evals.intervals import Score, mean_score
from zhllm.evals.resampling import Z95

# Settings of a task that say where its data lie, not what is asked; the data themselves are in the hash.
_PLACES = {"dataset_path", "dataset_name", "dataset_kwargs", "metadata"}
NO_ERROR = "lm-eval gives no standard error"
_CHOICES = ("acc", "acc_norm", "acc_bytes")  # measures that guessing has a share in


@dataclass(frozen=True)
class Figure:
    """A measure of a task or group: its score, lm-eval's standard error, and the value of each item it is a mean of."""

    of: str
    measure: str
    score: Score
    stderr: float | None
    items: Mapping[str, float] = field(default_factory=dict)


def figures(found: Mapping[str, Any], name: str) -> Iterator[Figure]:
    """Every measure of a task, or of a group that has measures of its own."""
    own = found["results"].get(name) or found.get("groups", {}).get(name) or {}
    leaves = leaves_of(found, name)
    for key, value in own.items():
        measure, _, kind = key.partition(",")
        if not kind or measure.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = own.get(f"{measure}_stderr,{kind}")
        yield _figure(found, leaves, name, (measure, kind), float(value), stderr)


def leaves_of(found: Mapping[str, Any], name: str) -> list[str]:
    """The tasks of a group, of groups inside it too; a task is its own."""
    inside = found.get("group_subtasks", {}).get(name) or []
    return [leaf for one in inside for leaf in leaves_of(found, one)] or [name]


def _figure(
    found: Mapping[str, Any], leaves: Sequence[str], name: str, key: tuple[str, str], value: float, stderr: Any
) -> Figure:
    measure, kind = key
    label = measure if kind == "none" else f"{measure}_{kind.replace('-', '_')}"
    known = float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None
    items = _items(found, leaves, measure, kind)
    chance = _chance(found, leaves) if measure in _CHOICES else None
    if items and math.isclose(math.fsum(items.values()) / len(items), value, rel_tol=1e-9, abs_tol=1e-12):
        labels = asked_of(found, leaves)
        score = mean_score(list(items.values()), chance, clusters=[labels[item] for item in items])
        return Figure(name, label, score, known, items)
    n = sum(found["n-samples"][leaf]["effective"] for leaf in leaves)
    if known is None:
        return Figure(name, label, Score(value, None, None, n, chance, no_interval=NO_ERROR), known)
    return Figure(name, label, Score(value, value - Z95 * known, value + Z95 * known, n, chance), known)


def asked_of(found: Mapping[str, Any], leaves: Sequence[str]) -> dict[str, str]:
    """By item its task and what lm-eval's hash of the document and the prompt tells: equal ones repeat each other."""
    return {
        f"{leaf}/{sample['doc_id']}": f"{leaf}/{sample['doc_hash'][:16]}{sample['prompt_hash'][:16]}"
        for leaf in leaves
        for sample in found["samples"].get(leaf, ())
    }


def _items(found: Mapping[str, Any], leaves: Sequence[str], measure: str, kind: str) -> dict[str, float]:
    """By task and number of the document what each item got; empty where an item's measure is no number."""
    items: dict[str, float] = {}
    for leaf in leaves:
        for sample in found["samples"].get(leaf, ()):
            if sample["filter"] != kind or not isinstance(sample.get(measure), int | float):
                continue
            items[f"{leaf}/{sample['doc_id']}"] = float(sample[measure])
    return items


def answers_of(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each item what was right and what the model answered: log-likelihoods, or texts before any filter."""
    return {
        f"{leaf}/{sample['doc_id']}": {
            "target": str(sample["target"]),
            "answers": [_answer(r) for r in sample["resps"]],
        }
        for leaf, samples in found["samples"].items()
        for sample in samples
    }


def _answer(response: Any) -> Any:
    """One response: (log-likelihood, is it the likeliest) or a text, in as many lists as lm-eval puts around it."""
    while isinstance(response, list | tuple) and response and not isinstance(response[0], float):
        response = response[0]
    return response[0] if isinstance(response, list | tuple) and response else response


def _chance(found: Mapping[str, Any], leaves: Sequence[str]) -> float | None:
    """What guessing gives, where every task is multiple choice."""
    if any(found["configs"][leaf].get("output_type") != "multiple_choice" for leaf in leaves):
        return None
    counts = [
        len(s["arguments"]) // (2 if "acc_mutual_info" in s["metrics"] else 1)
        for leaf in leaves for s in found["samples"].get(leaf, ())
    ]  # fmt: skip
    return sum(1 / count for count in counts) / len(counts) if counts and all(counts) else None


def protocol_of(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What was asked: of each task its version, examples, items and digest; the hash of all of them."""
    tasks: dict[str, Any] = {}
    for leaf in dict.fromkeys(leaf for name in names for leaf in leaves_of(found, name)):
        tasks[leaf] = {
            "version": found["versions"].get(leaf),
            "shots": found["n-shot"].get(leaf),
            "items": found["n-samples"][leaf]["effective"],
            "of_items": found["n-samples"][leaf]["original"],
            "sha256": _digest(found, leaf),
        }
    whole = json.dumps([[leaf, task["sha256"]] for leaf, task in tasks.items()], ensure_ascii=False)
    return {"hash": hashlib.sha256(whole.encode()).hexdigest(), "tasks": tasks}


def _digest(found: Mapping[str, Any], leaf: str) -> str:
    """SHA-256 of a task's settings and of every document, prompt and answer."""
    config = {key: value for key, value in found["configs"][leaf].items() if key not in _PLACES}
    told = hashlib.sha256(json.dumps(config, ensure_ascii=False, sort_keys=True, default=str).encode())
    for sample in found["samples"].get(leaf, ()):
        told.update(f"{sample['doc_hash']}{sample['prompt_hash']}{sample['target_hash']}\n".encode())
    return told.hexdigest()
