"""sft on a thousand real Chinese instructions: the loss falls, and from where it did when it was written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import stage

from zhllm import manifest

GENERAL = Path(__file__).parents[2] / "vocab" / "zh_general"
LOSSES = Path(__file__).with_name("alpaca_losses.json")
SETTINGS = {
    "prompt_format": "llama2", "trainable": "embeddings+lora", "lora_rank": 16, "seq_len": 256, "steps": 25,
    "rows_per_step": 16, "learning_rate": 0.01, "max_left_out_share": 0.5, "precision": "fp32", "device": "cpu",
}  # fmt: skip


@pytest.mark.slow
def test_validation_loss_falls_and_the_first_losses_are_those_written_down(tmp_path: Path, real_data: Path) -> None:
    """The real Llama-2 tokenizer with 6,000 general pieces and a fresh toy model. alpaca_losses.json holds the
    settings that made its losses; other processors round differently by some 1e-4."""
    base = real_data / "tokenizers" / "llama2.model"
    tokenizer = stage("extend-vocab", tmp_path / "extended", base=base, pieces=[GENERAL], max_pieces=6000)
    model = stage("init-model", tmp_path / "model", tokenizer=tokenizer, size="toy")
    chats = stage("convert", tmp_path / "chats", source=[real_data / "instruct" / "alpaca_zh_1000.json"])
    out = stage("sft", tmp_path / "tuned", model=model, chats=[chats], **SETTINGS)
    found = manifest.read(out)
    assert found is not None
    assert found.metrics["valid_loss"] < 0.9 * found.metrics["valid_loss_before"]
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()][:10]
    written = json.loads(LOSSES.read_text())
    assert written["settings"] == SETTINGS
    assert losses == pytest.approx(written["losses"], rel=1e-3), losses
