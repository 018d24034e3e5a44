"""The memory that a training setting needs on each device, part by part, from shapes alone.

What a step holds for its backward pass is counted as transformers' decoder layers save it under autograd
(Korthikanti et al. 2022, section 4.1, did so for GPT layers; here for RMSNorm, rotary positions, a gated MLP,
and a fused attention kernel that saves its row sums instead of its scores; section 5 for checkpointing). The
cross-entropy is this package's own, chunk by chunk.

H hidden size, I intermediate size, V vocabulary rows, T tokens a row, n tokens of a micro-batch.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from zhllm.train.plan.cost import ModelShape, Training, trainable_parameters

Parts = dict[str, float]
Precision = Literal["bf16", "fp16", "fp32"]
OPTIMIZERS = ("adamw", "muon", "adamw-8bit", "paged-adamw", "paged-adamw-8bit")

FP32 = 4
# NF4 with double quantisation (Dettmers et al. 2023, section 3): 4 bits, an 8-bit scale for every 64 values,
# and a float32 for every 256 of those scales: 4.127 bits.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# bitsandbytes' 8-bit moments: a byte, and a float32 scale for every 256; tensors under 4,096 values stay float32.
BLOCK_8BIT = 256
LEAST_8BIT = 4096
# Elements of one chunk of logits: CHUNK_ELEMENTS of zhllm.train.loss, which this module does not import for
# torch's sake.
CHUNK_ELEMENTS = 1 << 24
# A plain cross-entropy at its fullest holds logits, log-softmax and gradient, each in float32.
PLAIN_LOSS_BYTES = 3 * FP32
# Not measured here: CUDA's context with cuBLAS and cuDNN workspaces, and what the caching allocator cannot use.
CONTEXT_BYTES = 1 << 30
FRAGMENTED_SHARE = 0.05


@dataclass(frozen=True)
class Setting:
    """One training setting, as far as it decides memory.

    `accumulates`: several micro-batches make a step, so gradients lie beside activations. `masked`: documents in
    a row are kept apart by a mask, which torch's fused attention saves in every layer, instead of each being a
    sequence of its own (zhllm.train.attention). `sharded` over `gpus` devices: FSDP2; else each holds everything.
    """

    training: Training
    rows_per_batch: int
    seq_len: int
    precision: Precision = "bf16"
    optimizer: str = "adamw"
    device: Literal["cuda", "cpu"] = "cuda"
    accumulates: bool = True
    masked: bool = False
    gpus: int = 1
    sharded: bool = False

    @property
    def compute_bytes(self) -> int:
        """Bytes of a value in matrix products."""
        return FP32 if self.precision == "fp32" else 2

    @property
    def stored_bytes(self) -> int:
        """Bytes of a frozen weight: half precision on a GPU."""
        half = self.device == "cuda" and not self.training.whole and self.precision != "fp32"
        return 2 if half else FP32

    @property
    def stream_bytes(self) -> int:
        """Bytes of a value between the layers: sharded parameters are gathered in the dtype of the products."""
        return self.compute_bytes if self.sharded else self.stored_bytes

    @property
    def tokens(self) -> int:
        """n: tokens of a micro-batch."""
        return self.rows_per_batch * self.seq_len


@dataclass(frozen=True)
class Memory:
    """Bytes on one device: the parts at its fullest moment, which add up to what is needed."""

    parts: Parts
    host_bytes: float

    @property
    def needed_bytes(self) -> float:
        """What must fit the device."""
        return sum(self.parts.values())


def memory_of(shape: ModelShape, setting: Setting) -> Memory:
    """What the setting needs on each device at the fullest moment of a step."""
    optimizer = optimizer_bytes(shape, setting.training, setting.optimizer)
    paged = setting.optimizer.startswith("paged-")
    share = 1 / setting.gpus if setting.sharded else 1.0
    resident = {name: value * share for name, value in weights(shape, setting).items()}
    resident["optimizer"] = 0.0 if paged else optimizer * share
    fullest = max(_moments(shape, setting, share), key=lambda parts: sum(parts.values()))
    parts = resident | fullest | ({"gathered layers": _gathered(shape, setting)} if setting.sharded else {})
    used = sum(parts.values())
    reserve = CONTEXT_BYTES + FRAGMENTED_SHARE * used if setting.device == "cuda" else 0.0
    return Memory({**parts, "reserve": reserve}, optimizer if paged else 0.0)


def weights(shape: ModelShape, setting: Setting) -> Parts:
    """Bytes of the weights as they lie in memory: frozen, 4-bit, new rows and LoRA, each apart."""
    training, stored = setting.training, setting.stored_bytes
    matrices, vectors = (shape.layers * p for p in (shape.layer_matrix_parameters, shape.layer_vector_parameters))
    learnt = trainable_parameters(shape, training)
    vocabulary = shape.vocabulary_matrices * shape.vocab_size * shape.hidden_size - learnt["rows"]
    return {
        "layers": matrices * (NF4_BYTES if training.quantised else stored) + (vectors + shape.hidden_size) * stored,
        "embeddings": float(vocabulary * stored),
        "learning rows": float(learnt["rows"] * FP32),
        "lora": float(learnt["lora"] * FP32),
    }


def trainable_tensors(shape: ModelShape, training: Training) -> tuple[Counter[int], Counter[int]]:
    """How many learning tensors have how many elements: matrices inside the layers (LoRA's too), and the others."""
    inner: Counter[int] = Counter()
    outer: Counter[int] = Counter()
    for name, (rows, columns) in shape.matrices.items():
        inner[rows * columns] += shape.layers * training.whole
        if name in training.lora:
            inner[training.lora_rank * rows] += shape.layers
            inner[training.lora_rank * columns] += shape.layers
        outer[rows] += shape.layers * (training.whole and name in shape.biased)
    outer[shape.hidden_size] += (2 * shape.layers + 1) * training.whole
    outer[shape.head_dim] += 2 * shape.layers * (training.whole and shape.qk_norm)
    outer[training.learnt_rows(shape) * shape.hidden_size] += shape.vocabulary_matrices
    return +inner, +outer


def optimizer_bytes(shape: ModelShape, training: Training, optimizer: str) -> float:
    """Bytes of the optimiser's state: two float32 moments, one for Muon's matrices, or moments of 8 bits."""
    inner, outer = trainable_tensors(shape, training)
    if optimizer == "muon":
        return float(sum(FP32 * size * n for size, n in inner.items()) + sum(8 * s * n for s, n in outer.items()))
    sizes = inner + outer
    if not optimizer.endswith("-8bit"):
        return float(sum(2 * FP32 * size * n for size, n in sizes.items()))
    return float(sum(n * _state_8bit(size) for size, n in sizes.items()))


def _state_8bit(size: int) -> int:
    return 2 * FP32 * size if size < LEAST_8BIT else 2 * (size + FP32 * math.ceil(size / BLOCK_8BIT))


def gradient_bytes(shape: ModelShape, training: Training) -> float:
    """Bytes of the gradients: float32, as what learns is."""
    return float(FP32 * sum(trainable_parameters(shape, training).values()))


def layer_activation_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes that one layer saves for its backward pass, for each token."""
    c, s, whole = setting.compute_bytes, setting.stream_bytes, setting.training.whole
    heads, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 * FP32 * (shape.hidden_size + 1) + 2 * s * shape.hidden_size * whole
    if shape.qk_norm:
        norms += FP32 * (heads + kv + shape.heads + shape.kv_heads) + c * (heads + kv) * whole
    seen = heads if setting.masked else kv  # a mask makes transformers repeat the keys and values of a group
    attention = c * (2 * heads + 2 * seen) + FP32 * shape.heads + c * setting.seq_len * setting.masked
    return norms + attention + 3 * c * shape.intermediate_size + _kept_inputs(shape, setting)


def _kept_inputs(shape: ModelShape, setting: Setting) -> float:
    """Bytes a token of the inputs that a layer's learning matrices keep for their weights' gradients."""
    training, c = setting.training, setting.compute_bytes
    if training.whole:
        # Autocast gives each matrix a copy of its own where the stream has another dtype.
        copies = 2 if setting.stream_bytes == c else 5
        return c * (copies * shape.hidden_size + shape.intermediate_size)
    targets = training.lora
    ranks = c * training.lora_rank * len(targets)
    if c == FP32:
        groups = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("down_proj",))
        kept = [next((shape.matrices[n][1] for n in group if n in targets), 0) for group in groups]
    else:  # peft casts the input to its own float32, autocast back: a copy for each
        kept = [shape.matrices[name][1] for name in targets]
    return ranks + c * sum(kept)


def activation_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes of everything that the layers of a micro-batch save, the copies of weights in bf16 included."""
    s, hidden = setting.stream_bytes, shape.hidden_size
    ends = (FP32 + 2 * s) * hidden + (s * hidden if setting.training.whole else 0)
    if setting.training.gradient_checkpointing:
        layers = float(shape.layers * s * hidden * setting.tokens)
        frozen = 0.0  # only what learns stays in autocast's cache until the forward pass ends
    else:
        layers = shape.layers * layer_activation_bytes(shape, setting) * setting.tokens
        frozen = 1.0
    base, lora = _copied_weights(shape, setting)
    return ends * setting.tokens + layers + shape.layers * (base * max(frozen, setting.training.whole) + lora)


def _copied_weights(shape: ModelShape, setting: Setting) -> tuple[float, float]:
    """Bytes of one layer's matrices, and of its LoRA's, in the dtype of products where they are stored in another."""
    c = setting.compute_bytes
    if setting.sharded:  # gathered in that dtype, and let go of
        return 0.0, 0.0
    base = shape.layer_matrix_parameters if setting.stored_bytes != c and not setting.training.quantised else 0
    lora = trainable_parameters(shape, setting.training)["lora"] / shape.layers if c != FP32 else 0
    return float(c * base), float(c * lora)


def loss_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes of the chunked cross-entropy: a chunk of logits, gradients of the rows that learn, weight copies."""
    c, hidden, learnt = setting.compute_bytes, shape.hidden_size, setting.training.learnt_rows(shape)
    chunk = min(max(16, CHUNK_ELEMENTS // shape.vocab_size), setting.tokens) * shape.vocab_size
    frozen = shape.vocab_size - learnt if setting.stored_bytes != c else 0
    copied = 0 if setting.sharded else frozen + (learnt if c != FP32 else 0)
    mixed = c != FP32  # then logits stand in both dtypes, and a product of the rows' gradients beside their sum
    rows = hidden * (c * copied + (FP32 + c * mixed) * learnt)
    return (c + FP32 * mixed) * chunk + rows + setting.stream_bytes * hidden * setting.tokens


def plain_loss_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes of a loss that makes the logits of all n tokens at once, its gradients of rows left out."""
    return float(PLAIN_LOSS_BYTES * shape.vocab_size * setting.tokens)


def _moments(shape: ModelShape, setting: Setting, share: float) -> list[Parts]:
    """The parts that come and go, at the three moments of a step that can be the fullest."""
    training = setting.training
    gradients = gradient_bytes(shape, training) * share
    rows = FP32 * float(trainable_parameters(shape, training)["rows"]) * share
    early = gradients if setting.accumulates else 0.0
    saved = activation_bytes(shape, setting)
    again = layer_activation_bytes(shape, setting) * setting.tokens + sum(_copied_weights(shape, setting))
    work = _backward_bytes(shape, setting) + (again if training.gradient_checkpointing else 0.0)
    return [
        {"gradients": early, "activations": saved, "loss": loss_bytes(shape, setting)},
        {"gradients": max(early, rows), "activations": saved, "backward": work},
        {"gradients": gradients + rows * setting.accumulates, "activations": 0.0, "backward": work},
    ]


def _backward_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes of a layer's gradients on the way down: those of the MLP's three products and of its input."""
    c = setting.compute_bytes
    lora = FP32 if "down_proj" in setting.training.lora and c != FP32 else 0
    weight = FP32 * shape.intermediate_size * shape.hidden_size if setting.training.whole else 0
    if setting.training.quantised:
        weight = c * shape.intermediate_size * shape.hidden_size  # one matrix at a time is made whole
    inside = (3 * c + lora) * shape.intermediate_size + 2 * setting.stream_bytes * shape.hidden_size
    return float(inside * setting.tokens + weight)


def _gathered(shape: ModelShape, setting: Setting) -> float:
    """Bytes that sharding makes whole again, in the dtype of the products, while a step lasts.

    Two layers (one ahead), embedding and head (which stay until the step's end, as their gradients do), and where
    layers learn one layer's gradients, with a float32 copy to be added up.
    """
    c, training = setting.compute_bytes, setting.training
    lora = trainable_parameters(shape, training)["lora"] / shape.layers
    layer = 2 * c * (shape.layer_matrix_parameters + lora)
    if training.whole:
        layer += (c + FP32) * shape.layer_matrix_parameters
    rows = shape.vocab_size + training.learnt_rows(shape)
    return float(layer + c * shape.vocabulary_matrices * rows * shape.hidden_size)
