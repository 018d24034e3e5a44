"""A forward pass of Llama, Mistral, Qwen2 and Qwen3 over weights that stay in their files: torch alone, float32.

What transformers and peft compute, tested side by side, without importing them: their import takes 9 CPU seconds,
a pass of 111 tokens through 1.1 B parameters 4. A config or an adapter that is not known here through and through
is theirs (`row_streams`).

n tokens of all texts, H hidden size, D a head's size, V vocabulary rows, O out features, I in features. States are
(features, n), so that a block of a weight's rows gives whole rows of them: 110 GFLOP/s on a core, 85 the other way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zhllm.errors import DataError
from zhllm.infer.row_streams import Weights, unlike
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import Adapter, Part
from zhllm.model.rope import rope, rope_frequencies

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
BIASED = {"llama": (), "mistral": (), "qwen2": ATTENTION[:3], "qwen3": ()}
# Settings of config.json that are read here, or that do not touch what a pass computes.
COVERED = {
    "architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "hidden_act", "rms_norm_eps",
    "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings", "attention_bias", "mlp_bias",
    "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "attention_dropout", "use_cache",
    "initializer_range", "pretraining_tp", "dtype", "torch_dtype", "transformers_version", "_name_or_path",
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
}  # fmt: skip
NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
ROPES = {
    "default": (), "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}  # fmt: skip
# Tokens of a product: 111 take longer than 112 (2.0 and 1.7 ns a weight).
EVEN_TOKENS = 16


@dataclass(frozen=True)
class Shape:
    """What a config says about the computation."""

    config: dict[str, Any]
    kind: str
    head_dim: int
    eps: float

    @staticmethod
    def of(config: dict[str, Any], longest: int) -> Shape | None:
        """The shape of a config for texts of at most `longest` tokens; None where transformers is to compute it."""
        kind = config.get("model_type")
        strange = any(value and key not in COVERED for key, value in config.items())
        if kind not in BIASED or strange or not all(isinstance(config.get(key), int) for key in NEEDED):
            return None
        slides = kind == "mistral" or config.get("use_sliding_window")
        within = not slides or longest <= (config.get("sliding_window") or longest)
        positions = rope(config)
        wanted = ROPES.get(positions.get("rope_type") or positions.get("type") or "default")
        plain = wanted is not None and all(positions.get(key) for key in wanted)
        if config.get("hidden_act", "silu") != "silu" or not (within and plain):
            return None
        usual = 128 if kind == "qwen3" else config["hidden_size"] // config["num_attention_heads"]
        return Shape(config, kind, config.get("head_dim") or usual, config.get("rms_norm_eps") or 1e-6)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        usual = 8 if self.kind == "mistral" else self.config["num_attention_heads"]
        return int(self.config.get("num_key_value_heads") or usual)

    def biased(self, name: str) -> bool:
        """Whether a linear layer has a bias."""
        told = {"llama": ATTENTION, "qwen3": ATTENTION}.get(self.kind, ()) if self.config.get("attention_bias") else ()
        more = MLP if self.kind == "llama" and self.config.get("mlp_bias") else ()
        return name in (*BIASED[self.kind], *told, *more)

    def modules(self) -> list[str]:
        """The linear layers, by module name."""
        layers = range(self.config["num_hidden_layers"])
        inner = [f"self_attn.{name}" for name in ATTENTION] + [f"mlp.{name}" for name in MLP]
        return [f"model.layers.{layer}.{name}" for layer in layers for name in inner] + [HEAD.removesuffix(".weight")]

    def tensors(self, tied: bool) -> dict[str, tuple[int, ...]]:
        """Every tensor of the model and its shape."""
        config, dim = self.config, self.head_dim
        hidden, wide = config["hidden_size"], config["intermediate_size"]
        query, key = config["num_attention_heads"] * dim, self.kv_heads * dim
        linear = {"q_proj": (query, hidden), "k_proj": (key, hidden), "v_proj": (key, hidden),
                  "o_proj": (hidden, query), "gate_proj": (wide, hidden), "up_proj": (wide, hidden),
                  "down_proj": (hidden, wide), "lm_head": (config["vocab_size"], hidden)}  # fmt: skip
        found: dict[str, tuple[int, ...]] = {EMBED: linear["lm_head"], "model.norm.weight": (hidden,)}
        for module in self.modules():
            name = module.rpartition(".")[2]
            if module != "lm_head" or not tied:
                found[f"{module}.weight"] = linear[name]
            if self.biased(name):
                found[f"{module}.bias"] = linear[name][:1]
        for layer in range(config["num_hidden_layers"]):
            for name in ("input_layernorm", "post_attention_layernorm"):
                found[f"model.layers.{layer}.{name}.weight"] = (hidden,)
            for name in ("q_norm", "k_norm") if self.kind == "qwen3" else ():
                found[f"model.layers.{layer}.self_attn.{name}.weight"] = (dim,)
        return found

    def check(self, given: Mapping[str, tuple[int, ...]]) -> None:
        """DataError where a tensor is missing or has another shape."""
        tied = bool(self.config.get("tie_word_embeddings")) and HEAD not in given
        wanted = self.tensors(tied)
        wrong = sorted(name for name, shape in wanted.items() if given.get(name) != shape)
        if wrong:
            name = wrong[0]
            found = f"has the shape {given[name]}, not {wanted[name]}" if name in given else "is missing"
            raise DataError(f"{len(wrong)} weights are missing or misshapen, e.g. {name} {found}.")


@dataclass(frozen=True)
class Gain:
    """What one adapter adds to a linear layer: scale times B (A x)."""

    a: Part
    b: Part
    scale: float


def gains_of(shape: Shape, adapter: Adapter) -> dict[str, Gain] | None:
    """LoRA's gains by base tensor as peft reads the adapter's settings; None where peft itself is to compute them.

    The scale does not come from where the merge has it: rank is that of the tensor. Raises DataError where the
    settings name other modules than the file holds.
    """
    config = adapter.config
    targets, odd = config.get("target_modules"), ("exclude_modules", "layers_to_transform", "layers_pattern")
    plain = not adapter.bias_gains and not any(u.part_magnitude or u.of_embedding for u in adapter.updates.values())
    if not adapter.updates:
        return {}
    if not plain or any(config.get(key) for key in odd) or not (isinstance(targets, list) or targets == "all-linear"):
        return None
    saved = config.get("modules_to_save") or ()
    modules = [m for m in shape.modules() if not any(re.match(rf"(^|.*\.){name}($|\..*)", m) for name in saved)]
    if isinstance(targets, str):
        chosen = [module for module in modules if module != "lm_head"]
    else:
        chosen = [module for module in modules if any(f".{module}".endswith(f".{target}") for target in targets)]
    wanted, held = {f"{module}.weight" for module in chosen}, adapter.updates.keys()
    if wanted != held:
        raise unlike(adapter, wanted ^ held)
    found = {}
    for module in chosen:
        update = adapter.updates[f"{module}.weight"]
        patterns = config.get("alpha_pattern") or {}
        keys = [key for key in patterns if re.match(rf"(.*\.)?({key})$", module)]
        alpha, rank = patterns[keys[0]] if keys else config["lora_alpha"], update.part_a.shape[0]
        scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        found[f"{module}.weight"] = Gain(update.part_a, update.part_b, float(scale))
    return found


class LlamaPass:
    """A model of a shape over weights, with what adapters add."""

    def __init__(self, shape: Shape, weights: Weights, gains: Sequence[Mapping[str, Gain]] = ()) -> None:
        self.shape, self.weights, self._gains = shape, weights, gains

    def logits(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """(n, V) float32 logits of each text, from one pass over the weights.

        The texts stand in one row, each with its own positions and blind to the others; the last one fills up.
        """
        total = sum(map(len, ids))
        rows = [*map(list, ids), [ids[0][0]] * (-total % EVEN_TOKENS)]
        lengths = [len(row) for row in rows]
        text = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths))
        mask = (text[:, None] == text).tril()
        angles = torch.from_numpy(rope_frequencies(self.shape.config, self.shape.head_dim))
        places = torch.cat([torch.arange(length) for length in lengths])
        turns = (places[:, None] * angles).repeat(1, 2)  # (n, D)
        with torch.no_grad():
            given = torch.tensor([token for row in rows for token in row])
            tokens, back = torch.unique(given, return_inverse=True)
            states = self.weights.gather(EMBED, tokens.tolist())[back].T.contiguous()
            for layer in range(self.shape.config["num_hidden_layers"]):
                prefix = f"model.layers.{layer}."
                normed = self._norm(states, f"{prefix}input_layernorm")
                states = states + self._attention(normed, f"{prefix}self_attn.", turns, mask)
                normed = self._norm(states, f"{prefix}post_attention_layernorm")
                states = states + self._mlp(normed, f"{prefix}mlp.")
            made = self._linear(self._norm(states, "model.norm"), "lm_head")
        return [part.T for part in torch.split(made, lengths, dim=1)[: len(ids)]]

    def _attention(self, states: Tensor, prefix: str, turns: Tensor, mask: Tensor) -> Tensor:
        heads, size = self.shape.config["num_attention_heads"], states.shape[1]
        query, key, value = (
            self._linear(states, f"{prefix}{name}_proj").view(-1, self.shape.head_dim, size).transpose(1, 2)
            for name in "qkv"
        )  # (heads, n, D)
        if self.shape.kind == "qwen3":
            query, key = self._norm(query, f"{prefix}q_norm", -1), self._norm(key, f"{prefix}k_norm", -1)
        query, key = turned(query, turns), turned(key, turns)
        key, value = (part.repeat_interleave(heads // len(part), dim=0) for part in (key, value))
        mixed = nn.functional.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)[0]
        return self._linear(mixed.transpose(1, 2).reshape(-1, size), f"{prefix}o_proj")

    def _mlp(self, states: Tensor, prefix: str) -> Tensor:
        inner = nn.functional.silu(self._linear(states, f"{prefix}gate_proj"))
        return self._linear(inner.mul_(self._linear(states, f"{prefix}up_proj")), f"{prefix}down_proj")

    def _norm(self, states: Tensor, name: str, dim: int = 0) -> Tensor:
        weight = self.weights.full(f"{name}.weight")
        scale = torch.rsqrt(states.square().mean(dim, keepdim=True) + self.shape.eps)
        return states * scale * (weight[:, None] if dim == 0 else weight)

    def _linear(self, states: Tensor, module: str) -> Tensor:
        """(I, n) to (O, n)."""
        name = f"{module}.weight"
        out = product(self.weights, name, states)
        for gains in self._gains:
            if (gain := gains.get(name)) is not None:
                inner = product(self._part(gain.a), gain.a.key, states)
                out += product(self._part(gain.b), gain.b.key, inner).mul_(gain.scale)
        if self.shape.biased(module.rpartition(".")[2]):
            out += self.weights.full(f"{module}.bias")[:, None]
        return out

    def _part(self, part: Part) -> Weights:
        return Weights(part.tensors, self.weights.files, frozenset(part.tensors.specs))


def product(weights: Weights, name: str, states: Tensor) -> Tensor:
    """(O, n): a stored matrix, read block by block, times (I, n) states."""
    out = states.new_empty(weights.height(name), states.shape[1])
    for start, block in weights.blocks(name):
        torch.mm(block, states, out=out[start : start + len(block)])
    return out


def turned(heads: Tensor, turns: Tensor) -> Tensor:
    """(heads, n, D) queries or keys at their positions: Su et al. 2021 (RoFormer), in halves as transformers has it."""
    first, second = heads.chunk(2, dim=-1)
    return heads * turns.cos() + torch.cat([-second, first], dim=-1) * turns.sin()
