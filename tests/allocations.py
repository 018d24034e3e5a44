"""What torch allocates in a training step: storages counted as they come and go, no memory or time needed.

Tensors are fake (shapes without values), so a 7B model fits any machine.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zhllm.train import loss
from zhllm.train.loss import chunked_cross_entropy
from zhllm.train.plan.cost import Training


class Rows(nn.Module):
    """An embedding, or a head, of frozen and learning rows."""

    def __init__(self, weight: Tensor, base: int) -> None:
        super().__init__()
        self.base = nn.Parameter(weight[:base].detach().clone(), requires_grad=False)
        self.new = nn.Parameter(weight[base:].detach().clone())

    @property
    def weight(self) -> Tensor:
        return self.base

    def forward(self, ids: Tensor) -> Tensor:
        old = functional.embedding(ids.clamp(max=len(self.base) - 1), self.base) if len(self.base) else 0
        new = functional.embedding((ids - len(self.base)).clamp(min=0), self.new).to(self.base.dtype)
        return torch.where((ids < len(self.base)).unsqueeze(-1), old, new)


def made_trainable(model: Any, training: Training, base_rows: int) -> list[Tensor]:
    """Freeze and add as the setting says; returns the head's matrices."""
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(training.whole)
    heads = [model.lm_head.weight]
    if training.parts & {"new-rows", "embeddings"}:
        first = base_rows if "new-rows" in training.parts else 0
        embed = Rows(model.model.embed_tokens.weight, first)
        head = embed if model.config.tie_word_embeddings else Rows(model.lm_head.weight, first)
        model.set_input_embeddings(embed)
        model.set_output_embeddings(head)
        heads = [head.base, head.new]
    if training.lora:
        config = LoraConfig(r=training.lora_rank, target_modules=list(training.lora), task_type="CAUSAL_LM")
        learning = [p for p in model.parameters() if p.requires_grad]
        get_peft_model(model, config)
        for parameter in learning:
            parameter.requires_grad_(True)
    if training.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    return heads


class Allocations(TorchDispatchMode):
    """Bytes of the storages that live, and the most there were at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        if storage not in self._seen:
            self._seen.add(storage)
            self.now += (size := storage.nbytes())
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class Step:
    """Bytes: what lies there between steps, what the step adds at its fullest, and in the loss alone."""

    resident: int
    peak: int
    loss: int


def allocations_of_a_step(
    config: Any,
    training: Training,
    base_rows: int,
    rows: int,
    seq_len: int,
    stored: torch.dtype,
    autocast: torch.dtype | None,
    plain_loss: bool = False,
    masked: bool = True,
) -> Step:
    """The second training step of one micro-batch, with AdamW; documents kept apart by a mask, or one a row."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=stored)
        heads = made_trainable(model, training, base_rows)
    with FakeTensorMode(allow_non_fake_inputs=True), Allocations() as counted:
        heads = _made_real(model, heads)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=1e-4, foreach=False)
        ids = torch.zeros((rows, seq_len), dtype=torch.long)
        mask = torch.ones(rows, 1, seq_len, seq_len, dtype=torch.bool) if masked else None
        for _ in range(2):
            gc.collect()
            resident = counted.peak = counted.now
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[0]
                before = counted.peak = counted.now
                total = _plain(hidden, heads, ids) if plain_loss else _chunked(hidden, heads, ids)
            loss_peak = counted.peak - before
            del hidden
            total.backward()  # type: ignore[no-untyped-call]
            peak = counted.peak
            optimizer.step()
            optimizer.zero_grad()
        return Step(resident, peak - resident, loss_peak)


def _made_real(model: Any, heads: list[Tensor]) -> list[Tensor]:
    """Parameters and buffers on the "meta" device become fake ones on the CPU; what learns is float32."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                dtype = torch.float32 if old.requires_grad else old.dtype
                new = nn.Parameter(torch.empty(old.shape, dtype=dtype), requires_grad=old.requires_grad)
                module._parameters[name] = made.setdefault(id(old), new)
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype)
    return [made[id(head)] for head in heads]


def _chunked(hidden: Tensor, heads: list[Tensor], ids: Tensor) -> Tensor:
    with patch.object(loss, "CACHED_ELEMENTS", loss.CHUNK_ELEMENTS):  # the softmax of a whole chunk, as on a GPU
        return chunked_cross_entropy(hidden, heads, ids[0])[0]


def _plain(hidden: Tensor, heads: list[Tensor], ids: Tensor) -> Tensor:
    (head,) = heads
    logits = functional.linear(hidden, head)
    return functional.cross_entropy(logits.float(), ids[0], reduction="sum")
