"""How fast a run is: tokens a second, the model's FLOPs a second, and their share of what the GPU can do.

Model FLOPs utilisation as PaLM counts it (Chowdhery et al. 2022, appendix B): recomputed activations do not
count as work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from zhllm.errors import DataError
from zhllm.train.plan.cost import Training, flops_per_token, peak_flops, shape_of_model
from zhllm.train.processes import Processes
from zhllm.train.tally import Record

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", None: "fp32"}


@dataclass(frozen=True)
class Speedometer:
    """FLOPs of a row's token (None where the architecture's cost is not known), and all GPUs' peak FLOP/s."""

    flops_per_token: float | None
    peak: float | None

    @classmethod
    def of(
        cls, model: Path, training: Training, seq_len: int, compute: torch.dtype | None, processes: Processes
    ) -> Speedometer:
        """For a model directory trained in rows of `seq_len` tokens."""
        try:
            flops = flops_per_token(shape_of_model(model), training, seq_len).model
        except DataError:
            return cls(None, None)
        if processes.device.type != "cuda":
            return cls(flops, None)
        peak = peak_flops(torch.cuda.get_device_name(processes.device), DTYPES[compute])
        return cls(flops, None if peak is None else peak * processes.count)

    def read(self, speed: Record) -> Record:
        """A step's speed record with model_tflops_per_s and mfu, where they are known."""
        if self.flops_per_token is None:
            return speed
        rate = self.flops_per_token * speed["row_tokens"] / speed["seconds"]
        found = speed | {"model_tflops_per_s": rate / 1e12}
        return found if self.peak is None else found | {"mfu": rate / self.peak}
