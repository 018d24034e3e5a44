"""Model directories as GGUF files, streamed tensor by tensor, and back to float32 for proofs.

Source: the GGUF specification (ggml/docs/gguf.md); the q/k row order is llama.cpp's, which rotates
neighbouring pairs where transformers rotates halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

from zhllm.errors import DataError, ProofError
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_types import FILE_TYPES, tensor_type
from zhllm.model.gguf_vocab import add_vocabulary
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.model.kquants import quantize
from zhllm.model.llama import EMBED, HEAD, read_config
from zhllm.model.tensors import F32, Array, Checkpoint, from_f32

ARCHITECTURES = {
    "LlamaForCausalLM": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "MistralForCausalLM": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "Qwen2ForCausalLM": (gguf.MODEL_ARCH.QWEN2, "qwen2"),
    "Qwen3ForCausalLM": (gguf.MODEL_ARCH.QWEN3, "qwen3"),
}


@dataclass(frozen=True)
class Source:
    """A model directory as the exporter sees it."""

    folder: Path
    config: dict[str, Any]
    weights: Checkpoint
    names: dict[str, str]  # transformers' name -> GGUF's
    architecture: str

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config["num_hidden_layers"])

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding matrix."""
        return HEAD not in self.weights.specs

    def heads(self, name: str) -> int | None:
        """The number of heads by which a tensor's rows are permuted; None for those kept in order."""
        if self.architecture != "llama":
            return None
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            return int(self.config["num_attention_heads"])
        if name.endswith(("k_proj.weight", "k_proj.bias")):
            return int(self.config.get("num_key_value_heads") or self.config["num_attention_heads"])
        return None


def open_source(folder: Path) -> Source:
    """A model directory ready for export; DataError for an architecture or tensor GGUF export does not know."""
    config = read_config(folder)
    found = [ARCHITECTURES[a] for a in config.get("architectures") or () if a in ARCHITECTURES]
    if not found:
        given = config.get("architectures")
        raise DataError(f"{folder}: architecture {given}; export knows {', '.join(ARCHITECTURES)}.")
    arch, label = found[0]
    rope_kind(config)
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


def permute(rows: Array, heads: int) -> Array:
    """Rows of a q or k matrix from transformers' order (halves) to llama.cpp's (pairs)."""
    size = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, size, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: Array, heads: int) -> Array:
    """The inverse of `permute`."""
    size = rows.shape[0] // heads // 2
    return rows.reshape(heads, size, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    source: Source, path: Path, file_type: str, template: str | None, end_id: int, on_tensor: Callable[[int], None]
) -> None:
    """Write one GGUF file; memory stays near the largest tensor. `on_tensor` hears of bytes written."""
    writer = GGUFWriter(path, source.architecture)
    _add_metadata(writer, source, path.stem, file_type)
    add_vocabulary(writer, source.folder, source.weights.specs[EMBED].shape[0], template, end_id)
    plan = list(_plan(source, file_type))
    for name, shape, kind, _ in plan:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(name, shape, np.dtype(np.float32), math.prod(shape) // block * size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, _, kind, values in plan:
        data = encode(values(), kind)
        writer.write_tensor_data(data)
        on_tensor(data.nbytes)
    writer.close()


def _plan(source: Source, file_type: str) -> Iterator[tuple[str, tuple[int, ...], T, Callable[[], F32]]]:
    """(GGUF name, shape, type, how to get the float32 values) of every tensor in file order."""
    factors = rope_factors(source.config)
    if factors is not None:
        yield "rope_freqs.weight", factors.shape, T.F32, lambda: factors
    for name, target in source.names.items():
        spec = source.weights.specs[name]
        kind = tensor_type(target, spec.shape, file_type, source.layers, source.tied)

        def values(name: str = name) -> F32:
            found, heads = source.weights.f32(name), source.heads(name)
            return found if heads is None else permute(found, heads)

        yield target, spec.shape, kind, values


def encode(values: F32, kind: T) -> Array:
    """Float32 values as the bytes of a GGUF type."""
    if kind == T.F32:
        return np.ascontiguousarray(values, np.float32)
    if kind == T.F16:
        return values.astype(np.float16)
    if kind == T.BF16:
        return from_f32(values, "BF16")
    return quantize(values, kind)


def _add_metadata(writer: GGUFWriter, source: Source, name: str, file_type: str) -> None:
    config = source.config
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
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


def rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings as transformers reads them: the older `rope_scaling` wins over `rope_parameters`."""
    settings = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **settings}


def rope_kind(config: dict[str, Any]) -> str:
    """ "default", "linear" or "llama3"; DataError for a scaling that export does not know."""
    settings = rope(config)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise DataError(f'rope scaling "{kind}" is not one that export knows (default, linear, llama3).')
    return str(kind)


def rope_factors(config: dict[str, Any]) -> F32 | None:
    """(head_dim / 2,) divisors of Llama-3.1's rotary frequencies; None for other scalings.

    Source: Meta's llama-models, `apply_scaling`.
    """
    if rope_kind(config) != "llama3":
        return None
    settings = rope(config)
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    frequencies = settings["rope_theta"] ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    wavelengths = 2 * np.pi / frequencies
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    turns = settings["original_max_position_embeddings"] / wavelengths
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    factors: F32 = (1 / ((1 - smooth) / settings["factor"] + smooth)).astype(np.float32)
    return factors


def read_back(file: GgufFile, source: Source) -> dict[str, F32]:
    """Every tensor of a GGUF file by transformers' name, dequantised, q/k rows in transformers' order.

    Raises ProofError when tensors or shapes are not those of the source.
    """
    wrong = [
        target for name, target in source.names.items()
        if target not in file.tensors or file.tensors[target].shape != source.weights.specs[name].shape
    ]  # fmt: skip
    if wrong:
        raise ProofError(f"{file.path.name}: {len(wrong)} tensors are missing or misshapen, e.g. {wrong[:3]}.")
    found: dict[str, F32] = {}
    for name, target in source.names.items():
        values, heads = file.tensors[target].f32(), source.heads(name)
        found[name] = values if heads is None else unpermute(values, heads)
    return found


def largest_row_error(source: Source, weights: dict[str, F32]) -> tuple[float, str]:
    """How far the worst row of all tensors is from the source, relative to its length, and where.

    Rows shorter than 1 % of their tensor's are measured by that: float16 has no digits left for the
    1e-38 that unused tokens have in some models.
    """
    worst = (0.0, "")
    for name, values in weights.items():
        wanted = source.weights.f32(name)
        rows, found = (v.reshape(-1, v.shape[-1]) for v in (wanted, values))
        lengths = np.linalg.norm(rows, axis=1)
        lengths = np.maximum(lengths, 0.01 * np.sqrt(np.mean(lengths**2)))
        errors = np.linalg.norm(found - rows, axis=1) / np.where(lengths == 0, 1, lengths)
        row = int(np.argmax(errors))  # of a NaN, where there is one
        if not errors[row] <= worst[0]:
            worst = (float(errors[row]), f"row {row} of {name}")
    return worst
