"""synth: question-answer chats from the user's own documents, each with the evidence that it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zhllm.stage import Metrics, Stage
from zhllm.stages._synth_config import SynthConfig

if TYPE_CHECKING:
    from zhllm.text.synth.rules import Settings


def run(config: SynthConfig, out: Path) -> Metrics:
    """Ask an OpenAI-compatible endpoint, or rules (--offline), for questions and answers about the documents.

    Writes chats-*.jsonl for sft (meta: the evidence as it stands in its document, the kind of the question, the
    rule), rejected.jsonl (every pair not kept, with its reason), report.json and report.html; answers.jsonl with
    what the model wrote. An answer is kept where its evidence stands in the passage, its numbers, names and codes
    do too, its wording rests on it, and its question can be understood alone. Exact and near duplicates go;
    questions with two different answers go out of the closed book. A run that was killed asks only what was not
    answered yet. Nothing leaves this machine and its private network without --allow-remote; redirects and proxies
    are not followed; a key is read from the environment only. Proves that every chat's evidence stands at its
    offset in its document and that every pair has one outcome.

    \b
    zhllm synth --documents runs/demo/collect --offline -o runs/synth
    zhllm synth --documents runs/demo/collect --model qwen3-8b --style both --concurrency 8 -o runs/synth
    """
    from zhllm.stages._synth_make import made_by_model, made_by_rules, write
    from zhllm.stages._synth_report import write_report

    settings = _settings(config)
    made = made_by_rules(config, settings) if config.offline else made_by_model(config, settings, out)
    tally = write(made, config, settings, out)
    return write_report(out, tally, config)


def _settings(config: SynthConfig) -> Settings:
    from zhllm.text.synth.grounding import Limits
    from zhllm.text.synth.rules import Settings

    limits = Limits(
        language=config.language,
        max_answer_chars=config.max_answer_chars,
        stands_alone=config.style != "grounded",
    )
    shares = config.shares()
    if config.style == "closed-book":
        shares.pop("unanswerable", None)
    return Settings(config.seed, config.style, config.chunk_chars, config.per_document, shares, limits)  # type: ignore[arg-type]


STAGE = Stage("synth", 1, SynthConfig, run, resumable=True)
