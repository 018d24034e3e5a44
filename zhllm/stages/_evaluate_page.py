"""report.html of `evaluate`: what a model scores, drawn with intervals and chance, beside another one where it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zhllm import bars, page
from zhllm.bars import Bar, interval_bars
from zhllm.page import Cell, Column, Html, Page, Tile, number, percent
from zhllm.stages._evaluate_words import Lang, PageWords

if TYPE_CHECKING:
    from zhllm.evals.intervals import Score
    from zhllm.stages._evaluate_tasks import Measured, TaskResult

# Colours of the model and of the one beside it.
COLOURS = {"model": 1, "against": 6}
# The mark of a figure of fewer than ten items, beside guessing.
FEW = "too few to say"
# Rows that are drawn; more are a table that opens with a click.
DRAWN_ROWS = 24
_DIGEST = re.compile("[0-9a-f]{64}$")
_STYLE = bars.STYLE + "main{max-width:66rem}.grid>div{min-width:0}\n"


def page_of(results: Mapping[str, Mapping[str, TaskResult]], differences: Mapping[str, Any],
            names: Mapping[str, str], lang: Lang = "en") -> str:  # fmt: skip
    """The page in a language; `names` are what the models of the roles are called on it."""
    words = PageWords(lang, names)
    beside = " beside {against}" if "against" in results else ""
    lead = words(f"Scores of {{model}}{beside}: how sure they are, and what was asked.", **names)
    made = Page(words("Evaluation"), lead, words.html_lang, _STYLE)
    made.section(words("In short"), page.tiles([_tile(task, results, words) for task in results["model"]]))
    for task in results["model"]:
        by_role = {role: by_task[task] for role, by_task in results.items()}
        made.section(words.task(task), *_task(task, by_role, differences, words))
    return made.html()


def _tile(task: str, results: Mapping[str, Mapping[str, TaskResult]], words: PageWords) -> Tile:
    """The first figure of a task."""
    first = results["model"][task].measured[0]
    told = [words.measure(first.name), _interval(first, first.score, words)]
    if mark := _badge(first.score, words):
        told.append(mark)
    beside = results["against"][task].measured if "against" in results else ()
    other = words.names.get("against")
    told += [f"{other}: {_written(item, item.score.value)}" for item in beside if item.name == first.name]
    return Tile(words.task(task), _written(first, first.score.value), "; ".join(told))


def _task(
    task: str, by_role: Mapping[str, TaskResult], differences: Mapping[str, Any], words: PageWords
) -> Iterator[Html]:
    main = by_role["model"]
    shares = [item.name for item in main.measured if is_share(item) and "macro" not in item.name]
    others = [item.name for item in main.measured if not is_share(item)]
    groups = [[name] for name in others] if len(others) <= DRAWN_ROWS else []
    groups = [shares, *groups] if 0 < len(shares) * len(by_role) <= DRAWN_ROWS else groups
    drawn = [_figure(group, by_role, words) for group in groups]
    for title in main.tables:
        if len(main.tables[title]) * len(by_role) <= DRAWN_ROWS:
            drawn.append(_parts(title, by_role, words))
    if drawn:
        yield page.grid(*drawn)
        yield page.note(_legend(main, words))
    if changes := [row for item in main.measured if (row := _change(item, differences.get(item.name), words))]:
        less = words("{model} less {against}", **words.names)
        heads = [words("difference, item by item"), less, words("95 % interval"), ""]
        yield page.table(heads, changes)
    for text in dict.fromkeys(text for found in by_role.values() for text in found.notes):
        told = [words.names[role] for role, found in by_role.items() if text in found.notes]
        yield page.note(f"{', '.join(told)}: " if len(by_role) > 1 else "", words.note(text))
    yield page.details(words("All numbers"), _numbers(by_role, words))
    yield page.note(words("What was asked: sha256 "), page.code(main.protocol["hash"][:16]), _settings(main.protocol))


def _figure(measures: Sequence[str], by_role: Mapping[str, TaskResult], words: PageWords) -> Html:
    """Measures of one scale with the bars of every model."""
    rows = []
    for name in measures:
        for role, found in by_role.items():
            called = words.measure(name) if len(measures) > 1 else ""
            own = (item for item in found.measured if item.name == name)
            rows += [_bar(item, item.score, called, role, by_role, words) for item in own]
    first = next(item for item in by_role["model"].measured if item.name == measures[0])
    title = words("Shares") if len(measures) > 1 else words.measure(measures[0])
    return interval_bars(rows, title.capitalize(), full=1.0 if is_share(first) else None)


def _parts(title: str, by_role: Mapping[str, TaskResult], words: PageWords) -> Html:
    """A table of subjects, sources or groups as bars."""
    metric, _, part = title.rpartition(": ")
    main = by_role["model"]
    item = next((i for i in main.measured if i.name in (metric, f"{metric}_accuracy")), main.measured[0])
    rows = [
        _bar(item, found.tables[title][name], words.row(title, name), role, by_role, words)
        for name in main.tables[title]
        for role, found in by_role.items()
        if name in found.tables.get(title, {})
    ]
    about = words("{measure}, {part}", measure=words.measure(item.name), part=words.measure(part))
    return interval_bars(rows, f"{about[0].upper()}{about[1:]}", full=1.0 if is_share(item) else None)


def _bar(
    item: Measured, score: Score, name: str, role: str, by_role: Mapping[str, TaskResult], words: PageWords
) -> Bar:
    is_second, has_two, names = role != "model", len(by_role) > 1, words.names
    return Bar(
        names[role] if is_second or not name else name, score.value, _written(item, score.value), score.low, score.high,
        score.chance, _badge(score, words), COLOURS[role], f"{_interval(item, score, words)}, n = {score.n}",
        names[role] if has_two and name and not is_second else "",
    )  # fmt: skip


def _numbers(by_role: Mapping[str, TaskResult], words: PageWords) -> Html:
    """Every figure and every row of every table with four decimals."""
    rows: list[list[Cell]] = []
    for role, found in by_role.items():
        listed = [("", item.name, item.score) for item in found.measured]
        listed += [(title, name, score) for title, by_name in found.tables.items() for name, score in by_name.items()]
        for title, name, score in listed:
            own = [words.names[role]] if len(by_role) > 1 else []
            interval = words("none: {why}", why=words.note(score.no_interval or ""))
            if score.low is not None and score.high is not None:
                interval = words("{low} to {high}", low=f"{score.low:.4f}", high=f"{score.high:.4f}")
            mark = chance(score, words)
            rows.append([f"{title} / {name}" if title else name, *own, score.value, interval, score.n, mark])
    model = [words("model")] if len(by_role) > 1 else []
    return page.table([words("figure"), *model, Column(words("value"), 4), words("95 % interval"), "n", ""], rows)


def chance(score: Score, words: PageWords) -> str:
    """The mark of a figure that guessing gives, or that is worse."""
    if score.chance is None:
        return ""
    if score.is_few:
        return words(FEW)
    if score.is_chance:
        return words("≈ chance ({chance})", chance=f"{score.chance:.3f}")
    is_below = score.high is not None and score.high < score.chance
    return words("below chance ({chance})", chance=f"{score.chance:.3f}") if is_below else ""


def _badge(score: Score, words: PageWords) -> str:
    return words(FEW) if score.is_few else words("≈ chance") if score.is_chance else ""


def _change(item: Measured, found: Mapping[str, Any] | None, words: PageWords) -> list[Cell] | None:
    if found is None:
        return None
    scale, digits = (100, 1) if is_share(item) else (1, 3)
    value, *ends = (f"{scale * found[key]:+.{digits}f}".replace("-", "\u2212")
                    for key in ("value", "low", "high") if found[key] is not None)  # fmt: skip
    told = words("{value} points", value=value) if is_share(item) else value
    if not ends:
        return [words.measure(item.name), told, words("none: {why}", why=words.note(found["no_interval"])), ""]
    interval = words("{low} to {high}", low=ends[0], high=ends[1])
    return [words.measure(item.name), told, interval, "" if found["is_clear"] else words("not clear of 0")]


def _legend(result: TaskResult, words: PageWords) -> str:
    scores = [item.score for item in result.measured]
    scores += [score for by_name in result.tables.values() for score in by_name.values()]
    told = words("Whiskers: 95 % interval, by bootstrap over items; exact where few are right, or few wrong.")
    if any(score.chance is not None for score in scores):
        told += words(" The dashed line is what guessing gives; ≈ chance: the interval holds it.")
    return told + (words(" Too few to say: fewer than ten items.") if any(score.is_few for score in scores) else "")


def _settings(protocol: Mapping[str, Any]) -> str:
    told = [f"{key.replace('_', ' ')} {value}" for key, value in protocol.items()
            if value is not None and not isinstance(value, dict) and not _DIGEST.match(str(value))]  # fmt: skip
    return f". {', '.join(told)}." if told else "."


def is_share(item: Measured) -> bool:
    """Whether a figure is a share of one, by its name and its ends."""
    is_other = any(word in item.name for word in ("bits", "nats", "perplexity"))
    ends = [end for end in (item.score.low, item.score.high, item.score.value) if end is not None]
    return not is_other and min(ends) >= 0 and max(ends) <= 1


def _written(item: Measured, value: float) -> str:
    return percent(value) if is_share(item) else number(value, 3)


def _interval(item: Measured, score: Score, words: PageWords) -> str:
    if score.low is None or score.high is None:
        return words("no interval: {why}", why=words.note(score.no_interval or ""))
    return words("{low} to {high}", low=_written(item, score.low), high=_written(item, score.high))
