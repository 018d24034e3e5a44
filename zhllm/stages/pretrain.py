"""pretrain: teach a model from packed text, from nothing or continuing a base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import InputPath
from zhllm.errors import DataError
from zhllm.stage import Metrics, Stage
from zhllm.stages._training import TrainingConfig, check_row_length

if TYPE_CHECKING:
    from torch import nn

    from zhllm.train.batch import Batch
    from zhllm.train.processes import Processes
    from zhllm.train.store import PackInfo, TokenSet
    from zhllm.train.tally import Measure, Record
    from zhllm.vocab.tokenizer import Tokenizer


class PretrainConfig(TrainingConfig):
    """Flags of `zhllm pretrain`."""

    data: InputPath = Field(description="Folder that pack wrote with this model's tokenizer.")


def run(config: PretrainConfig, out: Path) -> Metrics:
    """Writes an adapter (LoRA and new rows), or a model directory with --trainable all.

    Bits per character on the packed validation sets are measured before and after. Proves: frozen
    values bit-identical, everything trainable moved; a killed run continues to the same bytes.

    \b
    zhllm pretrain --model resized --data packed --epochs 2 -o pretrained
    """
    from zhllm import ranks
    from zhllm.model.directory import copy_tokenizer
    from zhllm.stages._training_run import train_and_save
    from zhllm.train.store import read_info
    from zhllm.vocab.tokenizer import Tokenizer

    info, tokenizer = read_info(config.data), Tokenizer(config.model)
    check_tokenizer(config, info, tokenizer)
    metrics = train_and_save(config, out, PackedData(config, info, tokenizer))
    if ranks.is_main():
        copy_tokenizer(config.model, out)
        if config.trainable == "all":
            (out / "config.json").write_bytes((config.model / "config.json").read_bytes())
    return metrics


def check_tokenizer(config: PretrainConfig, info: PackInfo, tokenizer: Tokenizer) -> None:
    """DataError when the data were packed with another tokenizer, or rows are longer than the model reads."""
    from zhllm.model.directory import check_vocabulary

    check_vocabulary(config.model, tokenizer)
    if tokenizer.digest != info.tokenizer:
        raise DataError(
            f"{config.data}: was packed with another tokenizer ({info.vocab_size} ids) than {config.model} has "
            f"({tokenizer.vocab_size} ids). Run zhllm pack with --tokenizer {config.model}."
        )
    check_row_length(config.model, info.seq_len, str(config.data))


class PackedData:
    """What pack wrote: rows of `train` in a seeded order, every other set for validation."""

    name = "pretrain"

    def __init__(self, config: PretrainConfig, info: PackInfo, tokenizer: Tokenizer) -> None:
        from zhllm.train.store import TokenSet
        from zhllm.train.tally import Measure
        from zhllm.vocab.token_sizes import token_sizes

        self.config = config
        self.rows = TokenSet(config.data, "train", info)
        self.measure = Measure.of(token_sizes(tokenizer), info.sources)
        self.held_out = {name: TokenSet(config.data, name, info) for name in info.sets if name != "train"}
        first = next(iter(self.held_out), None)
        self.target = None if first is None else f"bits_per_char_{first.replace('-', '_')}"

    def steps(self) -> int:
        """--steps, or as many as --epochs take."""
        return self.config.steps or max(1, math.ceil(len(self.rows) * self.config.epochs / self.config.rows_per_step))

    def batches_at(self, step: int, rank: int, count: int) -> Sequence[Batch]:
        """A process's micro-batches of a step."""
        from zhllm.stages._training_run import share_of
        from zhllm.train.store import rows_at

        rows = rows_at(step, self.config.rows_per_step, len(self.rows), self.config.seed)
        return [self.rows.batch(part) for part in share_of(rows, rank, count, self.config.rows_per_batch)]

    def validate(self, module: nn.Module, processes: Processes) -> Record:
        """Every set, see `measure_sets`."""
        size = self.config.rows_per_batch or self.config.rows_per_step
        return measure_sets(module, processes, self.held_out, self.measure, size)


def measure_sets(
    module: nn.Module, processes: Processes, sets: dict[str, TokenSet], measure: Measure, rows_per_batch: int
) -> Record:
    """Of each set loss_<set> in nats a token, bits_per_char_<set> and bits_per_byte_<set>, counted on its text."""
    from zhllm.stages._training_run import validated
    from zhllm.train.tally import Tally

    found: Record = {}
    for name, tokens in sets.items():
        parts = [range(i, min(i + rows_per_batch, len(tokens))) for i in range(0, len(tokens), rows_per_batch)]
        tally = Tally(measure, processes.device)
        validated(module, processes, [partial(tokens.batch, part) for part in parts], tally)
        key, record = name.replace("-", "_"), tally.record(processes.total)
        bits = record["loss"] * record["tokens"] / math.log(2)
        found[f"loss_{key}"] = record["loss"]
        found[f"bits_per_char_{key}"] = bits / tokens.info.chars
        found[f"bits_per_byte_{key}"] = bits / tokens.info.bytes
    return found


STAGE = Stage("pretrain", 2, PretrainConfig, run, resumable=True, parallel=True)
