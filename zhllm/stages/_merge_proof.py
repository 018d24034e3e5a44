"""The proof of a merge: merged = base + adapters, in logits and in the bits of sampled rows.

n tokens of a text, V vocabulary rows, O out features, I in features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm.errors import DataError, ProofError

if TYPE_CHECKING:
    from torch import Tensor

    from zhllm.infer.row_streams import Weights
    from zhllm.model.lora import Adapter
    from zhllm.model.merge_blocks import OpenFiles
    from zhllm.model.merging import Plan, Target
    from zhllm.model.shards import Shards
    from zhllm.model.tensors import Checkpoint

    # The passes by name, what each adapter's B A is multiplied by, and whose code computes them.
    Computed = tuple[dict[str, Callable[[list[list[int]]], list[Tensor]]], dict[tuple[Path, str], float], str]

PROBE = (
    "人工智能模型的训练需要大量的中文语料。",
    "The quick brown fox jumps over the lazy dog.",
    "２０２６年　价格：￥９９．５，𠮷野家👩‍👩‍👧",
    "繁體中文：臺灣大學圖書館藏書豐富。",
)
# Parameters x tokens of one pass: about 5 CPU seconds for it. A model of more than some 2B reads the beginning of
# each text; the report says how many tokens it was.
PROBE_WORK = 2e11
LEAST_TOKENS = 4  # of a text
# What rounding every weight once may move a logit by, as a share of the largest one.
LIMITS = {"F32": 1e-4, "F16": 2e-2, "BF16": 1e-1}
SAMPLED_TENSORS, SAMPLED_ROWS = 48, 4
# Relative error of the float32 sums themselves: some hundred additions of 2^-24 each.
SUM_ERROR = 4e-6
MANTISSA = {"F32": 23, "F16": 10, "BF16": 7}


@dataclass
class Proof:
    """Forward passes that follow the writer from tensor to tensor, while these are still in the page cache."""

    computed_by: str
    scales: dict[tuple[Path, str], float]  # by adapter and tensor, not as the merge reads them
    passes: dict[str, Future[list[Tensor]]]
    ids: list[list[int]]
    pool: ThreadPoolExecutor

    @staticmethod
    def start(
        folder: Path, base: Checkpoint, plan: Plan, adapters: Sequence[Adapter], shards: Shards, files: OpenFiles,
        ids: list[list[int]],
    ) -> Proof:  # fmt: skip
        """Begin the passes of base + adapters and of the merged model, whose config stands in `folder`.

        For QLoRA adapters also that of the base as it was in training: rounded to NF4 and back.
        """
        import torch

        from zhllm.infer.row_streams import Weights

        whole = {target.spec.name: target.whole for target in plan.targets if target.whole is not None}
        rows = {target.spec.name: target.rows for target in plan.targets if target.rows}
        wait = _wait_for_both(plan, shards)
        given = Weights(_Renamed(base, plan), files, frozenset(t.spec.name for t in plan.targets), whole, rows, wait)
        weights = {"reference": given, "merged": Weights(shards, files, given.names, wait=shards.wait)}
        if (rounded := _rounded_names(adapters)) is not None:
            weights["rounded"] = replace(given, rounding=rounded[1], rounded=rounded[0])
        shapes = {target.spec.name: target.spec.shape for target in plan.targets}
        models, scales, by = _own(folder, shapes, weights, adapters, ids) or _of_peft(folder, weights, adapters, files)
        pool = ThreadPoolExecutor(len(models), initializer=torch.set_num_threads, initargs=(1,))
        passes = {name: pool.submit(model, ids) for name, model in models.items()}
        return Proof(by, scales, passes, ids, pool)

    def logits(self, folder: Path, dtype: str) -> dict[str, Any]:
        """Largest logit difference and greedy agreement; ProofError beyond what one rounding in `dtype` explains."""
        from zhllm.infer.row_streams import loss_of

        made = {name: each.result() for name, each in self.passes.items()}
        wanted, found = made["reference"], made["merged"]
        worst = max(float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True))
        agree = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(wanted, found, strict=True))
        scale = max(float(a.abs().max()) for a in wanted)
        limit = LIMITS.get(dtype, LIMITS["BF16"]) * max(scale, 1.0)
        if not worst <= limit:
            raise ProofError(
                f"the merged model's logits differ from base + adapters by {worst:.3g} (limit {limit:.3g} for {dtype})"
                "; nothing was written."
            )
        tokens = sum(map(len, self.ids))
        report: dict[str, Any] = {
            "largest_logit_difference": worst, "greedy_agreement": agree / tokens, "logit_scale": scale,
            "logit_limit": limit, "probe_tokens": tokens, "probe_loss_nats": loss_of(found, self.ids),
            "logits_computed_by": self.computed_by,
        }  # fmt: skip
        if "rounded" in made:
            report["quantised_base"] = {
                "loss_full_precision_base_nats": loss_of(wanted, self.ids),
                "loss_dequantised_base_nats": loss_of(made["rounded"], self.ids),
                "largest_logit_difference": max(
                    float((a - b).abs().max()) for a, b in zip(wanted, made["rounded"], strict=True)
                ),
            }
        return report

    def stop(self) -> None:
        """Wait for the passes to end, however they do."""
        self.pool.shutdown(wait=True, cancel_futures=True)


def probe_ids(tokenizer: Any, parameters: int) -> list[list[int]]:
    """Token ids of the probe: whole texts, or as much of the beginning of each as a large model reads in seconds."""
    rows = [row for row in tokenizer.encode_plain(PROBE) if row]
    longest = max(LEAST_TOKENS, int(PROBE_WORK / max(parameters, 1) / len(rows)))
    return [row[:longest] for row in rows]


class _Renamed:
    """The base under the merged model's names: a head that was tied is the embedding."""

    def __init__(self, base: Checkpoint, plan: Plan) -> None:
        self._base, self._sources = base, {t.spec.name: t.source for t in plan.targets}

    def where(self, name: str) -> tuple[Path, Any]:
        return self._base.where(self._sources[name])


