"""The numbers of a pack: flat metrics for the manifest, and the lines that say what was left out or read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zhllm.progress import say
from zhllm.stage import Metrics

if TYPE_CHECKING:
    from zhllm.train.pack.info import PackInfo
    from zhllm.train.pack.parts import GroupParts
    from zhllm.train.pack.writer import Taken


def say_short(name: str, most: float, wanted: float) -> None:
    """A line where all text of a source makes less than its share of the characters."""
    if most < wanted:
        say(
            f"{name}: its text makes {most:.1%} of the characters, not {wanted:.1%}; with a larger "
            "--max-repeats it is read again"
        )


def say_empty(parts: Mapping[str, GroupParts]) -> None:
    """A line for each source with empty documents."""
    for name, one in parts.items():
        if one.empty_docs:
            say(f"{name}: {one.empty_docs:,} documents are empty and are left out")
        if one.unknown_tokens:
            say(f"{name}: {one.unknown_tokens:,} tokens are for text that the tokenizer cannot hold")


def say_taken(taken: Mapping[str, Taken]) -> None:
    """One line for each source of which not all was taken, once."""
    for name, one in taken.items():
        if one.left_out.docs:
            say(
                f"{name}: {one.written.docs:,} of {one.available.docs:,} documents are taken; {one.left_out.docs:,} "
                f"with {one.left_out.tokens:,} tokens are left out, for its share"
            )
        if one.repeated.docs:
            say(
                f"{name}: {one.repeated.docs:,} documents with {one.repeated.tokens:,} tokens are read again, for its "
                f"share; it has {one.available.docs:,}"
            )


def metrics_of(info: PackInfo, taken: Mapping[str, Mapping[str, Taken]], parts: Mapping[str, GroupParts]) -> Metrics:
    """Counts by set and by source, rows, packing efficiency, and everything that is not one document once."""
    from zhllm.train.pack.info import efficiency, rows_of

    train = info.sets["train"]
    metrics: Metrics = {"chars_per_token": train.chars / train.tokens}
    for name, counts in info.sets.items():
        key = name.replace("-", "_")
        metrics |= {f"{key}_docs": counts.docs, f"{key}_tokens": counts.tokens, f"{key}_chars": counts.chars}
    metrics["rows"] = rows_of(train.tokens, info.seq_len)
    metrics["packing_efficiency"] = efficiency(train, info.seq_len)
    metrics["empty_docs"] = sum(one.empty_docs for one in parts.values())
    metrics["unknown_tokens"] = sum(one.unknown_tokens for one in parts.values())
    for what in ("left_out", "repeated"):
        counted = [getattr(one, what) for one in taken["train"].values()]
        metrics |= {f"{what}_docs": sum(c.docs for c in counted), f"{what}_tokens": sum(c.tokens for c in counted)}
    if len(info.sources) > 1:
        for name, one in taken["train"].items():
            metrics |= _of_source(name.replace("-", "_"), one, train.tokens)
    return metrics


def _of_source(key: str, one: Taken, total: int) -> Metrics:
    return {
        f"train_tokens_{key}": one.written.tokens,
        f"train_share_{key}": one.written.tokens / total,
        f"chars_per_token_{key}": one.available.chars / one.available.tokens,
        f"left_out_tokens_{key}": one.left_out.tokens,
        f"repeated_tokens_{key}": one.repeated.tokens,
    }
