"""Which training settings fit a given memory, and which of them to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zhllm.train.plan.cost import ModelShape
from zhllm.train.plan.memory import Memory, Precision, Setting, memory_of

# What to train instead where what was asked for does not fit: ever less, in this order.
CHEAPER = {
    "all": ("new-rows+lora", "lora", "new-rows+qlora", "qlora"),
    "embeddings+lora": ("embeddings+qlora", "new-rows+lora", "new-rows+qlora"),
    "embeddings+qlora": ("new-rows+qlora",),
    "new-rows+lora": ("new-rows+qlora",),
    "embeddings": ("new-rows",),
    "lora": ("qlora",),
}
# A micro-batch of fewer tokens leaves a GPU idle between its small products; then recomputing in larger ones is
# tried first. A rule of thumb, not a measurement.
ENOUGH_TOKENS = 2048


@dataclass(frozen=True)
class Option:
    """A setting and the memory it needs on each device."""

    setting: Setting
    memory: Memory

    def fits(self, limit_bytes: float | None) -> bool | None:
        """Whether it fits; None where no limit is known."""
        return None if limit_bytes is None else self.memory.needed_bytes <= limit_bytes


def row_counts(rows_per_step: int, gpus: int) -> list[int]:
    """Rows that a micro-batch can have so that a device's rows of a step divide into equal ones."""
    mine = max(1, rows_per_step // gpus)
    return [rows for rows in range(1, mine + 1) if mine % rows == 0]


def with_rows(setting: Setting, rows_per_batch: int, rows_per_step: int) -> Setting:
    """The setting with another micro-batch of a step's rows."""
    accumulates = rows_per_batch * setting.gpus < rows_per_step
    return dataclasses.replace(setting, rows_per_batch=rows_per_batch, accumulates=accumulates)


def variants(
    asked: Setting, trainables: Iterable[str], precisions: Iterable[Precision], rows_per_step: int
) -> Iterator[Setting]:
    """Every combination of what can be trained, precision, checkpointing, sharding and rows in memory at once."""
    for trainable in trainables:
        for precision in precisions:
            for checkpointing in (False, True):
                training = dataclasses.replace(
                    asked.training, trainable=trainable, gradient_checkpointing=checkpointing
                )
                # Four-bit weights are not sharded: each device holds them all.
                for sharded in (False, True) if asked.gpus > 1 and not training.quantised else (False,):
                    made = dataclasses.replace(asked, training=training, precision=precision, sharded=sharded)
                    for rows in row_counts(rows_per_step, asked.gpus):
                        yield with_rows(made, rows, rows_per_step)


def options_of(shape: ModelShape, settings: Iterable[Setting]) -> list[Option]:
    """The memory that each setting needs."""
    return [Option(setting, memory_of(shape, setting)) for setting in settings]


def recommend(options: Sequence[Option], asked: Option, limit_bytes: float | None, fixed: bool) -> Option | None:
    """The option to take: the asked one if it fits, else the nearest that does; None where none fits.

    What learns is kept as long as it can be, then precision; one device's copy is preferred to sharding, no
    checkpointing to checkpointing, many rows to few. `fixed` keeps the asked one's rows and checkpointing.
    """
    if asked.fits(limit_bytes) is not False:
        return asked
    wanted = (asked.setting.training.trainable, *CHEAPER.get(asked.setting.training.trainable, ()))
    for trainable in wanted:
        fitting = [
            option
            for option in options
            if option.setting.training.trainable == trainable
            and option.setting.precision == asked.setting.precision
            and option.fits(limit_bytes)
            and not (fixed and _differs(option.setting, asked.setting))
        ]
        if fitting:
            return max(fitting, key=_worth)
    return None


def _differs(setting: Setting, asked: Setting) -> bool:
    same_rows = setting.rows_per_batch == asked.rows_per_batch
    return not same_rows or setting.training.gradient_checkpointing != asked.training.gradient_checkpointing


def _worth(option: Option) -> tuple[bool, bool, bool, int]:
    setting = option.setting
    enough = setting.tokens >= ENOUGH_TOKENS
    return (not setting.sharded, enough, not setting.training.gradient_checkpointing, setting.rows_per_batch)
