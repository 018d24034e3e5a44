"""Grown embeddings: old rows bit for bit, new rows by every rule, padding, any base shape."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from toys import Toy, random_model, stage
from transformers import AutoModelForCausalLM

from zhllm import manifest
from zhllm.errors import DataError, ProofError
from zhllm.evals.bits import Bits, bits_per_char
from zhllm.model import embeddings
from zhllm.model.embeddings import Init, moments, new_rows, row_norms, same_rows
from zhllm.model.gguf_read import GgufFile
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import F32, Checkpoint, Writer
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sentencepiece_model import NORMAL, load
from zhllm.vocab.tokenizer import Tokenizer

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SUB_IDS = [[3], [5, 5, 9], [], [19, 0, 7, 1], list(range(20))]


def matrix_on_disk(folder: Path, dtype: str, padding: int = 3) -> tuple[torch.Tensor, Checkpoint]:
    """Twenty rows of a base and some that pad it, large enough to be noticed where they are read."""
    matrix = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)).to(DTYPES[dtype])
    save_file({"m": torch.cat([matrix, torch.full((padding, 8), 99.0, dtype=matrix.dtype)])}, folder / "x.safetensors")
    return matrix, Checkpoint(folder / "x.safetensors")


def made(base: Checkpoint, init: Init, seed: int = 0, sub_ids: list[list[int]] = SUB_IDS) -> F32:
    return np.concatenate(list(new_rows(base, "m", 20, sub_ids, init, seed)))


@pytest.fixture(params=[4 << 20, 96], ids=["one block", "three rows a block"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_new_rows_are_torchs_means(tmp_path: Path, dtype: str) -> None:
    """float64 means rounded once to float32; what has no text is the mean of all rows, the base's padding left out."""
    matrix, base = matrix_on_disk(tmp_path, dtype)
    wanted = torch.stack([matrix.double()[ids or slice(None)].mean(0) for ids in SUB_IDS]).float().numpy()
    np.testing.assert_allclose(made(base, "subtoken-mean"), wanted, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(made(base, "mean"), np.tile(wanted[2], (5, 1)), rtol=1e-6, atol=1e-8)
    zero = made(base, "zero")
    np.testing.assert_allclose(zero[2], wanted[2], rtol=1e-6, atol=1e-8)
    assert not zero[[0, 1, 3, 4]].any()
    mean, deviation = moments(base.raw("m")[:20], dtype)
    np.testing.assert_allclose(mean, wanted[2], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(deviation, matrix.double().std(0, correction=0).float(), rtol=1e-6)


def test_normal_rows_have_the_bases_mean_and_deviation(tmp_path: Path) -> None:
    """Of 20,000 draws the mean is off by 1/141 deviations, the deviation by 1/200; five times that is allowed."""
    matrix, base = matrix_on_disk(tmp_path, "F32")
    draws = made(base, "normal", sub_ids=[[1]] * 20_000)
    mean, deviation = matrix.double().mean(0), matrix.double().std(0, correction=0)
    assert np.all(np.abs(draws.mean(axis=0) - mean.numpy()) < deviation.numpy() / 28)
    np.testing.assert_allclose(draws.std(axis=0, dtype=np.float64), deviation, rtol=1 / 40)
    assert np.array_equal(draws[:7], made(base, "normal", sub_ids=[[1]] * 7))
    assert not np.array_equal(draws[:7], made(base, "normal", seed=1, sub_ids=[[1]] * 7))
    np.testing.assert_allclose(made(base, "normal")[2], mean, rtol=1e-6)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_those_of_the_whole_matrix(tmp_path: Path, dtype: str) -> None:
    matrix, base = matrix_on_disk(tmp_path, dtype)
    np.testing.assert_allclose(row_norms(base, "m", slice(2, 20)), matrix[2:].float().norm(dim=1), rtol=1e-5)
    assert len(row_norms(base, "m", slice(5, 5))) == 0


@pytest.mark.usefixtures("_blocks")
def test_a_single_other_bit_is_seen(tmp_path: Path) -> None:
    matrix = torch.randn(23, 8, generator=torch.Generator().manual_seed(1))

    def stored(name: str, values: torch.Tensor) -> Checkpoint:
        save_file({"m": values.contiguous()}, tmp_path / f"{name}.safetensors")
        return Checkpoint(tmp_path / f"{name}.safetensors")

    base, last, first = stored("base", matrix), matrix.clone(), matrix.clone()
    last[-1, -1] += 1e-7
    first[0, 0] *= -1
    assert same_rows(base, stored("same", matrix), "m") and same_rows(base, stored("last", last), "m", 22)
    for name, other in (("last", last), ("first", first), ("short", matrix[:-1]), ("half", matrix.half())):
        assert not same_rows(base, stored(name, other), "m")
    short = stored("short", matrix[:-1])
    assert same_rows(base, short, "m", 22) and not same_rows(short, base, "m")
    assert not same_rows(base, stored("first", first), "m", 1)
    vector = torch.zeros(5)
    assert same_rows(stored("one", vector), stored("two", vector), "m")


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


def in_shards(folder: Path) -> Path:
    """Cut a model's one file into several, the first of which holds the embeddings."""
    whole = Checkpoint(folder)
    with Writer(folder, list(whole.specs.values()), max_shard_bytes=1 << 17) as writer:
        for name in whole.specs:
            writer.write(name, whole.raw(name))
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


@pytest.mark.parametrize(
    ("padding", "tied", "dtype", "sharded"),
    [
        (0, False, "float32", False),
        (28, False, "float32", True),
        (0, True, "float32", False),
        (0, False, "float16", False),
        (28, True, "bfloat16", True),
    ],
    ids=["plain", "padded, sharded", "tied", "f16", "padded, tied, bf16, sharded"],
)
def test_resize_keeps_the_old_rows_and_makes_the_new_ones(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], padding: int, tied: bool, dtype: str, sharded: bool
) -> None:
    rows = len(load(toy.tokenizer).pieces)
    base = random_model(tmp_path / "base", toy.tokenizer, rows + padding, dtype, tie_word_embeddings=tied)
    old = load_file(base / "model.safetensors")
    if sharded:
        in_shards(base)
    out = stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended)
    new = load_file(out / "model.safetensors")
    assert new.keys() == old.keys() and (HEAD in old) is not tied
    sub_ids = added_sub_ids(toy.extended, toy.tokenizer)
    for name, tensor in old.items():
        if name not in (EMBED, HEAD):
            assert torch.equal(new[name], tensor)
            continue
        assert new[name].shape == (rows + len(sub_ids), 64) and new[name].dtype == getattr(torch, dtype)
        assert torch.equal(new[name][:rows].view(torch.uint8), tensor[:rows].view(torch.uint8))
        kept = tensor[:rows].double()
        wanted = torch.stack([kept[ids or slice(None)].mean(0) for ids in sub_ids])
        # What rounding to the stored type may move: 2^-8 of the value in bf16, 2^-11 in f16.
        torch.testing.assert_close(new[name][rows:].double(), wanted, rtol=torch.finfo(tensor.dtype).eps, atol=1e-6)
    metrics = manifest.read(out).metrics  # type: ignore[union-attr]
    assert (metrics["base_rows"], metrics["new_rows"]) == (rows, len(sub_ids))
    assert metrics["padding_rows_dropped"] == padding
    assert ("28 of its rows belong to no token and are left out" in capsys.readouterr().err) is (padding == 28)
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (rows + len(sub_ids), rows + len(sub_ids) - 1)
    opened = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    embed, head = opened.get_input_embeddings().weight, opened.get_output_embeddings().weight
    assert embed.shape == head.shape == new[EMBED].shape and (embed.data_ptr() == head.data_ptr()) is tied


