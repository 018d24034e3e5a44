"""GGUF adapters against peft's own updates and gguf-py's reader; the format is convert_lora_to_gguf.py's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import TARGETS, adapter
from gguf import GGUFReader
from peft import PeftModel
from safetensors.torch import load_file, save_file
from toys import Toy, random_model, stage
from transformers import AutoModelForCausalLM

from zhllm.errors import DataError
from zhllm.infer import llama_engine, llamacpp
from zhllm.infer.engine import open_engine
from zhllm.infer.llamacpp import LlamaServer
from zhllm.infer.sampling import Sampling
from zhllm.vocab.tokenizer import Tokenizer


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 5}}],
    ids=["plain", "rslora", "patterns"],
)  # fmt: skip
def test_the_update_an_engine_computes_is_pefts(
    toy: Toy, tmp_path: Path, model_type: str, settings: dict[str, Any]
) -> None:
    model = random_model(tmp_path / "model", toy.extended, model_type=model_type)
    folder = adapter(tmp_path / "客服", model, **settings)
    out = stage("export", tmp_path / "out", model=model, adapter=[folder])
    assert [path.name for path in out.glob("*.gguf")] == ["客服-lora.gguf"], "the base is not asked for"
    reader = GGUFReader(str(out / "客服-lora.gguf"))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["general.architecture"] == model_type
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == 2 * 2 * len(TARGETS)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    layers = PeftModel.from_pretrained(base, str(folder)).base_model.model.model.layers
    parts = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}  # fmt: skip
    for index, layer in enumerate(layers):
        for short, module in parts.items():
            a, b = (tensors[f"blk.{index}.{short}.weight.lora_{part}"] for part in "ab")
            found = fields["adapter.lora.alpha"] / b.shape[1] * (b @ a)
            wanted = layer.get_submodule(module).get_delta_weight("default").detach().numpy()
            if model_type == "llama" and short in ("attn_q", "attn_k"):
                heads = 4 if short == "attn_q" else 2  # llama.cpp's order: neighbouring pairs instead of halves
                wanted = wanted.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(wanted.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, r"holds DoRA's magnitudes \(.*Merge it"),
        ({"modules_to_save": ["lm_head"]}, r"holds trained rows or whole tensors \(lm_head.weight\).*Merge it"),
    ],
)
def test_what_a_gguf_adapter_cannot_hold_is_refused(
    toy: Toy, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    folder = adapter(tmp_path / "adapter", model, **settings)
    with pytest.raises(DataError, match=message):
        stage("export", tmp_path / "out", model=model, adapter=[folder])
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_model_and_a_broken_one_are_refused(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    folder = adapter(tmp_path / "adapter", model)
    other = random_model(tmp_path / "other", toy.extended, intermediate_size=128)
    with pytest.raises(DataError, match=r"is 64 x 96, .* has \(64, 128\). Is --model the base"):
        stage("export", tmp_path / "out", model=other, adapter=[folder])
    tensors = load_file(folder / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(DataError, match="holds 1 values that are NaN or infinite"):
        stage("export", tmp_path / "out", model=model, adapter=[folder])


def without_bytes(model: Path) -> Path:
    """The model, which never writes a byte token again: engines show broken UTF-8 differently."""
    tensors, vocab = load_file(model / "model.safetensors"), Tokenizer(model).fast.get_vocab()
    tensors["lm_head.weight"][[i for piece, i in vocab.items() if piece.startswith("<0x")]] = 0
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return model


def answers(model: Path, adapters: dict[str, Path]) -> list[str]:
    """What an engine says greedily while its adapters are switched from answer to answer."""
    order = [None, *adapters, None, *reversed(adapters)]
    greedy = Sampling(max_tokens=11, temperature=0.0)  # the twelfth of Qwen3's last answer leads by 1e-6 nats
    with open_engine(model, "llama2", adapters=adapters) as engine:
        assert engine.adapters == tuple(adapters)
        return ["".join(engine.stream([{"role": "user", "content": text}], greedy, name))
                for text in ("保修期多长？", "臺灣𠮷野家👨‍👩‍👧") for name in order]  # fmt: skip


@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3"])
def test_llama_cpp_says_with_gguf_adapters_what_the_directory_says_with_its_own(
    toy: Toy, tmp_path: Path, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With llama.cpp's cache in float32: as it is by default, a token of a random Qwen2 that leads by 0.002 nats is
    overtaken (log-probabilities differ by 0.009 there, with float32 by 0.00001)."""
    monkeypatch.setattr(llama_engine, "LlamaServer", partial(LlamaServer, float32_cache=True))
    model = without_bytes(random_model(tmp_path / "model", toy.extended, model_type=model_type))
    folders = {
        "law": adapter(tmp_path / "law", model, r=8),
        "客服": adapter(tmp_path / "客服", model, 1, use_rslora=True),
    }
    out = stage("export", tmp_path / "out", model=model, adapter=list(folders.values()), type=["f32"])
    wanted = answers(model, folders)
    found = answers(out / "model-f32.gguf", {name: out / f"{path.name}-lora.gguf" for name, path in folders.items()})
    assert found == wanted
    assert len(set(wanted)) == 6, "an adapter changes nothing"
