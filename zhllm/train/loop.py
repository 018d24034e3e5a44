"""The one training loop: it takes batches and a loss as arguments and knows no stage.

A run is a pure function of its settings: killed at any step and started again it continues from
its last checkpoint and ends with the bytes of an undisturbed run (on the same CPU).
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from zhllm.errors import DataError, StageError
from zhllm.train.batch import Batch
from zhllm.train.checkpoints import Checkpoints
from zhllm.train.gate import Gate
from zhllm.train.guards import Interrupted, Signals, memory_advice
from zhllm.train.optimizers import OptimizerSettings, make_optimizers, set_rate
from zhllm.train.processes import Processes, local, whole
from zhllm.train.schedules import Schedule
from zhllm.train.tally import Measure, Record, Tally


class Learner(Protocol):
    """What the loop trains: called with a batch's tensors it gives its summed loss and each token's."""

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""

    def new_rows(self) -> dict[str, nn.Parameter]:
        """Those of them that are added embedding or head rows."""


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast and how safely one run goes."""

    schedule: Schedule
    optimizer: OptimizerSettings
    clip_norm: float = 1.0
    compute: torch.dtype | None = None  # what matrix products compute in; None: as the weights are
    checkpoint_every: int | None = None
    validate_every: int | None = None
    gate: Gate | None = None
    first_step: int = 0  # how many steps earlier phases of the same run made

    @property
    def steps(self) -> int:
        """Optimiser steps of this run."""
        return self.schedule.steps


@dataclass(frozen=True)
class Watch:
    """Who is told what: each record and its speed, and whether it comes from a checkpoint."""

    on_record: Callable[[Record, bool], None] = lambda record, resumed: None
    on_speed: Callable[[Record], None] = lambda record: None


@dataclass
class Progress:
    """What a checkpoint holds beside weights: records, and the best step that held the gate."""

    records: list[Record] = field(default_factory=list)
    best_step: int | None = None
    best: float = math.inf
    stopped: bool = False


