"""What `pretrain` and `sft` share: the training settings, and running the loop for a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from zhllm.config import Config, InputPath, Role
from zhllm.errors import DataError, MissingError, ProofError
from zhllm.progress import append_jsonl, bar, say
from zhllm.stage import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from zhllm.train.batch import Batch
    from zhllm.train.loop import LoopSettings, Record
    from zhllm.train.trainee import Trainee

METRICS_FILE = "metrics.jsonl"
Trainable = Literal["all", "embeddings", "embeddings+lora", "lora", "new-rows", "new-rows+lora"]


class TrainingConfig(Config):
    """The settings that every training stage has."""

    model: InputPath = Field(description="Model directory to train.")
    trainable: Trainable = Field("new-rows+lora", description="What learns; all else stays bit-identical.")
    epochs: float = Field(1.0, gt=0, description="Passes over the data.")
    steps: int | None = Field(None, gt=0, description="Optimiser steps (instead of --epochs).")
    rows_per_step: int = Field(16, gt=0, description="Rows whose gradients make one step.")
    rows_per_batch: int | None = Field(None, gt=0, description="Rows in memory at once (default: all of a step).")
    learning_rate: float = Field(2e-4, gt=0, description="Highest learning rate.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising rate.")
    final_lr_share: float = Field(0.1, ge=0, le=1, description="Rate at the end of the cosine, as a share.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of matrices inside the layers.")
    clip_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: orthogonalised steps for the matrices inside the layers, LoRA's too."
    )
    lora_rank: int = Field(64, gt=0, description="Rank of the LoRA matrices.")
    lora_alpha: float | None = Field(None, gt=0, description="LoRA alpha (default: 2 x rank).")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the LoRA matrices.")
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="Modules that get LoRA matrices.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="What matrix products compute in; trained values stay fp32. auto: bf16 where the hardware has it.",
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    seed: int = Field(0, description="Seed of the order of rows and of new matrices.")
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.RUNTIME] = Field("auto", description="Where to train.")
    checkpoint_every: Annotated[int | None, Role.RUNTIME] = Field(
        200, gt=0, description="Steps between checkpoints; a killed run continues from the last."
    )
    validate_every: int | None = Field(None, gt=0, description="Steps between validations (default: at the end).")


def check_row_length(model: Path, seq_len: int, source: str) -> None:
    """DataError when rows are longer than the model reads."""
    from zhllm.model.llama import read_config

    limit = read_config(model).get("max_position_embeddings", seq_len)
    if seq_len > limit:
        raise DataError(f"{source}: rows of {seq_len} tokens, but {model} reads {limit} at most.")


def open_trainee(config: TrainingConfig) -> Trainee:
    """The model on its device, with the chosen parameters trainable."""
    import torch

    from zhllm.train.trainee import LoraSettings, Trainee

    device = torch.device(pick_device(config.device))
    # Frozen weights stand in bf16 on a GPU; what learns is float32 there too (LoRA, new rows) unless
    # the whole model does, which then is loaded in float32.
    on_gpu = device.type == "cuda" and config.trainable != "all" and config.precision != "fp32"
    trainee = Trainee(config.model, torch.bfloat16 if on_gpu else torch.float32, device)
    alpha = config.lora_alpha if config.lora_alpha is not None else 2.0 * config.lora_rank
    lora = LoraSettings(config.lora_rank, alpha, config.lora_dropout, config.lora_targets)
    trainee.make_trainable(config.trainable, lora, config.seed)
    if config.gradient_checkpointing:
        trainee.model.gradient_checkpointing_enable({"use_reentrant": False})
        trainee.model.enable_input_require_grads()
    trainee.model.train()
    return trainee


def pick_device(wanted: str) -> str:
    """ "cuda" or "cpu"; MissingError when a GPU is asked for and there is none."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise MissingError("--device cuda: this machine has no CUDA device. Use --device cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def computes_bf16(device_type: str) -> bool:
    """Whether bf16 products are done by the hardware (on other CPUs they are slower than fp32)."""
    import torch

    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def settings_of(config: TrainingConfig, steps: int, device_type: str) -> LoopSettings:
    """The loop's settings from the stage's."""
    import torch

    from zhllm.train.loop import LoopSettings

    bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_bf16(device_type))
    return LoopSettings(
        steps=steps,
        learning_rate=config.learning_rate,
        warmup_steps=max(1, round(config.warmup_share * steps)),
        final_lr_share=config.final_lr_share,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        optimizer=config.optimizer,
        autocast=torch.bfloat16 if bf16 else None,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
    )


def train_and_save(
    config: TrainingConfig,
    out: Path,
    trainee: Trainee,
    steps: int,
    batches_at: Callable[[int], Sequence[Batch]],
    validate: Callable[[], Record] | None,
) -> Metrics:
    """Run the loop with checkpoints beside `out`, prove what must not move, and write the result.

    metrics.jsonl holds no times, so that equal runs write equal bytes; the rate is a metric.
    """
    from zhllm.manifest import checkpoints_of
    from zhllm.train.loop import train

    start_values = {n: p.detach().clone() for n, p in trainee.named_trainable().items()}
    frozen = frozen_digest(trainee)
    started = time.perf_counter()
    tokens_now = 0  # without those of the steps that a checkpoint holds
    with bar("training", steps, "steps") as shown:

        def on_record(record: Record, resumed: bool) -> None:
            nonlocal tokens_now
            tokens_now += 0 if resumed else record["tokens"]
            append_jsonl(out / METRICS_FILE, record)
            shown.advance(note=f"loss {record['loss']:.3f}")

        settings = settings_of(config, steps, trainee.device.type)
        records = train(trainee, batches_at, settings, checkpoints_of(out), validate, on_record, say)
    rate = tokens_now / (time.perf_counter() - started)
    prove_training(trainee, start_values, frozen)
    trainee.save(out)
    last = {k: v for k, v in records[-1].items() if k not in ("step", "lr_share", "tokens")}
    tokens = sum(record["tokens"] for record in records)
    say(f"{steps} steps, {tokens:,} learnt tokens, {rate:,.0f} tokens/s")
    trainable = sum(p.numel() for p in trainee.named_trainable().values())
    return {
        "steps": steps,
        "learnt_tokens": tokens,
        "trainable_parameters": trainable,
        "tokens_per_s": rate,
        **last,
    }


def frozen_digest(trainee: Trainee) -> str:
    """Digest of every parameter that must not move."""
    import hashlib

    import torch

    found = hashlib.sha256()
    for name, parameter in trainee.model.named_parameters():
        if not parameter.requires_grad:
            found.update(name.encode())
            found.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def prove_training(trainee: Trainee, start_values: dict[str, Tensor], frozen: str) -> None:
    """ProofError when a frozen parameter moved, or one that should learn did not."""
    import torch

    if frozen_digest(trainee) != frozen:
        raise ProofError("a frozen parameter changed during training; nothing was written.")
    still = [n for n, p in trainee.named_trainable().items() if torch.equal(p.detach(), start_values[n])]
    if still:
        raise ProofError(f"{len(still)} trainable parameters did not move, e.g. {still[:3]}.")
