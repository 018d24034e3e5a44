"""What a complete model directory holds beside its weights, and copying those files along."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.model.llama import read_config
from zhllm.text.prompt_format import PromptFormat
from zhllm.vocab.hf_files import TOKENIZER_FILES, write_chat_template, write_json
from zhllm.vocab.tokenizer import Tokenizer, read_json

EXTRA_TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy every tokenizer file that `source` has."""
    for name in dict.fromkeys((*TOKENIZER_FILES, *EXTRA_TOKENIZER_FILES)):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def write_model_config(target: Path, config: dict[str, Any], tokenizer: Tokenizer, vocab_size: int) -> None:
    """Write config.json and generation_config.json with this vocabulary's size and special ids."""
    ids = {role: tokenizer.special_id(role) for role in ("bos", "eos", "pad")}
    special = {f"{role}_token_id": i for role, i in ids.items() if i is not None}
    write_json(target / "config.json", {**config, "vocab_size": vocab_size, **special})
    path = target / "generation_config.json"
    generation = read_json(path) if path.is_file() else {}
    write_json(path, {**special, **generation})


def set_chat_template(target: Path, template: str) -> None:
    """Give a directory this chat template, inline and as a file."""
    config = read_json(target / "tokenizer_config.json")
    write_chat_template(target, config, template)


def set_prompt_format(target: Path, chat_format: PromptFormat, tokenizer: Tokenizer) -> None:
    """Give a directory a format's chat template, and in generation_config.json the ids that end its answers.

    DataError where the tokenizer lacks the format's end token.
    """
    decided = chat_format.generation_config(tokenizer)
    set_chat_template(target, chat_format.jinja())
    path = target / "generation_config.json"
    write_json(path, {**(read_json(path) if path.is_file() else {}), **decided})


def carry_prompt_format(source: Path, target: Path) -> None:
    """Give a directory the chat template of another and its generation_config.json; nothing without a template."""
    template = chat_template(source)
    if template is None:
        return
    set_chat_template(target, template)
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", target / "generation_config.json")


def chat_template(folder: Path) -> str | None:
    """The chat template of a directory, from the file or inline; None where there is none, DataError if no text."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 text ({error}).") from error
    config = folder / "tokenizer_config.json"
    inline = read_json(config).get("chat_template") if config.is_file() else None
    return inline if isinstance(inline, str) else None


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """DataError when a model has fewer embedding rows than its tokenizer has ids."""
    rows = read_config(folder)["vocab_size"]
    if rows < tokenizer.vocab_size:
        raise DataError(
            f"{folder}: the model has {rows} embedding rows, the tokenizer {tokenizer.folder} "
            f"{tokenizer.vocab_size} ids. Run zhllm resize first, or give the tokenizer it was trained with."
        )
