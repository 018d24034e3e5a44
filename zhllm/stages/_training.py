"""The settings that `pretrain` and `sft` share, and what the loop is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from zhllm.config import Config, InputPath, Role
from zhllm.errors import ConfigError, DataError, MissingError

if TYPE_CHECKING:
    from zhllm.train.gate import Gate
    from zhllm.train.loop import LoopSettings
    from zhllm.train.lora import LoraSettings
    from zhllm.train.pack.store import PackInfo
    from zhllm.vocab.tokenizer import Tokenizer

Trainable = Literal[
    "all", "embeddings", "embeddings+lora", "embeddings+qlora", "lora", "new-rows", "new-rows+lora", "new-rows+qlora",
    "qlora",
]  # fmt: skip


class TrainingConfig(Config):
    """The settings that every training stage has."""

    model: InputPath = Field(description="Model directory to train.")
    trainable: Trainable = Field(
        "new-rows+lora", description="What learns; all else stays bit-identical. qlora: lora on a base held in 4 bits."
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the data.")
    steps: int | None = Field(None, gt=0, description="Optimiser steps (instead of --epochs).")
    rows_per_step: int = Field(16, gt=0, description="Rows whose gradients make one step.")
    rows_per_batch: int | None = Field(None, gt=0, description="Rows in memory at once (default: all of a step).")
    learning_rate: float = Field(2e-4, gt=0, description="Highest learning rate.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising rate.")
    lr_schedule: Literal["cosine", "linear", "wsd", "constant"] = Field(
        "cosine", description="How the rate comes down; wsd: stays, and comes down in the last --decay-share."
    )
    decay_share: float = Field(0.2, gt=0, le=1, description="Share of the steps in which wsd comes down.")
    final_lr_share: float = Field(0.1, ge=0, le=1, description="Rate at the end, as a share of the highest.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of matrices inside the layers.")
    clip_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    optimizer: Literal["adamw", "muon", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"] = Field(
        "adamw",
        description="muon: orthogonalised steps for the matrices inside the layers, LoRA's too; 8bit, paged: "
        "smaller moments through bitsandbytes, paged ones on a GPU.",
    )
    schedule: Literal["one-stage", "two-stage"] = Field(
        "one-stage", description="two-stage: the new rows alone first, then all of --trainable."
    )
    first_stage_share: float = Field(0.3, gt=0, lt=1, description="Share of the steps of the first of two stages.")
    lora_rank: int = Field(64, gt=0, description="Rank of the LoRA matrices.")
    lora_alpha: float | None = Field(None, gt=0, description="LoRA alpha (default: 2 x rank).")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the LoRA matrices.")
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="Modules that get LoRA matrices.",
    )
    lora_init: Literal["default", "gaussian", "olora", "pissa", "pissa-fast", "loftq"] = Field(
        "default",
        description="How the LoRA matrices start; pissa (fast: by a randomised SVD) and olora take directions of the "
        "weights over, loftq what 4-bit rounding lost.",
    )
    lora_plus: float | None = Field(None, gt=0, description="LoRA+: B matrices learn at so many times the rate of A.")
    rslora: bool = Field(False, description="Scale LoRA by alpha / sqrt(rank) instead of alpha / rank.")
    dora: bool = Field(False, description="Learn the length of each output's weights apart (DoRA).")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="What matrix products compute in; trained values stay fp32. auto: bf16 where the hardware has it.",
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    compile: bool = Field(False, description="torch.compile the layers: faster on a GPU after some minutes.")
    seed: int = Field(0, description="Seed of the order of rows and of new matrices.")
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.RUNTIME] = Field("auto", description="Where to train.")
    checkpoint_every: Annotated[int | None, Role.RUNTIME] = Field(
        200, gt=0, description="Steps between checkpoints; a killed run continues from the last."
    )
    validate_every: int | None = Field(None, gt=0, description="Steps between validations (default: at the end).")
    gate: str | None = Field(
        None, description="SET:+P%: a retained validation set may become at most P percent worse in bits per char."
    )
    gate_action: Literal["best", "stop"] = Field(
        "best", description="Train to the end, or stop where the gate breaks; both end with the best step that held."
    )
    track: Annotated[tuple[Literal["tensorboard", "wandb", "swanlab"], ...], Role.RUNTIME] = Field(
        (), description="Also send the metrics to these trackers (installed apart)."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        if self.schedule == "two-stage" and "+" not in self.trainable:
            raise ValueError(f"--schedule two-stage needs rows and LoRA to train, not --trainable {self.trainable}")
        if self.gate is not None:
            from zhllm.train.gate import parse_gate

            parse_gate(self.gate)
        if self.gate is not None and self.validate_every is None:
            raise ValueError("--gate needs --validate-every, or it would look only at the end")
        asked = {"--rslora": self.rslora, "--dora": self.dora, "--lora-plus": self.lora_plus is not None}
        asked["--lora-init"] = self.lora_init != "default"
        if "lora" not in self.trainable and any(asked.values()):
            flags = ", ".join(flag for flag, given in asked.items() if given)
            raise ValueError(f"{flags}: --trainable {self.trainable} has no LoRA")
        if self.lora_init == "loftq" and not self.four_bit:
            raise ValueError("--lora-init loftq makes up for 4-bit rounding: it needs --trainable qlora; or use pissa")
        return self

    @property
    def four_bit(self) -> bool:
        """Whether the base is held in four bits."""
        return "qlora" in self.trainable


def check_row_length(model: Path, seq_len: int, source: str) -> None:
    """DataError when rows are longer than the model reads."""
    from zhllm.model.llama import read_config

    limit = read_config(model).get("max_position_embeddings", seq_len)
    if seq_len > limit:
        raise DataError(f"{source}: rows of {seq_len} tokens, but {model} reads {limit} at most.")


def check_packed(data: Path, info: PackInfo, model: Path, tokenizer: Tokenizer) -> None:
    """DataError when the data were packed with another tokenizer, or rows are longer than the model reads."""
    if tokenizer.digest != info.tokenizer:
        raise DataError(
            f"{data}: was packed with another tokenizer ({info.vocab_size} ids) than {model} has "
            f"({tokenizer.vocab_size} ids). Run zhllm pack with --tokenizer {model}."
        )
    check_row_length(model, info.seq_len, str(data))


@dataclass(frozen=True)
class Phase:
    """A part of a run with one set of trainable parameters."""

    name: str
    trainable: str
    steps: int
    first_step: int


def phases_of(config: TrainingConfig, steps: int) -> list[Phase]:
    """The run as one phase, or the rows alone and then everything."""
    if config.schedule == "one-stage":
        return [Phase("", config.trainable, steps, 0)]
    first = max(1, round(config.first_stage_share * steps))
    if first >= steps:
        raise ConfigError(f"--schedule two-stage: {steps} steps are too few for two stages. Train longer.")
    rows = config.trainable.split("+")[0]
    return [Phase("1", rows, first, 0), Phase("2", config.trainable, steps - first, first)]


def lora_of(config: TrainingConfig) -> LoraSettings:
    """The LoRA settings of a stage."""
    from zhllm.train.lora import LoraSettings

    alpha = config.lora_alpha if config.lora_alpha is not None else 2.0 * config.lora_rank
    return LoraSettings(
        config.lora_rank, alpha, config.lora_dropout, config.lora_targets, config.rslora, config.dora, config.lora_init
    )


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


def compute_dtype(config: TrainingConfig, device_type: str) -> Any:
    """The torch dtype of matrix products, None for float32; MissingError where the device cannot."""
    import torch

    if config.precision == "fp16" and device_type == "cpu":
        raise MissingError("--precision fp16 needs a CUDA device. Use bf16 or fp32 on a CPU.")
    if config.precision == "fp16":
        return torch.float16
    bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_bf16(device_type))
    return torch.bfloat16 if bf16 else None


def settings_of(config: TrainingConfig, phase: Phase, device_type: str, gate: Gate | None) -> LoopSettings:
    """The loop's settings of a phase."""
    from zhllm.train.loop import LoopSettings
    from zhllm.train.optimizers import OptimizerSettings
    from zhllm.train.schedules import Schedule

    if config.optimizer.startswith("paged") and device_type == "cpu":
        raise MissingError(
            f"--optimizer {config.optimizer} needs a CUDA device to page from. Use adamw or adamw-8bit on a CPU."
        )
    warmup = max(1, round(config.warmup_share * phase.steps))
    return LoopSettings(
        schedule=Schedule(config.lr_schedule, phase.steps, warmup, config.final_lr_share, config.decay_share),
        optimizer=OptimizerSettings(
            config.optimizer, config.learning_rate, config.weight_decay, config.lora_plus or 1.0
        ),
        clip_norm=config.clip_norm,
        compute=compute_dtype(config, device_type),
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        gate=gate,
        first_step=phase.first_step,
    )
