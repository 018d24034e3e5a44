"""The task `memory` of `evaluate`: canaries extracted from one model, and how exposed they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.evals.intervals import mean_score
from zhllm.evals.likelihood import TorchScorer
from zhllm.evals.memorisation import Ranked, chance_exposure_bits, controls_for, is_extracted, rank_secrets
from zhllm.progress import bar
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import check_gguf, context_of, torch_scorer, whole_gguf_scorer
from zhllm.stages._evaluate_tasks import Measured, Subject, TaskResult, digest_of
from zhllm.text.clean.canaries import KINDS, Canary

WRITTEN_AT_ONCE = 32
# Written beyond the secret's own tokens, as another cut of the same text may be longer.
MORE_TOKENS = 4
# llama.cpp takes the memory of its context at the start, and canaries are short.
CANARY_CONTEXT = 1024
NOT_PLANTED = "not planted"
OF_FILES = "Exposure of a GGUF file is that of its weights, multiplied in float32; llama.cpp also rounds activations."
# Of the tokens of random secrets; chance alone does not bring planted ones below.
KNOWN_SHARE = 0.95


def memorisation(config: EvaluateConfig, subject: Subject, canaries: Sequence[Canary]) -> TaskResult:
    """The share of planted secrets that the model writes, their exposure, and both of canaries never planted."""
    every = [*canaries, *controls_for(canaries)]
    if subject.model.is_dir():
        texts, ranks = _directory(config, subject, every)
    elif subject.model.suffix == ".gguf":
        texts, ranks = _gguf(config, subject, every)
    else:
        raise DataError(f"{subject.model}: is neither a model directory nor a .gguf file.")
    groups = [str(canary.repeats) for canary in canaries] + [NOT_PLANTED] * (len(every) - len(canaries))
    hits = [is_extracted(canary, text) for canary, text in zip(every, texts, strict=True)]
    result = _result(canaries, groups, hits, ranks, config.canary_candidates)
    if ranks and subject.model.is_file():
        result.notes.append(OF_FILES)
    asked = [[c.prefix, c.secret, group] for c, group in zip(every, groups, strict=True)]
    result.protocol = {"hash": digest_of("memory", asked, config.canary_candidates)}
    if ranks:
        result.protocol["candidates"] = config.canary_candidates
    result.records = [
        {"id": c.id, "is_control": i >= len(canaries), "repeats": group, "kind": c.kind, "prefix": c.prefix,
         "secret": c.secret, "continuation": text, "extracted": hit,
         **({"rank": ranks[i].rank, "exposure_bits": ranks[i].exposure_bits} if ranks else {})}
        for i, (c, group, text, hit) in enumerate(zip(every, groups, texts, hits, strict=True))
    ]  # fmt: skip
    return result


def _result(
    canaries: Sequence[Canary], groups: Sequence[str], hits: list[bool], ranks: Sequence[Ranked], candidates: int
) -> TaskResult:
    """The figures of planted canaries against those of controls, by repeats and by kind of secret."""
    count = len(canaries)
    result = TaskResult([], {}, {"memory_canaries": count, "memory_controls": len(hits) - count})
    # Nobody guesses a secret of 33 bits: one that comes out is no chance.
    figures: list[tuple[str, Any, list[Any], float]] = [("memory_extraction_rate", mean_score, hits, 0.0)]
    if ranks:
        exposures = [rank.exposure_bits for rank in ranks]
        in_bits = partial(mean_score, is_share=False)
        figures.append(("memory_exposure_bits", in_bits, exposures, chance_exposure_bits(candidates)))
    kinds = [canary.kind for canary in canaries]
    for name, score, values, chance in figures:
        planted, controls = list(map(float, values[:count])), list(map(float, values[count:]))
        result.measured.append(Measured(name, score(planted, chance), planted))
        result.measured.append(Measured(f"{name}_controls", score(controls, chance), controls))
        for title, names in (("times planted", groups), ("kinds", kinds)):
            result.tables[f"{name}: {title}"] = {
                group: score([float(v) for v, of in zip(values, names, strict=False) if of == group], chance)
                for group in _in_order(names)
            }
    result.notes += [*_of_tokenizer(ranks[:count]), *_at_the_limit(ranks[:count])]
    return result


def _of_tokenizer(ranks: Sequence[Ranked]) -> list[str]:
    """A warning where planted secrets are made of fewer tokens than random ones, which makes them likelier."""
    own = sum(rank.tokens for rank in ranks)
    others = sum(rank.candidate_tokens for rank in ranks)
    if own > KNOWN_SHARE * others or not ranks:
        return []
    return [
        f"Planted secrets are cut into {own / len(ranks):.1f} tokens and random ones into {others / len(ranks):.1f}: "
        "the tokenizer was learnt from planted text, and some of the exposure is its own. Compare with --against."
    ]


def _at_the_limit(ranks: Sequence[Ranked]) -> list[str]:
    """How many secrets are likelier than every candidate, so that their exposure may be higher than is measured."""
    first = [rank for rank in ranks if rank.rank == 1]
    if not first:
        return []
    limit = math.log2(first[0].candidates + 1)
    return [
        f"Likelier than all {first[0].candidates} random ones: {len(first)} of {len(ranks)} planted secrets. Their "
        f"exposure is {limit:.1f} bits or more; a larger --canary-candidates shows how much more."
    ]


def _in_order(groups: Sequence[str]) -> list[str]:
    """The groups, the fewest repeats first, then kinds, and the controls last."""
    order = {name: place for place, name in enumerate((*KINDS, NOT_PLANTED), start=10**9)}
    return sorted(set(groups), key=lambda name: order.get(name) or int(name))


def _directory(config: EvaluateConfig, subject: Subject, canaries: Sequence[Canary]) -> tuple[list[str], list[Ranked]]:
    """What the model writes behind each sentence, and each secret's rank."""
    scorer = torch_scorer(subject.model, subject.adapter, None)
    texts = _written(scorer, subject.model, canaries)
    return texts, _ranked(config, subject, scorer, canaries)


