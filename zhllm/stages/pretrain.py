"""pretrain: teach a model from packed text, from nothing or continuing a base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import InputPath
from zhllm.stage import Metrics, Stage
from zhllm.stages._training import TrainingConfig, check_packed

if TYPE_CHECKING:
    from torch import nn

    from zhllm.train.batch import Batch
    from zhllm.train.pack.store import PackInfo
    from zhllm.train.processes import Processes
    from zhllm.train.tally import Record
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
    from zhllm.model.directory import check_vocabulary, copy_tokenizer
    from zhllm.stages._training_run import train_and_save
    from zhllm.train.pack.store import read_info
    from zhllm.vocab.tokenizer import Tokenizer

    info, tokenizer = read_info(config.data), Tokenizer(config.model)
    check_vocabulary(config.model, tokenizer)
    check_packed(config.data, info, config.model, tokenizer)
    metrics = train_and_save(config, out, PackedData(config, info, tokenizer))
    if ranks.is_main():
        copy_tokenizer(config.model, out)
        if config.trainable == "all":
            (out / "config.json").write_bytes((config.model / "config.json").read_bytes())
    return metrics


class PackedData:
    """What pack wrote: rows of `train` in a seeded order, every other set for validation."""

    name = "pretrain"

    def __init__(self, config: PretrainConfig, info: PackInfo, tokenizer: Tokenizer) -> None:
        from zhllm.train.pack.store import TokenSet
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
        from zhllm.train.pack.store import rows_at

        rows = rows_at(step, self.config.rows_per_step, len(self.rows), self.config.seed)
        return [self.rows.batch(part) for part in share_of(rows, rank, count, self.config.rows_per_batch)]

    def validate(self, module: nn.Module, processes: Processes) -> Record:
        """Every set, see `measure_sets`."""
        from zhllm.stages._training_run import measure_sets

        size = self.config.rows_per_batch or self.config.rows_per_step
        return measure_sets(module, processes, self.held_out, self.measure, size)


STAGE = Stage("pretrain", 2, PretrainConfig, run, resumable=True, parallel=True)
