"""status: how far a run is, what each step measured, and scores before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zhllm.tools._report_run import Run, Step
    from zhllm.tools._report_words import Words


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON on stdout.")
@click.option("--verify", is_flag=True, help="Read every file and compare its digest, also of inputs from outside.")
@click.option("--lang", type=click.Choice(["zh", "en"]), help="Language of the words.  [default: the recipe's, or en]")
def command(run_dir: Path, as_json: bool, verify: bool, lang: str | None) -> None:
    """Show the steps of RUN_DIR: up to date, unfinished, waiting or damaged, with seconds, size and key figures.

    A run is a folder that zhllm run wrote, or any folder of stages' folders. See zhllm report for a page of it.

    \b
    zhllm status runs/demo
    """
    from zhllm.tools._report_run import read_run
    from zhllm.tools._report_words import Words

    run = read_run(run_dir, verify)
    if as_json:
        click.echo(json.dumps(rows_of(run), ensure_ascii=False))
        return
    for line in lines_of(run, Words(lang or run.lang)):
        click.echo(line)


def state_of(run_dir: Path) -> list[dict[str, Any]]:
    """One row a step, in the recipe's order; ConfigError where the folder is not a run."""
    from zhllm.tools._report_run import read_run

    return rows_of(read_run(run_dir))


def rows_of(run: Run) -> list[dict[str, Any]]:
    """One row a step for programs; what is no finite number is null."""
    return [
        {
            "step": step.name,
            "stage": step.stage,
            "state": step.state,
            "seconds": step.seconds,
            "bytes": step.size_bytes,
            "digest": step.digest or None,
            "note": note_of(step),
            "metrics": _plain(step.metrics),
            "remarks": [
                {"what": remark.key, **{k: str(v) for k, v in remark.values.items()}} for remark in step.remarks
            ],
        }
        for step in run.steps
    ]


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def note_of(step: Step, words: Words | None = None) -> str:
    """What is wrong with a step, else its key figures, else what it is for."""
    from zhllm.tools._report_words import Words, key_figures

    words = words or Words("en")
    told = "; ".join(words(remark.key, **remark.values) for remark in step.remarks)
    return told or key_figures(step.stage, step.metrics, words) or step.about


def lines_of(run: Run, words: Words) -> list[str]:
    """The table of steps, totals, and the scores of every model."""
    from zhllm.tools._report_text import aligned
    from zhllm.tools._report_words import size

    rows = [
        [
            step.name,
            words("state_" + step.state),
            "" if step.seconds is None else words.duration(step.seconds).replace("\u00a0", " "),
            "" if step.size_bytes is None else size(step.size_bytes).replace("\u00a0", " "),
            note_of(step, words),
        ]
        for step in run.steps
    ]
    done = sum(step.state == "done" for step in run.steps)
    total = words("lead_done" if done == len(rows) else "lead_part", count=len(rows), done=done)
    held = f"{words.duration(run.seconds)}, {size(run.size_bytes)}".replace("\u00a0", " ")
    lines = [*aligned(rows, right=(2, 3)), "", f"{total} {held}"]
    lines += [words(remark.key, **remark.values) for remark in run.remarks]
    scores = _scores(run, words)
    return [*lines, "", *aligned(scores, right=(2,))] if scores else lines


def _scores(run: Run, words: Words) -> list[list[str]]:
    from zhllm.tools._report_results import interval, written
    from zhllm.tools._report_scores import groups_of, main_groups

    groups, unread = groups_of(run)
    rows = [
        [
            f"{words.metric(group.metric)}, {group.data}" if place == 0 else "",
            row.model,
            written(row.score, row.score.value).replace("\u00a0", " "),
            "" if row.score.low is None else f"[{interval(row.score)}]".replace("\u00a0", " "),
            words(row.score.mark) if row.score.mark else "",
        ]
        for group in main_groups(groups)
        for place, row in enumerate(group.rows)
    ]
    told = [words("unreadable", file=f"{step.name}/scores.json", error=error) for step, error in unread]
    return [*rows, *([line, "", "", "", ""] for line in told)]
