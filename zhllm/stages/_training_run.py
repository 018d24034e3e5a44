"""Running the loop for a stage: its phases, checkpoints beside the output, metrics, proofs, and what is saved."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from zhllm.config import role_of
from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.manifest import LOGS, checkpoints_of
from zhllm.progress import append_jsonl, bar, say
from zhllm.stage import Metrics
from zhllm.stages._training import (
    Phase,
    TrainingConfig,
    compute_dtype,
    lora_of,
    phases_of,
    pick_device,
    settings_of,
)
from zhllm.train.batch import Batch
from zhllm.train.checkpoints import Checkpoints, read_state, restore, write_state
from zhllm.train.gate import Gate, parse_gate
from zhllm.train.loop import Loop, Watch
from zhllm.train.pack.store import TokenSet
from zhllm.train.plan.cost import Training
from zhllm.train.processes import Processes, whole
from zhllm.train.proof import Start
from zhllm.train.speed import Speedometer
from zhllm.train.tally import Measure, Record, Tally
from zhllm.train.trackers import Trackers
from zhllm.train.trainee import Trainee

CARRIED = "phase-1.pt"  # the rows and records with which the first of two stages ended
METRICS_FILE = "metrics.jsonl"
SPEED_FILE = "speed.jsonl"
SEED_STRIDE = 1_000_003  # apart from the seeds that people count up
PLACES = ("", "valid_", "retained_", "retained_valid_")  # before the name of a retained set
NOT_RESULTS = ("step", "lr_share", "tokens")


class TrainingData(Protocol):
    """What a stage trains on, and how it validates."""

    name: str  # of the stage
    measure: Measure
    target: str | None  # the validation number that should fall

    def steps(self) -> int:
        """Optimiser steps that the stage was asked for."""

    def batches_at(self, step: int, rank: int, count: int) -> Sequence[Batch]:
        """The micro-batches of a step for one of `count` processes, equally many for each."""

    def validate(self, module: nn.Module, processes: Processes) -> Record:
        """The validation sets measured; {} where there are none."""


def train_and_save(config: TrainingConfig, out: Path, data: TrainingData) -> Metrics:
    """Train through all phases, prove what must not move, and write the result into `out`.

    metrics.jsonl holds no times, so that equal runs write equal bytes; those are in logs/speed.jsonl,
    and the rate is a metric. Where several processes train, the main one writes.
    """
    processes = Processes(pick_device(config.device))
    check_rows(config, processes)
    run = _Run(config, out, data, processes)
    for phase in phases_of(config, data.steps()):
        run.train(phase)
    return run.save()


def check_rows(config: TrainingConfig, processes: Processes) -> None:
    """ConfigError unless every process gets as many rows of a step."""
    if config.rows_per_step % processes.count:
        raise ConfigError(
            f"--rows-per-step {config.rows_per_step}: cannot be dealt to {processes.count} processes equally. "
            f"Choose a multiple of {processes.count}."
        )


def prove_sound(model: Path, before: Record) -> None:
    """DataError where a model that has learnt nothing yet gives no finite loss: its weights are not sound."""
    wrong = [name for name, value in before.items() if not math.isfinite(value or 0.0)]
    if wrong:
        raise DataError(f"{model}: gives {wrong[0]} {before[wrong[0]]} before any training. Are its weights damaged?")


def settings_shown(config: TrainingConfig) -> dict[str, Any]:
    """The settings that decide what is written; no paths, no choice of machine."""
    names = [name for name in type(config).model_fields if role_of(type(config), name) is None]
    return {name: value for name, value in config.model_dump(mode="json").items() if name in names}


def share_of(rows: Sequence[int], rank: int, count: int, rows_per_batch: int | None) -> list[list[int]]:
    """A process's rows of a step, cut into micro-batches; together the processes have every row once."""
    mine = list(rows[rank::count])
    size = rows_per_batch or len(mine)
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def open_trainee(config: TrainingConfig, processes: Processes) -> Trainee:
    """The model in the form it is trained in; ConfigError where that cannot be sharded."""
    device = processes.device
    if config.four_bit and processes.shards:
        raise ConfigError("--trainable qlora: a base in 4 bits is not sharded. Launch with DDP, or train lora.")
    full = config.trainable == "all" or config.precision == "fp32" or device.type == "cpu"
    # Frozen weights stand in bf16 on a GPU; what learns is float32 there too.
    dtype = torch.float32 if full else torch.bfloat16
    four_bit = compute_dtype(config, device.type) or torch.float32
    noise: float | None = getattr(config, "neftune", None)  # sft has it
    return Trainee(config.model, dtype, device, four_bit if config.four_bit else None, noise)


