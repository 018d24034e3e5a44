"""evaluate: scores of a model, and of another one beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.config import name_and_path
from zhllm.errors import ConfigError
from zhllm.stage import Metrics, Stage
from zhllm.stages._evaluate_config import EvaluateConfig


def run(config: EvaluateConfig, out: Path) -> Metrics:
    """Writes scores.json, report.html, and for each task a jsonl of what was asked and found; for multiple choice also
    what its prompts begin with (*-prefixes.jsonl).

    A question set is JSON lines {"question": ..., "answer": ..., "accept": [other forms]}; a reply
    is right when it holds one of them. Multiple choice compares log-likelihoods. Nothing is drawn: the same
    inputs give the same scores, each with a 95 % bootstrap interval and the hash of what was asked.

    \b
    zhllm evaluate --model merged --against llama2/ --task questions --data questions.jsonl -o scores
    zhllm evaluate --model merged --task choice --shots 5 --data cmmlu/ -o scores-cmmlu
    zhllm evaluate --model merged --task bits choice --data bits=clean/ choice=exam.csv -o scores
    zhllm evaluate --model merged --task preference memory --data runs/convert runs/clean -o scores
    zhllm evaluate --model merged --harness cmmlu_jurisprudence --data cmmlu_jurisprudence=cmmlu/ -o known
    """
    from zhllm.progress import append_jsonl
    from zhllm.stages import _evaluate_generation as generation
    from zhllm.stages import _evaluate_tasks as tasks
    from zhllm.stages._evaluate_bits import bits
    from zhllm.stages._evaluate_data import data_of
    from zhllm.stages._evaluate_memorisation import memorisation
    from zhllm.stages._evaluate_models import window_beside
    from zhllm.stages._evaluate_preferences import preferences
    from zhllm.stages._evaluate_report import write_report

    if config.adapter is not None and config.model.is_dir():
        manifest.check_trained_on(config.adapter, config.model)
    subjects = [tasks.Subject(config.model, config.adapter, "model", window_beside(config.against))]
    if config.against is not None:
        subjects.append(tasks.Subject(config.against, None, "against", window_beside(config.model)))
    known: dict[str, Any] = {"bits": bits, "questions": tasks.questions, "choice": tasks.choice, "own": tasks.own,
             "generate": generation.generate, "code": generation.code, "health": generation.health,
             "preference": preferences, "memory": memorisation}  # fmt: skip
    results: dict[str, dict[str, tasks.TaskResult]] = {}
    with harness_of(config) as harness:
        data = data_of(config)
        for subject in subjects:
            for task, run_task in ({task: known[task] for task in config.task} | harness).items():
                found = run_task(config, subject, data.get(task))
                results.setdefault(subject.role, {})[task] = found
                name = "answers.jsonl" if task == "questions" else f"{task}.jsonl"
                for record in found.records:
                    append_jsonl(out / name, {"model": subject.role, **record})
                for record in found.prefixes:
                    append_jsonl(out / f"{task}-prefixes.jsonl", {"model": subject.role, **record})
    write_report(out, results, names_of(config), config.lang)
    metrics: Metrics = {}
    for role, by_task in results.items():
        prefix = "" if role == "model" else f"{role}_"
        metrics |= {f"{prefix}{name}": v for found in by_task.values() for name, v in found.metrics().items()}
    return metrics


@contextmanager
def harness_of(config: EvaluateConfig) -> Iterator[dict[str, Any]]:
    """The tasks of lm-evaluation-harness as one more task, if any; ConfigError where nothing known is asked."""
    asked = (*config.task, *config.harness)
    if not asked:
        raise ConfigError("there is nothing to measure: give --task NAME, or --harness TASK of lm-eval.")
    for name, path in map(name_and_path, config.data):
        if name and name not in asked:
            raise ConfigError(f"--data {name}={path}: is not a task of this run ({', '.join(asked)}).")
    if not config.harness:
        yield {}
        return
    from zhllm.evals.harness_tasks import check_installed

    check_installed()
    from zhllm.stages._evaluate_harness import NAME, loaded

    with loaded(config) as run_harness:
        yield {NAME: run_harness}


def names_of(config: EvaluateConfig) -> dict[str, str]:
    """What the models are called in the report, by role: the names of their files or folders."""
    named = {"model": config.model.resolve().name}
    if config.adapter is not None:
        named["model"] += f" + {config.adapter.resolve().name}"
    if config.against is not None:
        named["against"] = config.against.resolve().name
    is_told_apart = len(set(named.values())) == len(named)
    return named if is_told_apart else {role: f"{name} ({role})" for role, name in named.items()}


def table(out: Path) -> list[str]:
    """The scores of a finished folder as lines of text."""
    from zhllm.stages._evaluate_report import table_lines

    return table_lines(out)


STAGE = Stage("evaluate", 4, EvaluateConfig, run, table=table)
