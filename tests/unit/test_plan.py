"""`plan`: the issue's 7B in numbers, what fits, the recommended command, and mistakes in one line."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_cli import run
from test_cost import EXTENDED_7B
from toys import Toy, run_apart

from zhllm.flags import config_from_flags, stage_command
from zhllm.stage import load
from zhllm.train.plan.cost import Training, gpus
from zhllm.train.plan.machine import bytes_of
from zhllm.train.plan.memory import Setting, memory_of
from zhllm.train.plan.options import Option, options_of, recommend, row_counts, variants

GIB = 2**30
LLAMA2_7B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
LLAMA2_7B |= {"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000}
LLAMA2_7B |= {"max_position_embeddings": 4096}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder with nothing but Llama-2-7B's config.json."""
    folder = tmp_path / "llama2-7b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA2_7B))
    return folder


def plan(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, err = run(["plan", *map(str, words), "--json"], capsys)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


# --- The numbers ---


def test_an_extended_7b_beside_modules_to_save(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line that issue 5 asks for: 32,000 -> 48,617 rows of 4,096, embedding and head."""
    found = plan(capsys, "--model", llama / "config.json", "--vocab-size", 48617, "--trainable", "new-rows")
    assert found["model"]["trainable_parameters"] == 2 * 16_617 * 4096 == 136_126_464
    rows, saved = found["new_rows"]["new-rows"], found["new_rows"]["modules_to_save"]
    assert rows == {
        "trainable_parameters": 136_126_464,
        "weights_bytes": 544_505_856,
        "gradients_bytes": 544_505_856,
        "optimizer_bytes": 1_089_011_712,
        "total_bytes": 2_178_023_424,
    }
    assert saved["trainable_parameters"] == 2 * 48_617 * 4096 == 398_270_464
    assert (saved["optimizer_bytes"], saved["total_bytes"]) == (3_186_163_712, 6_372_327_424)
    half = found["new_rows"]["modules_to_save_bf16"]
    assert (half["optimizer_bytes"], half["total_bytes"]) == (1_593_081_856, 3_186_163_712)
    _, out, _ = run(["plan", "--model", str(llama), "--vocab-size", "48617"], capsys)
    assert "16,617 beside 32,000" in out and "136,126,464" in out and "398,270,464" in out and "1.01 GiB" in out


def test_steps_and_tokens_are_those_of_the_stage(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ("--model", llama, "--trainable", "lora", "--seq-len", 1000, "--rows-per-step", 8)
    data = plan(capsys, *base, "--tokens", 1_000_001)["data"]
    assert (data["rows"], data["steps"], data["trained_tokens"]) == (1000, 125, 1_000_000)
    data = plan(capsys, *base, "--tokens", 1_000_002, "--epochs", 1.5)["data"]
    assert (data["rows"], data["steps"]) == (1001, 188)
    assert plan(capsys, *base, "--steps", 7)["data"]["trained_tokens"] == 56_000
    assert plan(capsys, *base)["data"]["steps"] is None


def test_packed_data_and_the_toy_model_are_read(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    info = json.loads((toy.packed / "pack.json").read_text())
    found = plan(capsys, "--model", toy.resized, "--data", toy.packed)
    assert found["data"]["tokens"] == info["sets"]["train"]["tokens"] and found["data"]["seq_len"] == 32
    base = json.loads((toy.resized / "extension.json").read_text())["base_vocab_size"]
    assert found["new_rows"]["base_rows"] == base == found["model"]["base_vocab_size"]
    manifest = json.loads((toy.base / "manifest.json").read_text())
    assert (
        plan(capsys, "--model", toy.base, "--trainable", "all")["model"]["parameters"]
        == (manifest["metrics"]["parameters"])
    )


def test_characters_of_a_corpus(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", toy.resized, "--corpus", toy.zh, "--chars-per-token", 2, "--seq-len", 32)
    manifest = json.loads((toy.packed / "manifest.json").read_text())
    chars = json.loads((toy.packed / "pack.json").read_text())["sets"]["train"]
    found = plan(capsys, *words)["data"]
    assert 0 < found["tokens"] * 2 <= chars["chars"] + 2 and manifest["key"]["stage"] == "pack"


def test_hours_are_flops_over_peak_and_utilisation(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", llama, "--trainable", "lora", "--tokens", 10**9, "--gpu", "A100", "--gpus", 8)
    found = plan(capsys, *words, "--utilisation", 0.5)
    assert found["time"]["hours"] == pytest.approx(found["flops"]["run"] / (8 * 312e12 * 0.5) / 3600)
    assert found["time"]["utilisation"] == 0.5 and found["device"]["gpu"] == "A100 80GB"
    assert plan(capsys, *words[:-4])["time"]["hours"] is None
    _, out, _ = run(["plan", *map(str, words)], capsys)
    assert "at an assumed 35% of its peak" in out and "8 x A100 80GB" in out


# --- What fits ---


def test_what_is_recommended_fits_and_can_be_typed(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", llama, "--vocab-size", 48617)
    for memory in ("24GB", "40GB", "80GB"):
        found = plan(capsys, *words, "--memory", memory)
        chosen = found["recommended"]
        assert chosen["fits"] and chosen["needed_bytes"] <= int(memory[:2]) * GIB
        assert chosen["trainable"] == "new-rows+lora"
        args = shlex.split(chosen["command"])
        assert args[:2] == ["zhllm", "pretrain"]
        values = stage_command("pretrain", "").make_context("pretrain", args[2:]).params
        config = config_from_flags(
            load("pretrain").config, {k: v for k, v in values.items() if k not in ("out", "json")}
        )
        assert config.rows_per_batch == chosen["rows_per_batch"]  # type: ignore[attr-defined]
        assert config.gradient_checkpointing == chosen["gradient_checkpointing"]  # type: ignore[attr-defined]
    assert not plan(capsys, *words, "--memory", "80GB")["recommended"]["gradient_checkpointing"]
    assert plan(capsys, *words, "--memory", "2GB")["recommended"] is None
    _, out, _ = run(["plan", *map(str, words), "--memory", "2GB"], capsys)
    assert "nothing that keeps to --trainable new-rows+lora fits" in out


def test_the_asked_setting_is_kept_where_it_fits(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", llama, "--trainable", "lora", "--rows-per-batch", 1, "--gradient-checkpointing")
    found = plan(capsys, *words, "--memory", "80GB")
    assert found["memory"]["fits"] and found["recommended"]["rows_per_batch"] == 1
    assert found["recommended"]["gradient_checkpointing"] is True
    free = plan(capsys, *words)
    assert free["memory"]["fits"] is None and free["recommended"]["fits"] is None
    assert free["recommended"]["rows_per_batch"] == 1, "as asked where no limit is known"


def test_everything_on_eight_gpus_is_sharded(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", llama, "--trainable", "all", "--gpu", "A100", "--gpus", 8)
    chosen = plan(capsys, *words)["recommended"]
    assert chosen["sharded"] and chosen["fits"] and "--num_processes 8" in chosen["command"]
    assert plan(capsys, *words[:-2])["recommended"]["trainable"] == "lora"


def test_the_table_has_every_combination_once(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--model", llama, "--trainable", "lora", "--gpus", 2, "--memory", "24GB")
    names = ("trainable", "precision", "gradient_checkpointing", "sharded", "rows_per_batch")
    keys = [tuple(row[name] for name in names) for row in found["options"]]
    assert len(set(keys)) == len(keys) and {key[4] for key in keys} == {1, 2, 4, 8}
    assert not any("new-rows" in key[0] for key in keys) and {key[1] for key in keys} == {"bf16", "fp32"}
    assert all(row["fits"] == (row["needed_bytes"] <= 24 * GIB) for row in found["options"])


def test_rows_divide_a_devices_share_of_a_step() -> None:
    assert (
        row_counts(16, 1) == [1, 2, 4, 8, 16] and row_counts(24, 2) == [1, 2, 3, 4, 6, 12] and row_counts(8, 8) == [1]
    )


def test_four_bits_are_the_way_out_where_a_stage_can_train_them() -> None:
    asked = Setting(Training("new-rows+lora"), 16, 2048)
    settings = variants(asked, ("lora", "new-rows+lora", "new-rows+qlora", "qlora"), ("bf16",), 16)
    options = options_of(EXTENDED_7B, settings)
    chosen = recommend(options, Option(asked, memory_of(EXTENDED_7B, asked)), 14 * GIB, False)
    assert chosen is not None and chosen.setting.training.trainable == "new-rows+qlora" and chosen.fits(14 * GIB)
    eight = dataclasses.replace(asked, gpus=8)
    assert not any(s.sharded for s in variants(eight, ("new-rows+qlora",), ("bf16",), 16))


# --- Devices ---


def test_a_gpu_without_bf16_computes_in_float32(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", llama, "--trainable", "lora", "--gpu", "T4")
    assert plan(capsys, *words)["setting"]["precision"] == "fp32"
    assert plan(capsys, *words)["device"]["limit_bytes"] == gpus()["T4"].memory_bytes == 15 * GIB
    assert run(["plan", *map(str, words), "--precision", "bf16"], capsys)[0] == 2


def test_the_cpus_limit_is_this_machines_memory(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--model", llama, "--trainable", "lora", "--device", "cpu")
    assert found["memory"]["parts"]["reserve"] == 0 and found["setting"]["device"] == "cpu"
    if Path("/proc/meminfo").exists():
        assert found["memory"]["limit_bytes"] > 0


@pytest.mark.parametrize(
    "text, size",
    [("24GB", 24 * GIB), ("24 GiB", 24 * GIB), ("1.5g", 3 * GIB // 2), ("512M", 2**29), ("24", None), ("24 TX", None)],
)
def test_units_of_memory(text: str, size: int | None) -> None:
    assert bytes_of(text) == size


# --- Mistakes ---


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--gpu", "RTX 4091"], 2, 'not in the table. Did you mean "RTX 4090"?'),
        (["--memory", "24"], 2, "give a number with a unit, such as 24GB"),
        (["--memory", "lots"], 2, "give a number with a unit, such as 24GB"),
        (["--trainable", "new-rows"], 2, "has no new rows (no extension.json beside its config)"),
        (["--vocab-size", "100"], 2, "the model has 32000 rows before its extension already"),
        (["--tokens", "100", "--corpus", "x", "--chars-per-token", "1"], 2, "--tokens and --corpus: give one of them"),
        (["--corpus", "nowhere"], 2, "--corpus and --chars-per-token go together"),
        (["--corpus", "nowhere", "--chars-per-token", "1.6"], 2, "--corpus nowhere: there is no such file or folder"),
        (["--seq-len", "8192"], 2, "reads 4096 at most"),
        (["--rows-per-step", "10", "--gpus", "4"], 2, "cannot be dealt to 4 GPUs equally"),
        (["--device", "cpu", "--gpu", "A100"], 2, "--device cpu does not go with --gpu"),
        (["--lora-targets", "q_prj"], 2, '"q_prj" is not known here. Did you mean "q_proj"?'),
        (["--data", "nowhere"], 3, "has no pack.json"),
        (["--calibrate"], 2, "--calibrate trains real steps: give --data"),
        (["--trainable", "lorra"], 2, "lorra"),
    ],
)
def test_a_mistake_is_one_clear_line(
    words: list[str], code: int, message: str, llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [] if "--trainable" in words else ["--trainable", "lora"]
    found, out, err = run(["plan", "--model", str(llama), *given, *words], capsys)
    assert (found, out) == (code, "") and message in err
    assert len(err.strip().splitlines()) == 1 or err.startswith("Usage:")


@pytest.mark.parametrize(
    "content, code, message",
    [
        (None, 3, "is not a model directory"),
        ("{", 3, "is not a model directory"),
        ("{}", 3, "has no hidden_size and vocab_size"),
        (json.dumps(LLAMA2_7B | {"model_type": "mixtral"}), 3, 'model_type "mixtral" is not one whose cost is known'),
        (json.dumps(LLAMA2_7B | {"num_hidden_layers": "32"}), 3, "num_hidden_layers must be whole numbers above 0"),
    ],
)
def test_a_folder_that_is_no_model(
    content: str | None, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    found, _, err = run(["plan", "--model", str(tmp_path)], capsys)
    assert found == code and message in err and len(err.strip().splitlines()) == 1
    assert run(["plan", "--model", str(tmp_path / "nowhere")], capsys)[0] == 2


def test_data_packed_for_a_larger_vocabulary(
    llama: Path, toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "config.json").write_text(json.dumps(LLAMA2_7B | {"vocab_size": 10}))
    code, _, err = run(["plan", "--model", str(small), "--trainable", "lora", "--data", str(toy.packed)], capsys)
    assert code == 3 and "but the model has 10 rows" in err
    words = ["plan", "--model", str(toy.resized), "--data", str(toy.packed), "--seq-len", "64"]
    code, _, err = run(words, capsys)
    assert code == 2 and "was packed in rows of 32 tokens" in err


def test_a_calibration_that_fails_says_why(
    llama: Path, toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zhllm.train.plan import calibration

    failed = (3, "some progress\nerror: m: has no weights.\n", None)
    monkeypatch.setattr(calibration, "_run", lambda command: failed)
    words = ["plan", "--model", str(toy.resized), "--data", str(toy.packed), "--calibrate"]
    code, _, err = run(words, capsys)
    assert code == 3 and err.splitlines()[-1] == "error: the calibration did not get through: m: has no weights."


# --- The program ---


def test_a_plan_needs_no_torch_and_little_time(llama: Path) -> None:
    done, seconds, modules = run_apart(["plan", "--model", str(llama), "--trainable", "lora", "--tokens", "1000000"])
    assert done.returncode == 0 and "GFLOPs a token" in done.stdout, done.stderr
    assert not modules & {"torch", "transformers", "peft"} and seconds < 20


@pytest.mark.slow
def test_calibration_takes_real_steps(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """Hours from 20 steps against the rate that a longer run of the same setting reports."""
    words = ["--model", toy.resized, "--data", toy.packed, "--lora-rank", 4, "--epochs", 4, "--device", "cpu"]
    found = plan(capsys, *words, "--calibrate")
    time = found["time"]
    assert time["from"] == "calibration" and time["steps"] == 17 and time["host_bytes"] > 100 * 2**20
    assert time["hours"] == pytest.approx(found["data"]["steps"] * time["seconds_per_step"] / 3600)
    assert time["fastest_s"] <= time["seconds_per_step"] <= time["slowest_s"]
    code, _, err = run(["plan", *map(str, words), "--trainable", "lora", "--vocab-size", "9999", "--calibrate"], capsys)
    assert code == 2 and "leave out --vocab-size" in err
