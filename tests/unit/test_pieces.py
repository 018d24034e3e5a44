"""Learned pieces: ranked, counted exactly, none dead, the same for the same text."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from zhllm.errors import DataError
from zhllm.text.han import count_runs, is_han
from zhllm.vocab.pieces import Piece, last_split, learn_pieces

WORDS = [
    "人工智能",
    "人工",
    "智能",
    "知识产权",
    "产权",
    "合同法",
    "合同",
    "法院",
    "人民法院",
    "人民",
    "𠮷野",
    "々",
    "〇",
    "土壤",
    "土地",
    "谢谢谢",
    "谢谢",
]


def runs_of(seed: int, count: int = 400) -> Counter[str]:
    rng = random.Random(seed)
    return Counter("".join(rng.choices(WORDS, k=rng.randint(1, 4))) for _ in range(count))


def bpe_counts(runs: Counter[str], pieces: list[Piece]) -> Counter[str]:
    """BPE by hand: always the best-ranked pair, the leftmost first; everything formed is counted."""
    rank = {p.text: i for i, p in enumerate(p for p in pieces if len(p.text) > 1)}
    formed: Counter[str] = Counter()
    for run, count in runs.items():
        parts = list(run)
        formed.update({c: parts.count(c) * count for c in set(parts)})
        while True:
            pairs = [a + b for a, b in zip(parts, parts[1:], strict=False)]
            found = [(rank[pair], i) for i, pair in enumerate(pairs) if pair in rank]
            if not found:
                break
            at = min(found)[1]
            parts[at : at + 2] = [pairs[at]]
            formed[pairs[at]] += count
    return formed


@pytest.mark.parametrize(("seed", "min_count"), [(1, 1), (2, 1), (3, 20), (4, 60)])
def test_counts_are_those_of_bpe_by_hand_and_no_piece_is_dead(seed: int, min_count: int) -> None:
    runs = runs_of(seed)
    pieces = learn_pieces(runs, 60, 40, min_count, 8)
    formed = bpe_counts(runs, pieces)
    assert {p.text: p.count for p in pieces} == {p.text: formed[p.text] for p in pieces}
    assert min(p.count for p in pieces) >= min_count
    assert any(len(p.text) > 1 for p in pieces)


def test_characters_come_first_by_frequency_then_merges() -> None:
    pieces = learn_pieces(runs_of(5), 60, 40, 1, 8)
    characters = [p for p in pieces if len(p.text) == 1]
    assert pieces[: len(characters)] == sorted(characters, key=lambda p: (-p.count, p.text))
    assert all(is_han(p.text) for p in pieces)
    assert len({p.text for p in pieces}) == len(pieces)


def test_the_order_in_which_runs_were_met_does_not_matter() -> None:
    runs = runs_of(6)
    backwards = Counter(dict(reversed(list(runs.items()))))
    assert learn_pieces(runs, 60, 40, 1, 8) == learn_pieces(backwards, 60, 40, 1, 8)


@pytest.mark.parametrize(("size", "characters"), [(5, 40), (30, 10), (30, 40), (1, 1)])
def test_no_more_than_asked_for(size: int, characters: int) -> None:
    pieces = learn_pieces(runs_of(7), size, characters, 1, 8)
    assert len(pieces) == size
    assert sum(len(p.text) == 1 for p in pieces) == min(size, characters, len({*"".join(WORDS)}))


@pytest.mark.parametrize("longest", [2, 3])
def test_pieces_are_no_longer_than_asked_for(longest: int) -> None:
    assert max(len(p.text) for p in learn_pieces(runs_of(8), 60, 40, 1, longest)) == longest


def test_a_piece_never_spans_a_character_that_was_left_out() -> None:
    """`罕` is too rare for a piece of its own, so `甲罕乙` could never be formed."""
    runs = Counter({"甲乙": 50, "甲罕乙": 9})
    assert [p.text for p in learn_pieces(runs, 10, 10, 10, 8)] == ["乙", "甲", "甲乙"]


@pytest.mark.parametrize("text", ["", "no Han, only Latin 123", "，。！", "かな カナ 한글", "字 " * 9])
def test_without_frequent_han_there_is_nothing_to_learn(text: str) -> None:
    with pytest.raises(DataError, match=r"no Han character is seen 10 times.*--min-count"):
        learn_pieces(count_runs([text]), 10, 10, 10, 8)


def test_single_characters_need_no_merges() -> None:
    assert learn_pieces(Counter({"字": 3, "文": 2}), 10, 10, 1, 8) == [Piece("字", 3), Piece("文", 2)]


def test_the_last_split_is_bpes() -> None:
    scores = {"甲乙": -1.0, "乙丙": -2.0, "甲乙丙": -3.0, "丙丁": -4.0, "甲乙丙丁": -5.0}
    assert last_split("甲乙丙", scores) == ("甲乙", "丙")
    assert last_split("甲乙丙丁", scores) == ("甲乙丙", "丁")
    assert last_split("甲乙", scores) == ("甲", "乙")
    assert last_split("丁丙乙", scores) == last_split("甲", scores) == ()
