"""status: how far a run is, and what each step measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zhllm.errors import ConfigError

SHOWN_METRICS = 3


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON on stdout.")
def command(run_dir: Path, as_json: bool) -> None:
    """Show the steps of RUN_DIR: done, begun or waiting, with seconds and first metrics.

    \b
    zhllm status runs/demo
    """
    rows = state_of(run_dir)
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    width = max(len(row["step"]) for row in rows)
    for row in rows:
        seconds = f"{row['seconds']:>8.1f} s" if row["seconds"] is not None else " " * 10
        click.echo(f"{row['step']:<{width}}  {row['state']:<11}{seconds}  {row['note']}")


def state_of(run_dir: Path) -> list[dict[str, Any]]:
    """One row a step, in the recipe's order; ConfigError where the folder is not a run."""
    from zhllm import manifest

    remembered = run_dir / "run.json"
    if not remembered.is_file():
        raise ConfigError(f"{run_dir}: is not a run folder (no run.json). Give the -o of zhllm run.")
    rows = []
    for step in json.loads(remembered.read_text(encoding="utf-8"))["steps"]:
        folder = run_dir / step["name"]
        made = manifest.read(folder) if folder.is_dir() else None
        about = " ".join(step["about"].split())
        row = {"step": step["name"], "state": "waiting", "seconds": None, "note": about, "metrics": {}}
        if made is not None:
            changed = manifest.changed_files(folder, made)
            numbers = {k: v for k, v in made.metrics.items() if isinstance(v, int | float)}
            note = ", ".join(f"{k} {v:,.4g}" for k, v in list(numbers.items())[:SHOWN_METRICS])
            row |= {"state": "done", "seconds": made.made_by["seconds"], "metrics": made.metrics, "note": note}
            if changed:
                row |= {"state": "damaged", "note": f"changed since: {', '.join(changed[:3])}"}
        elif manifest.partial_of(folder).exists() or manifest.checkpoints_of(folder).exists():
            points = sorted(manifest.checkpoints_of(folder).rglob("step-????????"))
            row |= {"state": "unfinished", "note": f"last checkpoint {points[-1].name}" if points else "begun"}
        rows.append(row)
    return rows
