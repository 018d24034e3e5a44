"""Byte-level BPE tokenizers (Llama-3, Qwen): adding Han pieces behind everything the base has.

Tokens are written in GPT-2's letters, one for each byte (openai/gpt-2, encoder.py). The rule that keeps
engines equal: the base's merges stay as they are and in their order; every added piece brings all its
splits; a token of the base that an added piece could help to form brings those splits too, at its own
rank. So a merge list (Hugging Face, llama.cpp) and ranks (tiktoken) make the same joins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
from tokenizers import Tokenizer as FastTokenizer

from zhllm.errors import DataError
from zhllm.vocab.additions import check_special, plan_additions
from zhllm.vocab.proof import Encode, hf_encode


def _letters() -> dict[int, str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(other)}


LETTER_OF = _letters()
BYTE_OF = {letter: byte for byte, letter in LETTER_OF.items()}
_BYTES = {ord(letter): byte for letter, byte in BYTE_OF.items()}


def spell(text: str) -> str:
    """A text in byte letters."""
    return "".join(LETTER_OF[b] for b in text.encode())


def bytes_of(token: str) -> bytes | None:
    """The bytes that a token in byte letters stands for; None where it is not so written."""
    if not BYTE_OF.keys() >= set(token):
        return None
    return token.translate(_BYTES).encode("latin-1")


def whole_text(token: str) -> str | None:
    """The text of a token; None when its bytes are not whole characters."""
    try:
        return (bytes_of(token) or b"\xff").decode()
    except UnicodeDecodeError:
        return None


def merge_pairs(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The merges of a tokenizer.json, which writes them "a b" or ["a", "b"]."""
    for merge in content["model"]["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def splits(token: str, vocab: Iterable[str] | Mapping[str, int]) -> list[tuple[str, str]]:
    """Every (left, right) of two tokens of `vocab` that makes `token`, shortest left part first."""
    cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
    return [(left, right) for left, right in cuts if left in vocab and right in vocab]


@dataclass(frozen=True)
class ByteLevelExtension:
    """An extended tokenizer.json with its tokenizer_config.json, and what was added (in byte letters)."""

    content: dict[str, Any]
    config: dict[str, Any]
    base_size: int
    added: list[str]
    joins: list[str]
    specials: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Ids in all."""
        return self.base_size + len(self.added) + len(self.specials)


class ByteLevelBase:
    """A byte-level BPE tokenizer as extension sees it: `content` is its tokenizer.json, `config` the other file."""

    kind = "byte-level"
    # A Han run is one word of the pre-tokenizer but for this character, which Unicode counts as a number.
    borders = "〇"

    def __init__(self, content: dict[str, Any], config: dict[str, Any], where: str) -> None:
        _check_kind(content, where)
        self.content, self.config = content, config
        self.special_ids: dict[str, int] = {t["content"]: t["id"] for t in content.get("added_tokens", [])}
        every: dict[str, int] = content["model"]["vocab"]
        self.vocab = {token: i for token, i in every.items() if token not in self.special_ids}
        self.size = 1 + max((*self.vocab.values(), *self.special_ids.values()))

    @cached_property
    def fast(self) -> FastTokenizer:
        """The tokenizer itself."""
        return FastTokenizer.from_buffer(orjson.dumps(self.content))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without specials."""
        return self._with_short_cut(self.content["model"].get("ignore_merges", False))(texts)

    def encode_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """What each text becomes inside a longer word: without the short cut for words that are tokens."""
        return self._with_short_cut(False)(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens spelt out."""
        return str(self.fast.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def partial_ids(self) -> frozenset[int]:
        """The ids of tokens that are not whole characters."""
        return frozenset(self.vocab.values()) - self._text_of.keys()

    def bytes_of_id(self, index: int) -> bytes:
        """The bytes of an ordinary token; empty for special ones."""
        return self._bytes_of.get(index, b"")

    def text_of(self, index: int) -> str | None:
        """The text of an ordinary token; None for special tokens and parts of characters."""
        return self._text_of.get(index)

    def _with_short_cut(self, allowed: bool) -> Encode:
        self.fast.model.ignore_merges = allowed
        return hf_encode(self.fast)

    def has(self, text: str) -> bool:
        """Whether `text` is a token."""
        return spell(text) in self.vocab

    def cut(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, in byte letters."""
        return [[self._token_of[i] for i in row] for row in self.encode_inside(texts)]

    @cached_property
    def _token_of(self) -> dict[int, str]:
        return {i: token for token, i in self.vocab.items()}

    def cut_runs(self, runs: Sequence[str]) -> list[list[str]]:
        """Each run as whole tokens of the base, and single characters where a token is not whole."""
        known = self._text_of
        rows = self.encode_inside(runs)
        return [[known[i] for i in row] if known.keys() >= set(row) else list(self._regroup(row)) for row in rows]

    @cached_property
    def _text_of(self) -> dict[int, str]:
        found = ((i, whole_text(token)) for token, i in self.vocab.items())
        return {i: text for i, text in found if text is not None}

    @cached_property
    def _bytes_of(self) -> dict[int, bytes]:
        found = ((i, bytes_of(token)) for token, i in self.vocab.items())
        return {i: data for i, data in found if data is not None}

    def _regroup(self, row: Sequence[int]) -> Iterator[str]:
        pending = b""
        for index in row:
            if not pending and index in self._text_of:
                yield self._text_of[index]
                continue
            pending += self._bytes_of[index]
            try:
                text = pending.decode()
            except UnicodeDecodeError:
                continue
            yield from text
            pending = b""

    @cached_property
    def rank(self) -> dict[str, float]:
        """The order in which the base joins: for each token the place of its first merge."""
        rank: dict[str, float] = {}
        for place, (left, right) in enumerate(merge_pairs(self.content)):
            rank.setdefault(left + right, place)
        return rank

    def extend(
        self,
        pieces: Sequence[str],
        pad_token: str | None = None,
        specials: Sequence[str] = (),
        max_pieces: int | None = None,
    ) -> ByteLevelExtension:
        """The tokenizer with `pieces`, the joins they need, a pad token and `specials` behind the base.

        Special tokens that the base has stay what they are. Raises DataError when nothing can be added.
        """
        for token in (*specials, *([] if pad_token is None else [pad_token])):
            check_special(token, spell(token) in self.vocab)
        plan = plan_additions(pieces, self.has, self.cut, self.rank, spell, self.vocab, max_pieces)
        if not plan.ordered:
            raise DataError(f"none of the {len(pieces)} pieces can be added: {plan.describe_left_out()}.")
        pad = self.pad_token or pad_token
        new = [t for t in dict.fromkeys((pad, *specials)) if t is not None and t not in self.special_ids]
        content = self._content(plan.ordered, new)
        config = {**self.config, "added_tokens_decoder": added_tokens_decoder(content)}
        if pad is not None:
            config["pad_token"] = pad
        return ByteLevelExtension(content, config, self.size, plan.ordered, plan.joins, new, plan.left_out)

    @property
    def pad_token(self) -> str | None:
        """The pad token the base has: the one it names, else Llama-3.1's reserved one."""
        named = token_text(self.config.get("pad_token"))
        return named or next((t for t in ("<|finetune_right_pad_id|>",) if t in self.special_ids), None)

    def _content(self, added: Sequence[str], specials: Sequence[str]) -> dict[str, Any]:
        first = self.size + len(added)
        vocab = self.vocab | {token: self.size + k for k, token in enumerate(added)}
        merges = [list(m) for m in self._merges(added, vocab)]
        tokens = [*self.content.get("added_tokens", []), *(special(t, first + k) for k, t in enumerate(specials))]
        # Special tokens stand in the vocabulary too: Hugging Face numbers those it does not find there
        # itself, behind everything else, whatever id their entry names.
        model = {**self.content["model"], "vocab": vocab | {t["content"]: t["id"] for t in tokens}, "merges": merges}
        return {**self.content, "model": model, "added_tokens": tokens}

    def _merges(self, added: Sequence[str], vocab: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        new = set(added)
        helped: dict[str, list[tuple[str, str]]] = {}
        for token in self.rank:
            if token.isascii():  # its bytes are, so no part of it is Han
                continue
            if found := [s for s in splits(token, vocab) if new.intersection(s)]:
                helped[token] = found
        base = list(merge_pairs(self.content))
        last = {left + right: place for place, (left, right) in enumerate(base)}
        for place, (left, right) in enumerate(base):
            yield left, right
            if last[left + right] == place:
                yield from helped.get(left + right, ())
        for token in added:
            yield from splits(token, vocab)


def token_text(value: Any) -> str | None:
    """A token as tokenizer_config.json writes it: a string, or an object with its content."""
    text: str | None = value["content"] if isinstance(value, dict) else value
    return text


def special(text: str, index: int) -> dict[str, Any]:
    """An entry of tokenizer.json's `added_tokens` for a special token."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": text, **flags, "special": True}


def added_tokens_decoder(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same entries as tokenizer_config.json writes them."""
    return {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in content.get("added_tokens", [])}


def _check_kind(content: Mapping[str, Any], where: str) -> None:
    model = content.get("model", {})
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise DataError(f"{where}: holds a {model.get('type')} model; only BPE tokenizers can be extended.")
    parts = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    if '"ByteLevel"' not in parts:
        raise DataError(
            f"{where}: is not byte-level (no ByteLevel pre-tokenizer). A SentencePiece tokenizer is extended "
            "through its tokenizer.model: give that file, or a directory that has it."
        )
    if content.get("normalizer") not in (None, {"type": "NFC"}):
        raise DataError(f"{where}: its normaliser {json.dumps(content['normalizer'])[:80]} changes the text.")
