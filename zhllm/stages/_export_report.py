"""The page of an export: how large each file is, and what it costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zhllm import chart, page
from zhllm.chart import Axis, Series
from zhllm.page import Column, Html, Page, Tile, number, percent

Row = Mapping[str, Any]


def html_of(name: str, report: Mapping[str, Any]) -> str:
    """The page of one export's report."""
    types: Mapping[str, Row] = report["types"]
    sample = report["sample"]
    whose = "your text" if sample["own_text"] else "a fixed probe of a few lines (give --text for your own)"
    shown = Page(
        f"Export: {name}",
        f"Measured on {sample['tokens']:,} tokens of {whose}, each window of text against the source model in float32.",
    )
    shown.section("In short", page.tiles([_tile(kind, types[kind]) for kind in report["kept"]]))
    shown.section("Size against quality", *_charts(types))
    shown.section("Every type", *_tables(report, types))
    shown.section("How it was made", page.table(["what", "value"], _facts(report)))
    return shown.html()


def _tile(kind: str, row: Row) -> Tile:
    return Tile(kind, f"{row['bytes'] / 1e6:,.1f} MB", f"bits per character {percent(row['bpc_increase'], 2, True)}")


def _charts(types: Mapping[str, Row]) -> list[Html]:
    size = Axis("bits a weight", from_zero=True)
    charts = []
    for title, axis, field in (
        ("Divergence from the source", Axis("mean KL in nats", log=True), "kl_mean"),
        ("Same likeliest token", Axis("share of tokens"), "top1_agreement"),
    ):
        series = [Series(kind, [(row["bits_per_weight"], row[field])]) for kind, row in types.items()]
        charts.append(chart.line_chart(series, size, axis, title))
    return [page.grid(*charts)]


def _tables(report: Mapping[str, Any], types: Mapping[str, Row]) -> list[Html]:
    columns: list[str | Column] = [
        "type", "MB", Column("bits a weight", 2), Column("KL mean", 5), Column("KL 99 %", 4), Column("KL max", 3),
        "top-1", Column("bits per character", 4), "change", Column("RMS Δp", 4), "kept",
    ]  # fmt: skip
    rows: list[list[page.Cell]] = [
        ["source", None, None, 0.0, 0.0, 0.0, percent(1), report["source"]["bits_per_char"], "–", 0.0, ""]
    ]
    for kind, row in types.items():
        rows.append(
            [kind, number(row["bytes"] / 1e6, 1), row["bits_per_weight"], row["kl_mean"], row["kl_p99"], row["kl_max"],
             percent(row["top1_agreement"]), row["bits_per_char"], percent(row["bpc_increase"], 2, True),
             row["rms_delta_p"], "yes" if row["kept"] else "no"]
        )  # fmt: skip
    return [
        page.table(columns, rows),
        page.note(
            "KL: how much information of the source's next-token probabilities is lost, per token. RMS Δp: how far the "
            "probability of the token that really follows moves. Bits per character: lower is better."
        ),
    ]


def _facts(report: Mapping[str, Any]) -> list[list[page.Cell]]:
    sample = report["sample"]
    theirs = "llama.cpp's (ggml_quantize_chunk)"
    whose = {"own": "zhllm's own", "llama.cpp": theirs, "auto": f"{theirs}, for Q8_0 zhllm's own"}
    return [
        ["quantiser", whose[report["quantizer"]]],
        ["importance matrix", "yes" if report["importance_matrix"] else "no"],
        ["context", f"{report['context_tokens']:,} tokens"],
        ["text", f"{sample['chars']:,} characters, {sample['tokens']:,} tokens, {sample['windows']:,} windows"],
    ]
