"""Tiktoken rank files, in which Meta and Qwen publish their vocabularies, as a tokenizer.json.

Format: one token a line, its bytes in base64, a space, its rank (openai/tiktoken, load.py). The file
holds neither the pre-tokenizer nor the special tokens; these are known by the number of ranks.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.vocab.byte_level import LETTER_OF, added_tokens_decoder, special, splits
from zhllm.vocab.hf_files import starts_with

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = _WORDS + r"\p{N}{1,3}" + _REST
QWEN2_PATTERN = _WORDS + r"\p{N}" + _REST


@dataclass(frozen=True)
class Family:
    """What a rank file leaves out: pre-tokenizer pattern, special tokens from the first free id on, roles."""

    pattern: str
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str | None
    normalizer: dict[str, str] | None
    ignore_merges: bool


# Sources: meta-llama/llama-models (llama3/tokenizer.py, the names of Llama-3.1's model card), Qwen2's
# tokenizer_config.json.
_LLAMA3 = (
    "begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
    "finetune_right_pad_id", "reserved_special_token_2", "start_header_id", "end_header_id",
    "eom_id", "eot_id", "python_tag",
)  # fmt: skip
_LLAMA3_NAMES = (*_LLAMA3, *(f"reserved_special_token_{n}" for n in range(3, 248)))
FAMILIES = {
    128_000: Family(LLAMA3_PATTERN, tuple(f"<|{n}|>" for n in _LLAMA3_NAMES), "<|begin_of_text|>",
                    "<|end_of_text|>", None, None, True),
    151_643: Family(QWEN2_PATTERN, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), None,
                    "<|endoftext|>", "<|endoftext|>", {"type": "NFC"}, False),
}  # fmt: skip


def is_rank_file(path: Path) -> bool:
    """Whether a file begins as a rank file does: base64, a space, a number."""
    with path.open("rb") as file:
        words = file.readline(4096).split()
    return len(words) == 2 and words[1].isdigit() and _decoded(words[0]) is not None


def read_ranks(path: Path) -> dict[str, int]:
    """Token (in byte letters) to rank; DataError names the line that is not one, or ranks that have holes."""
    ranks: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        words = line.split()
        data = _decoded(words[0]) if len(words) == 2 and words[1].isdigit() else None
        if data is None:
            raise DataError(f"{path}:{number}: {line[:40]!r} is not a token in base64 and its rank.")
        ranks["".join(LETTER_OF[b] for b in data)] = int(words[1])
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise DataError(f"{path}: its {len(ranks)} ranks are not 0 to {len(ranks) - 1}; the file is damaged.")
    return ranks


def _decoded(word: bytes) -> bytes | None:
    try:
        return base64.b64decode(word, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def tokenizer_json_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json of a rank file; DataError for one of an unknown family.

    Merges are all splits of every token by its rank, as Hugging Face's converter lists them
    (transformers, `TikTokenConverter`).
    """
    ranks = read_ranks(path)
    if len(ranks) not in FAMILIES:
        raise DataError(
            f"{path}: {len(ranks)} ranks are neither Llama-3's (128,000) nor Qwen2's (151,643), so its special "
            "tokens and pre-tokenizer are not known. Give a directory with its tokenizer.json."
        )
    family = FAMILIES[len(ranks)]
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        merges += sorted(splits(token, ranks), key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    split = {"type": "Split", "pattern": {"Regex": family.pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
        "ignore_merges": family.ignore_merges, "vocab": ranks, "merges": [list(pair) for pair in merges],
    }  # fmt: skip
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(name, len(ranks) + k) for k, name in enumerate(family.specials)],
        "normalizer": family.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None if family.bos is None else starts_with(family.bos, len(ranks)),
        "decoder": byte_level,
        "model": model,
    }
    return content, _config(family, content)


def _config(family: Family, content: dict[str, Any]) -> dict[str, Any]:
    roles = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": added_tokens_decoder(content),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1000000000000000019884624838656,
        "padding_side": "left",
        **{role: token for role, token in roles.items() if token is not None},
    }
