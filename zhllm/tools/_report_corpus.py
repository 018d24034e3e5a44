"""The parts of the build report on documents and on the vocabulary, drawn from the stages' own reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from zhllm import chart, page
from zhllm.bars import Bar, interval_bars
from zhllm.chart import Axis, Series
from zhllm.page import Column, Html, Tile, number, percent
from zhllm.tools._report_context import Report
from zhllm.tools._report_files import finite, json_of
from zhllm.tools._report_run import Step
from zhllm.tools._report_words import is_number

SHOWN_SENTENCES = 2
_COUNTED = ("collect", "train-vocab", "pack", "convert", "synth")


def corpus(report: Report) -> list[Html]:
    """What became of the documents: counts, reasons and lengths of each clean-up, and what was made of them."""
    parts: list[Html] = []
    for step in report.run.of("clean"):
        parts += [report.title(step), *_cleaned(report, step)]
    rows = [_counted(report, step) for step in report.run.of(*_COUNTED)]
    if rows:
        words = report.words
        parts.append(page.table([words("step"), words("metrics"), words("its_report")], rows))
    return parts


def _counted(report: Report, step: Step) -> list[str]:
    from zhllm.tools._report_words import key_figures

    return [step.name, key_figures(step.stage, step.metrics, report.words), report.own_report(step)]


def _cleaned(report: Report, step: Step) -> list[Html]:
    words, metrics = report.words, step.metrics
    tiles = []
    for name, chars, title in (
        ("docs_in", "chars_in", "documents_in"),
        ("train_docs", "train_chars", "train"),
        ("valid_docs", "valid_chars", "valid"),
        ("rejected_docs", "", "left_out"),
    ):
        if is_number(metrics.get(name)):
            count = metrics.get(chars)
            remark = words("documents_chars", chars=count) if is_number(count) else ""
            tiles.append(Tile(words(title), number(metrics[name]), remark))
    found = json_of(step, "report.json", report.faults)
    drawn = [_reasons(report, metrics.get("rejected") or found.get("rejected") or {})]
    if found:
        drawn += report.faults.tried(step, "report.json", lambda: [_lengths(report, found["lengths"])], [])
    return [page.tiles(tiles), page.grid(*drawn)] if tiles else [page.grid(*drawn)]


def _reasons(report: Report, rejected: Any) -> Html:
    words = report.words
    counted = {k: v for k, v in rejected.items() if is_number(v)} if isinstance(rejected, Mapping) else {}
    if not counted:
        return page.note(words("none_left_out"))
    bars = [(words.reason(name), n) for name, n in sorted(counted.items(), key=lambda pair: -pair[1])]
    return chart.bar_chart(bars, words("reasons"))


def _lengths(report: Report, lengths: Mapping[str, Any]) -> Html:
    words, kept = report.words, lengths["kept"]
    held = [n for n, count in enumerate(kept) if count]
    if not held:
        return Html("")
    edges = [float(edge) for edge in lengths["edges"][held[0] : held[-1] + 2]]
    along = Axis(words("length_axis"), log=True)
    return chart.binned(edges, kept[held[0] : held[-1] + 1], along, words("documents"), words("lengths_kept"))


def vocabulary(report: Report) -> list[Html]:
    """What the new pieces give: compression, coverage, and sentences before and after."""
    parts: list[Html] = []
    for step in report.run.of("extend-vocab"):
        found = json_of(step, "report.json", report.faults)
        parts += [report.title(step), *_compression(report, step, found)]
        parts += report.faults.tried(step, "report.json", partial(_cut, report, found), [])
    return parts


def _compression(report: Report, step: Step, found: Mapping[str, Any]) -> list[Html]:
    words, metrics = report.words, step.metrics
    before, after = finite(metrics, "chars_per_token_before"), finite(metrics, "chars_per_token_after")
    drawn: list[Html] = []
    if before is not None and after is not None:
        given = (found.get("text") or {}).get("given", True) if isinstance(found.get("text"), dict) else True
        text = words("held_out" if given else "sentences_text")
        bars = [
            Bar(words("before"), before, number(before, 3), colour=6),
            Bar(words("after"), after, number(after, 3)),
        ]
        drawn.append(interval_bars(bars, words("cpt_title", text=text), words("higher_better")))
    drawn += report.faults.tried(step, "report.json", lambda: _coverage(report, found), [])
    curve = report.faults.tried(step, "report.json", lambda: _curve(report, found), Html(""))
    parts = [page.grid(page.join(drawn), curve)] if drawn or curve else []
    proofs = metrics.get("proofs")
    if isinstance(proofs, dict) and proofs:
        count = sum(n for n in proofs.values() if is_number(n))
        parts.append(page.note(words("proofs", count=count, kinds=len(proofs))))
    return parts


def _curve(report: Report, found: Mapping[str, Any]) -> Html:
    words = report.words
    points = (found.get("curve") or {}).get("points")
    if not points:
        return Html("")
    series = [Series(words("chars_per_token"), [(float(n), float(v)) for n, v in points])]
    return chart.line_chart(series, Axis(words("pieces_axis")), Axis(words("chars_per_token")), words("curve_title"))


def _coverage(report: Report, found: Mapping[str, Any]) -> list[Html]:
    words, rows = report.words, found.get("coverage")
    if not rows:
        return []
    lines = [
        [_set(report, row["set"]), row["of"], *(percent(covered / row["of"]) for covered in row["covered"])]
        for row in rows
    ]
    columns: list[str | Column] = [words("set"), words("items"), words("before"), words("after")]
    return [page.table(columns, lines, words("coverage"))]


def _set(report: Report, name: str) -> str:
    from zhllm.tools._report_words import TEXTS

    return report.words(name) if name in TEXTS else name


def _sentences(report: Report, found: Mapping[str, Any]) -> Iterator[Html]:
    """The first sentences of the user's own text (else of the samples), cut by the base and by the new tokenizer."""
    every = found.get("sentences") or []
    own = [s for s in every if s["kind"] == "your text"] or every
    for sentence in own[:SHOWN_SENTENCES]:
        for side in ("before", "after"):
            cut = sentence[side]
            yield page.note(report.words(f"sentence_{side}", n=len(cut)))
            yield page.tokens(_tokens(cut), sentence["lang"])


def _cut(report: Report, found: Mapping[str, Any]) -> list[Html]:
    return list(_sentences(report, found))


def _tokens(cut: Sequence[Sequence[Any]]) -> Iterator[page.Token]:
    for text, index, is_new, is_bytes in cut:
        yield page.Token(text, f"id {index}", "byte" if is_bytes else "new" if is_new else "")
