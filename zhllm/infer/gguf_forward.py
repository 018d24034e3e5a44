"""What the weights of a GGUF file say of texts, computed by transformers without llama.cpp, in little memory.

The weights are what the file holds; they are multiplied in float32, where llama.cpp rounds activations to 8 bits for
quantised matrices. n tokens of a row, H hidden size.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from zhllm.errors import DataError
from zhllm.infer.divergence import nats_of, targets_of
from zhllm.infer.streamed import StreamedModel
from zhllm.model.gguf_config import FACTORS, config_of, layout_of
from zhllm.model.gguf_proof import FileWeights
from zhllm.model.gguf_read import GgufFile

# Tokens whose hidden states are held at once: 64 MB for a 7B.
HELD_TOKENS = 4096


class GgufForward:
    """A GGUF file of a Llama, Mistral, Qwen2 or Qwen3 model; DataError for another."""

    def __init__(self, path: Path) -> None:
        self.file = GgufFile(path)
        label, config = config_of(self.file)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
            self.model = StreamedModel(Path(folder), bool(config["tie_word_embeddings"]))
        layout = layout_of(self.file, label, config, self.model.parameters())
        self.weights = FileWeights(self.file, layout)
        self.context = int(config["max_position_embeddings"])
        self.rows = int(config["vocab_size"])
        if FACTORS in self.file.tensors:  # Llama 3.1's frequencies, as divisors of the plain ones
            rotary = self.model.inner.rotary_emb
            rotary.inv_freq = rotary.inv_freq / torch.tensor(self.file.tensors[FACTORS].f32()).to(rotary.inv_freq)

    def nats(
        self, ids: Sequence[Sequence[int]], on_rows: Callable[[int], None] = lambda count: None
    ) -> list[list[float]]:
        """The negative log-probability of every token of each row but its first, n - 1 of them."""
        if wrong := next((i for row in ids for i in row if i >= self.rows), None):
            raise DataError(f"{self.file.path}: token {wrong} has no row; the file has {self.rows}.")
        found: list[list[float]] = []
        for rows in _blocks(ids):
            hidden = torch.cat(self.model.hidden(rows, self.weights))
            each = nats_of(self.model, targets_of(rows), hidden, self.weights, self.rows).tolist()
            at = 0
            for row in rows:
                found.append(each[at : at + len(row) - 1])
                at += len(row)
            on_rows(len(rows))
        if not all(value == value for row in found for value in row):
            raise DataError(f"{self.file.path}: its answers are no finite numbers.")
        return found


def _blocks(ids: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Rows in order, as many as HELD_TOKENS hold, but at least one."""
    block: list[Sequence[int]] = []
    size = 0
    for row in ids:
        if block and size + len(row) > HELD_TOKENS:
            yield block
            block, size = [], 0
        block.append(row)
        size += len(row)
    if block:
        yield block
