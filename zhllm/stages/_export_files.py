"""What `export` does for each file: choose, write, prove, and say how good it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm.errors import DataError, ProofError, StageError
from zhllm.progress import bar, say
from zhllm.stages._export_config import ExportConfig, types_of

if TYPE_CHECKING:
    from zhllm.infer.fidelity import Reference
    from zhllm.model.gguf_file import Source
    from zhllm.model.gguf_stream import Encoder
    from zhllm.text.prompt_format import PromptFormat
    from zhllm.vocab.tokenizer import Tokenizer

# The largest mean KL divergence a type may have from the source before the file is refused: several
# times what is usual for it, so only a broken file fails.
KL_LIMIT = {
    "f32": 1e-6, "f16": 1e-4, "bf16": 2e-3, "q8_0": 0.02, "q6_k": 0.1, "q5_k_m": 0.3, "q4_k_m": 1.0, "q4_k_s": 1.0,
    "q4_0": 1.5, "q3_k_m": 2.5, "q2_k": 5.0,
}  # fmt: skip
# How far below its likeliest token the same weights in transformers may see a token that llama.cpp chose, in nats:
# llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights.
MARGIN = {"f32": 0.1, "f16": 0.1, "bf16": 0.2}
QUANTISED_MARGIN = 1.0


def template_of(config: ExportConfig, tokenizer: Tokenizer) -> tuple[PromptFormat | None, str | None]:
    """The chat format of the model's template, and the template as GGUF files hold it.

    Where its maker wrote a known format in other words, the words stay: they may know of tools, too. DataError for a
    template of another format, unless --foreign-template takes it as it is.
    """
    from zhllm.infer.writing import template_tokens
    from zhllm.model.chat_templates import additions, recognise
    from zhllm.model.directory import chat_template
    from zhllm.text.prompt_format import FORMATS, format_of

    template = chat_template(config.model)
    if template is None:
        if types_of(config):
            say(f"{config.model}: has no chat template: no Modelfile is written; sft gives a model one.")
        return None, None
    found = format_of(template) if config.foreign_template else recognise(template, template_tokens(tokenizer))
    if found is not None:
        plain = found.jinja(mark_answers=False)
        if template.strip() in (plain, found.jinja()):
            return found, plain
        switches = ", proved with these switches" if found.settings else ""
        words = f"{found.name} in its maker's words{additions(found)}"
        say(f"The chat template is {words}: it is written as it is{switches}.")
        return found, template
    if config.foreign_template:
        say("The chat template is not one of zhllm's: it is written as it is, without a Modelfile.")
        return None, template
    raise DataError(
        f"{config.model}: its chat template is none that zhllm knows ({', '.join(FORMATS)}), so what Ollama and "
        "llama.cpp would make of it cannot be proved. Give --foreign-template to write it as it is, without Modelfile."
    )


def check_disk(config: ExportConfig, source: Source, out: Path) -> None:
    """StageError before anything is written when the files cannot fit on the disk."""
    from zhllm.model.gguf_stream import plan_of

    sizes = [sum(item.size_bytes for item in plan_of(source, kind)) for kind in types_of(config)]
    # While the smallest type is sought, one file stands at a time.
    needed = max(sizes, default=0) if config.max_bpc_increase else sum(sizes)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise StageError(
            f"-o {out.with_name(out.name.removesuffix('.partial'))}: the files need {needed / 1e9:.2f} GB, the disk "
            f"has {free / 1e9:.2f} GB left. Free some, name fewer --type, or choose another disk."
        )


def write_adapters(config: ExportConfig, source: Source, out: Path) -> dict[str, Any]:
    """Write every adapter as a GGUF adapter, proved against the adapter's own updates."""
    from zhllm.model.gguf_lora import write_lora

    found = {}
    for folder in config.adapter:
        path = out / f"{folder.name}-lora.gguf"
        modules = write_lora(source, folder, path)
        say(f"{path.name}: {path.stat().st_size:,} bytes, {modules} modules")
        found[f"modules_{folder.name}"] = modules
    return found


def write_files(
    config: ExportConfig,
    source: Source,
    tokenizer: Tokenizer,
    chat_format: PromptFormat | None,
    template: str | None,
    out: Path,
) -> dict[str, Any]:
    """Write and prove the files; the report of them all, and which were kept."""
    from zhllm.infer.fidelity import Reference

    if source.context_tokens < source.config["max_position_embeddings"]:
        say(
            f"{config.model}: the files read {source.context_tokens:,} tokens at once: beyond the model's sliding "
            "window llama.cpp would compute something else."
        )
    reference = Reference(source, tokenizer, config.text, config.text_tokens)
    encoder = encoder_of(config, reference)
    own = reference.figures()
    rows: dict[str, dict[str, Any]] = {}
    limit = None if config.max_bpc_increase is None else float(config.max_bpc_increase[:-1]) / 100
    for kind in types_of(config) if limit is None else by_size(source, types_of(config)):
        path = out / f"{config.name}-{kind}.gguf"
        write_one(path, kind, source, encoder, template, end_id_of(chat_format, tokenizer))
        rows[kind] = prove(path, kind, reference, source, chat_format, encoder) | {"kept": True}
        row = rows[kind]
        row["bpc_increase"] = row["bits_per_char"] / own["bits_per_char"] - 1
        say(f"{path.name}: {row['bytes']:,} bytes, {row['bits_per_weight']:.2f} bits a weight, "
            f"mean KL {row['kl_mean']:.2g}, {row['bpc_increase']:+.2%} bits per character")  # fmt: skip
        # Either way: damage can make a tuned model better at plain text.
        if limit is not None and abs(row["bpc_increase"]) <= limit:
            break
        if limit is not None:
            row["kept"] = False
            path.unlink()
    kept = [kind for kind, row in rows.items() if row["kept"]]
    if not kept:
        best = min(rows, key=lambda kind: abs(rows[kind]["bpc_increase"]))
        raise ProofError(
            f"no type keeps bits per character within {config.max_bpc_increase} of the source's: the nearest is {best} "
            f"with {rows[best]['bpc_increase']:+.2%}. Allow more, or add larger types to --type."
        )
    return {
        "kept": kept,
        "quantizer": encoder.engine,
        "importance_matrix": bool(encoder.importance),
        "context_tokens": source.context_tokens,
        "sample": {"tokens": reference.sample.tokens, "chars": reference.sample.chars,
                   "windows": len(reference.sample.ids), "own_text": reference.sample.is_own},
        "source": own,
        "types": rows,
    }  # fmt: skip


