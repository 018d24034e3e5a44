"""Adapters as numbers: which tensors of a base an adapter changes, and to what.

O out features, I in features, R rank, V vocabulary rows, H hidden size. Sources: LoRA (Hu et al. 2021),
rsLoRA (Kalajdzievski 2023), DoRA (Liu et al. 2024); file format: peft's adapter_config.json and
adapter_model.safetensors (or .bin).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zhllm.errors import DataError
from zhllm.model.tensors import F32, Checkpoint
from zhllm.vocab.tokenizer import read_json

PREFIX = "base_model.model."
NEW_ROWS_FILE = "new_rows.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_BIN = "adapter_model.bin"
# Settings of adapter_config.json that are read here, or that do not touch what a merge computes.
COVERED = {
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "lora_dropout", "bias", "init_lora_weights", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "megatron_config", "megatron_core", "qalora_group_size",
    "runtime_config", "modules_to_save", "trainable_token_indices", "lora_bias",
}  # fmt: skip
# Ways to draw the first A and B; the others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base as well.
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_PART = re.compile(
    r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector|lora_embedding_A|lora_embedding_B)"
    r"(\.default)?(?P<kind>\.weight|\.bias)?$"
)
_TOKENS = re.compile(r"^(?P<module>.+?)(\.token_adapter)?\.trainable_tokens_delta(\.default)?$")
_WRAPPED = re.compile(r"\.(base_layer|original_module|modules_to_save(\.default)?)(?=\.|$)")


@dataclass(frozen=True)
class Part:
    """One tensor of an adapter's file, read when it is asked for."""

    tensors: Checkpoint
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.tensors.specs[self.key].shape

    def f32(self) -> F32:
        """Its values."""
        return self.tensors.f32(self.key)


@dataclass(frozen=True)
class LowRank:
    """One module's update: W + scale * B A, with DoRA's magnitude where there is one.

    Of an embedding A and B stand the other way round: W + scale * (B A)^T, which is A^T B^T.
    """

    part_a: Part  # (R, I); of an embedding (R, V)
    part_b: Part  # (O, R); of an embedding (H, R)
    scale: float
    part_magnitude: Part | None = None  # (O,)
    of_embedding: bool = False

    @property
    def a(self) -> F32:
        """(R, I): the right factor."""
        return np.ascontiguousarray(self.part_b.f32().T) if self.of_embedding else self.part_a.f32()

    @property
    def b(self) -> F32:
        """(O, R): the left factor."""
        return np.ascontiguousarray(self.part_a.f32().T) if self.of_embedding else self.part_b.f32()

    @property
    def magnitude(self) -> F32 | None:
        """(O,): the length of each output's weights; None without DoRA."""
        return None if self.part_magnitude is None else self.part_magnitude.f32().reshape(-1)

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I) of the matrix it belongs to."""
        outer, inner = (self.part_a.shape[1], self.part_b.shape[0]) if self.of_embedding else (
            self.part_b.shape[0], self.part_a.shape[1])  # fmt: skip
        return outer, inner


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix that take new values: the last ones (`at` None), or those of token ids."""

    part: Part  # (n, H)
    at: tuple[int, ...] | None = None

    def places(self, total: int) -> range | tuple[int, ...]:
        """Where the rows stand in a matrix of `total` rows."""
        return range(total - self.part.shape[0], total) if self.at is None else self.at


