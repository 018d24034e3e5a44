"""A model made trainable: which parameters learn, how the head gives the loss, what is saved.

V vocabulary rows, H hidden size, B rows of T tokens, N learnt tokens among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import ADAPTER_FILE, NEW_ROWS_FILE
from zhllm.model.tensors import Array, Checkpoint, Writer, from_f32
from zhllm.model.transformers_model import open_model
from zhllm.train.attention import documents_of, use_document_attention
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.loss import chunked_cross_entropy
from zhllm.train.rows import SplitEmbedding

Gather = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LoraSettings:
    """LoRA (Hu et al. 2021): rank, alpha (scale = alpha / rank), dropout, module names."""

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]


class Trainee(nn.Module):
    """A transformers causal LM with some of its parameters trainable; called, it gives its loss.

    It is one module, so that data-parallel and sharding wrappers see every parameter and the loss
    is made inside their forward pass.
    """

    def __init__(self, folder: Path, dtype: torch.dtype | str, device: torch.device) -> None:
        super().__init__()
        self.folder = folder
        self.model: Any = open_model(folder, dtype)
        self._by_documents = use_document_attention(self.model)
        self.model.to(device)
        self.device = device
        self._split_head: SplitEmbedding | None = None
        self._peft: list[Any] = []  # in a list: peft's wrapper holds the same parameters by other names
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
        old_head = self.model.get_output_embeddings()
        tied = old_head.weight is self.model.get_input_embeddings().weight
        embed = SplitEmbedding(self.model.get_input_embeddings().weight, first_new)
        head = embed if tied else SplitEmbedding(old_head.weight, first_new)
        self.model.set_input_embeddings(embed)
        self.model.set_output_embeddings(head)
        self._split_head = head

    def _add_lora(self, lora: LoraSettings) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            task_type="CAUSAL_LM",
        )
        rows = self.new_rows()
        try:
            self._peft = [get_peft_model(self.model, config)]
        except ValueError as error:
            raise DataError(f"{self.folder}: LoRA has no module to work on: {error}") from error
        for parameter in rows.values():  # peft froze all that is not LoRA
            parameter.requires_grad_(True)

    def new_rows(self) -> dict[str, nn.Parameter]:
        """The rows that learn apart from their matrix, by the matrix's name; {} where none do."""
        if self._split_head is None:
            return {}
        embed: SplitEmbedding = self.model.get_input_embeddings()
        return {EMBED: embed.new} | ({} if self._split_head is embed else {HEAD: self._split_head.new})

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that learns, by a name that stays the same between runs."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    @property
    def heads(self) -> list[Tensor]:
        """The output matrix as parts (V_k, H), one after the other in the vocabulary."""
        return [self.model.get_output_embeddings().weight] if self._split_head is None else self._split_head.parts

    def forward(self, input_ids: Tensor, labels: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The summed loss in nats, and the loss of each learnt token (N,), float32, without gradient.

        All three are (B, T) int64; see Batch.
        """
        found = self.model.model(
            input_ids=input_ids, position_ids=position_ids, use_cache=False, **self._documents(position_ids)
        )
        hidden = found.last_hidden_state
        learnt = labels != IGNORED
        return chunked_cross_entropy(hidden[learnt], self.heads, labels[learnt])

    @property
    def layers(self) -> Any:
        """The decoder layers, one after the other."""
        return self.model.model.layers

    def checkpoint_gradients(self) -> None:
        """Keep no activations inside layers: recompute them in the backward pass."""
        self.model.gradient_checkpointing_enable({"use_reentrant": False})

    def compile_layers(self) -> None:
        """torch.compile each decoder layer in place: equal layers share their code, and names stay."""
        for layer in self.layers:
            layer.compile()

    def _documents(self, position_ids: Tensor) -> dict[str, Tensor]:
        return documents_of(position_ids) if self._by_documents else {}

    def loss_sum(self, batch: Batch) -> tuple[Tensor, int]:
        """Summed loss in nats over the batch's learnt tokens, and their number."""
        total, each = self(batch.input_ids, batch.labels, batch.position_ids)
        return total, len(each)

    def save(self, out: Path, gather: Gather = lambda value: value, write: bool = True) -> None:
        """Write what was trained: the whole model, or LoRA in peft's format and new_rows.safetensors.

        `gather` makes a sharded parameter whole; where several processes train, all of them call
        this and one of them writes.
        """
        if self._whole_model:
            self._save_whole(out, gather, write)
            return
        for name, tensors in self._adapter_files().items():
            whole = {key: gather(value).detach().contiguous().cpu() for key, value in tensors.items()}
            if write:
                save_file(whole, out / name, metadata={"format": "pt"})
        if self._peft and write:
            self._write_lora_config(out)

    def unlike_saved(self, out: Path, gather: Gather = lambda value: value, read: bool = True) -> list[str]:
        """Names of tensors in the files of `save` that are not, to the bit, what is held here."""
        if self._whole_model:
            pairs = self._whole_pairs(gather)
            saved = Checkpoint(out) if read else None
            return [name for name, value in pairs if saved is not None and not np.array_equal(saved.raw(name), value)]
        wrong = []
        for file, tensors in self._adapter_files().items():
            saved_file = load_file(out / file) if read else {}
            for key, value in tensors.items():
                held = gather(value).detach().cpu()
                if read and not (key in saved_file and torch.equal(saved_file[key], held)):
                    wrong.append(f"{file} {key}")
        return wrong

    def _adapter_files(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each file that is written beside a base that stays."""
        files: dict[str, dict[str, Tensor]] = {}
        if rows := self.new_rows():
            files[NEW_ROWS_FILE] = dict(rows)
        if self._peft:
            from peft import get_peft_model_state_dict

            files[ADAPTER_FILE] = get_peft_model_state_dict(self._peft[0], save_embedding_layers=False)
        return files

    def _whole_pairs(self, gather: Gather) -> Iterator[tuple[str, Array]]:
        """The base's tensors with their values now, each in the dtype the base stores it in."""
        base, state = Checkpoint(self.folder), self.model.state_dict()
        for name, spec in base.specs.items():
            values = gather(state[name]).float().cpu().numpy() if name in state else base.f32(name)
            yield name, from_f32(values, spec.dtype)

    def _save_whole(self, out: Path, gather: Gather, write: bool) -> None:
        if not write:
            for _ in self._whole_pairs(gather):
                pass
            return
        with Writer(out, list(Checkpoint(self.folder).specs.values())) as writer:
            for name, values in self._whole_pairs(gather):
                writer.write(name, values)

    def _write_lora_config(self, out: Path) -> None:
        config = self._peft[0].peft_config["default"].to_dict()
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
