"""A recipe: an ordered list of stages, checked whole before the first one starts.

`@name` in a path is the folder that an earlier step writes; `${name}` is one of the recipe's `vars`;
other paths are relative to the recipe's own folder.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from zhllm import manifest
from zhllm.commands import STAGES
from zhllm.config import (
    NAMED_PATH,
    Config,
    Role,
    input_paths,
    is_named,
    name_and_path,
    nearest,
    problems_of,
    role_of,
)
from zhllm.errors import ConfigError, StageError
from zhllm.launch import Launch, read_launch, run_launched
from zhllm.stage import Result, Stage, check_inputs, execute, key_of, load, up_to_date
from zhllm.yaml_file import parse_assignment, read_yaml

Scalar = str | int | float | bool | None
StepName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # a folder's name inside the run folder


class Ask(Config):
    """Questions a run ends with."""

    model: str = Field(description="The step or path of the model that answers, e.g. @export/model-q8_0.gguf.")
    questions: tuple[str, ...] = Field(description="What it is asked.")


class RecipeFile(Config):
    """The keys of recipe.yaml."""

    about: str = Field(description="What the recipe makes, in a sentence or two.")
    vars: dict[str, Scalar] = Field(
        default_factory=dict, description="Values that ${name} stands for; null: must be set."
    )
    stages: dict[StepName, dict[str, Any]] = Field(
        min_length=1, description="Steps in order: folder name -> settings of its command."
    )
    summary: dict[str, str] = Field(default_factory=dict, description="Flat name -> step.metric.")
    paths: dict[str, str] = Field(default_factory=dict, description="Name -> @step or @step/file.")
    ask: Ask | None = Field(None, description="Questions asked at the end.")
    extends: str | None = Field(None, description="A recipe beside this one; what stands here replaces its settings.")
    lang: Literal["en", "zh"] = Field("en", description="Language of the build report.")
    launch: str | None = Field(None, description="Config file of accelerate launch for the steps that train.")


@dataclass(frozen=True)
class Step:
    """One stage of a recipe: its folder's name, its stage and its checked config."""

    name: str
    about: str
    stage: Stage
    config: Config


@dataclass(frozen=True)
class Recipe:
    """A recipe whose every step is checked, for one run folder."""

    file: RecipeFile
    path: Path
    run_dir: Path
    steps: tuple[Step, ...]
    launch: Launch | None = None

    def launch_of(self, step: Step) -> Launch | None:
        """How the step is started in several processes; None where it runs in this one."""
        return self.launch if step.stage.parallel else None

    def path_of(self, reference: str) -> Path:
        """The path of `@step` or `@step/file` in the run folder."""
        return self.run_dir / reference.removeprefix("@")


def find_recipe(path: Path) -> Path:
    """recipe.yaml of a folder, or the file itself; ConfigError where there is none."""
    found = path / "recipe.yaml" if path.is_dir() else path
    if not found.is_file():
        raise ConfigError(f"{path}: there is no recipe here. Give a recipe.yaml or a folder that holds one.")
    return found


def read_recipe(file: Path) -> dict[str, Any]:
    """The keys of a recipe file, with those of the recipe that it extends; ConfigError for a step that one lacks."""
    content = read_yaml(file)
    base, changes = content.get("extends"), content.get("stages") or {}
    if not isinstance(base, str) or not isinstance(changes, dict):
        return content
    if Path(base).name != base or base == file.name:
        wrong = "extends itself" if base == file.name else "must be a recipe in the same folder: its paths count there"
        raise ConfigError(f"{file}: extends: {base}: {wrong}.")
    merged = read_recipe(find_recipe(file.parent / base))
    steps = dict(merged.get("stages") or {})
    for name, settings in changes.items():
        if name not in steps:
            raise ConfigError(f"{file}: stages.{name}: {base} has no step of this name.{nearest(name, list(steps))}")
        steps[name] = {**steps[name], **(settings or {})}
    variables = {**(merged.get("vars") or {}), **(content.get("vars") or {})}
    return {**merged, **content, "stages": steps, "vars": variables}


