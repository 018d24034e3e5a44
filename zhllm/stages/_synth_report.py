"""The report of a synth: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm import page
from zhllm.page import Html, Page, Tile, percent

if TYPE_CHECKING:
    from zhllm.stage import Metrics
    from zhllm.stages._synth_config import SynthConfig
    from zhllm.stages._synth_make import Tally

SOURCES_SHOWN = 50


def write_report(out: Path, tally: Tally, config: SynthConfig) -> Metrics:
    """Write report.json and report.html; returns the stage's metrics."""
    metrics = _metrics(tally, out)
    found = {
        "by": "rules" if config.offline else f"{config.model}",
        "style": config.style,
        "metrics": metrics,
        "kinds": dict(tally.kinds.most_common()),
        "rules": dict(tally.rules.most_common()),
        "rejected": dict(tally.reasons.most_common()),
        "sources": dict(tally.sources.most_common()),
        "samples": {rule: tally.samples[rule] for rule, _ in tally.rules.most_common()},
        "rejected_samples": {reason: tally.refused[reason] for reason, _ in tally.reasons.most_common()},
    }
    (out / "report.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(html_of(found), encoding="utf-8")
    return metrics


def _metrics(tally: Tally, out: Path) -> Metrics:
    names = ("documents", "pairs_found", "pairs", "rejected_pairs", "chats", "closed-book_chats", "grounded_chats")
    metrics: Metrics = {name.replace("-", "_"): tally.counts[name] for name in names}
    metrics["closed_book_left_out"] = tally.counts["closed_book_left_out"]
    metrics |= {f"{kind}_pairs": count for kind, count in sorted(tally.kinds.items())}
    answers = out / "answers.jsonl"
    if answers.is_file():
        lines = [json.loads(line) for line in answers.open(encoding="utf-8")]
        metrics["requests"] = len(lines)
        metrics["refused_requests"] = sum(bool(line["error"]) for line in lines)
        metrics["cut_off_answers"] = sum(line["finish"] == "length" for line in lines)
        metrics["prompt_tokens"] = sum(line["prompt_tokens"] for line in lines)
        metrics["completion_tokens"] = sum(line["completion_tokens"] for line in lines)
    return metrics


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    metrics = found["metrics"]
    lead = (
        f"{metrics['chats']:,} chats of {metrics['pairs']:,} question-answer pairs from {metrics['documents']:,} "
        f"documents, by {found['by']}."
    )
    shown = Page("Report of synth", lead)
    tiles = [
        Tile("pairs kept", page.number(metrics["pairs"]), f"of {metrics['pairs_found']:,} found"),
        Tile("chats", page.number(metrics["chats"]), found["style"]),
        Tile("rejected", percent(metrics["rejected_pairs"] / max(metrics["pairs_found"], 1)), "listed with reasons"),
    ]
    if "requests" in metrics:
        tiles.append(Tile("requests", page.number(metrics["requests"]), f"{metrics['refused_requests']:,} refused"))
        tiles.append(Tile("tokens written", page.number(metrics["completion_tokens"]), "as the endpoint counts"))
    shown.section("What became of it", page.tiles(tiles), page.grid(_counts("kind", found["kinds"]), _rules(found)))
    shown.section("Rejected", _counts("reason", found["rejected"]), *_samples(found["rejected_samples"]))
    shown.section("Samples", *_samples(found["samples"]))
    sources = dict(list(found["sources"].items())[:SOURCES_SHOWN])
    left = len(found["sources"]) - len(sources)
    note = [page.note(f"{left:,} more in report.json.")] if left else []
    shown.section("By source", _counts("source", sources), *note)
    return shown.html()


def _counts(name: str, counts: Mapping[str, int]) -> Html:
    return page.table([name, "pairs"], list(counts.items()))


def _rules(found: Mapping[str, Any]) -> Html:
    return _counts("rule", found["rules"])


def _samples(samples: Mapping[str, list[dict[str, str]]]) -> list[Html]:
    return [
        page.details(name, page.table(["question", "answer", "source"], [_row(one) for one in held]))
        for name, held in samples.items()
        if held
    ]


def _row(one: Mapping[str, str]) -> list[str]:
    return [one["question"] or "–", one["answer"][:600] or "–", one["source"]]
