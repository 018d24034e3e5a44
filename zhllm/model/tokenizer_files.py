"""The tokenizer files of a finished model: both generations, whichever the source had.

Older programs read tokenizer.model, added_tokens.json and special_tokens_map.json, newer ones
tokenizer.json and tokenizer_config.json; llama.cpp's converter reads some of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.model.directory import chat_template, copy_tokenizer
from zhllm.vocab import sentencepiece_model
from zhllm.vocab.hf_files import write_chat_template, write_json, write_tokenizer
from zhllm.vocab.sentencepiece_model import CONTROL, NORMAL, copy_of
from zhllm.vocab.tokenizer import Tokenizer, read_json

PAD_NAMES = ("[PAD]", "<pad>", "<PAD>", "<|pad|>")
ROLES = ("bos", "eos", "unk", "pad")


def complete_tokenizer(source: Path, out: Path) -> None:
    """Copy a tokenizer and write what it lacks of the other generation's files; ids stay as they are."""
    if not (source / "tokenizer.json").is_file():
        write_tokenizer(out, with_tokens_behind(source), chat_template=chat_template(source))
        return
    copy_tokenizer(source, out)
    if not (out / "tokenizer_config.json").is_file():
        write_json(out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **_roles(source)})
    tokenizer = Tokenizer(out)
    config = dict(tokenizer.config)
    added = tokenizer.fast.get_added_tokens_decoder()
    if "added_tokens_decoder" not in config:
        config["added_tokens_decoder"] = {
            str(i): {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized, "rstrip": t.rstrip,
                     "single_word": t.single_word, "special": t.special} for i, t in added.items()
        }  # fmt: skip
    if not (out / "added_tokens.json").is_file():
        pieces = tokenizer.fast.get_vocab_size(with_added_tokens=False)
        write_json(out / "added_tokens.json", {t.content: i for i, t in added.items() if i >= pieces})
    if not (out / "special_tokens_map.json").is_file():
        named = {f"{role}_token": config.get(f"{role}_token") for role in ROLES}
        write_json(out / "special_tokens_map.json", {key: text(token) for key, token in named.items() if token})
    template = chat_template(out)
    if template is not None or config != tokenizer.config:
        write_chat_template(out, config, template)


def text(token: Any) -> str:
    """A special token's text, however transformers wrote it."""
    return str(token["content"] if isinstance(token, dict) else token)


def _roles(folder: Path) -> dict[str, str]:
    """Special tokens by role key ("bos_token"), from the files a directory has."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        content = read_json(folder / name) if (folder / name).is_file() else {}
        found |= {key: text(content[key]) for role in ROLES if content.get(key := f"{role}_token")}
    return found


def _behind(folder: Path, size: int) -> dict[int, str]:
    """Tokens with ids from `size` on that a directory's files name beside its SentencePiece model."""
    found: dict[int, str] = {}
    if (folder / "added_tokens.json").is_file():
        found |= {int(i): token for token, i in read_json(folder / "added_tokens.json").items()}
    if (folder / "tokenizer_config.json").is_file():
        decoder: Mapping[str, Any] = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
        found |= {int(i): text(token) for i, token in decoder.items()}
    if (folder / "tokenizer.json").is_file():
        found |= {t["id"]: t["content"] for t in read_json(folder / "tokenizer.json").get("added_tokens", [])}
    return {i: token for i, token in sorted(found.items()) if i >= size}


def with_tokens_behind(folder: Path, rows: int | None = None) -> Any:
    """The SentencePiece model of a file or directory, with its added tokens as CONTROL pieces and its roles.

    Those that have no row in a matrix of `rows` are left out. DataError where ids leave holes.
    """
    proto = sentencepiece_model.load(folder)
    size = len(proto.pieces)
    directory = folder if folder.is_dir() else folder.parent
    named = _behind(directory, size) if folder.is_dir() else {}
    added = {i: token for i, token in named.items() if rows is None or i < rows}
    if list(added) != list(range(size, size + len(added))):
        raise DataError(f"{folder}: its added tokens {added} leave holes behind the {size} pieces of tokenizer.model.")
    full = copy_of(proto)
    for token in added.values():
        full.pieces.add(piece=token, score=0.0, type=CONTROL)
    set_roles(full, _roles(directory) if folder.is_dir() else {})
    return full


def set_roles(proto: Any, roles: Mapping[str, str]) -> None:
    """Write the ids of bos, eos, unk and pad into a model; a pad piece becomes CONTROL, which no text is cut into."""
    ids = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    for key, token in roles.items():
        if token in ids:
            setattr(proto.trainer_spec, f"{key.removesuffix('_token')}_id", ids[token])
            if key == "pad_token" and proto.pieces[ids[token]].type == NORMAL and token in PAD_NAMES:
                proto.pieces[ids[token]].type = CONTROL
    proto.trainer_spec.vocab_size = len(proto.pieces)


@dataclass
class Fitted:
    """What was done to a tokenizer so that it says what a matrix of so many rows was trained with."""

    tokenizer: str
    pieces: int
    rows: int
    changes: list[str] = field(default_factory=list)


def fit_tokenizer(source: Path, out: Path, rows: int, template: str | None) -> Fitted:
    """Write the tokenizer of an imported model whose embedding has `rows` rows, in both generations of files.

    One row more than the tokenizer has ids, and no pad among them: Alpaca's `[PAD]`, appended after
    the pieces. Fewer rows: tokens behind the pieces that were never trained are left out. DataError where the
    pieces themselves have no rows.
    """
    whole = with_tokens_behind(source)
    proto = with_tokens_behind(source, rows)
    pieces = len(sentencepiece_model.load(source).pieces)
    done = Fitted(str(source), pieces, rows)
    if rows < pieces:
        raise DataError(
            f"{source}: its tokenizer.model has {pieces} pieces, but the merged embedding has {rows} rows. Give the "
            "adapter that brings the rows, or --tokenizer with the tokenizer the model was trained with."
        )
    if len(whole.pieces) > len(proto.pieces):
        lost = [piece.piece for piece in whole.pieces[len(proto.pieces) :]]
        done.changes.append(f"left out {lost}, which have no row")
    if not _has_pad(proto):
        known = next((name for name in PAD_NAMES if any(p.piece == name for p in proto.pieces)), None)
        if known is None and rows == len(proto.pieces) + 1:
            known = PAD_NAMES[0]
            proto.pieces.add(piece=known, score=0.0, type=CONTROL)
            done.changes.append(f"appended {known} with id {rows - 1}: the row behind the last piece")
        if known is not None:
            set_roles(proto, {"pad_token": known})
            done.changes.append(f"pad is {known} (id {proto.trainer_spec.pad_id})")
    if rows > len(proto.pieces):
        done.changes.append(f"{rows - len(proto.pieces)} rows at the end belong to no token")
    write_tokenizer(out, proto, chat_template=template)
    write_json(out / "added_tokens.json", {p.piece: pieces + n for n, p in enumerate(list(proto.pieces)[pieces:])})
    return done


def _has_pad(proto: Any) -> bool:
    return bool(0 <= proto.trainer_spec.pad_id < len(proto.pieces))