def open_recipe(path: Path, run_dir: Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read and check a whole recipe; ConfigError lists every problem by dotted key.

    `assignments` are `name=value` for the recipe's vars or `step.key=value` for a step's settings.
    """
    file = find_recipe(path)
    content = read_recipe(file)
    problems = problems_of(RecipeFile, content)
    if problems:
        raise ConfigError("\n".join(f"{file}: {p}" for p in problems))
    recipe = RecipeFile.model_validate(content)
    variables, stages = _assign(recipe, assignments)
    given = {text.split("=")[0].strip() for text in assignments}
    unset = [name for name, value in variables.items() if value is None]
    problems = [f"vars.{name}: has no value. Give --set {name}=..." for name in unset]
    resolver = _Resolver(variables, file.parent, run_dir, set(unset), given)
    steps: list[Step] = []
    for number, (name, settings) in enumerate(stages.items()):
        found = _step(name, settings, resolver, list(stages)[:number])
        problems += found if isinstance(found, list) else []
        steps += [found] if isinstance(found, Step) else []
    problems += _reference_problems(recipe, list(stages))
    launch, wrong = _launch(recipe, file.parent, assignments, steps)
    problems += wrong
    if problems:
        raise ConfigError("\n".join(f"{file}: {p}" for p in problems))
    return Recipe(recipe, file, run_dir, tuple(steps), launch)


def _launch(
    recipe: RecipeFile, here: Path, assignments: Sequence[str], steps: Sequence[Step]
) -> tuple[Launch | None, list[str]]:
    """The recipe's launch, and what is wrong with it; --set launch=PATH comes first, launch=null is none."""
    given = [value for key, value in map(parse_assignment, assignments) if key == "launch"]
    if (given[-1] if given else recipe.launch) is None:
        return None, []
    try:
        launch = read_launch(Path(str(given[-1])) if given else _tidy(here / str(recipe.launch)))
    except ConfigError as error:
        return None, [str(error)]
    parallel = [step for step in steps if step.stage.parallel]
    rows = {step.name: getattr(step.config, "rows_per_step", 0) for step in parallel}
    problems = [] if parallel else [f"launch: {launch.file}: no step here can run in several processes."]
    problems += [
        f"stages.{name}.rows_per_step: {count} cannot be dealt to the {launch.processes} processes of {launch.file}."
        for name, count in rows.items()
        if count % launch.processes
    ]
    return launch, problems


def _assign(recipe: RecipeFile, assignments: Sequence[str]) -> tuple[dict[str, Scalar], dict[str, dict[str, Any]]]:
    variables = dict(recipe.vars)
    stages = {name: dict(settings or {}) for name, settings in recipe.stages.items()}
    for text in assignments:
        key, value = parse_assignment(text)
        if key == "launch":  # see `_launch`
            continue
        step, dot, field = key.rpartition(".")
        if not dot and key in variables:
            variables[key] = value
        elif dot and step in stages:
            stages[step][field] = value
        else:
            known = [*variables, "launch", *(f"{name}.<setting>" for name in stages)]
            raise ConfigError(f"--set {text}: unknown key {key}.{nearest(key, known)}")
    return variables, stages


@dataclass(frozen=True)
class _Resolver:
    variables: dict[str, Scalar]
    here: Path
    run_dir: Path
    unset: set[str]
    given: set[str]  # keys set on the command line: their paths are relative to where one stands

    def value(self, value: Any) -> Any:
        """A setting with its ${vars} filled in; a value that is one variable keeps that one's type."""
        if isinstance(value, list):
            return [self.value(v) for v in value]
        if not isinstance(value, str):
            return value
        whole = re.fullmatch(r"\$\{(\w+)\}", value)
        if whole and whole[1] in self.variables:
            return self.variables[whole[1]] if whole[1] not in self.unset else "unset"
        return re.sub(r"\$\{(\w+)\}", lambda m: str(self.variables.get(m[1], m[0])), value)

    def path(self, value: Any, key: str, may_be_named: bool) -> Any:
        """The path setting `key`: @step in the run folder, else relative to the recipe; a name before it stays."""
        if isinstance(value, list):
            return [self.path(v, key, may_be_named) for v in value]
        found = NAMED_PATH.fullmatch(value) if may_be_named and isinstance(value, str) else None
        if found is not None and not (self.here / value).exists():
            return f"{found[1]}={self.path(found[2], key, may_be_named=False)}"
        if isinstance(value, str) and value.startswith("@"):
            return str(self.run_dir / value[1:])
        if not isinstance(value, str):
            return value
        found = self.value(value)
        variable = re.match(r"\$\{(\w+)\}", value)
        from_recipe = (key if variable is None else variable[1]) not in self.given
        return str(_tidy(self.here / str(found))) if from_recipe else found

    def problem(self, value: Any, earlier: list[str]) -> str | None:
        """What is wrong with a reference, or None."""
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            found = NAMED_PATH.fullmatch(text)
            reference = found[2] if found else text
            step = reference[1:].split("/")[0]
            if reference.startswith("@") and step not in earlier:
                return f'"{text}": no earlier step is called {step}.{nearest(step, earlier) if earlier else ""}'
            for name in re.findall(r"\$\{(\w+)\}", text):
                if name not in self.variables:
                    return f'"{text}": vars has no {name}.{nearest(name, list(self.variables))}'
        return None


def _tidy(path: Path) -> Path:
    """The path without `..` where that is safe, relative to here where it can be (for people to read)."""
    full = Path(path).resolve()
    return full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full


def _step(name: str, settings: dict[str, Any], resolver: _Resolver, earlier: list[str]) -> Step | list[str]:
    prefix = f"stages.{name}"
    command = settings.pop("run", name)
    about = str(settings.pop("about", ""))
    if command not in STAGES:
        return [f'{prefix}: "{command}" is not a stage.{nearest(str(command), list(STAGES))} Name it with run:.']
    stage = load(command)
    values, problems = {}, []
    for field, value in settings.items():
        wrong = resolver.problem(value, earlier)
        if wrong:
            problems.append(f"{prefix}.{field}: {wrong}")
        is_path = field in stage.config.model_fields and role_of(stage.config, field) is Role.INPUT
        if is_path:
            values[field] = resolver.path(value, f"{name}.{field}", is_named(stage.config, field))
        else:
            values[field] = resolver.value(value)
        if is_path and _takes_several(stage.config, field) and not isinstance(values[field], list):
            values[field] = [values[field]]
    problems += problems_of(stage.config, values, prefix)
    return problems or Step(name, about, stage, stage.config.model_validate(values))


def _takes_several(config: type[Config], field: str) -> bool:
    return "tuple" in str(config.model_fields[field].annotation)


def _reference_problems(recipe: RecipeFile, steps: list[str]) -> list[str]:
    problems = []
    for key, value in recipe.summary.items():
        step = value.rpartition(".")[0]
        if step not in steps:
            problems.append(f"summary.{key}: no step is called {step!r}.{nearest(step, steps)}")
    references = {f"paths.{k}": v for k, v in recipe.paths.items()}
    if recipe.ask is not None:
        references["ask.model"] = recipe.ask.model
    for key, value in references.items():
        step = value.removeprefix("@").split("/")[0]
        if step not in steps:
            problems.append(f"{key}: no step is called {step!r}.{nearest(step, steps)}")
    return problems


def check_sources(recipe: Recipe) -> None:
    """ConfigError, before anything runs, when an input that no step makes is not there."""
    made = {recipe.run_dir / step.name for step in recipe.steps}
    for step in recipe.steps:
        for field, path in input_paths(step.config):
            if not path.exists() and not any(path == m or m in path.parents for m in made):
                raise ConfigError(f"stages.{step.name}.{field}: {path}: there is no such file or folder.")


def run_step(recipe: Recipe, step: Step) -> Result:
    """Bring one step's folder up to date, in this process or in those of the recipe's launch."""
    check_inputs(step.config)
    out, launch = recipe.run_dir / step.name, recipe.launch_of(step)
    if launch is None:
        return execute(step.stage, step.config, out)
    key = key_of(step.stage, step.config)
    found = up_to_date(out, key)
    if found is not None:
        return Result(found, was_up_to_date=True)
    words = [word for flag, *values in _flags(step) for word in (flag, *map(str, values))]
    run_launched(launch, [step.stage.name, *words, "-o", str(out)])
    made = up_to_date(out, key)
    if made is None:
        raise StageError(f"{out}: {launch.file} has run, but the folder is not what the recipe asks for.")
    return Result(made, was_up_to_date=False)


def summarize(recipe: Recipe) -> dict[str, Any]:
    """summary.json's content: the recipe's flat numbers, seconds of all steps together, and paths."""
    made = {step.name: manifest.read(recipe.run_dir / step.name) for step in recipe.steps}
    summary: dict[str, Any] = {}
    for key, value in recipe.file.summary.items():
        step, _, metric = value.rpartition(".")
        found = made[step]
        if found is None or metric not in found.metrics:
            known = nearest(metric, list(found.metrics)) if found else ""
            raise ConfigError(f"{recipe.path}: summary.{key}: {step} has no metric {metric}.{known}")
        summary[key] = found.metrics[metric]
    summary["seconds"] = round(sum(m.made_by["seconds"] for m in made.values() if m is not None), 1)
    summary["paths"] = {name: str(recipe.path_of(ref)) for name, ref in recipe.file.paths.items()}
    return summary


def write_summary(recipe: Recipe) -> dict[str, Any]:
    """Write summary.json into the run folder and return it."""
    summary = summarize(recipe)
    text = json.dumps(summary, ensure_ascii=False, indent=1) + "\n"
    (recipe.run_dir / "summary.json").write_text(text, encoding="utf-8")
    return summary


def as_shell(recipe: Recipe) -> str:
    """The recipe as a plain shell script of commands, for people who learn from those."""
    lines = [
        "#!/usr/bin/env bash",
        f"# {' '.join(recipe.file.about.split())}",
        "#",
        f"# The steps of {recipe.path.name} as plain commands; made by: zhllm run RECIPE --steps",
        "set -euo pipefail",
        'cd "$(dirname "$0")/../.."',
        'RUN="${RUN:-runs/' + recipe.path.parent.name + '}"',
        *(f'{n}="${{{n}:?set {n} first, e.g. export {n}=/path}}"' for n in map(str.upper, _unset(recipe))),
    ]
    for step in recipe.steps:
        lines += ["", *(f"# {line}" for line in step.about.strip().splitlines())]
        launch = recipe.launch_of(step)
        start = shlex.join(launch.words()) if launch else "zhllm"
        flags = [" ".join([flag, *(_word(recipe, v) for v in values)]) for flag, *values in _flags(step)]
        words = [f"{start} {step.stage.name}", *flags, f'-o "$RUN/{step.name}"']
        lines.append(" \\\n  ".join(words))
    return "\n".join(lines) + "\n"


def _unset(recipe: Recipe) -> list[str]:
    return [name for name, value in recipe.file.vars.items() if value is None]


def _flags(step: Step) -> list[tuple[Any, ...]]:
    """The settings that a recipe gives, as (flag, its values ...) in the order of the stage's own flags."""
    flags: list[tuple[Any, ...]] = []
    for field in type(step.config).model_fields:
        value = getattr(step.config, field)
        name = field.replace("_", "-")
        if field not in step.config.model_fields_set or value is None:
            continue
        if isinstance(value, bool):
            flags.append((f"--{name}" if value else f"--no-{name}",))
        else:
            flags.append((f"--{name}", *(value if isinstance(value, tuple) else (value,))))
    return flags


def _word(recipe: Recipe, value: Any) -> str:
    if isinstance(value, Path) and (found := name_and_path(value))[0]:
        return f"{found[0]}={_word(recipe, found[1])}"
    if isinstance(value, Path) and value.is_relative_to(recipe.run_dir):
        return f'"$RUN/{value.relative_to(recipe.run_dir)}"'
    text = str(value)
    for name in _unset(recipe):
        if text == f"<{name}>" or text.endswith(f"/<{name}>"):
            return f'"${name.upper()}"'
    return shlex.quote(text)
