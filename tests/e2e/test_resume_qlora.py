"""NF4, starts taken from the base, noise and 8-bit moments continue to the same bytes too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_resume import command, kill_at
from toys import Toy, stage

from zhllm import manifest

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "two stages, LoftQ, 8-bit moments": (
        "pretrain",
        {"trainable": "new-rows+qlora", "schedule": "two-stage", "lora_init": "loftq", "optimizer": "adamw-8bit"},
    ),
    "PiSSA, noise, dropout": (
        "sft",
        {"trainable": "new-rows+qlora", "lora_init": "pissa-fast", "neftune": 5.0, "lora_dropout": 0.1, "lora_plus": 4},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("run", "step"), zip(RUNS, (27, 9), strict=True))
def test_killed_and_run_again_it_writes_the_same_bytes(toy: Toy, tmp_path: Path, run: str, step: int) -> None:
    name, changes = RUNS[run]
    data = {"data": toy.packed} if name == "pretrain" else {"chats": [toy.chats], "seq_len": 64}
    settings = {
        "model": toy.resized, "lora_rank": 4, "steps": 40, "rows_per_step": 4, "rows_per_batch": 2,
        "checkpoint_every": 3, "validate_every": 10, **data, **changes,
    }  # fmt: skip
    undisturbed = manifest.read(stage(name, tmp_path / "undisturbed", **settings))
    kill_at(step, command(name, tmp_path / "killed", settings), tmp_path / "killed")
    again = manifest.read(stage(name, tmp_path / "killed", **settings))
    assert undisturbed is not None and again is not None
    assert again.files == undisturbed.files
    assert {"metrics.jsonl", "adapter_model.safetensors", "new_rows.safetensors", "quantization.json"} <= set(
        again.files
    )
    losses = [json.loads(line)["loss"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 40 and losses[-1] < losses[0]
