"""Options that chat and serve share: how tokens are drawn, adapters by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from zhllm import manifest
from zhllm.config import PromptFormatName
from zhllm.errors import ConfigError

FORMATS = click.Choice(get_args(PromptFormatName))
SHARE = click.FloatRange(0, 1, min_open=True)
POSITIVE = click.FloatRange(0, min_open=True)
KEY_VARIABLE = "ZHLLM_API_KEY"


def sampling_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of sampling, the same for every command that draws."""
    for option in reversed((
        click.option("--max-tokens", default=256, type=click.IntRange(1), help="Longest answer, in tokens."),
        click.option("--temperature", default=0.0, type=click.FloatRange(0), help="0 takes the likeliest token."),
        click.option("--top-p", default=1.0, type=SHARE, help="Draw among the likeliest of this share; 1 is off."),
        click.option("--top-k", default=0, type=click.IntRange(0), help="Draw among the k likeliest; 0 is off."),
        click.option("--min-p", default=0.0, type=click.FloatRange(0, 1), help="Least share of the likeliest's."),
        click.option("--repeat-penalty", default=1.0, type=POSITIVE, help="Above 1: repeat less; 1 is off."),
        click.option("--presence-penalty", default=0.0, type=float, help="Taken off what the answer holds already."),
        click.option("--frequency-penalty", default=0.0, type=float, help="The same, for each time it does."),
        click.option("--seed", default=0, help="Seed of the draws."),
        click.option("--stop", multiple=True, metavar="TEXT", help="End an answer before this text (several times)."),
    )):  # fmt: skip
        function = option(function)
    return function


def adapters_of(given: Sequence[str], model: str) -> dict[str, Path]:
    """NAME=PATH options by name; ConfigError for another form, a name given twice, or a path that is not there.

    DataError where one was trained on another model than the directory `model`.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, mark, path = text.partition("=")
        if not mark or not name or not path:
            raise ConfigError(f"--adapter {text}: give NAME=PATH, e.g. law=runs/law/sft.")
        if name in found:
            raise ConfigError(f"--adapter {text}: the name {name} is given twice.")
        if not Path(path).exists():
            raise ConfigError(f"--adapter {text}: there is no {path}.")
        if Path(model).is_dir():
            manifest.check_trained_on(Path(path), Path(model))
        found[name] = Path(path)
    return found
