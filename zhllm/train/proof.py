"""Proofs around a run: what is frozen stayed, what learns moved, what was saved is what was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zhllm.errors import ProofError
from zhllm.train.processes import Processes, local
from zhllm.train.quantized import quantization_tensors


@dataclass(frozen=True)
class Start:
    """Digests of a learner before training, of this process's parts: one of all that is frozen, one a learning one."""

    frozen: str
    learning: dict[str, str]

    @staticmethod
    def of(learner: nn.Module) -> Start:
        """Read every parameter once."""
        frozen = {n: p for n, p in learner.named_parameters() if not p.requires_grad}
        return Start(digest(frozen), {n: digest({n: p}) for n, p in learner.named_parameters() if p.requires_grad})

    def prove(self, learner: nn.Module, processes: Processes) -> None:
        """ProofError when a frozen parameter moved, or one that should learn did not move in any process."""
        now = Start.of(learner)
        if not processes.all_true(now.frozen == self.frozen):
            raise ProofError("a frozen parameter changed during training; nothing was written.")
        moved = torch.tensor([now.learning[n] != before for n, before in self.learning.items()], dtype=torch.int64)
        anywhere = processes.total(moved.to(processes.device)).tolist()
        still = [name for name, count in zip(self.learning, anywhere, strict=True) if not count]
        if still:
            raise ProofError(f"{len(still)} trainable parameters did not move, e.g. {still[:3]}.")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and this process's bytes, with the scales of those in four bits."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(name.encode())
        for part in (value, *quantization_tensors(value)):
            found.update(local(part.detach()).cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
