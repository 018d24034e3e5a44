"""The BPE trainer against one of thirty lines that tokenises everything anew for every candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as pb

from zhllm.text.runs import CountedRuns
from zhllm.vocab.bpe import join_with_known, learn_merges
from zhllm.vocab.sentencepiece_model import BPE, CONTROL, NORMAL, UNKNOWN, processor
from zhllm.vocab.token_runs import TokenRuns

Cut = Callable[[str], list[str]]

ALPHABET = "甲乙丙𠮷"
RUNS = st.dictionaries(st.text(ALPHABET, min_size=1, max_size=12), st.integers(1, 9), min_size=1, max_size=8)
PIECES = st.lists(st.text(ALPHABET, min_size=2, max_size=5), max_size=12, unique=True)


def tokenise(tokens: Sequence[str], ranks: Mapping[str, int]) -> tuple[list[str], Counter[str]]:
    """SentencePiece's BPE by hand: the best-ranked join first, the leftmost of equals; and what was formed."""
    parts, formed = list(tokens), Counter[str]()
    while True:
        pairs = [a + b for a, b in zip(parts, parts[1:], strict=False)]
        found = [(ranks[pair], i) for i, pair in enumerate(pairs) if pair in ranks]
        if not found:
            return parts, formed
        at = min(found)[1]
        parts[at : at + 2] = [pairs[at]]
        formed[pairs[at]] += 1


def formed_over(runs: Mapping[str, int], cut: Cut, pieces: Sequence[str]) -> tuple[Counter[str], set[str]]:
    """How often each piece is formed over the runs, and the pairs of neighbours that are left."""
    ranks = {piece: i for i, piece in enumerate(pieces)}
    total, left = Counter[str](), set[str]()
    for run, count in runs.items():
        parts, formed = tokenise(cut(run), ranks)
        total.update({piece: n * count for piece, n in formed.items()})
        left.update(a + b for a, b in zip(parts, parts[1:], strict=False))
    return total, left


def naive(
    runs: Mapping[str, int], size: int, min_count: int, max_chars: int, base: Sequence[str] = (),
    first: Mapping[str, int] | None = None, cut: Cut = list,
) -> list[tuple[str, int]]:  # fmt: skip
    """Those of `first`, then each time the string that is formed most often when added; ties go by the string."""
    learnt: list[tuple[str, int]] = []

    def count(text: str) -> int:
        return formed_over(runs, cut, [*base, *(known for known, _ in learnt), text])[0][text]

    for text, least in (first or {}).items():
        learnt += [(text, count(text))] * (count(text) >= least)
    size += len(learnt)
    while len(learnt) < size:
        left = formed_over(runs, cut, [*base, *(text for text, _ in learnt)])[1]
        counts = {text: count(text) for text in left - set(base) if len(text) <= max_chars}
        best = min(counts, key=lambda text: (-counts[text], text), default="")
        if not best or counts[best] < min_count:
            break
        learnt.append((best, counts[best]))
    return learnt


def tokens_of(runs: Mapping[str, int], cut: Cut) -> TokenRuns:
    """The runs in two blocks."""
    rows, counts = [cut(run) for run in runs], np.array(list(runs.values()))
    return TokenRuns.of_tokens([(rows[:2], counts[:2]), (rows[2:], counts[2:])])


@settings(max_examples=40, deadline=None)
@given(runs=RUNS, min_count=st.integers(1, 6), max_chars=st.integers(2, 8))
def test_learns_what_the_naive_trainer_learns(runs: dict[str, int], min_count: int, max_chars: int) -> None:
    token_runs = TokenRuns.of_characters(CountedRuns.of(runs), ALPHABET)
    merges = [(m.text, m.count) for m in learn_merges(token_runs, 12, min_count, max_chars)]
    assert merges == naive(runs, 12, min_count, max_chars)
    formed, _ = formed_over(runs, list, [text for text, _ in merges])
    assert formed == dict(merges), "what is learnt later changes the counts of what was learnt before"
    backwards = tokens_of(dict(reversed(runs.items())), list)
    assert [(m.text, m.count) for m in learn_merges(backwards, 12, min_count, max_chars)] == merges


@settings(max_examples=40, deadline=None)
@given(runs=RUNS, base=PIECES, min_count=st.integers(1, 4), max_chars=st.integers(2, 6))
def test_goes_on_from_a_base_and_its_pieces_that_only_new_ones_help_to_form(
    runs: dict[str, int], base: list[str], min_count: int, max_chars: int
) -> None:
    ranks = {piece: i for i, piece in enumerate(base)}

    def cut(run: str) -> list[str]:
        return tokenise(list(run), ranks)[0]

    merges = learn_merges(tokens_of(runs, cut), 12, min_count, max_chars, known=ranks)
    assert [(m.text, m.count) for m in merges] == naive(runs, 12, min_count, max_chars, base, cut=cut)