class Adapter:
    """An adapter folder: what it does, by the base's tensor names.

    `updates` are LoRA's, `bias_gains` lora_bias's (part, scale), `rows` replaced rows, `whole` replaced
    tensors (modules_to_save, embeddings and biases that were trained). Raises DataError for anything in
    it that would be left out of a merge: unknown tensors, other adapter types, unknown variants.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = {}
        self.updates: dict[str, LowRank] = {}
        self.bias_gains: dict[str, tuple[Part, float]] = {}
        self.rows: dict[str, Rows] = {}
        self.whole: dict[str, Part] = {}
        self.tensors: Checkpoint | None = None
        if (folder / "adapter_config.json").is_file():
            self.config = read_json(folder / "adapter_config.json")
            self._read_lora()
        if (folder / NEW_ROWS_FILE).is_file():
            rows = Checkpoint(folder / NEW_ROWS_FILE)
            self.rows |= {name: Rows(Part(rows, name)) for name in rows.specs}
        if not (self.updates or self.rows or self.whole):
            raise DataError(
                f"{folder}: is not an adapter: it has neither adapter_config.json with LoRA tensors "
                f"nor {NEW_ROWS_FILE}."
            )

    def parts(self) -> list[Part]:
        """Every tensor of it that a merge uses."""
        lora = [p for u in self.updates.values() for p in (u.part_a, u.part_b, u.part_magnitude) if p is not None]
        return [*lora, *(p for p, _ in self.bias_gains.values()), *(r.part for r in self.rows.values()),
                *self.whole.values()]  # fmt: skip

    def _read_lora(self) -> None:
        refuse_unknown(self.folder, self.config)
        found = [self.folder / name for name in (ADAPTER_FILE, ADAPTER_BIN) if (self.folder / name).is_file()]
        if not found:
            raise DataError(f"{self.folder}: has no {ADAPTER_FILE} and no {ADAPTER_BIN}.")
        self.tensors = Checkpoint(found[0])
        modules: dict[str, dict[str, Part]] = {}
        for key in self.tensors.specs:
            name, part = _WRAPPED.sub("", key.removeprefix(PREFIX)), Part(self.tensors, key)
            if match := _PART.match(name):
                is_bias = match["kind"] == ".bias"
                modules.setdefault(match["module"], {})[match["part"] + (".bias" if is_bias else "")] = part
            elif match := _TOKENS.match(name):
                self.rows[f"{match['module']}.weight"] = self._token_rows(match["module"], part)
            elif key.startswith(PREFIX) and self._may_replace(name):
                self.whole[name] = part
            else:
                raise DataError(f"{self.folder}: does not know what to do with the tensor {key}.")
        for module, parts in modules.items():
            self._add_update(module, parts)
        for saved in self.config.get("modules_to_save") or ():
            if not any(f".{saved}." in f".{name}" for name in self.whole):
                raise DataError(f"{self.folder}: modules_to_save names {saved}, of which its file holds no tensor.")
        if self.config.get("trainable_token_indices") and not self.rows:
            raise DataError(f"{self.folder}: sets trainable_token_indices, but its file holds no trained tokens.")

    def _add_update(self, module: str, parts: dict[str, Part]) -> None:
        of_embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
        names = ("lora_embedding_A", "lora_embedding_B") if of_embedding else ("lora_A", "lora_B")
        dora, biased = bool(self.config.get("use_dora")), bool(self.config.get("lora_bias")) and not of_embedding
        wanted = {*names, *["lora_magnitude_vector"] * dora, *["lora_B.bias"] * biased}
        if parts.keys() != wanted:
            raise DataError(f"{self.folder}: {module} has {sorted(parts)}, not {sorted(wanted)}.")
        if of_embedding and dora:
            raise DataError(f"{self.folder}: {module} is an embedding with DoRA, which this merge does not cover.")
        rank, scale = rank_and_scale(self.config, module)
        a, b = (parts[name] for name in names)
        if len(a.shape) != 2 or len(b.shape) != 2 or (a.shape[0], b.shape[1]) != (rank, rank):
            raise DataError(
                f"{self.folder}: {module} has {names[0]} {a.shape} and {names[1]} {b.shape}, "
                f"but adapter_config.json gives it rank {rank}."
            )
        magnitude = parts.get("lora_magnitude_vector")
        self.updates[f"{module}.weight"] = LowRank(a, b, scale, magnitude, of_embedding)
        if biased:
            self.bias_gains[f"{module}.bias"] = parts["lora_B.bias"], scale

    def saved_modules(self, name: str) -> bool:
        """Whether a base tensor belongs to a module of modules_to_save."""
        return any(f".{module}." in f".{name}" for module in self.config.get("modules_to_save") or ())

    def _may_replace(self, name: str) -> bool:
        """Whether a tensor of the base may stand whole in this adapter: nothing else would make peft load it."""
        is_bias = name.endswith(".bias") and self.config.get("bias", "none") != "none"
        return is_bias or self.saved_modules(name) or name.endswith(("embed_tokens.weight", "lm_head.weight"))

    def _token_rows(self, module: str, part: Part) -> Rows:
        """The rows of trainable_token_indices: a list of ids for the embedding, or lists by module."""
        given = self.config.get("trainable_token_indices") or {}
        lists = given if isinstance(given, dict) else {"embed_tokens": given}
        ids = next((ids for name, ids in lists.items() if f".{module}".endswith(f".{name}")), None)
        if ids is None or len(ids) != part.shape[0]:
            raise DataError(
                f"{self.folder}: holds {part.shape[0]} trained tokens of {module}, adapter_config.json names "
                f"{'none' if ids is None else len(ids)} (trainable_token_indices)."
            )
        return Rows(part, tuple(int(i) for i in ids))


def check_finite(adapter: Adapter) -> None:
    """DataError where a value of an adapter is no number, as an overflow in training leaves them."""
    for part in adapter.parts():
        values = part.tensors.raw(part.key)
        step = max(1, (1 << 22) // max(1, math.prod(part.shape[1:])))
        for start in range(0, part.shape[0] if part.shape else 1, step):
            block = values[start : start + step] if part.shape else values
            bad = not_finite(block, part.tensors.specs[part.key].dtype)
            if bad:
                raise DataError(f"{adapter.folder}: {part.key} holds {bad} values that are NaN or infinite.")


def not_finite(block: np.ndarray[Any, Any], dtype: str) -> int:
    """How many values of a block in storage dtype are NaN or infinite."""
    if dtype == "BF16":
        return int(((block & 0x7F80) == 0x7F80).sum())
    return int((~np.isfinite(block)).sum()) if np.issubdtype(block.dtype, np.floating) else 0


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
    if config.get("ensure_weight_tying") and config.get("target_modules"):
        targets = config["target_modules"]
        if any(str(name).endswith(("embed_tokens", "lm_head")) for name in targets if isinstance(targets, list)):
            found.append("ensure_weight_tying")
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
