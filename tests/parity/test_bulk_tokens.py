"""`Tokenizer.encode_bulk` against the engines themselves: the same ids, long texts cut or not."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CONTENTS, Toy, byte_level_tokenizer, chinese, stage

from zhllm.vocab import tokenizer as module
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sentencepiece_model import load
from zhllm.vocab.tokenizer import Tokenizer, stretches

PARTS = st.sampled_from(
    [
        *CONTENTS,
        "。",
        "，",
        "？！",
        "。\n",
        "\n",
        "\n\n",
        " \n",
        "\n ",
        "\n▁",
        "土壤水质",
        "the lab keeps",
        "\u2028",
        "\r",
        "",
    ]
)
TEXTS = st.lists(st.lists(PARTS, max_size=12).map("".join), max_size=6)


@pytest.fixture(scope="module")
def extended(toy: Toy) -> Tokenizer:
    return Tokenizer(toy.extended)


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(0, 6))
def test_cut_texts_have_the_ids_of_whole_ones(extended: Tokenizer, texts: list[str], stretch: int) -> None:
    """With stretches of a few characters, so that cuts fall everywhere behind a newline."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "STRETCH_CHARS", stretch)
        found = extended.encode_bulk(texts)
        assert extended._ends.startswith("\n。")
        assert all("".join(stretches(text, extended._ends)) == text for text in texts)
    assert [one.tolist() for one in found] == extended.encode_plain(texts)
    assert all(one.dtype == np.int32 for one in found)


def test_long_texts_are_cut_behind_ends_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH_CHARS", 4)
    found = list(stretches("一二三\n四五六\n七八九十。\n十一", "\n。"))
    assert found == ["一二三\n四五六\n", "七八九十。", "\n十一"]
    assert list(stretches("一二三四。五六七", "\n")) == ["一二三四。五六七"] and list(stretches("", "\n")) == [""]


def with_piece(folder: Path, out: Path, piece: str) -> Tokenizer:
    """The tokenizer with one more piece, the best of all, in its SentencePiece model only."""
    shutil.copytree(folder, out)
    proto = load(folder)
    proto.pieces.add(piece=piece, score=0.0)
    (out / "tokenizer.model").write_bytes(proto.SerializeToString())
    return Tokenizer(out)


def test_a_model_with_a_piece_across_a_newline_is_not_cut_there(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "土\n壤" * 20
    across = with_piece(with_piece(toy.extended, tmp_path / "a", "\n").folder, tmp_path / "b", "\n壤")
    cut = with_piece(toy.extended, tmp_path / "c", "\n")
    monkeypatch.setattr(module, "STRETCH_CHARS", 4)
    assert "\n" not in across._ends and "\n" in cut._ends
    for tokenizer in (across, cut):
        assert [one.tolist() for one in tokenizer.encode_bulk([text])] == tokenizer.encode_plain([text])
    assert len(across.encode_plain([text])[0]) < len(cut.encode_plain([text])[0])


def test_byte_level_ids_are_those_of_the_engine(tmp_path: Path) -> None:
    tokenizer = Tokenizer(byte_level_tokenizer(tmp_path / "bytes"))
    texts = [*CONTENTS, "<|begin_of_text|>", "\n".join(CONTENTS) * 50]
    assert [one.tolist() for one in tokenizer.encode_bulk(texts)] == tokenizer.encode_plain(texts)


@pytest.mark.slow
def test_real_texts_through_an_extended_llama2(real_data: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    base = tmp_path / "llama2"
    base.mkdir()
    write_tokenizer(base, load(real_data / "tokenizers" / "llama2.model"))
    pieces = pytestconfig.rootpath / "vocab" / "zh_general"
    folder = stage("extend-vocab", tmp_path / "extended", base=base, pieces=[pieces])
    engine = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = []
    for name in ("laws_zh", "tidb_docs_zh", "oiwiki_zh", "dirty_zh"):
        with gzip.open(real_data / "corpus" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in list(file)[:60]]
    texts.append("\n".join(texts))
    assert sum(len(text) > 2 * module.STRETCH_CHARS for text in texts) > 20
    assert [one.tolist() for one in Tokenizer(folder).encode_bulk(texts)] == engine.encode(texts)


def test_a_long_text_without_newlines_is_cut_behind_its_sentences(extended: Tokenizer) -> None:
    text = chinese(random.Random(0), 400)
    assert len(text) > 2 * module.STRETCH_CHARS and "\n" not in text
    assert len(list(stretches(text, extended._ends))) > 1
    assert extended.encode_bulk([text])[0].tolist() == extended.encode_plain([text])[0]
