"""A model made trainable: which parameters learn, how the head gives the loss, what is saved.

V vocabulary rows, H hidden size, B rows of T tokens, N learnt tokens among them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
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
from zhllm.train import quantized
from zhllm.train.attention import documents_of, use_document_attention
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.lora import Gather, Lora, LoraSettings
from zhllm.train.loss import chunked_cross_entropy
from zhllm.train.neftune import with_noise
from zhllm.train.rows import SplitEmbedding

QUANTIZATION_FILE = "quantization.json"


class Trainee(nn.Module):
    """A transformers causal LM with some of its parameters trainable; called, it gives its loss.

    It is one module, so that data-parallel and sharding wrappers see every parameter and the loss
    is made inside their forward pass.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype | str,
        device: torch.device,
        four_bit: torch.dtype | None = None,
        noise: float | None = None,
    ) -> None:
        """`four_bit`: hold the decoder's linear layers in NF4 and compute their products in this dtype.

        `noise`: NEFTune's alpha; noise on the input embeddings in training.
        """
        super().__init__()
        self.folder, self.device, self.noise, self.four_bit = folder, device, noise, four_bit is not None
        self.model: Any
        if four_bit is None:
            self.model = open_model(folder, dtype)
            self.model.to(device)
        else:
            self.model = quantized.open_quantized(folder, dtype, four_bit, device)
        self._by_documents = use_document_attention(self.model)
        self._split_head: SplitEmbedding | None = None
        self.lora: Lora | None = None  # no Module: peft's wrapper holds the same parameters by other names
        self._whole_model = False

    def make_trainable(self, what: str, lora: LoraSettings, seed: int) -> None:
        """Choose what learns; everything else is frozen.

        "all" every parameter; "new-rows" the rows that resize added to the embedding and head
        matrices, "embeddings" all their rows; "lora" low-rank updates, "qlora" the same of a base
        opened in four bits; rows and updates joined by "+". Raises DataError when new rows are asked
        for and the model has none, or LoRA has no module to work on.
        """
        torch.manual_seed(seed)  # LoRA's A matrices are drawn here
        self._whole_model = what == "all"
        self.model.requires_grad_(self._whole_model)
        parts = what.split("+")
        if "new-rows" in parts:
            self._split_rows(self._first_new_row())
        if "embeddings" in parts:
            self._split_rows(0)
        if "lora" in parts or "qlora" in parts:
            rows = self.new_rows()
            self.lora = Lora(self.model, self.folder, lora)
            for parameter in rows.values():  # peft froze all that is not LoRA
                parameter.requires_grad_(True)

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
        inputs = self._inputs(input_ids, position_ids) | self._documents(position_ids)
        hidden = self.model.model(**inputs, position_ids=position_ids, use_cache=False).last_hidden_state
        learnt = labels != IGNORED
        return chunked_cross_entropy(hidden[learnt], self.heads, labels[learnt])

    def _inputs(self, input_ids: Tensor, position_ids: Tensor) -> dict[str, Tensor]:
        """What the decoder reads: ids, or in training with noise their embeddings."""
        if self.noise is None or not self.training:
            return {"input_ids": input_ids}
        return {"inputs_embeds": with_noise(self.model.get_input_embeddings()(input_ids), position_ids, self.noise)}

    @property
    def layers(self) -> Any:
        """The decoder layers, one after the other."""
        return self.model.model.layers

    def checkpoint_gradients(self) -> None:
        """Keep no activations inside layers: recompute them in the backward pass."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})

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
        for name, tensors in self._adapter_files(gather).items():
            if write:
                save_file(tensors, out / name, metadata={"format": "pt"})
                shutil.copymode(out, out / name)  # safetensors makes a file that only its owner may read
                (out / name).chmod((out / name).stat().st_mode & 0o666)
        if self.lora is not None and write:
            self.lora.write_config(out)
        if self.four_bit and write:
            record = quantized.record(self.model) | {"lora_start": None if self.lora is None else self.lora.start}
            (out / QUANTIZATION_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def unlike_saved(self, out: Path, gather: Gather = lambda value: value, read: bool = True) -> list[str]:
        """Names of tensors in the files of `save` that are not, to the bit, what is held here.

        Where the base was changed in memory, also of weights that the saved adapter does not make out
        of the original base.
        """
        if self._whole_model:
            pairs = self._whole_pairs(gather)
            saved = Checkpoint(out) if read else None
            return [name for name, value in pairs if saved is not None and not np.array_equal(saved.raw(name), value)]
        wrong = []
        for file, tensors in self._adapter_files(gather).items():
            saved_file = load_file(out / file) if read else {}
            for key, value in tensors.items():
                if read and not (key in saved_file and torch.equal(saved_file[key], value)):
                    wrong.append(f"{file} {key}")
        if self.lora is not None and not wrong and (self.four_bit or self.lora.starts):
            wrong = self.lora.unlike_saved(out, gather, read)
        return wrong

    def _adapter_files(self, gather: Gather) -> dict[str, dict[str, Tensor]]:
        """The tensors of each file that is written beside a base that stays, whole and on the CPU."""
        files: dict[str, dict[str, Tensor]] = {}
        if rows := self.new_rows():
            files[NEW_ROWS_FILE] = {name: gather(value).detach().contiguous().cpu() for name, value in rows.items()}
        if self.lora is not None:
            files[ADAPTER_FILE] = self.lora.tensors(gather)
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
