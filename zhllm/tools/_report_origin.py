"""The parts of the build report on where everything comes from: lineage, settings, versions, what needs attention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zhllm import page
from zhllm.page import Html, Tile, escape, number
from zhllm.tools._report_context import Report
from zhllm.tools._report_run import DONE, WAITING, Source, Step
from zhllm.tools._report_words import size

DIGITS = 12  # of a digest: enough to tell two apart

STYLE = """\
.attention{border:1px solid var(--s2);border-left-width:4px;border-radius:.375rem;padding:.5rem .875rem;margin:1rem 0}
.attention ul{margin:.25rem 0;padding-left:1.25rem}
.attention li{overflow-wrap:anywhere}
.origin td{overflow-wrap:anywhere}
.origin code{font-size:.8125rem}
.origin tr:target{background:var(--card)}
@media(max-width:46rem){.origin table,.origin tbody,.origin tr,.origin td{display:block;border:0;padding:0}
.origin thead{display:none}.origin tr{border-bottom:1px solid var(--line);padding:.5rem 0}
.origin td:first-child{font-weight:600}}
"""


def attention(report: Report) -> Html:
    """A box with every remark on the run, its steps and its files; empty where there is none."""
    lines = [escape(report.told(remark)) for remark in report.run.remarks]
    for step in report.run.steps:
        told = [report.told(remark) for remark in step.remarks if remark.key != "behind"]
        if told:
            state = report.words("state_" + step.state)
            lines.append(Html(f"<b>{escape(step.name)}</b> ({escape(state)}): {escape('; '.join(told))}"))
    behind = [step.name for step in report.run.steps if {r.key for r in step.remarks} == {"behind"}]
    if behind:
        lines.append(escape(report.words("all_behind", steps=", ".join(behind))))
    for name, remark in report.faults.found:
        lines.append(escape(f"{name}: {report.told(remark)}" if name else report.told(remark)))
    if not lines:
        return Html("")
    items = "".join(f"<li>{line}</li>" for line in lines)
    title = escape(report.words("attention"))
    return Html(f'<div class="attention"><b>{title}</b><ul>{items}</ul></div>\n')


def lineage(report: Report) -> list[Html]:
    """A row for each step: what it was made from, each input with its digest then, and what it became."""
    words = report.words
    heads = (words("step"), words("made_from"), words("digest"), words("its_report"))
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(_row(report, step) for step in report.run.steps)
    table = Html(
        f'<div class="scroll origin" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )
    return [page.note(words("lineage_about")), table]


def _row(report: Report, step: Step) -> str:
    made_from = "<br>".join(_source(report, source) for source in step.sources) or "\u2013"
    digest = f'<code title="{step.digest}">{step.digest[:DIGITS]}</code>' if step.digest else "\u2013"
    return (
        f'<tr id="step-{escape(step.name)}"><td>{escape(step.name)}</td><td class="long">{made_from}</td>'
        f"<td>{digest}</td><td>{report.own_report(step)}</td></tr>\n"
    )


def _source(report: Report, source: Source) -> str:
    name = f"{source.step}/{source.file}" if source.file else source.step or _shown(source.path)
    where = f'<a href="#step-{escape(source.step)}">{escape(name)}</a>' if source.step else escape(name)
    state = "" if source.state == "same" else f" \u00b7 {escape(report.words('src_' + source.state))}"
    digest = escape(source.digest[:DIGITS])
    return (
        f'<small>{escape(source.setting)}</small> {where} <code title="{escape(source.digest)}">{digest}</code>{state}'
    )


def _shown(path: str) -> str:
    """A path from outside; of a long one the end: whose home it was is nobody's business."""
    parts = Path(path).parts
    return path or "?" if len(parts) <= 3 and not Path(path).is_absolute() else "/".join(("\u2026", *parts[-2:]))


def environment(report: Report) -> list[Html]:
    """Where and when it was made, with which versions; the settings of every step to be opened."""
    words, run = report.words, report.run
    made = [step.made for step in run.steps if step.made is not None]
    machines = dict.fromkeys(str(m.made_by.get("machine", "?")) for m in made)
    finished = run.finished
    tiles = [
        Tile(words("time"), words.duration(run.seconds)),
        Tile(words("size"), size(run.size_bytes)),
        Tile(words("machine"), ", ".join(machines) or "\u2013"),
        Tile(words("finished"), finished.strftime("%Y-%m-%d %H:%M") if finished else "\u2013"),
    ]
    found: dict[str, dict[str, None]] = {}
    for one in made:
        versions = one.made_by.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(str(name), {})[str(version)] = None
    rows = [[name, _versions(report, list(versions))] for name, versions in found.items()]
    if run.recipe:
        rows.append([words("recipe"), _shown(run.recipe)])
    parts = [page.tiles(tiles), page.table([words("package"), words("version")], rows)]
    return [*parts, page.details(words("settings"), *_settings(report))]


def _versions(report: Report, versions: list[str]) -> str:
    return versions[0] if len(versions) == 1 else report.words("by_steps", versions=", ".join(versions))


def _settings(report: Report) -> Iterator[Html]:
    for step in report.run.steps:
        rows = [[name, _written(value)] for name, value in step.config.items() if value not in (None, [], {})]
        if rows:
            yield page.heading(f"{step.name} ({step.stage})")
            yield page.table([report.words("settings").split(" ")[0], report.words("value")], rows)


def _written(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return number(value) if isinstance(value, float) else str(value)


def lead(report: Report) -> str:
    """How far the run is, in a sentence."""
    steps = report.run.steps
    done = sum(step.state == DONE for step in steps)
    key = "lead_done" if done == len(steps) else "lead_part"
    waiting = sum(step.state == WAITING for step in steps)
    told = report.words(key, count=len(steps), done=done)
    return told if not waiting else f"{told} {report.words('state_waiting')}{report.words.colon}{waiting}"
