"""Any tokenizer as check-vocab and advise-vocab look at it, opened without what extension demands of a base."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer as FastTokenizer

from zhllm.errors import DataError
from zhllm.text.han import is_han
from zhllm.vocab.bases import with_added_tokens
from zhllm.vocab.byte_level import ByteLevelBase, token_text
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.hf_files import TOKENIZER_FILES
from zhllm.vocab.proof import PROBE, hf_encode
from zhllm.vocab.sentencepiece_model import META_SPACE, read_proto
from zhllm.vocab.tiktoken_file import is_rank_file, tokenizer_json_of
from zhllm.vocab.tokenizer import read_json

ROLES = ("bos", "eos", "pad", "unk")
SENTENCEPIECE_BPE = "SentencePiece BPE"
_SENTENCEPIECE_KINDS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>\Z")


class OtherTokenizer:
    """A tokenizer.json that is neither byte-level BPE nor beside a SentencePiece model."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.fast = FastTokenizer.from_buffer(orjson.dumps(content))
        self._ids: dict[str, int] = self.fast.get_vocab(with_added_tokens=True)
        self._token_of = {i: token for token, i in self._ids.items()}
        self._added = self.fast.get_added_tokens_decoder()
        self.size = 1 + max(self._token_of, default=-1)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without specials."""
        return hf_encode(self.fast)(texts)

    def encode_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """What the model itself makes of each text, without normaliser and pre-tokenizer."""
        spaced = META_SPACE in self._ids
        wanted = [text.replace(" ", META_SPACE) for text in texts] if spaced else texts
        return [[token.id for token in self.fast.model.tokenize(text)] for text in wanted]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens spelt out."""
        return str(self.fast.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def partial_ids(self) -> Collection[int]:
        """The ids of byte tokens and of the unknown token."""
        unknown = self.content["model"].get("unk_token")
        return frozenset(i for token, i in self._ids.items() if token == unknown or _BYTE.match(token))

    def text_of(self, index: int) -> str | None:
        """The text of an ordinary token, `▁` as a space; None for special tokens, bytes and `##` continuations."""
        token = self._token_of.get(index)
        if token is None or index in self._added or index in self.partial_ids or token.startswith("##"):
            return None
        return token.replace(META_SPACE, " ")


AnyTokenizer = SentencePieceBase | ByteLevelBase | OtherTokenizer


@dataclass(frozen=True)
class Subject:
    """A tokenizer and what is known of it; `unusable` says why its own engine refuses it."""

    path: Path
    kind: str
    tokenizer: AnyTokenizer
    warnings: tuple[str, ...] = ()
    unusable: str | None = None

    @property
    def folder(self) -> Path | None:
        """The directory it came from; None for a single file."""
        return self.path if self.path.is_dir() else None

    @property
    def size(self) -> int:
        """Ids in all."""
        return self.tokenizer.size

    @property
    def proto(self) -> Any | None:
        """The SentencePiece ModelProto; None for other kinds."""
        return self.tokenizer.proto if isinstance(self.tokenizer, SentencePieceBase) else None

    @property
    def is_bpe(self) -> bool:
        """Whether tokens are joined two at a time; engines of Llama models know nothing else."""
        return self.kind.split()[0] in ("BPE", "byte-level") or self.kind == SENTENCEPIECE_BPE

    @cached_property
    def ids(self) -> dict[str, int]:
        """Every token as its file spells it, special ones among them, with its id."""
        return dict(self._named())

    @cached_property
    def duplicates(self) -> list[str]:
        """Pieces that stand in the model twice, and tokens that share their id with another one."""
        named = self._named()
        pieces, ids = Counter(piece for piece, _ in named), Counter(i for _, i in set(named))
        return list(dict.fromkeys(piece for piece, i in named if pieces[piece] > 1 or ids[i] > 1))

    @cached_property
    def pieces(self) -> dict[str, int]:
        """The texts of the ordinary pieces that are whole characters, with their ids."""
        texts = ((self.tokenizer.text_of(i), i) for i in range(self.size))
        return {text: i for text, i in texts if text}

    @cached_property
    def han_pieces(self) -> dict[str, int]:
        """Those that consist of Han characters alone."""
        return {text: i for text, i in self.pieces.items() if is_han(text)}

    def added_to(self, base: Subject) -> dict[str, int]:
        """The ordinary pieces that `base` does not have."""
        return {text: i for text, i in self.pieces.items() if text not in base.pieces}

    def _named(self) -> list[tuple[str, int]]:
        if isinstance(self.tokenizer, SentencePieceBase):
            return [(p.piece, i) for i, p in enumerate(self.tokenizer.proto.pieces)]
        content = self.tokenizer.content
        vocab = content["model"]["vocab"]
        # A unigram tokenizer.json lists [piece, score]; the others map each token to its id.
        listed = vocab.items() if isinstance(vocab, dict) else ((row[0], i) for i, row in enumerate(vocab))
        added = ((t["content"], t["id"]) for t in content.get("added_tokens") or ())
        return list(dict.fromkeys((*listed, *added)))


def open_subject(path: Path) -> Subject:
    """The tokenizer of a directory, a SentencePiece .model, a tokenizer.json or a tiktoken rank file, of any kind.

    Raises DataError for what is no tokenizer.
    """
    if path.is_dir():
        return _of_directory(path)
    if path.suffix == ".json":
        return _of_json(path, read_json(path), {})
    if is_rank_file(path):
        return Subject(path, "byte-level BPE", ByteLevelBase(*tokenizer_json_of(path), str(path)))
    return _of_proto(path, read_proto(path))


def _of_directory(path: Path) -> Subject:
    model, config = path / "tokenizer.model", path / "tokenizer_config.json"
    if model.is_file() and not is_rank_file(model):
        proto = read_proto(model)
        try:
            return _of_proto(path, with_added_tokens(proto, path))
        except (DataError, KeyError, TypeError) as error:
            return _of_proto(path, proto, (str(error),))
    if (path / "tokenizer.json").is_file():
        settings = read_json(config) if config.is_file() else {}
        return _of_json(path, read_json(path / "tokenizer.json"), settings)
    if model.is_file():
        return Subject(path, "byte-level BPE", ByteLevelBase(*tokenizer_json_of(model), str(model)))
    found = ", ".join(sorted(p.name for p in path.glob("*token*"))) or "no tokenizer files"
    raise DataError(f"{path}: has no tokenizer.model and no tokenizer.json ({found}), so there is no tokenizer.")


def _of_proto(path: Path, proto: Any, warnings: tuple[str, ...] = ()) -> Subject:
    kind = f"SentencePiece {_SENTENCEPIECE_KINDS.get(proto.trainer_spec.model_type, 'of an unknown kind')}"
    tokenizer = SentencePieceBase(proto)
    return Subject(path, kind, tokenizer, warnings, _refusal(tokenizer))


def _refusal(tokenizer: AnyTokenizer) -> str | None:
    """Why a tokenizer cannot cut ordinary texts; None where it can."""
    try:
        tokenizer.encode(PROBE)
    except Exception as error:  # RuntimeError of SentencePiece, plain Exception of tokenizers
        return f"its own engine refuses it ({error})"
    return None


def _of_json(path: Path, content: dict[str, Any], config: dict[str, Any]) -> Subject:
    if not isinstance(content.get("model"), dict) or "vocab" not in content["model"]:
        raise DataError(f"{path}: holds no tokenizer (a tokenizer.json has a model with a vocab).")
    try:
        byte_level, warnings = _byte_level(path, content, config)
        tokenizer = byte_level or OtherTokenizer(content)
        tokenizer.fast.get_vocab_size()  # made when it is first asked for
    except Exception as error:  # tokenizers raises plain Exception, and a strange file may fail anywhere
        raise DataError(f"{path}: tokenizers cannot load its tokenizer.json ({error}).") from error
    kind = "byte-level BPE" if byte_level else f"{content['model'].get('type')} (tokenizer.json)"
    return Subject(path, kind, tokenizer, warnings, _refusal(tokenizer))


def _byte_level(
    path: Path, content: dict[str, Any], config: dict[str, Any]
) -> tuple[ByteLevelBase | None, tuple[str, ...]]:
    """The tokenizer as byte-level BPE, with a warning where a base must not be so; None where it is not one."""
    try:
        return ByteLevelBase(content, config, str(path)), ()
    except DataError as error:
        try:
            opened = ByteLevelBase({**content, "normalizer": None}, config, str(path))
        except DataError:
            return None, ()
        opened.content = content
        return opened, (str(error),)


def special_tokens(subject: Subject) -> dict[str, str] | None:
    """The special tokens that its files name, by role; None where there is no file that could name them."""
    if subject.folder is not None:
        files = [subject.folder / name for name in ("special_tokens_map.json", "tokenizer_config.json")]
        if found := [file for file in files if file.is_file()]:
            return _named_in({k: v for file in found for k, v in read_json(file).items() if v is not None})
    if isinstance(subject.tokenizer, SentencePieceBase):
        proto = subject.tokenizer.proto
        ids = {role: getattr(proto.trainer_spec, f"{role}_id") for role in ROLES}
        return {role: proto.pieces[i].piece for role, i in ids.items() if 0 <= i < len(proto.pieces)}
    if isinstance(subject.tokenizer, ByteLevelBase) and subject.tokenizer.config:
        return _named_in(subject.tokenizer.config)
    return None


def _named_in(config: dict[str, Any]) -> dict[str, str]:
    texts = {role: token_text(config.get(f"{role}_token")) for role in ROLES}
    return {role: text for role, text in texts.items() if text is not None}


def warnings_of(subject: Subject) -> list[str]:
    """What is no broken promise but will surprise someone: missing files, no pad token, texts a normaliser changes."""
    found = list(subject.warnings)
    if subject.folder is None and subject.kind == SENTENCEPIECE_BPE:
        found.append(
            "a .model alone: transformers 5 ranks its merges by id and not by score, and adds no space before a text "
            "that begins with one; a directory with a tokenizer.json of all splits (extend-vocab writes one) is exact"
        )
    if subject.folder is not None:
        missing = [name for name in _files_wanted(subject) if not (subject.folder / name).is_file()]
        if missing:
            found.append(
                f"missing files: {', '.join(missing)} (one generation of transformers or a converter reads them)"
            )
    named = special_tokens(subject) or {}
    if named and "pad" not in named:
        found.append("no pad token is named")
    elif named and named["pad"] == named.get("eos"):
        found.append(f"the pad token is the end token {named['pad']!r}: a loss that masks padding never learns to stop")
    if isinstance(subject.tokenizer, ByteLevelBase) and subject.tokenizer.content.get("normalizer") is not None:
        found.append(
            "its normaliser changes texts that are not in NFC; engines and round trip are tried on others only"
        )
    return found


def _files_wanted(subject: Subject) -> list[str]:
    """Both generations of files: transformers 4 and its converters, transformers 5."""
    assert subject.folder is not None
    names = [
        name for name in TOKENIZER_FILES if name not in ("tokenizer.model", "chat_template.jinja", "extension.json")
    ]
    model = subject.tokenizer.content["model"] if isinstance(subject.tokenizer, OtherTokenizer) else {}
    if subject.proto is not None or model.get("byte_fallback"):  # a SentencePiece model's, saved without it
        names.insert(0, "tokenizer.model")
    config = subject.folder / "tokenizer_config.json"
    if config.is_file() and read_json(config).get("chat_template"):
        names.append("chat_template.jinja")
    return names
