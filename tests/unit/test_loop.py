"""The training loop with a model of two matrices: schedule, micro-batches, checkpoints, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zhllm.errors import StageError
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.loop import LoopSettings, Record, learning_rate_share, make_optimizers, train
from zhllm.train.loss import chunked_cross_entropy

STEPS = 12


class Bigrams:
    """Predicts a token from the one before it; `layers` are two matrices between."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        torch.manual_seed(0)
        names = {"embed": (9, 4), "model.layers.0.w": (4, 4), "model.layers.0.norm": (4,), "head": (9, 4)}
        self.parameters = {name: nn.Parameter(torch.randn(shape)) for name, shape in names.items()}

    def named_trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.parameters)

    def loss_sum(self, batch: Batch) -> tuple[Tensor, int]:
        p, learnt = self.parameters, batch.labels != IGNORED
        noise = 1 + 0.1 * torch.rand(())  # as dropout does, this needs the random state to be restored
        hidden = p["embed"][batch.input_ids] @ p["model.layers.0.w"] * p["model.layers.0.norm"] * noise
        return chunked_cross_entropy(hidden[learnt], [p["head"]], batch.labels[learnt]), int(learnt.sum())


def batch_at(step: int) -> Batch:
    ids = torch.randint(0, 9, (4, 7), generator=torch.Generator().manual_seed(step))
    labels = ids[:, 1:].clone()
    labels[0, : step % 5] = IGNORED
    return Batch(ids[:, :-1], labels, torch.arange(6).repeat(4, 1))


def settings(**changes: object) -> LoopSettings:
    values: dict[str, object] = {
        "steps": STEPS, "learning_rate": 0.05, "warmup_steps": 2, "final_lr_share": 0.1, "weight_decay": 0.1,
        "clip_norm": 1.0, "optimizer": "adamw", "autocast": None, "checkpoint_every": 3, "validate_every": None,
    }  # fmt: skip
    return LoopSettings(**{**values, **changes})  # type: ignore[arg-type]


class Run:
    """One run of the loop: its learner, its records and what it was told."""

    def __init__(
        self,
        folder: Path | None,
        stop_at: int | None = None,
        batches: Callable[[int], Sequence[Batch]] = lambda step: [batch_at(step)],
        **changes: object,
    ) -> None:
        self.learner, self.told, self.resumed = Bigrams(), [], []
        self.warnings: list[str] = []

        def batches_at(step: int) -> Sequence[Batch]:
            if step == stop_at:
                raise KeyboardInterrupt
            return batches(step)

        def on_record(record: Record, resumed: bool) -> None:
            self.told.append(record)
            self.resumed += [record["step"]] * resumed

        self.records: list[Record] = []
        with suppress(KeyboardInterrupt):
            self.records = train(
                self.learner, batches_at, settings(**changes), folder, None, on_record, self.warnings.append
            )

    def equals(self, other: Run) -> bool:
        pairs = zip(self.learner.parameters.values(), other.learner.parameters.values(), strict=True)
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
    assert names == ["step-00000006.pt", "step-00000009.pt"], "the last two are kept"
    damage(tmp_path / names[1])
    again = Run(tmp_path)
    assert again.equals(undisturbed) and again.resumed == [1, 2, 3, 4, 5, 6]
    (warning,) = again.warnings
    assert "step-00000009.pt: this checkpoint is damaged and is left out" in warning and "\n" not in warning


def test_without_a_sound_checkpoint_it_starts_anew(tmp_path: Path, undisturbed: Run) -> None:
    Run(tmp_path, stop_at=10)
    for path in tmp_path.iterdir():
        empty(path)
    again = Run(tmp_path)
    assert again.equals(undisturbed) and again.resumed == [] and len(again.warnings) == 2


def test_a_checkpoint_killed_while_it_was_written_is_ignored(tmp_path: Path, undisturbed: Run) -> None:
    Run(tmp_path, stop_at=7)
    (tmp_path / "step-00000009.pt.partial").write_bytes(b"half")
    again = Run(tmp_path)
    assert again.equals(undisturbed) and len(again.resumed) == 6 and again.warnings == []


def test_a_checkpoint_gets_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_save(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half_save)
    with pytest.raises(OSError, match="no space left"):
        Run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003.pt.partial"]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_micro_batches_make_the_same_step(rows: int) -> None:
    """The mean is over all tokens of the step: rows with few labels do not weigh more. The learner's
    noise is drawn per micro-batch, so it is switched off; float32 sums in another order differ by 1e-6."""

    class Quiet(Bigrams):
        def loss_sum(self, batch: Batch) -> tuple[Tensor, int]:
            torch.manual_seed(0)
            return super().loss_sum(batch)

    losses = []
    for size in (4, rows):
        learner = Quiet()
        records = train(
            learner, lambda step, n=size: batch_at(step).split(n), settings(), None, None, lambda *_: None, print
        )
        losses.append([record["loss"] for record in records])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    given = settings(steps=110, warmup_steps=10, final_lr_share=0.1)
    shares = [learning_rate_share(step, given) for step in range(110)]
    assert shares[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert shares[10] == 1 and shares[60] == pytest.approx(0.55)  # half-way between 1 and 0.1
    assert shares[10:] == sorted(shares[10:], reverse=True) and 0.1 < shares[-1] < 0.101


def test_weight_decay_reaches_only_matrices_inside_the_layers() -> None:
    for optimizer in ("adamw", "muon"):
        made = make_optimizers(Bigrams().named_trainable(), settings(optimizer=optimizer))
        groups = [group for o in made for group in o.param_groups]
        decayed = [tuple(p.shape) for g in groups if g["weight_decay"] for p in g["params"]]
        assert decayed == [(4, 4)]
        assert sum(len(g["params"]) for g in groups) == 4


def test_a_loss_that_is_not_a_number_stops_the_run() -> None:
    learner = Bigrams()
    with torch.no_grad():
        learner.parameters["head"][0, 0] = float("nan")
    with pytest.raises(StageError, match=r"step 1: the loss is nan.*Lower --learning-rate \(0\.05\)"):
        train(learner, lambda step: [batch_at(step)], settings(), None, None, lambda *_: None, print)


def test_validation_runs_when_due_and_at_the_end() -> None:
    records = train(
        Bigrams(), lambda step: [batch_at(step)], settings(validate_every=5), None, lambda: {"valid": 1.0},
        lambda *_: None, print,
    )  # fmt: skip
    assert [r["step"] for r in records if "valid" in r] == [5, 10, 12]