def _wait_for_both(plan: Plan, shards: Shards) -> Any:
    """The base is read when the merged tensor was written: then both are in the page cache."""
    names = {target.spec.name for target in plan.targets}
    return lambda name: shards.wait(name) if name in names else None


def _own(
    folder: Path, shapes: dict[str, tuple[int, ...]], weights: dict[str, Weights], adapters: Sequence[Adapter],
    ids: list[list[int]],
) -> Computed | None:  # fmt: skip
    """The passes in our own code; None for a model or an adapter that transformers and peft must compute."""
    from zhllm.infer.llama_pass import LlamaPass, Shape, gains_of
    from zhllm.model.llama import read_config

    shape = Shape.of(read_config(folder), max(map(len, ids)))
    gains = [gains_of(shape, adapter) for adapter in adapters] if shape is not None else []
    known = [gain for gain in gains if gain is not None]
    if shape is None or len(known) < len(gains):
        return None
    try:
        shape.check(shapes)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    models = {name: LlamaPass(shape, held, () if name == "merged" else known) for name, held in weights.items()}
    scales = {
        (adapter.folder, name): gain.scale
        for adapter, found in zip(adapters, known, strict=True)
        for name, gain in found.items()
    }
    return {name: model.logits for name, model in models.items()}, scales, "zhllm"


def _of_peft(folder: Path, weights: dict[str, Weights], adapters: Sequence[Adapter], files: OpenFiles) -> Computed:
    """The passes by transformers' and peft's own code."""
    from zhllm.infer.row_streams import batched_logits, streamed_model, with_adapters
    from zhllm.model.lora import PREFIX

    models = {name: streamed_model(folder, held) for name, held in weights.items()}
    models |= {name: with_adapters(model, adapters, files) for name, model in models.items() if name != "merged"}
    loras = [adapter for adapter in adapters if adapter.updates]
    scales = {}
    for path, module in models["reference"].named_modules():
        for label, scale in getattr(module, "scaling", {}).items() if hasattr(module, "lora_A") else ():
            scales[loras[int(label[1:])].folder, f"{path.removeprefix(PREFIX)}.weight"] = float(scale)
    return {name: partial(batched_logits, model) for name, model in models.items()}, scales, "transformers and peft"


def _rounded_names(adapters: Sequence[Adapter]) -> tuple[frozenset[str], Any] | None:
    """The matrices a QLoRA adapter's base held in four bits, and how they were rounded; None for other adapters."""
    import torch

    from zhllm.vocab.tokenizer import read_json

    records = [
        read_json(a.folder / "quantization.json") for a in adapters if (a.folder / "quantization.json").is_file()
    ]
    if not records:
        return None
    from zhllm.train.quantized import nf4_and_back

    dtypes = {
        f"{name}.weight": getattr(torch, r.get("dequantized_dtype", "float32"))
        for r in records
        for name in r["modules"]
    }
    return frozenset(dtypes), lambda name, values: nf4_and_back(values, dtypes[name])


