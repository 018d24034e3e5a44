"""The build report as one page: the whole of a run folder for people who were not there."""

from __future__ import annotations

import os
from pathlib import Path

from zhllm import bars, page
from zhllm.errors import ConfigError
from zhllm.page import Html, Page, Tile, number, percent
from zhllm.tools import (
    _report_corpus,
    _report_line,
    _report_origin,
    _report_results,
    _report_training,
)
from zhllm.tools._report_context import Report
from zhllm.tools._report_files import Faults, finite, json_of
from zhllm.tools._report_run import Run
from zhllm.tools._report_scores import ROLES, Group, groups_of, main_groups
from zhllm.tools._report_words import Words, size

FILE = "index.html"
SHOWN_MEASURES = 4
_THREE = ("training", "corpus")  # sections whose charts stand in threes where there is room
_STYLE = (
    "main{max-width:66rem}.grid>div{min-width:0}\n"
    ".three .grid{grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr))}\n"
    + _report_line.STYLE
    + bars.STYLE
    + _report_results.STYLE
    + _report_origin.STYLE
)


def write_report(run: Run, lang: str | None = None, out: Path | None = None) -> Path:
    """Write the page of a run and return its path; the file is replaced whole or not at all."""
    path = out or run.folder / FILE
    if path.is_dir():
        raise ConfigError(f"--out {path}: is a folder. Give the file to write, e.g. {path / FILE}.")
    text = html_of(run, lang or run.lang, path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"--out {path}: cannot be written ({error.strerror}). Choose another file.") from error
    return path


def html_of(run: Run, lang: str, home: Path) -> str:
    """The page of a run in a language, for a file in the folder `home`."""
    report = Report(run, Words(lang), Faults(), home)
    words = report.words
    sections: list[tuple[str, list[Html]]] = [
        ("line", [_report_line.picture(run, words), page.note(words("line_note"))]),
        ("scores", _report_results.scores(report)),
        ("answers", _report_results.answers(report)),
        ("vocabulary", _report_corpus.vocabulary(report)),
        ("corpus", _report_corpus.corpus(report)),
        ("training", _report_training.training(report)),
        ("export", _report_training.export(report)),
        ("lineage", _report_origin.lineage(report)),
        ("environment", _report_origin.environment(report)),
    ]
    name = run.folder.resolve().name
    shown = Page(words("title", name=name), f"{run.about} {_report_origin.lead(report)}".strip(), words.lang, _STYLE)
    tiles = _tiles(report)
    # Last: by now every file has been looked at.
    shown.section(words("in_short"), page.tiles(tiles), _report_origin.attention(report), page.note(words("private")))
    for key, parts in sections:
        if parts:
            shown.section(
                words(key), Html(f'<div class="three">{page.join(parts)}</div>') if key in _THREE else page.join(parts)
            )
    return shown.html()


def _tiles(report: Report) -> list[Tile]:
    """The few figures a build is judged by."""
    words = report.words
    tiles = [*_compression(report)]
    groups = [g for g in main_groups(groups_of(report.run)[0]) if len(g.rows) > 1]
    tiles += [_measure(report, group) for group in groups[:SHOWN_MEASURES]]
    for step in report.run.of("export")[-1:]:
        types = _report_training.types_of(json_of(step, "report.json", report.faults))
        if types:
            kind, held, kl = _report_training.best_file(types)
            remark = words("kl_is", value=kl) if kl else ""
            tiles.append(Tile(words("smallest_file", kind=kind), held, remark))
    tiles.append(
        Tile(
            words("time"),
            words.duration(report.run.seconds),
            f"{words('size')}{words.colon}{size(report.run.size_bytes)}",
        )
    )
    return tiles


def _compression(report: Report) -> list[Tile]:
    for step in report.run.of("extend-vocab")[-1:]:
        before, after = (finite(step.metrics, f"chars_per_token_{side}") for side in ("before", "after"))
        if before and after:
            change = percent(after / before - 1, 0, signed=True)
            remark = report.words("from_before", value=number(before, 2), change=change)
            return [Tile(report.words("chars_per_token"), number(after, 2), remark)]
    return []


def _measure(report: Report, group: Group) -> Tile:
    """The tuned model's score, from the base's."""
    words = report.words
    base = next((row for row in group.rows if row.role == ROLES[0]), group.rows[0])
    best = next((row for row in group.rows if row.role == ROLES[1]), group.rows[-1])
    was, now = base.score, best.score
    written = _report_results.written
    if now.is_share:
        change = f"{100 * (now.value - was.value):+.1f}"
    else:
        change = percent(now.value / was.value - 1, 0, signed=True) if was.value else "\u2013"
    remark = words("from_before", value=written(was, was.value), change=change)
    if now.mark:
        remark = f"{words(now.mark)}{words.comma}{remark}"
    return Tile(f"{words.metric(group.metric)} \u00b7 {group.data}", written(now, now.value), remark)
