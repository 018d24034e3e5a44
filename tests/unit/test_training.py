"""Training stages as a user starts them: two stages, the gate, trackers, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from toys import Toy, stage

from zhllm import manifest
from zhllm.errors import ConfigError, DataError, MissingError, StageError


def pretrained(toy: Toy, out: Path, **changes: Any) -> Path:
    settings = {
        "model": toy.resized, "data": toy.packed, "lora_rank": 4, "steps": 6, "rows_per_step": 4,
        "learning_rate": 5e-3, "device": "cpu", **changes,
    }  # fmt: skip
    return stage("pretrain", out, **settings)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def metrics(folder: Path) -> dict[str, Any]:
    found = manifest.read(folder)
    assert found is not None
    return found.metrics


@pytest.fixture(scope="module")
def two_stages(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(toy, tmp_path_factory.mktemp("two") / "out", schedule="two-stage", first_stage_share=0.5)


def test_the_first_of_two_stages_is_the_rows_alone(toy: Toy, tmp_path: Path, two_stages: Path) -> None:
    """Its records are those of a run of the rows alone, and the second stage goes on from its rows."""
    alone = pretrained(toy, tmp_path / "alone", steps=3, trainable="new-rows")
    found = records(two_stages)
    assert [r["step"] for r in found] == [1, 2, 3, 4, 5, 6]
    names = [key for key in records(alone)[-1] if "valid" not in key]
    assert [{n: r[n] for n in names} for r in found[:3]] == [{n: r[n] for n in names} for r in records(alone)]
    assert found[3]["loss"] < found[0]["loss"]
    assert {p.name for p in two_stages.iterdir()} >= {"adapter_model.safetensors", "new_rows.safetensors"}


@pytest.mark.parametrize("damaged", [False, True])
def test_stopped_in_the_second_stage_it_goes_on_from_there(
    toy: Toy, tmp_path: Path, two_stages: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Where the first stage's end is damaged, that stage is made again; the bytes are the same."""
    from zhllm.stages import pretrain

    batches_at, settings = pretrain.PackedData.batches_at, {"schedule": "two-stage", "first_stage_share": 0.5}
    begun: list[int] = []

    def until_the_fifth(self: Any, step: int, rank: int, count: int) -> Any:
        begun.append(step)
        if step == 4 and len(begun) == 5:
            raise KeyboardInterrupt
        return batches_at(self, step, rank, count)

    monkeypatch.setattr(pretrain.PackedData, "batches_at", until_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        pretrained(toy, tmp_path / "out", checkpoint_every=1, **settings)
    end = tmp_path / "out.checkpoints" / "phase-1.pt"
    if damaged:
        end.write_bytes(end.read_bytes()[:-100])
    out = pretrained(toy, tmp_path / "out", checkpoint_every=1, **settings)
    assert (f"{end}: is damaged" in capsys.readouterr().err) == damaged
    assert begun[5:] == ([4, 5] if not damaged else [2, 4, 5]), "from the last checkpoint of each stage"
    again, undisturbed = manifest.read(out), manifest.read(two_stages)
    assert again is not None and undisturbed is not None and again.files == undisturbed.files


def test_records_hold_bits_per_character_of_every_source_and_set(two_stages: Path) -> None:
    first, last = records(two_stages)[0], records(two_stages)[-1]
    assert {"loss", "bits_per_char", "bits_per_byte", "grad_norm", "lr_share", "new_rows_norm"} <= first.keys()
    assert {"bits_per_char_corpus", "bits_per_char_replay"} <= {k for r in records(two_stages) for k in r}
    assert {"loss_valid", "bits_per_char_valid", "bits_per_byte_valid", "bits_per_char_valid_replay"} <= last.keys()
    assert metrics(two_stages)["bits_per_char_valid"] < metrics(two_stages)["bits_per_char_valid_before"]


def test_times_stand_in_logs_outside_the_manifest(two_stages: Path) -> None:
    speeds = [json.loads(line) for line in (two_stages / "logs" / "speed.jsonl").read_text().splitlines()]
    assert [s["step"] for s in speeds] == [1, 2, 3, 4, 5, 6] and all(s["tokens_per_s"] > 0 for s in speeds)
    assert all(s["model_tflops_per_s"] > 0 and "mfu" not in s for s in speeds), "no peak is known of a CPU"
    found = manifest.read(two_stages)
    assert found is not None and not any(name.startswith("logs") for name in found.files)


def test_the_report_shows_both_sets_sources_and_settings(two_stages: Path) -> None:
    shown = (two_stages / "report.html").read_text()
    for said in (
        "Training report: pretrain",
        "Held-out text",
        "bits per character valid replay",
        "two-stage",
        "corpus",
    ):
        assert said in shown
    assert "tokens/s" not in shown, "equal runs write equal bytes"


@pytest.mark.parametrize("action", ["best", "stop"])
def test_the_gate_ends_with_the_best_step_that_held_it(toy: Toy, tmp_path: Path, action: str) -> None:
    """The replayed set gets better here at first, so that a gate of 0 % holds; what is saved is the best step."""
    gated = pretrained(
        toy, tmp_path / "out", trainable="all", steps=12, learning_rate=0.03, validate_every=1, gate="replay:+0%",
        gate_action=action,
    )  # fmt: skip
    found, limit = records(gated), metrics(gated)["bits_per_char_valid_replay_before"]
    assert all(r["gate_held"] == (r["bits_per_char_valid_replay"] <= limit) for r in found)
    held = [r for r in found if r["gate_held"]]
    best = min(held, key=lambda r: r["bits_per_char_valid"])
    assert metrics(gated)["best_step"] == best["step"]
    assert metrics(gated)["bits_per_char_valid"] == best["bits_per_char_valid"]
    again = pretrained(toy, tmp_path / "again", trainable="all", steps=12, learning_rate=0.03, validate_every=1)
    assert found == [r | {"gate_held": g["gate_held"]} for r, g in zip(records(again), found, strict=False)]
    if action == "stop":
        assert [r["gate_held"] for r in found] == [True] * (len(found) - 1) + [found[-1]["gate_held"]]


def test_a_gate_that_never_held_says_what_was_measured(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no validated step held the gate: bits_per_char_valid_replay was \d"):
        pretrained(
            toy, tmp_path / "out", trainable="all", learning_rate=2.0, warmup_share=0, validate_every=3, steps=3,
            gate="replay:+1%",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def tuned(toy: Toy, out: Path, **changes: Any) -> Path:
    settings = {
        "model": toy.resized, "chats": [toy.chats], "seq_len": 64, "lora_rank": 4, "steps": 6, "rows_per_step": 2,
        "learning_rate": 5e-3, "valid_share": 0.2, "device": "cpu", **changes,
    }  # fmt: skip
    return stage("sft", out, **settings)


def test_sft_is_measured_by_source_and_can_be_gated_by_retained_text(toy: Toy, tmp_path: Path) -> None:
    lines = (toy.chats / "chats-00000.jsonl").read_text().replace('"toy"', '"other"').replace('"id": "c', '"id": "d')
    (tmp_path / "chats-00001.jsonl").write_text(lines)
    out = tuned(
        toy, tmp_path / "out", chats=[toy.chats, tmp_path / "chats-00001.jsonl"], retained=toy.packed,
        validate_every=2, gate="replay:+50%",
    )  # fmt: skip
    names = {name for record in records(out) for name in record}
    assert {"bits_per_char_toy", "bits_per_char_other", "bits_per_char_retained_valid_replay", "gate_held"} <= names
    found = metrics(out)
    assert found["valid_loss"] < found["valid_loss_before"] and found["best_step"] in (2, 4, 6)
    assert found["bits_per_char_retained_valid_before"] != found["bits_per_char_retained_valid"]


@pytest.mark.parametrize("name", ["valid", "replay"])
def test_chats_of_one_source_are_gated_by_retained_text_of_several(toy: Toy, tmp_path: Path, name: str) -> None:
    """`valid` is the retained set of that name too, not the chats' own, which is the target."""
    out = tuned(toy, tmp_path / "out", retained=toy.packed, validate_every=3, gate=f"{name}:+500%", steps=3)
    limit = metrics(out)["bits_per_char_retained_valid" + "_replay" * (name == "replay")]
    assert records(out)[-1]["gate_held"] and limit > 0
    with pytest.raises(ConfigError, match="There are: retained_valid, retained_valid_replay"):
        tuned(toy, tmp_path / "no", retained=toy.packed, validate_every=3, gate="nope:+5%", steps=3)


def test_a_model_that_is_not_sound_is_told_before_training(toy: Toy, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import save_file

    shutil.copytree(toy.resized, tmp_path / "model", ignore=shutil.ignore_patterns("manifest.json"))
    tensors = load_file(toy.resized / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"model: gives loss_valid nan before any training"):
        pretrained(toy, tmp_path / "out", model=tmp_path / "model")


def test_what_is_saved_can_be_read_by_others(toy: Toy, two_stages: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in two_stages.iterdir() if path.is_file()}
    assert len(modes) == 1


def test_a_full_disk_at_a_checkpoint_is_one_line(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from zhllm.train import checkpoints

    def full(state: object, path: Path) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2068672 vs 2068564")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        pretrained(toy, tmp_path / "out", checkpoint_every=2)
    monkeypatch.setattr(checkpoints, "SMALL_BYTES", 1 << 60)
    with pytest.raises(StageError, match="the disk is full"):
        pretrained(toy, tmp_path / "out", checkpoint_every=2)


def test_retained_text_of_another_tokenizer_is_refused(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was packed with another tokenizer"):
        tuned(toy, tmp_path / "out", model=toy.base, retained=toy.packed, trainable="lora")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"gate": "french:+3%", "validate_every": 2},
            r"must be a validation set beside the target.*There are: valid_replay",
        ),
        ({"gate": "valid:+3%", "validate_every": 2}, "must be a validation set beside the target"),
        ({"gate": "3%", "validate_every": 2}, r"is not SET:\+PERCENT%"),
        ({"gate": "replay:+3%"}, "--gate needs --validate-every"),
        ({"schedule": "two-stage", "trainable": "lora"}, "needs rows and LoRA to train, not --trainable lora"),
        ({"schedule": "two-stage", "steps": 1}, "1 steps are too few for two stages"),
    ],
)
def test_settings_that_do_not_fit_are_refused(toy: Toy, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=said):
        pretrained(toy, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", [{"precision": "fp16"}, {"optimizer": "paged-adamw-8bit"}, {"device": "cuda"}])
def test_what_needs_a_gpu_says_so(toy: Toy, tmp_path: Path, settings: dict[str, Any]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingError, match="CUDA device"):
        pretrained(toy, tmp_path / "out", **settings)


def test_tensorboard_gets_the_numbers(toy: Toy, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = pretrained(toy, tmp_path / "out", track=("tensorboard",), steps=3)
    folders = {path.parent for path in (out / "logs").rglob("*tfevents*")}
    seen = EventAccumulator(str(min(folders, key=lambda folder: len(folder.parts)))).Reload()
    assert [s.value for s in seen.Scalars("loss")] == pytest.approx([r["loss"] for r in records(out)], rel=1e-6)


def test_a_tracker_that_is_not_installed_is_named(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="--track swanlab: is not installed. Run pip install swanlab"):
        pretrained(toy, tmp_path / "out", track=("swanlab",))


def test_gradient_checkpointing_changes_no_number(toy: Toy, tmp_path: Path) -> None:
    runs = [pretrained(toy, tmp_path / str(on), gradient_checkpointing=on, steps=2) for on in (False, True)]
    assert records(runs[0]) == records(runs[1])
    one, two = (load_file(run / "adapter_model.safetensors") for run in runs)
    assert all((one[k] == two[k]).all() for k in one)
