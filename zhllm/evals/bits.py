"""Bits per character and per byte: the loss that can be compared across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from zhllm.errors import DataError
from zhllm.model.directory import check_vocabulary
from zhllm.train.chats import ChatRows, TokenChat
from zhllm.train.trainee import Trainee
from zhllm.vocab.tokenizer import Tokenizer


@dataclass(frozen=True)
class Bits:
    """Loss of a model on texts; the counts are of the texts, whatever the tokenizer."""

    bits_per_char: float
    bits_per_byte: float
    nats: float
    chars: int
    bytes: int
    tokens: int


def bits_per_char(folder: Path, texts: Sequence[str], window: int | None = None, rows: int = 8) -> Bits:
    """Score every token of every text once, each text on its own, BOS before it.

    Long texts are read in windows of `window` tokens (default: what the model reads, at most 2048)
    that move by half, so that a token is seen with at least half a window before it. The end token is
    not scored. Raises DataError when there is no text.
    """
    chars, size = sum(map(len, texts)), sum(len(t.encode()) for t in texts)
    if chars == 0:
        raise DataError(f"no text to measure {folder} on.")
    tokenizer = Tokenizer(folder)
    check_vocabulary(folder, tokenizer)
    on_gpu = torch.cuda.is_available()
    # Float32 on a CPU; as stored on a GPU, whose memory a float32 7B would not fit.
    trainee = Trainee(folder, "auto" if on_gpu else torch.float32, torch.device("cuda" if on_gpu else "cpu"))
    trainee.model.eval()
    limit = min(trainee.model.config.max_position_embeddings, window or 2048)
    bos = tokenizer.special_id("bos")
    start = tokenizer.eos_id if bos is None else bos
    pieces = [w for ids in tokenizer.encode_plain(texts) for w in windows([start, *ids], limit)]
    source = ChatRows(pieces, limit, tokenizer.pad_id, rows, 0)
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for batch in source.every_batch():
            loss, count = trainee.loss_sum(batch.to(trainee.device))
            nats, tokens = nats + float(loss), tokens + count
    bits = nats / math.log(2)
    return Bits(bits / chars, bits / size, nats, chars, size, tokens)


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
