"""Bits per character and per byte: the loss that can be compared across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from zhllm.errors import DataError
from zhllm.evals.likelihood import Ask, Scorer
from zhllm.model.directory import check_vocabulary
from zhllm.train.batch import IGNORED
from zhllm.train.chats import ChatRows, TokenChat
from zhllm.train.trainee import Trainee
from zhllm.vocab.tokenizer import Tokenizer

# Tokens that a text is read in at most.
WINDOW = 2048


@dataclass(frozen=True)
class Bits:
    """Loss of a model on texts; the counts are of the texts, whatever the tokenizer."""

    bits_per_char: float
    bits_per_byte: float
    nats: float
    chars: int
    bytes: int
    tokens: int
    nats_of: list[float] = field(default_factory=list)  # of each text


def bits_of(nats: Sequence[float], texts: Sequence[str], tokens: int) -> Bits:
    """The figures from the loss of each text in nats."""
    chars, size = sum(map(len, texts)), sum(len(t.encode()) for t in texts)
    bits = sum(nats) / math.log(2)
    return Bits(bits / chars, bits / size, sum(nats), chars, size, tokens, list(nats))


def bits_per_char(folder: Path, texts: Sequence[str], window: int | None = None, rows: int = 8) -> Bits:
    """Score every token of every text once, each text on its own, BOS before it.

    Long texts are read in windows of `window` tokens (default: what the model reads, at most 2048)
    that move by half, so that a token is seen with at least half a window before it. The end token is
    not scored. Raises DataError when there is no text.
    """
    if not any(texts):
        raise DataError(f"no text to measure {folder} on.")
    tokenizer = Tokenizer(folder)
    check_vocabulary(folder, tokenizer)
    on_gpu = torch.cuda.is_available()
    # Float32 on a CPU; as stored on a GPU, whose memory a float32 7B would not fit.
    trainee = Trainee(folder, "auto" if on_gpu else torch.float32, torch.device("cuda" if on_gpu else "cpu"))
    trainee.model.eval()
    limit = min(trainee.model.config.max_position_embeddings, window or WINDOW)
    bos = tokenizer.special_id("bos")
    start = tokenizer.eos_id if bos is None else bos
    pieces = [
        replace(piece, source=number)
        for number, ids in enumerate(tokenizer.encode_plain(texts))
        for piece in windows([start, *ids], limit)
    ]
    source = ChatRows(pieces, limit, tokenizer.pad_id, rows, 0)
    nats, tokens = torch.zeros(len(texts), dtype=torch.float64), 0
    with torch.no_grad():
        for batch in source.every_batch():
            on_device = batch.to(trainee.device)
            _, each = trainee(on_device.input_ids, on_device.labels, on_device.position_ids)
            learnt = batch.labels != IGNORED
            owner = torch.zeros_like(batch.labels) if batch.sources is None else batch.sources
            nats.index_add_(0, owner[learnt], each.double().cpu())
            tokens += len(each)
    return bits_of(nats.tolist(), texts, tokens)


def scored_bits(scorer: Scorer, first_id: int, texts: Sequence[str], window: int | None = None) -> Bits:
    """The same through a Scorer (a model with an adapter on it), `first_id` before each text."""
    limit = min(scorer.context, window or WINDOW)
    nats, tokens = [0.0] * len(texts), 0
    pieces = [
        (number, piece)
        for number, ids in enumerate(scorer.encode(texts))
        for piece in windows([first_id, *(ids[1:] if ids[:1] == [first_id] else ids)], limit)
    ]
    found = scorer.score([Ask((tuple(piece.ids),), piece.learn.index(True)) for _, piece in pieces])
    for (number, piece), (log_p,) in zip(pieces, found, strict=True):
        nats[number] -= log_p
        tokens += sum(piece.learn)
    return bits_of(nats, texts, tokens)


def windows(ids: Sequence[int], limit: int) -> Iterator[TokenChat]:
    """Windows of at most `limit` ids; each id but the first is learnt in exactly one of them."""
    if len(ids) < 2:
        return
    scored = 1
    while scored < len(ids):
        end = min(len(ids), limit if scored == 1 else scored + limit // 2)
        first = max(0, end - limit)
        yield TokenChat(list(ids[first:end]), [first + i >= scored for i in range(end - first)])
        scored = end
