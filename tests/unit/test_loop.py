"""The training loop with a model of two matrices: schedule, micro-batches, checkpoints, what it refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zhllm.errors import ConfigError, DataError, StageError
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.checkpoints import Checkpoints
from zhllm.train.gate import Gate, parse_gate
from zhllm.train.guards import Interrupted
from zhllm.train.loop import Loop, LoopSettings, Watch
from zhllm.train.loss import chunked_cross_entropy
from zhllm.train.optimizers import OptimizerSettings, make_optimizers
from zhllm.train.processes import Processes
from zhllm.train.schedules import Schedule
from zhllm.train.tally import Measure, Record

STEPS = 12
MEASURE = Measure(torch.arange(9), 3 * torch.arange(9))


class Bigrams(nn.Module):
    """Predicts a token from the one before it; `layers` are two matrices between."""

    noise = 0.1  # as dropout does, this needs the random state to be restored

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Parameter(torch.randn(9, 4)), nn.Parameter(torch.randn(9, 4))
        inner = nn.ParameterDict({"w": nn.Parameter(torch.randn(4, 4)), "norm": nn.Parameter(torch.randn(4))})
        self.model = nn.ModuleDict({"layers": nn.ModuleList([inner])})

    def named_trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())

    def new_rows(self) -> dict[str, nn.Parameter]:
        return {}

    def forward(self, input_ids: Tensor, labels: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        learnt, inner = labels != IGNORED, self.model["layers"][0]
        noise = 1 + self.noise * torch.rand(())
        hidden = self.embed[input_ids] @ inner["w"] * inner["norm"] * noise
        return chunked_cross_entropy(hidden[learnt], [self.head], labels[learnt])


def batch_at(step: int) -> Batch:
    ids = torch.randint(0, 9, (4, 7), generator=torch.Generator().manual_seed(step))
    labels = ids[:, 1:].clone()
    labels[0, : step % 5] = IGNORED
    return Batch(ids[:, :-1], labels, torch.arange(6).repeat(4, 1))


def settings(**changes: Any) -> LoopSettings:
    optimizer = OptimizerSettings(changes.pop("optimizer", "adamw"), 0.05, 0.1)
    schedule = Schedule("cosine", changes.pop("steps", STEPS), 2, 0.1)
    return LoopSettings(schedule, optimizer, **{"checkpoint_every": 3, **changes})


class Run:
    """One run of the loop: its learner, its records and what it was told."""

    def __init__(
        self,
        folder: Path | None,
        stop_at: int | None = None,
        batches: Callable[[int], Sequence[Batch]] = lambda step: [batch_at(step)],
        learner: Bigrams | None = None,
        validate: Callable[[], Record] | None = None,
        **changes: object,
    ) -> None:
        self.learner, self.told, self.resumed = learner or Bigrams(), [], []
        self.warnings: list[str] = []

        def batches_at(step: int) -> Sequence[Batch]:
            if step == stop_at:
                raise KeyboardInterrupt
            return batches(step)

        def on_record(record: Record, resumed: bool) -> None:
            self.told.append(record)
            self.resumed += [record["step"]] * resumed

        processes = Processes("cpu")
        checkpoints = None if folder is None else Checkpoints(folder, processes, self.warnings.append)
        loop = Loop(self.learner, [], settings(**changes), MEASURE, processes, checkpoints)
        self.records: list[Record] = []
        with suppress(KeyboardInterrupt):
            self.records = loop.run(batches_at, validate, Watch(on_record))

    def equals(self, other: Run) -> bool:
        pairs = zip(self.learner.parameters(), other.learner.parameters(), strict=True)
        return self.records == other.records == self.told and all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    return Run(None)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop_at", range(STEPS))
def test_stopped_at_any_step_it_ends_as_if_undisturbed(tmp_path: Path, stop_at: int, optimizer: str) -> None:
    Run(tmp_path, stop_at, optimizer=optimizer)
    again = Run(tmp_path, optimizer=optimizer)
    assert again.equals(Run(None, optimizer=optimizer)) and again.warnings == []
    assert again.resumed == list(range(1, 3 * (stop_at // 3) + 1))


def part(folder: Path) -> Path:
    return folder / "rank-0.pt"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04not a checkpoint at all" * 100)


def flip(path: Path) -> None:
    """One bit of a stored parameter."""
    data = bytearray(path.read_bytes())
    place = bytes(data).index(torch.load(path, weights_only=True)["parameters"]["head"].numpy().tobytes())
    data[place + 10] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, half, empty, garbage, flip])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    tmp_path: Path, undisturbed: Run, damage: Callable[[Path], None]
) -> None:
    Run(tmp_path, stop_at=10)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["step-00000006", "step-00000009"], "the last two are kept"
    damage(part(tmp_path / names[1]))
    again = Run(tmp_path)
    assert again.equals(undisturbed) and again.resumed == [1, 2, 3, 4, 5, 6]
    (warning,) = again.warnings
    assert "step-00000009: this checkpoint is damaged and is left out" in warning and "\n" not in warning


def test_without_a_sound_checkpoint_it_starts_anew(tmp_path: Path, undisturbed: Run) -> None:
    Run(tmp_path, stop_at=10)
    for folder in tmp_path.iterdir():
        empty(part(folder))
    again = Run(tmp_path)
    assert again.equals(undisturbed) and again.resumed == [] and len(again.warnings) == 2


def test_a_checkpoint_killed_while_it_was_written_is_ignored(tmp_path: Path, undisturbed: Run) -> None:
    Run(tmp_path, stop_at=7)
    (tmp_path / "step-00000009.partial").mkdir()
    part(tmp_path / "step-00000009.partial").write_bytes(b"half")
    again = Run(tmp_path)
    assert again.equals(undisturbed) and len(again.resumed) == 6 and again.warnings == []


def test_a_checkpoint_gets_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_save(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half_save)
    with pytest.raises(OSError, match="no space left"):
        Run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003.partial"]


def parts(batch: Batch, rows: int) -> list[Batch]:
    count = len(batch.labels)
    return [batch.rows(range(first, min(first + rows, count))) for first in range(0, count, rows)]


class Quiet(Bigrams):
    noise = 0.0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_micro_batches_make_the_same_step(rows: int) -> None:
    """The mean is over all tokens of the step: rows with few labels do not weigh more. float32 sums in
    another order differ by 1e-6."""
    losses = [
        [
            record["loss"]
            for record in Run(None, batches=lambda step, n=n: parts(batch_at(step), n), learner=Quiet()).records
        ]
        for n in (4, rows)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    given = Schedule("cosine", 110, 10, 0.1)
    shares = [given.share(step) for step in range(110)]
    assert shares[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert shares[10] == 1 and shares[60] == pytest.approx(0.55)  # half-way between 1 and 0.1
    assert shares[10:] == sorted(shares[10:], reverse=True) and 0.1 < shares[-1] < 0.101


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [("linear", [1, 0.75, 0.5, 0.25]), ("constant", [1, 1, 1, 1]), ("wsd", [1, 1, 1, 1 - math.sqrt(0.5)])],
)
def test_the_other_shapes_of_the_rate(shape: str, wanted: list[float]) -> None:
    """At 0, 1/4, 1/2 and 3/4 of the way; wsd comes down in the last half of it here."""
    given = Schedule(shape, 110, 10, 0.0, decay_share=0.5)
    assert [given.share(step) for step in (10, 35, 60, 85)] == pytest.approx(wanted)


def test_weight_decay_reaches_only_matrices_inside_the_layers() -> None:
    for optimizer in ("adamw", "muon"):
        made = make_optimizers(Bigrams().named_trainable(), OptimizerSettings(optimizer, 0.1, 0.1))
        groups = [group for o in made for group in o.param_groups]
        decayed = [tuple(p.shape) for g in groups if g["weight_decay"] for p in g["params"]]
        assert decayed == [(4, 4)]
        assert sum(len(g["params"]) for g in groups) == 4


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_batch(tmp_path: Path) -> None:
    learner = Bigrams()
    with torch.no_grad():
        learner.head[0, 0] = float("nan")
    with pytest.raises(StageError, match=r"step 1: the loss is nan.*Look at the model's weights.*kept in") as caught:
        Run(tmp_path, learner=learner)
    (path,) = tmp_path.glob("bad-step-1-*.json")
    assert str(path) in str(caught.value)
    rows = json.loads(path.read_text())
    assert [row["input_ids"] for row in rows] == batch_at(0).input_ids.tolist()
    assert [row["labels"] for row in rows] == batch_at(0).labels.tolist()


def test_a_step_without_a_label_is_an_error() -> None:
    with pytest.raises(DataError, match="step 3: none of its tokens is to be learnt"):
        Run(None, batches=lambda step: [batch_at(step) if step != 2 else batch_at(step).without_labels()])


def test_validation_runs_when_due_and_at_the_end() -> None:
    records = Run(None, validate=lambda: {"valid": 1.0}, validate_every=5).records
    assert [r["step"] for r in records if "valid" in r] == [5, 10, 12]


def test_a_record_counts_characters_and_bytes_of_its_labels() -> None:
    """The toy's token k stands for k characters of three bytes."""
    record = Run(None, steps=1).records[0]
    labels = batch_at(0).labels
    nats = record["loss"] * record["tokens"]
    assert record["tokens"] == int((labels != IGNORED).sum())
    assert record["bits_per_char"] == pytest.approx(nats / math.log(2) / int(labels.sum()))
    assert record["bits_per_byte"] == pytest.approx(record["bits_per_char"] / 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_the_run_continues_from_there(
    tmp_path: Path, undisturbed: Run, number: signal.Signals
) -> None:
    def batches(step: int) -> list[Batch]:
        if step == 7:
            os.kill(os.getpid(), number)
        return [batch_at(step)]

    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        loop_to_the_end(tmp_path, batches)
    assert signal.getsignal(number) == before
    assert (tmp_path / "step-00000008").is_dir(), "the step that ran when it came"
    again = Run(tmp_path)
    assert again.equals(undisturbed) and len(again.resumed) == 8


def loop_to_the_end(folder: Path, batches: Callable[[int], Sequence[Batch]]) -> list[Record]:
    processes = Processes("cpu")
    checkpoints = Checkpoints(folder, processes, print)
    return Loop(Bigrams(), [], settings(), MEASURE, processes, checkpoints).run(batches)


def test_memory_that_runs_out_gives_advice_in_numbers() -> None:
    class Greedy(Bigrams):
        def forward(self, input_ids: Tensor, labels: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            torch.empty(1 << 50)
            raise AssertionError

    with pytest.raises(StageError, match=r"memory ran out with --rows-per-batch 4 of 6 tokens.*--rows-per-batch 2"):
        Run(None, learner=Greedy())


# Retained gets worse step by step; the target is best at step 4, but the gate holds only up to step 3.
RETAINED = [1.00, 1.01, 1.02, 1.04, 1.05, 1.01]
TARGET = [5.0, 4.0, 3.5, 1.0, 2.0, 3.6]


def gated(folder: Path, stops: bool, share: float = 0.03) -> Run:
    """A run of six steps whose validations give the numbers above."""
    numbers = ({"target": t, "retained": r} for t, r in zip(TARGET, RETAINED, strict=True))
    gate = Gate("retained", "target", share, 1.0, stops)
    return Run(folder, steps=6, validate_every=1, validate=lambda: next(numbers), gate=gate)


def state_after(steps: int) -> list[Tensor]:
    """The parameters after the first steps of an undisturbed run of six."""
    learner = Bigrams()
    Run(None, stop_at=steps, learner=learner, steps=6)
    return [p.detach().clone() for p in learner.parameters()]


def test_the_gate_ends_with_the_best_step_that_held(tmp_path: Path) -> None:
    run = gated(tmp_path, stops=False)
    assert [r["gate_held"] for r in run.records] == [True, True, True, False, False, True]
    assert all(torch.equal(a, b) for a, b in zip(run.learner.parameters(), state_after(3), strict=True))


def test_the_gate_can_stop_the_run(tmp_path: Path) -> None:
    run = gated(tmp_path, stops=True)
    assert [r["step"] for r in run.records] == [1, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(run.learner.parameters(), state_after(3), strict=True))


def test_where_no_step_held_the_gate_nothing_is_given(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no validated step held the gate: retained was 1\.000 before, may be 0\.9"):
        gated(tmp_path, stops=False, share=-0.05)


@pytest.mark.parametrize(("text", "wanted"), [("en:+3%", ("en", 0.03)), ("valid-en:0.5%", ("valid-en", 0.005))])
def test_a_gate_is_written_as_set_and_percent(text: str, wanted: tuple[str, float]) -> None:
    name, share = parse_gate(text)
    assert name == wanted[0] and share == pytest.approx(wanted[1])


@pytest.mark.parametrize("text", ["en", "en:3", "en:-3%", ":3%", "en:x%"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not SET:\+PERCENT%"):
        parse_gate(text)


def test_a_checkpoint_of_more_processes_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, stop_at=4)
    path = part(tmp_path / "step-00000003")
    torch.save(torch.load(path, weights_only=True) | {"processes": 2}, path)
    with pytest.raises(ConfigError, match="was made by 2 processes, now there are 1"):
        Run(tmp_path)
    shutil.rmtree(tmp_path / "step-00000003")
