"""Fitted input rows: both tokenisations aligned, the base's own hidden states as the aim, nothing else moved."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import Toy, byte_level_tokenizer, random_model, stage
from transformers import AutoModelForCausalLM

from zhllm import manifest
from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.model.embeddings import new_rows
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import F32, Checkpoint
from zhllm.train import distill
from zhllm.train.distill import Added, FirstLayers, Window, choose_windows, cut, fit_rows, read_twice, windows_alone
from zhllm.vocab.subtokens import sub_token_ids
from zhllm.vocab.tokenizer import Tokenizer

TEXTS = [
    "实验室的仪器每3天检查一次，由部门负责人记录数据。",
    "The lab：员工手册 keeps 样品 cold，温度25℃！",
    "臺灣的儀器、𠮷野家👩‍👩‍👧‍👦 负责人负责人　每每每",
    "no Chinese at all",
]
CPU = torch.device("cpu")


def added_of(tokenizer: Path) -> Added:
    sub_ids, size = sub_token_ids(tokenizer)
    return Added(size, sub_ids)


def windows_of(tokenizer: Path, added: Added, texts: list[str], limit: int = 128) -> list[Window]:
    return [w for ids in Tokenizer(tokenizer).encode_plain(texts) for w in cut(ids, added, limit)]


def start_rows(base: Path, added: Added) -> F32:
    return np.concatenate(list(new_rows(Checkpoint(base), EMBED, added.first, added.sub_ids, "subtoken-mean")))


def test_a_text_reads_as_the_base_reads_it(toy: Toy) -> None:
    """The base ids of the extended tokens are the base's ids of the text, and both end with the same character."""
    base, extended = Tokenizer(toy.tokenizer), Tokenizer(toy.extended)
    windows = [np.asarray(ids, np.int32) for ids in extended.encode_plain(TEXTS)]
    reading = read_twice(windows, added_of(toy.extended), start_id=1)
    compared = 0
    for row, (window, ids) in enumerate(zip(windows, base.encode_plain(TEXTS), strict=True)):
        assert reading.base[row, : len(ids) + 1].tolist() == [1, *ids] and set(reading.base[row, len(ids) + 1 :]) <= {1}
        assert reading.extended[row, : len(window) + 1].tolist() == [1, *window.tolist()]
        assert reading.counts[row].tolist() == [0 < i <= len(window) for i in range(reading.extended.shape[1])]
        for place in range(1, len(window) + 1):
            until = base.decode(ids[: reading.ends[row, place]])
            if "\ufffd" not in until:  # else an old token ends inside a character
                assert extended.decode(window[:place].tolist()) == until
                compared += 1
        assert (len(window) < len(ids)) is (row < 3)
    assert compared > 60


def test_byte_level_tokens_end_where_their_base_tokens_end(toy: Toy, tmp_path: Path) -> None:
    base = byte_level_tokenizer(tmp_path / "base")
    extended = Tokenizer(stage("extend-vocab", tmp_path / "extended", base=base, pieces=[toy.pieces]))
    windows = [np.asarray(ids, np.int32) for ids in extended.encode_plain(TEXTS)]
    reading = read_twice(windows, added_of(extended.folder), start_id=1)

    def spelt(ids: list[int]) -> str:
        return "".join(str(extended.fast.id_to_token(i)) for i in ids)

    for row, window in enumerate(windows):
        for place in range(1, len(window) + 1):
            until = reading.base[row, 1 : reading.ends[row, place] + 1].tolist()
            assert spelt(window[:place].tolist()) == spelt(until) and max(until) < 500
        assert bool(len(window) < reading.ends[row].max()) is (row < 3)


def test_windows_lose_nothing_and_stay_in_their_limit(toy: Toy) -> None:
    added = added_of(toy.extended)
    for ids in Tokenizer(toy.extended).encode_plain(TEXTS):
        parts = list(cut(ids, added, 20))
        assert [i for part in parts for i in part.tolist()] == ids
        sizes = [sum(len(added.base_ids(i)) for i in part.tolist()) for part in parts]
        firsts = [len(added.base_ids(int(part[0]))) for part in parts[1:]]
        assert max(sizes) <= 20 and all(a + b > 20 for a, b in zip(sizes, firsts, strict=False))
    large = Added(added.first, [[1] * 30])
    for ids in ([3, added.first, 3], [added.first, 3]):
        assert [part.tolist() for part in cut(ids, large, 20)] == [[i] for i in ids]
    assert list(cut([], added, 20)) == []


