"""What a merge writes: for every tensor of the merged model where its values come from and what changes them.

Nothing is read here but names and shapes, so that every adapter tensor is known to have its place before
the first byte is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from zhllm.errors import DataError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import Adapter, LowRank, Part, Rows
from zhllm.model.tensors import Checkpoint, Spec

FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Target:
    """One tensor of the merged model: base values (or a replacement), rows over them, then the updates in order."""

    spec: Spec
    source: str  # the base's tensor
    whole: Part | None = None
    rows: tuple[Rows, ...] = ()
    updates: tuple[LowRank, ...] = ()
    bias_gains: tuple[tuple[Part, float], ...] = ()

    @property
    def is_copy(self) -> bool:
        """Whether nothing but its dtype may differ from where it comes from."""
        return not (self.rows or self.updates or self.bias_gains)


@dataclass
class Plan:
    """The merged model's tensors in the order they are computed, and what the plan had to decide."""

    targets: list[Target]
    untied: bool = False
    used: int = 0  # tensors of the adapters
    overridden: list[str] = field(default_factory=list)

    @property
    def vocab_rows(self) -> int:
        """Rows of the merged embedding."""
        return next(t.spec.shape[0] for t in self.targets if t.spec.name == EMBED)


def plan_merge(base: Checkpoint, adapters: Sequence[Adapter], dtype: str | None = None, resize: bool = False) -> Plan:
    """The merged model of a base and adapters in order; `dtype` (F32, F16, BF16) for all float tensors.

    Raises DataError where an adapter tensor has no place in the base, or no one meaning. `resize` lets
    an adapter bring more or fewer vocabulary rows than the base has.
    """
    if EMBED not in base.specs:
        raise DataError(f"{base.path}: has no tensor {EMBED} (it holds {len(base.specs)} tensors).")
    tied = HEAD not in base.specs
    untied = tied and any(_parts_ways(adapter) for adapter in adapters)
    sources = {name: name for name in sorted(base.specs, key=_place_in_model)}
    if untied:
        sources[HEAD] = EMBED
    plan = Plan([], untied, sum(len(adapter.parts()) for adapter in adapters))
    drop_head = tied and not untied
    for adapter in adapters:
        _check_places(base, adapter, sources, drop_head, resize)
    for name, source in sources.items():
        spec = base.specs[source]
        kind = dtype if dtype is not None and spec.dtype in FLOATS else spec.dtype
        plan.targets.append(_target(plan, name, source, replace(spec, dtype=kind), adapters))
    _check_vocabulary(base, plan)
    return plan


