"""Merged adapters of every kind peft writes, on several architectures, against peft itself; tied ends; torch's .bin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import untrained
from safetensors.torch import load_file, save_file
from test_merge import in_float64
from toys import Toy, random_model, stage
from transformers import AutoModelForCausalLM

from zhllm import manifest
from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import Checkpoint

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "modules_to_save": ({}, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
    "a norm to save": ({}, {"target_modules": ["v_proj"], "modules_to_save": ["model.norm", "input_layernorm"]}),
    "a linear layer to save": ({}, {"target_modules": ["q_proj"], "modules_to_save": ["down_proj"]}),
    "a linear layer to save that has LoRA elsewhere": (
        {}, {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["layers.1.mlp.down_proj"]}
    ),
    "DoRA besides one to save": ({}, {"use_dora": True, "modules_to_save": ["down_proj"]}),
    "DoRA of some": ({}, {"use_dora": True, "exclude_modules": r".*\.[qk]_proj"}),
    "trained tokens": ({}, {"target_modules": ["q_proj"], "trainable_token_indices": [3, 9, 17, 420]}),
    "trained tokens of two": (
        {}, {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 9], "lm_head": [5, 17, 300]}}
    ),
    "LoRA of the embedding": ({}, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    "rsLoRA of the embedding": ({}, {"target_modules": ["embed_tokens"], "use_rslora": True}),
    "all linear": ({}, {"target_modules": "all-linear"}),
    "biases": ({"model_type": "qwen2"}, {"bias": "all"}),
    "biases of LoRA's layers": ({"model_type": "qwen2"}, {"target_modules": ["q_proj", "v_proj"], "bias": "lora_only"}),
    "lora_bias": ({"model_type": "qwen2"}, {"target_modules": ["q_proj", "k_proj"], "lora_bias": True}),
    "DoRA over biases": ({"model_type": "qwen2"}, {"use_dora": True}),
    "Qwen3": ({"model_type": "qwen3", "head_dim": 16}, {}),
    "Mistral": ({"model_type": "mistral"}, {"use_dora": True, "use_rslora": True}),
    "Llama with biases": ({"attention_bias": True}, {"bias": "all"}),
    "tied": ({"tie_word_embeddings": True}, {}),
    "tied, trained tokens": (
        {"tie_word_embeddings": True}, {"target_modules": ["q_proj"], "trainable_token_indices": [3, 9, 420]}
    ),
    "tied, LoRA of the embedding": ({"tie_word_embeddings": True}, {"target_modules": ["q_proj", "embed_tokens"]}),
    "tied, LoRA of the head": ({"tie_word_embeddings": True}, {"target_modules": ["q_proj", "lm_head"]}),
    "tied, the embedding to save": (
        {"tie_word_embeddings": True}, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    ),
    "tied, both to save": (
        {"tie_word_embeddings": True}, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
    ),
}  # fmt: skip
OF_PEFT = (
    "DoRA besides one to save", "DoRA of some", "LoRA of the embedding", "rsLoRA of the embedding", "lora_bias",
    "DoRA over biases", "Mistral", "tied, LoRA of the embedding",
)  # fmt: skip
UNTIED = ("tied, LoRA of the embedding", "tied, LoRA of the head", "tied, the embedding to save", "tied, both to save")


def adapter(folder: Path, model: Path, seed: int = 0, **settings: Any) -> Path:
    """An adapter as peft saves it; everything in it that learns is far from its start."""
    adapted = untrained(model, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if value.requires_grad:
                fresh = torch.randn(value.shape, generator=generator)
                value.copy_(value * (1 + 0.2 * fresh) if "magnitude" in name else value + 0.1 * fresh)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_is_merged_as_peft_computes_it(toy: Toy, tmp_path: Path, kind: str) -> None:
    shape, settings = KINDS[kind]
    model = random_model(tmp_path / "model", toy.extended, **shape)
    path = adapter(tmp_path / "a", model, **settings)
    out = stage("merge", tmp_path / "out", model=model, adapter=[path])
    wanted, found, base = in_float64(model, [path]), in_float64(out, []), in_float64(model, [])
    assert max(float((a - b).abs().max()) for a, b in zip(wanted, base, strict=True)) > 0.1, "the adapter does nothing"
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-5)
    report = json.loads((out / "merge_report.json").read_text())
    assert report["adapter_tensors_used"] == len(load_file(path / "adapter_model.safetensors"))
    assert report["untied"] is (kind in UNTIED)
    assert report["logits_computed_by"] == ("transformers and peft" if kind in OF_PEFT else "zhllm")
    assert (HEAD in Checkpoint(out).specs) is (not kind.startswith("tied") or kind in UNTIED)
    assert json.loads((out / "config.json").read_text()).get("tie_word_embeddings", False) is (
        kind.startswith("tied") and kind not in UNTIED
    )


def as_bin(path: Path, parts: int = 1) -> None:
    """A folder's safetensors as torch.save writes them, one of them transposed in memory, two of one storage."""
    name = "adapter_model" if (path / "adapter_model.safetensors").is_file() else "pytorch_model"
    source = path / ("adapter_model.safetensors" if name == "adapter_model" else "model.safetensors")
    tensors = load_file(source)
    for key in list(tensors)[:3]:
        tensors[key] = tensors[key].T.contiguous().T  # other strides, equal values
    names = list(tensors)
    shared = torch.cat([tensors[key].flatten() for key in names[-2:]])
    for key, part in zip(names[-2:], shared.split([tensors[key].numel() for key in names[-2:]]), strict=True):
        tensors[key] = part.view(tensors[key].shape)
    source.unlink()
    if parts == 1:
        torch.save(tensors, path / f"{name}.bin")
        return
    weight_map = {key: f"{name}-{1 + n % parts:05d}-of-{parts:05d}.bin" for n, key in enumerate(names)}
    for file in set(weight_map.values()):
        torch.save({key: tensors[key] for key in names if weight_map[key] == file}, path / file)
    (path / f"{name}.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("parts", [1, 3])
def test_bin_files_merge_to_the_same_bytes(toy: Toy, tmp_path: Path, dtype: str, parts: int) -> None:
    model = random_model(tmp_path / "model", toy.extended, dtype=dtype)
    path = adapter(tmp_path / "a", model)
    wanted = load_file(stage("merge", tmp_path / "wanted", model=model, adapter=[path]) / "model.safetensors")
    as_bin(model, parts)
    as_bin(path)
    found = load_file(stage("merge", tmp_path / "found", model=model, adapter=[path]) / "model.safetensors")
    assert list(found) == list(wanted) and all(torch.equal(found[n], wanted[n]) for n in wanted)


def test_a_bin_that_would_run_code_is_refused(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    path = adapter(tmp_path / "a", model)
    (path / "adapter_model.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"base_model.model.x": Evil()}, path / "adapter_model.bin")
    with pytest.raises(
        DataError, match=r"adapter_model.bin: is not a table of tensors .*it asks for __builtin__.getattr"
    ):
        stage("merge", tmp_path / "out", model=model, adapter=[path])
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stored", "dtype"), [("bfloat16", "float32"), ("float32", "bfloat16"), ("float32", "float16")]
)
def test_another_dtype_is_one_rounding_of_the_float32_merge(toy: Toy, tmp_path: Path, stored: str, dtype: str) -> None:
    model = random_model(tmp_path / "model", toy.extended, dtype=stored)
    path = adapter(tmp_path / "a", model)
    exact = load_file(
        stage("merge", tmp_path / "f32", model=model, adapter=[path], dtype="float32") / "model.safetensors"
    )
    out = stage("merge", tmp_path / "out", model=model, adapter=[path], dtype=dtype)
    kind = getattr(torch, dtype)
    found = load_file(out / "model.safetensors")
    assert all(torch.equal(found[name], exact[name].to(kind)) for name in exact) and len(found) == len(exact)
    assert AutoModelForCausalLM.from_pretrained(out, dtype="auto").dtype == kind


def test_bytes_do_not_depend_on_workers_and_shards_hold_all(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended, dtype="bfloat16")
    paths = [adapter(tmp_path / f"a{n}", model, n) for n in range(2)]
    one = stage("merge", tmp_path / "one", model=model, adapter=paths, workers=1)
    many = stage("merge", tmp_path / "many", model=model, adapter=paths, workers=5)
    assert (one / "model.safetensors").read_bytes() == (many / "model.safetensors").read_bytes()
    cut = stage("merge", tmp_path / "cut", model=model, adapter=paths, max_shard_size="80KB")
    shards = sorted(cut.glob("model-*.safetensors"))
    assert len(shards) > 2 and max(p.stat().st_size for p in shards) < 82_000
    made = manifest.read(cut)
    assert made is not None
    for path in shards:  # hashed while they were written
        assert made.files[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    whole, parts = Checkpoint(one), Checkpoint(cut)
    assert whole.specs == parts.specs and all(np.array_equal(whole.raw(n), parts.raw(n)) for n in whole.specs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_proof_of_changed_values_fails(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Two roundings instead of one are seen in the sampled rows, though no logit tells."""
    from zhllm.errors import ProofError
    from zhllm.model import merge_blocks

    model = random_model(tmp_path / "model", toy.extended, dtype=dtype)
    path = adapter(tmp_path / "a", model)
    apply = merge_blocks.Change.apply

    def twice(self: Any, weight: torch.Tensor, first: int) -> torch.Tensor:
        gain = apply(self, torch.zeros_like(weight), first)
        if dtype == "float32":
            return weight + gain * (1 + 1.2e-5)  # moves logits by less than the limit of float32
        return weight + gain.bfloat16().float()  # as peft's merge: the product is rounded, then the sum

    monkeypatch.setattr(merge_blocks.Change, "apply", twice)
    kind = {"bfloat16": "BF16", "float32": "F32"}[dtype]
    with pytest.raises(ProofError, match=f"from the exact merge as float32 sums and one rounding to {kind} allow"):
        stage("merge", tmp_path / "out", model=model, adapter=[path])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_float32_results_are_told_within_a_step(toy: Toy, tmp_path: Path, dtype: str) -> None:
    """Float32 sums are seldom float64's bit for bit: only a coarser dtype rounds the difference away."""
    model = random_model(tmp_path / "model", toy.extended)
    out = stage("merge", tmp_path / "out", model=model, adapter=[adapter(tmp_path / "a", model)], dtype=dtype)
    rounding = json.loads((out / "merge_report.json").read_text())["rounding"]
    made, card = manifest.read(out), (out / "README.md").read_text()
    assert made is not None and made.metrics["correctly_rounded"] == rounding["correctly_rounded"]
    lines = [line for line in card.splitlines() if "float64" in line]
    if dtype == "bfloat16":
        assert rounding["correctly_rounded"] > 0.99 and "within_one_step" not in {*rounding, *made.metrics}
        assert lines[0].startswith("| sampled values equal to float64 rounded once |")
        return
    assert rounding["correctly_rounded"] < 0.9 < rounding["within_one_step"] == made.metrics["within_one_step"] <= 1
    assert lines[0].startswith("| sampled values within one float32 step of float64 rounded once |")
    assert lines[1].startswith("| sampled values equal to float64 rounded once (sums are float32) |")
    assert 0 < rounding["largest_share_of_limit"] < 0.5 and lines[0] != lines[1] and "may be off | 0." in card


def test_an_adapter_of_the_merge_before_it_follows_it(toy: Toy, tmp_path: Path) -> None:
    """sft on the merge of pretrain: both adapters at once onto the first base, proved by the manifests."""
    settings = {"steps": 2, "rows_per_step": 2, "lora_rank": 2, "learning_rate": 1e-2, "data": toy.packed}
    first = stage("pretrain", tmp_path / "first", model=toy.resized, **settings)
    merged = stage("merge", tmp_path / "merged", model=toy.resized, adapter=[first])
    second = stage("pretrain", tmp_path / "second", model=merged, trainable="lora", **settings)
    both = stage("merge", tmp_path / "both", model=toy.resized, adapter=[first, second])
    again = stage("merge", tmp_path / "again", model=merged, adapter=[second])
    for name in Checkpoint(both).specs:
        np.testing.assert_allclose(Checkpoint(both).f32(name), Checkpoint(again).f32(name), rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="second: was trained on another model"):
        stage("merge", tmp_path / "out", model=toy.resized, adapter=[second])
    card = (both / "README.md").read_text()
    for fact in (
        "`pretrain`",
        "`resize`",
        "`extend-vocab`",
        "--lora-rank | 2",
        str(Checkpoint(both).specs[EMBED].shape[0]),
    ):
        assert fact in card


def test_a_qlora_adapter_reports_both_bases(toy: Toy, tmp_path: Path) -> None:
    settings = {"steps": 2, "rows_per_step": 2, "lora_rank": 2, "learning_rate": 1e-3, "data": toy.packed}
    trained = stage("pretrain", tmp_path / "a", model=toy.resized, trainable="qlora", **settings)
    out = stage("merge", tmp_path / "out", model=toy.resized, adapter=[trained])
    found = json.loads((out / "merge_report.json").read_text())["quantised_base"]
    full, rounded = found["loss_full_precision_base_nats"], found["loss_dequantised_base_nats"]
    assert full != rounded and abs(full - rounded) < 0.2 and 1e-4 < found["largest_logit_difference"] < 1
    # The dequantised base is bitsandbytes' own of the same tensors.
    from zhllm.train.quantized import dequantized, four_bit_layers, nf4_and_back, open_quantized

    held = open_quantized(toy.resized, torch.float32, torch.float32, torch.device("cpu"))
    base = Checkpoint(toy.resized)
    for name, layer in four_bit_layers(held).items():
        values = torch.tensor(base.f32(f"{name}.weight"))
        assert torch.equal(nf4_and_back(values, torch.float32), dequantized(layer.weight))


def test_save_embedding_layers_of_a_tied_model_are_both_ends(toy: Toy, tmp_path: Path) -> None:
    """Whole embeddings that stand in an adapter outside modules_to_save are the tied matrix itself."""
    model = random_model(tmp_path / "model", toy.extended, tie_word_embeddings=True)
    path = adapter(tmp_path / "a", model, target_modules=["q_proj"])
    tensors = load_file(path / "adapter_model.safetensors")
    tensors[f"base_model.model.{EMBED}"] = load_file(model / "model.safetensors")[EMBED] * 1.25
    save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    out = stage("merge", tmp_path / "out", model=model, adapter=[path])
    merged = load_file(out / "model.safetensors")
    assert HEAD not in merged and torch.equal(merged[EMBED], tensors[f"base_model.model.{EMBED}"])
