"""The files of a tokenizer directory, both generations, written from one SentencePiece model.

`tokenizer.json` is written by us: Hugging Face's converters rank merges by id and lose splits, so
their result differs from SentencePiece. Ours lists all splits of every piece, in the order in which
SentencePiece would join them. Format: tokenizers' JSON (huggingface/tokenizers), `BPE` model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson

from zhllm.vocab.sentencepiece_model import BYTE, CONTROL, META_SPACE, NORMAL, UNKNOWN, USER_DEFINED

TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "extension.json",
)


def all_splits(model: Any) -> list[tuple[str, str]]:
    """Every (left, right) of two NORMAL pieces that makes a NORMAL piece, best merge first.

    Order: score falling, then id, then length of the left part; the first is SentencePiece's
    choice, the others settle ties as it does (leftmost).
    """
    scores = {p.piece: p.score for p in model.pieces if p.type == NORMAL}
    merges = []
    for index, p in enumerate(model.pieces):
        if p.type != NORMAL:
            continue
        for cut in range(1, len(p.piece)):
            if p.piece[:cut] in scores and p.piece[cut:] in scores:
                merges.append((-p.score, index, cut, p.piece[:cut], p.piece[cut:]))
    merges.sort()
    return [(left, right) for *_, left, right in merges]


def special_ids(model: Any) -> dict[str, int]:
    """Ids of bos, eos, unk and (when there is one) pad, by role."""
    spec = model.trainer_spec
    ids = {"bos": spec.bos_id, "eos": spec.eos_id, "unk": spec.unk_id, "pad": spec.pad_id}
    return {role: i for role, i in ids.items() if 0 <= i < len(model.pieces)}


def _added_tokens(model: Any) -> list[tuple[int, str, bool]]:
    """(id, text, special) of every piece that is no part of BPE."""
    kinds = {CONTROL: True, UNKNOWN: True, USER_DEFINED: False}
    return [(i, p.piece, kinds[p.type]) for i, p in enumerate(model.pieces) if p.type in kinds]


def tokenizer_json(model: Any) -> dict[str, Any]:
    """The content of `tokenizer.json`: normaliser Prepend ▁ + Replace, no pre-tokenizer."""
    ids = special_ids(model)
    prepend = [{"type": "Prepend", "prepend": META_SPACE}] * model.normalizer_spec.add_dummy_prefix
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": META_SPACE}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * len(prepend)
    unspace = {"type": "Replace", "pattern": {"String": META_SPACE}, "content": " "}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": special,
            }
            for i, text, special in _added_tokens(model)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "post_processor": starts_with(model.pieces[ids["bos"]].piece, ids["bos"]) if "bos" in ids else None,
        "decoder": {
            "type": "Sequence",
            "decoders": [unspace, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": model.pieces[ids["unk"]].piece,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(p.type == BYTE for p in model.pieces),
            "ignore_merges": False,
            "vocab": {p.piece: i for i, p in enumerate(model.pieces)},
            "merges": [list(pair) for pair in all_splits(model)],
        },
    }


def starts_with(bos: str, bos_id: int) -> dict[str, Any]:
    """The post-processor that puts BOS before a text."""
    first, second = ([{"SpecialToken": {"id": bos, "type_id": n}}, {"Sequence": {"id": "AB"[n], "type_id": n}}]
                     for n in (0, 1))  # fmt: skip
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": first + second,
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }


def tokenizer_config(model: Any, chat_template: str | None) -> dict[str, Any]:
    """The content of `tokenizer_config.json`, readable by transformers 4 and 5."""
    ids = special_ids(model)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {
            str(i): {
                "content": text,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": special,
            }
            for i, text, special in _added_tokens(model)
        },
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1000000000000000019884624838656,
        "add_bos_token": "bos" in ids,
        "add_eos_token": False,
        "padding_side": "left",
        **{f"{role}_token": model.pieces[i].piece for role, i in ids.items()},
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    return config


def write_tokenizer(out: Path, model: Any, base_size: int | None = None, chat_template: str | None = None) -> None:
    """Write all files of a tokenizer directory; `base_size` marks where the added rows begin."""
    ids = special_ids(model)
    (out / "tokenizer.model").write_bytes(model.SerializeToString())
    write_tokenizer_json(out / "tokenizer.json", tokenizer_json(model))
    write_json(out / "added_tokens.json", {})
    specials = {f"{role}_token": model.pieces[i].piece for role, i in ids.items()}
    write_json(out / "special_tokens_map.json", specials)
    generation = {f"{role}_token_id": i for role, i in ids.items() if role != "unk"}
    write_json(out / "generation_config.json", generation)
    write_chat_template(out, tokenizer_config(model, None), chat_template)
    if base_size is not None:
        write_json(out / "extension.json", {"base_vocab_size": base_size, "vocab_size": len(model.pieces)})


def write_chat_template(out: Path, config: dict[str, Any], chat_template: str | None) -> None:
    """Put a chat template where each generation of transformers looks: inline, and as a file."""
    if chat_template is not None:
        config = {**config, "chat_template": chat_template}
        (out / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    write_json(out / "tokenizer_config.json", config)


def write_tokenizer_json(path: Path, content: Any) -> None:
    """Write a tokenizer.json, which is large: as `write_json`, by an encoder twenty times as fast."""
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people read it: UTF-8, indented, a final newline."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
