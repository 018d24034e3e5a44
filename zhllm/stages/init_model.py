"""init-model: a fresh Llama of a named size for a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from zhllm.config import Config, InputPath
from zhllm.stage import Metrics, Stage


class InitModelConfig(Config):
    """Flags of `zhllm init-model`."""

    tokenizer: InputPath = Field(description="Tokenizer directory the model is made for.")
    size: Literal["toy", "tiny", "20m", "60m", "110m", "1b"] = Field("tiny", description="Shape of the model.")
    seed: int = Field(0, description="Seed of the random weights.")


def run(config: InitModelConfig, out: Path) -> Metrics:
    """Writes a complete model directory with random weights; proves that the parameters written are those planned.

    \b
    zhllm init-model --tokenizer tokenizer --size tiny -o model
    """
    from zhllm.errors import ProofError
    from zhllm.model.directory import copy_tokenizer, write_model_config
    from zhllm.model.llama import SIZES, config_of, parameter_count, tensor_plan, write_fresh
    from zhllm.model.tensors import Checkpoint
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(config.tokenizer)
    size = SIZES[config.size]
    write_fresh(out, size, tokenizer.vocab_size, config.seed)
    copy_tokenizer(config.tokenizer, out)
    write_model_config(out, config_of(size, tokenizer.vocab_size, {}), tokenizer, tokenizer.vocab_size)
    planned = parameter_count(tensor_plan(size, tokenizer.vocab_size))
    written = parameter_count(list(Checkpoint(out).specs.values()))
    if written != planned:
        raise ProofError(f"the model has {written} parameters, {planned} were planned")
    return {"parameters": planned, "vocab_size": tokenizer.vocab_size, "layers": size.layers}


STAGE = Stage("init-model", 1, InitModelConfig, run)
