"""Bits per character and per byte of text in `evaluate`, each document on its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from zhllm.errors import DataError
from zhllm.evals.bits import WINDOW, Bits, bits_of, bits_per_char, scored_bits, windows
from zhllm.evals.intervals import Score, mean_score
from zhllm.progress import bar
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import check_gguf, open_scorer
from zhllm.stages._evaluate_tasks import Measured, Subject, TaskResult, digest_of
from zhllm.text.document import Document
from zhllm.text.read.shards import held_out
from zhllm.vocab.tokenizer import Tokenizer

# Tokens that llama.cpp makes room for where it only cuts texts.
TOKENIZED_CONTEXT = 256
OF_FILES = "Bits of a GGUF file are those of its weights, multiplied in float32; llama.cpp also rounds activations."


def bits(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
    """Bits per character and per byte of text, in all and by source; intervals by resampling documents."""
    if not paths:
        raise DataError("--task bits: --data names no text (a clean folder, parquet, jsonl or txt).")
    documents = list(held_out(paths))
    texts = [document.text for document in documents]
    if not any(texts):
        raise DataError(f"--task bits: {paths[0]} holds no text to measure on.")
    if subject.model.is_dir():
        found = bits_per_char(subject.model, texts) if subject.adapter is None else _adapter_bits(subject, texts)
    else:
        found = _gguf_bits(subject, texts)
    in_bits = [nats / math.log(2) for nats in found.nats_of]
    chars, sizes = [len(t) for t in texts], [len(t.encode()) for t in texts]
    measured = [
        Measured("bits_per_char", mean_score(in_bits, weights=chars), in_bits, chars),
        Measured("bits_per_byte", mean_score(in_bits, weights=sizes), in_bits, sizes),
    ]
    by_source = _by_source(documents, in_bits, chars)
    protocol = {"hash": digest_of("bits", texts), "window_tokens": WINDOW, "documents": len(texts)}
    flat = {"chars": found.chars, "tokens": found.tokens}
    records = [
        {"id": _identity(document.text), "document": document.id, "source": document.source,
         "chars": c, "bytes": b, "bits": round(own, 6)}
        for document, own, c, b in zip(documents, in_bits, chars, sizes, strict=True)
    ]  # fmt: skip
    tables = {"sources": by_source} if len(by_source) > 1 else {}
    notes = [] if subject.model.is_dir() else [OF_FILES]
    return TaskResult(measured, protocol, flat, tables, notes, records)


def _by_source(documents: Sequence[Document], in_bits: Sequence[float], chars: Sequence[int]) -> dict[str, Score]:
    sources: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        sources.setdefault(document.source, []).append(number)
    return {
        name: mean_score([in_bits[i] for i in own], weights=[chars[i] for i in own])
        for name, own in sorted(sources.items())
        if any(chars[i] for i in own)
    }


def _identity(text: str) -> str:
    """What a document is known by in another evaluation, wherever its file lies: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _adapter_bits(subject: Subject, texts: list[str]) -> Bits:
    tokenizer = Tokenizer(subject.model)
    bos = tokenizer.special_id("bos")
    with open_scorer(subject.model, subject.adapter, None) as scorer:
        return scored_bits(scorer, tokenizer.eos_id if bos is None else bos, texts)


def _gguf_bits(subject: Subject, texts: list[str]) -> Bits:
    """The same windows through the file's own tokens and weights; DataError for a file that is no such model."""
    from zhllm.infer.gguf_forward import GgufForward
    from zhllm.infer.llamacpp import LlamaServer

    check_gguf(subject.model, subject.adapter)
    model = GgufForward(subject.model)
    metadata = model.file.metadata
    named = metadata.get("tokenizer.ggml.bos_token_id") if metadata.get("tokenizer.ggml.add_bos_token", True) else None
    start = metadata.get("tokenizer.ggml.eos_token_id") if named is None else named
    if start is None:
        raise DataError(f"{subject.model}: names neither BOS nor an end token to begin a text with.")
    with LlamaServer(subject.model, n_ctx=TOKENIZED_CONTEXT, n_parallel=1) as server:  # only to cut the texts
        encoded = server.tokenize(texts)
    pieces = [
        (number, piece)
        for number, ids in enumerate(encoded)
        for piece in windows([int(start), *ids], min(model.context, WINDOW))
    ]
    nats, tokens = [0.0] * len(texts), 0
    with bar(f"{subject.role}: bits", len(pieces), "windows") as shown:
        found = model.nats([piece.ids for _, piece in pieces], shown.advance)
    for (number, piece), row in zip(pieces, found, strict=True):
        own = [value for value, learnt in zip(row, piece.learn[1:], strict=True) if learnt]
        nats[number] += sum(own)
        tokens += len(own)
    return bits_of(nats, texts, tokens)
