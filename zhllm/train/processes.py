"""The processes that train together: one by itself, data-parallel (DDP), or sharded (FSDP2).

accelerate tells which (`accelerate launch` and `torchrun` set its environment) and holds the device and
the process group. Sharding is torch's `fully_shard` on each decoder layer and on the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from zhllm.errors import ConfigError


class Processes:
    """This process among those that train together."""

    def __init__(self, device: str) -> None:
        from accelerate import Accelerator

        strategy = _strategy()
        self.accelerator = Accelerator(cpu=device == "cpu")
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.strategy = strategy if self.count > 1 else "single"
        self.device: torch.device = self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return bool(self.rank == 0)

    @property
    def shards(self) -> bool:
        """Whether each process holds only a part of every parameter."""
        return self.strategy == "fsdp2"

    def wrap(self, module: nn.Module, layers: Any, compute: torch.dtype | None) -> nn.Module:
        """The module as it is to be called in training; sharded, its parameters become DTensors in place."""
        if self.strategy == "ddp":
            ids = [self.device.index] if self.device.type == "cuda" else None
            return nn.parallel.DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        if self.strategy == "fsdp2":
            _shard(module, layers, compute, self.device)
        return module

    @contextmanager
    def gradients_stay(self, module: nn.Module, stay: bool) -> Iterator[None]:
        """While `stay`, backward passes leave gradients in their process (all but the last micro-batch)."""
        if self.strategy == "fsdp2":
            module.set_requires_gradient_sync(not stay)  # type: ignore[operator]
        with module.no_sync() if stay and self.strategy == "ddp" else nullcontext():  # type: ignore[operator]
            yield

    def reshard(self, module: nn.Module) -> None:
        """Let go of whole parameters that a forward pass without a backward pass left behind."""
        if self.strategy == "fsdp2":
            from torch.distributed.fsdp import FSDPModule

            for part in module.modules():
                if isinstance(part, FSDPModule):
                    part.reshard()

    def total(self, value: Tensor) -> Tensor:
        """The sum of every process's value."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def all_true(self, value: bool) -> bool:
        """Whether it is true in every process."""
        return bool(int(self.total(torch.tensor(int(value), device=self.device))) == self.count)

    def any_true(self, value: bool) -> bool:
        """Whether it is true in some process."""
        return int(self.total(torch.tensor(int(value), device=self.device))) > 0

    def wait(self) -> None:
        """Until every process has come here."""
        if self.count > 1:
            dist.barrier()


def _strategy() -> str:
    """How accelerate's environment asks several processes to share the work."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ConfigError(
            "accelerate's config asks for DeepSpeed, which zhllm does not drive. Use FSDP2, which is tested and shards "
            "the same: recipes/accelerate/fsdp2.yaml (as ZeRO-3; with fsdp_reshard_after_forward: false as ZeRO-2)."
        )
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise ConfigError("accelerate's config asks for FSDP 1. Set fsdp_version: 2 in fsdp_config.")
        return "fsdp2"
    return "ddp"


def _shard(module: nn.Module, layers: Any, compute: torch.dtype | None, device: torch.device) -> None:
    """`fully_shard` each layer, then the rest (embeddings, head, last norm) as one group."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    offload = os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true"
    keep = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "false"
    options: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32),
        "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
    }
    for layer in layers:
        fully_shard(layer, reshard_after_forward=not keep, **options)
    fully_shard(module, **options)


def whole(value: Tensor) -> Tensor:
    """A parameter as one tensor, whether it is sharded or not; every process has to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local(value: Tensor) -> Tensor:
    """This process's part of a parameter."""
    return value.to_local() if isinstance(value, DTensor) else value


def like(parameter: Tensor, part: Tensor) -> Tensor:
    """A stored part as the same kind of tensor as its parameter."""
    if not isinstance(parameter, DTensor) or part.shape != parameter.to_local().shape:
        return part
    return DTensor.from_local(
        part.to(parameter.to_local().device), parameter.device_mesh, parameter.placements,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip
