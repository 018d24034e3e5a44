"""A model directory as GGUF sees it: tensor names, the order of rows, and the metadata that describe the model.

Source: the GGUF specification (ggml/docs/gguf.md); the q/k row order is llama.cpp's, which rotates
neighbouring pairs where transformers rotates halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from zhllm.errors import DataError
from zhllm.model.gguf_types import FILE_TYPES, Mixture
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.model.llama import EMBED, HEAD, read_config
from zhllm.model.rope import rope, rope_kind
from zhllm.model.tensors import Array, Checkpoint

ARCHITECTURES = {
    "LlamaForCausalLM": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "MistralForCausalLM": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "Qwen2ForCausalLM": (gguf.MODEL_ARCH.QWEN2, "qwen2"),
    "Qwen3ForCausalLM": (gguf.MODEL_ARCH.QWEN3, "qwen3"),
}


# Tensors kept mapped at once: as many as threads may be busy with.
_MAPPED = 8


@dataclass(frozen=True)
class Source:
    """A model directory as the exporter sees it."""

    folder: Path
    config: dict[str, Any]
    weights: Checkpoint
    names: dict[str, str]  # transformers' name -> GGUF's
    architecture: str
    _mapped: dict[str, Array] = field(default_factory=dict)

    def mapped(self, name: str) -> Array:
        """A tensor in storage dtype, memory-mapped; the last few stay so."""
        found = self._mapped.get(name)
        if found is None:
            found = self.weights.raw(name).view(np.ndarray)  # np.memmap makes each slice 10 µs slower
            for old in list(self._mapped)[: max(0, len(self._mapped) - _MAPPED + 1)]:
                self._mapped.pop(old, None)
            self._mapped[name] = found
        return found

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config["num_hidden_layers"])

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding matrix."""
        return HEAD not in self.weights.specs

    @property
    def context_tokens(self) -> int:
        """The longest text of which llama.cpp computes what transformers does."""
        longest, window = int(self.config["max_position_embeddings"]), sliding_window(self.config)
        return longest if window is None else min(longest, window)

    def mixture(self, file_type: str, has_importance: bool = False) -> Mixture:
        """Which type each tensor gets in a file of this type."""
        heads = int(self.config["num_attention_heads"])
        shared = heads / int(self.config.get("num_key_value_heads") or heads)
        return Mixture(file_type, self.layers, self.tied, shared, has_importance)

    def row_order(self, name: str) -> NDArray[np.intp] | None:
        """Which of a tensor's rows stands at each row of the GGUF tensor; None where the order is kept."""
        heads = self.heads(name)
        return None if heads is None else permute(np.arange(self.weights.specs[name].shape[0]), heads)

    def heads(self, name: str) -> int | None:
        """The number of heads by which a tensor's rows are permuted; None for those kept in order."""
        return permuted_heads(self.architecture, self.config, name)


def open_source(folder: Path) -> Source:
    """A model directory ready for export; DataError for an architecture or tensor GGUF export does not know."""
    config = read_config(folder)
    found = [ARCHITECTURES[a] for a in config.get("architectures") or () if a in ARCHITECTURES]
    if not found:
        given = config.get("architectures")
        raise DataError(f"{folder}: architecture {given}; export knows {', '.join(ARCHITECTURES)}.")
    arch, label = found[0]
    rope_kind(config)
    try:
        sliding_window(config)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    weights = Checkpoint(folder)
    names_of = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    # Older Llama checkpoints hold the rotary frequencies, which every engine computes itself.
    stored = [n for n in weights.specs if not n.endswith("rotary_emb.inv_freq")]
    found_names = {n: names_of.get_name(n, try_suffixes=(".weight", ".bias")) for n in stored}
    names = {n: g for n, g in found_names.items() if g is not None}
    unknown = sorted(set(stored) - set(names))
    if unknown:
        raise DataError(f"{folder}: {len(unknown)} tensors have no place in a {label} GGUF, e.g. {unknown[:3]}.")
    return Source(folder, config, weights, names, label)


# What transformers takes where a config of these names no window.
_USUAL_WINDOW = 4096
_USUAL_FULL_LAYERS = 28


def sliding_window(config: Mapping[str, Any]) -> int | None:
    """How many tokens a layer attends to, itself among them; None where each layer attends to all before it.

    DataError for a window that is no number of tokens. Source: transformers' configs of Mistral, Qwen2 and Qwen3.
    """
    kind = config.get("model_type")
    if kind in ("qwen2", "qwen3"):
        layers = config.get("layer_types")
        if layers is None:
            every = config["num_hidden_layers"] <= config.get("max_window_layers", _USUAL_FULL_LAYERS)
            layers = () if every else ("sliding_attention",)
        if not config.get("use_sliding_window") or "sliding_attention" not in layers:
            return None
    elif kind != "mistral":
        return None
    window = config.get("sliding_window", _USUAL_WINDOW)
    if window is not None and (type(window) is not int or window < 1):
        raise DataError(f"sliding_window {window!r} is no number of tokens. Look at config.json.")
    return window


def permuted_heads(architecture: str, config: Mapping[str, Any], name: str) -> int | None:
    """The heads by which llama.cpp's order of a tensor's rows differs from transformers'; None where it does not."""
    if architecture != "llama":
        return None
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        return int(config["num_attention_heads"])
    if name.endswith(("k_proj.weight", "k_proj.bias")):
        return int(config.get("num_key_value_heads") or config["num_attention_heads"])
    return None


def permute(rows: Array, heads: int) -> Array:
    """Rows of a q or k matrix from transformers' order (halves) to llama.cpp's (pairs)."""
    size = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, size, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: Array, heads: int) -> Array:
    """The inverse of `permute`."""
    size = rows.shape[0] // heads // 2
    return rows.reshape(heads, size, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def add_model(writer: GGUFWriter, source: Source, name: str, file_type: str) -> None:
    """Write what engines need to know of the model beside its vocabulary and tensors."""
    config = source.config
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(name)
    writer.add_context_length(source.context_tokens)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(source.layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope(config)["rope_theta"])
    if source.architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(source.weights.specs[EMBED].shape[0])
    writer.add_file_type(FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    scaling = rope(config)
    if rope_kind(config) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
