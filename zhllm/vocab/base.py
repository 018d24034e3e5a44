"""A Llama-style tokenizer from scratch: SentencePiece BPE with byte fallback, as Llama-2's was made."""

from __future__ import annotations

import io
import string
from collections.abc import Iterable
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

from zhllm.errors import DataError
from zhllm.vocab.extend import FORBIDDEN_SIZES

ASCII = "".join(c for c in string.printable if c.isprintable() and c != " ")
# Llama-2's vocabulary holds these as pieces too; without them each costs three byte tokens.
CJK_PUNCTUATION = "，。！？：；、（）“”《》「」『』【】—…·～"


def train_base(texts: Iterable[str], size: int) -> Any:
    """A ModelProto of at most `size` pieces: <unk> <s> </s>, 256 bytes, then BPE pieces.

    The settings are Llama-2's (identity normaliser, dummy prefix, split digits, whitespace pieces).
    Every printable ASCII character and the common CJK
    punctuation is a piece of its own whatever the text. Raises DataError when
    the text cannot fill even the required pieces.
    """
    if size in FORBIDDEN_SIZES:
        raise DataError(f"size {size} is one that llama.cpp's converter treats as another model; use {size - 1}.")
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=writer,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=0.99995,
            required_chars=ASCII + CJK_PUNCTUATION,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            max_sentence_length=1 << 24,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(f"the corpus cannot fill a vocabulary of {size} pieces ({error}).") from error
    proto = pb.ModelProto()
    proto.ParseFromString(writer.getvalue())
    return proto


def _lines(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        yield from (line for line in text.split("\n") if line.strip())
