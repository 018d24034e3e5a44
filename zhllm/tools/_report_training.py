"""The parts of the build report on training runs and on exported files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zhllm import chart, page
from zhllm.chart import Axis, Point, Series
from zhllm.page import Column, Html, number, percent
from zhllm.tools import _report_words
from zhllm.tools._report_context import Report
from zhllm.tools._report_files import finite, json_of, jsonl_of, points_of
from zhllm.tools._report_run import Step

TRAINED = ("pretrain", "sft", "reward", "align")
RECORDS = "metrics.jsonl"
BITS = "bits_per_char"
PLACES = ("valid_", "retained_", "")  # where validation sets stand in the names of their numbers
SMOOTHED_OVER = 40  # points of the smoothed line

Records = list[dict[str, Any]]


def training(report: Report) -> list[Html]:
    """The curves of every run that trained, a line on its gate, and those of an unfinished run."""
    from zhllm import manifest

    parts: list[Html] = []
    for step in report.run.steps:
        if step.stage not in TRAINED:
            continue
        folder = step.folder if step.made is not None else manifest.partial_of(step.folder)
        records = jsonl_of(folder, RECORDS, step.name, report.faults)
        if records:
            parts += [report.title(step), _about(report, step), page.grid(*_curves(report, step, records))]
            parts += _gate(report, step, records)
    return parts


def _about(report: Report, step: Step) -> Html:
    found, words = step.metrics, report.words
    names = {"steps": "steps", "tokens": "learnt_tokens", "parameters": "trainable_parameters"}
    values = {place: finite(found, name) for place, name in names.items()}
    if None in values.values():
        return page.note(words("state_" + step.state))
    return page.note(words("train_about", **{k: int(v) for k, v in values.items() if v is not None}))


def _curves(report: Report, step: Step, records: Records) -> list[Html]:
    words, along = report.words, Axis(report.words("step_axis"))
    lines = {name: _points(report, step, records, name) for name in dict.fromkeys(n for r in records for n in r)}
    lines = {name: points for name, points in lines.items() if points}
    bits = _smoothed(report, lines[BITS]) if BITS in lines else []
    losses = _smoothed(report, lines["loss"]) if "loss" in lines and not bits else []
    for name, points in lines.items():
        before = finite(step.metrics, f"{name}_before")
        start = [(0.0, before)] if before is not None and points[0][0] > 0 else []
        if name.startswith(f"{BITS}_") and (before is not None or "_valid" in name):
            bits.append(Series(_set_name(report, name), [*start, *points]))
        elif name == "valid_loss":
            losses.append(Series(words("valid_loss"), [*start, *points]))
    bits += _limit(report, step, lines) if bits else []
    drawn = []
    if bits:
        drawn.append(chart.line_chart(bits, along, Axis(words("bits_axis")), words("curves")))
    if losses:
        drawn.append(chart.line_chart(losses, along, Axis(words("nats_axis")), words("losses")))
    peak = finite(step.config, "learning_rate")
    if "lr_share" in lines and peak is not None:
        rates = [Series(words("rate_axis"), [(at, share * peak) for at, share in lines["lr_share"]])]
        drawn.append(chart.line_chart(rates, along, Axis(words("rate_axis"), from_zero=True), words("rates")))
    return drawn


def _limit(report: Report, step: Step, lines: Mapping[str, list[Point]]) -> list[Series]:
    """The height over which a retained set breaks the gate, where the run has one and measured that set before."""
    from zhllm.errors import ConfigError
    from zhllm.train.gate import parse_gate

    try:
        name, share = parse_gate(str(step.config.get("gate") or ""))
    except ConfigError:
        return []
    places = (f"{BITS}_{place}{name.replace('-', '_')}" for place in PLACES)
    before = next((v for key in places if (v := finite(step.metrics, f"{key}_before")) is not None), None)
    if before is None:
        return []
    ends = (0.0, max(points[-1][0] for points in lines.values()))
    return [Series(report.words("gate_line", gate=step.config["gate"]), [(at, before * (1 + share)) for at in ends])]


def _points(report: Report, step: Step, records: Records, name: str) -> list[Point]:
    points, lost = points_of(records, name) if name != "step" else ([], 0)
    if lost and any(key in name for key in ("loss", BITS)):
        report.faults.add(step.name, "not_numbers", file=f"{step.name}/{RECORDS}: {name}", count=lost)
    return points


def _set_name(report: Report, name: str) -> str:
    """The name of a validation set: of "bits_per_char_valid_replay" it is "validation, replay"."""
    rest = name.removeprefix(f"{BITS}_").removeprefix("valid").strip("_").replace("_", " ")
    return report.words("valid_loss") + (f"{report.words.comma}{rest}" if rest else "")


def _smoothed(report: Report, points: list[Point]) -> list[Series]:
    """A noisy line as its running mean."""
    width = max(1, len(points) // SMOOTHED_OVER)
    if width == 1:
        return [Series(report.words("train_loss"), points)]
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    means = [(part[len(part) // 2][0], sum(value for _, value in part) / len(part)) for part in parts]
    return [Series(report.words("smoothed", n=width), means)]


def _gate(report: Report, step: Step, records: Records) -> list[Html]:
    gate, judged = step.config.get("gate"), [record for record in records if "gate_held" in record]
    if gate is None or not judged:
        return []
    broken = [record.get("step") for record in judged if not record["gate_held"]]
    if not broken:
        return [page.note(report.words("gate_held", gate=gate, count=len(judged)))]
    best = step.metrics.get("best_step", "\u2013")
    return [
        page.note(
            report.words("gate_broken", gate=gate, broken=len(broken), count=len(judged), first=broken[0], best=best)
        )
    ]


def types_of(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of an export's report.json by type, of this version or of an older one."""
    held = found.get("types", found)
    if not isinstance(held, dict):
        return {}
    return {str(kind): row for kind, row in held.items() if isinstance(row, dict) and finite(row, "bytes") is not None}


