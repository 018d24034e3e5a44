"""A planned training run in numbers: data, FLOPs, memory, time and the settings that fit, as plain values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from zhllm.train.plan.cost import Gpu, ModelShape, Training, flops_by_part, flops_per_token, trainable_parameters
from zhllm.train.plan.memory import (
    FP32,
    Memory,
    Setting,
    gradient_bytes,
    loss_bytes,
    memory_of,
    optimizer_bytes,
    plain_loss_bytes,
)
from zhllm.train.plan.options import Option

Facts = dict[str, Any]
BF16 = 2


@dataclass(frozen=True)
class Run:
    """A run that is planned: model, setting, how much data, and on what.

    `tokens` None: how much data is not known. `steps` None: they follow from `epochs`. `limit_bytes` is the
    memory of one device, None where it is not known.
    """

    shape: ModelShape
    setting: Setting
    rows_per_step: int
    tokens: int | None = None
    tokens_from: str = ""
    epochs: float = 1.0
    steps_asked: int | None = None
    gpu: Gpu | None = None
    limit_bytes: int | None = None
    utilisation: float = 1.0

    @property
    def rows(self) -> int | None:
        """Rows that the tokens make; each token but the first is predicted once."""
        return None if self.tokens is None else max(1, -(-(self.tokens - 1) // self.setting.seq_len))

    @property
    def steps(self) -> int | None:
        """Optimiser steps, as the stage counts them."""
        if self.steps_asked is not None or self.rows is None:
            return self.steps_asked
        return max(1, math.ceil(self.rows * self.epochs / self.rows_per_step))

    @property
    def trained_tokens(self) -> int | None:
        """Places of all rows of all steps: what is computed."""
        return None if self.steps is None else self.steps * self.rows_per_step * self.setting.seq_len

    def seconds_per_token(self, setting: Setting) -> float | None:
        """Seconds for a token at the assumed utilisation of all GPUs; None without a GPU of the table."""
        peak = None if self.gpu is None else self.gpu.tflops.get(setting.precision)
        if peak is None:
            return None
        flops = flops_per_token(self.shape, setting.training, setting.seq_len).total
        return flops / (peak * 1e12 * self.utilisation * setting.gpus)

    def hours(self, setting: Setting) -> float | None:
        """Hours of training in a setting; None where data or GPU are not known."""
        seconds = self.seconds_per_token(setting)
        return None if seconds is None or self.trained_tokens is None else seconds * self.trained_tokens / 3600


def model_facts(run: Run) -> Facts:
    """Parameters, and which of them learn."""
    learnt = trainable_parameters(run.shape, run.setting.training)
    total = run.shape.parameters + learnt["lora"]
    shape = {k: v for k, v in dataclasses.asdict(run.shape).items() if k != "biased"}
    return {
        **shape,
        "parameters": run.shape.parameters,
        "trainable_parameters": sum(learnt.values()),
        "trainable_share": sum(learnt.values()) / total,
        "trainable_by_part": learnt,
    }


def new_rows_facts(shape: ModelShape) -> Facts | None:
    """Training only the new rows beside peft's modules_to_save, which trains copies of both whole matrices.

    Bytes: learning values, gradients and AdamW's moments, all float32; for modules_to_save also in bfloat16, as
    it keeps them in a bfloat16 model. None where the model has no new rows.
    """
    if not shape.new_rows:
        return None
    new, every = Training("new-rows"), Training("embeddings")
    matrices = trainable_parameters(shape, every)["rows"]
    return {
        "base_rows": shape.base_vocab_size,
        "new_rows": shape.new_rows,
        "new-rows": _learning_bytes(shape, new, 1.0),
        "modules_to_save": _learning_bytes(shape, every, 1.0),
        "modules_to_save_bf16": _learning_bytes(shape, every, BF16 / FP32),
        "modules_to_save_originals_bytes_bf16": BF16 * matrices,
    }


def _learning_bytes(shape: ModelShape, training: Training, share: float) -> Facts:
    count = sum(trainable_parameters(shape, training).values())
    found = {"weights": FP32 * count, "gradients": gradient_bytes(shape, training)}
    found["optimizer"] = optimizer_bytes(shape, training, "adamw")
    made = {f"{name}_bytes": int(size * share) for name, size in found.items()}
    return {"trainable_parameters": count, **made, "total_bytes": sum(made.values())}


def data_facts(run: Run) -> Facts:
    """Tokens, rows and steps; None where they are not known."""
    return {
        "tokens": run.tokens,
        "from": run.tokens_from,
        "seq_len": run.setting.seq_len,
        "rows": run.rows,
        "epochs": run.epochs,
        "steps": run.steps,
        "tokens_per_step": run.rows_per_step * run.setting.seq_len,
        "trained_tokens": run.trained_tokens,
    }


def flops_facts(run: Run) -> Facts:
    """FLOPs of a token by part and direction, of a step, and of the whole run."""
    setting = run.setting
    parts = flops_by_part(run.shape, setting.training, setting.seq_len)
    token = flops_per_token(run.shape, setting.training, setting.seq_len)
    full = flops_per_token(run.shape, setting.training, setting.seq_len, "full")
    step = run.rows_per_step * setting.seq_len
    return {
        "per_token": {name: dataclasses.asdict(part) | {"total": part.total} for name, part in parts.items()},
        "forward_per_token": token.forward,
        "backward_inputs_per_token": token.backward_inputs,
        "backward_weights_per_token": token.backward_weights,
        "recomputed_per_token": token.recomputed,
        "model_per_token": token.model,
        "total_per_token": token.total,
        "model_per_token_full_attention": full.model,
        "per_step": token.total * step,
        "run": None if run.trained_tokens is None else token.total * run.trained_tokens,
    }


def memory_facts(run: Run) -> Facts:
    """Bytes on each device by part at the fullest moment, and what was spared."""
    made = memory_of(run.shape, run.setting)
    checkpointed = {}
    for on in (False, True):
        training = dataclasses.replace(run.setting.training, gradient_checkpointing=on)
        other = memory_of(run.shape, dataclasses.replace(run.setting, training=training))
        checkpointed["with" if on else "without"] = other.needed_bytes
    return {
        "parts": made.parts,
        "needed_bytes": made.needed_bytes,
        "host_bytes": made.host_bytes,
        "limit_bytes": run.limit_bytes,
        "fits": fits(made, run.limit_bytes),
        "needed_without_checkpointing_bytes": checkpointed["without"],
        "needed_with_checkpointing_bytes": checkpointed["with"],
        "logits_bytes": 0,  # never made whole: the loss goes chunk by chunk
        "chunked_loss_bytes": loss_bytes(run.shape, run.setting),
        "plain_loss_bytes": plain_loss_bytes(run.shape, run.setting),
    }


def fits(memory: Memory, limit_bytes: float | None) -> bool | None:
    """Whether it fits; None where no limit is known."""
    return None if limit_bytes is None else memory.needed_bytes <= limit_bytes


def estimated_time(run: Run) -> Facts:
    """Seconds and hours from the table of GPUs at the assumed utilisation; None where something is not known."""
    seconds = run.seconds_per_token(run.setting)
    return {
        "from": "table" if seconds is not None else None,
        "utilisation": run.utilisation if seconds is not None else None,
        "tokens_per_s": None if seconds is None else 1 / seconds,
        "seconds_per_step": None if seconds is None else seconds * run.rows_per_step * run.setting.seq_len,
        "hours": run.hours(run.setting),
    }


def setting_facts(setting: Setting) -> Facts:
    """A setting in the names of the flags."""
    return {
        "trainable": setting.training.trainable,
        "precision": setting.precision,
        "gradient_checkpointing": setting.training.gradient_checkpointing,
        "rows_per_batch": setting.rows_per_batch,
        "optimizer": setting.optimizer,
        "lora_rank": setting.training.lora_rank if setting.training.lora else None,
        "lora_targets": list(setting.training.lora),
        "gpus": setting.gpus,
        "sharded": setting.sharded,
    }


def option_facts(run: Run, option: Option) -> Facts:
    """One row of the table of settings."""
    return {
        **setting_facts(option.setting),
        "needed_bytes": option.memory.needed_bytes,
        "fits": option.fits(run.limit_bytes),
        "hours": run.hours(option.setting),
    }
