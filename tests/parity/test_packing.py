"""Packed rows against documents read alone: loss, gradients, and every token learnt exactly once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from toys import Toy

from zhllm.errors import DataError
from zhllm.train.batch import IGNORED, Batch
from zhllm.train.chats import ChatRows, TokenChat
from zhllm.train.pack.permutation import permuted
from zhllm.train.pack.store import PackInfo, SetInfo, TokenSet, read_info, rows_at
from zhllm.train.trainee import LoraSettings, Trainee
from zhllm.vocab.tokenizer import Tokenizer

VOCAB, PAD = 400, 399
Fragment = tuple[Sequence[int], Sequence[int]]  # input ids, labels


@pytest.fixture(scope="module")
def trainee(toy: Toy) -> Trainee:
    """The toy base with weights five times as large, so that attention matters as in a taught model."""
    made = Trainee(toy.base, torch.float32, torch.device("cpu"))
    made.make_trainable("all", LoraSettings(1, 1.0, 0.0, ()), seed=0)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "layers" in name and parameter.ndim == 2:
                parameter.mul_(5)
    return made


def token_set(folder: Path, documents: Sequence[Sequence[int]], seq_len: int) -> TokenSet:
    """A packed set of given ids, written without the code under test."""
    flat = np.array([i for ids in documents for i in ids], np.uint16)
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    (folder / "train.tokens.bin").write_bytes(flat.tobytes())
    (folder / "train.starts.bin").write_bytes(starts.astype(np.int64).tobytes())
    info = SetInfo(len(documents), len(flat), 0, 0)
    return TokenSet(folder, "train", PackInfo("", VOCAB, seq_len, "uint16", PAD, {"train": info}))


def random_documents(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, PAD, size).tolist() for size in lengths]


def parts_in_rows(documents: Sequence[Sequence[int]], seq_len: int) -> list[Fragment]:
    """What each row holds of each document, by the definition: a row is `seq_len` tokens of the stream."""
    found, at = [], 0
    for ids in documents:
        for row in range(at // seq_len, (at + len(ids)) // seq_len + 1):
            first = max(row * seq_len - at, 0)
            part = ids[first : (row + 1) * seq_len - at + 1]  # and the label behind the row's end
            if len(part) > 1:
                found.append((part[:-1], part[1:]))
        at += len(ids)
    return found


def alone(trainee: Trainee, fragments: Sequence[Fragment]) -> Tensor:
    """The summed loss of fragments read one by one by transformers, with torch's cross-entropy."""
    total = torch.zeros(())
    for inputs, labels in fragments:
        logits = trainee.model(input_ids=torch.tensor([list(inputs)]), use_cache=False).logits[0]
        total = total + functional.cross_entropy(logits, torch.tensor(list(labels)), reduction="sum")
    return total


def gradients(trainee: Trainee, loss: Tensor) -> dict[str, Tensor]:
    trainee.model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in trainee.model.named_parameters()}


def assert_same_loss_and_gradients(trainee: Trainee, batch: Batch, fragments: Sequence[Fragment]) -> None:
    """To 1e-5 of the largest value: float32 sums in another order differ by some 1e-6."""
    wanted, (found, count) = alone(trainee, fragments), trainee.loss_sum(batch)
    assert count == batch.learnt_tokens == sum(label != IGNORED for _, labels in fragments for label in labels)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    expected = gradients(trainee, wanted)
    for name, grad in gradients(trainee, found).items():
        limit = 1e-5 * float(expected[name].abs().max())
        torch.testing.assert_close(grad, expected[name], rtol=0, atol=limit, msg=lambda m, n=name: f"{n}: {m}")


# 2 stands for BOS and end token with nothing between; 40 and 90 are longer than a row.
LENGTHS = (7, 2, 40, 3, 16, 90, 5, 2, 2, 11)


