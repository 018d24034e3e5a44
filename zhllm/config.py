"""Frozen configs with unknown keys refused, and all their errors at once by dotted key.

A stage's `Config` is the one home of its defaults: the command-line flags, the recipe check and
the manifest key are all read from it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from zhllm.errors import ConfigError


class Role(enum.Enum):
    """What a field means for the manifest key."""

    INPUT = "input"  # a path: the key holds the digest of what it names, not the path
    RUNTIME = "runtime"  # changes how fast, never what is written: not in the key


InputPath = Annotated[Path, Role.INPUT]
InputPaths = Annotated[tuple[Path, ...], Role.INPUT]
NAMED = "NAME=PATH"
NAMED_PATH = re.compile(r"(\w[\w-]*)=(.+)", re.DOTALL)
# Paths of which each may have a name before it; see `name_and_path`.
NamedInputPaths = Annotated[tuple[Path, ...], Role.INPUT, NAMED]


# The names of `text.prompt_format.FORMATS`, which a stage may not import before it runs (a test compares them).
PromptFormatName = Literal["llama2", "llama3", "chatml", "alpaca-zh", "plain"]


class Config(BaseModel):
    """Base of every stage's config: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ConfigT = TypeVar("ConfigT", bound=Config)


def role_of(config: type[Config], field: str) -> Role | None:
    """The `Role` a field was annotated with, or None for an ordinary setting."""
    info = config.model_fields[field]
    inner = [m for part in get_args(info.annotation) for m in getattr(part, "__metadata__", ())]
    return next((m for m in (*info.metadata, *inner) if isinstance(m, Role)), None)


def input_paths(config: Config) -> Iterator[tuple[str, Path]]:
    """Every (field, path) of a config that names an input, in field order; unset ones left out."""
    for field, _, path in named_input_paths(config):
        yield field, path


def named_input_paths(config: Config) -> Iterator[tuple[str, str, Path]]:
    """The same as (field, name, path); the name is "" where a path has none."""
    for field in type(config).model_fields:
        value = getattr(config, field)
        if role_of(type(config), field) is Role.INPUT and value is not None:
            for path in value if isinstance(value, tuple) else (value,):
                yield field, *(name_and_path(path) if is_named(type(config), field) else ("", path))


def is_named(config: type[Config], field: str) -> bool:
    """Whether the paths of a field may have names."""
    return NAMED in config.model_fields[field].metadata


def name_and_path(value: Path) -> tuple[str, Path]:
    """The name ("" for none) and the path of NAME=PATH; a path that is there has no name, "=" or not."""
    found = NAMED_PATH.fullmatch(str(value))
    if found is None or value.exists():
        return "", value
    return found[1], Path(found[2]).expanduser()


def nearest(word: str, known: Sequence[str]) -> str:
    """' Did you mean "x"?' for the nearest known word, else the list of known ones."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else f" Known: {', '.join(known)}."


def problems_of(config: type[Config], values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Everything wrong with `values` for this config, one line each by dotted key; [] when valid."""
    try:
        config.model_validate(dict(values))
    except ValidationError as error:
        return [_line(config, item, prefix) for item in error.errors()]
    return []


def _line(config: type[Config], item: Any, prefix: str) -> str:
    key = ".".join([prefix] * bool(prefix) + [str(part) for part in item["loc"]])
    if item["type"] == "value_error":  # one of our own, which says it all
        return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return f"{key}: unknown key.{nearest(name, list(config.model_fields))}"
    if item["type"] == "missing":
        field = config.model_fields[str(item["loc"][0])]
        return f"{key}: is needed ({str(field.description).rstrip('.')})."
    return f"{key}: {item['msg']} (got {item['input']!r})."


def make(config: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """A validated config; raises ConfigError that lists every problem."""
    problems = problems_of(config, values)
    if problems:
        raise ConfigError("\n".join(problems))
    return config.model_validate(dict(values))