def test_windows_are_chosen_until_every_piece_has_its_places() -> None:
    added = Added(10, [[1, 2], [3, 4], [], [5]])
    documents = [[10, 1, 1], [10, 2, 2], [10, 11, 3], [10, 4, 4], [1, 2, 3]]
    chosen, seen = choose_windows(documents, added, per_piece=2, limit=9)
    assert [w.tolist() for w in chosen] == documents[:3] and seen == Counter({10: 3, 11: 1})
    chosen, seen = choose_windows(documents, added, per_piece=1, limit=9)
    assert [w.tolist() for w in chosen] == [documents[0], documents[2]]
    alone = windows_alone(added, seen)  # 12 has no text, 13 was not seen
    assert [w.tolist() for w in alone] == [[13]] * distill.READINGS_ALONE


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral"])
def test_states_are_those_of_transformers(toy: Toy, tmp_path: Path, kind: str, dtype: str) -> None:
    """Of the base for its own tokens, of the resized model for the extended ones, at each token end."""
    base = random_model(tmp_path / "base", toy.tokenizer, model_type=kind, dtype=dtype, head_dim=16)
    resized = stage("resize", tmp_path / "resized", model=base, tokenizer=toy.extended)
    added, bos = added_of(toy.extended), 1
    windows = windows_of(toy.extended, added, TEXTS)
    rows = torch.from_numpy(np.array(Checkpoint(resized).f32(EMBED)[added.first :]))
    distances, sizes = FirstLayers(base, 1, added, bos, CPU).distances(windows, rows)
    old, new = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (base, resized))
    wanted: list[tuple[float, float]] = []
    with torch.no_grad():
        for window in windows:
            parts = [list(added.base_ids(i)) for i in window.tolist()]
            teacher, pupil = [bos, *(i for part in parts for i in part)], [bos, *window.tolist()]
            states = [
                model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
                for model, ids in ((old, teacher), (new, pupil))
            ]
            ends = torch.tensor([len(part) for part in parts]).cumsum(0)
            gap = states[1][1:] - states[0][ends]
            wanted += zip(gap.square().sum(-1).tolist(), states[0][ends].square().sum(-1).tolist(), strict=True)
    torch.testing.assert_close(torch.stack([distances, sizes], dim=1), torch.tensor(wanted), rtol=2e-4, atol=1e-4)


def test_a_piece_of_one_token_that_has_its_row_makes_no_difference(toy: Toy) -> None:
    """Even behind other texts' padding: the two readings are then one."""
    layers = FirstLayers(toy.base, 2, added := Added(400, [[7], [9]]), 1, CPU)
    rows = torch.from_numpy(np.array(Checkpoint(toy.base).f32(EMBED)[[7, 9]]))
    windows = [np.asarray(ids, np.int32) for ids in ([400, 5, 401, 400], [401], [3, 3, 3, 3, 3, 3, 400])]
    distances, sizes = layers.distances(windows, rows)
    assert len(distances) == 12 and float(distances.max()) < 1e-10 and float(sizes.min()) > 1e-6
    assert layers.error(windows, rows.numpy()) < 1e-9 < 1e-3 < layers.error(windows, rows.numpy()[::-1].copy())
    assert added.first == 400


def test_only_the_first_layers_are_read(toy: Toy, tmp_path: Path) -> None:
    base = random_model(tmp_path / "base", toy.tokenizer, num_hidden_layers=3)
    tensors = load_file(base / "model.safetensors")
    kept = {n: t for n, t in tensors.items() if ".layers.1." not in n and ".layers.2." not in n and n != HEAD}
    save_file(kept, base / "model.safetensors", {"format": "pt"})
    added = added_of(toy.extended)
    layers = FirstLayers(base, 1, added, 1, CPU)
    held = sum(p.numel() for n, p in layers.model.named_parameters() if n != "embed_tokens.weight")
    assert held == sum(t.numel() for n, t in kept.items() if ".layers.0." in n)
    assert layers.model.embed_tokens.weight.shape[0] == 1
    with pytest.raises(DataError, match=r"has no tensor model\.layers\.1\."):
        FirstLayers(base, 2, added, 1, CPU)


