"""LoRA adapters as peft itself saves them, far enough from their start that a wrong one shows in the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def untrained(model: Path, **settings: Any) -> Any:
    """A model with a LoRA adapter of peft's on it that has learnt nothing yet."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **settings})
    return get_peft_model(base, config)


def adapter(folder: Path, model: Path, seed: int = 0, **settings: Any) -> Path:
    """A LoRA adapter as peft saves it, with every matrix (and DoRA's magnitudes) far from its start."""
    adapted = untrained(model, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_magnitude" in name:
                value.mul_(1 + 0.3 * torch.rand(value.shape, generator=generator))
            elif "lora_" in name:
                value.copy_(0.08 * torch.randn(value.shape, generator=generator))
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder
