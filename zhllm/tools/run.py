"""run: a recipe from its first step to its summary, doing only what is not up to date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zhllm.progress import say

if TYPE_CHECKING:
    from zhllm.recipe import Recipe


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder: a folder a step, and summary.json.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A recipe variable, or step.setting.")
@click.option("--check", is_flag=True, help="Only check the recipe; run nothing.")
@click.option("--steps", is_flag=True, help="Print the recipe as a shell script of commands; run nothing.")
def command(recipe: Path, out: Path | None, assignments: tuple[str, ...], check: bool, steps: bool) -> None:
    """Run RECIPE (a recipe.yaml or its folder) into a run folder.

    The recipe is checked whole before its first step starts. A step whose config and inputs have not
    changed is up to date and is not run again; an interrupted run continues where it was. What --set
    gave must be given again the next time, or the step is made anew with the recipe's value.

    \b
    zhllm run recipes/demo -o runs/demo
    zhllm run recipes/llama2-7b -o runs/mine --set base=/models/llama2 --set documents=/data
    """
    from zhllm.errors import ConfigError
    from zhllm.recipe import as_shell, check_sources, find_recipe, open_recipe, read_recipe

    if steps:
        file = find_recipe(recipe)
        given = {a.split("=")[0] for a in assignments}
        unset = [k for k, v in (read_recipe(file).get("vars") or {}).items() if v is None and k not in given]
        placeholders = [f"{name}=<{name}>" for name in unset]
        click.echo(as_shell(open_recipe(recipe, Path("RUN"), [*assignments, *placeholders])), nl=False)
        return
    if out is None and not check:
        raise ConfigError("-o OUT is needed: the run folder.")
    opened = open_recipe(recipe, out or Path("RUN"), assignments)
    check_sources(opened)
    if check:
        click.echo(f"{opened.path}: {len(opened.steps)} steps, all valid")
        return
    _run(opened, assignments)


def _run(recipe: Recipe, assignments: Sequence[str]) -> None:
    from zhllm.recipe import run_step, write_summary

    recipe.run_dir.mkdir(parents=True, exist_ok=True)
    _remember(recipe, assignments)
    worked = False
    for number, step in enumerate(recipe.steps, 1):
        label = f"[{number}/{len(recipe.steps)}] {step.name}"
        say(f"{label} ...")
        result = run_step(recipe, step)
        worked = worked or not result.was_up_to_date
        seconds = result.manifest.made_by["seconds"]
        say(f"{label}: " + ("up to date" if result.was_up_to_date else f"done in {seconds:.1f} s"))
    summary = write_summary(recipe)
    if not worked:
        say(f"every step is up to date ({len(recipe.steps)} of {len(recipe.steps)})")
    click.echo(table(summary))
    if recipe.file.ask is not None:
        _ask(recipe, worked)
    _report(recipe)


def _report(recipe: Recipe) -> None:
    """Write the build report and the scores into the cards of merged models; a page that fails fails no run."""
    from zhllm.errors import ZhllmError
    from zhllm.tools._report_card import write_cards
    from zhllm.tools._report_page import write_report
    from zhllm.tools._report_run import read_run

    try:
        run = read_run(recipe.run_dir)
        path = write_report(run)
        write_cards(run)
    except ZhllmError as error:
        say(f"no build report: {error}")
        return
    click.echo(f"Build report:  {path}")


def _remember(recipe: Recipe, assignments: Sequence[str]) -> None:
    """Leave the order of the steps in the run folder, and what --set gave, for `zhllm status` and `zhllm report`."""
    steps = [{"name": step.name, "stage": step.stage.name, "about": step.about} for step in recipe.steps]
    content = {
        "recipe": str(recipe.path.resolve()),
        "about": recipe.file.about,
        "lang": recipe.file.lang,
        "set": list(assignments),
        "steps": steps,
    }
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    (recipe.run_dir / "run.json").write_text(text, encoding="utf-8")


def table(summary: dict[str, Any]) -> str:
    """The summary's numbers as a two-column table; `x_before` and `x_after` share a line."""
    rows: list[tuple[str, str]] = []
    for name, value in summary.items():
        if isinstance(value, dict) or name.endswith("_after"):
            continue
        if name.endswith("_before") and (after := summary.get(name.removesuffix("_before") + "_after")) is not None:
            rows.append((name.removesuffix("_before"), f"{shown(name, value)} -> {shown(name, after)}"))
        else:
            rows.append((name, shown(name, value)))
    width = max(len(name) for name, _ in rows)
    return "\n" + "\n".join(f"  {name:<{width}}  {value}" for name, value in rows) + "\n"


def shown(name: str, value: Any) -> str:
    """A number as people read it: shares as percent, sizes in MB."""
    if name.startswith("accuracy"):
        return f"{value:.1%}"
    if name.startswith("bytes"):
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def _ask(recipe: Recipe, worked: bool) -> None:
    """Ask the recipe's questions, once: a second run shows the stored answers."""
    ask = recipe.file.ask
    assert ask is not None
    model, stored = recipe.path_of(ask.model), recipe.run_dir / "answers.json"
    answers = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() and not worked else {}
    if list(answers) != list(ask.questions):
        from zhllm.infer.engine import open_engine

        with open_engine(model) as engine:
            replies = engine.answer_many([[{"role": "user", "content": q}] for q in ask.questions], 64)
        answers = dict(zip(ask.questions, replies, strict=True))
        stored.write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for question, answer in answers.items():
        click.echo(f"  Q: {question}\n  A: {answer}")
    click.echo(f"\nTalk to it:  zhllm chat {model}")
