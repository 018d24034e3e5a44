"""Any text: SentencePiece, tokenizers and AutoTokenizer give the same ids, before and after saving."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import texts_with
from tokenizers import Tokenizer
from toys import Toy
from transformers import AutoTokenizer

from zhllm.text.runs import count_runs
from zhllm.vocab.extend import extend
from zhllm.vocab.hf_files import tokenizer_json, write_tokenizer
from zhllm.vocab.pieces import learn_pieces
from zhllm.vocab.proof import Encode, hf_encode
from zhllm.vocab.sentencepiece_model import META_SPACE, NORMAL, copy_of, load, processor

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


@dataclass
class Engines:
    """An extended tokenizer in every engine, and its base."""

    base: Any
    model: Any
    encoders: dict[str, Encode]
    decode: Any
    pieces: list[str]


def auto(folder: Path) -> Encode:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return lambda texts: tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]


def engines_of(base: Any, model: Any, folder: Path, tmp_path: Path) -> Engines:
    AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(tmp_path / "saved")
    sp = processor(model)
    encoders = {
        "SentencePiece": sp.encode,
        "tokenizers": hf_encode(Tokenizer.from_file(str(folder / "tokenizer.json"))),
        "AutoTokenizer": auto(folder),
        "AutoTokenizer, saved and loaded": auto(tmp_path / "saved"),
    }
    added = [p.piece for p in model.pieces[len(base.pieces) :] if p.type == NORMAL]
    return Engines(base, model, encoders, sp.decode, added)


@pytest.fixture(scope="module")
def toy_engines(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Engines:
    model = load(toy.extended)
    return engines_of(load(toy.tokenizer), model, toy.extended, tmp_path_factory.mktemp("toy-engines"))


@pytest.fixture(scope="module")
def real_engines(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """The real Llama-2 with 5,000 pieces of real statutes."""
    with gzip.open(real_data / "corpus" / "laws_zh.jsonl.gz", "rt", encoding="utf-8") as file:
        runs = count_runs(json.loads(line)["text"] for _, line in zip(range(150), file, strict=False))
    base = load(real_data / "tokenizers" / "llama2.model")
    model = extend(base, [p.text for p in learn_pieces(runs, 6000, 2500, 2, 8)]).model
    folder = tmp_path_factory.mktemp("real-engines")
    write_tokenizer(folder, model, len(base.pieces))
    return engines_of(base, model, folder, folder)


@pytest.mark.parametrize("name", ["toy_engines", pytest.param("real_engines", marks=pytest.mark.slow)])
def test_engines_agree_and_the_base_is_untouched(name: str, request: pytest.FixtureRequest) -> None:
    engines: Engines = request.getfixturevalue(name)
    size = len(engines.base.pieces)
    assert list(engines.model.pieces[:size]) == list(engines.base.pieces)
    base_encode = processor(engines.base).encode
    seen = 0

    @settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
    @given(texts_with(engines.pieces))
    def check(texts: list[str]) -> None:
        nonlocal seen
        seen += len(texts)
        ids = engines.encoders["SentencePiece"](texts)
        for engine, encode in engines.encoders.items():
            assert [list(row) for row in encode(texts)] == ids, engine
        for text, row, before in zip(texts, ids, base_encode(texts), strict=True):
            assert META_SPACE in text or engines.decode(row) == text
            if text.isascii() or not any(i >= size for i in row):
                assert row == before

    check()
    assert seen >= 1000


def test_lossless_but_for_the_sign_that_stands_for_a_space(toy_engines: Engines) -> None:
    ids = toy_engines.encoders["SentencePiece"](["人▁工"])[0]
    assert toy_engines.decode(ids) == "人 工"


@pytest.fixture(scope="module")
def toy_base(toy: Toy) -> Any:
    return load(toy.tokenizer)


@settings(max_examples=150, deadline=None, suppress_health_check=CHECKS)
@given(
    pieces=st.lists(st.text("甲乙丙", min_size=2, max_size=6), min_size=1, max_size=25),
    texts=st.lists(st.text("甲乙丙", max_size=20), min_size=20, max_size=20),
)
def test_any_han_pieces_whatever_give_one_tokenisation(toy_base: Any, pieces: list[str], texts: list[str]) -> None:
    """Overlaps, borders (甲乙甲), repeats (甲甲甲) and pieces without a way to form them included."""
    model = extend(toy_base, [*"甲乙丙", *pieces]).model
    texts = [*texts, *pieces, *(p + q for p in pieces for q in pieces[:5])]
    hf = hf_encode(Tokenizer.from_str(json.dumps(tokenizer_json(model))))
    assert processor(model).encode(texts) == hf(texts)


def test_tied_scores_are_why_every_score_is_its_own(toy_base: Any) -> None:
    """With one score for all, as in the classic recipe, SentencePiece takes the left pair, a merge list the older."""
    pieces = ["甲", "乙", "乙甲", "甲乙"]
    tied = copy_of(toy_base)
    for piece in pieces:
        tied.pieces.add(piece=piece, score=0.0, type=NORMAL)
    for model, agree in ((tied, False), (extend(toy_base, pieces).model, True)):
        hf = hf_encode(Tokenizer.from_str(json.dumps(tokenizer_json(model))))
        assert (processor(model).encode(["甲乙甲乙甲"]) == hf(["甲乙甲乙甲"])) is agree