def _place_in_model(name: str) -> tuple[int, list[int | str]]:
    """Embedding, layers by their number, norm, head: the order in which a forward pass asks for them."""
    kind = 0 if name == EMBED else 3 if name == HEAD else 1 if ".layers." in name else 2
    return kind, [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", name)]


def _parts_ways(adapter: Adapter) -> bool:
    """Whether an adapter trained the two ends of a tied model apart, as peft lets it.

    LoRA goes to the one module it is put on. Of modules_to_save peft trains a copy, and the other end
    keeps the original, unless ensure_weight_tying was set. Rows are shared.
    """
    if EMBED in adapter.updates or HEAD in adapter.updates:
        return True
    whole = {name: adapter.whole[name] for name in (EMBED, HEAD) if name in adapter.whole}
    if len(whole) == 2:
        first, second = (part.tensors.raw(part.key) for part in whole.values())
        return not np.array_equal(first, second)
    if len(whole) == 1:
        return adapter.saved_modules(next(iter(whole))) and not adapter.config.get("ensure_weight_tying")
    rows = [adapter.rows[name].part.f32() for name in (EMBED, HEAD) if name in adapter.rows]
    return HEAD in adapter.rows and not (len(rows) == 2 and np.array_equal(rows[0], rows[1]))


def _check_places(base: Checkpoint, adapter: Adapter, sources: dict[str, str], drop_head: bool, resize: bool) -> None:
    def shape_of(name: str) -> tuple[int, ...] | None:
        known = EMBED if drop_head and name == HEAD else sources.get(name)
        return base.specs[known].shape if known is not None else None

    for name, update in adapter.updates.items():
        shape = shape_of(name)
        magnitude = update.part_magnitude
        if shape != update.shape or (magnitude is not None and np.prod(magnitude.shape) != shape[0]):
            raise DataError(
                f"{adapter.folder}: its update of {name} is {update.shape[0]} x {update.shape[1]}, "
                f"the base {base.path} has {shape}. Is this the model it was trained on?"
            )
    for name, (part, _) in adapter.bias_gains.items():
        if shape_of(name) != part.shape:
            raise DataError(
                f"{adapter.folder}: trained a bias of {part.shape} for {name}, "
                f"the base {base.path} has {shape_of(name)}."
            )
    for name, rows in adapter.rows.items():
        shape = adapter.whole[name].shape if name in adapter.whole else shape_of(name)
        _check_rows(base.path, adapter.folder, name, rows, shape)
    for name, part in adapter.whole.items():
        _check_whole(base.path, adapter.folder, name, part, shape_of(name), resize)


def _check_rows(base: Path, folder: Path, name: str, rows: Rows, shape: tuple[int, ...] | None) -> None:
    count, width = rows.part.shape[0], rows.part.shape[1:]
    if shape is None or len(shape) != 2 or count > shape[0] or width != shape[1:]:
        raise DataError(
            f"{folder}: holds new rows of {name}, {' x '.join(map(str, rows.part.shape))}, that do not fit "
            f"{base} ({shape[0] if shape else 0} rows)."
        )
    if rows.at is not None and (max(rows.at) >= shape[0] or min(rows.at) < 0 or len(set(rows.at)) < len(rows.at)):
        raise DataError(f"{folder}: trained the tokens {rows.at[:5]} of {name}, which has {shape[0]} rows in {base}.")


def _check_whole(base: Path, folder: Path, name: str, part: Part, shape: tuple[int, ...] | None, resize: bool) -> None:
    if shape == part.shape:
        return
    grows = name in (EMBED, HEAD) and shape is not None and part.shape[1:] == shape[1:]
    if not (grows and resize):
        hint = " Give --import where another tool grew the vocabulary while it trained." if grows else ""
        raise DataError(
            f"{folder}: holds a whole {name} of {part.shape}, the base {base} has {shape}. Is this the model it was "
            f"trained on?{hint}"
        )


def _target(plan: Plan, name: str, source: str, spec: Spec, adapters: Sequence[Adapter]) -> Target:
    """What happens to one tensor; a later replacement takes the place of an earlier one, and is told of."""
    keys = [name] if name != EMBED or plan.untied else [name, HEAD]  # a tied head's equal values stand once
    whole, rows = None, list[Rows]()
    updates, gains = list[LowRank](), list[tuple[Part, float]]()
    for adapter in adapters:
        found = next((adapter.whole[key] for key in keys if key in adapter.whole), None)
        if found is not None:
            if updates:
                raise DataError(
                    f"{adapter.folder}: replaces {name} whole, which an adapter before it changes by LoRA. Merge one, "
                    "train the other on the result, or change their order."
                )
            if whole is not None or rows:
                plan.overridden.append(name)
            whole, rows = found, []
            spec = replace(spec, shape=found.shape)
        if (found_rows := next((adapter.rows[key] for key in keys if key in adapter.rows), None)) is not None:
            taken = {i for held in rows for i in held.places(spec.shape[0])}
            if taken.intersection(found_rows.places(spec.shape[0])):
                plan.overridden.append(name)
            rows.append(found_rows)
        updates += [adapter.updates[name]] if name in adapter.updates else []
        gains += [adapter.bias_gains[name]] if name in adapter.bias_gains else []
    return Target(replace(spec, name=name), source, whole, tuple(rows), tuple(updates), tuple(gains))


def _check_vocabulary(base: Checkpoint, plan: Plan) -> None:
    counts = {t.spec.name: t.spec.shape[0] for t in plan.targets if t.spec.name in (EMBED, HEAD)}
    if len(set(counts.values())) > 1:
        raise DataError(f"{base.path}: merged, {EMBED} would have {counts[EMBED]} rows and {HEAD} {counts[HEAD]}.")
