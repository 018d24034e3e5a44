"""Bits per character and per byte of text in `evaluate`, each document on its own."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zhllm.errors import DataError
from zhllm.evals.bits import WINDOW, Bits, bits_of, bits_per_char, cell_bytes, scored_bits, windows
from zhllm.evals.intervals import CELL_CHARS, FEW, Score, cells_score, mean_score
from zhllm.progress import bar
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import TOKENIZED_CONTEXT, check_gguf, open_scorer
from zhllm.stages._evaluate_tasks import Measured, Subject, TaskResult, digest_of
from zhllm.text.document import Document
from zhllm.text.read.shards import held_out
from zhllm.vocab.token_sizes import token_bytes
from zhllm.vocab.tokenizer import Tokenizer

OF_FILES = "Bits of a GGUF file are those of its weights, multiplied in float32; llama.cpp also rounds activations."


def bits(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
    """Bits per character and per byte of text, in all and by source.

    Intervals draw documents again, or, where there are few, stretches of their text.
    """
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
    rows = [
        Row(_identity(text), len(text), len(text.encode()), nats / math.log(2), [n / math.log(2) for n in cells],
            cell_bytes(text))
        for text, nats, cells in zip(texts, found.nats_of, found.cells_of, strict=True)
    ]  # fmt: skip
    result = TaskResult([_measured("bits_per_char", rows), _measured("bits_per_byte", rows)], {})
    asked = digest_of("bits", sorted(row.identity for row in rows), WINDOW)
    result.protocol = {"hash": asked, "window_tokens": found.window, "documents": len(texts)}
    result.flat = {"chars": found.chars, "tokens": found.tokens}
    result.records = [row.record(document) for row, document in zip(rows, documents, strict=True)]
    by_source = _by_source(documents, rows)
    result.tables = {"sources": by_source} if len(by_source) > 1 else {}
    result.notes = list(_notes(subject, found, rows))
    return result


@dataclass(frozen=True)
class Row:
    """A document's loss in bits, in all and by stretches of text, and what it is divided by."""

    identity: str
    chars: int
    bytes: int
    bits: float
    cells: list[float]
    cell_bytes: list[int]

    def record(self, document: Document) -> dict[str, Any]:
        """As bits.jsonl has it; stretches only of a document of more than one."""
        found = {
            "id": self.identity, "document": document.id, "source": document.source,
            "chars": self.chars, "bytes": self.bytes, "bits": round(self.bits, 6),
        }  # fmt: skip
        cells = {"cells": [round(bits, 4) for bits in self.cells], "cell_bytes": self.cell_bytes}
        return found | (cells if len(self.cells) > 1 else {})


def _notes(subject: Subject, found: Bits, rows: Sequence[Row]) -> Iterator[str]:
    if not subject.model.is_dir():
        yield OF_FILES
    if found.window < WINDOW:
        yield f"Texts were read in windows of {found.window} tokens, as the model reads no more ({WINDOW} else)."
    if are_few(rows):
        yield f"Fewer than {FEW} different documents: intervals draw blocks of stretches of {CELL_CHARS} characters."


def are_few(rows: Sequence[Row]) -> bool:
    """Whether there are too few different documents to be drawn themselves."""
    return len({row.identity for row in rows if row.chars}) < FEW


def _measured(name: str, rows: Sequence[Row]) -> Measured:
    """A figure with what it is made of: documents, or stretches of few ones, each document once by how often it is."""
    under = [row.chars if name == "bits_per_char" else row.bytes for row in rows]
    if not are_few(rows):
        bits, same = [row.bits for row in rows], [row.identity for row in rows]
        return Measured(name, mean_score(bits, weights=under, clusters=same), bits, under, same)
    often, once = Counter(row.identity for row in rows), {row.identity: row for row in rows}
    cells = [often[i] * bits for i, row in once.items() for bits in row.cells]
    sizes = [
        often[i] * (size if name == "bits_per_byte" else min(CELL_CHARS, row.chars - number * CELL_CHARS))
        for i, row in once.items()
        for number, size in enumerate(row.cell_bytes)
    ]
    return Measured(name, cells_score(cells, sizes, len(rows)), cells, sizes, in_order=True)


def _by_source(documents: Sequence[Document], rows: Sequence[Row]) -> dict[str, Score]:
    sources: dict[str, list[Row]] = {}
    for document, row in zip(documents, rows, strict=True):
        sources.setdefault(document.source, []).append(row)
    return {
        name: _measured("bits_per_char", own).score
        for name, own in sorted(sources.items())
        if any(row.chars for row in own)
    }


def _identity(text: str) -> str:
    """What a document is known by in another evaluation, wherever its file lies: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _adapter_bits(subject: Subject, texts: list[str]) -> Bits:
    with open_scorer(subject.model, subject.adapter, None) as scorer:
        return scored_bits(scorer, Tokenizer(subject.model), texts)


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
    window = min(model.context, WINDOW)
    pieces = [piece for ids in encoded for piece in windows([int(start), *ids], window)]
    with bar(f"{subject.role}: bits", len(pieces), "windows") as shown:
        found = model.nats([piece.ids for piece in pieces], shown.advance)
    nats = [
        value
        for piece, row in zip(pieces, found, strict=True)
        for value, learnt in zip(row, piece.learn[1:], strict=True)
        if learnt
    ]
    is_byte_level = metadata.get("tokenizer.ggml.model") == "gpt2"
    sizes = [len(token_bytes(str(token), is_byte_level)) for token in metadata["tokenizer.ggml.tokens"]]
    return bits_of(nats, [np.array([sizes[i] for i in ids], np.float64) for ids in encoded], texts, window)
