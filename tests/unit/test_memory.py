"""Memory by formula against what torch allocates, and against numbers computed by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from allocations import allocations_of_a_step
from test_cost import EXTENDED_7B, LLAMA2_7B

from zhllm.train import loss
from zhllm.train.plan import memory
from zhllm.train.plan.cost import ModelShape, Training
from zhllm.train.plan.memory import (
    NF4_BYTES,
    Setting,
    gradient_bytes,
    loss_bytes,
    memory_of,
    optimizer_bytes,
    plain_loss_bytes,
    trainable_tensors,
    weights,
)

WIDE: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8}
WIDE |= {"num_hidden_layers": 3, "num_key_value_heads": 4, "vocab_size": 12000, "max_position_embeddings": 1024}
BASE_ROWS = 8000
GIB = 2**30


def wide(kind: str = "llama", **settings: Any) -> tuple[Any, ModelShape]:
    from transformers import AutoConfig

    shape = ModelShape.of_config({**WIDE, **settings, "model_type": kind}, "wide").with_rows(12000, BASE_ROWS)
    return AutoConfig.for_model(kind, **{**WIDE, **settings}), shape


CASES = [
    ("llama", Training("new-rows+lora", 16), "bf16", {}),
    ("llama", Training("new-rows+lora", 16, gradient_checkpointing=True), "bf16", {}),
    ("llama", Training("all"), "bf16", {}),
    ("llama", Training("lora", 16), "fp32", {}),
]
SLOW_CASES = [
    ("llama", Training("new-rows"), "bf16", {}),
    ("llama", Training("lora", 16), "bf16", {}),
    ("llama", Training("all"), "fp32", {}),
    ("llama", Training("all", gradient_checkpointing=True), "bf16", {}),
    ("qwen3", Training("all"), "bf16", {"head_dim": 128, "tie_word_embeddings": True}),
    ("qwen3", Training("lora", 16, ("q_proj", "v_proj")), "bf16", {"head_dim": 128}),
]
CASES += [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES]  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")
@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind, training, precision, settings", CASES)
def test_memory_is_what_torch_allocates(
    kind: str, training: Training, precision: Any, settings: dict[str, Any], masked: bool
) -> None:
    """Resident bytes to the buffers of the rotary positions; the fullest moment within a tenth."""
    config, shape = wide(kind, **settings)
    setting = Setting(training, 1, 512, precision, accumulates=False, masked=masked)
    stored = torch.bfloat16 if setting.stored_bytes == 2 else torch.float32
    autocast = torch.bfloat16 if precision == "bf16" else None
    step = allocations_of_a_step(config, training, BASE_ROWS, 1, 512, stored, autocast, masked=masked)
    resident = sum(weights(shape, setting).values()) + optimizer_bytes(shape, training, "adamw")
    assert resident == pytest.approx(step.resident, abs=2**20), "besides the batch and its mask"
    parts = memory_of(shape, setting).parts
    planned = sum(parts.values()) - parts["reserve"]
    assert planned == pytest.approx(step.resident + step.peak, rel=0.1)


def test_a_plain_loss_needs_twelve_bytes_for_each_logit() -> None:
    config, shape = wide()
    setting = Setting(Training("lora", 16), 1, 512, "fp32")
    made = [
        allocations_of_a_step(config, setting.training, 0, 1, 512, torch.float32, None, plain)
        for plain in (False, True)
    ]
    chunked, plain = made
    assert chunked.loss < loss_bytes(shape, setting) * 1.1
    assert chunked.loss < plain.loss
    backward = plain.peak  # the gradient of the logits comes there
    assert backward - (chunked.peak - chunked.loss) == pytest.approx(plain_loss_bytes(shape, setting), rel=0.1)


def test_gradients_and_moments_are_those_of_torch() -> None:
    """Real tensors: a layer's LoRA matrices and new rows after one step of each optimiser."""
    shape = ModelShape(32, 56, 2, 4, 2, 8, 50).with_rows(50, 40)
    training = Training("new-rows+lora", 4)
    inner, outer = trainable_tensors(shape, training)
    for name in ("adamw", "muon"):
        matrices = [torch.zeros(size // 4, 4, requires_grad=True) for size in inner.elements()]
        others = [torch.zeros(size, requires_grad=True) for size in outer.elements()]
        for tensor in (*matrices, *others):
            tensor.grad = torch.ones_like(tensor)
        assert sum(t.grad.nbytes for t in (*matrices, *others) if t.grad is not None) == gradient_bytes(shape, training)
        groups = others if name == "muon" else matrices + others
        optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups)]
        optimizers += [torch.optim.Muon(matrices)] if name == "muon" else []
        for optimizer in optimizers:
            optimizer.step()
        state = [v for o in optimizers for s in o.state.values() for v in s.values() if v.ndim]
        assert sum(value.nbytes for value in state) == optimizer_bytes(shape, training, name)


def test_four_and_eight_bits_are_those_of_bitsandbytes() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(512, 1024, bias=False, compress_statistics=True, quant_type="nf4")
    layer.load_state_dict({"weight": torch.randn(1024, 512)})
    state = layer.to("cpu").weight.quant_state
    made = layer.weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert made == 1024 * 512 * NF4_BYTES
    shape = ModelShape(64, 128, 2, 4, 2, 16, 200).with_rows(200, 99)
    training = Training("new-rows+lora", 32)
    tensors = [
        torch.zeros(size, requires_grad=True) for part in trainable_tensors(shape, training) for size in part.elements()
    ]
    optimizer = bitsandbytes.optim.AdamW8bit(tensors)
    for tensor in tensors:
        tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    states = [v for s in optimizer.state.values() for k, v in s.items() if hasattr(v, "nbytes") and "qmap" not in k]
    assert sum(value.nbytes for value in states) == optimizer_bytes(shape, training, "adamw-8bit")


