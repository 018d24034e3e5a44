"""A model made trainable: which parameters learn, how the head gives the loss, what is saved.

V0 base rows, N new rows, H hidden size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import NEW_ROWS_FILE
from zhllm.model.tensors import Checkpoint, Writer, from_f32
from zhllm.model.transformers_model import open_model
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.loss import chunked_cross_entropy


@dataclass(frozen=True)
class LoraSettings:
    """LoRA (Hu et al. 2021): rank, alpha (scale = alpha / rank), dropout, module names."""

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]


class SplitEmbedding(nn.Module):
    """An embedding whose first V0 rows are frozen and whose N new rows are a float32 parameter.

    Only the new rows have gradients and optimiser state: for 128k -> 148k rows that is 42 M
    trainable values instead of 303 M. The base rows stay where they lie in memory.
    """

    def __init__(self, weight: Tensor, first_new: int) -> None:
        super().__init__()
        self.first_new = first_new
        self.base = nn.Parameter(weight[:first_new].detach(), requires_grad=False)
        self.new = nn.Parameter(weight[first_new:].detach().float().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """(..., H) rows of `ids`, in the base's dtype."""
        new = functional.embedding((ids - self.first_new).clamp(min=0), self.new).to(self.base.dtype)
        if self.first_new == 0:
            return new
        if self.first_new == 0:
            return functional.embedding(ids, self.new)
        old = functional.embedding(ids.clamp(max=self.first_new - 1), self.base)
        return torch.where((ids < self.first_new).unsqueeze(-1), old, new)


class Trainee:
    """A transformers causal LM with some of its parameters trainable, and its loss."""

    def __init__(self, folder: Path, dtype: torch.dtype | str, device: torch.device) -> None:
        self.folder = folder
        self.model: Any = open_model(folder, dtype)
        self.model.to(device)
        self.device = device
        self.heads: list[Tensor] = [self.model.get_output_embeddings().weight]
        self._peft: Any = None
        self._new_rows: dict[str, nn.Parameter] = {}
        self._whole_model = False

    def make_trainable(self, what: str, lora: LoraSettings, seed: int) -> None:
        """Choose what learns; everything else is frozen.

        "all" every parameter; "new-rows" the rows that resize added to the embedding and head
        matrices, "embeddings" all their rows; "lora" low-rank updates; the last two joined by "+".
        Raises DataError when new rows are asked for and the model has none.
        """
        torch.manual_seed(seed)  # LoRA's A matrices are drawn here
        self._whole_model = what == "all"
        self.model.requires_grad_(self._whole_model)
        parts = what.split("+")
        if "new-rows" in parts:
            self._split_rows(self._first_new_row())
        if "embeddings" in parts:
            self._split_rows(0)
        if "lora" in parts:
            self._add_lora(lora)

    def _first_new_row(self) -> int:
        path = self.folder / "extension.json"
        if not path.is_file():
            raise DataError(
                f"{self.folder}: has no extension.json, so it has no new rows to train. Give the model that "
                "resize wrote, or --trainable lora."
            )
        first: int = json.loads(path.read_text(encoding="utf-8"))["base_vocab_size"]
        return first

    def _split_rows(self, first_new: int) -> None:
        """Make the rows from `first_new` on a parameter of their own, in embedding and head."""
        old_head = self.model.get_output_embeddings().weight
        tied = old_head is self.model.get_input_embeddings().weight
        embed = SplitEmbedding(self.model.get_input_embeddings().weight, first_new)
        self.model.set_input_embeddings(embed)
        self._new_rows[EMBED] = embed.new
        head = embed if tied else SplitEmbedding(old_head, first_new)
        if not tied:
            self._new_rows[HEAD] = head.new
        self.heads = [head.base, head.new]

    def _add_lora(self, lora: LoraSettings) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            task_type="CAUSAL_LM",
        )
        try:
            self._peft = get_peft_model(self.model, config)
        except ValueError as error:
            raise DataError(f"{self.folder}: LoRA has no module to work on: {error}") from error
        for parameter in self._new_rows.values():  # peft froze all that is not LoRA
            parameter.requires_grad_(True)

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that learns, by a name that stays the same between runs."""
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        seen = {id(p) for p in named.values()}
        named |= {f"new_rows.{n}": p for n, p in self._new_rows.items() if id(p) not in seen}
        return named

    def loss_sum(self, batch: Batch) -> tuple[Tensor, int]:
        """Summed loss in nats over the batch's learnt tokens, and their number."""
        hidden = self.model.model(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False
        ).last_hidden_state
        learnt = batch.labels != IGNORED
        return chunked_cross_entropy(hidden[learnt], self.heads, batch.labels[learnt]), int(learnt.sum())

    def save(self, out: Path) -> None:
        """Write what was trained: the whole model, or LoRA in peft's format and new_rows.safetensors."""
        if self._whole_model:
            self._save_whole(out)
        if self._new_rows:
            rows = {name: p.detach().contiguous().cpu() for name, p in self._new_rows.items()}
            save_file(rows, out / NEW_ROWS_FILE, metadata={"format": "pt"})
        if self._peft is not None:
            self._save_lora(out)

    def _save_whole(self, out: Path) -> None:
        """The base's tensors with their values now, each in the dtype the base stores it in."""
        base, state = Checkpoint(self.folder), self.model.state_dict()
        with Writer(out, list(base.specs.values())) as writer:
            for name, spec in base.specs.items():
                values = state[name].float().cpu().numpy() if name in state else base.f32(name)
                writer.write(name, from_f32(values, spec.dtype))

    def _save_lora(self, out: Path) -> None:
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        tensors = {name: value.detach().contiguous().cpu() for name, value in state.items()}
        save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
        config = self._peft.peft_config["default"].to_dict()
        config["inference_mode"] = True
        config["base_model_name_or_path"] = None  # the manifest holds the base's digest instead of a path
        (out / "adapter_config.json").write_text(
            json.dumps(_ordered(config), indent=1, default=str) + "\n", encoding="utf-8"
        )


def _ordered(value: Any) -> Any:
    """peft holds module names in sets; a fixed order gives equal bytes in every process."""
    if isinstance(value, dict):
        return {k: _ordered(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return [_ordered(v) for v in value] if is_list else value
