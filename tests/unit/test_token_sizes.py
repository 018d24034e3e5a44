"""What tokens stand for: the characters and bytes of a text are those of its tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import Toy

from zhllm.vocab.token_sizes import token_sizes
from zhllm.vocab.tokenizer import Tokenizer

TEXTS = [
    "实验室的样品每天检查一次。",
    "Keep the samples cold.",
    "a\n\n b\t混合 text 🙂 é",
    "𠀀生僻字龘",
    " 前后有空格 ",
]


def assert_counts(folder: Path, texts: list[str], prefix: int) -> None:
    """`prefix`: how many characters each text's tokens have more than the text (the dummy prefix)."""
    tokenizer = Tokenizer(folder)
    chars, sizes = token_sizes(tokenizer)
    for text, ids in zip(texts, tokenizer.encode_plain(texts), strict=True):
        assert (int(chars[ids].sum()), int(sizes[ids].sum())) == (len(text) + prefix, len(text.encode()) + prefix)


def test_sentencepiece_tokens_count_the_text_and_the_dummy_prefix(toy: Toy) -> None:
    assert_counts(toy.resized, TEXTS, prefix=1)


def test_special_tokens_stand_for_no_text(toy: Toy) -> None:
    tokenizer = Tokenizer(toy.resized)
    chars, sizes = token_sizes(tokenizer)
    special = sorted(tokenizer.special_ids)
    assert special and not chars[special].any() and not sizes[special].any()
    assert not tokenizer.is_byte_level and len(chars) == tokenizer.vocab_size == np.count_nonzero(sizes) + len(special)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 300 tokens, so that most characters are several tokens."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("byte-level")
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(TEXTS * 3, vocab_size=300, special_tokens=["<|end|>"])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    return folder


def test_byte_level_tokens_count_the_text(byte_level: Path) -> None:
    assert Tokenizer(byte_level).is_byte_level
    assert_counts(byte_level, TEXTS, prefix=0)
