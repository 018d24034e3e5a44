"""The flags of `zhllm evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths, NamedInputPaths, PromptFormatName

TaskName = Literal["bits", "questions", "choice", "own", "generate", "code", "health", "preference", "memory"]


class EvaluateConfig(Config):
    """Flags of `zhllm evaluate`."""

    model: InputPath = Field(description="Model directory or .gguf file.")
    adapter: InputPath | None = Field(None, description="Adapter to score on the model directory, without merging it.")
    against: InputPath | None = Field(None, description="A second model to score beside it (the base).")
    task: tuple[TaskName, ...] = Field(
        (),
        description="bits: bits per character of text; questions: answers to a question set; choice: multiple choice; "
        "own: multiple choice made of your held-out documents; "
        "generate: answers against references (exact match, F1, BLEU, ROUGE-L, METEOR, final number); "
        "code: HumanEval or MBPP tasks, run in a sandbox; "
        "health: signs of a broken model, no data needed; preference: which answer of a pair is the likelier; "
        "memory: canaries of clean --canaries that come out of the model.",
    )
    data: NamedInputPaths = Field(
        (),
        description="Texts (held-out shards of a clean folder), questions (jsonl), multiple-choice sets (csv, jsonl, "
        "a folder with test/ and dev/), pairs (a folder of convert), canaries (a folder of clean). "
        "TASK=PATH gives one task its data.",
    )
    prompt_format: PromptFormatName | None = Field(
        None, description="Prompt format of a model that carries no chat template."
    )
    max_tokens: int = Field(64, gt=0, description="Longest answer, in tokens.")
    shots: int = Field(0, ge=0, le=100, description="choice: worked examples before each question, from dev/.")
    score_by: tuple[Literal["letter", "text"], ...] = Field(
        ("letter",),
        min_length=1,
        description="choice: the likelihood of the option's letter, of its full text (sum and per character), or both.",
    )
    max_too_long: float = Field(
        0.05, ge=0, le=1,
        description="Share of a task's questions, prompts or pairs that may be left out, and are counted, as the model "
        "cannot read them whole.",
    )  # fmt: skip
    chat: bool = Field(False, description="choice, harness: questions in the model's chat template, examples as turns.")
    own_questions: int = Field(200, gt=0, description="own: questions of each kind (numbers, names, terms) at most.")
    allow_code: bool = Field(False, description="code: run what the model writes, with limits of time and memory.")
    examples: InputPaths = Field((), description="choice: files or folders of worked examples instead of dev/.")
    harness: tuple[str, ...] = Field(
        (), description="Tasks and groups of lm-evaluation-harness, asked and marked by it (pip install lm-eval)."
    )
    harness_include: InputPaths = Field((), description="harness: folders of your own task files (yaml).")
    harness_shots: int | None = Field(None, ge=0, description="harness: worked examples instead of the task's own.")
    harness_limit: int | None = Field(None, gt=0, description="harness: items of each task at most, to try it out.")
    allow_download: bool = Field(False, description="harness: let lm-eval fetch data from the network.")
    columns: tuple[str, ...] = Field(
        (), description="choice: columns of your own file: question=NAME answer=NAME options=NAME,NAME,..."
    )
    canary_candidates: int = Field(
        255,
        ge=0,
        le=100_000,
        description="memory: random secrets that each planted one is ranked among; 0 leaves the exposure out.",
    )
    lang: Literal["en", "zh"] = Field("en", description="Language of report.html.")
