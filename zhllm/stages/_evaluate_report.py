"""scores.json of `evaluate`, its table for the terminal, and report.html."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm.errors import DataError
from zhllm.evals.intervals import difference
from zhllm.page import Cell
from zhllm.stages._evaluate_page import FEW, is_share, page_of
from zhllm.stages._evaluate_words import Lang
from zhllm.vocab.hf_files import write_json
from zhllm.vocab.tokenizer import read_json

if TYPE_CHECKING:
    from zhllm.stages._evaluate_tasks import TaskResult

Results = Mapping[str, Mapping[str, "TaskResult"]]


# From here on a figure is written with an exponent.
LARGE = 1e6
# Of a protocol, what is told beside its hash.
SETTINGS = ("shots", "chat", "left out", "template", "window_tokens", "max_tokens")


def write_report(out: Path, results: Results, names: Mapping[str, str], lang: Lang = "en") -> None:
    """Write scores.json and report.html, in a language, on which the models have `names` by role.

    Under each role and task stand the plain numbers; "scores" has every figure with its interval, n, and the mark of
    chance, "tables" those of subjects and sources, "differences" the paired ones, "protocols" what was asked.
    """
    scores: dict[str, Any] = {
        role: {task: found.metrics() for task, found in by_task.items()} for role, by_task in results.items()
    }
    main = results["model"]
    _tell_unpaired(results)
    differences = _differences(results)
    scores["scores"] = [
        {"role": role, "task": task, "name": item.name, **item.score.record()}
        for role, by_task in results.items()
        for task, found in by_task.items()
        for item in found.measured
    ]
    scores["tables"] = {
        role: {title: {k: v.record() for k, v in t.items()} for f in by_task.values() for title, t in f.tables.items()}
        for role, by_task in results.items()
    }
    scores["differences"] = differences
    scores["protocols"] = {task: found.protocol for task, found in main.items()}
    scores["notes"] = {
        role: [f"{t}: {n}" for t, f in by_task.items() for n in f.notes] for role, by_task in results.items()
    }
    write_json(out / "scores.json", scores)
    (out / "report.html").write_text(page_of(results, scores["differences"], names, lang), encoding="utf-8")


def _differences(results: Results) -> dict[str, dict[str, Any]]:
    """model minus against on the items that both were asked, for every figure that is made of items."""
    found = {}
    for task, after in results["model"].items():
        before = results["against"][task] if "against" in results else None
        if before is None:
            continue
        hashes = [protocol.get("asked", protocol["hash"]) for protocol in (before.protocol, after.protocol)]
        if hashes[0] != hashes[1] and not after.protocol.get("chat"):
            raise DataError(f"--task {task}: both models must be asked the same.")
        named = {item.name: item for item in before.measured}
        for one, other in ((item, named[item.name]) for item in after.measured if item.name in named):
            if len(one.items) != len(other.items):
                after.notes.append(f"{one.name}: no difference, as {len(one.items)} items were measured of this model "
                                   f"and {len(other.items)} of the other one.")  # fmt: skip
                continue
            both = [i for i, pair in enumerate(zip(one.items, other.items, strict=True)) if not any(map(isnan, pair))]
            if both:
                own = one.only(both)
                found[one.name] = difference(
                    own.items, other.only(both).items, own.weights, own.clusters, own.in_order, is_share(own)
                )
    return found


def _tell_unpaired(results: Results) -> None:
    """A note where a figure is of one of two models only: nothing stands beside it, and it has no difference."""
    for task, after in results["model"].items() if "against" in results else ():
        before = results["against"][task]
        for one, other in ((after, before), (before, after)):
            there = {item.name for item in other.measured}
            if lonely := [item.name for item in one.measured if item.name not in there]:
                one.notes.append(f"Measured of this model only: {', '.join(lonely)}.")


def table_lines(out: Path) -> list[str]:
    """What scores.json holds, for a terminal."""
    scores = read_json(out / "scores.json")
    has_two = "against" in scores
    head = ["score", "value", "95 % interval", "n", ""] + ["against", "95 % interval", "difference"] * has_two
    rows = [head, *(list(map(str, row)) for row in _score_rows(scores))]
    for title, by_name in scores["tables"]["model"].items():
        rows += [[""], [title], *([f"  {n}", *map(str, _cells(s))] for n, s in by_name.items())]
    lines = _aligned(rows)
    lines += ["", *(f"protocol {task}: sha256 {_shown(p)}" for task, p in scores["protocols"].items())]
    return lines + [n for role, notes in scores["notes"].items() for n in (f"{role}: {note}" for note in notes)]


def _shown(protocol: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{k} {v}" for k, v in protocol.items() if k in SETTINGS and v is not None)
    return f"{protocol['hash'][:16]}{f' ({settings})' if settings else ''}"


def _score_rows(scores: Mapping[str, Any]) -> Iterable[list[Cell]]:
    """A row for each figure: the model's, the other one's, and their difference, as far as they are known."""
    own, other = ({s["name"]: s for s in scores["scores"] if s["role"] == role} for role in ("model", "against"))
    for name in dict.fromkeys((*own, *other)):
        row: list[Cell] = [name, *(_cells(own[name]) if name in own else [""] * 4)]
        if name in other:
            row += [_figure(other[name]["value"]), _interval(other[name])]
            row.append(_difference(scores["differences"].get(name)))
        yield row


def _cells(score: Mapping[str, Any]) -> list[Cell]:
    chance, high = score.get("chance"), score["high"]
    below = "" if chance is None or high is None or high >= chance else f"below chance ({chance:.3f})"
    mark = f"≈ chance ({chance:.3f})" if score.get("is_chance") else below
    mark = FEW if score.get("is_few") else mark
    return [_figure(score["value"]), _interval(score), str(score["n"]), mark]


def _figure(value: float) -> str:
    """Four decimals, but of a perplexity without bounds the four first digits."""
    return f"{value:.4f}" if abs(value) < LARGE else f"{value:.4g}"


def _interval(score: Mapping[str, Any]) -> str:
    if score["low"] is None:
        return f"none: {score['no_interval']}"
    return f"{_figure(score['low'])} to {_figure(score['high'])}"


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["low"] is None:
        return f"{found['value']:+.4f} (no interval: {found['no_interval']})"
    unsure = "" if found["is_clear"] else " (not clear of 0)"
    return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]{unsure}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    columns = max(map(len, rows))
    widths = [max((_width(row[i]) for row in rows if len(row) > max(1, i)), default=0) for i in range(columns)]
    return ["  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=False)).rstrip() for row in rows]


def _width(text: str) -> int:
    """The columns of a terminal that a text takes: two for a Han character."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
