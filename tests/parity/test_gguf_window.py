"""Models that attend to a sliding window, which llama.cpp's architectures do not: their files end at the window."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Toy, chinese, random_model, stage, write_jsonl

from zhllm.errors import DataError, ProofError
from zhllm.infer import llamacpp
from zhllm.infer.llamacpp import LlamaServer
from zhllm.infer.probe import logits
from zhllm.model import gguf_file
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_read import GgufFile

needs_llama = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
# Two layers, 256 positions; the second layer of the last one slides.
SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 128}
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "mistral": ({"model_type": "mistral", "sliding_window": 128}, 128),
    "mistral without": ({"model_type": "mistral", "sliding_window": None}, 256),
    "mistral, as wide as its positions": ({"model_type": "mistral", "sliding_window": 300}, 256),
    "qwen2, not used": ({"model_type": "qwen2", "sliding_window": 128}, 256),
    "qwen2, in layers beyond its own": ({"model_type": "qwen2", **SLIDING}, 256),
    "qwen2": ({"model_type": "qwen2", **SLIDING, "max_window_layers": 0}, 128),
    "qwen3, one layer": ({"model_type": "qwen3", **SLIDING, "max_window_layers": 1}, 128),
}


def long_text(folder: Path) -> Path:
    """One document, longer than any window here."""
    return write_jsonl(folder / "long.jsonl", [{"text": chinese(random.Random(0), 120)}])


@needs_llama
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_the_same_up_to_the_files_context(toy: Toy, tmp_path: Path, name: str) -> None:
    settings, context = MODELS[name]
    model = random_model(tmp_path / "model", toy.extended, **settings)
    out = stage("export", tmp_path / "out", model=model, type=["f16"], text=[long_text(tmp_path)], text_tokens=600)
    file = GgufFile(out / "model-f16.gguf")
    assert file.metadata[f"{file.metadata['general.architecture']}.context_length"] == context
    report = json.loads((out / "report.json").read_text())
    assert report["context_tokens"] == context and report["sample"]["tokens"] > 2 * context
    row = [1, *torch.randint(3, 400, (context - 2,), generator=torch.Generator().manual_seed(0)).tolist()]
    wanted = logits(model, [row])[0][-1].log_softmax(-1)
    with LlamaServer(file.path, n_ctx=512, n_parallel=1, float32_cache=True) as server:
        found = server.logprobs(row, len(wanted))
        with pytest.raises(DataError, match="exceeds the available context size"):
            server.logprobs(row * 2, 10)
    assert max(abs(found[i] - float(wanted[i])) for i in found) < 0.05


@needs_llama
def test_beyond_the_window_llama_cpp_would_compute_something_else(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path / "model", toy.extended, **MODELS["mistral"][0])
    monkeypatch.setattr(gguf_file, "sliding_window", lambda config: None)
    with pytest.raises(ProofError, match=r"llama.cpp"):
        stage("export", tmp_path / "out", model=model, type=["f16"], text=[long_text(tmp_path)], text_tokens=600)


def test_the_window_is_told(toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, said in (("mistral", 1), ("qwen2, not used", 0)):
        model = random_model(tmp_path / name, toy.extended, **MODELS[name][0])
        out = stage("export", tmp_path / f"{name} out", model=model, type=["f16"])
        words = "the files read 128 tokens at once: beyond the model's sliding window llama.cpp would compute something"
        assert capfd.readouterr().err.count(words) == said
        assert (f"<td>{MODELS[name][1]} tokens</td>") in (out / "report.html").read_text(encoding="utf-8")


def test_what_a_config_leaves_out_is_transformers_own_choice(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended, model_type="mistral", max_position_embeddings=8192)
    config = json.loads((model / "config.json").read_text())
    del config["sliding_window"]
    (model / "config.json").write_text(json.dumps(config))
    assert open_source(model).context_tokens == 4096
    for wrong in (0, -1, "many", True):
        (model / "config.json").write_text(json.dumps(config | {"sliding_window": wrong}))
        with pytest.raises(DataError, match=rf"model: sliding_window {wrong!r} is no number of tokens"):
            open_source(model)
    (model / "config.json").write_text(json.dumps(config | {"sliding_window": 14}))
    with pytest.raises(DataError, match=r"model: reads 14 tokens .* the proof needs 15"):
        stage("export", tmp_path / "out", model=model, type=["f16"])
