"""pretrain: teach a model from packed text, from nothing or continuing a base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import InputPath
from zhllm.errors import DataError
from zhllm.stage import Metrics, Stage
from zhllm.stages._training import TrainingConfig, check_row_length, open_trainee, train_and_save

if TYPE_CHECKING:
    from zhllm.train.batch import Batch
    from zhllm.train.loop import Record
    from zhllm.train.store import PackInfo, TokenSet
    from zhllm.train.trainee import Trainee


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
    import math

    from zhllm.model.directory import copy_tokenizer
    from zhllm.train.store import TokenSet, read_info, rows_at

    info = read_info(config.data)
    check_tokenizer(config, info)
    trainee = open_trainee(config)
    rows = TokenSet(config.data, "train", info)
    held_out = {name: TokenSet(config.data, name, info) for name in info.sets if name != "train"}
    steps = config.steps or max(1, math.ceil(len(rows) * config.epochs / config.rows_per_step))
    size = config.rows_per_batch or config.rows_per_step
    before = measure(trainee, held_out, size)

    def batches_at(step: int) -> list[Batch]:
        return rows.batch(rows_at(step, config.rows_per_step, len(rows), config.seed)).split(size)

    metrics = train_and_save(config, out, trainee, steps, batches_at, lambda: measure(trainee, held_out, size))
    copy_tokenizer(config.model, out)
    if config.trainable == "all":
        (out / "config.json").write_bytes((config.model / "config.json").read_bytes())
    return {f"{name}_before": value for name, value in before.items()} | metrics


def check_tokenizer(config: PretrainConfig, info: PackInfo) -> None:
    """DataError when the data were packed with another tokenizer, or rows are longer than the model reads."""
    from zhllm.model.directory import check_vocabulary
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(config.model)
    check_vocabulary(config.model, tokenizer)
    if tokenizer.digest != info.tokenizer:
        raise DataError(
            f"{config.data}: was packed with another tokenizer ({info.vocab_size} ids) than {config.model} has "
            f"({tokenizer.vocab_size} ids). Run zhllm pack with --tokenizer {config.model}."
        )
    check_row_length(config.model, info.seq_len, str(config.data))


def measure(trainee: Trainee, sets: dict[str, TokenSet], rows_per_batch: int) -> Record:
    """Bits per character of each validation set, named bits_per_char_<set>."""
    import math

    import torch

    found = {}
    trainee.model.eval()
    for name, tokens in sets.items():
        nats = 0.0
        with torch.no_grad():
            for start in range(0, len(tokens), rows_per_batch):
                batch = tokens.batch(range(start, min(start + rows_per_batch, len(tokens))))
                nats += float(trainee.loss_sum(batch.to(trainee.device))[0])
        found[f"bits_per_char_{name.replace('-', '_')}"] = nats / math.log(2) / tokens.info.chars
    trainee.model.train()
    return found


STAGE = Stage("pretrain", 1, PretrainConfig, run, resumable=True)