def test_rows_of_documents_equal_documents_read_alone(trainee: Trainee, tmp_path: Path) -> None:
    documents = random_documents(LENGTHS)
    rows = token_set(tmp_path, documents, 32)
    fragments = parts_in_rows(documents, 32)
    assert len(fragments) > len(documents), "some documents go on in a second row"
    assert_same_loss_and_gradients(trainee, rows.batch(range(len(rows))), fragments)


def test_rows_of_chats_equal_chats_read_alone(trainee: Trainee) -> None:
    rng = np.random.default_rng(5)
    chats = [TokenChat(ids, [False, *(rng.random(len(ids) - 1) < 0.5)]) for ids in random_documents(LENGTHS[:5])]
    fragments = [
        (
            chat.ids[:-1],
            [i if learnt else IGNORED for i, learnt in zip(chat.ids[1:], chat.learn[1:], strict=True)],
        )
        for chat in chats
    ]
    (batch,) = ChatRows(chats, 48, PAD, 8, 0).every_batch()
    assert len(batch.input_ids) < len(chats), "chats share rows"
    assert_same_loss_and_gradients(trainee, batch, fragments)


@pytest.mark.parametrize("mistake", ["attention_mask", "use_cache"])
def test_a_mask_of_ones_or_a_cache_would_leak(trainee: Trainee, tmp_path: Path, mistake: str) -> None:
    """Why `loss_sum` gives transformers neither: it finds packed documents by their positions only
    where there is no mask and no cache; else every document attends to all before it, in silence."""
    documents = random_documents([9, 12, 11])
    row = token_set(tmp_path, documents, 31).batch([0])
    wrong = {"attention_mask": torch.ones_like(row.input_ids)} if mistake == "attention_mask" else {}
    with torch.no_grad():
        given = {"input_ids": row.input_ids, "position_ids": row.position_ids}
        leaky = trainee.model(**given, **wrong, use_cache=mistake == "use_cache").logits[0]
        sound = trainee.model(**given, use_cache=False).logits[0]
        last = trainee.model(input_ids=torch.tensor([documents[2][:-1]]), use_cache=False).logits[0]
    torch.testing.assert_close(sound[21:], last, rtol=1e-4, atol=1e-4)
    assert (leaky[21:] - last).abs().max() > 0.05, "1,000 times the rounding error"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(2, 24))
def test_every_token_but_a_documents_first_is_learnt_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seq_len: int
) -> None:
    """Each token of the stream has an id of its own here, so that a label tells which it is."""
    bounds = np.cumsum([0, *lengths]).tolist()
    documents = [list(range(a, b)) for a, b in zip(bounds, bounds[1:], strict=False)]
    rows = token_set(tmp_path_factory.mktemp("set"), documents, seq_len)
    learnt: list[int] = []
    for inputs, labels, positions in map(rows.row, range(len(rows))):
        assert inputs[0] < bounds[-1] - 1, "the last token of all predicts nothing, so no row begins with it"
        for place, label in enumerate(labels.tolist()):
            if label != IGNORED:
                learnt.append(label)
                assert inputs[place] == label - 1, "a token is predicted from the one before it"
        real = inputs[: min(seq_len, bounds[-1] - 1 - int(inputs[0]))]
        begins = [place == 0 or token in bounds for place, token in enumerate(real.tolist())]
        assert [p == 0 for p in positions[: len(real)]] == begins
        assert not positions[len(real) :].any() and (labels[len(real) :] == IGNORED).all()
    assert learnt == [token for ids in documents for token in ids[1:]]