# --- A 7B with 16,617 new rows, by hand ---


def test_new_rows_of_an_extended_7b_beside_modules_to_save() -> None:
    rows = Setting(Training("new-rows"), 1, 2048)
    # 136,126,464 learning values: 4 bytes each, as much for gradients, twice as much for AdamW's moments.
    assert weights(EXTENDED_7B, rows)["learning rows"] == gradient_bytes(EXTENDED_7B, rows.training) == 544_505_856
    assert optimizer_bytes(EXTENDED_7B, rows.training, "adamw") == 1_089_011_712
    # peft's modules_to_save trains all 398,270,464 values of embedding and head.
    saved = Training("embeddings")
    assert gradient_bytes(EXTENDED_7B, saved) == 1_593_081_856
    assert optimizer_bytes(EXTENDED_7B, saved, "adamw") == 3_186_163_712
    # 2 x 16,617 x 4,096 values in 8 bits: one byte, and 4 bytes for each 256.
    assert optimizer_bytes(EXTENDED_7B, rows.training, "adamw-8bit") == 2 * 136_126_464 + 2 * 4 * 531_744


def test_weights_of_a_7b_in_four_bits() -> None:
    # 32 layers of 4 x 4,096 x 4,096 + 3 x 4,096 x 11,008 values at 4.127 bits; the rest in bfloat16.
    made = weights(LLAMA2_7B, Setting(Training("qlora"), 1, 2048))
    assert pytest.approx(4.127, abs=5e-4) == NF4_BYTES * 8
    assert made["layers"] == 6_476_005_376 * NF4_BYTES + (32 * 2 * 4096 + 4096) * 2
    assert made["embeddings"] == 2 * 32000 * 4096 * 2
    assert weights(LLAMA2_7B, Setting(Training("lora"), 1, 2048))["layers"] == 6_476_271_616 * 2
    whole = weights(LLAMA2_7B, Setting(Training("all"), 1, 2048))
    assert sum(whole.values()) == LLAMA2_7B.parameters * 4


def test_chunks_are_those_of_the_loss() -> None:
    assert memory.CHUNK_ELEMENTS == loss.CHUNK_ELEMENTS
    small = Setting(Training("lora"), 1, 2048)
    large = dataclasses.replace(small, rows_per_batch=16)
    tokens = large.tokens - small.tokens
    assert loss_bytes(EXTENDED_7B, large) - loss_bytes(EXTENDED_7B, small) == tokens * 4096 * 2
    assert plain_loss_bytes(EXTENDED_7B, large) == 12 * 48617 * 32768


# --- What changes what ---


def test_each_saving_saves_and_sharding_divides() -> None:
    training = Training("all")
    base = Setting(training, 2, 2048)
    needed = memory_of(LLAMA2_7B, base).needed_bytes
    checkpointed = dataclasses.replace(base, training=Training("all", gradient_checkpointing=True))
    assert memory_of(LLAMA2_7B, checkpointed).needed_bytes < needed
    whole, sharded = (memory_of(LLAMA2_7B, dataclasses.replace(base, gpus=8, sharded=on)).parts for on in (False, True))
    for name in ("layers", "learning rows", "optimizer"):
        assert whole[name] == 8 * sharded[name] > 0
    for optimizer, less in (("muon", 4.0), ("adamw-8bit", 6 - 1 / 32), ("paged-adamw", 8.0)):
        made = memory_of(LLAMA2_7B, dataclasses.replace(base, optimizer=optimizer))
        layers = 6_476_005_376 if optimizer == "muon" else LLAMA2_7B.parameters
        assert needed - made.needed_bytes == pytest.approx(less * layers * 1.05, rel=0.01)
    paged = memory_of(LLAMA2_7B, dataclasses.replace(base, optimizer="paged-adamw"))
    assert paged.host_bytes == 8 * LLAMA2_7B.parameters
    four = Setting(Training("new-rows+qlora"), 1, 2048)
    assert memory_of(EXTENDED_7B, four).needed_bytes < 24 * GIB < needed
    alone = dataclasses.replace(base, device="cpu")
    assert "reserve" in memory_of(LLAMA2_7B, alone).parts and memory_of(LLAMA2_7B, alone).parts["reserve"] == 0


def test_sharded_devices_gather_two_layers_and_the_vocabulary() -> None:
    """By hand, Llama-2-7B on 8 GPUs in bf16, checkpointed, one row of 2,048 tokens."""
    setting = Setting(Training("all", gradient_checkpointing=True), 1, 2048, gpus=8, sharded=True)
    parts = memory_of(LLAMA2_7B, setting).parts
    assert parts["optimizer"] == LLAMA2_7B.parameters
    layer, vocabulary = 202_375_168, 2 * 32000 * 4096
    assert parts["gathered layers"] == 2 * 2 * layer + (2 + 4) * layer + 2 * 2 * vocabulary
    alone = memory_of(LLAMA2_7B, dataclasses.replace(setting, gpus=1, sharded=False))
    assert memory_of(LLAMA2_7B, dataclasses.replace(setting, sharded=False)).parts == alone.parts, "data-parallel"
