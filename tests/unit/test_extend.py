"""Extending a SentencePiece base: what is added, what is left out and why, and the files written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from toys import Toy
from transformers import AutoTokenizer

from zhllm.errors import DataError, ProofError
from zhllm.vocab.base import train_base
from zhllm.vocab.extend import SentencePieceBase, appended, extend, lowest_ordinary_score
from zhllm.vocab.hf_files import TOKENIZER_FILES, all_splits, special_ids, tokenizer_json, write_tokenizer
from zhllm.vocab.proof import prove_tokenizer
from zhllm.vocab.sentencepiece_model import CONTROL, NORMAL, copy_of, load, processor
from zhllm.vocab.tokenizer import Tokenizer

GOOD = ["人", "工", "智", "能", "人工", "智能", "人工智能", "𠮷", "々", "〇"]


@pytest.fixture(scope="module")
def base(toy: Toy) -> Any:
    return load(toy.tokenizer)


def han(count: int) -> list[str]:
    """`count` different Han characters, the last ones beyond the BMP."""
    return [chr(c) for c in (*range(0x4E00, 0xA000), *range(0x3400, 0x4DC0), *range(0x20000, 0x2A6E0))][:count]


def test_pieces_are_appended_in_their_order_below_every_score(base: Any) -> None:
    model = extend(base, GOOD).model
    size = len(base.pieces)
    assert list(model.pieces[:size]) == list(base.pieces)
    added = model.pieces[size:-1]
    assert [p.piece for p in added] == GOOD
    assert [p.score for p in added] == [lowest_ordinary_score(base) - 1 - k for k in range(len(GOOD))]
    assert {p.type for p in added} == {NORMAL}


def test_the_pad_piece_is_a_control_piece_behind_all_others(base: Any) -> None:
    model = extend(base, GOOD).model
    last = len(model.pieces) - 1
    assert (model.pieces[last].piece, model.pieces[last].type) == ("<pad>", CONTROL)
    assert special_ids(model) == {"bos": 1, "eos": 2, "unk": 0, "pad": last}
    assert model.trainer_spec.vocab_size == last + 1
    assert base.trainer_spec.pad_id == -1, "the base itself was changed"
    without = extend(base, GOOD, pad_piece=None).model
    assert len(without.pieces) == last and "pad" not in special_ids(without)


@pytest.mark.parametrize(
    ("pieces", "reason", "left_out"),
    [
        (["the"], "in the base", ["the"]),
        (["人", "人", "工", "人"], "twice", ["人", "人"]),
        (["人a", "▁人", "人1", "人。", "の", "人 工", "人\n", ""], "not Han", None),
    ],
)
def test_what_would_break_an_engine_is_left_out_by_reason(
    base: Any, pieces: list[str], reason: str, left_out: list[str] | None
) -> None:
    known = next(p.piece for p in base.pieces[259:] if p.piece.isalpha() and len(p.piece) > 1)
    pieces = [known if p == "the" else p for p in pieces]
    found = extend(base, [*pieces, "龘"])
    wanted = pieces if left_out is None else [known if p == "the" else p for p in left_out]
    assert found.left_out == {reason: wanted}
    assert found.added == [*dict.fromkeys(p for p in pieces if p not in wanted or reason == "twice"), "龘"]


@pytest.mark.parametrize(
    ("pieces", "added", "joins"),
    [
        (["甲", "乙", "丙", "甲乙丙"], ["甲", "乙", "丙", "甲乙", "甲乙丙"], ["甲乙"]),
        (["甲乙丙"], ["甲", "乙", "丙", "甲乙", "甲乙丙"], ["甲", "乙", "丙", "甲乙"]),
        (["甲", "乙", "丙", "丁", "甲乙", "甲乙丙丁"], [*"甲乙丙丁", "甲乙", "甲乙丙", "甲乙丙丁"], ["甲乙丙"]),
        # 乙丙 is joined first, wherever the longer piece would need 甲乙 and 丙丁.
        (
            [*"甲乙丙丁", "乙丙", "甲乙", "丙丁", "甲乙丙丁"],
            [*"甲乙丙丁", "乙丙", "甲乙", "丙丁", "甲乙丙", "甲乙丙丁"],
            ["甲乙丙"],
        ),
        # What is asked for later is a piece, not a join, and stands where its first need puts it.
        (["甲乙丙", "甲乙"], ["甲", "乙", "丙", "甲乙", "甲乙丙"], ["甲", "乙", "丙"]),
    ],
)  # fmt: skip
def test_every_piece_brings_the_joins_it_needs(
    base: Any, pieces: list[str], added: list[str], joins: list[str]
) -> None:
    found = extend(base, pieces)
    assert (found.added, found.joins, found.left_out) == (added, joins, {})


def test_any_first_pieces_of_an_extension_are_whole(base: Any) -> None:
    pieces = ["中华人民共和国", "人民共和国", "共和国", "龘靐齉", "民共"]
    for count in range(1, 20):
        found = SentencePieceBase(base).extend(pieces, max_pieces=count)
        assert len(found.added) == min(count, len(extend(base, pieces).added))
        encoder = SentencePieceBase(found.model)
        ids = [[len(base.pieces) + k] for k in range(len(found.added))]
        assert encoder.encode_inside(found.added) == ids


@pytest.mark.parametrize("pieces", [[], ["the cat", "12", "▁"]])
def test_with_nothing_to_add_it_refuses(base: Any, pieces: list[str]) -> None:
    with pytest.raises(DataError, match=rf"none of the {len(pieces)} pieces can be added: "):
        extend(base, pieces)


@pytest.mark.parametrize("size", [32016, 49152])
def test_sizes_that_converters_mistake_are_refused(base: Any, size: int) -> None:
    missing = size - len(base.pieces) - 1
    with pytest.raises(DataError, match=f"{size} pieces, a size that llama.cpp's converter .*--max-pieces"):
        extend(base, han(missing))
    with pytest.raises(DataError, match=f"size {size}.*use {size - 1}"):
        train_base(["a text"], size)


def test_space_runs_do_not_set_the_score(base: Any) -> None:
    """Llama-2 keeps its space runs at -1e9, where float32 cannot tell neighbours apart."""
    low = copy_of(base)
    low.pieces.add(piece="▁▁▁▁", score=-1e9, type=NORMAL)
    assert lowest_ordinary_score(low) == lowest_ordinary_score(base)
    scores = [p.score for p in extend(low, GOOD).model.pieces[len(low.pieces) : -1]]
    assert len(set(scores)) == len(GOOD)


def test_specials_are_control_pieces_behind_the_pad(base: Any) -> None:
    found = SentencePieceBase(base).extend(GOOD, "<pad>", ("<|im_start|>", "<|im_end|>", "</s>"))
    assert found.specials == ["<pad>", "<|im_start|>", "<|im_end|>"]
    assert [(p.piece, p.type) for p in found.model.pieces[-3:]] == [(t, CONTROL) for t in found.specials]
    assert special_ids(found.model)["pad"] == found.size - 3


def test_a_pad_that_the_base_names_or_has_is_kept(base: Any) -> None:
    named = extend(base, GOOD[:3]).model
    assert special_ids(extend(named, GOOD[3:]).model)["pad"] == len(named.pieces) - 1
    unnamed = appended(base, [], ["<pad>"])
    found = extend(unnamed, GOOD)
    assert found.specials == [] and special_ids(found.model)["pad"] == len(unnamed.pieces) - 1


def test_merges_are_all_splits_best_first(base: Any) -> None:
    model = extend(base, ["甲", "乙", "丙", "甲乙", "乙丙", "甲乙丙"]).model
    ours = [pair for pair in all_splits(model) if pair[0][0] in "甲乙丙"]
    assert ours == [("甲", "乙"), ("乙", "丙"), ("甲", "乙丙"), ("甲乙", "丙")]
    scores = {p.piece: p.score for p in model.pieces}
    order = [scores[left + right] for left, right in all_splits(model)]
    assert order == sorted(order, reverse=True)


def test_both_generations_of_files_are_written(toy: Toy) -> None:
    present = {p.name for p in toy.extended.iterdir()}
    assert set(TOKENIZER_FILES) - {"chat_template.jinja"} <= present
    size = json.loads((toy.extended / "extension.json").read_text())["vocab_size"]
    config = json.loads((toy.extended / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert {i: t["content"] for i, t in config["added_tokens_decoder"].items()} == {
        "0": "<unk>", "1": "<s>", "2": "</s>", str(size - 1): "<pad>",
    }  # fmt: skip
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    assert json.loads((toy.extended / "special_tokens_map.json").read_text()) == specials
    generation = json.loads((toy.extended / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": size - 1}


def test_a_base_without_bos_gets_none(base: Any, tmp_path: Path) -> None:
    model = extend(base, GOOD).model
    model.trainer_spec.bos_id = -1
    write_tokenizer(tmp_path, model)
    auto = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert auto("人工智能")["input_ids"] == processor(model).encode("人工智能") and auto.bos_token is None
    prove_tokenizer(tmp_path, model, base, ["人工智能"])


def test_a_chat_template_stands_inline_and_as_a_file(base: Any, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, base, chat_template="{{ '中' }}")
    assert (tmp_path / "chat_template.jinja").read_text(encoding="utf-8") == "{{ '中' }}"
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["chat_template"] == "{{ '中' }}"
    assert not (tmp_path / "extension.json").exists()


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("a merge is missing", "SentencePiece = Hugging Face: "),
        ("scores in another order", "SentencePiece = Hugging Face: "),
        ("a base score changed", r"base ids: 1 of \d+ texts fail, e.g. '<0xFF>' \(id 258\) is '<0xFF>' now"),
        ("base pieces exchanged", "base ids: 2 of"),
        ("an added Latin piece", "base language: "),
        ("a normaliser that strips", "round trip: "),
        ("a piece that is never formed", r"reachable pieces: 1 of \d+ texts fail, e.g. '能人智' "),
    ],
)
def test_the_proof_refuses_a_broken_tokenizer(base: Any, tmp_path: Path, fault: str, promise: str) -> None:
    model = extend(base, ["人", "工", "智", "人工", "工智"]).model
    size = len(base.pieces)
    write_tokenizer(tmp_path, model, size)
    prove_tokenizer(tmp_path, model, base, ["人工智"])
    if fault == "a merge is missing":
        content = tokenizer_json(model)
        content["model"]["merges"].remove(["人", "工"])
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    elif fault == "scores in another order":
        model.pieces[size + 4].score, model.pieces[size + 3].score = -40000.0, -40001.0
    elif fault == "a piece that is never formed":
        model.pieces.add(piece="能人智", score=-50000.0, type=NORMAL)
        write_tokenizer(tmp_path, model, size)
    elif fault == "a normaliser that strips":
        model.normalizer_spec.remove_extra_whitespaces = True
    else:
        if fault == "a base score changed":
            model.pieces[258].score = -1.0
        elif fault == "base pieces exchanged":
            model.pieces[100].piece, model.pieces[101].piece = model.pieces[101].piece, model.pieces[100].piece
        else:
            model.pieces.add(piece="e▁", score=2.0, type=NORMAL)
        write_tokenizer(tmp_path, model, size)
    with pytest.raises(ProofError, match=promise):
        prove_tokenizer(tmp_path, model, base, ["人工智", "the end of the line"])


def ids(encode: Any, texts: Sequence[str]) -> list[list[int]]:
    return [list(row) for row in encode(list(texts))]


def test_plain_text_never_becomes_a_special_token(toy: Toy) -> None:
    """`</s>` in a document is text; in a rendered prompt it is the token."""
    tokenizer = Tokenizer(toy.extended)
    text = "一</s>二<pad>"
    assert tokenizer.encode_plain([text]) == ids(processor(load(toy.extended)).encode, [text])
    assert not {1, 2, tokenizer.pad_id} & set(tokenizer.encode_plain([text])[0])
    assert {2, tokenizer.pad_id} <= set(tokenizer.encode_prompt(text))
    assert tokenizer.decode(tokenizer.encode_plain([text])[0]) == text


@pytest.mark.parametrize("token", ["", "中", "人工", "中国 GPU", "the lab", "ordinary"])
def test_what_a_text_may_hold_is_no_special_token(base: Any, token: str) -> None:
    """Hugging Face parts a text at every special token, SentencePiece never does."""
    if token == "ordinary":
        token = next(p.piece for p in base.pieces if p.type == NORMAL and p.piece.isalpha() and len(p.piece) > 1)
    with pytest.raises(DataError, match="cannot be a special token"):
        extend(base, GOOD, token)