class _Run:
    """One training run: what was measured before, the records so far, and the trainee of the last phase."""

    def __init__(self, config: TrainingConfig, out: Path, data: TrainingData, processes: Processes) -> None:
        self.config, self.out, self.data, self.processes = config, out, data, processes
        self.folder = checkpoints_of(out)
        self.before: Record = {}
        self.records: list[Record] = []
        self.trained_s, self.trained_tokens = 0.0, 0
        self._speedometers: dict[str, Speedometer] = {}
        self.trainee: Trainee

    def train(self, phase: Phase) -> None:
        """Train a phase to its end, or continue it, or take over what it left when it ended."""
        done = self._carried() if phase.name == "1" else None
        if done is not None:
            self.before, self.records = done["before"], done["records"]
            self._tell(self.records)
            return
        loop = self._open(phase)
        start = Start.of(self.trainee)
        if not self.records:
            self.before = self.data.validate(loop.module, self.processes)
            prove_sound(self.config.model, self.before)
        loop.settings = settings_of(self.config, phase, self.processes.device.type, self._gate())
        self.records += self._watched(loop, phase)
        start.prove(self.trainee, self.processes)
        if phase.name == "1":
            rows = {n: whole(p.detach()) for n, p in loop.parameters.items()}
            if self.processes.is_main:
                write_state(self.folder / CARRIED, {"rows": rows, "records": self.records, "before": self.before})
            self.processes.wait()

    def _carried(self) -> dict[str, Any] | None:
        """What the first phase left when it ended; None where it did not, or where that cannot be read."""
        path, found, problem = self.folder / CARRIED, None, ""
        if path.is_file():
            try:
                found = read_state(path)
            except (OSError, BadZipFile) as error:
                problem = f" ({error})"
        if self.processes.all_true(found is not None):
            return found
        if problem:
            say(f"{path}: is damaged and is left out{problem}")
        return None

    def _open(self, phase: Phase) -> Loop:
        """The model, with what the phase trains, in its wrapper."""
        config, processes = self.config, self.processes
        self.trainee = open_trainee(config, processes)
        self.trainee.make_trainable(phase.trainable, lora_of(config), config.seed)
        if processes.rank:  # dropout and noise of its own; the matrices above were drawn alike everywhere
            torch.manual_seed(config.seed + processes.rank * SEED_STRIDE)
        if phase.name == "2":
            self._take_over_rows()
        if config.gradient_checkpointing:
            self.trainee.checkpoint_gradients()
        if config.compile:
            self.trainee.compile_layers()
        self.trainee.train()
        checkpoints = Checkpoints(self.folder / phase.name, processes, say)
        settings = settings_of(config, phase, processes.device.type, None)
        return Loop(self.trainee, self.trainee.layers, settings, self.data.measure, processes, checkpoints)

    def _take_over_rows(self) -> None:
        state = read_state(self.folder / CARRIED)
        named = self.trainee.named_trainable()
        restore({name: named[name] for name in state["rows"]}, state["rows"])

    def _gate(self) -> Gate | None:
        """The forgetting gate with its limit from what was measured before; ConfigError where it cannot be."""
        if self.config.gate is None:
            return None
        name, share = parse_gate(self.config.gate)
        own = "bits_per_char_valid" if self.data.target == "valid_loss" else self.data.target
        names = [key for key in self.before if key.startswith("bits_per_char_") and key != own]
        known = [key.removeprefix("bits_per_char_") for key in names]
        found = next((key for key in (f"{place}{name.replace('-', '_')}" for place in PLACES) if key in known), None)
        if found is None or self.data.target is None or self.data.target == f"bits_per_char_{found}":
            others = ", ".join(key for key in known if f"bits_per_char_{key}" != self.data.target) or "none"
            raise ConfigError(
                f"--gate {self.config.gate}: the retained set must be a validation set beside the target "
                f"({self.data.target or 'none'}). There are: {others}."
            )
        retained = f"bits_per_char_{found}"
        return Gate(retained, self.data.target, share, self.before[retained], self.config.gate_action == "stop")

    def _watched(self, loop: Loop, phase: Phase) -> list[Record]:
        """Run the loop with a bar, and with every record written where it belongs."""
        processes, logs = self.processes, self.folder / LOGS
        label = "training" if not phase.name else f"training, stage {phase.name}"
        shown = bar(label, phase.steps, "steps") if processes.is_main else nullcontext()
        with Trackers(self.config.track if processes.is_main else (), logs, self.config) as trackers, shown as line:

            def on_record(record: Record, resumed: bool) -> None:
                if not resumed:
                    self.trained_tokens += record["tokens"]
                    trackers.log(record)
                if line is not None:
                    append_jsonl(self.out / METRICS_FILE, record)
                    line.advance(note=f"loss {record['loss']:.3f}")

            def on_speed(measured: Record) -> None:
                self.trained_s += measured["seconds"]
                speed = self._speedometer(phase, measured).read(measured)
                if line is not None:
                    logs.mkdir(parents=True, exist_ok=True)
                    append_jsonl(logs / SPEED_FILE, speed)
                    trackers.log(speed)

            count = processes.count

            def batches_at(step: int) -> Sequence[Batch]:
                return self.data.batches_at(phase.first_step + step, processes.rank, count)

            def validate() -> Record:
                return self.data.validate(loop.module, processes)

            return loop.run(batches_at, validate, Watch(on_record, on_speed))

    def _speedometer(self, phase: Phase, first: Record) -> Speedometer:
        """Made from the first step that a phase runs here."""
        if phase.name not in self._speedometers:
            config = self.config
            seq_len, learnt = first["row_tokens"] // config.rows_per_step, first["tokens"] / first["row_tokens"]
            training = Training(
                phase.trainable, config.lora_rank, config.lora_targets, config.gradient_checkpointing, learnt
            )
            compute = compute_dtype(config, self.processes.device.type)
            self._speedometers[phase.name] = Speedometer.of(config.model, training, seq_len, compute, self.processes)
        return self._speedometers[phase.name]

    def _tell(self, records: Sequence[Record]) -> None:
        for record in records if self.processes.is_main else ():
            append_jsonl(self.out / METRICS_FILE, record)

    def save(self) -> Metrics:
        """Write what was trained, read it again and compare, and give the run's metrics."""
        self.trainee.save(self.out, whole, self.processes.is_main)
        wrong = self.trainee.unlike_saved(self.out, whole, self.processes.is_main)
        if wrong:
            raise ProofError(f"what was saved is not what was trained: {', '.join(wrong[:3])}. Nothing was written.")
        if self.processes.is_main and (self.folder / LOGS).is_dir():
            shutil.copytree(self.folder / LOGS, self.out / LOGS)
        tokens = sum(record["tokens"] for record in self.records)
        rate = self.trained_tokens / self.trained_s if self.trained_s else 0.0
        say(f"{len(self.records)} steps, {tokens:,} learnt tokens, {rate:,.0f} tokens/s")
        trainable = sum(p.numel() for p in self.trainee.named_trainable().values())
        metrics = {
            "steps": len(self.records),
            "learnt_tokens": tokens,
            "trainable_parameters": trainable,
            "tokens_per_s": rate,
            **{f"{name}_before": value for name, value in self.before.items()},
            **{name: value for name, value in self._final().items() if name not in NOT_RESULTS},
        }
        if self.processes.is_main:
            from zhllm.stages._training_page import html_of

            steady = {name: value for name, value in metrics.items() if name != "tokens_per_s"}
            text = html_of(self.data.name, settings_shown(self.config), steady, self.records)
            (self.out / "report.html").write_text(text, encoding="utf-8")
        return metrics

    def _final(self) -> Record:
        """The record of the weights that were saved: the last step's, or with a gate the best one's."""
        if self.config.gate is None or self.data.target is None:
            return self.records[-1]
        held = [record for record in self.records if record.get("gate_held")]
        best: Record = min(held, key=lambda record: float(record[str(self.data.target)]))
        return best | {"best_step": best["step"]}