def check_rounding(
    base: Checkpoint, plan: Plan, out: Path, proof: Proof, adapters: Sequence[Adapter]
) -> dict[str, Any]:
    """Sampled rows of the written file against float64 with peft's scales: each value is the exact one, rounded once.

    Raises ProofError where a value is further off than half a step of its dtype and the float32 sum's own error.
    That error is below a step of bf16 or float16 but some steps of float32, where few values need be equal: of a
    result in float32 the share within one step is told too, and the largest error as a share of what is allowed.
    """
    import numpy as np

    from zhllm.model.tensors import Checkpoint

    written = Checkpoint(out)
    changed = [t for t in plan.targets if (t.updates or t.rows or t.whole) and t.spec.dtype in MANTISSA]
    changed = [t for t in changed if len(t.spec.shape) == 2 and not t.bias_gains]
    chosen = (
        [changed[i] for i in np.unique(np.linspace(0, len(changed) - 1, SAMPLED_TENSORS).astype(int))]
        if changed
        else []
    )
    rng = np.random.default_rng(0)
    values = equal = near = 0
    worst = 0.0
    for target in chosen:
        rows = _sampled_rows(target, rng)
        exact, size = _exact_rows(base, target, rows, proof, adapters)
        same, close, off = _compare(written, target, rows, exact, size)
        if off > 1:
            raise ProofError(
                f"{target.spec.name}: a value of rows {rows.tolist()} is {off:.2f} times as far from the exact merge "
                f"as float32 sums and one rounding to {target.spec.dtype} allow; nothing was written."
            )
        values, equal, near, worst = values + exact.size, equal + same, near + close, max(worst, off)
    is_float32 = any(target.spec.dtype == "F32" for target in chosen)
    return {
        "sampled_tensors": len(chosen),
        "sampled_values": values,
        "correctly_rounded": equal / values if values else 1.0,
        **({"within_one_step": near / values, "largest_share_of_limit": worst} if is_float32 else {}),
    }


def _sampled_rows(target: Target, rng: Any) -> Any:
    """Rows of a target: some of all, and some of those that were replaced."""
    import numpy as np

    count = target.spec.shape[0]
    found = [rng.choice(count, min(SAMPLED_ROWS, count), replace=False)]
    for rows in target.rows:
        places = rows.places(count)
        found.append(
            np.array([places[i] for i in rng.choice(len(places), min(SAMPLED_ROWS, len(places)), replace=False)])
        )
    return np.unique(np.concatenate(found))


def _exact_rows(
    base: Checkpoint, target: Target, rows: Any, proof: Proof, adapters: Sequence[Adapter]
) -> tuple[Any, Any]:
    """float64 (n, I) of some rows: the exact merge, and the sum of the sizes of what was added up."""
    import numpy as np

    from zhllm.model.tensors import to_f32

    tensors, key = (base, target.source) if target.whole is None else (target.whole.tensors, target.whole.key)
    start = to_f32(np.array(tensors.raw(key)[rows]), tensors.specs[key].dtype).astype(np.float64)
    for replaced in target.rows:
        places = np.array(replaced.places(target.spec.shape[0]))
        for number, row in enumerate(rows):
            (at,) = np.nonzero(places == row)
            if len(at):
                part = replaced.part
                start[number] = to_f32(np.array(part.tensors.raw(part.key)[at[0]]), part.tensors.specs[part.key].dtype)
    exact, size = start.copy(), np.abs(start)
    for adapter in adapters:
        update = adapter.updates.get(target.spec.name)
        if update is None:
            continue
        scale = proof.scales[adapter.folder, target.spec.name]
        a, b = update.a.astype(np.float64), update.b[rows].astype(np.float64)
        gain = scale * (b @ a)
        exact, size = exact + gain, size + abs(scale) * (np.abs(b) @ np.abs(a))
        if update.magnitude is not None:
            share = update.magnitude[rows].astype(np.float64) / np.linalg.norm(start + gain, axis=1)
            exact, size = exact * share[:, None], size * np.abs(share)[:, None]
    return exact, size


def _compare(written: Checkpoint, target: Target, rows: Any, exact: Any, size: Any) -> tuple[int, int, float]:
    """How many values are the exact one rounded once, how many within a step of it, and the largest error as a share
    of what is allowed."""
    import numpy as np
    import torch

    from zhllm.model.tensors import to_f32

    dtype = target.spec.dtype
    found = to_f32(np.array(written.raw(target.spec.name)[rows]), dtype).astype(np.float64)
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126)))
    least = {"F16": -24.0}.get(dtype, -133.0)
    half_step = 2.0 ** (np.maximum(exponent - MANTISSA[dtype], least) - 1)
    off = np.abs(found - exact) / (half_step + SUM_ERROR * size)
    kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    once = torch.from_numpy(exact).to(kind).double().numpy()
    steps = np.abs(found - once) / (2 * half_step)
    return int((steps == 0).sum()), int((steps <= 1).sum()), float(off.max())
