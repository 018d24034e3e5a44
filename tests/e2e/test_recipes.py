"""The recipes for GPUs from end to end on a CPU: toys stand in for the bases, with few training steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from toys import CHATML_SPECIALS, Toy, byte_level_tokenizer, random_model

from zhllm.infer import llamacpp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed"),
]

SMALLER = {
    "pack.seq_len": 64, "pretrain.steps": 6, "pretrain.rows_per_step": 4, "pretrain.rows_per_batch": 2,
    "pretrain.validate_every": 2, "pretrain.lora_rank": 4, "pretrain.device": "cpu", "sft.lora_rank": 4,
    "sft.device": "cpu", "sft.seq_len": 256, "sft.steps": 3, "sft.rows_per_step": 4, "sft.rows_per_batch": 2,
    "sft.max_left_out_share": 1,
}  # fmt: skip
VOCABULARY = {"train-vocab.size": 60, "train-vocab.min_count": 2, "train-vocab.characters": 40}
WHOLE_BLOCKS = {"intermediate_size": 128}  # of NF4, 64 values


def base_of(toy: Toy, folder: Path, name: str) -> Path:
    if name == "llama2-7b":
        return toy.base
    if name == "llama3-8b":
        return random_model(folder / "base", byte_level_tokenizer(folder / "tokenizer"), **WHOLE_BLOCKS)
    tokenizer = byte_level_tokenizer(folder / "tokenizer", CHATML_SPECIALS)
    return random_model(folder / "base", tokenizer, model_type="qwen3", head_dim=32, **WHOLE_BLOCKS)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("llama2-7b", "recipe.yaml"),
        ("llama2-7b", "production.yaml"),
        ("llama3-8b", "recipe.yaml"),
        ("qwen3-8b", "recipe.yaml"),
    ],
)
def test_the_recipe_runs_to_its_summary(toy: Toy, tmp_path: Path, name: str, variant: str) -> None:
    """Production in two processes, sharded, as its launch says, with its gate; lab with the base in four bits."""
    settings = {
        **SMALLER, "base": base_of(toy, tmp_path, name), "documents": toy.root / "zh.jsonl",
        "replay": toy.root / "en.jsonl", "instructions": ROOT / "corpora/instructions",
    }  # fmt: skip
    settings |= VOCABULARY if name == "llama2-7b" else {}
    if variant == "production.yaml":
        content = yaml.safe_load((ROOT / "recipes/accelerate/fsdp2.yaml").read_text())
        (tmp_path / "two.yaml").write_text(yaml.safe_dump({**content, "num_processes": 2}))
        settings |= {"launch": tmp_path / "two.yaml", "pretrain.gate": "replay:+50%"}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "zhllm", "run", f"recipes/{name}/{variant}", "-o", str(tmp_path / "run"), *flags],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["bpc_zh_after"] < summary["bpc_zh_before"]
    assert all(Path(path).exists() for path in summary["paths"].values()) and len(summary["paths"]) == 3
    assert (tmp_path / "run/pretrain/quantization.json").exists() == (variant == "recipe.yaml")