@settings(max_examples=40, deadline=None)
@given(runs=RUNS, wanted=PIECES, least=st.integers(0, 4))
def test_pieces_that_come_first_are_counted_as_they_are_formed(
    runs: dict[str, int], wanted: list[str], least: int
) -> None:
    first: dict[str, int] = {}
    for piece in wanted:  # only what two tokens make when its turn comes
        if len(tokenise(list(piece), {p: i for i, p in enumerate(first)})[0]) == 2:
            first[piece] = least
    merges = learn_merges(tokens_of(runs, list), 8, 2, 4, first)
    assert [(m.text, m.count) for m in merges] == naive(runs, 8, 2, 4, first=first)
    merges = learn_merges(tokens_of(runs, list), 0, 2, 4, first)
    assert [(m.text, m.count) for m in merges] == naive(runs, 0, 2, 4, first=first)


def sentencepiece_of(pieces: Sequence[str]) -> sentencepiece.SentencePieceProcessor:
    """A real SentencePiece BPE model with these pieces in this order behind the characters."""
    proto = pb.ModelProto()
    proto.trainer_spec.model_type = BPE
    proto.normalizer_spec.add_dummy_prefix = proto.normalizer_spec.remove_extra_whitespaces = False
    for piece, kind in (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)):
        proto.pieces.add(piece=piece, type=kind)
    for rank, piece in enumerate([*ALPHABET, *pieces]):
        proto.pieces.add(piece=piece, score=-float(rank), type=NORMAL)
    return processor(proto)


@settings(max_examples=40, deadline=None)
@given(runs=RUNS)
def test_sentencepiece_ends_with_the_tokens_that_the_counts_say(runs: dict[str, int]) -> None:
    """A token is there at the end as often as it was formed, less the times it went into a longer one."""
    merges = learn_merges(TokenRuns.of_characters(CountedRuns.of(runs), ALPHABET), 40, 1, 6)
    encoder = sentencepiece_of([m.text for m in merges])
    seen = Counter[str]()
    for run, count in runs.items():
        seen.update({token: n * count for token, n in Counter(encoder.encode(run, out_type=str)).items()})
    left = Counter({m.text: m.count for m in merges})
    for run, count in runs.items():
        for char in run:
            left[char] += count
    ranks = {m.text: i for i, m in enumerate(merges)}
    for m in merges:
        parts, _ = tokenise(list(m.text), {text: rank for text, rank in ranks.items() if rank < ranks[m.text]})
        left.subtract({part: n * m.count for part, n in Counter(parts).items()})
    assert +seen == +left
    assert min(left.values()) >= 0


def test_repeats_count_the_joins_that_are_possible() -> None:
    token_runs = TokenRuns.of_characters(CountedRuns.of({"哈哈哈哈哈": 3, "哈": 9}), "哈")
    assert [(m.text, m.count) for m in learn_merges(token_runs, 9, 1, 8)] == [("哈哈", 6), ("哈哈哈", 3), ("哈" * 5, 3)]


def test_repeats_that_come_first_are_counted_once() -> None:
    first = {"哈哈": 0, "哈哈哈哈": 0}
    merges = learn_merges(tokens_of({"哈" * 9: 2, "哈哈哈": 1}, list), 0, 1, 8, first)
    assert [(m.text, m.count) for m in merges] == [("哈哈", 9), ("哈哈哈哈", 4)]


def test_what_the_base_has_is_not_learnt_even_where_it_did_not_join() -> None:
    """A byte-level base may part two characters that it joins elsewhere."""
    merges = learn_merges(tokens_of({"甲乙丙": 9, "甲乙": 5}, list), 9, 1, 8, known={"甲乙": 0.0})
    assert [(m.text, m.count) for m in merges] == [("乙丙", 9), ("甲乙丙", 9)]


def test_a_known_string_takes_what_the_next_join_would_have_needed() -> None:
    known = {"甲乙甲": 0.0, "乙甲": 1.0}
    assert join_with_known(list("丙甲乙甲乙甲"), "甲乙", known) == (["丙", "甲乙甲", "乙", "甲"], 1)
    assert join_with_known(list("甲乙丙甲乙"), "甲乙", {}) == (["甲乙", "丙", "甲乙"], 2)


def test_of_two_known_strings_the_one_with_the_better_rank_is_joined() -> None:
    for rank, expected in ((0.0, ["丁甲乙", "丙"]), (2.0, ["丁", "甲乙丙"]), (1.0, ["丁甲乙", "丙"])):
        assert join_with_known(list("丁甲乙丙"), "甲乙", {"丁甲乙": rank, "甲乙丙": 1.0}) == (expected, 1)
