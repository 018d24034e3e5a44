"""What training costs before it is begun: parameters, FLOPs and the peak rates of GPUs, from shapes alone.

A product of (n, in) with (in, out) counts 2 n in out FLOPs. Its backward pass counts as much again for the
gradient of its input, where something below it learns, and as much again for the gradient of its weight,
where that learns (Kaplan et al. 2020, section 2.1: 2 N forward and 4 N backward for each token when all N
do). Norms, activations, softmax and the optimiser are left out, as there.

H hidden size, I intermediate size, V vocabulary rows, V0 those before the extension, T tokens a row.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from zhllm.errors import DataError
from zhllm.model.llama import LINEARS, read_config

# Dense decoders with rotary positions and a gated MLP.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
INSIDE_ATTENTION = LINEARS[:4]
Attention = Literal["causal", "full"]


@dataclass(frozen=True)
class ModelShape:
    """What of a model's config decides its parameters and FLOPs."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool = False
    biased: frozenset[str] = frozenset()
    qk_norm: bool = False
    max_positions: int | None = None
    base_vocab_size: int | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str) -> ModelShape:
        """The shape in a config.json; DataError where it describes another kind of model, or too little."""
        kind = config.get("model_type", "llama")
        if kind not in MODEL_TYPES:
            raise DataError(f'{where}: model_type "{kind}" is not one whose cost is known: {", ".join(MODEL_TYPES)}.')
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        wrong = [name for name in names if not isinstance(config.get(name), int) or config[name] < 1]
        if wrong:
            raise DataError(f"{where}: {', '.join(wrong)} must be whole numbers above 0, so its cost is not known.")
        hidden, intermediate, layers, heads, rows = (int(config[name]) for name in names)
        return cls(
            hidden_size=hidden,
            intermediate_size=intermediate,
            layers=layers,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads)),
            vocab_size=rows,
            tied=bool(config.get("tie_word_embeddings", False)),
            biased=_biased(kind, config),
            qk_norm=kind == "qwen3",
            max_positions=config.get("max_position_embeddings"),
        )

    def with_rows(self, vocab_size: int, base_vocab_size: int | None) -> ModelShape:
        """The same model with another number of vocabulary rows, those from `base_vocab_size` on being new."""
        return dataclasses.replace(self, vocab_size=vocab_size, base_vocab_size=base_vocab_size)

    @cached_property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each matrix inside a layer."""
        hidden, inner, kv = self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = [(inner, hidden), (kv, hidden), (kv, hidden), (hidden, inner)]
        shapes += [(self.intermediate_size, hidden)] * 2 + [(hidden, self.intermediate_size)]
        return dict(zip(LINEARS, shapes, strict=True))

    @property
    def layer_matrix_parameters(self) -> int:
        """Parameters of the matrices inside one layer."""
        return sum(rows * columns for rows, columns in self.matrices.values())

    @property
    def layer_vector_parameters(self) -> int:
        """Parameters of one layer's norms and biases."""
        biases = sum(self.matrices[name][0] for name in self.biased)
        return 2 * self.hidden_size + biases + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def vocabulary_matrices(self) -> int:
        """1 where the head is the embedding, else 2."""
        return 1 if self.tied else 2

    @property
    def new_rows(self) -> int:
        """Rows added by an extension; 0 where none is known of."""
        return 0 if self.base_vocab_size is None else self.vocab_size - self.base_vocab_size

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        layers = self.layers * (self.layer_matrix_parameters + self.layer_vector_parameters)
        return layers + self.hidden_size + self.vocabulary_matrices * self.vocab_size * self.hidden_size


