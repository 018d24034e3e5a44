"""merge: adapters folded into their base, streamed, with one rounding."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from zhllm import manifest
from zhllm.config import Config, InputPath, InputPaths, Role
from zhllm.progress import say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.model.lora import Adapter
    from zhllm.model.merging import Plan
    from zhllm.model.tensors import Checkpoint

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)


class MergeConfig(Config):
    """Flags of `zhllm merge`."""

    model: InputPath = Field(description="The model directory the adapters were trained on.")
    adapter: InputPaths = Field((), description="Adapter folders, in the order they are applied.")
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="What the merged weights are stored in (default: as each weight of the base is)."
    )
    max_shard_size: str = Field("5GB", description="Largest weight file, such as 500MB or 5GB.")
    import_: bool = Field(
        False,
        description="Model or adapters are another tool's: vocabulary rows may differ, and the tokenizer's files are "
        "made to match them. Needs no --adapter where the model is merged already.",
    )
    tokenizer: InputPath | None = Field(
        None, description="With --import: tokenizer the model was trained with (default: the adapter's or the model's)."
    )
    workers: Annotated[int | None, Role.RUNTIME] = Field(
        None, gt=0, description="Weights merged at once (default: as many as there are cores)."
    )

    @field_validator("max_shard_size")
    @classmethod
    def _is_size(cls, value: str) -> str:
        if SIZE.fullmatch(value) is None or bytes_of(value) < 1:
            raise ValueError(f"{value!r} is no size; write 500MB or 5GB")
        return value

    @model_validator(mode="after")
    def _has_work(self) -> MergeConfig:
        if not self.adapter and not self.import_:
            raise ValueError("--adapter: give one adapter or more (none only with --import)")
        if self.tokenizer is not None and not self.import_:
            raise ValueError("--tokenizer is for --import; elsewhere the base's tokenizer is the model's")
        return self


def bytes_of(size: str) -> int:
    """The bytes that a text such as 5GB or 512MiB names."""
    found = SIZE.fullmatch(size)
    assert found is not None
    unit = 1024 if "i" in size.lower() else 1000
    return int(float(found[1]) * unit ** " KMGT".index(found[2].upper() or " "))


def run(config: MergeConfig, out: Path) -> Metrics:
    """Writes a plain, complete model directory, its card README.md, and merge_report.json.

    LoRA, rsLoRA, DoRA, new rows, modules_to_save, trained tokens and biases; peft's adapters and zhllm's.
    The model is never in memory. Proves: base and tokenizer are those the adapters were trained with;
    every adapter tensor was used; logits of the merged model equal those of base + adapters on a probe;
    sampled values are float64's but for the error of float32 sums and one rounding. For QLoRA adapters
    the report has the loss on the full-precision and on the dequantised base.

    \b
    zhllm merge --model resized --adapter pretrained -o merged
    zhllm merge --model resized --adapter pretrained answers --dtype bfloat16 -o merged
    zhllm merge --import --model llama-7b --adapter chinese-alpaca-lora-7b -o merged
    """
    from zhllm.model.lora import Adapter, check_finite
    from zhllm.model.merging import plan_merge
    from zhllm.model.tensors import Checkpoint
    from zhllm.vocab.hf_files import write_json
    from zhllm.vocab.tokenizer import Tokenizer

    base, adapters = Checkpoint(config.model), [Adapter(path) for path in config.adapter]
    if not config.import_:
        check_inputs(config)
    plan = plan_merge(base, adapters, DTYPES.get(config.dtype or ""), resize=config.import_)
    for adapter in adapters:
        check_finite(adapter)
    for name in plan.overridden:
        say(f"{name}: a later adapter's values take the place of an earlier one's")
    tokens = write_tokenizer_files(config, plan, out)
    tokenizer = Tokenizer(out)
    write_configs(config, plan, tokenizer, out)
    report = write_weights(config, base, plan, adapters, tokenizer, out)
    report |= {"adapter_tensors_used": plan.used, "untied": plan.untied, "overridden": plan.overridden, **tokens}
    write_json(out / "merge_report.json", report)
    metrics = {
        "adapters": len(adapters),
        "modules_updated": sum(not target.is_copy or target.whole is not None for target in plan.targets),
        "adapter_tensors_used": plan.used,
        **{key: value for key, value in report.items() if isinstance(value, (int, float)) and key != "untied"},
        **{name: share for name, share in report["rounding"].items() if not name.startswith("sampled")},
        **{name: value for name, value in report.get("quantised_base", {}).items() if name.startswith("loss")},
    }
    write_card(config, plan, report, out)
    return metrics


def check_inputs(config: MergeConfig) -> None:
    """DataError when base or tokenizer are not those that the adapters were trained with."""
    from zhllm.model.directory import check_vocabulary
    from zhllm.stages._merge_lineage import check_lineage, check_tokenizers
    from zhllm.vocab.tokenizer import Tokenizer

    check_lineage(config.model, config.adapter)
    if (config.model / "tokenizer.json").is_file():
        check_vocabulary(config.model, Tokenizer(config.model))
        check_tokenizers(config.model, config.adapter)


def write_tokenizer_files(config: MergeConfig, plan: Plan, out: Path) -> dict[str, Any]:
    """The merged model's tokenizer and chat template; what an import had to change."""
    from zhllm.model.directory import carry_prompt_format, chat_template
    from zhllm.model.tokenizer_files import complete_tokenizer, fit_tokenizer

    templates = [found for path in (config.model, *config.adapter) if (found := chat_template(path)) is not None]
    template = templates[-1] if templates else None
    source = config.model if not config.import_ else tokenizer_source(config)
    if config.import_ and (source.is_file() or (source / "tokenizer.model").is_file()):
        fitted = fit_tokenizer(source, out, plan.vocab_rows, template)
        for change in fitted.changes:
            say(f"tokenizer: {change}")
        return {"imported_tokenizer": {"pieces": fitted.pieces, "rows": fitted.rows, "changes": fitted.changes}} | ties(
            out
        )
    complete_tokenizer(source, out)
    for path in config.adapter:
        carry_prompt_format(path, out)
    return {}


