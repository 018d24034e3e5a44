"""compare: the numbers of several runs or evaluations side by side, with paired significance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zhllm.tools._compare_items import Difference
    from zhllm.tools._compare_runs import Key, Numbers
    from zhllm.tools._compare_words import CompareWords


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="Every number of every step, not only scores and the summary.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON on stdout.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write the table as a page as well.")
@click.option("--lang", type=click.Choice(["zh", "en"]), help="Language.  [default: en; of the page the first run's]")
def command(folders: tuple[Path, ...], every: bool, as_json: bool, page: Path | None, lang: str | None) -> None:
    """Compare run folders and folders of evaluate: a column each, differences to the first one.

    Where both have answers to the same questions the difference is over those, with a 95 % interval and a p: of right
    and wrong answers by McNemar's mid-p, of twelve other items or fewer by all choices of signs, else by a paired
    bootstrap (10,000 draws, fixed seed); * marks p < 0.05. What was asked several times counts once. One evaluation
    with --against is compared with itself: base, model.

    \b
    zhllm compare runs/demo runs/mine
    zhllm compare runs/demo/evaluate-merged runs/demo/evaluate-gguf
    """
    from zhllm.progress import say
    from zhllm.tools._compare_words import CompareWords

    words = CompareWords(lang or "en", is_plain=lang is None)
    compared, notes = opened(folders, every, words)
    for line in notes:
        say(line)
    if as_json:
        click.echo(json.dumps(as_data(compared), ensure_ascii=False))
    else:
        for line in lines_of(compared, words):
            click.echo(line)
    if page is not None:
        words = CompareWords(lang or _own_language(folders[0]))
        _write(page, *opened(folders, every, words), words)


def _own_language(folder: Path) -> str:
    """The language of a run; "en" of an evaluation's folder."""
    from zhllm.tools._report_run import read_run

    return read_run(folder).lang if (folder / "run.json").is_file() else "en"


def opened(folders: Sequence[Path], every: bool, words: CompareWords) -> tuple[list[Numbers], list[str]]:
    """What is compared, the first one to compare with first; and what to know of it."""
    from zhllm.errors import ConfigError
    from zhllm.tools._compare_runs import matched, read_numbers

    found = [read_numbers(path, words, every=every) for path in folders]
    is_run = [(path / "run.json").is_file() or not (path / "manifest.json").is_file() for path in folders]
    if len(found) == 1 and not is_run[0]:
        found = [read_numbers(folders[0], words, "against"), *found]
    if len(found) == 1 or not found[0].scores:
        raise ConfigError(f"{folders[0]}: there is nothing to compare it with. Give two or more folders.")
    found = matched(found, all(is_run))
    notes = [f"{one.label}{words.colon}{note}" for one in found for note in one.notes]
    others = [key for one in found[1:] for key in one.data if found[0].data.get(key, one.data[key]) != one.data[key]]
    steps = dict.fromkeys((step, task.partition(":")[0]) for step, task, _, _ in others)
    notes += [words("other_data", name=f"{step} {words.named(task)}".strip()) for step, task in steps]
    return found, notes


def as_data(compared: Sequence[Numbers]) -> dict[str, Any]:
    """Everything as JSON: labels, and for each number its values and differences to the first."""
    from dataclasses import asdict

    from zhllm.tools._compare_runs import difference, rows_of

    rows = []
    for key in rows_of(compared):
        gaps = [difference(compared[0], other, key) for other in compared[1:]]
        rows.append({
            "step": key[0], "task": key[1], "part": list(key[2]), "measure": key[3],
            "values": [one.scores[key].value if key in one.scores else None for one in compared],
            "low": [one.scores[key].low if key in one.scores else None for one in compared],
            "high": [one.scores[key].high if key in one.scores else None for one in compared],
            "differences": [None if gap is None else asdict(gap) for gap in gaps],
            "significant": [None if gap is None else gap.is_significant for gap in gaps],
        })  # fmt: skip
    return {"compared": [one.label for one in compared], "rows": rows}


def lines_of(compared: Sequence[Numbers], words: CompareWords) -> list[str]:
    """The table as text."""
    from zhllm.tools._report_text import aligned

    heads = ["", *(f"[{place}]" for place in range(1, len(compared) + 1))]
    heads += [f"[{place}] - [1]" for place in range(2, len(compared) + 1)]
    rows = [heads, *_rows(compared, words)]
    legend = [f"[{place}] {one.label}" for place, one in enumerate(compared, 1)]
    return [*legend, "", *aligned(rows, right=range(1, len(compared) + 1))]


def _rows(compared: Sequence[Numbers], words: CompareWords) -> list[list[str]]:
    from zhllm.tools._compare_runs import difference, rows_of
    from zhllm.tools._report_results import written

    rows = []
    for key in rows_of(compared):
        values = [
            written(one.scores[key], one.scores[key].value) if key in one.scores else "\u2013" for one in compared
        ]
        found = [difference(compared[0], other, key) for other in compared[1:]]
        gaps = [_gap(gap, compared[0], key, place, words) for place, gap in enumerate(found, 2)]
        rows.append([_named(key, words), *values, *gaps])
    return [[cell.replace("\u00a0", " ") for cell in row] for row in rows]


def _named(key: Key, words: CompareWords) -> str:
    step, task, part, measure = key
    # What a part's measure is called says its task already.
    named = [step, words.named(task) if task != measure else "", "/".join(part), words.named(measure)]
    return " ".join(word for word in named if word)


def _gap(found: Difference | None, first: Numbers, key: Key, place: int, words: CompareWords) -> str:
    """A difference in words: in points for shares; its interval, p and items, and the scores of those."""
    from zhllm.tools._report_results import written

    if found is None:
        return "\u2013"
    score = first.scores[key]

    def told(value: float) -> str:
        return f"{100 * value:+.1f}" if score.is_share else f"{value:+,.4g}"

    text = told(found.value) + (words("points") if score.is_share else "")
    if found.low is not None and found.high is not None:
        text += f" [{told(found.low)}, {told(found.high)}]"
    if found.p is not None:
        text += f", p {'< 0.001' if found.p < 0.001 else f'= {found.p:.3f}'}{' *' if found.is_significant else ''}"
    if found.no_interval is not None:
        text += words("no_interval", reason=words.why(found.no_interval))
    if found.n is not None:
        text += f", n = {found.n}"
    if found.changed == 0:
        text += words("none_changed")
    elif found.units not in (None, found.n) and found.no_interval is None:
        text += words("stretches" if (found.units or 0) > (found.n or 0) else "units", units=found.units)
    if found.is_of_part and found.first is not None and found.other is not None and found.of is not None:
        one, two = written(score, found.first), written(score, found.other)
        counts = {"n": found.n, "has": found.of[0], "other_has": found.of[1]}
        text += words("of_shared", **counts, items=words.items(key[1]), one=one, two=two, place=place)
    return text


def _write(path: Path, compared: Sequence[Numbers], notes: Sequence[str], words: CompareWords) -> None:
    from zhllm.errors import ConfigError
    from zhllm.page import Page, note, table

    heads = [words("measure"), *(f"[{place}]" for place in range(1, len(compared) + 1))]
    heads += [f"[{place}] - [1]" for place in range(2, len(compared) + 1)]
    shown = Page(words("comparison"), words("lead"), words.lang)
    legend = table(["", words("compared")], [[f"[{place}]", one.label] for place, one in enumerate(compared, 1)])
    shown.section(words("numbers"), legend, table(heads, _rows(compared, words)), *map(note, notes))
    try:
        path.write_text(shown.html(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html {path}: cannot be written ({error.strerror}). Choose another file.") from error