def test_fitting_moves_only_rows_that_are_read(toy: Toy) -> None:
    added = added_of(toy.extended)
    layers, start = FirstLayers(toy.base, 1, added, 1, CPU), start_rows(toy.base, added)
    windows = windows_of(toy.extended, added, TEXTS, 16) * 20
    told: list[int] = []
    fitted = fit_rows(layers, start, windows, 0, lambda count, error: told.append(count))
    assert sum(told) == len(windows)
    read = sorted({i - added.first for w in windows for i in w.tolist() if i >= added.first})
    moved = np.flatnonzero((fitted != start).any(axis=1))
    assert moved.tolist() == read and 0 < len(read) < len(start)
    assert layers.error(windows, fitted) < 0.7 * layers.error(windows, start)
    again = fit_rows(layers, start, windows, 0, lambda count, error: None)
    other = fit_rows(layers, start, windows, 1, lambda count, error: None)
    assert np.array_equal(fitted, again) and not np.array_equal(fitted, other)
    assert torch.equal(layers.base_rows(np.arange(5)), load_file(toy.base / "model.safetensors")[EMBED][:5])


@pytest.fixture(scope="module")
def base(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with weights large enough that its layers do something."""
    return random_model(tmp_path_factory.mktemp("distill") / "base", toy.tokenizer)


@pytest.mark.parametrize("tied", [False, True])
def test_resize_fits_input_rows_only(toy: Toy, tmp_path: Path, tied: bool) -> None:
    base = random_model(tmp_path / "base", toy.tokenizer, tie_word_embeddings=tied)
    settings = {"model": base, "tokenizer": toy.extended}
    plain = load_file(stage("resize", tmp_path / "plain", **settings) / "model.safetensors")
    out = stage("resize", tmp_path / "out", **settings, init="distill", text=[toy.zh], pad_rows_to_multiple=64)
    new, metrics = load_file(out / "model.safetensors"), manifest.read(out).metrics  # type: ignore[union-attr]
    size, first = len(plain[EMBED]), metrics["base_rows"]
    assert len(new[EMBED]) % 64 == 0 and (HEAD in new) is not tied
    assert torch.equal(new[EMBED][:first], plain[EMBED][:first])
    assert torch.equal(new[EMBED][size - 1], plain[EMBED][size - 1])  # <pad>
    changed = (new[EMBED][first : size - 1] != plain[EMBED][first : size - 1]).any(dim=1)
    assert int(changed.sum()) == len(changed) == metrics["distill_pieces_in_text"] + metrics["distill_pieces_alone"]
    assert all(torch.equal(new[n][: len(t)], t) for n, t in plain.items() if n != EMBED)
    assert metrics["hidden_error_after"] < 0.9 * metrics["hidden_error_before"]
    assert metrics["distill_layers"] == 1 and metrics["distill_texts"] > metrics["distill_texts_held_out"] > 0
    AutoModelForCausalLM.from_pretrained(out)


def test_equal_settings_give_equal_bytes(toy: Toy, base: Path, tmp_path: Path) -> None:
    settings = {"model": base, "tokenizer": toy.extended, "init": "distill", "text": [toy.zh], "distill_contexts": 1}
    outs = [stage("resize", tmp_path / name, **settings) for name in ("one", "two")]
    one, two = (manifest.read(out).files for out in outs)  # type: ignore[union-attr]
    assert one == two


def test_rows_that_fit_worse_are_not_written(
    toy: Toy, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "fit_rows", lambda layers, start, *_: start * -3)
    with pytest.raises(
        ProofError, match=r"hidden states on held-out text are \d\.\d+ off with the fitted rows, \d\.\d+"
    ):
        stage("resize", tmp_path / "out", model=base, tokenizer=toy.extended, init="distill", text=[toy.zh])
    assert not (tmp_path / "out").exists()


def test_what_distill_cannot_do_is_said_first(toy: Toy, base: Path, tmp_path: Path) -> None:
    settings = {"model": base, "tokenizer": toy.extended, "init": "distill"}
    with pytest.raises(ConfigError, match=r"--init distill: fits rows to text\. Give --text a folder that zhllm clean"):
        stage("resize", tmp_path / "out", **settings)
    with pytest.raises(DataError, match=r"zh\.jsonl: has no training and validation split\. .*run zhllm clean on it"):
        stage("resize", tmp_path / "out", **settings, text=[toy.zh, toy.root / "zh.jsonl"])
    with pytest.raises(ConfigError, match=r"--distill-layers 3: .* has 2 layers"):
        stage("resize", tmp_path / "out", **settings, text=[toy.zh], distill_layers=3)
    with pytest.raises(DataError, match=r"shows no added piece to fit, or none to measure on"):
        stage("resize", tmp_path / "out", **settings, text=[toy.en])
    assert not (tmp_path / "out").exists()
