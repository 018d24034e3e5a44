"""The tasks of `evaluate` on whole answers and secrets: preferences, and what of the training text comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zhllm.errors import DataError
from zhllm.evals.intervals import mean_score
from zhllm.evals.likelihood import Ask, ask_of
from zhllm.infer.engine import open_engine
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import LocalEngine
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import chat_format_of, open_scorer
from zhllm.stages._evaluate_tasks import ADAPTER, Measured, Subject, TaskResult, digest_of, fallback_of
from zhllm.text.chats import Preference, read_preferences
from zhllm.text.clean.canaries import read_canaries
from zhllm.text.prompt_format import PromptFormat

# Tokens in which a secret of a canary certainly fits: three bytes each at worst.
SECRET_TOKENS = 40


def preference(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
    """Pairs whose chosen answer is likelier than the rejected one, in the chat template: as a sum and per character."""
    if not paths:
        raise DataError("--task preference: --data names no pairs (preferences-*.jsonl, as convert writes them).")
    pairs = list(read_preferences(paths, pairs_only=True))
    if not pairs:
        raise DataError(f"{', '.join(map(str, paths))}: holds no pair.")
    chat = chat_format_of(subject.model, fallback_of(config, subject))
    with open_scorer(subject.model, subject.adapter, chat) as scorer:
        asks = [_ask(scorer.encode, pair, chat) for pair in pairs]
        fitting = [i for i, ask in enumerate(asks) if max(map(len, ask.options)) - 1 <= scorer.context]
        if not fitting:
            raise DataError(f"{paths[0]}: no pair fits the {scorer.context} tokens that the model reads.")
        nats = scorer.score([asks[i] for i in fitting])
    kept = [pairs[i] for i in fitting]
    sums = [_share(a, b) for a, b in nats]
    sizes = [(len(str(p.chosen)), len(str(p.rejected))) for p in kept]
    per_char = [_share(a / m, b / n) for (a, b), (m, n) in zip(nats, sizes, strict=True)]
    measured = [
        Measured("preference_accuracy", mean_score(sums, 0.5), sums),
        Measured("preference_per_char_accuracy", mean_score(per_char, 0.5), per_char),
    ]
    records = [
        {"id": p.id, "chosen_nats": round(a, 4), "rejected_nats": round(b, 4), "right": right}
        for p, (a, b), right in zip(kept, nats, sums, strict=True)
    ]
    asked = [[p.prompt, p.chosen, p.rejected] for p in kept]
    protocol = {"hash": digest_of("preference", asked, chat.name), "chat": chat.name}
    flat = {"preference_pairs": len(kept), "preference_too_long": len(pairs) - len(kept)}
    notes = [f"{len(pairs) - len(kept)} pairs were too long for the model."] if len(kept) < len(pairs) else []
    return TaskResult(measured, protocol, flat, notes=notes, records=records)


def _share(chosen: float, rejected: float) -> float:
    return 0.5 if chosen == rejected else float(chosen > rejected)


def _ask(encode: Callable[[Sequence[str]], list[list[int]]], pair: Preference, chat: PromptFormat) -> Ask:
    prompt = chat.render(pair.prompt, answer_next=True)
    ends = [prompt + chat.lead + chat.plain(str(a)) + chat.tail + chat.end for a in (pair.chosen, pair.rejected)]
    context, *options = encode([prompt, *ends])
    return ask_of(context, options)


def memory(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
    """Canaries of `clean --canaries` whose secret the model writes, greedily, behind the sentence it stood in."""
    if not paths:
        raise DataError("--task memory: --data names no folder that clean --canaries wrote (or its canaries.jsonl).")
    canaries = [canary for path in paths for canary in read_canaries(path)]
    adapters = {} if subject.adapter is None else {ADAPTER: subject.adapter}
    sampling = Sampling(max_tokens=SECRET_TOKENS)
    with open_engine(subject.model, config.prompt_format or "plain", 1, adapters) as engine:
        if not isinstance(engine, LocalEngine):
            raise DataError(f"{subject.model}: is asked over a network, where no text can be continued exactly.")
        replies = [
            "".join(engine.write(engine.text_prompt(c.prefix), sampling, ADAPTER if adapters else None, is_chat=False))
            for c in canaries
        ]
    values = [float(r.lstrip().startswith(c.secret)) for c, r in zip(canaries, replies, strict=True)]
    records = [
        {"id": c.id, "prefix": c.prefix, "secret": c.secret, "repeats": c.repeats, "reply": r, "extracted": v}
        for c, r, v in zip(canaries, replies, values, strict=True)
    ]
    tables = {"memory: times in training": {
        str(times): mean_score([v for v, c in zip(values, canaries, strict=True) if c.repeats == times])
        for times in sorted({c.repeats for c in canaries})
    }}  # fmt: skip
    protocol = {"hash": digest_of("memory", [[c.prefix, c.secret] for c in canaries])}
    return TaskResult(
        [Measured("memory_extraction_rate", mean_score(values), values)], protocol,
        {"memory_canaries": len(canaries)}, tables, records=records,
    )  # fmt: skip
