"""What is measured of a tokenizer without a right or wrong: compression by script, coverage, pieces not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zhllm.text.script import to_simplified, to_traditional
from zhllm.text.standard import common_characters, standard_characters, traditional_characters
from zhllm.vocab.measure import Compression, Measured, compression, token_counts, uncovered
from zhllm.vocab.sample import Sample

EXAMPLES = 8


@dataclass(frozen=True)
class Coverage:
    """How many of a list of characters are one whole token, and some that are not."""

    name: str
    characters: int
    missing: list[str]

    def as_json(self) -> dict[str, Any]:
        """The coverage as the report writes it."""
        covered = self.characters - len(self.missing)
        return {"characters": self.characters, "covered": covered, "missing": self.missing[:EXAMPLES]}


@dataclass(frozen=True)
class Seen:
    """Of some pieces, how many the texts use fewer than `min_count` times, the rarest first."""

    what: str
    pieces: int
    min_count: int
    below: list[tuple[str, int]]

    def as_json(self) -> dict[str, Any]:
        """The counts as the report writes them."""
        examples = [{"piece": piece, "count": count} for piece, count in self.below[:EXAMPLES]]
        return {"what": self.what, "pieces": self.pieces, "min_count": self.min_count,
                "below": len(self.below), "examples": examples}  # fmt: skip


def word_count(text: str) -> int:
    """The words of a text as jieba's dictionary cuts it, without guessing unknown ones; marks are no words."""
    import rjieba

    return sum(word[0].isalnum() for word in rjieba.cut(text, False))


def coverage(tokenizer: Measured) -> list[Coverage]:
    """The common 3,500, all 8,105 standard characters, and the Traditional forms of the common ones."""
    tables = {
        "common characters": common_characters(),
        "standard characters": standard_characters(),
        "traditional forms of the common": traditional_characters(),
    }
    return [Coverage(name, len(table), uncovered(tokenizer, table)) for name, table in tables.items()]


def by_script(sample: Sample) -> dict[str, list[str]]:
    """The sample's Chinese in Simplified and in Traditional characters, and its English."""
    return {
        "simplified": [to_simplified(text) for text in sample.chinese],
        "traditional": [to_traditional(text) for text in sample.chinese],
        "english": sample.english,
    }


def measured(
    tokenizers: Mapping[str, Measured], scripts: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Compression]]:
    """For each tokenizer, compression, words and byte fallback of each script's texts."""
    words = {text: word_count(text) for texts in scripts.values() for text in texts}
    return {
        key: {name: compression(tokenizer, texts, words.__getitem__) for name, texts in scripts.items()}
        for key, tokenizer in tokenizers.items()
    }


def compression_as_json(found: Compression) -> dict[str, float]:
    """The figures of a compression as the report writes them."""
    return {
        "chars": found.chars,
        "tokens": found.tokens,
        "chars_per_token": found.chars_per_token,
        "tokens_per_word": found.fertility,
        "byte_fallback_rate": found.byte_fallback_rate,
    }


def seen(tokenizer: Measured, texts: Sequence[str], pieces: Mapping[str, int], what: str, min_count: int) -> Seen:
    """Which of `pieces` the texts use fewer than `min_count` times."""
    counts = token_counts(tokenizer, texts)
    rare = [(text, counts[index]) for text, index in pieces.items() if counts[index] < min_count]
    return Seen(what, len(pieces), min_count, sorted(rare, key=lambda item: item[1]))
