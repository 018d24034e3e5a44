"""Bits per character and per byte of text in `evaluate`, each document on its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.evals.bits import WINDOW, bits_per_char, scored_bits
from zhllm.evals.intervals import Score, mean_score
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import open_scorer
from zhllm.stages._evaluate_tasks import Measured, Subject, TaskResult, digest_of
from zhllm.text.document import Document
from zhllm.text.read.shards import held_out
from zhllm.vocab.tokenizer import Tokenizer


def bits(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
    """Bits per character and per byte of text, in all and by source; intervals by resampling documents."""
    if not subject.model.is_dir():
        raise DataError(f"{subject.model}: --task bits needs a model directory; export reports it for GGUF files.")
    if not paths:
        raise DataError("--task bits: --data names no text (a clean folder, parquet, jsonl or txt).")
    documents = list(held_out(paths))
    texts = [document.text for document in documents]
    found = bits_per_char(subject.model, texts) if subject.adapter is None else _adapter_bits(subject, texts)
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
    return TaskResult(measured, protocol, flat, tables, records=records)


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


def _adapter_bits(subject: Subject, texts: list[str]) -> Any:
    if not any(texts):
        raise DataError(f"no text to measure {subject.model} on.")
    tokenizer = Tokenizer(subject.model)
    bos = tokenizer.special_id("bos")
    with open_scorer(subject.model, subject.adapter, None) as scorer:
        return scored_bits(scorer, tokenizer.eos_id if bos is None else bos, texts)