@pytest.mark.parametrize("init", ["mean", "zero", "normal"])
def test_every_rule_reaches_both_matrices(toy: Toy, tmp_path: Path, init: str) -> None:
    out = stage("resize", tmp_path / "out", model=toy.base, tokenizer=toy.extended, init=init, seed=3)
    new, old = load_file(out / "model.safetensors"), load_file(toy.base / "model.safetensors")
    rows = len(old[EMBED])
    for name in (EMBED, HEAD):
        added, mean = new[name][rows:], old[name].double().mean(0).float()
        torch.testing.assert_close(added[-1], mean, rtol=1e-5, atol=1e-7)  # <pad>, whatever the rule
        if init == "normal":
            assert 0.015 < float((added[:-1] - mean).std()) < 0.025  # the toy's weights are normal(0, 0.02)
        else:
            torch.testing.assert_close(added[:-1], (mean * (init == "mean")).expand(len(added) - 1, -1))
        assert torch.equal(new[name][:rows], old[name])
    if init == "normal":  # two draws, not one draw twice
        draws = [(new[name][rows:-1] - old[name].mean(0)).flatten() for name in (EMBED, HEAD)]
        assert abs(float(torch.corrcoef(torch.stack(draws))[0, 1])) < 0.1


def test_head_and_embedding_take_their_own_rows(toy: Toy) -> None:
    sub_ids = added_sub_ids(toy.resized, toy.tokenizer)
    new = load_file(toy.resized / "model.safetensors")
    first = len(load(toy.tokenizer).pieces)
    for name in (EMBED, HEAD):
        wanted = new[name][sub_ids[0]].mean(0)
        torch.testing.assert_close(new[name][first], wanted, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(new[EMBED][first], new[HEAD][first])


@pytest.mark.parametrize("init", ["normal", "subtoken-mean"])
def test_a_tied_model_that_stores_its_head_keeps_both_equal(toy: Toy, tmp_path: Path, init: str) -> None:
    base = random_model(tmp_path / "base", toy.tokenizer, tie_word_embeddings=True)
    tensors = load_file(base / "model.safetensors")
    save_file(tensors | {HEAD: tensors[EMBED].clone()}, base / "model.safetensors", {"format": "pt"})
    out = stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended, init=init)
    new = load_file(out / "model.safetensors")
    assert torch.equal(new[EMBED], new[HEAD]) and len(new[EMBED]) > len(tensors[EMBED])