def by_size(source: Source, types: tuple[str, ...]) -> list[str]:
    """The types, smallest file first."""
    from zhllm.model.gguf_stream import plan_of

    return sorted(types, key=lambda kind: sum(item.size_bytes for item in plan_of(source, kind)))


def encoder_of(config: ExportConfig, reference: Reference) -> Encoder:
    """Whose quantiser with how many threads, and the importance matrix of --imatrix."""
    from zhllm.infer.fidelity import WINDOW, sample_of
    from zhllm.infer.importance import importance_of
    from zhllm.model.gguf_stream import Encoder
    from zhllm.model.kquants import llama_quantize_chunk

    importance = {}
    if config.imatrix:
        window = min(WINDOW, reference.source.context_tokens)
        text = sample_of(reference.tokenizer, config.imatrix, config.imatrix_tokens, window)
        importance = importance_of(reference.model, reference.source, text.ids)
        say(f"importance of {len(importance)} matrices' channels from {text.tokens:,} tokens")
    engine = "own" if config.quantizer == "auto" and llama_quantize_chunk() is None else config.quantizer
    return Encoder(engine, config.workers or cores(), importance)


def cores() -> int:
    """The cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def end_id_of(chat_format: PromptFormat | None, tokenizer: Tokenizer) -> int:
    """The id at which generation stops."""
    from zhllm.train.chats import end_of_turn_id

    return tokenizer.eos_id if chat_format is None else end_of_turn_id(chat_format, tokenizer)


def write_one(path: Path, kind: str, source: Source, encoder: Encoder, template: str | None, end_id: int) -> None:
    """Write one file under a bar."""
    from zhllm.model.gguf_stream import write_gguf

    with bar(f"writing {path.name}", unit="bytes") as written:
        write_gguf(source, path, kind, template, end_id, written.advance, encoder)


def prove(
    path: Path, kind: str, reference: Reference, source: Source, chat_format: PromptFormat | None, encoder: Encoder
) -> dict[str, Any]:
    """Quality of one file; raises ProofError when it is not the source model."""
    from zhllm.infer import llamacpp
    from zhllm.infer.fidelity import ask_llama_cpp, prove_chat, prove_vocabulary
    from zhllm.model.gguf_read import GgufFile

    file = GgufFile(path)
    prove_vocabulary(file, reference)
    if chat_format is not None:
        prove_chat(file, chat_format, reference.tokenizer)
    row = prove_tensors(file, kind, source, encoder)
    answers = None
    if llamacpp.available():
        answers = ask_llama_cpp(path, reference, chat_format)
        row["llama_cpp_kl_max"] = answers.kl_max
    else:
        say("xllamacpp is not installed: llama.cpp itself was not asked (pip install 'zhllm[llama]').")
    found, margin = reference.compare(file, answers.continued if answers else ())
    row |= found.figures(reference.sample.chars)
    if not row["kl_mean"] <= KL_LIMIT[kind]:
        raise ProofError(
            f"{path.name}: mean KL divergence from the source is {row['kl_mean']:.3g} (limit {KL_LIMIT[kind]} "
            f"for {kind}); nothing was written."
        )
    if answers is not None and not answers.kl_max <= max(KL_LIMIT[kind] * 20, 1e-3):
        raise ProofError(
            f"{path.name}: llama.cpp's next-token probabilities differ from the source (KL {answers.kl_max:.3g}); "
            "nothing was written."
        )
    if not margin <= (allowed := MARGIN.get(kind, QUANTISED_MARGIN)):
        raise ProofError(
            f"{path.name}: llama.cpp continued with a token that the same weights in transformers see {margin:.3g} "
            f"nats below the likeliest (limit {allowed}); nothing was written."
        )
    return row


def prove_tensors(file: Any, kind: str, source: Source, encoder: Encoder) -> dict[str, Any]:
    """Sizes, and the largest row error; raises ProofError when tensors are not the source's."""
    from math import prod

    from zhllm.model.gguf_proof import (
        ROW_ERROR_LIMIT,
        WEIGHTED_ROW_ERROR_LIMIT,
        check_with_gguf_py,
        largest_row_error,
    )

    check_with_gguf_py(file, source)
    error, where = largest_row_error(file, source, encoder.workers)
    limit = max(ROW_ERROR_LIMIT[kind], WEIGHTED_ROW_ERROR_LIMIT * bool(encoder.importance) * (kind[0] == "q"))
    if not error <= limit:
        raise ProofError(
            f"{file.path.name}: {where} is off by {error:.3g} of its length (limit {limit} for {kind}); "
            "nothing was written."
        )
    weights = sum(prod(tensor.shape) for tensor in file.tensors.values())
    stored = sum(tensor.data.nbytes for tensor in file.tensors.values())
    return {
        "bytes": file.path.stat().st_size,
        "bits_per_weight": 8 * stored / weights,
        "largest_row_error": error,
    }
