"""The tasks of `evaluate` that read what a model writes: references, and signs of a model that is broken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from zhllm.evals.code_tasks import NO_CODE, CodeTask, has_code, program_of
from zhllm.evals.generation import PER_ITEM, best, bleu, bleu_counts, number_match
from zhllm.evals.generation_sets import Item
from zhllm.evals.health import health_prompts, signs_of
from zhllm.evals.intervals import ALL_SAME, ONE_ITEM, ROUNDS, Score, mean_score
from zhllm.evals.sandbox import protection, run_program
from zhllm.infer.engine import open_engine
from zhllm.infer.sampling import Sampling
from zhllm.progress import say
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_tasks import (
    ADAPTER,
    ANSWERED_AT_ONCE,
    Measured,
    Subject,
    TaskResult,
    answers,
    fallback_of,
    written_protocol,
)

# BLEU is of a whole set, so each round of its bootstrap adds up the counts of the items drawn.
BLEU_ROUNDS = ROUNDS // 4
# What becomes of a program, in words.
OUTCOMES = {"passed": "passed", "failed": "were wrong", "time": "took too long", NO_CODE: "held no code"}


def generate(config: EvaluateConfig, subject: Subject, items: Sequence[Item]) -> TaskResult:
    """Greedy answers against references: exact match, F1, BLEU, ROUGE-L, METEOR, and the final number."""
    found = answers(config, subject, [item.prompt for item in items], [item.id for item in items])
    pairs = {i: (items[i], reply) for i, reply in found.replies.items()}
    by_item: dict[str, list[float]] = {
        name: [best(measure, reply, item.references) for item, reply in pairs.values()]
        for name, measure in PER_ITEM.items()
    }
    prompts = [item.prompt for item in items]
    measured = [found.mean(f"generate_{name}", values, prompts) for name, values in by_item.items()]
    same = [prompts[i] for i in pairs]
    counts = [bleu_counts(reply, item.references) for item, reply in pairs.values()]
    measured.append(Measured("generate_bleu", _bleu_score(counts, same)))
    numbers = {i: best(number_match, reply, of.references) for i, (of, reply) in pairs.items() if of.is_number}
    if numbers:
        measured.append(_numbers(numbers, items))
    result = TaskResult(
        measured, written_protocol(config, subject, "generate", [[i.prompt, i.references] for i in items])
    )
    result.flat["generate_items"] = len(pairs)
    for place, (i, (item, reply)) in enumerate(pairs.items()):
        figures = {name: round(values[place], 4) for name, values in by_item.items()}
        figures |= {"number": numbers[i]} if i in numbers else {}
        result.records.append(
            {"id": item.id, "prompt": item.prompt, "references": item.references, "reply": reply, **figures}
        )
    result.records += [
        {"id": items[i].id, "prompt": prompts[i], "references": items[i].references, "too_long_tokens": tokens}
        for i, tokens in found.too_long.items()
    ]
    found.tell(result, "prompts", config.max_tokens)
    result.add_repeats(same)
    return result


def _numbers(found: Mapping[int, float], items: Sequence[Item]) -> Measured:
    """Whether the last number was right, of the items that ask for one; those that were not asked are NaN."""
    asked = [i for i, item in enumerate(items) if item.is_number]
    score = mean_score(list(found.values()), clusters=[items[i].prompt for i in found])
    values = [found.get(i, math.nan) for i in asked]
    return Measured("generate_number", score, values, clusters=[items[i].prompt for i in asked])


def code(config: EvaluateConfig, subject: Subject, tasks: Sequence[CodeTask]) -> TaskResult:
    """Code tasks: the share whose tests pass with the greedy answer (pass@1), in a sandbox, which is tried first."""
    held = protection()
    say(held.told())
    found = answers(config, subject, [task.prompt for task in tasks], [task.id for task in tasks])
    outcomes = [outcome_of(tasks[i], reply) for i, reply in found.replies.items()]
    values = [float(outcome == "passed") for outcome in outcomes]
    without = [float(outcome == NO_CODE) for outcome in outcomes]
    records: list[dict[str, object]] = [
        {"id": tasks[i].id, "prompt": tasks[i].prompt, "reply": reply, "outcome": outcome}
        for (i, reply), outcome in zip(found.replies.items(), outcomes, strict=True)
    ]
    records += [
        {"id": tasks[i].id, "prompt": tasks[i].prompt, "too_long_tokens": tokens}
        for i, tokens in found.too_long.items()
    ]
    asked = [[task.prompt, task.before, task.tests] for task in tasks]
    protocol = written_protocol(config, subject, "code", asked)
    protocol["sandbox"] = {"by": held.means, "kept_from": held.kept_from, "not_kept_from": held.not_kept_from}
    same = [task.prompt for task in tasks]
    measured = [found.mean(f"code_{name}", of, same) for name, of in (("pass_at_1", values), ("no_code", without))]
    result = TaskResult(measured, protocol, {"code_tasks": len(outcomes)}, notes=[held.told()], records=records)
    found.tell(result, "tasks", config.max_tokens)
    result.add_repeats([same[i] for i in found.replies])
    counts = Counter(outcome.partition(":")[0] for outcome in outcomes)
    told = ((counts[kind], words) for kind, words in OUTCOMES.items())
    result.notes.append(f"Of {len(outcomes)} replies {', '.join(f'{count} {words}' for count, words in told)}.")
    return result


def outcome_of(task: CodeTask, reply: str) -> str:
    """What became of a reply's program: as the sandbox says, or NO_CODE where there was nothing to run."""
    outcome = run_program(program_of(task, reply))
    return outcome if outcome == "passed" or has_code(reply) else NO_CODE


