"""A GGUF file as transformers would describe it: config, names and order of rows from its metadata alone.

The inverse of `gguf_file.add_model`. What another program may have written and this cannot compute is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gguf

from zhllm.errors import DataError
from zhllm.model.gguf_file import ARCHITECTURES, permuted_heads
from zhllm.model.gguf_read import GgufFile

# The class that computes each architecture: Mistral's files are Llama's.
CLASSES = {label: (name, arch) for name, (arch, label) in reversed(ARCHITECTURES.items())}
EMBEDDING, OUTPUT, FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
# Settings that change what a layer computes, and which transformers' plain classes do not have.
UNKNOWN = ("expert_count", "attention.sliding_window", "attention.logit_softcapping", "rope.scaling.attn_factor")


@dataclass(frozen=True)
class GgufLayout:
    """Transformers' config of a GGUF file, and GGUF's names by transformers'."""

    architecture: str
    config: dict[str, Any]
    names: dict[str, str]

    def heads(self, name: str) -> int | None:
        """The number of heads by which a tensor's rows are permuted; None for those kept in order."""
        return permuted_heads(self.architecture, self.config, name)


def config_of(file: GgufFile) -> tuple[str, dict[str, Any]]:
    """The architecture and transformers' config; DataError for one that is not Llama's, Mistral's, Qwen2's or 3's."""
    label = str(file.metadata.get("general.architecture"))
    if label not in CLASSES:
        raise DataError(
            f"{file.path}: architecture {label!r}; its weights can be read for {', '.join(sorted(CLASSES))}."
        )

    def found(key: str, otherwise: Any = None) -> Any:
        value = file.metadata.get(f"{label}.{key}", otherwise)
        if value is None:
            raise DataError(f"{file.path}: names no {label}.{key}; is it a language model?")
        return value

    if strange := [key for key in UNKNOWN if file.metadata.get(f"{label}.{key}")]:
        raise DataError(f"{file.path}: has {label}.{strange[0]}, which this does not compute.")
    heads, size = int(found("attention.head_count")), int(found("embedding_length"))
    scaling = file.metadata.get(f"{label}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise DataError(f"{file.path}: rope scaling {scaling!r}; none and linear are computed.")
    rope: dict[str, Any] = {"rope_theta": float(found("rope.freq_base", 10000.0)), "rope_type": "default"}
    if scaling == "linear":
        rope |= {"rope_type": "linear", "factor": float(found("rope.scaling.factor"))}
    return label, {
        "architectures": [CLASSES[label][0]],
        "model_type": label,
        "hidden_size": size,
        "intermediate_size": int(found("feed_forward_length")),
        "num_hidden_layers": int(found("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(found("attention.head_count_kv", heads)),
        "head_dim": int(found("attention.key_length", size // heads)),
        "rms_norm_eps": float(found("attention.layer_norm_rms_epsilon")),
        "max_position_embeddings": int(found("context_length")),
        "vocab_size": _tensor_rows(file, EMBEDDING),
        "rope_parameters": rope,
        "tie_word_embeddings": OUTPUT not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
    }


def layout_of(file: GgufFile, label: str, config: dict[str, Any], parameters: Iterable[str]) -> GgufLayout:
    """Where the file has each of a model's parameters; DataError where it lacks one, or has one that none is for."""
    names_of = gguf.get_tensor_name_map(CLASSES[label][1], config["num_hidden_layers"])
    wanted = {name: str(names_of.get_name(name, try_suffixes=(".weight", ".bias"))) for name in parameters}
    if config["tie_word_embeddings"]:
        wanted = {name: there for name, there in wanted.items() if there != OUTPUT}
    if missing := sorted(set(wanted.values()) - set(file.tensors)):
        raise DataError(f"{file.path}: lacks {len(missing)} tensors, e.g. {missing[:3]}.")
    if strange := sorted(set(file.tensors) - set(wanted.values()) - {FACTORS}):
        raise DataError(f"{file.path}: has {len(strange)} tensors that no {label} layer uses, e.g. {strange[:3]}.")
    return GgufLayout(label, config, wanted)


def _tensor_rows(file: GgufFile, name: str) -> int:
    if name not in file.tensors:
        raise DataError(f"{file.path}: has no {name}; is it a language model?")
    return file.tensors[name].shape[0]
