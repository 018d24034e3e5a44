"""Logits of a model directory on a few texts: what proofs compare.

n tokens of a text, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import NEW_ROWS_FILE
from zhllm.model.transformers_model import open_model


def logits(folder: Path, ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """(n, V) float32 logits for each token list, computed in the stored dtype."""
    return logits_of(open_model(folder), ids)


def logits_of(model: Any, ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """(n, V) float32 logits of a loaded model for each token list."""
    with torch.no_grad():
        return [model(torch.tensor([list(row)]), use_cache=False).logits[0].float() for row in ids]


def adapted_logits(folder: Path, adapters: Sequence[Path], ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """As `logits`, of the base with new rows put in place and LoRA applied by peft, unmerged."""
    from peft import PeftModel

    model = open_model(folder)
    for adapter in adapters:
        if (adapter / NEW_ROWS_FILE).is_file():
            put_new_rows(model, load_file(adapter / NEW_ROWS_FILE))
    loras = [path for path in adapters if (path / "adapter_config.json").is_file()]
    if loras:
        model = PeftModel.from_pretrained(model, str(loras[0]), adapter_name="a0", local_files_only=True)
        for number, path in enumerate(loras[1:], 1):
            model.load_adapter(str(path), adapter_name=f"a{number}", local_files_only=True)
        model.base_model.set_adapter([f"a{n}" for n in range(len(loras))])
    return logits_of(model.eval(), ids)


def put_new_rows(model: Any, rows: dict[str, Tensor]) -> None:
    """Overwrite the last rows of the embedding and head matrices with trained ones."""
    places = {EMBED: model.get_input_embeddings().weight, HEAD: model.get_output_embeddings().weight}
    with torch.no_grad():
        for name, values in rows.items():
            places[name][-len(values) :] = values.to(places[name].dtype)