def test_norms_of_old_and_new_rows_are_reported(toy: Toy, tmp_path: Path) -> None:
    metrics = manifest.read(toy.resized).metrics  # type: ignore[union-attr]
    new, rows = load_file(toy.resized / "model.safetensors"), metrics["base_rows"]
    for short, name in (("embed", EMBED), ("head", HEAD)):
        for which, part in (("old", new[name][:rows]), ("new", new[name][rows:])):
            lengths = part.norm(dim=1).double()
            found = [metrics[f"{short}_norm_{which}_{value}"] for value in ("mean", "p5", "p95")]
            wanted = [lengths.mean(), lengths.quantile(0.05), lengths.quantile(0.95)]
            assert found == pytest.approx([float(value) for value in wanted], rel=1e-5)
    padded = stage(
        "resize", tmp_path / "out", model=toy.base, tokenizer=toy.extended, init="zero", pad_rows_to_multiple=512
    )
    metrics = manifest.read(padded).metrics  # type: ignore[union-attr]
    assert metrics["embed_norm_new_p95"] == 0 and metrics["padding_rows_added"] > 100  # padding does not count


@pytest.mark.parametrize(("multiple", "padding"), [(64, None), (1000, None), (None, 0)])
def test_padding_rows_are_the_mean_and_cost_little(
    toy: Toy, tmp_path: Path, multiple: int | None, padding: int | None
) -> None:
    """n rows whose logit is the mean of the base's V take at most n / V as much probability as those V."""
    settings = {"model": toy.base, "tokenizer": toy.extended, "pad_rows_to_multiple": multiple}
    out = stage("resize", tmp_path / "out", **settings)
    new, plain = load_file(out / "model.safetensors"), load_file(toy.resized / "model.safetensors")
    extra = len(new[EMBED]) - len(plain[EMBED])
    base_rows = len(load(toy.tokenizer).pieces)
    assert len(new[EMBED]) % (multiple or 1) == 0 and 0 <= extra < (multiple or 1)
    assert padding is None or extra == padding
    for name in (EMBED, HEAD):
        assert torch.equal(new[name][: len(plain[name])], plain[name])
        mean = plain[name][:base_rows].double().mean(0).float().expand(extra, -1)
        torch.testing.assert_close(new[name][len(plain[name]) :], mean, rtol=1e-5, atol=1e-7)
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == len(new[EMBED]) and config["pad_token_id"] == len(plain[EMBED]) - 1
    assert manifest.read(out).metrics["padding_rows_added"] == extra  # type: ignore[union-attr]
    texts = ["实验室的仪器每3天检查一次，由部门负责人记录。", "The lab keeps every sample cold."]
    before, after = bits_per_char(toy.resized, texts), bits_per_char(out, texts)
    rise = (after.nats - before.nats) / math.log(2) / after.tokens
    assert -1e-6 <= rise <= math.log2(1 + extra / base_rows) + 1e-6


