"""An extension beside its base: what any first part of the pieces gives, and how a sentence is cut before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zhllm.vocab.bases import Base
from zhllm.vocab.byte_level import ByteLevelBase, ByteLevelExtension, merge_pairs, whole_text
from zhllm.vocab.extend import Extension, SentencePieceBase, appended
from zhllm.vocab.measure import compression

Extended = Extension | ByteLevelExtension


def added_texts(extension: Extended) -> list[str | None]:
    """The text of each added piece in the order of their ids; None for joins of bytes."""
    if isinstance(extension, Extension):
        return list(extension.added)
    return [whole_text(token) for token in extension.added]


def opened(extension: Extended) -> Base:
    """The extended tokenizer, ready to encode."""
    if isinstance(extension, Extension):
        return SentencePieceBase(extension.model)
    return ByteLevelBase(extension.content, extension.config, "the extension")


def first_part(base: Base, extension: Extended, count: int) -> Base:
    """The base with the first `count` added pieces only; every first part is whole (see `additions`)."""
    if isinstance(extension, Extension):
        assert isinstance(base, SentencePieceBase)
        return SentencePieceBase(appended(base.proto, extension.added[:count], []))
    assert isinstance(base, ByteLevelBase)
    dropped = set(extension.added[count:])
    model = extension.content["model"]
    vocab = {token: i for token, i in model["vocab"].items() if token not in dropped}
    merges = [[a, b] for a, b in merge_pairs(extension.content) if dropped.isdisjoint((a, b, a + b))]
    content = {**extension.content, "model": {**model, "vocab": vocab, "merges": merges}}
    return ByteLevelBase(content, extension.config, "a part of the extension")


def size_curve(base: Base, extension: Extended, texts: Sequence[str], points: int) -> list[tuple[int, float]]:
    """(pieces kept, characters per token on `texts`) from none to all, `points` in all."""
    total = len(extension.added)
    counts = sorted({round(total * step / (points - 1)) for step in range(points)})
    return [(n, compression(first_part(base, extension, n), texts).chars_per_token) for n in counts]


def sample_of(texts: Sequence[str], most_chars: int) -> list[str]:
    """Lines spread evenly over the texts, at most `most_chars` characters in all (one line at least)."""
    lines = [line for text in texts for line in text.split("\n") if line]
    step = max(1, -(-sum(map(len, lines)) // most_chars))
    return lines[::step]


@dataclass(frozen=True)
class Part:
    """A token of a sentence: its text (bytes as hexadecimal), its id, whether it was added, whether it is bytes."""

    text: str
    index: int
    is_new: bool
    is_bytes: bool


def segments(tokenizer: Base, text: str, base_size: int) -> Iterator[Part]:
    """The tokens of `text`; ids from `base_size` on are the added ones."""
    partial = tokenizer.partial_ids
    for index in tokenizer.encode([text])[0]:
        is_bytes = index in partial
        shown = tokenizer.bytes_of_id(index).hex().upper() if is_bytes else tokenizer.text_of(index) or f"[{index}]"
        yield Part(shown, index, index >= base_size, is_bytes)
