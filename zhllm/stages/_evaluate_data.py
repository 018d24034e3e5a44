"""What the tasks of `evaluate` are asked: which --data is for which task, read whole before any model is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zhllm.config import name_and_path
from zhllm.errors import ConfigError, DataError
from zhllm.stages._evaluate_config import EvaluateConfig

CANARIES = "canaries.jsonl"


def data_of(config: EvaluateConfig) -> dict[str, Any]:
    """What each task is asked, so that what is wrong with the last one is told before the first one is run.

    Raises DataError where a task has no data or cannot read them, ConfigError for data that no task reads.
    """
    paths = {task: list(paths_of(config, task)) for task in config.task}
    read = {path for some in paths.values() for path in some}
    for name, path in map(name_and_path, config.data):
        if not name and path not in read:
            if "memory" in config.task and is_cleaned(path):
                raise DataError(_unplanted(path))
            tasks = ", ".join(config.task) or "none"
            raise ConfigError(f"--data {path}: looks like data of no task of this run ({tasks}). Name it: TASK={path}.")
    return {task: _READERS[task](config, paths[task]) for task in config.task}


def paths_of(config: EvaluateConfig, task: str) -> Iterator[Path]:
    """The data of a task: what is named after it, else what looks like it."""
    given = [name_and_path(path) for path in config.data]
    named = [path for name, path in given if name == task]
    yield from named or [path for name, path in given if not name and _is_for(path, task, len(config.task) == 1)]


def _is_for(path: Path, task: str, is_only_task: bool) -> bool:
    """Whether unnamed data belong to a task; a single task gets everything, but for bits of a question set."""
    if task == "health":
        return False
    if is_only_task and task != "bits":
        return True
    if task == "code":
        return False  # beside other tasks it is named: code=PATH
    if task in ("preference", "memory") or holds(path) == "preference" or path.name == CANARIES:
        return holds(path) == task
    if task == "generate":
        return path.suffix in (".json", ".jsonl") and not is_question_set(path)
    if is_question_set(path) or task == "questions":
        return task == "questions" and is_question_set(path)
    from zhllm.evals.choice_sets import is_choice_data

    return is_only_task or (task == "choice") == is_choice_data(path)


def holds(path: Path) -> str | None:
    """ "memory" for canaries or the folder of clean that lists them, "preference" for pairs; None for others."""
    if path.name == CANARIES or (path / CANARIES).is_file():
        return "memory"
    if path.is_dir():
        return "preference" if any(path.glob("preferences-*.jsonl")) else None
    return "preference" if path.suffix == ".jsonl" and '"rejected"' in _first_line(path) else None


def is_cleaned(path: Path) -> bool:
    """Whether a path is a folder of clean."""
    return path.is_dir() and any(path.glob("train-*.parquet"))


def _unplanted(path: Path) -> str:
    return (
        f"--task memory: {path} holds no {CANARIES}: no canary was planted in it. Run zhllm clean --canaries N, train "
        "on its folder, and give that one."
    )


def is_question_set(path: Path) -> bool:
    """Whether a file's first line is a question record without options."""
    if path.is_dir() or path.suffix != ".jsonl":
        return False
    first = _first_line(path)
    has_options = any(f'"{name}"' in first for name in ("options", "choices", "A"))
    return '"question"' in first and '"answer"' in first and not has_options


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline()


def _texts(config: EvaluateConfig, paths: list[Path]) -> list[Path]:
    if not paths:
        raise DataError("--task bits: --data names no text (a clean folder, parquet, jsonl or txt).")
    return paths


def _questions(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.evals.questions import read_questions

    if not paths:
        raise DataError('--task questions: --data names no question set (jsonl with "question" and "answer").')
    return [question for path in paths for question in read_questions(path)]


def _choice(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.evals.choice_sets import Columns, read_sets

    if not paths:
        raise DataError("--task choice: --data names no multiple-choice set (csv, jsonl, or a folder of them).")
    return read_sets(paths, Columns.parse(config.columns), config.examples)


def _own(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.evals.own_documents import own_documents
    from zhllm.text.read.shards import held_out

    if not paths:
        raise DataError("--task own: --data names no documents (a clean folder, parquet, jsonl or txt).")
    sets, possible = own_documents([document.text for document in held_out(paths)], config.own_questions)
    if not sets:
        raise DataError(
            f"--task own: {paths[0]} has no paragraph with a number, name or term and three others like it."
        )
    return sets, possible


def _items(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.evals.generation_sets import read_items

    if not paths:
        raise DataError("--task generate: --data names no prompts with answers (jsonl, or a SQuAD-like json).")
    return read_items(paths)


def _code(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.evals.code_tasks import read_code_tasks

    if not config.allow_code:
        raise ConfigError("--task code runs what the model writes, in a sandbox with limits. Allow it: --allow-code.")
    if not paths:
        raise DataError("--task code: --data names no tasks in HumanEval's or MBPP's layout (jsonl).")
    return read_code_tasks(paths)


def _pairs(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.text.chats import read_preferences

    if not paths:
        raise DataError("--task preference: --data names no pairs (a folder of convert, or its preferences-*.jsonl).")
    every = list(read_preferences(paths))
    pairs = [pair for pair in every if pair.chosen is not None and pair.rejected is not None]
    if not pairs:
        halves = f", only {len(every)} single answers labelled good or bad" if every else ""
        raise DataError(
            f"{', '.join(map(str, paths))}: holds no pairs{halves}. Give pairs of a better and a worse one."
        )
    return pairs, len(every) - len(pairs)


def _canaries(config: EvaluateConfig, paths: list[Path]) -> Any:
    from zhllm.text.clean.canaries import read_canaries

    if not paths:
        unplanted = next((path for _, path in map(name_and_path, config.data) if is_cleaned(path)), None)
        needed = "--task memory: --data names no canaries (a folder of clean --canaries N)."
        raise DataError(needed if unplanted is None else _unplanted(unplanted))
    canaries = [canary for path in paths for canary in read_canaries(path)]
    if twice := len(canaries) - len({canary.prefix for canary in canaries}):
        raise DataError(f"--data: {twice} canaries are listed twice. Give folders cleaned with different --seed.")
    return canaries


_READERS: dict[str, Callable[[EvaluateConfig, list[Path]], Any]] = {
    "bits": _texts, "questions": _questions, "choice": _choice, "own": _own, "generate": _items, "code": _code,
    "health": lambda config, paths: None, "preference": _pairs, "memory": _canaries,
}  # fmt: skip
