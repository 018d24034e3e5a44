"""What an extended tokenizer's added ids are made of: the base's own tokens of each."""

from __future__ import annotations

from pathlib import Path

from zhllm.errors import DataError
from zhllm.vocab.bases import Base, open_base
from zhllm.vocab.byte_level import ByteLevelBase, merge_pairs, splits, whole_text
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.sentencepiece_model import NORMAL, bare_processor, first_pieces
from zhllm.vocab.tokenizer import read_json


def base_size_of(folder: Path) -> int:
    """Where the added ids of a tokenizer directory begin; DataError when extend-vocab did not write it."""
    if not (folder / "extension.json").is_file():
        raise DataError(f"{folder}: has no extension.json; give a directory that extend-vocab wrote.")
    size = read_json(folder / "extension.json").get("base_vocab_size")
    if not isinstance(size, int):
        raise DataError(f"{folder / 'extension.json'}: is damaged: base_vocab_size is {size}. Run extend-vocab again.")
    return size


def sub_token_ids(folder: Path) -> tuple[list[list[int]], int]:
    """For each added id the base's ids of its text ([] for special tokens), and the base's size.

    A piece's sub-tokens are those it has in the middle of a text, without a dummy `▁`.
    """
    size = base_size_of(folder)
    extended = open_base(folder)
    if isinstance(extended, SentencePieceBase):
        encoder = bare_processor(first_pieces(extended.proto, size))
        added = extended.proto.pieces[size:]
        return [encoder.encode(p.piece) if p.type == NORMAL else [] for p in added], size
    return _byte_level(extended, size), size


def _byte_level(extended: ByteLevelBase, size: int) -> list[list[int]]:
    base = without_added(extended, size)
    made_of = {token: [i] for token, i in base.vocab.items()}
    added = {token: i for token, i in extended.vocab.items() if i >= size}
    texts = {text: token for token in added if (text := whole_text(token)) is not None}
    for token, parts in zip(texts.values(), base.cut(list(texts)), strict=True):
        made_of[token] = [base.vocab[part] for part in parts]
    for token in sorted(added, key=len):  # what is left are joins of bytes, made of shorter tokens
        if token not in made_of:
            left, right = splits(token, extended.vocab)[0]
            made_of[token] = made_of[left] + made_of[right]
    of_id = {i: made_of[token] for token, i in added.items()}
    return [of_id.get(i, []) for i in range(size, extended.size)]


def without_added(extended: ByteLevelBase, size: int) -> ByteLevelBase:
    """The base of an extended byte-level tokenizer: its first `size` ids."""
    vocab = {token: i for token, i in extended.vocab.items() if i < size}
    merges = [[a, b] for a, b in merge_pairs(extended.content) if a in vocab and b in vocab and a + b in vocab]
    added = [t for t in extended.content.get("added_tokens", []) if t["id"] < size]
    model = {**extended.content["model"], "vocab": vocab | {t["content"]: t["id"] for t in added}, "merges": merges}
    return ByteLevelBase({**extended.content, "model": model, "added_tokens": added}, extended.config, "the base")


def base_of(folder: Path) -> Base:
    """The base inside a directory that extend-vocab wrote."""
    size, extended = base_size_of(folder), open_base(folder)
    if isinstance(extended, SentencePieceBase):
        return SentencePieceBase(first_pieces(extended.proto, size))
    return without_added(extended, size)
