"""Opening a base tokenizer of either kind, whatever form it comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.vocab import sentencepiece_model
from zhllm.vocab.byte_level import ByteLevelBase
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.sentencepiece_model import CONTROL, META_SPACE, USER_DEFINED, copy_of
from zhllm.vocab.tiktoken_file import is_rank_file, tokenizer_json_of
from zhllm.vocab.tokenizer import read_json

Base = SentencePieceBase | ByteLevelBase


def open_base(path: Path) -> Base:
    """The base tokenizer of a directory, a tokenizer.model, a tokenizer.json or a tiktoken rank file.

    Raises DataError for anything else, and for a tokenizer that no extension can keep equal in every
    engine (another algorithm, a normaliser that changes the text).
    """
    if path.is_dir():
        return _open_directory(path)
    if path.suffix == ".json":
        return ByteLevelBase(read_json(path), {}, str(path))
    if is_rank_file(path):
        return ByteLevelBase(*tokenizer_json_of(path), str(path))
    return SentencePieceBase(checked(sentencepiece_model.load(path), path))


def _open_directory(path: Path) -> Base:
    model = path / "tokenizer.model"
    if model.is_file() and not is_rank_file(model):
        proto = sentencepiece_model.load(model)
        return SentencePieceBase(checked(with_added_tokens(proto, path), model))
    if (path / "tokenizer.json").is_file():
        config = read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
        return ByteLevelBase(read_json(path / "tokenizer.json"), config, str(path / "tokenizer.json"))
    if model.is_file():
        return ByteLevelBase(*tokenizer_json_of(model), str(model))
    found = ", ".join(sorted(p.name for p in path.glob("*token*"))) or "no tokenizer files"
    raise DataError(
        f"{path}: has no tokenizer.model and no tokenizer.json ({found}). Give a tokenizer directory, a "
        "SentencePiece .model, a tokenizer.json or a tiktoken rank file."
    )


def with_added_tokens(proto: Any, folder: Path) -> Any:
    """The model with the special tokens that tokenizer.json has behind it as CONTROL pieces at their ids.

    Raises DataError where these ids leave holes or a token is not special: then no SentencePiece model
    can say the same.
    """
    if not (folder / "tokenizer.json").is_file():
        return proto
    size = len(proto.pieces)
    tokens = read_json(folder / "tokenizer.json").get("added_tokens", [])
    behind = sorted((t["id"], t["content"], t["special"]) for t in tokens if t["id"] >= size)
    if [i for i, *_ in behind] != list(range(size, size + len(behind))) or not all(s for *_, s in behind):
        raise DataError(
            f"{folder}: has {len(behind)} added tokens behind its {size} pieces, e.g. {behind[0][1]!r} with id "
            f"{behind[0][0]}, that are not special or leave holes. Give {folder / 'tokenizer.model'} to leave them out."
        )
    full = copy_of(proto)
    for _, content, _ in behind:
        full.pieces.add(piece=content, score=0.0, type=CONTROL)
    return full


def checked(proto: Any, where: Path) -> Any:
    """The model itself; DataError when its user-defined pieces part texts in other ways in other engines."""
    user_defined = [p.piece for p in proto.pieces if p.type == USER_DEFINED]
    if user_defined and (proto.normalizer_spec.add_dummy_prefix or any(META_SPACE in p for p in user_defined)):
        raise DataError(
            f"{where}: the base holds {len(user_defined)} user-defined pieces (such as {user_defined[0]!r}), around "
            "which SentencePiece, Hugging Face and llama.cpp cut a text in different ways."
        )
    return proto