def shape_of_model(folder: Path) -> ModelShape:
    """The shape of a model directory, its weights not needed; `base_vocab_size` where resize left extension.json.

    Raises DataError where config.json or extension.json cannot be read or describe no model whose cost is known.
    """
    shape = ModelShape.of_config(read_config(folder), str(folder / "config.json"))
    path = folder / "extension.json"
    if not path.is_file():
        return shape
    try:
        return shape.with_rows(shape.vocab_size, int(json.loads(path.read_text(encoding="utf-8"))["base_vocab_size"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: names no base_vocab_size ({error!r}). Run zhllm resize again.") from error


def _biased(kind: str, config: Mapping[str, Any]) -> frozenset[str]:
    """The matrices with a bias, as transformers' classes of these model types have them."""
    if kind == "qwen2":
        return frozenset(("q_proj", "k_proj", "v_proj"))
    if kind == "mistral":
        return frozenset()
    inside = INSIDE_ATTENTION if config.get("attention_bias") else ()
    outside = LINEARS[4:] if kind == "llama" and config.get("mlp_bias") else ()
    return frozenset((*inside, *outside))


@dataclass(frozen=True)
class Training:
    """What of a training setting decides its FLOPs; names and meaning as the flags of `zhllm pretrain`.

    `learnt_share` is the share of the tokens that have a label: those without one do not reach the head.
    """

    trainable: str = "all"
    lora_rank: int = 64
    lora_targets: tuple[str, ...] = LINEARS
    gradient_checkpointing: bool = False
    learnt_share: float = 1.0

    @property
    def parts(self) -> frozenset[str]:
        """`trainable` taken apart at its "+"."""
        return frozenset(self.trainable.split("+"))

    @property
    def whole(self) -> bool:
        """Whether everything learns."""
        return "all" in self.parts

    @property
    def quantised(self) -> bool:
        """Whether the frozen matrices inside the layers are held in 4 bits."""
        return "qlora" in self.parts

    @property
    def lora(self) -> tuple[str, ...]:
        """The matrices inside a layer that get LoRA matrices."""
        return self.lora_targets if self.parts & {"lora", "qlora"} else ()

    def learnt_rows(self, shape: ModelShape) -> int:
        """How many rows of each vocabulary matrix learn."""
        if self.parts & {"all", "embeddings"}:
            return shape.vocab_size
        return shape.new_rows if "new-rows" in self.parts else 0


def lora_parameters(shape: ModelShape, training: Training) -> int:
    """Parameters of the LoRA matrices: rank x (rows + columns) of each target (Hu et al. 2021)."""
    sides = sum(sum(shape.matrices[name]) for name in training.lora)
    return shape.layers * training.lora_rank * sides


def trainable_parameters(shape: ModelShape, training: Training) -> dict[str, int]:
    """How many parameters learn, by part: "layers", "rows" (of embedding and head) and "lora"."""
    rows = shape.vocabulary_matrices * training.learnt_rows(shape) * shape.hidden_size
    inside = shape.parameters - shape.vocabulary_matrices * shape.vocab_size * shape.hidden_size
    return {"layers": inside if training.whole else 0, "rows": rows, "lora": lora_parameters(shape, training)}


@dataclass(frozen=True)
class Flops:
    """FLOPs of one token. `recomputed` are those of the forward pass that are done a second time."""

    forward: float = 0.0
    backward_inputs: float = 0.0
    backward_weights: float = 0.0
    recomputed: float = 0.0

    def __add__(self, other: Flops) -> Flops:
        return Flops(
            self.forward + other.forward,
            self.backward_inputs + other.backward_inputs,
            self.backward_weights + other.backward_weights,
            self.recomputed + other.recomputed,
        )

    def __mul__(self, factor: float) -> Flops:
        values = (self.forward, self.backward_inputs, self.backward_weights, self.recomputed)
        return Flops(*(value * factor for value in values))

    @property
    def model(self) -> float:
        """What the mathematics needs: the numerator of model FLOPs utilisation."""
        return self.forward + self.backward_inputs + self.backward_weights

    @property
    def total(self) -> float:
        """What the device does, recomputation included."""
        return self.model + self.recomputed


def flops_by_part(
    shape: ModelShape, training: Training, seq_len: int, attention: Attention = "causal", fused: bool = True
) -> dict[str, Flops]:
    """FLOPs of a token in training, by part: "layers", "lora", "attention" and "head".

    `attention` "causal" counts the (T + 1) / 2 keys that a token of a row sees on average; "full" counts T, as
    Chowdhery et al. 2022 (appendix B) do, which makes a utilisation look higher. Documents that stand packed in
    a row see less still. `fused` attention (flash, memory-efficient) forms its scores again in the backward pass.
    """
    keys = (seq_len + 1) / 2 if attention == "causal" else seq_len
    # transformers gives a checkpointed model's input a gradient even where nothing below it learns.
    reached = training.learnt_rows(shape) > 0 or training.gradient_checkpointing
    first, reached = _layer(shape, training, reached, keys, fused)
    other, reached = _layer(shape, training, reached, keys, fused)
    parts = {name: part + other[name] * (shape.layers - 1) for name, part in first.items()}
    size, rows = shape.vocab_size * shape.hidden_size, training.learnt_rows(shape) * shape.hidden_size
    head = Flops(2.0 * size, 2.0 * size * reached, 2.0 * rows) * training.learnt_share
    return {**parts, "head": head}


def flops_per_token(
    shape: ModelShape, training: Training, seq_len: int, attention: Attention = "causal", fused: bool = True
) -> Flops:
    """FLOPs of a token in training, rows of `seq_len` tokens; see `flops_by_part`."""
    return sum(flops_by_part(shape, training, seq_len, attention, fused).values(), Flops())


def flops_per_step(
    shape: ModelShape, training: Training, seq_len: int, rows_per_step: int, attention: Attention = "causal"
) -> Flops:
    """FLOPs of an optimiser step on `rows_per_step` rows of `seq_len` tokens, on all devices together."""
    return flops_per_token(shape, training, seq_len, attention) * (rows_per_step * seq_len)


def _layer(
    shape: ModelShape, training: Training, reached: bool, keys: float, fused: bool
) -> tuple[dict[str, Flops], bool]:
    """FLOPs of a token in one layer, and whether the layer's output has a gradient (its input: `reached`)."""
    found = {"layers": Flops(), "lora": Flops(), "attention": Flops()}
    whole = training.whole

    def linear(name: str, has_gradient: bool) -> bool:
        rows, columns = shape.matrices[name]
        found["layers"] += _product(rows * columns, has_gradient, whole)
        if name in training.lora:
            rank = training.lora_rank
            found["lora"] += _product(rank * columns, has_gradient, True) + _product(rows * rank, True, True)
        return has_gradient or whole or name in training.lora

    q, k, v = (linear(name, reached or whole) for name in INSIDE_ATTENTION[:3])
    size = keys * shape.heads * shape.head_dim
    scores = q or k
    if fused and (scores or v):  # one kernel: every gradient, and the scores once more
        found["attention"] = Flops(4 * size, 8 * size, 0, 2 * size)
    else:
        found["attention"] = Flops(4 * size, 2 * size * (q + k + scores + v))
    middle = linear("o_proj", scores or v) or reached
    gate, up = (linear(name, middle or whole) for name in ("gate_proj", "up_proj"))
    left = linear("down_proj", gate or up) or middle
    if training.gradient_checkpointing:
        again = {name: dataclasses.replace(Flops(), recomputed=part.forward) for name, part in found.items()}
        found = {name: part + again[name] for name, part in found.items()}
        last = training.lora_rank if "down_proj" in training.lora else shape.intermediate_size
        # torch's checkpointing stops before the last product: nothing behind it is needed again.
        found["lora" if "down_proj" in training.lora else "layers"] += Flops(recomputed=-2.0 * shape.hidden_size * last)
    return found, left


def _product(size: float, input_gradient: bool, weight_gradient: bool) -> Flops:
    """FLOPs of a token in the product with a matrix of `size` elements."""
    return Flops(2.0 * size, 2.0 * size * input_gradient, 2.0 * size * weight_gradient)


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker describes it: memory in GiB, dense TFLOP/s (no sparsity) by dtype."""

    name: str
    device_names: tuple[str, ...]
    memory_gib: float
    tflops: Mapping[str, float]
    source: str

    @property
    def memory_bytes(self) -> int:
        """The memory that programs see."""
        return int(self.memory_gib * 2**30)


@cache
def gpus() -> dict[str, Gpu]:
    """The table of GPUs by name, from gpus.toml."""
    content = tomllib.loads(resources.files("zhllm.train.plan").joinpath("gpus.toml").read_text(encoding="utf-8"))
    found = {}
    for name, row in content.items():
        tflops = {dtype: float(row[dtype]) for dtype in ("bf16", "fp16", "fp32") if dtype in row}
        # Error correction on GDDR memory is kept in the memory itself: one sixteenth.
        memory = row["memory_gib"] * (15 / 16 if row.get("ecc_in_memory") else 1)
        found[name] = Gpu(name, tuple(row["device_names"]), memory, tflops, row["source"])
    return found


def find_gpu(name: str) -> Gpu | None:
    """The GPU of the table by its name here or the name its driver reports, in any case and spacing."""
    wanted = _plain(name)
    for gpu in gpus().values():
        if wanted in map(_plain, (gpu.name, *gpu.device_names)):
            return gpu
    return None


def peak_flops(gpu_name: str, dtype: str) -> float | None:
    """Peak FLOP/s of a GPU by the name its driver reports, for "bf16", "fp16" or "fp32" products.

    None where the table does not hold that GPU, or it has no such products; "fp32" is without TF32.
    """
    gpu = find_gpu(gpu_name)
    rate = None if gpu is None else gpu.tflops.get(dtype)
    return None if rate is None else rate * 1e12


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"nvidia|geforce|tesla", "", name.lower()))
