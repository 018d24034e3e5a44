"""merge: adapters folded into their base, streamed, with one rounding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths
from zhllm.errors import DataError, ProofError
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.model.lora import Adapter
    from zhllm.model.tensors import Checkpoint


class MergeConfig(Config):
    """Flags of `zhllm merge`."""

    model: InputPath = Field(description="The model directory the adapters were trained on.")
    adapter: InputPaths = Field(min_length=1, description="Adapter folders, in the order they are applied.")


def run(config: MergeConfig, out: Path) -> Metrics:
    """Writes a plain, complete model directory and merge_report.json.

    Proves: the base is the one the adapters were trained on; every adapter tensor was used; logits
    of the merged model equal those of base + adapters on a probe.

    \b
    zhllm merge --model resized --adapter pretrained -o merged
    """
    from zhllm.model.directory import carry_prompt_format, copy_tokenizer, write_model_config
    from zhllm.model.llama import read_config
    from zhllm.model.lora import Adapter, merged_blocks
    from zhllm.model.tensors import Checkpoint, Writer
    from zhllm.vocab.hf_files import write_json
    from zhllm.vocab.tokenizer import Tokenizer

    base, adapters = Checkpoint(config.model), [Adapter(path) for path in config.adapter]
    for path in config.adapter:
        check_lineage(config.model, path)
    check_fit(config, base, adapters)
    with Writer(out, list(base.specs.values())) as writer:
        for name in base.specs:
            writer.write(name, merged_blocks(base, name, adapters))
    copy_tokenizer(config.model, out)
    for path in config.adapter:
        carry_prompt_format(path, out)
    tokenizer = Tokenizer(config.model)
    model_config = read_config(config.model)
    write_model_config(out, model_config, tokenizer, model_config["vocab_size"])
    report = prove_logits(config, out, tokenizer)
    used = sum(len(a.updates) + len(a.new_rows) for a in adapters)
    write_json(out / "merge_report.json", report | {"adapter_tensors_used": used})
    return {"adapters": len(adapters), "modules_updated": used, **report}


def check_lineage(model: Path, adapter: Path) -> None:
    """DataError when the adapter's manifest names another base than this one."""
    from zhllm import manifest

    made = manifest.read(adapter)
    if made is None:
        return  # a plain peft folder: shapes and logits still decide
    trained_on = made.key["inputs"].get("model", [None])[0]
    given = manifest.digest(model)
    if trained_on != given:
        was = made.made_by.get("input_paths", {}).get("model", ["?"])[0]
        raise DataError(
            f"{adapter}: was trained on another model ({was}, digest {str(trained_on)[:12]}) than {model} "
            f"(digest {given[:12]}). Give the model it was trained on."
        )


def check_fit(config: MergeConfig, base: Checkpoint, adapters: list[Adapter]) -> None:
    """DataError when an adapter tensor has no place in the base."""
    for path, adapter in zip(config.adapter, adapters, strict=True):
        for name, update in adapter.updates.items():
            shape = base.specs[name].shape if name in base.specs else None
            if shape != (update.b.shape[0], update.a.shape[1]):
                raise DataError(
                    f"{path}: its update of {name} is {update.b.shape[0]} x {update.a.shape[1]}, "
                    f"the base {config.model} has {shape}. Is this the model it was trained on?"
                )
        for name, rows in adapter.new_rows.items():
            total = base.specs[name].shape[0] if name in base.specs else 0
            if len(rows) > total or rows.shape[1:] != base.specs[name].shape[1:]:
                raise DataError(
                    f"{path}: holds new rows of {name}, {rows.shape[0]} x {rows.shape[1]}, that do not fit "
                    f"{config.model} ({total} rows)."
                )


PROBE = (
    "人工智能模型的训练需要大量的中文语料。",
    "The quick brown fox jumps over the lazy dog.",
    "２０２６年　价格：￥９９．５",
)


def prove_logits(config: MergeConfig, out: Path, tokenizer: Any) -> dict[str, float]:
    """Largest logit difference and greedy agreement of merged against base + adapters.

    The tolerance is that of one rounding in the stored dtype. Raises ProofError beyond it.
    """
    from zhllm.infer.probe import adapted_logits, logits

    ids = tokenizer.encode_plain(PROBE)
    wanted = adapted_logits(config.model, config.adapter, ids)
    found = logits(out, ids)
    worst = max(float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True))
    agree = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(wanted, found, strict=True))
    total = sum(len(a) for a in wanted)
    scale = max(float(a.abs().max()) for a in wanted)
    stored = read_dtype(out)
    limit = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}.get(stored, 1e-1) * max(scale, 1.0)
    if worst > limit:
        raise ProofError(
            f"the merged model's logits differ from base + adapters by {worst:.3g} (limit {limit:.3g} for {stored}); "
            "nothing was written."
        )
    return {"largest_logit_difference": worst, "greedy_agreement": agree / total, "logit_scale": scale}


def read_dtype(folder: Path) -> str:
    """The dtype a checkpoint is stored in: that of its largest tensor."""
    from zhllm.model.tensors import Checkpoint

    largest = max(Checkpoint(folder).specs.values(), key=lambda spec: spec.size_bytes)
    return {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(largest.dtype, largest.dtype)


STAGE = Stage("merge", 3, MergeConfig, run)