@pytest.mark.slow
def test_a_padded_model_goes_down_the_whole_line(toy: Toy, tmp_path: Path) -> None:
    model = stage("resize", tmp_path / "model", model=toy.base, tokenizer=toy.extended, pad_rows_to_multiple=128)
    rows = Checkpoint(model).specs[EMBED].shape[0]
    assert rows > Tokenizer(model).vocab_size
    adapter = stage("pretrain", tmp_path / "adapter", model=model, data=toy.packed, steps=2)
    merged = stage("merge", tmp_path / "merged", model=model, adapter=[adapter])
    assert Checkpoint(merged).specs[EMBED].shape[0] == rows
    gguf = GgufFile(stage("export", tmp_path / "gguf", model=merged, type=["f16"]) / "model-f16.gguf")
    tokens = gguf.metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == rows and tokens[-1] == f"[PAD{rows - 1}]"
    assert Tokenizer(merged).decode([rows - 1]) == ""


def test_bits_per_character_do_not_rise(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": toy.base, "tokenizer": toy.extended, "text": [toy.zh]}
    metrics = manifest.read(stage("resize", tmp_path / "good", **settings)).metrics  # type: ignore[union-attr]
    assert metrics["bits_per_char_after"] <= metrics["bits_per_char_before"]

    def noise(base: Checkpoint, name: str, base_rows: int, sub_ids: list[list[int]], *_: object) -> Iterator[F32]:
        yield 9 * np.random.default_rng(0).standard_normal((len(sub_ids), 64)).astype(np.float32)

    monkeypatch.setattr(embeddings, "new_rows", noise)
    wrong = r"bits per character rose from \d+\.\d+ to \d+\.\d+ on \d+ documents, and a guess has \d+\.\d+: the new"
    with pytest.raises(ProofError, match=wrong):
        stage("resize", tmp_path / "bad", **settings)
    assert not (tmp_path / "bad").exists()


def test_a_rise_is_told_where_it_is_to_be_expected(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of rows that know nothing, and of a base that knew the text in its own tokens."""

    def scored(before: float, after: float, init: str) -> dict[str, object]:
        found = iter([before, after])

        def measured(folder: Path, texts: list[str]) -> Bits:
            return Bits(next(found), 1.0, 1.0, chars=100, bytes=300, tokens=50)

        monkeypatch.setattr("zhllm.evals.bits.bits_per_char", measured)
        out = tmp_path / f"{init} {before} {after}"
        settings = {"model": toy.base, "tokenizer": toy.extended, "text": [toy.zh], "init": init}
        return manifest.read(stage("resize", out, **settings)).metrics  # type: ignore[union-attr]

    chance = math.log2(len(load(toy.extended).pieces)) / 2  # half a token a character
    told = r"bits per character rose from 1.0000 to 4.0000 .*--init {}; a guess has {:.4f}\): train the new rows"
    assert scored(1.0, 4.0, "subtoken-mean")["bits_per_char_chance"] == pytest.approx(chance)
    assert re.search(told.format("subtoken-mean", chance), capsys.readouterr().err)
    assert scored(1.0, 9.0, "zero")["bits_per_char_after"] == 9.0
    assert "rose from 1.0000 to 9.0000" in capsys.readouterr().err
    scored(9.0, 8.5, "subtoken-mean")
    assert "rose" not in capsys.readouterr().err
    for init in ("subtoken-mean", "distill"):
        with pytest.raises(ProofError, match=f"from 1.0000 to 4.9000 .* a guess has {chance:.4f}"):
            scored(1.0, 4.9, init)


def test_a_changed_old_row_is_noticed(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(base: Checkpoint, name: str, keep_rows: int, added: Iterator[F32]) -> list[np.ndarray]:  # type: ignore[type-arg]
        return [np.roll(base.raw(name)[:keep_rows], 1, axis=0), *added]

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


def test_a_matrix_that_config_json_does_not_know_is_refused(toy: Toy, tmp_path: Path) -> None:
    base = random_model(tmp_path / "base", toy.tokenizer)
    tensors = load_file(base / "model.safetensors")
    save_file(tensors | {HEAD: tensors[HEAD][:-1].clone()}, base / "model.safetensors", {"format": "pt"})
    rows = len(tensors[HEAD])
    with pytest.raises(DataError, match=f"lm_head.weight has {rows - 1} rows, but vocab_size in config.json is {rows}"):
        stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended)
    assert not (tmp_path / "out").exists()
