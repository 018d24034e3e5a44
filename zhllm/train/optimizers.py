"""Optimisers by name, and which parameters decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zhllm.errors import MissingError

BETAS = (0.9, 0.95)
Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimiser, its highest learning rate, and the weight decay of matrices inside the layers.

    `lora_plus`: LoRA's B matrices learn at so many times that rate (LoRA+, Hayou et al. 2024).
    """

    name: str
    learning_rate: float
    weight_decay: float
    lora_plus: float = 1.0


def make_optimizers(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """One optimiser for everything; with "muon", Muon for the matrices inside the layers and AdamW for the rest.

    Weight decay reaches only matrices inside the layers, never embeddings, norms or new rows. Each
    group holds its highest rate as "peak_lr".
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    inner = {n: p for n, p in parameters.items() if p.ndim == 2 and ".layers." in n}
    outer = [p for n, p in parameters.items() if n not in inner]
    groups: Groups = [{"params": outer, "weight_decay": 0.0, "peak_lr": rate}] if outer else []
    made: list[torch.optim.Optimizer] = []
    matrices = _inner_groups(inner, settings)
    if matrices and settings.name == "muon":
        # Learning rates scaled to AdamW's update size (Moonshot's 0.2 sqrt(max(n, m)) rule).
        made.append(torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    else:
        groups += matrices
    if groups:
        made.append(ADAMS.get(settings.name, _adamw)(groups, rate))
    return made


def _inner_groups(inner: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> Groups:
    """The matrices inside the layers; LoRA's B matrices apart where they have a rate of their own."""
    fast = {n: p for n, p in inner.items() if settings.lora_plus != 1 and "lora_B" in n}
    parts = ((inner.keys() - fast.keys(), 1.0), (fast.keys(), settings.lora_plus))
    return [
        {
            "params": [p for n, p in inner.items() if n in names],
            "weight_decay": settings.weight_decay,
            "peak_lr": settings.learning_rate * ratio,
        }
        for names, ratio in parts
        if names
    ]


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Give every group this share of its highest rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


def _adamw(groups: Groups, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=1e-8, fused=True)


def _bitsandbytes(kind: str) -> Callable[[Groups, float], torch.optim.Optimizer]:
    def make(groups: Groups, rate: float) -> torch.optim.Optimizer:
        try:
            import bitsandbytes.optim as optim
        except ImportError as error:
            raise MissingError(f"--optimizer needs bitsandbytes ({error}). Install it, or use adamw.") from error
        made: torch.optim.Optimizer = getattr(optim, kind)(groups, lr=rate, betas=BETAS, eps=1e-8)
        return made

    return make


# bitsandbytes (Dettmers et al. 2022): moments in 8 bits, or paged out to the host when the device is full.
ADAMS: dict[str, Callable[[Groups, float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw-8bit": _bitsandbytes("AdamW8bit"),
    "paged-adamw": _bitsandbytes("PagedAdamW32bit"),
    "paged-adamw-8bit": _bitsandbytes("PagedAdamW8bit"),
}
