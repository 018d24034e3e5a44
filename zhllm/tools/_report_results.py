"""The parts of the build report on what the models can do: scores with intervals, and answers side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zhllm import page
from zhllm.bars import Bar, interval_bars
from zhllm.page import Html, escape, number, percent
from zhllm.tools._report_context import Report
from zhllm.tools._report_files import jsonl_of
from zhllm.tools._report_run import Step
from zhllm.tools._report_scores import ROLES, Group, Row, Score, data_of, groups_of, main_groups, model_of, parts_of

SHOWN_ANSWERS = 9
ANSWERS = "answers.jsonl"
_MAX_REPLY = 160  # characters of a reply that are shown
_PLAIN_TASKS = ("bits", "questions", "choice")  # their measures say what they are

STYLE = """\
.cards{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));margin:.75rem 0}
.asked{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.625rem .875rem;
break-inside:avoid}
.asked>p{margin:0 0 .375rem;max-width:none}
.asked dl{margin:0;display:grid;grid-template-columns:minmax(5rem,max-content) minmax(0,1fr);gap:.25rem .875rem;
font-size:.9375rem}
.asked dt{color:var(--soft);font-size:.8125rem;line-height:1.85;max-width:12rem;overflow-wrap:anywhere}
.asked dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
.asked .ok::before,.asked .no::before{display:inline-block;width:1.25em;font-weight:700}
.asked .ok::before{content:"\\2713";color:var(--s3)}
.asked .no::before{content:"\\2717";color:var(--s2)}
@media(max-width:30rem){.asked dl{grid-template-columns:minmax(0,1fr)}.asked dt{margin-top:.25rem;max-width:none}}
"""


def scores(report: Report) -> list[Html]:
    """Every measure of every data set with its interval, all models below each other; subjects in tables."""
    words = report.words
    groups, unread = groups_of(report.run)
    for step, error in unread:
        report.faults.add(step.name, "unreadable", file=f"{step.name}/scores.json", error=error)
    drawn = [_bars(report, group) for group in main_groups(groups)]
    parts = [page.grid(*drawn), page.note(words("whiskers"))] if drawn else []
    for step in report.run.of("evaluate"):
        rows = [[words.metric(s.task), *_of_part(report, step, role, s)] for role, s in parts_of(step)]
        columns = [words("measure"), words("set"), words("model"), words("measure"), words("value"),
                   words("interval_head"), words("items"), ""]  # fmt: skip
        if rows:
            parts.append(page.details(f"{words('per_part')}{words.colon}{step.name}", page.table(columns, rows)))
    return parts


def _of_part(report: Report, step: Step, role: str, score: Score) -> list[page.Cell]:
    near = report.words(score.mark) if score.mark else ""
    name = model_of(step, role)
    return [
        " / ".join(score.part), name, report.words.metric(score.metric), written(score, score.value),
        interval(score), score.n, near,
    ]  # fmt: skip


def _bars(report: Report, group: Group) -> Html:
    words, first = report.words, group.rows[0].score
    better = words("lower_better" if first.lower_is_better else "higher_better")
    counts = {row.score.n for row in group.rows if row.score.n}
    items = words("of_items", n=counts.pop()) + words.comma if len(counts) == 1 else ""
    bars = [_bar(report, row, place, len(group.rows)) for place, row in enumerate(group.rows)]
    named = "" if group.task in _PLAIN_TASKS else f" \u00b7 {words.metric(group.task)}"
    title = f"{words.metric(group.metric)}{named} \u00b7 {group.data}"
    drawn = interval_bars(bars, title, f"{items}{better}", 1.0 if first.is_share else None)
    return page.join([drawn, _paired(report, group)])


def _paired(report: Report, group: Group) -> Html:
    """The difference item by item, in words."""
    found = group.difference
    if found is None or len(group.rows) < 2:
        return Html("")
    scale, digits = (100, 1) if group.rows[0].score.is_share else (1, 3)
    told = {key: f"{scale * value:+,.{digits}f}".replace("-", "\u2212") for key, value in found.items()}
    told["value"] += report.words("points") if digits == 1 else ""
    if "low" not in found or "high" not in found:
        return page.note(report.words("paired_alone", value=told["value"]))
    mark = "" if found["low"] > 0 or found["high"] < 0 else report.words("unclear")
    return page.note(report.words("paired", **told, mark=mark))


def _bar(report: Report, row: Row, place: int, count: int) -> Bar:
    score = row.score
    colour = 6 if row.role == ROLES[0] else 1 + (place - 1) % 5 if count > 1 else 1
    return Bar(
        row.model,
        score.value,
        written(score, score.value),
        score.low,
        score.high,
        score.baseline,
        report.words(score.mark) if score.mark else "",
        colour,
        f"{row.step}: {interval(score)}",
        report.words("base") if row.role == ROLES[0] else "",
    )


def written(score: Score, value: float) -> str:
    """A score in percent where it is a share."""
    if score.is_share:
        return percent(value)
    return number(int(value)) if value.is_integer() and abs(value) >= 1000 else number(value, 3)


def interval(score: Score) -> str:
    """The ends of a score's interval, or a dash."""
    if score.low is None or score.high is None:
        return "\u2013"
    return f"{written(score, score.low)} \u2013 {written(score, score.high)}"


@dataclass
class Asked:
    """A question and what every model answered: model -> (reply, right or None)."""

    question: str
    expected: str
    replies: dict[str, tuple[str, bool | None]] = field(default_factory=dict)