def tokenizer_source(config: MergeConfig) -> Path:
    """Where an imported model's tokenizer is: what --tokenizer names, the last adapter that has one, or the model."""
    if config.tokenizer is not None:
        return config.tokenizer
    places = [*reversed(config.adapter), config.model]
    return next(
        (p for p in places if (p / "tokenizer.model").is_file() or (p / "tokenizer.json").is_file()), config.model
    )


def ties(out: Path) -> dict[str, Any]:
    """How many probe texts tokenizer.json cuts otherwise than tokenizer.model: no merge list can say equal scores."""
    from zhllm.stages._merge_proof import PROBE
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(out)
    wanted = tokenizer.encode_plain(PROBE)
    tokenizer.fast.encode_special_tokens = True
    found = [tokenizer.fast.encode(line, add_special_tokens=False).ids for line in PROBE]
    differ = sum(a != b for a, b in zip(wanted, found, strict=True))
    if differ:
        say(
            f"tokenizer: tokenizer.json cuts {differ} of {len(PROBE)} probe texts otherwise than tokenizer.model, "
            "which the model was trained with: its added pieces have equal scores, and a merge list cannot say so. "
            "llama.cpp (zhllm export) and SentencePiece read tokenizer.model."
        )
    return {"tokenizer_json_differs": differ, "tokenizer_probe_texts": len(PROBE)}


def write_configs(config: MergeConfig, plan: Plan, tokenizer: Any, out: Path) -> None:
    """config.json and generation_config.json, and the base's licence files."""
    from zhllm.model.directory import write_model_config
    from zhllm.model.llama import read_config

    settings = read_config(config.model)
    if plan.untied:
        settings["tie_word_embeddings"] = False
    if config.dtype is not None:
        settings |= {"dtype": config.dtype, "torch_dtype": config.dtype}
    write_model_config(out, settings, tokenizer, plan.vocab_rows)
    for path in sorted(config.model.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")):
            shutil.copyfile(path, out / path.name)


def write_weights(
    config: MergeConfig, base: Checkpoint, plan: Plan, adapters: Sequence[Adapter], tokenizer: Any, out: Path
) -> dict[str, Any]:
    """Merge, with the proof's forward passes and the digests following from tensor to tensor; the report."""
    from zhllm.model.merge_blocks import OpenFiles, write_merged
    from zhllm.model.shards import Shards
    from zhllm.stages._merge_proof import Proof, check_rounding, probe_ids

    specs = [target.spec for target in plan.targets]
    ids = probe_ids(tokenizer, sum(math.prod(spec.shape) for spec in specs))
    workers = config.workers or len(os.sched_getaffinity(0))
    with closing(OpenFiles()) as files, ThreadPoolExecutor(workers) as pool:
        with Shards(out, specs, bytes_of(config.max_shard_size)) as shards:
            digests = {name: pool.submit(shards.sha256, number) for number, name in enumerate(shards.names)}
            proof = Proof.start(out, base, plan, adapters, shards, files, ids)
            try:
                write_merged(base, plan.targets, shards, workers)
                dtype = max(specs, key=lambda spec: spec.size_bytes).dtype
                report: dict[str, Any] = {"dtype": dtype, **proof.logits(out, dtype)}
            finally:
                shards.fail()
                proof.stop()
        report["rounding"] = check_rounding(base, plan, out, proof, adapters)
        for name, digest in digests.items():
            manifest.remember_digest(out / name, digest.result())
    return report


def write_card(config: MergeConfig, plan: Plan, report: dict[str, Any], out: Path) -> None:
    """README.md: what was merged, from where, and what was proved."""
    from zhllm.model.llama import read_config
    from zhllm.stages._merge_lineage import card

    settings = read_config(out)
    facts = {
        "architecture": (settings.get("architectures") or [settings.get("model_type", "model")])[0],
        "parameters": sum(math.prod(target.spec.shape) for target in plan.targets),
        "vocabulary rows": plan.vocab_rows,
        "stored in": report["dtype"],
        "adapters": len(config.adapter),
        "adapter tensors used": plan.used,
        "largest logit difference to base + adapters": report["largest_logit_difference"],
        "of logits up to": report["logit_scale"],
        "greedy agreement on the probe": report["greedy_agreement"],
        **rounding_facts(report["rounding"]),
        **{key.replace("_", " "): value for key, value in report.get("quantised_base", {}).items()},
    }
    (out / "README.md").write_text(card(config.model, config.adapter, facts), encoding="utf-8")


def rounding_facts(rounding: dict[str, Any]) -> dict[str, float]:
    """What the card says of the sampled values; float32 sums may be a step of float32 off, and seldom one of bf16."""
    equal = "sampled values equal to float64 rounded once"
    if "within_one_step" not in rounding:
        return {equal: rounding["correctly_rounded"]}
    return {
        "sampled values within one float32 step of float64 rounded once": rounding["within_one_step"],
        f"{equal} (sums are float32)": rounding["correctly_rounded"],
        "their largest error, as a share of what float32 sums may be off": rounding["largest_share_of_limit"],
    }


STAGE = Stage("merge", 5, MergeConfig, run)