class Loop:
    """One run over `batches_at(step)`, this process's micro-batches of a step."""

    def __init__(
        self,
        learner: Any,
        layers: Any,
        settings: LoopSettings,
        measure: Measure,
        processes: Processes,
        checkpoints: Checkpoints | None,
    ) -> None:
        """`learner` is a Learner and a Module; `layers` are its parts to shard by."""
        self.settings, self.processes, self.checkpoints = settings, processes, checkpoints
        self.learner, self.measure = learner, measure.to(processes.device)
        self.module = processes.wrap(learner, layers, settings.compute)
        self.parameters: dict[str, nn.Parameter] = learner.named_trainable()
        self.optimizers = make_optimizers(self.parameters, settings.optimizer)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=settings.compute is torch.float16)
        self.progress = Progress()

    def run(
        self,
        batches_at: Callable[[int], Sequence[Batch]],
        validate: Callable[[], Record] | None = None,
        watch: Watch = Watch(),
    ) -> list[Record]:
        """Train to the end and return one record a step, resumed ones included.

        The loss of a step is the mean over all learnt tokens of all processes. Raises StageError
        when the loss is not a number or memory is short, DataError for a step without a label,
        Interrupted when a signal came.
        """
        first = self._resume(watch)
        with Signals() as signals:
            for step in range(first, self.settings.steps):
                if self.progress.stopped:
                    break
                self._step(step, batches_at(step), validate, watch)
                self._stop_if_asked(step, signals)
        self._end_with_best()
        return self.progress.records

    def _resume(self, watch: Watch) -> int:
        found = self.checkpoints.load(self.parameters, self.optimizers) if self.checkpoints else None
        if found is None:
            return 0
        step: int = found.pop("step")
        scaler = found.pop("scaler")
        if scaler:
            self.scaler.load_state_dict(scaler)
        self.progress = Progress(**found)
        for record in self.progress.records:
            watch.on_record(record, True)
        return step

    def _step(self, step: int, batches: Sequence[Batch], validate: Callable[[], Record] | None, watch: Watch) -> None:
        settings, started = self.settings, time.perf_counter()
        share = settings.schedule.share(step)
        set_rate(self.optimizers, share)
        with memory_advice(batches):
            measured = self._gradients(step, batches)
        norm = self._update(step, batches, measured)
        record = {"step": settings.first_step + step + 1, **measured, "grad_norm": norm, "lr_share": share}
        rows = self.learner.new_rows()
        if rows:
            record["new_rows_norm"] = self._norm(list(rows.values()))
        places = sum(batch.input_ids.numel() for batch in batches) * self.processes.count
        watch.on_speed(self._speed(record, places, time.perf_counter() - started))
        last = step + 1 == settings.steps
        if validate is not None and (last or _due(record["step"], settings.validate_every)):
            record |= validate()
            self._judge(step + 1, record)
        self.progress.records.append(record)
        watch.on_record(record, False)
        if not last and not self.progress.stopped and _due(step + 1, settings.checkpoint_every):
            self._save(step + 1)

    def _gradients(self, step: int, batches: Sequence[Batch]) -> Record:
        """Gradients of the mean loss over all learnt tokens of the step; what was measured on the way."""
        processes, device = self.processes, self.processes.device
        count = int(processes.total(torch.tensor(sum(batch.learnt_tokens for batch in batches), device=device)))
        if count == 0:
            raise DataError(f"step {step + 1}: none of its tokens is to be learnt. Look at the data with zhllm show.")
        tally = Tally(self.measure, device)
        for number, batch in enumerate(batches):
            held = batch.to(device)
            with processes.gradients_stay(self.module, number + 1 < len(batches)):
                with self._autocast():
                    total, losses = self.module(held.input_ids, held.labels, held.position_ids)
                # The wrappers give the mean over the processes; the sum is wanted.
                self.scaler.scale(total * (processes.count / count)).backward()
            tally.add(held, losses)
        return tally.record(processes.total)

    def _norm(self, parameters: Sequence[nn.Parameter]) -> float:
        """The norm of parameters as one vector, from the parts of each process: nothing is gathered or copied."""
        parts = [torch.linalg.vector_norm(local(p.detach())).double() for p in parameters]
        squared = torch.stack(parts).square().sum()
        return math.sqrt(float(self.processes.total(squared) if self.processes.shards else squared))

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self.processes.device.type, self.settings.compute, enabled=self.settings.compute is not None
        )

    def _update(self, step: int, batches: Sequence[Batch], measured: Record) -> float:
        """Clip and step; the gradient norm before clipping. Refuses what is not a number."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = float(whole(nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm)))
        overflow = self.scaler.is_enabled() and not math.isfinite(norm)  # the scaler skips it and scales down
        if not math.isfinite(measured["loss"]) or not (math.isfinite(norm) or overflow):
            rate = self.settings.optimizer.learning_rate
            advice = f"Lower --learning-rate ({rate}) or look at" if step else "Look at the model's weights and at"
            raise StageError(
                f"step {step + 1}: the loss is {measured['loss']}, the gradient norm {norm}. {advice} the data of "
                f"this step{self._dump(step, batches)}."
            )
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        return norm

    def _dump(self, step: int, batches: Sequence[Batch]) -> str:
        """Write the ids and labels of a step that went wrong; says where, or "" without a folder."""
        if self.checkpoints is None:
            return ""
        self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        path = self.checkpoints.folder / f"bad-step-{step + 1}-rank-{self.processes.rank}.json"
        rows = [
            {"input_ids": ids, "labels": labels, "position_ids": positions}
            for batch in batches
            for ids, labels, positions in zip(
                batch.input_ids.tolist(), batch.labels.tolist(), batch.position_ids.tolist(), strict=True
            )
        ]
        path.write_text(json.dumps(rows) + "\n", encoding="utf-8")
        return f", kept in {path}"

    def _speed(self, record: Record, row_tokens: int, seconds: float) -> Record:
        """What a step took; `row_tokens` are all the places in its rows, learnt or not."""
        cuda = self.processes.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "step": record["step"],
            "seconds": seconds,
            "tokens_per_s": record["tokens"] / seconds,
            "tokens": record["tokens"],
            "row_tokens": row_tokens,
            "peak_memory_gb": peak / 1e9,
        }

    def _judge(self, step: int, record: Record) -> None:
        """Keep the best of the validated steps that hold the gate; stop where the gate says so."""
        gate = self.settings.gate
        if gate is None or self.checkpoints is None:
            return
        record["gate_held"] = gate.holds(record)
        if record["gate_held"] and record[gate.target] < self.progress.best:
            self.progress.best_step, self.progress.best = step, record[gate.target]
            self.checkpoints.save_best(step, self.parameters)
        self.progress.stopped = gate.stops and not record["gate_held"]

    def _end_with_best(self) -> None:
        gate, best = self.settings.gate, self.progress.best_step
        if gate is None or self.checkpoints is None:
            return
        if best is None:
            values = ", ".join(f"{r[gate.retained]:.3f}" for r in self.progress.records if gate.retained in r)
            raise StageError(
                f"no validated step held the gate: {gate.retained} was {gate.before:.3f} before, may be "
                f"{gate.limit:.3f} and was {values}. Mix in more replay, lower --learning-rate, or widen --gate."
            )
        if not self.checkpoints.load_best(best, self.parameters):
            raise StageError(f"the kept weights of step {best} cannot be read. Run the same command again.")

    def _save(self, step: int) -> None:
        if self.checkpoints is not None:
            content = dict(vars(self.progress)) | {"scaler": self.scaler.state_dict()}
            self.checkpoints.save(step, self.parameters, self.optimizers, content)
            self.checkpoints.drop_best_but(self.progress.best_step)

    def _stop_if_asked(self, step: int, signals: Signals) -> None:
        if self.processes.any_true(signals.came):
            self._save(step + 1)
            raise Interrupted(
                f"interrupted after step {self.settings.first_step + step + 1}"
                + (", which is saved: the same command goes on from there" if self.checkpoints else "")
            )


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
