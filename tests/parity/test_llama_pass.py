"""The proof's own forward pass against transformers and peft, which it stands in for, and what it leaves to them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import adapter
from safetensors.torch import load_file, save_file
from test_merge import LORA
from toys import Toy, random_model
from transformers import AutoModelForCausalLM

from zhllm.errors import DataError
from zhllm.infer.llama_pass import LlamaPass, Shape, gains_of
from zhllm.infer.row_streams import Weights, batched_logits, streamed_model, with_adapters
from zhllm.model.llama import EMBED, HEAD, read_config
from zhllm.model.lora import PREFIX, Adapter
from zhllm.model.merge_blocks import OpenFiles
from zhllm.model.tensors import Checkpoint

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "heads of their own size": {"head_dim": 24, "num_key_value_heads": 1, "rms_norm_eps": 1e-3},
    "Llama 3.1": {"rope_parameters": LLAMA3},
    "longer": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}},
    "Mistral": {"model_type": "mistral", "sliding_window": 16},
    "Qwen2": {"model_type": "qwen2"},
    "Qwen3": {"model_type": "qwen3", "head_dim": 16, "attention_bias": True},
    "Qwen3, of its usual size": {"model_type": "qwen3"},
}
TEXTS = [[1, 5, 9, 300, 7], [1, 40], [1, *range(20, 32)], [1]]


def of(folder: Path, files: OpenFiles) -> tuple[Shape, Weights]:
    tensors = Checkpoint(folder)
    shape = Shape.of(read_config(folder), max(map(len, TEXTS)))
    assert shape is not None
    shape.check({name: spec.shape for name, spec in tensors.specs.items()})
    return shape, Weights(tensors, files, frozenset(tensors.specs))


def differ(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_those_of_transformers(toy: Toy, tmp_path: Path, name: str, dtype: str) -> None:
    folder = random_model(tmp_path / "model", toy.extended, dtype=dtype, **SHAPES[name])
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = [whole(input_ids=torch.tensor([ids])).logits[0] for ids in TEXTS]
    with closing(OpenFiles()) as files:
        shape, weights = of(folder, files)
        found = LlamaPass(shape, weights).logits(TEXTS)
    assert differ(found, wanted) < 1e-4 and max(float(logits.abs().max()) for logits in wanted) > 1


PLAIN = [
    kind for kind, settings in LORA.items() if not any(s.get("use_dora") for s in settings) and kind != "one layer"
]


@pytest.mark.parametrize("kind", [*PLAIN, "all-linear", "saved besides"])
def test_adapters_add_what_peft_adds(toy: Toy, tmp_path: Path, kind: str) -> None:
    """Logits of peft's model, unmerged, and its scales to the last bit."""
    folder = random_model(tmp_path / "model", toy.extended)
    more: dict[str, list[dict[str, Any]]] = {
        "all-linear": [{"target_modules": "all-linear"}],
        "saved besides": [{"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["down_proj"]}],
    }
    settings = LORA.get(kind) or more[kind]
    adapters = [Adapter(adapter(tmp_path / f"a{n}", folder, n, **each)) for n, each in enumerate(settings)]
    if kind == "all-linear":  # which peft writes as the list it found
        config = tmp_path / "a0" / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": kind}))
        adapters = [Adapter(tmp_path / "a0")]
    with closing(OpenFiles()) as files:
        shape, weights = of(folder, files)
        gains = [gains_of(shape, each) for each in adapters]
        known = [gain for gain in gains if gain is not None]
        assert len(known) == len(adapters)
        found, without = LlamaPass(shape, weights, known).logits(TEXTS), LlamaPass(shape, weights).logits(TEXTS)
        theirs = with_adapters(streamed_model(folder, weights), adapters, files)
        wanted = batched_logits(theirs, TEXTS)
        modules = dict(theirs.named_modules())
        for number, each in enumerate(known):
            scales = {name: modules[PREFIX + name.removesuffix(".weight")].scaling[f"a{number}"] for name in each}
            assert {name: gain.scale for name, gain in each.items()} == scales
    assert differ(found, wanted) < 1e-4 and differ(found, without) > 0.3


OTHERS: dict[str, dict[str, Any]] = {
    "another architecture": {"model_type": "gemma"},
    "another activation": {"hidden_act": "gelu"},
    "a setting of tomorrow": {"residual_multiplier": 0.5},
    "quantised": {"quantization_config": {"bits": 4}},
    "YaRN": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "half of a scaling": {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}},
    "a size left to its default": {"intermediate_size": None},
    "a window shorter than a text": {"model_type": "mistral", "sliding_window": 8},
    "Qwen's window": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8},
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_is_not_known_is_left_to_transformers(toy: Toy, reason: str) -> None:
    config = read_config(toy.resized)
    assert Shape.of(config, 13) is not None and Shape.of(config | OTHERS[reason], 13) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}, {"target_modules": ".*q_proj"},
        {"layers_to_transform": [1]}, {"exclude_modules": ["q_proj"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_known_of_an_adapter_is_left_to_peft(toy: Toy, tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = random_model(tmp_path / "model", toy.extended)
    shape = Shape.of(read_config(folder), 13)
    assert shape is not None and gains_of(shape, Adapter(adapter(tmp_path / "a", folder, **settings))) is None


def test_what_an_adapter_lacks_is_named(toy: Toy, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", toy.extended)
    path = adapter(tmp_path / "a", folder) / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "layers.1.mlp.up" not in name}, path)
    shape = Shape.of(read_config(folder), 13)
    assert shape is not None
    with pytest.raises(DataError, match=r"differ in 1 modules, e.g. \['model.layers.1.mlp.up_proj.weight'\]"):
        gains_of(shape, Adapter(path.parent))


def test_what_a_model_lacks_is_named(toy: Toy, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", toy.extended, attention_bias=True)
    given = {name: spec.shape for name, spec in Checkpoint(folder).specs.items()}
    shape = Shape.of(read_config(folder), 13)
    assert shape is not None
    for name in (HEAD, "model.norm.weight", "model.layers.1.self_attn.k_proj.bias"):
        with pytest.raises(DataError, match=rf"1 weights are missing or misshapen, e.g. {name} is missing\."):
            shape.check({key: value for key, value in given.items() if key != name})
    with pytest.raises(DataError, match=r"has the shape \(9, 64\), not \(571, 64\)"):
        shape.check(given | {EMBED: (9, 64)})


def test_a_plain_merge_imports_neither_transformers_nor_peft(toy: Toy, tmp_path: Path) -> None:
    """They cost more than the merge of a 1 B model: 9 CPU seconds."""
    path = adapter(tmp_path / "a", toy.resized)
    words = ["merge", "--model", str(toy.resized), "--adapter", str(path), "-o", str(tmp_path / "out"), "--json"]
    code = (
        "import sys\nfrom zhllm.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'transformers', 'peft', 'accelerate', 'bitsandbytes', 'datasets', 'gguf', 'polars', 'scipy'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
