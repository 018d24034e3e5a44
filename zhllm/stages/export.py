"""export: GGUF files and a Modelfile that are provably the model they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zhllm.stage import Metrics, Stage
from zhllm.stages._export_config import ExportConfig, types_of

if TYPE_CHECKING:
    from zhllm.text.prompt_format import PromptFormat


def run(config: ExportConfig, out: Path) -> Metrics:
    """Writes <name>-<type>.gguf for every type, a Modelfile for Ollama, report.json and report.html.

    Proves for each file: tensors as gguf-py reads them again, token ids and rendered chat equal to the
    source, logits within the type's limit; where xllamacpp is installed, llama.cpp loads it and agrees.
    An adapter becomes <adapter's folder>-lora.gguf, for llama.cpp's --lora.

    \b
    zhllm export --model merged --type q8_0 q4_k_m --text clean -o gguf
    zhllm export --model merged --max-bpc-increase 1% --text clean -o gguf
    """
    from zhllm.model.directory import check_vocabulary
    from zhllm.model.gguf_file import open_source
    from zhllm.stages._export_files import check_disk, template_of, write_adapters, write_files
    from zhllm.stages._export_report import html_of
    from zhllm.vocab.hf_files import write_json
    from zhllm.vocab.tokenizer import Tokenizer

    source, tokenizer = open_source(config.model), Tokenizer(config.model)
    check_vocabulary(config.model, tokenizer)
    found, shown = template_of(config, tokenizer)
    check_disk(config, source, out)
    adapters = write_adapters(config, source, out)
    if not types_of(config):
        return adapters
    report = write_files(config, source, tokenizer, found, shown, out)
    write_json(out / "report.json", report)
    (out / "report.html").write_text(html_of(config.name, report), encoding="utf-8")
    if found is not None:
        (out / "Modelfile").write_text(modelfile(f"{config.name}-{report['kept'][0]}.gguf", found), encoding="utf-8")
    rows = {f"{name}_{kind}": value for kind, row in report["types"].items() for name, value in row.items()}
    return adapters | rows | {"kept": " ".join(report["kept"])}


def modelfile(file: str, chat_format: PromptFormat) -> str:
    """Ollama's Modelfile beside the GGUF files, greedy as `zhllm chat` is."""
    return chat_format.modelfile(f"./{file}", temperature=0)


STAGE = Stage("export", 3, ExportConfig, run)