def test_pack_writes_bos_text_end_for_each_document_and_counts_them(toy: Toy) -> None:
    tokenizer, info = Tokenizer(toy.packed.parent / "resized"), read_info(toy.packed)
    assert set(info.sets) == {"train", "valid", "valid-replay"}
    for name, counts in info.sets.items():
        flat = np.fromfile(toy.packed / f"{name}.tokens.bin", info.dtype).tolist()
        starts = np.fromfile(toy.packed / f"{name}.starts.bin", np.int64).tolist()
        documents = [flat[a:b] for a, b in zip(starts, [*starts[1:], len(flat)], strict=True)]
        assert (len(documents), len(flat)) == (counts.docs, counts.tokens)
        texts = [tokenizer.decode(ids[1:-1]) for ids in documents]
        assert all((ids[0], ids[-1]) == (tokenizer.special_id("bos"), tokenizer.eos_id) for ids in documents)
        assert (sum(map(len, texts)), sum(len(t.encode()) for t in texts)) == (counts.chars, counts.bytes)
        rows = TokenSet(toy.packed, name, info)
        labels = sum(int((rows.row(i)[1] != IGNORED).sum()) for i in range(len(rows)))
        assert labels == counts.tokens - counts.docs


def test_a_cut_token_file_is_refused(tmp_path: Path) -> None:
    token_set(tmp_path, random_documents([20]), 8)
    path = tmp_path / "train.tokens.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train\.tokens\.bin: holds 19 tokens, pack\.json says 20\. Run zhllm pack"):
        info = PackInfo("", VOCAB, 8, "uint16", PAD, {"train": SetInfo(1, 20, 0, 0)})
        TokenSet(tmp_path, "train", info)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(0, 3))
def test_the_order_of_rows_is_a_permutation_an_epoch_and_a_pure_function(total: int, size: int, seed: int) -> None:
    steps = -(-3 * total // size)
    order = [row for step in range(steps) for row in rows_at(step, size, total, seed)]
    for epoch in range(3):
        assert sorted(order[epoch * total : (epoch + 1) * total]) == list(range(total))
    backwards = [rows_at(step, size, total, seed) for step in reversed(range(steps))]
    assert [row for rows in reversed(backwards) for row in rows] == order


def test_epochs_and_seeds_give_different_orders() -> None:
    orders = {tuple(rows_at(step, 50, 50, seed)) for step in range(4) for seed in range(4)}
    assert len(orders) == 16


def chi_square(found: list[int], bins: int) -> float:
    """How far the counts of 0 to bins - 1 are from being equal, in standard deviations."""
    expected = len(found) / bins
    square = ((np.bincount(found, minlength=bins) - expected) ** 2 / expected).sum()
    return float((square - (bins - 1)) / np.sqrt(2 * (bins - 1)))


@pytest.mark.parametrize("total", [2, 3, 4, 5])
def test_every_order_of_few_rows_is_equally_likely(total: int) -> None:
    orders = {order: n for n, order in enumerate(permutations(range(total)))}
    found = [orders[tuple(permuted(np.arange(total), total, 7, epoch).tolist())] for epoch in range(1500)]
    assert chi_square(found, len(orders)) < 4


@pytest.mark.parametrize("total", [1000, 4096, 10**9, 2**40 + 1])
def test_the_order_of_many_rows_looks_random(total: int) -> None:
    """Where rows go, steps between neighbours, and one place in other epochs and seeds are all spread evenly."""
    count, bins = min(total, 20_000), 50
    found = permuted(np.arange(count), total, 1, 2)
    assert len(np.unique(found)) == count and found.min() >= 0 and found.max() < total
    steps = np.diff(found) % total
    epochs = np.array([permuted(np.array([17]), total, 1, epoch)[0] for epoch in range(1000)])
    seeds = np.array([permuted(np.array([17]), total, seed, 0)[0] for seed in range(1000)])
    for one in (steps, epochs, seeds) if total < 20_000 else (found, steps, epochs, seeds):
        assert chi_square((one * float(bins) // total).astype(int).tolist(), bins) < 4
    assert abs(np.corrcoef(np.arange(count), found)[0, 1]) < 4 / np.sqrt(count)


def test_drawing_rows_needs_no_memory_for_the_others() -> None:
    tracemalloc.start()
    rows = rows_at(40_000_000, 16, 10**9, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(rows)) == 16 and max(rows) < 10**9 and peak < 100_000
