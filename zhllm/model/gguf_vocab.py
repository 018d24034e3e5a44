"""A tokenizer's vocabulary as GGUF metadata: tokens, scores and types exactly as llama.cpp reads them.

Source: the GGUF specification (ggml/docs/gguf.md) and llama.cpp's vocabulary loader.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.vocab import sentencepiece_model
from zhllm.vocab.tiktoken_file import LLAMA3_PATTERN, QWEN2_PATTERN
from zhllm.vocab.tokenizer import Tokenizer, read_json

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

# llama.cpp knows a byte-level vocabulary's pre-tokenizer by name; the name is found by the
# regular expression the tokenizer.json holds.
PRE_TOKENIZERS = {LLAMA3_PATTERN: "llama-bpe", QWEN2_PATTERN: "qwen2"}


def add_vocabulary(writer: GGUFWriter, folder: Path, rows: int, template: str | None, end_id: int) -> None:
    """Write the tokenizer of a model directory; ids from its last token up to `rows` become [PADi]."""
    tokenizer = Tokenizer(folder)
    if (folder / "tokenizer.model").is_file():
        _add_sentencepiece(writer, folder, rows)
    else:
        _add_byte_level(writer, folder, rows)
    for role, add in (
        ("bos", writer.add_bos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        if (found := tokenizer.special_id(role)) is not None:
            add(found)
    writer.add_eos_token_id(end_id)  # where generation stops: the chat's end of turn
    if end_id != tokenizer.eos_id:
        writer.add_eot_token_id(tokenizer.eos_id)
    writer.add_add_bos_token(tokenizer.special_id("bos") is not None)
    writer.add_add_eos_token(False)
    if template is not None:
        writer.add_chat_template(template)


def _add_sentencepiece(writer: GGUFWriter, folder: Path, rows: int) -> None:
    model = sentencepiece_model.load(folder)
    missing = rows - len(model.pieces)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece.encode() for p in model.pieces] + _pads(len(model.pieces), rows))
    writer.add_token_scores([p.score for p in model.pieces] + [-1000.0] * missing)
    writer.add_token_types([p.type for p in model.pieces] + [UNUSED] * missing)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)


def _pads(first: int, rows: int) -> list[bytes]:
    return [f"[PAD{i}]".encode() for i in range(first, rows)]


def _add_byte_level(writer: GGUFWriter, folder: Path, rows: int) -> None:
    content = read_json(folder / "tokenizer.json")
    model = content["model"]
    if model.get("type") != "BPE":
        raise DataError(f"{folder}: tokenizer.json holds a {model.get('type')} model; GGUF export knows BPE.")
    tokens: list[bytes] = [f"[PAD{i}]".encode() for i in range(rows)]
    types = [UNUSED] * rows
    for piece, index in model["vocab"].items():
        tokens[index], types[index] = piece.encode(), NORMAL
    for added in content.get("added_tokens", []):
        tokens[added["id"]] = added["content"].encode()
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(folder, content))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])


def pre_tokenizer_name(folder: Path, content: dict[str, Any]) -> str:
    """llama.cpp's name of the pre-tokenizer of a tokenizer.json; DataError for one it would not know."""
    text = json.dumps(content.get("pre_tokenizer"), ensure_ascii=False)
    for pattern, name in PRE_TOKENIZERS.items():
        if json.dumps(pattern, ensure_ascii=False) in text:
            return name
    raise DataError(f"{folder}: its pre-tokenizer is not one whose llama.cpp name is known: {text[:200]}")
