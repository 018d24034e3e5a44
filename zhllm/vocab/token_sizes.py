"""How many characters and bytes of text each token stands for.

V ids. A token may hold part of a character; it then counts the characters that begin in it, so that
the tokens of a text together count its characters.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from zhllm.vocab.byte_level import bytes_of
from zhllm.vocab.tokenizer import Tokenizer

Counts = NDArray[np.int64]

_BYTE = re.compile(r"^<0x([0-9A-F]{2})>$")  # SentencePiece's byte fallback


def token_sizes(tokenizer: Tokenizer) -> tuple[Counts, Counts]:
    """(V,) characters and (V,) UTF-8 bytes of every id; 0 for special tokens and ids without a token.

    SentencePiece's dummy prefix is a token's space like any other: where a text begins with it, the
    tokens count one character more than the text has.
    """
    chars, sizes = np.zeros(tokenizer.vocab_size, np.int64), np.zeros(tokenizer.vocab_size, np.int64)
    special, byte_level = tokenizer.special_ids, tokenizer.is_byte_level
    for token, index in tokenizer.fast.get_vocab(with_added_tokens=True).items():
        if index in special:
            continue
        text = token_bytes(token, byte_level)
        sizes[index] = len(text)
        chars[index] = sum(byte & 0xC0 != 0x80 for byte in text)
    return chars, sizes


def token_bytes(token: str, byte_level: bool) -> bytes:
    """The bytes that a token which is no special one writes; b"" where it is in no byte letters."""
    return (bytes_of(token) or b"") if byte_level else _piece_bytes(token)


def _piece_bytes(piece: str) -> bytes:
    byte = _BYTE.match(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
