"""The page of a training run: how its losses fell, what the gate saw, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zhllm import chart, page
from zhllm.chart import Axis, Series
from zhllm.page import Column, Html, Page, Tile, number

Record = Mapping[str, Any]

STEP = Axis("step")
BITS = "bits_per_char"
SMOOTHED_OVER = 40  # points of the smoothed line


def html_of(stage: str, settings: Mapping[str, Any], metrics: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The page of one run's records, in the order of its steps."""
    lead = (
        f"{metrics['steps']:,} steps over {metrics['learnt_tokens']:,} learnt tokens; "
        f"{metrics['trainable_parameters']:,} values trained. Bits per character can be compared across tokenizers."
    )
    shown = Page(f"Training report: {stage}", lead)
    shown.section("Before and after", page.tiles(_tiles(metrics)), *_before_and_after(metrics))
    shown.section("What was learnt", *_losses(records))
    if held_out := _held_out(records, metrics):
        shown.section("Validation", *held_out, *_gate(records, settings))
    shown.section("Steps", *_steps(records))
    rows = [[name, str(value)] for name, value in settings.items() if value is not None]
    shown.section("Settings", page.table(["setting", "value"], rows))
    return shown.html()


def _tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    found = [Tile("last training loss", number(metrics["loss"], 3), "nats a token")]
    if metrics.get(BITS) is not None:
        found.append(Tile("last training bits per character", number(metrics[BITS], 3)))
    for name in _validated(metrics):
        before = f"before {metrics[f'{name}_before']:.3f} ({_change(metrics, name)})"
        found.append(Tile(_plain(name), number(metrics[name], 3), before))
    if "best_step" in metrics:
        found.append(Tile("saved step", number(metrics["best_step"]), "the best that held the gate"))
    return found


def _validated(metrics: Mapping[str, Any]) -> list[str]:
    return [name for name in metrics if f"{name}_before" in metrics and (BITS in name or name == "valid_loss")]


def _change(metrics: Mapping[str, Any], name: str) -> str:
    before = metrics[f"{name}_before"]
    return f"{metrics[name] / before - 1:+.1%}" if before else ""


def _before_and_after(metrics: Mapping[str, Any]) -> list[Html]:
    names = [name for name in metrics if f"{name}_before" in metrics]
    rows = [[_plain(name), metrics[f"{name}_before"], metrics[name], _change(metrics, name)] for name in names]
    columns: list[str | Column] = ["measure", Column("before", 4), Column("after", 4), "change"]
    return [page.table(columns, rows)] if rows else [page.note("There was no validation set.")]


def _plain(name: str) -> str:
    return (
        name.replace("bits_per_char", "bits per character").replace("bits_per_byte", "bits per byte").replace("_", " ")
    )


def _losses(records: Sequence[Record]) -> list[Html]:
    found = [
        chart.line_chart(_with_mean("loss", _points(records, "loss")), STEP, Axis("nats a token"), "Training loss")
    ]
    by_source = [name for name in _names(records) if name.startswith(f"{BITS}_") and "valid" not in name]
    lines = [Series(name.removeprefix(f"{BITS}_"), _points(records, name)) for name in by_source]
    if not lines:
        lines = _with_mean("all", _points(records, BITS))
    found.append(chart.line_chart(lines, STEP, Axis("bits per character"), "Training text, by source"))
    return [page.grid(*found)]


def _with_mean(name: str, points: Sequence[chart.Point]) -> list[Series]:
    """The points, and their running mean where there are many."""
    width = len(points) // SMOOTHED_OVER
    if width < 2:
        return [Series(name, points)]
    means = []
    for start in range(0, len(points), width):
        part = points[start : start + width]
        means.append((part[len(part) // 2][0], sum(value for _, value in part) / len(part)))
    return [Series(name, points), Series(f"mean of {width}", means)]


def _held_out(records: Sequence[Record], metrics: Mapping[str, Any]) -> list[Html]:
    names = [name for name in _validated(metrics) if any(name in record for record in records)]
    lines = []
    for name in names:
        first = (float(records[0]["step"]) - 1, float(metrics[f"{name}_before"]))
        lines.append(Series(_plain(name), [first, *_points(records, name)]))
    bits = [line for line in lines if "bits" in line.name]
    other = [line for line in lines if "bits" not in line.name]
    found = [chart.line_chart(bits, STEP, Axis("bits per character"), "Held-out text")] if bits else []
    found += [chart.line_chart(other, STEP, Axis("nats a token"), "Held-out chats")] if other else []
    return [page.grid(*found)] if found else []


def _gate(records: Sequence[Record], settings: Mapping[str, Any]) -> list[Html]:
    if settings.get("gate") is None:
        return []
    judged = [record for record in records if "gate_held" in record]
    broken = [record["step"] for record in judged if not record["gate_held"]]
    told = (
        f"broken at {len(broken)} of {len(judged)} validations, first at step {broken[0]:,}"
        if broken
        else "never broken"
    )
    return [page.paragraph(f"The gate {settings['gate']} was {told}.")]


def _steps(records: Sequence[Record]) -> list[Html]:
    charts = [
        chart.line_chart([Series("gradient norm", _points(records, "grad_norm"))], STEP, Axis("norm"), "Gradient norm"),
        chart.line_chart(
            [Series("rate", _points(records, "lr_share"))],
            STEP,
            Axis("share of the highest", from_zero=True),
            "Learning rate",
        ),
    ]
    if any("new_rows_norm" in record for record in records):
        norms = [Series("new rows", _points(records, "new_rows_norm"))]
        charts.append(chart.line_chart(norms, STEP, Axis("norm"), "Norm of the trained rows"))
    return [page.grid(*charts)]


def _points(records: Sequence[Record], name: str) -> list[chart.Point]:
    return [(float(r["step"]), float(r[name])) for r in records if r.get(name) is not None]


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))
