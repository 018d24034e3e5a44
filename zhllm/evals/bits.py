"""Bits per character and per byte: the loss that can be compared across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zhllm.errors import DataError
from zhllm.evals.intervals import CELL_CHARS
from zhllm.evals.likelihood import Ask, Scorer
from zhllm.evals.resampling import Numbers
from zhllm.model.directory import check_vocabulary
from zhllm.train.chats import ChatRows, TokenChat
from zhllm.train.trainee import Trainee
from zhllm.vocab.token_sizes import token_sizes
from zhllm.vocab.tokenizer import Tokenizer

# Tokens that a text is read in at most.
WINDOW = 2048


@dataclass(frozen=True)
class Bits:
    """Loss of a model on texts; the counts are of the texts, whatever the tokenizer.

    `cells_of` has the loss of each text by stretches of CELL_CHARS characters, the last one shorter; `window` is in
    how many tokens texts were read at most.
    """

    bits_per_char: float
    bits_per_byte: float
    nats: float
    chars: int
    bytes: int
    tokens: int
    nats_of: list[float] = field(default_factory=list)  # of each text
    cells_of: list[list[float]] = field(default_factory=list)
    window: int = 0


def bits_of(nats: Sequence[float] | Numbers, sizes: Sequence[Numbers], texts: Sequence[str], window: int) -> Bits:
    """The figures from the loss in nats of every token of all texts, in order.

    `sizes` has for each text the bytes that its tokens stand for, (n,) each.
    """
    each = np.asarray(nats, np.float64)
    own = np.split(each, np.cumsum([len(some) for some in sizes])[:-1])
    chars, size = sum(map(len, texts)), sum(len(t.encode()) for t in texts)
    nats_of = [math.fsum(some) for some in own]
    total = math.fsum(nats_of)
    bits = total / math.log(2)
    cells = [cell_nats(t, some, s) for t, some, s in zip(texts, own, sizes, strict=True)]
    return Bits(bits / chars, bits / size, total, chars, size, len(each), nats_of, cells, window)


def cell_bytes(text: str) -> list[int]:
    """The UTF-8 bytes of each stretch of CELL_CHARS characters."""
    return [len(text[at : at + CELL_CHARS].encode()) for at in range(0, len(text), CELL_CHARS)]


def cell_nats(text: str, nats: Numbers, sizes: Numbers) -> list[float]:
    """The loss of each stretch of CELL_CHARS characters: what can be paired whatever the tokenizer.

    A token that straddles a border counts on both sides by its bytes. Tokens whose bytes are not the text's (the
    dummy prefix, unknown characters) are stretched to end where it ends.
    """
    if not text or not len(nats):
        return [0.0] * len(cell_bytes(text))
    ends = np.cumsum(sizes if sizes.any() else np.ones(len(nats)))
    borders = np.cumsum([0, *cell_bytes(text)])
    so_far = np.concatenate([[0.0], np.cumsum(nats)])
    at = np.interp(borders, np.concatenate([[0.0], ends * (borders[-1] / ends[-1])]), so_far)
    at[0], at[-1] = 0.0, so_far[-1]
    found: list[float] = np.diff(at).tolist()
    return found


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
    encoded = tokenizer.encode_plain(texts)
    pieces = [piece for ids in encoded for piece in windows([start, *ids], limit)]
    source = ChatRows(pieces, limit, tokenizer.pad_id, rows, 0)
    nats: list[Tensor] = []  # rows hold the windows in their order, so these are the tokens in theirs
    with torch.no_grad():
        for batch in source.every_batch():
            on_device = batch.to(trainee.device)
            _, each = trainee(on_device.input_ids, on_device.labels, on_device.position_ids)
            nats.append(each.double().cpu())
    return bits_of(torch.cat(nats).numpy(), sizes_of(tokenizer, encoded), texts, limit)


def sizes_of(tokenizer: Tokenizer, encoded: Sequence[Sequence[int]]) -> list[Numbers]:
    """The bytes of each token of each text."""
    _, sizes = token_sizes(tokenizer)
    return [sizes[np.asarray(ids, np.int64)].astype(np.float64) for ids in encoded]


def scored_bits(scorer: Scorer, tokenizer: Tokenizer, texts: Sequence[str], window: int | None = None) -> Bits:
    """The same through a Scorer that tells the likelihood of each token (a model with an adapter on it)."""
    limit = min(scorer.context, window or WINDOW)
    bos = tokenizer.special_id("bos")
    start = tokenizer.eos_id if bos is None else bos
    encoded = [ids[1:] if ids[:1] == [start] else ids for ids in scorer.encode(texts)]
    pieces = [piece for ids in encoded for piece in windows([start, *ids], limit)]
    found = scorer.judge([Ask((tuple(piece.ids),), piece.learn.index(True)) for piece in pieces])
    nats = [-log_p for (answer,) in found for log_p in answer.of_tokens]
    return bits_of(nats, sizes_of(tokenizer, encoded), texts, limit)


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
