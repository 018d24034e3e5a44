"""Small proofs that a device computes: a bf16 product, a training step of a toy Llama, 4-bit gradients."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# bf16 has 8 bits of mantissa: a sum of products of like size is off by about 2^-8.
BF16_TOLERANCE = 0.02
LEAST_COSINE = 0.99


@dataclass(frozen=True)
class Outcome:
    """Whether it came out right, and in words what was found."""

    passed: bool
    found: str


def bf16_product(device: str) -> Outcome:
    """A bf16 product against the same one in float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.bfloat16().double() @ b.bfloat16().double()
    made = (a.to(device, torch.bfloat16) @ b.to(device, torch.bfloat16)).cpu().double()
    error = float((made - exact).norm() / exact.norm())
    return Outcome(error < BF16_TOLERANCE, f"relative error {error:.1e}")


def toy_step(device: str) -> Outcome:
    """Forward and backward pass of a two-layer Llama: a loss near ln V, and a gradient for every parameter."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=256, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device)
    ids = torch.arange(64, device=device).reshape(2, 32) % 256
    started = time.perf_counter()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    value, seconds = float(loss.detach()), time.perf_counter() - started
    grads = [p.grad for p in model.parameters()]
    moved = all(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in grads)
    return Outcome(moved and abs(value - 5.5) < 1, f"loss {value:.2f}, {seconds:.2f} s")


def four_bit_gradient(device: str, repack: bool = True) -> Outcome:
    """The gradient through a bitsandbytes NF4 layer, after it was used in eval mode, against that of its own values.

    On processors with AVX512-BF16 bitsandbytes packs the weights anew in eval mode, and later gradients are
    wrong; `repack` False switches that off.
    """
    bitsandbytes: Any = importlib.import_module("bitsandbytes")
    torch.manual_seed(0)
    layer = bitsandbytes.nn.Linear4bit(512, 256, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.load_state_dict({"weight": torch.randn(256, 512)})
    layer = layer.to(device)
    if not repack:
        layer.support_avx512bf16_for_cpu = False
    state = layer.weight.quant_state
    truth = bitsandbytes.functional.dequantize_4bit(layer.weight.data.clone(), state).float()
    upstream, entered = torch.randn(8, 256, device=device), torch.randn(8, 512, device=device)
    layer.eval()
    with torch.no_grad():
        layer(entered)
    layer.train()
    entered.requires_grad_(True)
    (layer(entered) * upstream).sum().backward()
    assert entered.grad is not None
    cosine = float(nn.functional.cosine_similarity(entered.grad.flatten(), (upstream @ truth).flatten(), dim=0))
    return Outcome(cosine > LEAST_COSINE, f"cosine {cosine:.3f} to the true gradient")
