"""The report of a pack: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm import chart, page
from zhllm.page import Column, Html, Page, Tile, percent

if TYPE_CHECKING:
    from zhllm.stage import Metrics
    from zhllm.train.pack.info import PackInfo
    from zhllm.train.pack.writer import Taken


def write_report(out: Path, info: PackInfo, taken: Mapping[str, Mapping[str, Taken]], metrics: Metrics) -> None:
    """Write report.json and report.html."""
    found = report_of(info, taken, metrics)
    (out / "report.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(html_of(found), encoding="utf-8")


def report_of(info: PackInfo, taken: Mapping[str, Mapping[str, Taken]], metrics: Metrics) -> dict[str, Any]:
    """Everything the report says, as report.json holds it."""
    from dataclasses import asdict

    sets = {
        name: {
            source: {
                **{what: asdict(getattr(one, what)) for what in ("available", "written", "left_out", "repeated")},
                "lengths": one.lengths.tolist(),
            }
            for source, one in sources.items()
        }
        for name, sources in taken.items()
    }
    return {"seq_len": info.seq_len, "vocab_size": info.vocab_size, "metrics": metrics, "sets": sets}


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    metrics, train = found["metrics"], found["sets"]["train"]
    lead = (
        f"{metrics['train_tokens']:,} training tokens of {metrics['train_docs']:,} documents in rows of "
        f"{found['seq_len']:,}; the vocabulary has {found['vocab_size']:,} ids."
    )
    shown = Page("Packing report", lead)
    shown.section("What became of it", page.tiles(_tiles(metrics)))
    shown.section("By source", *_sources(found["sets"]))
    shown.section("Lengths of training documents", *(_lengths(name, one["lengths"]) for name, one in train.items()))
    return shown.html()


def _tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    efficiency = percent(metrics["packing_efficiency"], 2)
    left_out, repeated = metrics["left_out_tokens"], metrics["repeated_tokens"]
    return [
        Tile("Training tokens", f"{metrics['train_tokens']:,}", "with BOS and end tokens"),
        Tile("Rows", f"{metrics['rows']:,}", "the last may be partly padding"),
        Tile("Packing efficiency", efficiency, "labels that are learnt, of all places in rows"),
        Tile("Characters per token", f"{metrics['chars_per_token']:.3f}", "of the training set"),
        Tile("Left out", f"{left_out:,}", f"tokens of {metrics['left_out_docs']:,} documents, for the shares"),
        Tile("Read again", f"{repeated:,}", f"tokens of {metrics['repeated_docs']:,} documents, for the shares"),
        Tile("Empty documents", f"{metrics['empty_docs']:,}", "left out: they have no text"),
        Tile("Unknown tokens", f"{metrics['unknown_tokens']:,}", "for text that the tokenizer cannot hold"),
    ]


def _sources(sets: Mapping[str, Any]) -> list[Html]:
    train = sets["train"]
    total = sum(one["written"]["tokens"] for one in train.values())
    rows = [
        [name, source, *(one["written"][key] for key in ("docs", "tokens", "chars", "bytes")),
         one["left_out"]["tokens"], one["repeated"]["tokens"], _ratio(one, "chars"), _ratio(one, "bytes")]
        for name, sources in sets.items()
        for source, one in sources.items()
    ]  # fmt: skip
    columns = ["set", "source", "documents", "tokens", "characters", "bytes", "tokens left out", "tokens read again"]
    tokens = [
        (f"{source} ({percent(one['written']['tokens'] / total)})", one["written"]["tokens"])
        for source, one in train.items()
    ]
    ratios = [(source, one["available"]["chars"] / one["available"]["tokens"]) for source, one in train.items()]
    return [
        page.grid(
            chart.bar_chart(tokens, "Training tokens by source"),
            chart.bar_chart(ratios, "Characters per token by source", digits=3),
        ),
        page.table([*columns, Column("characters a token", 3), Column("bytes a token", 3)], rows),
    ]


def _ratio(one: Mapping[str, Any], what: str) -> float | None:
    written = one["written"]
    return written[what] / written["tokens"] if written["tokens"] else None


def _lengths(name: str, lengths: list[int]) -> Html:
    held = [n for n, count in enumerate(lengths) if count]
    first, last = (held[0], held[-1]) if held else (0, 0)
    edges = [1 << n for n in range(first, last + 2)]
    along = chart.Axis("tokens in a document (log scale)", log=True)
    return chart.binned(edges, lengths[first : last + 1], along, "documents", name)
