"""One tokenizer directory as every stage uses it: ids in bulk, text back, special ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer

from zhllm.errors import DataError
from zhllm.text.read.json_values import kind_of_value
from zhllm.vocab import sentencepiece_model

# Where a long text is cut for SentencePiece, which is fastest on texts of 500 to 8,000 characters (its queue then
# fits the caches: a million of them take twice the time each), and takes hundreds of bytes of memory a character.
STRETCH_CHARS = 4000
ENDS = "\n。！？；，"


class Tokenizer:
    """The tokenizer of a model or tokenizer directory.

    Plain text goes through SentencePiece where the directory has its model (2-3 times faster than
    the fast tokenizer, and proved equal to it), prompts with special tokens through tokenizer.json.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "tokenizer.json").is_file():
            raise DataError(f"{folder}: has no tokenizer.json. Give a tokenizer or model directory.")
        self.fast = _read_fast(folder / "tokenizer.json")
        self.config: dict[str, Any] = read_json(folder / "tokenizer_config.json")
        self.vocab_size: int = 1 + max(self.fast.get_vocab(with_added_tokens=True).values())
        self._other_specials: dict[tuple[str, ...], re.Pattern[str] | None] = {}
        self._engines: dict[tuple[str, ...], FastTokenizer] = {}

    @cached_property
    def _sp(self) -> Any:
        if not (self.folder / "tokenizer.model").is_file():
            return None
        return sentencepiece_model.processor(sentencepiece_model.load(self.folder))

    @property
    def engine(self) -> str:
        """Which engine `encode_plain` asks."""
        return "Hugging Face" if self._sp is None else "SentencePiece"

    def special_id(self, role: str) -> int | None:
        """The id of "bos", "eos", "pad" or "unk"; None where the tokenizer has none."""
        token = self.config.get(f"{role}_token")
        text = token.get("content") if isinstance(token, dict) else token
        if text is not None and not isinstance(text, str):
            at = self.folder / "tokenizer_config.json"
            raise DataError(f"{at}: {role}_token is {kind_of_value(text)}, not text. Name a token of the vocabulary.")
        return None if text is None else self.fast.token_to_id(text)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of all special tokens."""
        return frozenset(i for i, token in self.fast.get_added_tokens_decoder().items() if token.special)

    @property
    def is_byte_level(self) -> bool:
        """Whether tokens are written in the letters that byte-level BPE has for bytes (GPT-2's table)."""
        decoder: dict[str, Any] = json.loads(self.fast.to_str()).get("decoder") or {}
        kinds = [decoder, *decoder.get("decoders", ())]
        return any(kind.get("type") == "ByteLevel" for kind in kinds)

    @property
    def eos_id(self) -> int:
        """The end token's id; DataError where there is none (a model would never stop)."""
        found = self.special_id("eos")
        if found is None:
            raise DataError(f"{self.folder}: tokenizer_config.json names no eos_token of its vocabulary.")
        return found

    @property
    def pad_id(self) -> int:
        """An id to fill rows with; positions decide the mask, so any id serves where none is named."""
        found = self.special_id("pad")
        return found if found is not None else 0

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without any special token; text that looks like one is text."""
        if self._sp is not None:
            return self._sp.encode(list(texts))  # type: ignore[no-any-return]
        self.fast.encode_special_tokens = True
        return [e.ids for e in self.fast.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_bulk(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of `encode_plain` as arrays, (n,) each: several times the speed, also for long texts."""
        if self._sp is None:
            self.fast.encode_special_tokens = True
            encoded = self.fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [np.array(e.ids, np.int32) for e in encoded]
        if not self._ends or max(map(len, texts), default=0) < 2 * STRETCH_CHARS:
            return self._sp.encode(list(texts), return_type="numpy")  # type: ignore[no-any-return]
        cut = [list(stretches(text, self._ends)) for text in texts]
        heads = self._sp.encode([some[0] for some in cut], return_type="numpy")
        tails = iter(self._bare.encode([stretch for some in cut for stretch in some[1:]], return_type="numpy"))
        return [np.concatenate([head, *islice(tails, len(some) - 1)]) for head, some in zip(heads, cut, strict=True)]

    @cached_property
    def _ends(self) -> str:
        """The characters behind which a text may be cut for SentencePiece: those that no piece has before its end.

        No merge crosses a place that lies inside no piece, so what stands on either side of it is encoded
        alike alone and together.
        """
        pieces = [piece.piece[:-1] for piece in sentencepiece_model.load(self.folder).pieces]
        return "".join(end for end in ENDS if not any(end in piece for piece in pieces))

    @cached_property
    def _bare(self) -> Any:
        """SentencePiece as it is in the middle of a text."""
        return sentencepiece_model.bare_processor(sentencepiece_model.load(self.folder))

    def encode_prompt(self, text: str, controls: tuple[str, ...] | None = None) -> list[int]:
        """Ids of a rendered prompt: special tokens written in it become their ids; no BOS is added.

        With `controls` these alone do, and what is spelt like another one is text, as users may write it.
        """
        if controls is not None and (others := self._others(controls)) is not None and others.search(text):
            return list(self._knowing(controls).encode(text, add_special_tokens=False).ids)
        self.fast.encode_special_tokens = False
        return list(self.fast.encode(text, add_special_tokens=False).ids)

    def special_token_id(self, text: str) -> int | None:
        """The id of the special token written so; None where there is none."""
        found = self.fast.token_to_id(text)
        return found if found in self.special_ids else None

    def _others(self, controls: tuple[str, ...]) -> re.Pattern[str] | None:
        if controls not in self._other_specials:
            added = self.fast.get_added_tokens_decoder().values()
            others = [re.escape(t.content) for t in added if t.special and t.content not in controls]
            self._other_specials[controls] = re.compile("|".join(others)) if others else None
        return self._other_specials[controls]

    def _knowing(self, controls: tuple[str, ...]) -> FastTokenizer:
        """The tokenizer that, asked to read special tokens as text, still knows these: they are marked ordinary."""
        if controls not in self._engines:
            content = json.loads(self.fast.to_str())
            for token in content["added_tokens"]:
                token["special"] = token["special"] and token["content"] not in controls
            self._engines[controls] = FastTokenizer.from_str(json.dumps(content))
            self._engines[controls].encode_special_tokens = True
        return self._engines[controls]

    def decode(self, ids: Sequence[int], keep_special: bool = False) -> str:
        """Text of ids; special tokens are left out unless asked for."""
        return str(self.fast.decode(list(ids), skip_special_tokens=not keep_special))

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the ids: equal digests mean equal tokenisation."""
        import hashlib

        return hashlib.sha256((self.folder / "tokenizer.json").read_bytes()).hexdigest()


def stretches(text: str, ends: str) -> Iterator[str]:
    """The text in parts of more than STRETCH_CHARS, each but the last ending with one of the characters `ends`."""
    pattern, start = re.compile(f"[{re.escape(ends)}]"), 0
    while found := pattern.search(text, start + STRETCH_CHARS):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _read_fast(path: Path) -> FastTokenizer:
    """The tokenizer of a tokenizer.json; DataError where it is damaged or has no tokens."""
    try:
        found = FastTokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself for a damaged file
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as a tokenizer ({said}). Make or copy it again.") from error
    if not found.get_vocab_size(with_added_tokens=True):
        raise DataError(f"{path}: has an empty vocabulary. Give a tokenizer or model directory.")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; DataError when it is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {kind_of_value(content)}, not an object.")
    return content