def answers(report: Report) -> list[Html]:
    """Questions that several models were asked, the most telling first; and those of the run's end."""
    parts: list[Html] = []
    for data, steps in _by_data(report).items():
        asked: dict[str, Asked] = {}
        for step in steps:
            _collect(report, step, asked)
        if asked:
            links = [report.link(s.folder / ANSWERS, f"{s.name}/{ANSWERS}") for s in steps]
            parts += [page.heading(data[0]), *_chosen(report, asked, links)]
    return [*parts, *_at_the_end(report)]


def _by_data(report: Report) -> dict[tuple[str, ...], list[Step]]:
    found: dict[tuple[str, ...], list[Step]] = {}
    for step in report.run.of("evaluate"):
        if (step.folder / ANSWERS).is_file():
            digests = (source.digest for source in step.sources if source.setting == "data")
            found.setdefault((data_of(step), *digests), []).append(step)
    return found


def _collect(report: Report, step: Step, asked: dict[str, Asked]) -> None:
    for record in jsonl_of(step.folder, ANSWERS, step.name, report.faults):
        question, reply = record.get("question"), record.get("reply")
        if not isinstance(question, str) or not isinstance(reply, str):
            continue
        key = str(record.get("id") or question)
        expected = record.get("answers") or record.get("answer") or ""
        shown = " / ".join(map(str, expected)) if isinstance(expected, list) else str(expected)
        right = record.get("right")
        name = model_of(step, str(record.get("model", "model")))
        entry = asked.setdefault(key, Asked(question, shown))
        entry.replies.setdefault(name, (reply, right if isinstance(right, bool) else None))


def _chosen(report: Report, asked: Mapping[str, Asked], links: Sequence[Html]) -> list[Html]:
    """Questions of every pattern of right and wrong in turn, by a hash of their ids inside a pattern."""
    names = list(dict.fromkeys(name for entry in asked.values() for name in entry.replies))
    roles = sorted(names, key=lambda name: name not in _bases(report))
    kinds: dict[tuple[bool | None, ...], list[str]] = {}
    for key in sorted(asked, key=lambda text: hashlib.sha256(text.encode()).digest()):
        pattern = tuple(asked[key].replies.get(name, ("", None))[1] for name in roles)
        kinds.setdefault(pattern, []).append(key)
    chosen = _in_turn(sorted(kinds.values(), key=len, reverse=True), SHOWN_ANSWERS)
    about = [report.words("answers_about", shown=len(chosen), count=len(asked)), " ", *_joined(links)]
    return [page.note(*about), _beside(_card(report, asked[key], roles) for key in chosen)]


def _in_turn(kinds: Sequence[Sequence[str]], count: int) -> list[str]:
    """Up to `count` keys: half of the largest kind, the others in turn, in order of the kinds."""
    quota = [0] * len(kinds)
    places = count
    while places and any(q < len(kind) for q, kind in zip(quota, kinds, strict=True)):
        for n, kind in enumerate(kinds):
            for _ in range(2 if n == 0 else 1):
                if places and quota[n] < len(kind):
                    quota[n] += 1
                    places -= 1
    return [key for q, kind in zip(quota, kinds, strict=True) for key in kind[:q]]


def _joined(links: Sequence[Html]) -> list[str]:
    return [part for link in links for part in (link, " ")]


def _bases(report: Report) -> set[str]:
    return {model_of(step, ROLES[0]) for step in report.run.of("evaluate")}


def _card(report: Report, entry: Asked, names: Sequence[str]) -> Html:
    words = report.words
    lines = [f'<dt>{escape(words("expected"))}</dt><dd lang="zh-Hans">{_quoted(entry.expected)}</dd>']
    for name in names:
        if name not in entry.replies:
            continue
        reply, right = entry.replies[name]
        mark = "" if right is None else ' class="ok"' if right else ' class="no"'
        said = "" if right is None else f' title="{escape(words("right" if right else "wrong"))}"'
        text = _quoted(reply) if reply.strip() else f"<i>{escape(words('no_reply'))}</i>"
        lines.append(f'<dt>{escape(name)}</dt><dd{mark}{said} lang="zh-Hans">{text}</dd>')
    return Html(
        f'<div class="asked"><p lang="zh-Hans"><b>{_quoted(entry.question)}</b></p><dl>{"".join(lines)}</dl></div>\n'
    )


def _beside(cards: Iterable[Html]) -> Html:
    return Html(f'<div class="cards">{page.join(cards)}</div>\n')


def _quoted(text: str) -> str:
    plain = " \u23ce ".join(line.strip() for line in text.strip().splitlines() if line.strip())
    cut = plain if len(plain) <= _MAX_REPLY else plain[:_MAX_REPLY] + " \u2026"
    return escape(page.visible(cut, spaces=False))


def _at_the_end(report: Report) -> list[Html]:
    """answers.json of the run: the questions that the recipe ends with."""
    path = report.run.folder / "answers.json"
    if not path.is_file():
        return []
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(q), str(a)) for q, a in found.items()]
    except (OSError, ValueError, AttributeError) as error:
        report.faults.add("", "unreadable", file=path.name, error=type(error).__name__)
        return []
    cards = [
        Html(f'<div class="asked" lang="zh-Hans"><p><b>{_quoted(q)}</b></p><p>{_quoted(a)}</p></div>\n')
        for q, a in pairs
    ]
    return [page.heading(report.words("asked_at_end")), _beside(cards)] if cards else []
