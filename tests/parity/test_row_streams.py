"""The proof's forward pass over weights that stay in their files, against transformers' own model, text by text."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Toy, random_model
from transformers import AutoModelForCausalLM

from zhllm.infer.row_streams import Weights, batched_logits, streamed_model
from zhllm.model.merge_blocks import OpenFiles
from zhllm.model.tensors import Checkpoint

SHAPES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "tied": {"tie_word_embeddings": True},
    "Mistral": {"model_type": "mistral", "sliding_window": 16},
    "Qwen2": {"model_type": "qwen2"},
    "Qwen3": {"model_type": "qwen3", "head_dim": 16},
}
TEXTS = [[1, 5, 9, 300, 7], [1, 40], [1, *range(20, 32)], [1]]


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_of_one_pass_do_not_see_each_other(toy: Toy, tmp_path: Path, shape: str) -> None:
    folder = random_model(tmp_path / "model", toy.extended, **SHAPES[shape])
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with closing(OpenFiles()) as files, torch.no_grad():
        tensors = Checkpoint(folder)
        found = batched_logits(streamed_model(folder, Weights(tensors, files, frozenset(tensors.specs))), TEXTS)
        for ids, logits in zip(TEXTS, found, strict=True):
            wanted = whole(input_ids=torch.tensor([ids])).logits[0]
            torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
