"""What a vocabulary does to texts: compression, fertility, byte fallback, coverage, how often a piece is used.

Every figure is taken over raw texts by the tokenizer's own encoder; nothing is estimated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Measured(Protocol):
    """What the measures need of a tokenizer (`vocab.bases.Base` is one)."""

    size: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without specials."""

    def encode_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """What each text becomes inside a longer one: no dummy `▁`, no short cut for whole words."""

    @property
    def partial_ids(self) -> Collection[int]:
        """Ids that are bytes or parts of characters."""


@dataclass(frozen=True)
class Compression:
    """Counts over all texts together; `words` is 0 where they were not counted."""

    chars: int
    bytes: int
    tokens: int
    partial_tokens: int
    words: int = 0

    @property
    def chars_per_token(self) -> float:
        """Characters per token; 0 when there are none."""
        return self.chars / self.tokens if self.tokens else 0.0

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per token."""
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def fertility(self) -> float:
        """Tokens per word."""
        return self.tokens / self.words if self.words else 0.0

    @property
    def byte_fallback_rate(self) -> float:
        """Share of the tokens that are bytes or parts of characters."""
        return self.partial_tokens / self.tokens if self.tokens else 0.0


def compression(tokenizer: Measured, texts: Sequence[str], words: Callable[[str], int] | None = None) -> Compression:
    """The counts over `texts`; `words` counts the words of one text."""
    rows = tokenizer.encode(texts)
    partial = tokenizer.partial_ids
    return Compression(
        chars=sum(map(len, texts)),
        bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
        tokens=sum(map(len, rows)),
        partial_tokens=sum(i in partial for row in rows for i in row),
        words=sum(map(words, texts)) if words is not None else 0,
    )


def uncovered(tokenizer: Measured, characters: Sequence[str]) -> list[str]:
    """The characters that are not a single whole token inside a text."""
    rows = tokenizer.encode_inside(list(characters))
    partial = tokenizer.partial_ids
    return [c for c, row in zip(characters, rows, strict=True) if len(row) != 1 or row[0] in partial]


def token_counts(tokenizer: Measured, texts: Iterable[str]) -> Counter[int]:
    """How often each id is used over the texts."""
    counts: Counter[int] = Counter()
    for row in tokenizer.encode(list(texts)):
        counts.update(row)
    return counts
