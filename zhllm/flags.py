"""A stage's command-line flags, generated from its `Config` so that a default has one home."""

from __future__ import annotations

import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from zhllm import ranks
from zhllm.config import Config, make
from zhllm.progress import say
from zhllm.stage import Stage, execute, load


class NamedPath(click.Path):
    """A path that was given: an empty one, of an unset shell variable, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; fails for an empty text."""
        if value == "":
            self.fail("is empty: is the variable set that names it?", param, ctx)
        return super().convert(value, param, ctx)


class SpreadCommand(click.Command):
    """A command whose list options take several values: `--source a b c` (a shell's globs)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite `--x a b` to `--x a --x b` for the list options, then parse as click does."""
        spread = {o for p in self.params if p.multiple for o in p.opts}
        out: list[str] = []
        current: str | None = None
        for index, arg in enumerate(args):
            if arg == "--":
                out += args[index:]
                break
            if arg.startswith("-") and arg != "-":
                current = arg if arg in spread else None
                out.append(arg)
            elif current is not None and out[-1] != current:
                out += [current, arg]
            else:
                out.append(arg)
        return super().parse_args(ctx, out)


def stage_command(name: str, help_line: str) -> click.Command:
    """The click command of a stage: one flag per config field, `-o OUT`, `--json`."""
    stage = load(name)
    params: list[click.Parameter] = [_option(field, info) for field, info in stage.config.model_fields.items()]
    params.append(click.Option(["-o", "--out"], required=True, type=NamedPath(path_type=Path), help="Folder to write."))
    params.append(click.Option(["--json"], is_flag=True, help="Print the metrics as JSON on stdout."))

    def callback(out: Path, json: bool, **values: Any) -> None:
        _run(stage, config_from_flags(stage.config, values), out, as_json=json)

    doc = inspect.cleandoc(stage.run.__doc__ or "")
    return SpreadCommand(name, callback=callback, params=params, help=f"{help_line}\n\n{doc}")


def config_from_flags(config: type[Config], values: dict[str, Any]) -> Config:
    """A config from the flags that were given; fields left out keep the config's own default."""
    given = {k: v for k, v in values.items() if v is not None and v != ()}
    return make(config, given)


def _option(field: str, info: FieldInfo) -> click.Option:
    kind, multiple = _click_type(info.annotation)
    name = "--" + field.rstrip("_").replace("_", "-")  # import_: Python has the word for itself
    default = "" if info.is_required() or info.default in (None, ()) else f"  [default: {_text(info.default)}]"
    options: dict[str, Any] = {"help": f"{info.description}{default}", "required": info.is_required()}
    if kind is bool:
        return click.Option([field, f"{name}/--no-{name[2:]}"], default=None, **options)
    return click.Option([field, name], type=kind, multiple=multiple, default=None, **options)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _click_type(annotation: Any) -> tuple[Any, bool]:
    """(click type, takes several values) for a config annotation."""
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return _click_type(inner[0])
    if origin is tuple:
        return _click_type(get_args(annotation)[0])[0], True
    if origin is Literal:
        return click.Choice([str(a) for a in get_args(annotation)]), False
    if origin is typing.Annotated:
        return _click_type(get_args(annotation)[0])
    if annotation is Path:
        return NamedPath(path_type=Path), False
    return annotation, False


def _run(stage: Stage, config: Config, out: Path, as_json: bool) -> None:
    result = execute(stage, config, out)
    if not ranks.is_main():
        return
    if result.was_up_to_date:
        say(f"{out}: up to date")
    if as_json:
        click.echo(json.dumps(result.manifest.metrics, ensure_ascii=False))
        return
    if not result.was_up_to_date:
        say(f"{out}: done in {result.manifest.made_by['seconds']:.1f} s")
    if stage.table is not None:
        click.echo("\n".join(stage.table(out)))
        return
    for name, value in result.manifest.metrics.items():
        if not isinstance(value, (dict, list)):
            click.echo(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}")
