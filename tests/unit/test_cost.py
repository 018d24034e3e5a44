"""Parameters, FLOPs and memory by formula against transformers, peft and torch's own counters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from allocations import made_trainable
from torch.utils.flop_counter import FlopCounterMode

from zhllm.errors import DataError
from zhllm.model.llama import LINEARS, read_config
from zhllm.train.loss import chunked_cross_entropy
from zhllm.train.plan.cost import (
    MODEL_TYPES,
    Flops,
    ModelShape,
    Training,
    find_gpu,
    flops_by_part,
    flops_per_step,
    flops_per_token,
    gpus,
    lora_parameters,
    peak_flops,
    trainable_parameters,
)

# Llama-2-7B as published (meta-llama/Llama-2-7b, config.json), and with the rows of 16,617 new pieces.
LLAMA2_7B = ModelShape(4096, 11008, 32, 32, 32, 128, 32000, max_positions=4096)
EXTENDED_7B = LLAMA2_7B.with_rows(48617, 32000)

TOY: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4}
TOY |= {"num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 64}
SHAPES = [
    pytest.param("llama", {}, id="llama"),
    pytest.param("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}, id="llama-tied-mha"),
    pytest.param("llama", {"attention_bias": True, "mlp_bias": True}, id="llama-biases"),
    pytest.param("llama", {"head_dim": 16, "num_key_value_heads": 1}, id="llama-mqa-wide-heads"),
    pytest.param("mistral", {}, id="mistral"),
    pytest.param("qwen2", {}, id="qwen2"),
    pytest.param("qwen2", {"tie_word_embeddings": True}, id="qwen2-tied"),
    pytest.param("qwen3", {}, id="qwen3"),
    pytest.param("qwen3", {"attention_bias": True, "head_dim": 8, "tie_word_embeddings": True}, id="qwen3-tied-biases"),
]


def toy_model(kind: str = "llama", attention: str = "eager", **settings: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**TOY, **settings})
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


# --- Parameters ---


@pytest.mark.parametrize("kind, settings", SHAPES)
def test_parameters_are_those_of_transformers_model(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = toy_model(kind, **settings)
    model.config.save_pretrained(tmp_path)
    shape = ModelShape.of_config(read_config(tmp_path), "toy")
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    layer = model.model.layers[0]
    assert shape.layer_matrix_parameters == sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    assert shape.layer_vector_parameters == sum(p.numel() for p in layer.parameters() if p.ndim == 1)


def test_a_qwen3_config_that_names_no_head_dim_has_transformers_own() -> None:
    from transformers import Qwen3Config

    assert ModelShape.of_config({**TOY, "model_type": "qwen3"}, "toy").head_dim == Qwen3Config().head_dim == 128
    assert ModelShape.of_config({**TOY, "model_type": "llama"}, "toy").head_dim == 8


def test_published_parameter_counts() -> None:
    assert LLAMA2_7B.parameters == 6_738_415_616
    llama3 = ModelShape(4096, 14336, 32, 32, 8, 128, 128256)
    assert llama3.parameters == 8_030_261_248
    qwen3 = ModelShape(4096, 12288, 36, 32, 8, 128, 151936, qk_norm=True)
    assert qwen3.parameters == 8_190_735_360


@pytest.mark.parametrize("targets", [LINEARS, ("q_proj", "v_proj"), ("down_proj",)])
def test_lora_parameters_are_those_of_peft(targets: tuple[str, ...]) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(toy_model(), LoraConfig(r=4, target_modules=list(targets)))
    made = sum(p.numel() for p in model.parameters() if p.requires_grad)
    shape = ModelShape.of_config({**TOY, "model_type": "llama"}, "toy")
    assert lora_parameters(shape, Training("lora", 4, targets)) == made
    assert lora_parameters(shape, Training("new-rows", 4, targets)) == 0


def test_new_rows_of_an_extended_7b_by_hand() -> None:
    # 48,617 - 32,000 = 16,617 rows of 4,096, in the embedding and in the head.
    assert trainable_parameters(EXTENDED_7B, Training("new-rows")) == {"layers": 0, "rows": 136_126_464, "lora": 0}
    # All rows: 2 x 48,617 x 4,096.
    assert trainable_parameters(EXTENDED_7B, Training("embeddings"))["rows"] == 398_270_464
    # Rank 64 on the seven matrices of 32 layers: 64 x (4 x 8,192 + 3 x 15,104) x 32.
    assert trainable_parameters(EXTENDED_7B, Training("new-rows+lora"))["lora"] == 159_907_840
    everything = trainable_parameters(EXTENDED_7B, Training("all"))
    assert sum(everything.values()) == EXTENDED_7B.parameters == 6_738_415_616 + 136_126_464
    tied = dataclasses.replace(EXTENDED_7B, tied=True)
    assert trainable_parameters(tied, Training("new-rows"))["rows"] == 68_063_232


@pytest.mark.parametrize(
    "config, match",
    [
        ({**TOY, "model_type": "mixtral"}, 'model_type "mixtral" is not one whose cost is known: llama, mistral'),
        ({**TOY, "num_hidden_layers": None}, "num_hidden_layers must be whole numbers above 0"),
        ({"hidden_size": 0, "vocab_size": 5}, "hidden_size, intermediate_size, num_hidden_layers, num_attention"),
    ],
)
def test_a_config_without_a_known_cost_is_refused(config: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        ModelShape.of_config(config, "m/config.json")


# --- FLOPs ---


def loss_of(model: Any, heads: list[torch.Tensor], ids: torch.Tensor, learnt: int) -> torch.Tensor:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state.reshape(-1, model.config.hidden_size)
    made = chunked_cross_entropy(hidden[:learnt], heads, ids.reshape(-1)[:learnt])
    return made[0] if isinstance(made, tuple) else made


SETTINGS = [
    Training("all"),
    Training("all", gradient_checkpointing=True),
    Training("embeddings"),
    Training("new-rows"),
    Training("new-rows", gradient_checkpointing=True),
    Training("lora", 4),
    Training("lora", 4, ("q_proj", "v_proj")),
    Training("lora", 4, ("v_proj",)),
    Training("lora", 4, ("k_proj", "down_proj")),
    Training("lora", 4, ("gate_proj",)),
    Training("lora", 4, ("q_proj", "v_proj"), gradient_checkpointing=True),
    Training("new-rows+lora", 4),
    Training("new-rows+lora", 4, gradient_checkpointing=True),
    Training("embeddings+lora", 4, ("o_proj", "up_proj")),
    Training("all", learnt_share=0.25),
    Training("lora", 4, learnt_share=0.25),
]


@pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")
@pytest.mark.parametrize("kind, settings", [("llama", {}), ("qwen3", {"head_dim": 16, "tie_word_embeddings": True})])
@pytest.mark.parametrize("training", SETTINGS, ids=lambda t: "-".join(map(str, dataclasses.astuple(t))))
def test_flops_are_those_that_torch_counts(training: Training, kind: str, settings: dict[str, Any]) -> None:
    rows, seq_len = 2, 16
    model = toy_model(kind, **settings)
    shape = ModelShape.of_config({**TOY, **settings, "model_type": kind}, "toy").with_rows(50, 40)
    heads = made_trainable(model, training, 40)
    ids = torch.randint(50, (rows, seq_len), generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as forward:
        loss = loss_of(model, heads, ids, int(rows * seq_len * training.learnt_share))
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    found = {k: part * (rows * seq_len) for k, part in flops_by_part(shape, training, seq_len, "full", False).items()}
    # The chunked loss makes the head's gradients in its forward pass.
    head = found.pop("head")
    inner = sum(found.values(), Flops())
    assert inner.forward + head.total == forward.get_total_flops()
    assert inner.total - inner.forward == backward.get_total_flops()


def test_a_fused_kernel_computes_the_scores_again() -> None:
    """torch counts its fused kernels with five products backward for two forward, and no causality."""
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    shape = ModelShape.of_config({**TOY, "model_type": "llama"}, "toy")
    query, key = (1, 4, 16, 8), (1, 2, 16, 8)
    part = flops_by_part(shape, Training("all"), 16, "full")["attention"] * (16 / 3)
    assert part.forward == sdpa_flop_count(query, key, key)
    assert part.total - part.forward == sdpa_backward_flop_count(query, query, query, query)


def test_the_sum_over_the_keys_of_a_row_is_that_of_causal_attention() -> None:
    shape = ModelShape.of_config({**TOY, "model_type": "llama"}, "toy")
    part = flops_by_part(shape, Training("all"), 16)["attention"]
    seen = sum(range(1, 17))
    assert part.forward * 16 == 3 * 2 * 2 * seen * 32


def test_flops_of_a_7b_are_near_six_for_each_parameter() -> None:
    token = flops_per_token(LLAMA2_7B, Training("all"), 4096, "full")
    # Chowdhery et al. 2022, appendix B: 6 N + 12 L H Q T, where N leaves out the embedding.
    n = LLAMA2_7B.parameters - 32000 * 4096 - 65 * 4096
    assert token.model == 6 * n + 12 * 32 * 32 * 128 * 4096
    assert flops_per_step(LLAMA2_7B, Training("all"), 4096, 16, "full").model == token.model * 65536
    frozen = flops_per_token(LLAMA2_7B, Training("lora", 8), 4096)
    assert frozen.backward_weights < 0.01 * token.backward_weights


# --- GPUs ---


def test_the_table_of_gpus_is_whole() -> None:
    assert len(gpus()) >= 20
    for gpu in gpus().values():
        assert "NVIDIA" in gpu.source and 8 <= gpu.memory_gib <= 200 and gpu.device_names
        assert gpu.tflops["fp32"] < gpu.tflops["fp16"] and gpu.tflops.get("bf16", gpu.tflops["fp16"]) > 50
    names = [name.lower() for gpu in gpus().values() for name in (gpu.name, *gpu.device_names)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "reported, dtype, peak",
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("A100-SXM4-40GB", "bf16", 312e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2e12),
        ("Tesla T4", "fp16", 65e12),
        ("Tesla T4", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA GeForce RTX 4090 D", "bf16", None),
        ("NVIDIA A10G", "bf16", None),
        ("NVIDIA A10", "bf16", 125e12),
    ],
)
def test_peaks_by_the_name_that_the_driver_reports(reported: str, dtype: str, peak: float | None) -> None:
    assert peak_flops(reported, dtype) == (None if peak is None else pytest.approx(peak))


def test_a_gpu_is_found_in_any_spelling() -> None:
    for name in ("rtx4090", "RTX-4090", "geforce rtx 4090", "NVIDIA GeForce RTX 4090"):
        assert find_gpu(name) is gpus()["RTX 4090"]
    assert find_gpu("4091") is None
    assert gpus()["A10"].memory_bytes == int(22.5 * 2**30)
    assert set(MODEL_TYPES) == {"llama", "mistral", "qwen2", "qwen3"}
