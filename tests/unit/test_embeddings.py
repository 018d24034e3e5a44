"""Grown embeddings: old rows bit for bit, new rows the mean of their sub-tokens, any base shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from toys import Toy, random_model, stage

from zhllm import manifest
from zhllm.errors import DataError, ProofError
from zhllm.model import embeddings
from zhllm.model.embeddings import mean_row, subtoken_mean
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import Checkpoint, row_blocks
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sentencepiece_model import NORMAL, load

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SUB_IDS = [[3], [5, 5, 9], [], [19, 0, 7, 1], list(range(20))]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sub_token_mean_is_torchs(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """float64 means rounded once to float32; an empty list is the mean of all rows, summed in blocks."""
    monkeypatch.setattr(embeddings, "row_blocks", lambda rows, size: row_blocks(rows, size, 3 * size))
    matrix = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)).to(DTYPES[dtype])
    save_file({"m": matrix}, tmp_path / "model.safetensors")
    base = Checkpoint(tmp_path)
    wanted = torch.stack([matrix.double()[ids or slice(None)].mean(0) for ids in SUB_IDS]).float().numpy()
    np.testing.assert_allclose(subtoken_mean(base, "m", SUB_IDS), wanted, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(mean_row(base.raw("m"), dtype), wanted[2], rtol=1e-6, atol=1e-8)


def added_sub_ids(tokenizer: Path, base_tokenizer: Path) -> list[list[int]]:
    """What the base makes of each added piece inside a text: a neutral character in front, cut off again."""
    base = sentencepiece.SentencePieceProcessor(model_file=str(base_tokenizer / "tokenizer.model"))
    front = base.encode("=")
    found = []
    for piece in load(tokenizer).pieces[base.vocab_size() :]:
        ids = base.encode("=" + piece.piece)
        assert ids[: len(front)] == front
        found.append(ids[len(front) :] if piece.type == NORMAL else [])
    return found


@pytest.mark.parametrize(
    ("padding", "tied", "dtype"),
    [(0, False, "float32"), (28, False, "float32"), (0, True, "float32"), (28, True, "bfloat16")],
    ids=["plain", "padded", "tied", "padded, tied, bf16"],
)
def test_resize_keeps_the_old_rows_and_makes_the_new_ones(
    toy: Toy, tmp_path: Path, padding: int, tied: bool, dtype: str
) -> None:
    rows = len(load(toy.tokenizer).pieces)
    base = random_model(tmp_path / "base", toy.tokenizer, rows + padding, dtype, tie_word_embeddings=tied)
    out = stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended)
    old, new = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert list(new) == list(old) and (HEAD in old) is not tied
    sub_ids = added_sub_ids(toy.extended, toy.tokenizer)
    for name, tensor in old.items():
        if name not in (EMBED, HEAD):
            assert torch.equal(new[name], tensor)
            continue
        assert new[name].shape == (rows + len(sub_ids), 64) and new[name].dtype == getattr(torch, dtype)
        assert torch.equal(new[name][:rows].view(torch.uint8), tensor[:rows].view(torch.uint8))
        wanted = torch.stack([tensor.double()[ids or slice(None)].mean(0) for ids in sub_ids]).to(tensor.dtype)
        assert (new[name][rows:] - wanted).abs().max() <= (1e-6 if dtype == "float32" else 1e-2)
    metrics = manifest.read(out).metrics  # type: ignore[union-attr]
    assert (metrics["base_rows"], metrics["new_rows"]) == (rows, len(sub_ids))
    assert metrics["padding_rows_dropped"] == padding
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (rows + len(sub_ids), rows + len(sub_ids) - 1)


def test_head_and_embedding_take_their_own_rows(toy: Toy) -> None:
    sub_ids = added_sub_ids(toy.resized, toy.tokenizer)
    new = load_file(toy.resized / "model.safetensors")
    first = len(load(toy.tokenizer).pieces)
    for name in (EMBED, HEAD):
        wanted = new[name][sub_ids[0]].mean(0)
        torch.testing.assert_close(new[name][first], wanted, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(new[EMBED][first], new[HEAD][first])


def test_bits_per_character_do_not_rise(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": toy.base, "tokenizer": toy.extended, "text": [toy.zh]}
    metrics = manifest.read(stage("resize", tmp_path / "good", **settings)).metrics  # type: ignore[union-attr]
    assert metrics["bits_per_char_after"] <= metrics["bits_per_char_before"]

    def noise(base: Checkpoint, name: str, sub_ids: list[list[int]]) -> np.ndarray:  # type: ignore[type-arg]
        return np.random.default_rng(0).standard_normal((len(sub_ids), 64)).astype(np.float32)

    monkeypatch.setattr(embeddings, "subtoken_mean", noise)
    with pytest.raises(ProofError, match=r"bits per character rose from \d+\.\d+ to \d+\.\d+ on \d+ documents"):
        stage("resize", tmp_path / "bad", **settings)
    assert not (tmp_path / "bad").exists()


def test_a_changed_old_row_is_noticed(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(base: Checkpoint, name: str, keep_rows: int, new_rows: np.ndarray) -> list[np.ndarray]:  # type: ignore[type-arg]
        return [np.roll(base.raw(name)[:keep_rows], 1, axis=0), new_rows]

    monkeypatch.setattr(embeddings, "grown", shifted)
    with pytest.raises(ProofError, match=r"embed_tokens.weight: the base's values changed"):
        stage("resize", tmp_path / "out", model=toy.base, tokenizer=toy.extended)
    assert not (tmp_path / "out").exists()


def test_a_base_with_fewer_rows_is_refused(toy: Toy, tmp_path: Path) -> None:
    small = random_model(tmp_path / "small", toy.tokenizer, rows=400)
    with pytest.raises(DataError, match=r"has 400 embedding rows, but .* extends a base of \d+ pieces"):
        stage("resize", tmp_path / "out", model=small, tokenizer=toy.extended)


def test_a_base_with_another_tokenizer_is_refused(toy: Toy, tmp_path: Path) -> None:
    """Its rows would pass for padding, as 96,000 of Llama-3's would for an extension of Llama-2."""
    larger = stage("train-tokenizer", tmp_path / "larger", corpus=[toy.en], size=440)
    as_large = tmp_path / "as large"
    as_large.mkdir()
    model = load(toy.tokenizer)
    model.pieces[-1].piece = "\u9fa5"
    write_tokenizer(as_large, model)
    for tokenizer in (larger, as_large, toy.extended):
        base = random_model(tmp_path / f"model {tokenizer.name}", tokenizer)
        for file in ("tokenizer.model", "tokenizer.json"):  # either is enough to tell
            with pytest.raises(DataError, match=r"its tokenizer has \d+ ids, .* extends .* differ from id \d+ "):
                stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended)
            (base / file).unlink()
    assert not (tmp_path / "out").exists()


def test_a_token_that_has_no_row_does_not_count(toy: Toy, tmp_path: Path) -> None:
    """Hub copies of Llama-2 name a pad token with id 32000, for which there is no 32,001st row."""
    base = random_model(tmp_path / "base", toy.tokenizer)
    tokenizer = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_special_tokens(["<pad>"])
    tokenizer.save(str(base / "tokenizer.json"))
    stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended)


def test_a_tokenizer_that_extends_nothing_is_refused(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no extension\.json; give a directory that extend-vocab wrote"):
        stage("resize", tmp_path / "out", model=toy.base, tokenizer=toy.tokenizer)
