"""Adapters on a loaded model, each sequence of a batch with its own: what it costs is a small product, no copy.

Sources: S-LoRA (Sheng et al. 2023) for adapters by row; LoRA and DoRA as in `zhllm.model.lora`. B sequences,
T tokens, I in and O out features, R rank, n trained rows of the vocabulary's V, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import Adapter, LowRank


@dataclass
class _Update:
    """One module's low-rank update in the model's dtype: a (R, I), b (O, R), DoRA's gain (O,) or None."""

    a: Tensor
    b: Tensor
    gain: Tensor | None

    def apply(self, x: Tensor, y: Tensor, bias: Tensor | None) -> Tensor:
        """The module's output with the update, from its input and its plain output."""
        updated = y + (x @ self.a.T) @ self.b.T
        if self.gain is None:
            return updated
        return updated * self.gain if bias is None else (updated - bias) * self.gain + bias


@dataclass
class _Table:
    """Rows of a vocabulary matrix that an adapter trained: values (n, H), and where they stand, (n,) ids."""

    values: Tensor
    places: Tensor
    index: Tensor  # (V,): the row of `values` that takes an id's place, or -1

    @classmethod
    def of(cls, values: Any, places: Sequence[int], like: Tensor) -> _Table:
        """On the device and in the dtype of the matrix."""
        at = torch.tensor(list(places), device=like.device)
        index = torch.full((like.shape[0],), -1, device=like.device)
        index[at] = torch.arange(len(at), device=like.device)
        return cls(torch.tensor(values).to(like), at, index)


@dataclass
class LiveAdapters:
    """The adapters of a model by name; `choose` says which sequence of the next forward pass uses which."""

    model: Any
    names: list[str] = field(default_factory=list)
    _rows: Sequence[str | None] = ()
    _updates: dict[str, dict[str, _Update]] = field(default_factory=dict)  # by module, then by adapter
    _tables: dict[str, dict[str, _Table]] = field(default_factory=dict)

    def add(self, name: str, folder: Path) -> None:
        """Read an adapter folder; DataError where it is none, does not fit, or has parts that only merge takes."""
        adapter = Adapter(folder)
        modules = dict(self.model.named_modules())
        places = {EMBED: self.model.get_input_embeddings(), HEAD: self.model.get_output_embeddings()}
        self._check(adapter, modules, places)
        for tensor, update in adapter.updates.items():
            self._add_update(name, tensor.removesuffix(".weight"), modules[tensor.removesuffix(".weight")], update)
        self._add_tables(name, adapter, places)
        self.names.append(name)

    def _check(self, adapter: Adapter, modules: dict[str, Any], places: dict[str, Any]) -> None:
        if adapter.bias_gains or adapter.whole.keys() - places.keys():
            others = [*adapter.bias_gains, *(adapter.whole.keys() - places.keys())]
            raise DataError(f"{adapter.folder}: trained {', '.join(others[:3])}, which only merge puts in place.")
        for tensor, update in adapter.updates.items():
            module = modules.get(tensor.removesuffix(".weight"))
            if not isinstance(module, nn.Linear) or tuple(module.weight.shape) != update.shape:
                shape = " x ".join(map(str, update.shape))
                raise DataError(f"{adapter.folder}: its update of {tensor} ({shape}) does not fit this model.")
        parts = {tensor: rows.part for tensor, rows in adapter.rows.items()} | adapter.whole
        for tensor, part in parts.items():
            matrix = places[tensor].weight if tensor in places else None
            fits = matrix is not None and part.shape[1] == matrix.shape[1] and part.shape[0] <= matrix.shape[0]
            if not fits or (tensor in adapter.whole and part.shape[0] != places[tensor].weight.shape[0]):
                raise DataError(f"{adapter.folder}: its rows of {tensor} {part.shape} do not fit this model.")

    def choose(self, rows: Sequence[str | None]) -> None:
        """Name the adapter of each sequence of the next forward pass; None is the base."""
        self._rows = rows if any(rows) else ()

    def _add_update(self, name: str, module_name: str, module: nn.Linear, update: LowRank) -> None:
        weight = module.weight
        b, a = torch.tensor(update.b * update.scale), torch.tensor(update.a)
        gain = None
        if update.magnitude is not None:
            norm = torch.linalg.vector_norm(weight.detach().float().cpu() + b @ a, dim=1)
            gain = (torch.tensor(update.magnitude) / norm).to(weight)
        if module_name not in self._updates:
            self._updates[module_name] = {}
            module.register_forward_hook(partial(self._on_linear, self._updates[module_name]))
        self._updates[module_name][name] = _Update(a.to(weight), b.to(weight), gain)

    def _add_tables(self, name: str, adapter: Adapter, places: dict[str, Any]) -> None:
        total = places[EMBED].weight.shape[0]
        tables = {tensor: (rows.part.f32(), rows.places(total)) for tensor, rows in adapter.rows.items()}
        tables |= {tensor: (part.f32(), range(total)) for tensor, part in adapter.whole.items()}
        if places[EMBED].weight is places[HEAD].weight and EMBED in tables:
            tables[HEAD] = tables[EMBED]
        for tensor, (values, at) in tables.items():
            module = places[tensor]
            if tensor not in self._tables:
                self._tables[tensor] = {}
                hook = self._on_embedding if tensor == EMBED else self._on_head
                module.register_forward_hook(partial(hook, self._tables[tensor]))
            self._tables[tensor][name] = _Table.of(values, at, module.weight)

    def _chosen(self, known: dict[str, Any]) -> list[tuple[str, list[int]]]:
        """Every adapter of the batch that touches a module, with its sequences."""
        return [
            (name, [i for i, row in enumerate(self._rows) if row == name])
            for name in dict.fromkeys(self._rows)
            if name in known
        ]

    def _on_linear(self, updates: dict[str, _Update], module: Any, args: Any, output: Tensor) -> Tensor:
        for name, rows in self._chosen(updates):
            output = output.clone()
            output[rows] = updates[name].apply(args[0][rows], output[rows], module.bias)
        return output

    def _on_embedding(self, tables: dict[str, _Table], module: Any, args: Any, output: Tensor) -> Tensor:
        for name, rows in self._chosen(tables):
            table, output = tables[name], output.clone()
            at = table.index[args[0][rows]]
            trained = table.values[at.clamp(min=0)]
            output[rows] = torch.where((at >= 0)[..., None], trained, output[rows])
        return output

    def _on_head(self, tables: dict[str, _Table], module: Any, args: Any, output: Tensor) -> Tensor:
        for name, rows in self._chosen(tables):
            table, output = tables[name], output.clone()
            own = output[rows]
            own[..., table.places] = args[0][rows] @ table.values.T
            output[rows] = own
        return output
