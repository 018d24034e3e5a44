"""The files of a byte-level tokenizer directory, and the proof of what is in them."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from zhllm.text.han import han_runs
from zhllm.vocab.byte_level import ByteLevelBase, bytes_of, token_text, whole_text
from zhllm.vocab.hf_files import write_chat_template, write_json, write_tokenizer_json
from zhllm.vocab.proof import (
    Check,
    Encode,
    all_reachable,
    base_language,
    engines_agree,
    is_lossless,
    proof_texts,
    raise_broken,
)
from zhllm.vocab.tokenizer import read_json

ROLES = ("bos", "eos", "unk", "pad")


def write_byte_level(
    out: Path, content: Mapping[str, Any], config: Mapping[str, Any], base_size: int | None, chat_template: str | None
) -> None:
    """Write all files of a tokenizer directory; `base_size` marks where the added ids begin."""
    config = {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
    named = {f"{role}_token": token_text(config.get(f"{role}_token")) for role in ROLES}
    specials = {role: token for role, token in named.items() if token is not None}
    ids = dict(content["model"]["vocab"]) | {t["content"]: t["id"] for t in content["added_tokens"]}
    write_tokenizer_json(out / "tokenizer.json", content)
    write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in content["added_tokens"]})
    write_json(out / "special_tokens_map.json", specials)
    generation = {f"{role}_id": ids[token] for role, token in specials.items() if role != "unk_token"}
    write_json(out / "generation_config.json", generation)
    write_chat_template(out, {**config, **specials}, chat_template)
    if base_size is not None:
        write_json(out / "extension.json", {"base_vocab_size": base_size, "vocab_size": 1 + max(ids.values())})


def tiktoken_encode(content: Mapping[str, Any]) -> Encode | None:
    """tiktoken's ids by the ranks of a tokenizer.json's vocabulary; None where tiktoken is not installed."""
    if importlib.util.find_spec("tiktoken") is None:
        return None
    import tiktoken

    split = content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    specials = {t["content"] for t in content["added_tokens"]}
    written = ((bytes_of(token), i) for token, i in content["model"]["vocab"].items() if token not in specials)
    ranks = {data: i for data, i in written if data is not None}
    encoding = tiktoken.Encoding("extended", pat_str=split, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: encoding.encode_ordinary_batch(list(texts))


def added_texts(content: Mapping[str, Any], base_size: int) -> dict[str, int]:
    """The added pieces that are whole characters, with their ids (joins of bytes are not)."""
    specials = {t["content"] for t in content["added_tokens"]}
    tokens = ((t, i) for t, i in content["model"]["vocab"].items() if i >= base_size and t not in specials)
    found = ((whole_text(token), i) for token, i in tokens)
    return {text: i for text, i in found if text is not None}


def prove_byte_level(folder: Path, base: ByteLevelBase, texts: Iterable[str]) -> list[Check]:
    """Every promise of an extended byte-level directory, tried on the probe, on fuzz and on `texts`.

    Hugging Face = tiktoken (where that is installed); lossless; base tokens at their ids; the base's
    language untouched; no added piece that is never formed. Raises ProofError with examples.
    """
    content = read_json(folder / "tokenizer.json")
    added = added_texts(content, base.size)
    every = normal_texts(content, proof_texts(list(added), texts))
    extended = ByteLevelBase(content, {}, str(folder))
    hf = extended.encode
    checks = []
    if (ranks := tiktoken_encode(content)) is not None:
        checks.append(engines_agree("Hugging Face = tiktoken", hf, ranks, every))
    checks += [
        is_lossless(hf, extended.decode, every),
        _base_is_kept(extended.fast, base),
        # Joins of bytes may shorten Han characters that are no pieces themselves, and nothing else.
        base_language(hf, base.encode, [t for t in every if not han_runs(t)]),
        all_reachable(extended.encode_inside, added),
    ]
    raise_broken(checks)
    return checks


def normal_texts(content: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
    """The texts a normaliser of the base (NFC, Qwen's) leaves as they are: llama.cpp and tiktoken have none."""
    if content.get("normalizer") is None:
        return list(texts)
    return [text for text in texts if unicodedata.is_normalized("NFC", text)]


def _base_is_kept(fast: FastTokenizer, base: ByteLevelBase) -> Check:
    check = Check("base ids")
    now = fast.get_vocab(with_added_tokens=True)
    for token, index in (base.vocab | base.special_ids).items():
        check.add(token, now.get(token) == index, f" (id {index}) is {now.get(token)} now")
    return check
