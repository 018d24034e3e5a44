"""The one training loop: it takes batches and a loss as arguments and knows no stage.

A run is a pure function of its settings: killed at any step and started again it continues from
its last checkpoint and ends with the bytes of an undisturbed run (on the same CPU).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zhllm.errors import StageError
from zhllm.train.batch import Batch

Record = dict[str, Any]


class Learner(Protocol):
    """What the loop trains."""

    device: torch.device

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""

    def loss_sum(self, batch: Batch) -> tuple[Tensor, int]:
        """Summed loss and number of learnt tokens of a batch."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast: rates, schedule and checkpoints of one run."""

    steps: int
    learning_rate: float
    warmup_steps: int
    final_lr_share: float
    weight_decay: float
    clip_norm: float
    optimizer: str
    autocast: torch.dtype | None
    checkpoint_every: int | None
    validate_every: int | None


def learning_rate_share(step: int, settings: LoopSettings) -> float:
    """Linear warm-up to 1, then a cosine that comes down to `final_lr_share` after the last step."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    left = max(1, settings.steps - settings.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / left))
    return settings.final_lr_share + (1 - settings.final_lr_share) * cosine


def train(
    learner: Learner,
    batches_at: Callable[[int], Sequence[Batch]],
    settings: LoopSettings,
    checkpoints: Path | None,
    validate: Callable[[], Record] | None,
    on_record: Callable[[Record, bool], None],
    warn: Callable[[str], None],
) -> list[Record]:
    """Train for `settings.steps` steps and return one record a step, resumed ones included.

    `batches_at(step)` gives the micro-batches of a step; the loss of a step is the mean over all
    their learnt tokens. `on_record` is told each record and whether it comes from a checkpoint, `warn`
    of a checkpoint that cannot be read. Raises StageError when the loss is not a number.
    """
    parameters = learner.named_trainable()
    optimizers = make_optimizers(parameters, settings)
    records: list[Record] = []
    first = 0
    if checkpoints is not None:
        first, records = _resume(checkpoints, parameters, optimizers, warn)
        for record in records:
            on_record(record, True)
    for step in range(first, settings.steps):
        share = learning_rate_share(step, settings)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * share
        loss, tokens = _accumulate(learner, batches_at(step), settings)
        norm = float(nn.utils.clip_grad_norm_(parameters.values(), settings.clip_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise StageError(
                f"step {step + 1}: the loss is {loss}, the gradient norm {norm}. Lower --learning-rate "
                f"({settings.learning_rate}) or look at the data of this step."
            )
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        record = {"step": step + 1, "loss": loss, "tokens": tokens, "grad_norm": norm, "lr_share": share}
        last = step + 1 == settings.steps
        if validate is not None and (last or _due(step + 1, settings.validate_every)):
            record |= validate()
        records.append(record)
        on_record(record, False)
        if checkpoints is not None and not last and _due(step + 1, settings.checkpoint_every):
            _save(checkpoints, step + 1, parameters, optimizers, records)
    return records


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _accumulate(learner: Learner, batches: Sequence[Batch], settings: LoopSettings) -> tuple[float, int]:
    """Gradients of the mean loss over all learnt tokens of the step; returns that mean and the count."""
    count = sum(batch.learnt_tokens for batch in batches)
    total = 0.0
    for batch in batches:
        device = learner.device
        with torch.autocast(device.type, settings.autocast, enabled=settings.autocast is not None):
            loss, _ = learner.loss_sum(batch.to(device))
        (loss / max(count, 1)).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total / max(count, 1), count


def make_optimizers(parameters: dict[str, nn.Parameter], settings: LoopSettings) -> list[torch.optim.Optimizer]:
    """AdamW for everything; with "muon", Muon for the matrices inside the layers and AdamW for the rest.

    Weight decay reaches only matrices inside the layers, never embeddings, norms or new rows.
    """
    inner = {n: p for n, p in parameters.items() if p.ndim == 2 and ".layers." in n}
    outer = [p for n, p in parameters.items() if n not in inner]
    rate, decay = settings.learning_rate, settings.weight_decay
    groups = [{"params": outer, "weight_decay": 0.0, "peak_lr": rate}] if outer else []
    optimizers: list[torch.optim.Optimizer] = []
    if settings.optimizer == "muon" and inner:
        # Learning rates scaled to AdamW's update size (Moonshot's 0.2 sqrt(max(n, m)) rule).
        muon = torch.optim.Muon(
            [{"params": list(inner.values()), "peak_lr": rate}], lr=rate, weight_decay=decay,
            adjust_lr_fn="match_rms_adamw",
        )  # fmt: skip
        optimizers.append(muon)
    elif inner:
        groups.append({"params": list(inner.values()), "weight_decay": decay, "peak_lr": rate})
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-8, fused=True))
    return optimizers


def _save(
    folder: Path,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    records: list[Record],
) -> None:
    """Write `step-N.pt` under another name first, so that a kill leaves either all of it or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "parameters": {n: p.detach() for n, p in parameters.items()},
        "optimizers": [o.state_dict() for o in optimizers],
        "random": torch.get_rng_state(),
        "records": records,
    }
    partial = folder / f"step-{step:08d}.pt.partial"
    torch.save(state, partial)
    partial.rename(partial.with_suffix(""))
    for old in sorted(folder.glob("step-*.pt"))[:-2]:
        old.unlink()


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint's content; raises BadZipFile where it is cut off or a checksum is wrong."""
    with zipfile.ZipFile(path) as archive:  # torch.load itself does not look at the checksums
        wrong = archive.testzip()
    if wrong is not None:
        raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _resume(
    folder: Path,
    parameters: dict[str, nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    warn: Callable[[str], None],
) -> tuple[int, list[Record]]:
    """Load the newest checkpoint that can be read; (0, []) where there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        try:
            state = _read(path)
        except (zipfile.BadZipFile, OSError) as error:
            warn(f"{path}: this checkpoint is damaged and is left out ({error})")
            path.unlink()
            continue
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state["parameters"][name])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["random"])
        return state["step"], state["records"]
    return 0, []
