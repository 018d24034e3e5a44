"""evaluate: scores of a model, and of another one beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths, PromptFormatName
from zhllm.errors import DataError
from zhllm.stage import Metrics, Stage


class EvaluateConfig(Config):
    """Flags of `zhllm evaluate`."""

    model: InputPath = Field(description="Model directory or .gguf file.")
    against: InputPath | None = Field(None, description="A second model to score beside it (the base).")
    task: tuple[Literal["bits", "questions"], ...] = Field(
        min_length=1, description="bits: bits per character of text; questions: answers to a question set."
    )
    data: InputPaths = Field(
        min_length=1, description="Texts (held-out shards of a clean folder) or questions (jsonl)."
    )
    prompt_format: PromptFormatName | None = Field(
        None, description="Prompt format of a model that carries no chat template."
    )
    max_tokens: int = Field(64, gt=0, description="Longest answer, in tokens.")


def run(config: EvaluateConfig, out: Path) -> Metrics:
    """Writes scores.json and, for questions, answers.jsonl with every reply.

    A question set is JSON lines {"question": ..., "answer": ..., "accept": [other forms]}; a reply
    is right when it holds one of them. Greedy answers, every text token scored
    once: the same inputs give the same scores. A share of right answers has a 95 % bootstrap interval.

    \b
    zhllm evaluate --model merged --against llama2/ --task questions --data questions.jsonl -o scores
    """
    from zhllm.vocab.hf_files import write_json

    tasks: dict[str, Callable[..., dict[str, Any]]] = {"bits": _bits, "questions": _questions}
    scores: dict[str, Any] = {}
    for role, model in (("model", config.model), ("against", config.against)):
        if model is not None:
            scores[role] = {task: tasks[task](config, model, role, out) for task in config.task}
    write_json(out / "scores.json", scores)
    flat = {f"{name}": v for task in scores["model"].values() for name, v in task.items()}
    against = {f"against_{name}": v for task in scores.get("against", {}).values() for name, v in task.items()}
    return flat | against


def _bits(config: EvaluateConfig, model: Path, role: str, out: Path) -> dict[str, Any]:
    from zhllm.evals.bits import bits_per_char
    from zhllm.text.read.shards import held_out

    if not model.is_dir():
        raise DataError(f"{model}: --task bits needs a model directory; export reports it for GGUF files.")
    paths = [path for path in config.data if not _is_questions(path)]
    if not paths:
        raise DataError("--task bits: --data names no text (a clean folder, parquet, jsonl or txt).")
    texts = [document.text for document in held_out(paths)]
    found = bits_per_char(model, texts)
    return {
        "bits_per_char": found.bits_per_char,
        "bits_per_byte": found.bits_per_byte,
        "chars": found.chars,
        "tokens": found.tokens,
    }


def _is_questions(path: Path) -> bool:
    """Whether a file's first line is a question record."""
    if path.is_dir() or path.suffix != ".jsonl":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return '"question"' in first and '"answer"' in first


def _questions(config: EvaluateConfig, model: Path, role: str, out: Path) -> dict[str, Any]:
    from zhllm.evals.questions import bootstrap_interval, is_right, read_questions
    from zhllm.infer.engine import open_engine
    from zhllm.infer.writing import directory_format
    from zhllm.progress import append_jsonl
    from zhllm.vocab.tokenizer import Tokenizer

    # Without another task every file must be a question set, so a mistake in its first line is named too.
    paths = [path for path in config.data if config.task == ("questions",) or _is_questions(path)]
    if not paths:
        raise DataError('--task questions: --data names no question set (jsonl with "question" and "answer").')
    questions = [question for path in paths for question in read_questions(path)]
    # The model beside it (a base) may have no template; it is asked in the format of the first.
    fallback: str | None = config.prompt_format
    if role == "against" and fallback is None and config.model.is_dir():
        fallback = directory_format(Tokenizer(config.model), None).name
    chats = [[{"role": "user", "content": question.question}] for question in questions]
    with open_engine(model, fallback, parallel=4) as engine:
        replies = engine.answer_many(chats, config.max_tokens)
    hits = [is_right(question, reply) for question, reply in zip(questions, replies, strict=True)]
    for question, reply, hit in zip(questions, replies, hits, strict=True):
        record = {"model": role, "id": question.id, "question": question.question,
                  "answers": question.answers, "reply": reply, "right": hit}  # fmt: skip
        append_jsonl(out / "answers.jsonl", record)
    low, high = bootstrap_interval(hits)
    return {"accuracy": sum(hits) / len(hits), "accuracy_low": low, "accuracy_high": high, "questions": len(hits)}


STAGE = Stage("evaluate", 1, EvaluateConfig, run)
