"""An extension beside its base: what any first part of the pieces gives, and how a text is cut before and after."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from zhllm.vocab.additions import continue_bpe
from zhllm.vocab.bases import Base
from zhllm.vocab.byte_level import ByteLevelBase, ByteLevelExtension, whole_text
from zhllm.vocab.extend import Extension, SentencePieceBase

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


def tokens_by_size(base: Base, extension: Extended, uses: Mapping[int, int]) -> list[int]:
    """The tokens of a text with the first n added pieces only, for each n from none to all.

    `uses` says how often each id of the whole extension is a token of it. No other encoding is needed:
    the lowest rank joins first, so what n pieces make of a text is a state on the way to what all of
    them make of it, and what happens inside a token does not depend on what stands around it.
    """
    taken = [k for k in range(len(extension.added)) if uses.get(base.size + k)]
    place = {token: k for k, token in enumerate(extension.added)}
    change = [0] * (len(extension.added) + 1)
    for k, parts in zip(taken, _cuts(base, [extension.added[k] for k in taken]), strict=True):
        times, before = uses[base.size + k], 0
        for count, tokens in _states(base, parts, place):
            change[count] += times * (tokens - before)
            before = tokens
    change[0] += sum(times for index, times in uses.items() if not 0 <= index - base.size < len(extension.added))
    return list(accumulate(change))


def _cuts(base: Base, tokens: Sequence[str]) -> list[list[str]]:
    """What the base makes of each added token, spelt as it spells; characters it has only bytes for stay whole."""
    if isinstance(base, SentencePieceBase):
        return base.cut_runs(tokens)
    texts = [text for token in tokens if (text := whole_text(token)) is not None]
    cut = dict(zip(texts, base.cut(texts), strict=True))
    return [cut.get(whole_text(token) or "") or continue_bpe(list(token), base.rank) for token in tokens]


def _states(base: Base, parts: Sequence[str], place: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """(n, tokens that the parts make with the first n added pieces), for 0 and for each n that may change it."""
    spans = {"".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
    known = {span: base.rank[span] for span in spans if span in base.rank}
    lowest = 1 + max(known.values(), default=0.0)
    yield 0, _tokens(base, parts, ())
    added: set[str] = set()
    for k, span in sorted((place[span], span) for span in spans if span in place):
        known[span] = lowest + k
        added.add(span)
        parts = continue_bpe(parts, known)
        yield k + 1, _tokens(base, parts, added)


def _tokens(base: Base, parts: Sequence[str], added: Collection[str]) -> int:
    """The tokens of parts: one each, but a SentencePiece base writes a character that it lacks in bytes."""
    if isinstance(base, ByteLevelBase):
        return len(parts)
    return sum(1 if part in added or base.has(part) else len(part.encode()) for part in parts)


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
