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
ADAPTER_FILE = "adapter_model.safetensors"
# Settings of adapter_config.json that are read here, or that do not touch what a merge computes.
COVERED = {
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "lora_dropout", "bias", "init_lora_weights", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "megatron_config", "megatron_core", "qalora_group_size",
    "runtime_config", "ensure_weight_tying",
}  # fmt: skip
# Ways to draw the first A and B; the others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base as well.
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_PART = re.compile(r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(\.weight)?$")


@dataclass
class LowRank:
    """One module's update: W + scale * B A, with DoRA's magnitude where there is one."""

    a: F32  # (R, I)
    b: F32  # (O, R)
    scale: float
    magnitude: F32 | None = None  # (O,)

    def apply(self, weight: F32, base: F32, rows: slice) -> F32:
        """The given rows, (n, I) float32, with the update: `weight` so far, DoRA's norm that of the `base`.

        That is what peft computes with several adapters at once, each trained on the base alone.
        """
        gain = np.float32(self.scale) * (self.b[rows] @ self.a)
        updated: F32 = weight + gain
        if self.magnitude is None:
            return updated
        norm = np.linalg.norm(base + gain, axis=1, keepdims=True)
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
                f"{folder}: is not an adapter: it has neither adapter_config.json with LoRA tensors "
                f"nor {NEW_ROWS_FILE}."
            )

    def _read_lora(self, config: dict[str, Any]) -> None:
        refuse_unknown(self.folder, config)
        if not (self.folder / ADAPTER_FILE).is_file():
            raise DataError(f"{self.folder}: has no {ADAPTER_FILE}. Convert adapter_model.bin to safetensors first.")
        tensors = Checkpoint(self.folder / ADAPTER_FILE)
        parts: dict[str, dict[str, F32]] = {}
        for name in tensors.specs:
            match = _PART.match(name)
            if match is None or not name.startswith(PREFIX):
                raise DataError(f"{self.folder}: does not know what to do with the tensor {name}.")
            module = match["module"].removeprefix(PREFIX)
            parts.setdefault(module, {})[match["part"]] = tensors.f32(name)
        wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if config.get("use_dora") else set())
        for module, found in parts.items():
            if found.keys() != wanted:
                raise DataError(f"{self.folder}: {module} has {sorted(found)}, not {sorted(wanted)}.")
            rank, scale = rank_and_scale(config, module)
            shapes = found["lora_A"].shape, found["lora_B"].shape
            if (shapes[0][0], shapes[1][1]) != (rank, rank):
                raise DataError(
                    f"{self.folder}: {module} has lora_A {shapes[0]} and lora_B {shapes[1]}, "
                    f"but adapter_config.json gives it rank {rank}."
                )
            self.updates[f"{module}.weight"] = LowRank(
                found["lora_A"], found["lora_B"], scale, found.get("lora_magnitude_vector")
            )


def refuse_unknown(folder: Path, config: dict[str, Any]) -> None:
    """DataError for adapter settings that a plain merge would get wrong in silence.

    What is set and not known to leave the sum W + scale B A alone is refused, so that a later peft's
    variants are too.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise DataError(f"{folder}: is a {kind} adapter; zhllm merges LORA adapters.")
    lacking = [name for name in ("r", "lora_alpha") if name not in config]
    if lacking:
        raise DataError(f"{folder}: adapter_config.json has no {' and no '.join(lacking)}.")
    found = [name for name, value in config.items() if value and name not in COVERED]
    if config.get("bias", "none") != "none":
        found.append("bias")
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        found.append(f"init_lora_weights={config['init_lora_weights']}")
    if found:
        raise DataError(f"{folder}: adapter_config.json sets {', '.join(found)}, which this merge does not cover.")


def rank_and_scale(config: dict[str, Any], module: str) -> tuple[float, float]:
    """A module's rank, and alpha / rank (alpha / sqrt(rank) for rsLoRA); both patterns respected."""
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: dict[str, float] | None, module: str, default: float) -> float:
    """peft's rule: a pattern is a regular expression for the end of the module's name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def merged_blocks(base: Checkpoint, name: str, adapters: Sequence[Adapter]) -> Iterator[Array]:
    """Storage blocks of one merged tensor: float32 arithmetic, one rounding at the end.

    Trained rows take the place of the matrix's last ones, a later adapter's over an earlier one's;
    then the low-rank updates are applied in order.
    """
    matrix, dtype = base.raw(name), base.specs[name].dtype
    updates = [a.updates[name] for a in adapters if name in a.updates]
    rows_of = [a.new_rows[name] for a in adapters if name in a.new_rows]
    if not updates and not rows_of:
        yield matrix
        return
    for block in row_blocks(matrix.shape[0], matrix[0].nbytes):
        stored = np.array(matrix[block])
        for rows in rows_of:
            first = matrix.shape[0] - len(rows)
            at = max(block.start, first)
            stored[at - block.start :] = from_f32(rows[at - first : max(block.stop - first, 0)], dtype)
        if updates:
            weight = start = to_f32(stored, dtype)
            for update in updates:
                weight = update.apply(weight, start, block)
            stored = from_f32(weight, dtype)
        yield stored
