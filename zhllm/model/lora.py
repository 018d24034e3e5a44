"""LoRA adapters as numbers: what a weight becomes when adapters are folded in, row block by row block.

O out features, I in features, R rank. Sources: LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023),
DoRA (Liu et al. 2024); file format: peft's adapter_config.json and adapter_model.safetensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zhllm.errors import DataError
from zhllm.model.tensors import F32, Array, Checkpoint, from_f32, row_blocks, to_f32
from zhllm.vocab.tokenizer import read_json

PREFIX = "base_model.model."
NEW_ROWS_FILE = "new_rows.safetensors"
_PART = re.compile(r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(\.weight)?$")


@dataclass
class LowRank:
    """One module's update: W + scale * B A, with DoRA's magnitude where there is one."""

    a: F32  # (R, I)
    b: F32  # (O, R)
    scale: float
    magnitude: F32 | None = None  # (O,)

    def apply(self, weight: F32, rows: slice) -> F32:
        """The given rows (n, I) of the updated weight, float32."""
        updated = weight + np.float32(self.scale) * (self.b[rows] @ self.a)
        if self.magnitude is None:
            return updated
        norm = np.linalg.norm(updated, axis=1, keepdims=True)
        scaled: F32 = updated * (self.magnitude[rows, None] / norm)
        return scaled


class Adapter:
    """An adapter folder: LoRA updates by base tensor name, and replaced new rows.

    Raises DataError for anything in it that would be left out of a merge: unknown tensors, other
    adapter types, biases, modules_to_save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.updates: dict[str, LowRank] = {}
        self.new_rows: dict[str, F32] = {}
        if (folder / "adapter_config.json").is_file():
            self._read_lora(read_json(folder / "adapter_config.json"))
        if (folder / NEW_ROWS_FILE).is_file():
            rows = Checkpoint(folder / NEW_ROWS_FILE)
            self.new_rows = {name: rows.f32(name) for name in rows.specs}
        if not self.updates and not self.new_rows:
            raise DataError(
                f"{folder}: is not an adapter: it has neither adapter_config.json with LoRA tensors nor {NEW_ROWS_FILE}."
            )

    def _read_lora(self, config: dict[str, Any]) -> None:
        refuse_unknown(self.folder, config)
        tensors = Checkpoint(self.folder / "adapter_model.safetensors")
        parts: dict[str, dict[str, F32]] = {}
        for name in tensors.specs:
            match = _PART.match(name)
            if match is None or not name.startswith(PREFIX):
                raise DataError(f"{self.folder}: does not know what to do with the tensor {name}.")
            module = match["module"].removeprefix(PREFIX)
            parts.setdefault(module, {})[match["part"]] = tensors.f32(name)
        for module, found in parts.items():
            if "lora_A" not in found or "lora_B" not in found:
                raise DataError(f"{self.folder}: {module} has {sorted(found)}, not both lora_A and lora_B.")
            scale = scale_of(config, module)
            self.updates[f"{module}.weight"] = LowRank(
                found["lora_A"], found["lora_B"], scale, found.get("lora_magnitude_vector")
            )


def refuse_unknown(folder: Path, config: dict[str, Any]) -> None:
    """DataError for adapter settings that a plain merge would get wrong in silence."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise DataError(f"{folder}: is a {kind} adapter; zhllm merges LORA adapters.")
    wrong = {
        "bias": config.get("bias", "none") != "none",
        "modules_to_save": bool(config.get("modules_to_save")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
        "trainable_token_indices": bool(config.get("trainable_token_indices")),
        "init_lora_weights": str(config.get("init_lora_weights")).lower().startswith(("pissa", "olora", "corda")),
    }
    found = [name for name, is_wrong in wrong.items() if is_wrong]
    if found:
        raise DataError(f"{folder}: adapter_config.json sets {', '.join(found)}, which this merge does not cover.")


def scale_of(config: dict[str, Any], module: str) -> float:
    """alpha / rank of a module (alpha / sqrt(rank) for rsLoRA), alpha_pattern and rank_pattern respected."""
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: dict[str, float] | None, module: str, default: float) -> float:
    """peft's rule: a pattern is a regular expression for the end of the module's name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def merged_blocks(base: Checkpoint, name: str, adapters: Sequence[Adapter], first_new: int | None) -> Iterator[Array]:
    """Storage blocks of one merged tensor: float32 arithmetic, one rounding at the end.

    `first_new` is the row at which an adapter's new rows begin.
    """
    matrix, dtype = base.raw(name), base.specs[name].dtype
    updates = [a.updates[name] for a in adapters if name in a.updates]
    rows_of = [a.new_rows[name] for a in adapters if name in a.new_rows]
    if not updates and not rows_of:
        yield matrix
        return
    for block in row_blocks(matrix.shape[0], matrix[0].nbytes):
        values = to_f32(matrix[block], dtype)
        for update in updates:
            values = update.apply(values, block)
        yield from_f32(values, dtype) if updates else _with_new_rows(matrix[block], block, rows_of, first_new, dtype)


def _with_new_rows(old: Array, block: slice, rows_of: Sequence[F32], first_new: int | None, dtype: str) -> Array:
    assert first_new is not None
    out = np.array(old)
    at = max(block.start, first_new)
    if at < block.stop:
        out[at - block.start :] = from_f32(rows_of[-1][at - first_new : block.stop - first_new], dtype)
    return out