def export(report: Report) -> list[Html]:
    """Of every export: sizes against what was lost, and a table of the files."""
    parts: list[Html] = []
    for step in report.run.of("export"):
        types = types_of(json_of(step, "report.json", report.faults))
        if types:
            parts += [report.title(step), *_sizes(report, types), _table(report, types)]
    return parts


def _sizes(report: Report, types: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    words = report.words
    drawn = []
    for field, title, axis in (
        ("kl_mean", "size_kl", Axis(words("kl_axis"), log=True)),
        ("bits_per_char", "size_bpc", Axis(words("bits_axis"))),
    ):
        series = [
            (kind, row["bytes"] / 1e6, value)
            for kind, row in types.items()
            if (value := finite(row, field)) is not None and (value > 0 or not axis.log)
        ]
        if series:
            drawn.append(chart.scatter(series, Axis(words("size_axis"), from_zero=True), axis, words(title)))
    return [page.grid(*drawn), page.note(words("export_about"))] if drawn else []


def _table(report: Report, types: Mapping[str, Mapping[str, Any]]) -> Html:
    words = report.words
    columns: list[str | Column] = [
        words("kind"), words("file_size"), Column(words("bits_weight"), 2), Column(words("kl"), 6),
        Column(words("kl_99"), 5), words("top1"), Column(words("bpc"), 4), words("change"),
    ]  # fmt: skip
    rows: list[list[page.Cell]] = []
    for kind, row in types.items():
        top, change = finite(row, "top1_agreement"), finite(row, "bpc_increase")
        rows.append([
            kind, _report_words.size(row["bytes"]), finite(row, "bits_per_weight"), finite(row, "kl_mean"),
            finite(row, "kl_p99"), "\u2013" if top is None else percent(top), finite(row, "bits_per_char"),
            "\u2013" if change is None else percent(change, 2, signed=True),
        ])  # fmt: skip
    shown = [n for n, _ in enumerate(columns) if any(row[n] not in (None, "\u2013") for row in rows)]
    return page.table([columns[n] for n in shown], [[row[n] for n in shown] for row in rows])


def best_file(types: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    """(type, size, KL as written) of the smallest file of an export."""
    kind = min(types, key=lambda name: types[name]["bytes"])
    kl = finite(types[kind], "kl_mean")
    return kind, _report_words.size(types[kind]["bytes"]), "" if kl is None else number(kl)
