"""LoRA adapters as GGUF adapters, for llama.cpp's --lora.

Format: llama.cpp's convert_lora_to_gguf.py and src/llama-adapter.cpp. An engine scales B A by alpha / rank, rank
being the columns of B; O out features, I in features, R rank.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

from zhllm.errors import DataError, ProofError
from zhllm.model.gguf_file import Source, permute, unpermute
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import Planned, write_tensors
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.model.lora import Adapter, LowRank, check_finite
from zhllm.model.tensors import F32


def write_lora(source: Source, folder: Path, path: Path) -> int:
    """Write one adapter of the model as a GGUF adapter in float32; gives the number of modules.

    Raises DataError for what a GGUF adapter cannot hold (DoRA, new rows), or what is not of this model, and
    ProofError when the file, read again, is not the adapter.
    """
    adapter = Adapter(folder)
    _check(source, folder, adapter)
    updates = adapter.updates
    alpha = _alpha(updates)
    writer = GGUFWriter(path, source.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_name(path.stem)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    plan = []
    for name, update in updates.items():
        target, heads = source.names[name], source.heads(name)
        # Modules may have scales of their own (patterns, rsLoRA): what alpha / rank leaves over goes into B.
        b = update.b * np.float32(update.scale / (alpha / len(update.a)))
        parts = {"lora_a": update.a, "lora_b": b if heads is None else permute(b, heads)}
        for part, values in parts.items():
            plan.append(Planned(f"{target}.{part}", None, values.shape, T.F32, np.ascontiguousarray(values)))
    write_tensors(writer, plan, lambda item, rows: _rows(item, rows), workers=1)
    _prove(source, updates, GgufFile(path))
    return len(updates)


def _rows(item: Planned, rows: slice) -> F32:
    assert item.values is not None
    return np.ascontiguousarray(item.values[rows])


def _alpha(updates: dict[str, LowRank]) -> float:
    """The alpha for which most modules need no factor in B."""
    alphas = [update.scale * len(update.a) for update in updates.values()]
    return float(max(set(alphas), key=alphas.count))


def _check(source: Source, folder: Path, adapter: Adapter) -> None:
    refused = {
        "trained rows or whole tensors": [*adapter.rows, *adapter.whole],
        "trained biases": [*adapter.bias_gains],
        "DoRA's magnitudes": [name for name, update in adapter.updates.items() if update.part_magnitude is not None],
        "an update of the embedding": [name for name, update in adapter.updates.items() if update.of_embedding],
    }
    for what, names in refused.items():
        if names:
            raise DataError(
                f"{folder}: holds {what} ({', '.join(names[:3])}), which a GGUF adapter cannot. Merge it (zhllm merge) "
                "and export the merged model."
            )
    check_finite(adapter)
    for name, update in adapter.updates.items():
        shape = source.weights.specs[name].shape if name in source.names else None
        if shape != update.shape:
            raise DataError(
                f"{folder}: its update of {name} is {update.shape[0]} x {update.shape[1]}, {source.folder} has "
                f"{shape}. Is --model the base it was trained on?"
            )


def _prove(source: Source, updates: dict[str, LowRank], file: GgufFile) -> None:
    """The updates as an engine computes them from the file, probed by a random vector, are the adapter's."""
    alpha = file.metadata[gguf.Keys.Adapter.LORA_ALPHA]
    probe = np.random.default_rng(0)
    for name, update in updates.items():
        a, b = (file.tensors[f"{source.names[name]}.lora_{part}"].f32() for part in "ab")
        heads = source.heads(name)
        vector = probe.standard_normal(a.shape[1], dtype=np.float32)
        found = alpha / b.shape[1] * ((b if heads is None else unpermute(b, heads)) @ (a @ vector))
        wanted = update.scale * (update.b @ (update.a @ vector))
        if not np.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(np.abs(wanted).max(initial=0)) + 1e-30):
            raise ProofError(f"{file.path.name}: the update of {name} is not the adapter's; nothing was written.")
    if len(file.tensors) != 2 * len(updates):
        raise ProofError(f"{file.path.name}: holds {len(file.tensors)} tensors for {len(updates)} modules.")
