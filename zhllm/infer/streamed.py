"""A transformers model whose weights are there only while they are used: a forward pass in little memory.

What export measures long texts with, whatever the weights are stored as, on a GPU where there is one; a merge, which
must not even hold one matrix, reads by rows (`row_streams`). The computation is transformers' own; each module's
weights are put in place just before it runs and taken away after it. Peak memory is the largest matrix in float32,
and the activations of the rows given at once.

B rows, n tokens of the longest, H hidden size, V vocabulary rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from zhllm.errors import DataError
from zhllm.model.gguf_proof import row_slices
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import F32
from zhllm.model.transformers_model import empty_model

# Tokens of one pass through all layers: their activations are some hundred megabytes for a 7B.
PASS_TOKENS = 2048


def give_back_at_once() -> None:
    """Make the C library return every large block to the system when it is freed, for the rest of the process.

    Left alone it raises the size from which it does so with each block it sees, and what many activations of
    different sizes leave behind stays: between 0.5 and 2 GB for a 1.1 B model, by chance.
    """
    with contextlib.suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


_M_MMAP_THRESHOLD = -3  # glibc's malloc.h


class Weights(Protocol):
    """Tensors by transformers' names."""

    def tensor(self, name: str) -> F32:
        """A whole tensor, writable, which may be overwritten when the next one is asked for."""

    def rows(self, name: str, rows: slice | np.ndarray[Any, Any]) -> F32:
        """Rows of a matrix."""


class StreamedModel:
    """The model of a directory without its weights."""

    def __init__(self, folder: Path, tied: bool) -> None:
        """Raises DataError where transformers does not know the directory's config."""
        give_back_at_once()
        self._model = empty_model(folder)
        self.inner = self._model.model
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.inner.rotary_emb.to(self.device)
        self.config, self.head = self._model.config, EMBED if tied else HEAD

    def parameters(self) -> list[str]:
        """Names of the model's weights."""
        return [name for name, _ in self._model.named_parameters()]

    def check_names(self, names: set[str]) -> None:
        """DataError where the directory lacks a weight that the model has (transformers would draw it)."""
        head = {HEAD} if self.head == EMBED else set()
        missing = sorted({name for name, _ in self._model.named_parameters()} - names - head)
        if missing:
            raise DataError(f"{len(missing)} weights are missing or misshapen, e.g. {missing[:3]}.")

    def hidden(
        self,
        ids: Sequence[Sequence[int]],
        weights: Weights,
        on_input: Callable[[str, Tensor], None] | None = None,
    ) -> list[Tensor]:
        """The last hidden states, normed, (n, H) of each row on the CPU.

        `on_input` hears of every linear layer's weight name and the inputs of the rows' own tokens, (tokens, I).
        """
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # rows of like length are padded little
        found: dict[int, Tensor] = {}
        batch: list[int] = []
        for place, index in enumerate(order):
            batch.append(index)
            following = len(ids[order[place + 1]]) if place + 1 < len(order) else 0
            if following * (len(batch) + 1) > PASS_TOKENS or not following:
                states = self._pass([ids[i] for i in batch], weights, on_input)
                found |= {i: row[: len(ids[i])].cpu() for i, row in zip(batch, states, strict=True)}
                batch = []
        return [found[i] for i in range(len(ids))]

    def _pass(self, ids: Sequence[Sequence[int]], weights: Weights, on_input: Any) -> Tensor:
        longest = max(map(len, ids))
        # Padding stands at the end, where no other token sees it: attention is causal.
        padded = np.array([[*row, *[0] * (longest - len(row))] for row in ids])
        own = torch.tensor([[i < len(row) for i in range(longest)] for row in ids])
        used, places = np.unique(padded, return_inverse=True)
        rows = torch.from_numpy(weights.rows(EMBED, used))[torch.from_numpy(places.reshape(padded.shape))]
        handles = []
        for prefix, module in self.inner.named_modules():
            if module is not self.inner.embed_tokens and next(module.parameters(recurse=False), None) is not None:
                name = f"model.{prefix}"
                handles.append(module.register_forward_pre_hook(self._put(name, weights, own, on_input)))
                handles.append(module.register_forward_hook(_take))
        try:
            with torch.no_grad():
                states: Tensor = self.inner(inputs_embeds=rows.to(self.device), use_cache=False).last_hidden_state
        finally:
            for handle in handles:
                handle.remove()
        return states

    def _put(self, name: str, weights: Weights, own: Tensor, on_input: Any) -> Any:
        def put(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # The matrix last, as it stands in the buffer where each tensor is formed.
            for part, _ in sorted(module.named_parameters(recurse=False), key=lambda item: item[1].ndim):
                values = torch.from_numpy(weights.tensor(f"{name}.{part}"))
                values = values.to(self.device, copy=values.ndim == 1)
                setattr(module, part, nn.Parameter(values, requires_grad=False))
            if on_input is not None and isinstance(module, nn.Linear):
                on_input(f"{name}.weight", inputs[0][own.to(inputs[0].device)])

        return put

    @property
    def whole_bytes(self) -> int:
        """What `whole` takes."""
        return sum(4 * math.prod(value.shape) for _, value in self._own_parameters())

    def whole(self, weights: Weights) -> Any:
        """The transformers model with all its weights in place, float32 on the device, for many short passes.

        It is no streamed model from then on.
        """
        for name, _ in self._own_parameters():
            module, _, part = name.rpartition(".")
            values = torch.from_numpy(np.array(weights.tensor(name))).to(self.device)
            setattr(self._model.get_submodule(module), part, nn.Parameter(values, requires_grad=False))
        if self.head == EMBED:
            self._model.lm_head.weight = self.inner.embed_tokens.weight
        return self._model.eval()

    def _own_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Those that are not another one under a second name."""
        return [(k, v) for k, v in self._model.named_parameters() if not (k == HEAD and self.head == EMBED)]

    def logits(self, hidden: Tensor, weights: Weights, rows: slice) -> Tensor:
        """(tokens, rows) logits of some vocabulary rows, float32 on the device, of hidden states (tokens, H)."""
        matrix = torch.from_numpy(np.require(weights.rows(self.head, rows), requirements="W"))
        return hidden.to(self.device) @ matrix.to(self.device).T

    def vocabulary(self, rows: int) -> list[slice]:
        """The vocabulary rows in blocks whose float32 copies are small."""
        return list(row_slices(rows, self.config.hidden_size))


def _take(module: nn.Module, inputs: Any, output: Any) -> None:
    for part, value in list(module.named_parameters(recurse=False)):
        setattr(module, part, nn.Parameter(value.to("meta"), requires_grad=False))