def validated(module: nn.Module, processes: Processes, batches: Sequence[Callable[[], Batch]], tally: Tally) -> None:
    """Add the losses of batches, dealt to the processes, to a Tally; no gradient, no dropout.

    Every process calls the module equally often, as sharded ones must.
    """
    module.eval()
    with torch.no_grad():
        for start in range(0, len(batches), processes.count):
            mine = start + processes.rank
            batch = batches[min(mine, len(batches) - 1)]()
            held = (batch if mine < len(batches) else batch.without_labels()).to(processes.device)
            losses: Tensor = module(held.input_ids, held.labels, held.position_ids)[1]
            tally.add(held, losses)
    processes.reshard(module)
    module.train()


def measure_sets(
    module: nn.Module, processes: Processes, sets: dict[str, TokenSet], measure: Measure, rows_per_batch: int
) -> Record:
    """Of each set loss_<set> in nats a token, bits_per_char_<set> and bits_per_byte_<set>, counted on its text."""
    found: Record = {}
    for name, tokens in sets.items():
        parts = [range(i, min(i + rows_per_batch, len(tokens))) for i in range(0, len(tokens), rows_per_batch)]
        tally = Tally(Measure(measure.chars, measure.sizes), processes.device)
        validated(module, processes, [partial(tokens.batch, part) for part in parts], tally)
        key, record = name.replace("-", "_"), tally.record(processes.total)
        bits = record["loss"] * record["tokens"] / math.log(2)
        found[f"loss_{key}"] = record["loss"]
        found[f"bits_per_char_{key}"] = bits / tokens.info.chars
        found[f"bits_per_byte_{key}"] = bits / tokens.info.bytes
    return found
