"""export: GGUF files and a Modelfile that are provably the model they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths
from zhllm.errors import ProofError
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.infer.fidelity import Reference
    from zhllm.text.prompt_format import PromptFormat
    from zhllm.vocab.tokenizer import Tokenizer


class ExportConfig(Config):
    """Flags of `zhllm export`."""

    model: InputPath = Field(description="Model directory, merged.")
    type: tuple[Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"], ...] = Field(
        ("q8_0",), min_length=1, description="GGUF types to write; the Modelfile names the first."
    )
    name: str = Field("model", pattern=r"^[\w.-]+$", description="File name before the type.")
    text: InputPaths = Field((), description="Text to prove and measure quality on (held out, best).")


# The largest mean KL divergence a type may have from the source before the file is refused: several
# times what is usual for it, so only a broken file fails.
KL_LIMIT = {"f32": 1e-6, "f16": 1e-4, "bf16": 2e-3, "q8_0": 0.02, "q6_k": 0.1, "q5_k_m": 0.3, "q4_k_m": 1.0}

# The largest error a row may have, as a share of its length. A logit proof alone says little of a
# model whose layers do little yet; a row in the wrong place is off by 1.4. For q8_0 it is the bound
# (a block's largest value / 254 for each of 32), for the others twice what the worst rows show.
ROW_ERROR_LIMIT = {"f32": 0.0, "f16": 1e-3, "bf16": 4e-3, "q8_0": 0.025, "q6_k": 0.15, "q5_k_m": 0.2, "q4_k_m": 0.4}


def run(config: ExportConfig, out: Path) -> Metrics:
    """Writes <name>-<type>.gguf for every type, a Modelfile for Ollama, and report.json.

    Proves for each file: tensors, token ids and rendered chat equal to the source, logits within
    the type's limit; where xllamacpp is installed, llama.cpp loads it and agrees.

    \b
    zhllm export --model merged --type q8_0 q4_k_m --text clean -o gguf
    """
    from zhllm.infer.fidelity import Reference, probe_texts
    from zhllm.model.directory import chat_template, check_vocabulary
    from zhllm.model.gguf_file import open_source, write_gguf
    from zhllm.text.prompt_format import format_of
    from zhllm.vocab.hf_files import write_json
    from zhllm.vocab.tokenizer import Tokenizer

    source, tokenizer = open_source(config.model), Tokenizer(config.model)
    check_vocabulary(config.model, tokenizer)
    template = chat_template(config.model)
    chat_format = format_of(template) if template is not None else None
    shown = chat_format.jinja(mark_answers=False) if chat_format is not None else template
    end_id = end_id_of(chat_format, tokenizer)
    reference = Reference(config.model, tokenizer, probe_texts(config.text))
    report: dict[str, Any] = {}
    for kind in config.type:
        path = out / f"{config.name}-{kind}.gguf"
        with bar(f"writing {path.name}", unit="bytes") as written:
            write_gguf(source, path, kind, shown, end_id, written.advance)
        report[kind] = prove(path, kind, reference, source, chat_format)
        say(f"{path.name}: {report[kind]['bytes']:,} bytes, mean KL {report[kind]['kl_mean']:.2g}")
    write_json(out / "report.json", report)
    if chat_format is not None:
        (out / "Modelfile").write_text(modelfile(config, chat_format), encoding="utf-8")
    return {f"{name}_{kind}": value for kind, row in report.items() for name, value in row.items()}


def end_id_of(chat_format: PromptFormat | None, tokenizer: Tokenizer) -> int:
    """The id at which generation stops."""
    from zhllm.train.chats import end_of_turn_id

    return tokenizer.eos_id if chat_format is None else end_of_turn_id(chat_format, tokenizer)


def prove(path: Path, kind: str, reference: Reference, source: Any, chat_format: PromptFormat | None) -> dict[str, Any]:
    """Quality of one file; raises ProofError when it is not the source model."""
    from zhllm.infer import llamacpp
    from zhllm.infer.fidelity import compare_logits, prove_in_llama_cpp, prove_vocabulary
    from zhllm.model.gguf_file import largest_row_error, read_back
    from zhllm.model.gguf_read import GgufFile

    file = GgufFile(path)
    prove_vocabulary(file, reference)
    weights = read_back(file, source)
    error, where = largest_row_error(source, weights)
    if not error <= ROW_ERROR_LIMIT[kind]:
        raise ProofError(
            f"{path.name}: {where} is off by {error:.3g} of its length (limit {ROW_ERROR_LIMIT[kind]} for {kind}); "
            "nothing was written."
        )
    row: dict[str, Any] = {"bytes": path.stat().st_size, "largest_row_error": error}
    row |= compare_logits(reference, weights)
    if row["kl_mean"] > KL_LIMIT[kind]:
        raise ProofError(
            f"{path.name}: mean KL divergence from the source is {row['kl_mean']:.3g} (limit {KL_LIMIT[kind]} "
            f"for {kind}); nothing was written."
        )
    if llamacpp.available():
        row |= prove_in_llama_cpp(path, reference, chat_format, KL_LIMIT[kind])
    else:
        say("xllamacpp is not installed: llama.cpp itself was not asked (pip install 'zhllm[llama]').")
    return row


def modelfile(config: ExportConfig, chat_format: PromptFormat) -> str:
    """Ollama's Modelfile: the file, the template, where to stop.

    Source: Ollama's Modelfile reference.
    """
    return (
        f"FROM ./{config.name}-{config.type[0]}.gguf\n"
        f'TEMPLATE """{chat_format.go_template()}"""\n'
        f'PARAMETER stop "{chat_format.end}"\n'
        "PARAMETER temperature 0\n"
    )


STAGE = Stage("export", 2, ExportConfig, run)
