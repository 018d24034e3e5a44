"""A forward pass of a model that is never in memory: transformers' and peft's own code, weights read row by row.

What a proof compares large models by: everything is computed in float32, whatever the stored dtype is.
n tokens of a text, V vocabulary rows, O out features, I in features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import PREFIX, Adapter, Part, Rows
from zhllm.model.merge_blocks import OpenFiles, RowReader, Source
from zhllm.model.tensors import to_f32
from zhllm.model.transformers_model import empty_model

READ_BYTES = 1 << 20  # bf16 of it takes 2 MB as float32; half or four times as much is slower
Rounding = Callable[[str, Tensor], Tensor]


@dataclass
class Weights:
    """Where the weights of one model come from, by name: a source, with replaced tensors and rows over it.

    `wait` is called with a name before it is read; `rounding` changes whole matrices (QLoRA's base).
    """

    source: Source
    files: OpenFiles
    names: frozenset[str]
    whole: Mapping[str, Part] = field(default_factory=dict)
    rows: Mapping[str, Sequence[Rows]] = field(default_factory=dict)
    wait: Callable[[str], None] | None = None
    rounding: Rounding | None = None
    rounded: frozenset[str] = frozenset()

    def known(self, name: str) -> str:
        """The name under which a parameter is stored: that of the embedding for a tied head."""
        if name not in self.names and name not in self.whole and name == HEAD:
            return EMBED
        return name

    def blocks(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """(first row, (n, I) float32 values, gone with the next block); one block where the matrix is rounded."""
        if name in self.rounded and self.rounding is not None:
            yield 0, self.rounding(name, torch.cat([values.clone() for _, values in self._blocks(name)]))
        else:
            yield from self._blocks(name)

    def _blocks(self, name: str) -> Iterator[tuple[int, Tensor]]:
        reader = self._reader(name)
        held = torch.empty(reader.step, reader.width)
        for start in range(0, reader.rows, reader.step):
            stop = min(start + reader.step, reader.rows)
            values = held[: stop - start].copy_(reader.read(start, stop))
            yield start, self._over(name, values, range(start, stop), reader.rows)

    def height(self, name: str) -> int:
        """Rows of a matrix."""
        return int(self._place(name)[1].shape[0])

    def full(self, name: str) -> Tensor:
        """All of a tensor, float32."""
        values = torch.cat([block.clone() for _, block in self.blocks(name)])
        return values.view(self._place(name)[1].shape)

    def gather(self, name: str, ids: Sequence[int]) -> Tensor:
        """(len(ids), I) float32: some rows of a matrix."""
        reader = self._reader(name)
        rows = [self._over(name, reader.read(i, i + 1).float().clone(), range(i, i + 1), reader.rows) for i in ids]
        return torch.cat(rows)

    def _over(self, name: str, values: Tensor, here: range, total: int) -> Tensor:
        for rows in self.rows.get(self.known(name), ()):
            found = list(_inside(rows.places(total), here))
            if found:
                numbers, places = (torch.tensor(column) for column in zip(*found, strict=True))
                stored = rows.part.tensors.raw(rows.part.key)[numbers.numpy()]
                dtype = rows.part.tensors.specs[rows.part.key].dtype
                values[places - here.start] = torch.from_numpy(to_f32(stored, dtype))
        return values

    def _place(self, name: str) -> tuple[Path, Any]:
        known = self.known(name)
        if known in self.whole:
            return self.whole[known].tensors.where(self.whole[known].key)
        if self.wait is not None:
            self.wait(known)
        return self.source.where(known)

    def _reader(self, name: str) -> RowReader:
        return RowReader(self.files, *self._place(name), READ_BYTES)


def _inside(places: range | tuple[int, ...], here: range) -> Iterator[tuple[int, int]]:
    """(number of the row in its table, its place) of the rows that lie in a block."""
    if isinstance(places, range):
        both = range(max(places.start, here.start), min(places.stop, here.stop))
        yield from ((place - places.start, place) for place in both)
    else:
        yield from ((number, place) for number, place in enumerate(places) if place in here)


class StreamedLinear(nn.Linear):
    """A linear layer that reads its weight, block by block, each time it is asked."""

    weights: Weights
    stored_name: str

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """(..., I) to (..., O), float32."""
        if self.weight.device.type != "meta":
            out = nn.functional.linear(input, self.weight)
        else:
            out = input.new_empty(*input.shape[:-1], self.out_features)
            for start, block in self.weights.blocks(self.stored_name):
                out[..., start : start + len(block)] = input @ block.T
        if self.bias is not None:
            out += self.weights.full(self.stored_name.removesuffix("weight") + "bias")
        return out


class StreamedEmbedding(nn.Embedding):
    """An embedding that reads the rows it is asked for."""

    weights: Weights
    stored_name: str

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """(...) token ids to (..., H), float32."""
        ids, places = torch.unique(input, return_inverse=True)
        return self.weights.gather(self.stored_name, ids.tolist())[places]


def stream(model: nn.Module, weights: Weights, prefix: str = "") -> None:
    """Make every parameter of a model on the meta device one that is read when it is asked for.

    Linear layers and embeddings are never whole; other parameters are read once, at the first call.
    Raises DataError for one that has no tensor.
    """
    for name, module in list(model.named_modules()):
        own = {key: f"{prefix}{name}.{key}".lstrip(".") for key, p in module.named_parameters(recurse=False)}
        lacking = [
            path for path in own.values() if weights.known(path) not in weights.names and path not in weights.whole
        ]
        if lacking:
            raise DataError(f"1 or more weights are missing, e.g. {lacking[0]}.")
        if type(module) in (nn.Linear, nn.Embedding):
            module.__class__ = StreamedLinear if type(module) is nn.Linear else StreamedEmbedding
            module.weights, module.stored_name = weights, own["weight"]
        elif own:
            module.register_forward_pre_hook(_Fill(weights, own))


class _Fill:
    """A hook that reads a small module's parameters before its first call."""

    def __init__(self, weights: Weights, names: dict[str, str]) -> None:
        self.weights, self.names = weights, names

    def __call__(self, module: nn.Module, _: Any) -> None:
        for key, path in self.names.items():
            if getattr(module, key).device.type == "meta":
                setattr(module, key, nn.Parameter(self.weights.full(path), requires_grad=False))


def streamed_model(folder: Path, weights: Weights) -> Any:
    """The model of `folder`'s config over `weights`."""
    model = empty_model(folder)
    try:
        stream(model, weights)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    return model


def with_adapters(model: Any, adapters: Sequence[Adapter], files: OpenFiles) -> Any:
    """peft's model of a streamed one with the LoRA of every adapter, unmerged; scales and places are peft's.

    Raises DataError where peft has another set of modules than the adapters' files.
    """
    loras = [adapter for adapter in adapters if adapter.updates]
    if not loras:
        return model
    from peft import LoraConfig, PeftModel

    wrapped: Any = None
    for number, adapter in enumerate(loras):
        config = LoraConfig.from_pretrained(str(adapter.folder), local_files_only=True)
        config.exclude_modules = _excluded(model, config) or None
        config.modules_to_save = config.trainable_token_indices = None  # they stand in the weights already
        config.bias, config.inference_mode, config.ensure_weight_tying = "none", True, False
        if wrapped is None:
            wrapped = PeftModel(model, config, adapter_name="a0", low_cpu_mem_usage=True)
        else:
            wrapped.add_adapter(f"a{number}", config, low_cpu_mem_usage=True)
    wrapped.base_model.set_adapter([f"a{n}" for n in range(len(loras))], inference_mode=True)
    for number, adapter in enumerate(loras):
        placed = _fill_adapter(wrapped, f"a{number}", adapter, files)
        if placed != adapter.updates.keys():
            raise unlike(adapter, placed ^ adapter.updates.keys())
    return wrapped.eval()


def _excluded(model: Any, config: Any) -> list[str]:
    """The modules that get no LoRA: what the adapter excludes, and with peft all that it saves whole."""
    names, given = [name for name, _ in model.named_modules()], config.exclude_modules or ()
    if isinstance(given, str):
        given = [name for name in names if re.fullmatch(given, name)]
    saved = [rf"(^|.*\.){module}($|\..*)" for module in config.modules_to_save or ()]
    return [*given, *(name for name in names if any(re.match(pattern, name) for pattern in saved))]


def unlike(adapter: Adapter, odd: set[str]) -> DataError:
    """What to raise where settings and tensors of an adapter name different modules."""
    return DataError(
        f"{adapter.folder}: adapter_config.json and its tensors differ in {len(odd)} modules, e.g. {sorted(odd)[:3]}: "
        "were some not saved, or is its target_modules another one's?"
    )


def _fill_adapter(wrapped: Any, label: str, adapter: Adapter, files: OpenFiles) -> set[str]:
    """Give peft's modules of one adapter their values; the base tensors they belong to."""
    from peft.tuners.lora import LoraLayer

    placed = set()
    for path, layer in wrapped.named_modules():
        name = f"{path.removeprefix(PREFIX)}.weight"
        if not isinstance(layer, LoraLayer) or label not in layer.scaling:
            continue
        placed.add(name)
        update = adapter.updates.get(name)
        if update is None:
            continue
        if update.of_embedding:
            for table, part in ((layer.lora_embedding_A, update.part_a), (layer.lora_embedding_B, update.part_b)):
                table[label] = nn.Parameter(torch.tensor(part.f32()), requires_grad=False)
            continue
        for module, part in ((layer.lora_A[label], update.part_a), (layer.lora_B[label], update.part_b)):
            module.__class__ = StreamedLinear
            module.weights = Weights(part.tensors, files, frozenset(part.tensors.specs))
            module.stored_name = part.key
        if update.part_magnitude is not None:
            values = torch.tensor(update.part_magnitude.f32()).reshape(-1)
            layer.lora_magnitude_vector[label].weight = nn.Parameter(values, requires_grad=False)
            layer.register_forward_pre_hook(_read_whole)
            layer.register_forward_hook(_forget)
    return placed


def _held(layer: Any) -> list[Any]:
    """The streamed layers that DoRA's norm needs whole."""
    return [layer.base_layer, *layer.lora_A.values(), *layer.lora_B.values()]


def _read_whole(layer: Any, _: Any) -> None:
    """DoRA's norm needs the weight at once: of this layer, while it is asked."""
    for part in _held(layer):
        part.weight = nn.Parameter(part.weights.full(part.stored_name), requires_grad=False)
        if part.bias is not None:
            bias = part.weights.full(part.stored_name.removesuffix("weight") + "bias")
            part.bias = nn.Parameter(bias, requires_grad=False)


def _forget(layer: Any, *_: Any) -> None:
    for part in _held(layer):
        part.weight = nn.Parameter(torch.empty(part.weight.shape, device="meta"), requires_grad=False)


def batched_logits(model: Any, ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """(n, V) float32 logits of each text, from one pass over the weights.

    The texts stand in one row, each with its own positions and blind to the others: no token is spent on filling.
    """
    lengths = [len(row) for row in ids]
    text = torch.repeat_interleave(torch.arange(len(ids)), torch.tensor(lengths))
    seen = (text[:, None] == text).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.no_grad():
        made = model(
            input_ids=torch.tensor([[token for row in ids for token in row]]),
            position_ids=torch.tensor([[place for row in ids for place in range(len(row))]]),
            attention_mask=mask[None, None],
            use_cache=False,
        ).logits
    return [part.float() for part in made[0].split(lengths)]


def loss_of(found: Sequence[Tensor], ids: Sequence[Sequence[int]]) -> float:
    """Mean loss in nats of each text's tokens after the first."""
    total = sum(
        float(nn.functional.cross_entropy(rows[:-1], torch.tensor(list(row[1:])), reduction="sum"))
        for rows, row in zip(found, ids, strict=True)
    )
    count = sum(len(row) - 1 for row in ids)
    return total / count if count else math.nan