def _ranked(config: EvaluateConfig, subject: Subject, scorer: TorchScorer, canaries: Sequence[Canary]) -> list[Ranked]:
    if not config.canary_candidates:
        return []
    with bar(f"{subject.role}: exposure", len(canaries), "canaries") as shown:
        return rank_secrets(scorer, canaries, config.canary_candidates, lambda n: shown.advance(n))


def _written(scorer: TorchScorer, folder: Path, canaries: Sequence[Canary]) -> list[str]:
    from zhllm.infer.transformers_engine import decode_stream, greedy
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(folder)
    prompts = scorer.encode([canary.prefix for canary in canaries])
    limit = _longest(canaries, prompts, scorer.encode([canary.text for canary in canaries]), scorer.context)
    eos = tokenizer.special_id("eos")
    ends = [] if eos is None else [eos]
    texts = [""] * len(canaries)
    order = sorted(range(len(canaries)), key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(order), WRITTEN_AT_ONCE):
        indices = order[start : start + WRITTEN_AT_ONCE]
        scorer.before_forward(len(indices))
        made = greedy(scorer.model, [prompts[i] for i in indices], limit, ends, scorer.context)
        for index, ids in zip(indices, made, strict=True):
            texts[index] = "".join(decode_stream(tokenizer, iter(ids), prompts[index]))
    return texts


def _longest(
    canaries: Sequence[Canary], prompts: Sequence[Sequence[int]], whole: Sequence[Sequence[int]], context: int
) -> int:
    """Tokens to write so that every secret can be whole; DataError where the model does not read as many."""
    longest = max(range(len(whole)), key=lambda i: len(whole[i]))
    if (needed := len(whole[longest]) + MORE_TOKENS) > context:
        canary = canaries[longest]
        raise DataError(
            f"canary {canary.id} ({canary.prefix[:12]}...) takes {needed} tokens with its secret, and the model reads "
            f"{context}. Score a model that reads more."
        )
    return max(len(text) - len(prompt) for prompt, text in zip(prompts, whole, strict=True)) + MORE_TOKENS


def _gguf(config: EvaluateConfig, subject: Subject, canaries: Sequence[Canary]) -> tuple[list[str], list[Ranked]]:
    """What llama.cpp writes behind each sentence, and each secret's rank by the weights of the file."""
    from zhllm.infer.llamacpp import LlamaServer

    check_gguf(subject.model, subject.adapter)
    context = min(context_of(subject.model), CANARY_CONTEXT)
    with LlamaServer(subject.model, n_ctx=context, n_parallel=1) as server:
        prompts = server.tokenize([canary.prefix for canary in canaries], add_special=True)
        whole = server.tokenize([canary.text for canary in canaries], add_special=True)
        limit = _longest(canaries, prompts, whole, context)
        texts = [server.complete(prompt, limit).text for prompt in prompts]
    if not config.canary_candidates:
        return texts, []
    with whole_gguf_scorer(subject.model, "Free some, or leave the exposure out: --canary-candidates 0.") as scorer:
        return texts, _ranked(config, subject, scorer, canaries)
