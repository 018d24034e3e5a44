"""One trainer of training.py, in a process of its own: `trainers.py NAME JOB.json`; the figures go to stdout.

All see the same rows in the same order, from the same weights, with the same AdamW (no weight decay), linear
schedule and clipping. The peers' settings are else their own; documents are kept apart by zhllm alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

BETAS = (0.9, 0.95)
Job = dict[str, Any]
Told = Callable[[float], None]


class Clock:
    """CPU seconds (user and system, all threads) of each step, and its loss."""

    def __init__(self) -> None:
        self.cpu_s, self.losses = [time.process_time()], list[float]()

    def step(self, loss: float) -> None:
        """A step is over."""
        self.cpu_s.append(time.process_time())
        self.losses.append(loss)

    def figures(self) -> dict[str, Any]:
        """What is measured up to now; RSS in MB, the start of Python and its packages included."""
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"step_cpu_s": np.diff(self.cpu_s).tolist(), "losses": self.losses, "peak_mb": peak_kb / 1024}


def rows_of(job: Job) -> np.ndarray:
    """(rows, T) ids."""
    count = job["steps"] * job["rows_per_step"]
    return np.load(job["tokens"])[: count * job["seq_len"]].reshape(count, -1).astype(np.int64)


def zhllm(job: Job, clock: Clock) -> Any:
    """zhllm's loop, as `zhllm pretrain --trainable all` runs it, without its proofs and files."""
    from zhllm.train.batch import Batch
    from zhllm.train.loop import Loop, LoopSettings, Watch
    from zhllm.train.optimizers import OptimizerSettings
    from zhllm.train.processes import Processes
    from zhllm.train.schedules import Schedule
    from zhllm.train.tally import Measure
    from zhllm.train.trainee import LoraSettings, Trainee

    trainee = Trainee(Path(job["model"]), torch.float32, torch.device("cpu"))
    trainee.make_trainable("all", LoraSettings(1, 1.0, 0.0, ()), 0)
    trainee.train()
    if job["gradient_checkpointing"]:
        trainee.checkpoint_gradients()
    ones = np.ones(trainee.model.config.vocab_size, np.int64)
    settings = LoopSettings(
        schedule=Schedule("linear", job["steps"], 0, 0.0),
        optimizer=OptimizerSettings("adamw", job["learning_rate"], 0.0),
        compute=torch.bfloat16 if job["precision"] == "bf16" else None,
    )
    loop = Loop(trainee, trainee.layers, settings, Measure.of((ones, ones)), Processes("cpu"), None)
    size = job["rows_per_step"]
    batches = batches_of(job, Batch) if job.get("documents", True) else mixed_batches_of(job, Batch)
    clock.cpu_s[0] = time.process_time()
    loop.run(
        lambda step: [batches.rows(range(step * size, (step + 1) * size))],
        watch=Watch(on_record=lambda record, _: clock.step(record["loss"])),
    )
    return trainee.model


def batches_of(job: Job, batch: Any) -> Any:
    """Every row as zhllm packs them: a label for each token, none where a document begins; positions by document."""
    from zhllm.train.batch import IGNORED

    inputs = rows_of(job)
    labels = np.load(job["tokens"])[1 : inputs.size + 1].astype(np.int64)
    starts = np.load(job["starts"])
    labels[starts[(starts > 0) & (starts <= inputs.size)] - 1] = IGNORED
    index = np.arange(inputs.size)
    begin = np.maximum(starts[np.searchsorted(starts, index, "right") - 1], index - index % job["seq_len"])
    return batch(*(torch.from_numpy(column.reshape(inputs.shape)) for column in (inputs, labels, index - begin)))


def mixed(job: Job, clock: Clock) -> Any:
    """zhllm's loop with the objective of the peers."""
    return zhllm({**job, "documents": False}, clock)


def mixed_batches_of(job: Job, batch: Any) -> Any:
    """Rows as `group_texts` leaves them: each like one document, its last token without a label."""
    from zhllm.train.batch import IGNORED

    inputs = torch.from_numpy(rows_of(job))
    labels = inputs.roll(-1, dims=1)
    labels[:, -1] = IGNORED
    return batch(inputs, labels, torch.arange(job["seq_len"]).expand_as(inputs))


def common_settings(job: Job, out: str) -> dict[str, Any]:
    """Arguments that transformers' and TRL's trainers share."""
    return {
        "output_dir": out,
        "max_steps": job["steps"],
        "per_device_train_batch_size": job["rows_per_step"],
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "linear",
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "train_sampling_strategy": "sequential",
        "bf16": job["precision"] == "bf16",
        "gradient_checkpointing": job["gradient_checkpointing"],
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def callback(clock: Clock) -> Any:
    """Tells the clock of every step's logged loss."""
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.cpu_s[0] = time.process_time()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                clock.step(float(logs["loss"]))

    return Told()


def open_model(job: Job) -> Any:
    """The model in float32, as both peers' scripts open it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, local_files_only=True)


def trainer(job: Job, clock: Clock) -> Any:
    """transformers' Trainer on the rows that `group_texts` makes: labels are input_ids, full logits."""
    from transformers import Trainer, TrainingArguments, default_data_collator

    rows = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in rows_of(job)]
    model = open_model(job)
    args = TrainingArguments(**common_settings(job, job["out"]))
    Trainer(
        model=model,
        args=args,
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=default_data_collator,
        callbacks=[callback(clock)],
    ).train()
    return model


def trl(job: Job, clock: Clock) -> Any:
    """TRL's SFTTrainer with packing; "wrapped" makes of the same documents the rows of `group_texts`."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    rows, starts = rows_of(job), np.load(job["starts"])
    documents = np.split(rows.reshape(-1), starts[(starts > 0) & (starts < rows.size)])
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"</s>": 2, "<unk>": 0})), eos_token="</s>", pad_token="</s>"
    )
    model = open_model(job)
    args = SFTConfig(
        **common_settings(job, job["out"]), packing=True, packing_strategy="wrapped", max_length=job["seq_len"]
    )
    SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"input_ids": [document.tolist() for document in documents]}),
        processing_class=words,
        callbacks=[callback(clock)],
    ).train()
    return model


@torch.no_grad()
def held_out_loss(model: Any, rows: Sequence[np.ndarray]) -> float:
    """Nats a token, in float32, of each row by itself: one measure for the weights of all trainers."""
    model.eval()
    model.gradient_checkpointing_disable()
    sums = []
    for row in rows:
        ids = torch.from_numpy(row.astype(np.int64))[None]
        logits = model.lm_head(model.model(input_ids=ids, use_cache=False).last_hidden_state)[0, :-1]
        sums.append(functional.cross_entropy(logits.float(), ids[0, 1:], reduction="mean").item())
    return math.fsum(sums) / len(sums)


def main() -> None:
    """Train; what libraries say goes to stderr."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        clock = Clock()
        model = {"zhllm": zhllm, "mixed": mixed, "trainer": trainer, "trl": trl}[name](job, clock)
        figures = clock.figures()
        figures["held_out"] = held_out_loss(model, np.load(job["held_out"]))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
