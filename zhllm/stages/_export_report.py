"""The page of an export: how large each file is, and what it costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zhllm import chart, page
from zhllm.chart import Axis
from zhllm.page import Column, Html, Page, Tile, percent

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
    return Tile(kind, f"{row['bytes'] / 1e6:,.1f} MB", f"bits per character {_change(row)}")


def _charts(types: Mapping[str, Row]) -> list[Html]:
    size = Axis("bits a weight", log=True)
    same = [kind for kind, row in types.items() if row["kl_mean"] < _NO_DIVERGENCE]
    charts = []
    for title, axis, field, left_out in (
        ("Divergence from the source", Axis("mean KL in nats", log=True), "kl_mean", same),
        ("Same likeliest token", Axis("share of tokens"), "top1_agreement", []),
    ):
        dots = [(kind, row["bits_per_weight"], row[field]) for kind, row in types.items() if kind not in left_out]
        charts.append(chart.scatter(dots, size, axis, title))
    told = page.note(f"Without divergence, so not in the first chart: {', '.join(same)}.")
    return [page.grid(*charts), *[told] * bool(same)]


# Nats that are rounding of the comparison itself.
_NO_DIVERGENCE = 1e-8


def _tables(report: Mapping[str, Any], types: Mapping[str, Row]) -> list[Html]:
    columns: list[str | Column] = [
        "type", Column("MB", 1), Column("bits/weight", 2), Column("KL mean", 5), Column("KL 99 %", 4),
        Column("KL max", 3), "top-1", Column("bits/char", 4), "change", Column("RMS Δp", 4),
    ]  # fmt: skip
    rows: list[list[page.Cell]] = [
        ["source", None, None, 0.0, 0.0, 0.0, percent(1), report["source"]["bits_per_char"], "–", 0.0]
    ]
    chosen = not all(row["kept"] for row in types.values())
    for kind, row in types.items():
        name = f"{kind}, kept" if chosen and row["kept"] else kind
        rows.append(
            [name, row["bytes"] / 1e6, row["bits_per_weight"], *(_nil(row[f"kl_{n}"]) for n in ("mean", "p99", "max")),
             percent(row["top1_agreement"]), row["bits_per_char"], _change(row), _nil(row["rms_delta_p"])]
        )  # fmt: skip
    return [
        page.table(columns, rows),
        page.note(
            "KL: how much information of the source's next-token probabilities is lost, per token. RMS Δp: how far the "
            "probability of the token that really follows moves. Bits per character: lower is better."
        ),
    ]


def _nil(value: float) -> float:
    """The value, rounding of the comparison itself as zero."""
    return 0.0 if value < _NO_DIVERGENCE else value


def _change(row: Row) -> str:
    """The change of bits per character to a hundredth of a per cent."""
    return percent(round(row["bpc_increase"], 4), 2, True)


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
