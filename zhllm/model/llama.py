"""Llama-family model directories: config, tensor names, fresh models of named sizes.

H hidden size, I intermediate size, V vocabulary rows, L layers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zhllm.errors import DataError
from zhllm.model.tensors import Array, Spec, Writer, from_f32

EMBED = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Size:
    """The shape of a fresh Llama; parameters follow from it and the vocabulary."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    max_positions: int


# toy is for tests; tiny is the demo's: rows of 256 so that K-quants apply.
SIZES = {
    "toy": Size(64, 128, 2, 4, 2, 256),
    "tiny": Size(256, 512, 4, 4, 4, 512),
    "20m": Size(384, 1024, 8, 6, 6, 1024),
    "60m": Size(640, 1792, 10, 10, 10, 1024),
    "110m": Size(768, 2048, 12, 12, 12, 2048),
    "1b": Size(2048, 5632, 22, 32, 4, 4096),
}


def read_config(folder: Path) -> dict[str, Any]:
    """A model directory's config.json; DataError when there is none or it is not a Llama-family one."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if (folder / "adapter_config.json").is_file():
            raise DataError(f"{folder}: is an adapter, not a model. Run zhllm merge first.") from error
        raise DataError(f"{folder}: is not a model directory: it has no config.json.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: is not a model directory: config.json {error}.") from error
    if "hidden_size" not in config or "vocab_size" not in config:
        raise DataError(f"{path}: has no hidden_size and vocab_size; is this a language model's config?")
    return config


def config_of(size: Size, vocab_size: int, special_ids: dict[str, int]) -> dict[str, Any]:
    """config.json of a fresh Llama, in the keys that transformers 4 and 5 both read."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size.hidden_size,
        "intermediate_size": size.intermediate_size,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.hidden_size // size.heads,
        "max_position_embeddings": size.max_positions,
        "vocab_size": vocab_size,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "dtype": "float32",
        "torch_dtype": "float32",
        **{f"{role}_token_id": i for role, i in special_ids.items() if role != "unk"},
    }


def tensor_plan(size: Size, vocab_size: int, dtype: str = "F32") -> list[Spec]:
    """Every tensor of an untied Llama, in the order transformers names them."""
    h, i, kv = size.hidden_size, size.intermediate_size, size.hidden_size // size.heads * size.kv_heads
    shapes = {"q_proj": (h, h), "k_proj": (kv, h), "v_proj": (kv, h), "o_proj": (h, h),
              "gate_proj": (i, h), "up_proj": (i, h), "down_proj": (h, i)}  # fmt: skip
    plan = [Spec(EMBED, dtype, (vocab_size, h))]
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}."
        for name, shape in shapes.items():
            part = "self_attn" if name in LINEARS[:4] else "mlp"
            plan.append(Spec(f"{prefix}{part}.{name}.weight", dtype, shape))
        plan += [Spec(f"{prefix}{n}.weight", dtype, (h,)) for n in ("input_layernorm", "post_attention_layernorm")]
    return [*plan, Spec("model.norm.weight", dtype, (h,)), Spec(HEAD, dtype, (vocab_size, h))]


def parameter_count(plan: list[Spec]) -> int:
    """Parameters of a tensor plan."""
    return sum(math.prod(spec.shape) for spec in plan)


def write_fresh(folder: Path, size: Size, vocab_size: int, seed: int) -> None:
    """Write the weights of a fresh model: normal(0, 0.02), residual outputs / sqrt(2L), norms one.

    The residual scaling is GPT-2's (Radford et al. 2019, section 2.3). Same seed, same bytes.
    """
    plan = tensor_plan(size, vocab_size)
    with Writer(folder, plan) as writer:
        for spec, values in _fresh(plan, size.layers, np.random.default_rng(seed)):
            writer.write(spec.name, values)


def _fresh(plan: list[Spec], layers: int, rng: np.random.Generator) -> Iterator[tuple[Spec, Array]]:
    for spec in plan:
        if len(spec.shape) == 1:
            yield spec, np.ones(spec.shape, np.float32)
            continue
        residual = "o_proj" in spec.name or "down_proj" in spec.name
        scale = 0.02 / math.sqrt(2 * layers) if residual else 0.02
        values = rng.standard_normal(spec.shape, dtype=np.float32) * np.float32(scale)
        yield spec, from_f32(values, spec.dtype)