def _bleu_score(counts: Sequence[Sequence[int]], clusters: Sequence[str]) -> Score:
    """BLEU of all counts, drawn again by what was asked; one prompt alone, or no reply like any, has no interval."""
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    table, rng = np.zeros((len(names), len(counts[0])), np.int64), np.random.default_rng(0)
    np.add.at(table, [names[name] for name in clusters], np.array(counts))
    rounds = [bleu(table[rng.integers(0, len(table), len(table))].sum(0)[None].tolist()) for _ in range(BLEU_ROUNDS)]
    low, high = map(float, np.quantile(rounds, (0.025, 0.975)))
    units = len(names) if len(names) < len(counts) else None
    if low == high:
        why = ONE_ITEM if len(names) == 1 else ALL_SAME
        return Score(bleu(counts), None, None, len(counts), units=units, no_interval=why)
    return Score(bleu(counts), low, high, len(counts), units=units)


def health(config: EvaluateConfig, subject: Subject, data: None) -> TaskResult:
    """The share of answers to a fixed set of prompts that stop, and of those that show each sign of a broken model."""
    prompts = health_prompts()
    replies = _replies(config, subject, [prompt.text for prompt in prompts])
    signs = [signs_of(prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
    measured = []
    for name in ("is_healthy", *asdict(signs[0])):
        values = [float(getattr(found, name)) for found in signs]
        measured.append(Measured(f"health_{name.removeprefix('is_')}", mean_score(values), values))
    records = [
        {"prompt": prompt.text, "language": prompt.language, "reply": text, **asdict(found)}
        for prompt, (text, _), found in zip(prompts, replies, signs, strict=True)
    ]
    asked = [[prompt.text, prompt.language] for prompt in prompts]
    protocol = written_protocol(config, subject, "health", asked)
    return TaskResult(measured, protocol, {"health_prompts": len(prompts)}, records=records)


def _replies(config: EvaluateConfig, subject: Subject, asked: Sequence[str]) -> list[tuple[str, bool]]:
    """The greedy answer to each question and whether the model ended it."""
    adapters = {} if subject.adapter is None else {ADAPTER: subject.adapter}
    sampling = Sampling(max_tokens=config.max_tokens)
    with open_engine(subject.model, fallback_of(config, subject), ANSWERED_AT_ONCE, adapters) as engine:

        def reply(question: str) -> tuple[str, bool]:
            written = engine.stream([{"role": "user", "content": question}], sampling, ADAPTER if adapters else None)
            return "".join(written), written.finish == "stop"

        with ThreadPoolExecutor(ANSWERED_AT_ONCE) as pool:
            return list(pool.map(reply, asked))
