"""The task `preference` of `evaluate`: pairs judged by one model."""

from __future__ import annotations

from collections.abc import Container, Sequence

from zhllm.evals.intervals import Score, mean_score
from zhllm.evals.preferences import CHANCE, Judged, digest_of, judge_pairs, where_of
from zhllm.progress import bar, say
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import chat_format_of, open_scorer
from zhllm.stages._evaluate_tasks import Measured, Subject, TaskResult, fallback_of, spread, tell_long
from zhllm.text.chats import Preference

# Names of the figures, and whether likelihoods are compared per token.
WAYS = (("preference", False), ("preference_per_token", True))


def preferences(config: EvaluateConfig, subject: Subject, read: tuple[Sequence[Preference], int]) -> TaskResult:
    """The share of pairs whose better answer is the likelier, by sum and per token, and by how much.

    `read`: the pairs, and how many labelled answers were no pairs.
    """
    pairs, halves = read
    chat = chat_format_of(subject.model, fallback_of(config, subject))
    with (
        open_scorer(subject.model, subject.adapter, chat, subject.window) as scorer,
        bar(f"{subject.role}: preferences", len(pairs), "pairs") as shown,
    ):
        judged, long = judge_pairs(scorer, pairs, chat, lambda count: shown.advance(count), config.max_too_long)
        window = scorer.context
    protocol = {"hash": digest_of(pairs, chat), "format": chat.name, "window_tokens": window}
    result = TaskResult(_measured(judged, pairs, long), protocol)
    result.tables |= _by_source(judged)
    cut = sum(item.cut for item in judged)
    result.flat |= {"preference_pairs": len(judged), "preference_cut_prompts": cut}
    result.flat |= {"preference_too_long": len(long), "preference_halves": halves}
    if long:
        tell_long(result, [where_of(pairs[i]) for i in long], len(judged), window, "pairs")
    if halves:
        told = f"{halves} answers that are only labelled good or bad, without another one beside them, were left out."
        say(told)
        result.notes.append(told)
    if cut:
        say(f"{cut} of {len(judged)} prompts lost their beginning, so that the answers fit")
        result.notes.append(f"{cut} prompts lost their beginning, so that the answers fit.")
    shorter = mean_score([item.shorter_is_right() for item in judged]).value
    result.notes.append(f"Choosing the answer with fewer tokens would get {shorter:.4f} of the pairs right.")
    result.records = [_record(item) for item in judged]
    result.records += [
        {"id": pairs[i].id, "source": pairs[i].source, "asked": pairs[i].digest().hex(), "right": None,
         "too_long_tokens": tokens}
        for i, tokens in long.items()
    ]  # fmt: skip
    result.add_repeats(_asked(judged))
    return result


def _measured(judged: Sequence[Judged], pairs: Sequence[Preference], long: Container[int]) -> list[Measured]:
    found: list[Measured] = []
    same, every = _asked(judged), [pair.digest().hex() for pair in pairs]
    for name, per_token in WAYS:
        right = [item.share_right(per_token) for item in judged]
        margins = [item.margin(per_token) for item in judged]
        accuracy, margin = mean_score(right, CHANCE, clusters=same), mean_score(margins, 0.0, clusters=same)
        for what, score, items in (("accuracy", accuracy, right), ("margin_nats", margin, margins)):
            found.append(Measured(f"{name}_{what}", score, spread(items, long, len(pairs)), clusters=every))
    return found


def _asked(judged: Sequence[Judged]) -> list[str]:
    """What each pair says: pairs that say the same repeat each other."""
    return [item.pair.digest().hex() for item in judged]


def _by_source(judged: Sequence[Judged]) -> dict[str, dict[str, Score]]:
    sources = sorted({item.pair.source for item in judged})
    if len(sources) < 2:
        return {}
    return {
        f"{name}_accuracy: sources": {
            source: mean_score([i.share_right(per_token) for i in own], CHANCE, clusters=_asked(own))
            for source, own in ((source, [i for i in judged if i.pair.source == source]) for source in sources)
        }
        for name, per_token in WAYS
    }


def _record(item: Judged) -> dict[str, object]:
    return {
        "id": item.pair.id, "source": item.pair.source, "asked": item.pair.digest().hex(),
        "chosen_nats": round(item.chosen_nats, 6), "rejected_nats": round(item.rejected_nats, 6),
        "chosen_tokens": item.chosen_tokens, "rejected_tokens": item.rejected_tokens,
        "right": item.share_right(), "margin_nats": round(item.margin(), 6),
        "per_token_right": item.share_right(per_token=True), "per_token_margin_nats": round(item.margin(True), 6),
        "cut": item.cut,
    }  # fmt: skip
