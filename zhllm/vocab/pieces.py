"""Learning Chinese pieces from counted Han runs: characters by frequency, terms, then BPE merges.

Every count is how often the tokenisation with the whole list forms the piece, as a token or on the way to
a longer one (see zhllm.vocab.bpe), so no piece of the list is dead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from zhllm.errors import DataError
from zhllm.text.han import is_han
from zhllm.text.runs import CountedRuns
from zhllm.vocab.additions import continue_bpe, plan_additions
from zhllm.vocab.bpe import Merge, learn_merges
from zhllm.vocab.byte_level import whole_text
from zhllm.vocab.token_runs import TokenRuns

Kind = Literal["character", "join", "term", "merge"]
Words = Callable[[Sequence[str]], list[str]]
Has = Callable[[str], bool]
Block = tuple[list[str], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Piece:
    """A Han piece and how often it is formed in the corpus; a join is there so that a term can be formed."""

    text: str
    count: int
    kind: Kind = "merge"


class Base(Protocol):
    """What learning needs of a tokenizer that gets the pieces (see zhllm.vocab.bases)."""

    @property
    def kind(self) -> str:
        """How tokens are spelt."""

    @property
    def borders(self) -> str:
        """Characters at which a run is parted before anything is joined."""

    @property
    def rank(self) -> Mapping[str, float]:
        """The order in which the base joins, by token as it is spelt."""

    def has(self, text: str) -> bool:
        """Whether `text` is a token."""

    def cut_runs(self, runs: Sequence[str]) -> list[list[str]]:
        """The tokens of each run."""


def learn_pieces(
    runs: CountedRuns,
    size: int,
    characters: int,
    min_count: int,
    max_piece_chars: int,
    terms: Sequence[str] = (),
    words: Words | None = None,
    base: Base | None = None,
) -> list[Piece]:
    """At most `size` pieces, ranked: characters by frequency, terms with the joins they need, then merges.

    Of the `characters` most frequent ones those are given that are seen `min_count` times; characters
    of terms always are. Merges are formed that often too, and with `words`, which cuts runs into words,
    only inside words. What `base` has is not given, and merges start from its own tokens. Fewer than
    `size` come back when the corpus does not hold more. Raises DataError when there is no character, or
    no room for the terms.
    """
    known = joins_of(base) if base is not None else {}
    steps = _term_steps(terms, known, base)
    has = base.has if base is not None else _has_nothing
    needed = dict.fromkeys(char for term in terms for char in term if not has(char))
    if len(needed) + len(steps) > size:
        raise DataError(
            f"--size {size} has no room for the {len(terms)} terms: with the joins and the characters they need they "
            f"are {len(needed) + len(steps)} pieces. Give a larger --size, or fewer terms."
        )
    chosen = _choose_characters(runs.characters, size - len(steps), characters, min_count, needed, has)
    inside = {char for char in runs.characters if has(char)}.union(chosen)
    inside.difference_update(base.borders if base is not None else "")
    learner = _Learner(runs, inside, min_count, max_piece_chars, dict.fromkeys(steps, 0), known, base)
    wanted = size - len(chosen) - len(steps)
    merges = learner.within_words(words, wanted) if words is not None else learner.anywhere(wanted)
    asked = set(terms)
    kinds: dict[str, Kind] = {step: "term" if step in asked else "join" for step in steps}
    return [Piece(char, runs.characters.get(char, 0), "character") for char in chosen] + [
        Piece(merge.text, merge.count, kinds.get(merge.text, "merge")) for merge in merges
    ]


def joins_of(base: Base) -> dict[str, float]:
    """The Han strings that a base joins from others, each with its rank."""
    text_of = whole_text if base.kind == "byte-level" else str
    ranks = ((text_of(token), rank) for token, rank in base.rank.items())
    return {text: rank for text, rank in ranks if text is not None and len(text) > 1 and is_han(text)}


def encode_by_rank(texts: Sequence[str], pieces: Sequence[Piece], base: Base | None = None) -> list[list[str]]:
    """The tokens of Han texts with `pieces` behind what the base has."""
    rank = joins_of(base) if base is not None else {}
    first = 1 + max(rank.values(), default=0.0)
    rank |= {piece.text: first + place for place, piece in enumerate(pieces)}
    return [continue_bpe(tokens, rank) for tokens in _tokens_of(texts, base)]


def _tokens_of(texts: Sequence[str], base: Base | None) -> list[list[str]]:
    return [list(text) for text in texts] if base is None else base.cut_runs(texts)


def _term_steps(terms: Sequence[str], known: Mapping[str, float], base: Base | None) -> list[str]:
    """The terms of several characters that the base has not, each behind the joins it needs."""
    has = base.has if base is not None else _has_nothing
    parts = {term[i:j] for term in terms for i in range(len(term)) for j in range(i + 1, len(term) + 1)}
    taken = {part for part in parts if has(part)}
    plan = plan_additions(terms, has, lambda texts: _tokens_of(texts, base), known, taken=taken)
    if unreachable := plan.left_out.get("unreachable"):
        raise DataError(
            f"{len(unreachable)} terms cannot be formed on this base, whose own tokens part them in another way: "
            f"{' '.join(unreachable[:5])}. Leave them out."
        )
    return [step for step in plan.ordered if len(step) > 1]


def _has_nothing(text: str) -> bool:
    return False


def _choose_characters(
    counts: Mapping[str, int], room: int, characters: int, min_count: int, needed: Mapping[str, None], has: Has
) -> list[str]:
    """The characters that become pieces, most frequent first."""
    by_count = sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))
    if not by_count:
        most = f"{max(counts.values())} times at most. Give more text, or a lower --min-count." if counts else ""
        raise DataError(
            f"no Han character is seen {min_count} times or more in the corpus ({len(counts)} distinct ones): "
            f"{most or 'it holds none at all. Give Chinese text.'}"
        )
    others = [c for c in by_count[:characters] if not has(c) and c not in needed]
    return sorted([*needed, *others[: room - len(needed)]], key=lambda c: (-counts.get(c, 0), c))


@dataclass(frozen=True)
class _Learner:
    """What the two ways of learning merges share."""

    runs: CountedRuns
    inside: set[str]
    min_count: int
    max_chars: int
    first: Mapping[str, int]
    known: Mapping[str, float]
    base: Base | None

    def anywhere(self, size: int) -> list[Merge]:
        """`first`, then `size` merges wherever they stand in a run."""
        return learn_merges(self._tokens(self.runs), size, self.min_count, self.max_chars, self.first, self.known)

    def within_words(self, words: Words, size: int) -> list[Merge]:
        """The same, but learnt inside words; counted over whole runs, where what is too rare is left out."""
        inner = CountedRuns.of(_count_words(self.runs, words))
        more = size + size // 20 + 100  # some are left out below
        learnt = learn_merges(self._tokens(inner), more, self.min_count, self.max_chars, self.first, self.known)
        first = {merge.text: self.first.get(merge.text, self.min_count) for merge in learnt}
        merges = learn_merges(self._tokens(self.runs), 0, self.min_count, self.max_chars, first, self.known)
        return merges[: len(self.first) + size]

    def _tokens(self, runs: CountedRuns) -> TokenRuns:
        base = self.base
        if base is None or not self.known:  # a base without joins has characters only
            return TokenRuns.of_characters(runs, self.inside)
        return TokenRuns.of_tokens((base.cut_runs(parts), counts) for parts, counts in _parts(runs, self.inside))


def _parts(runs: CountedRuns, inside: set[str]) -> Iterator[Block]:
    """The runs in blocks, cut at every character that is not inside, with their counts."""
    for block, counts in runs.only(inside).blocks():
        rows = [run.split(" ") if " " in run else [run] for run in block]
        parts = [part for row in rows for part in row if part]
        yield parts, np.repeat(counts, [sum(map(bool, row)) for row in rows])


def _count_words(runs: CountedRuns, words: Words) -> Counter[str]:
    """How often each word occurs; runs of equal count are cut together, which is faster."""
    total: Counter[str] = Counter()
    for block, counts in runs.blocks():
        order = np.argsort(counts, kind="stable")
        borders = np.flatnonzero(np.diff(counts[order], prepend=-1, append=-1)).tolist()
        for start, end in zip(borders, borders[1:], strict=False):
            count = int(counts[order[start]])
            for word, times in Counter(words([block[i] for i in order[start:end]])).items():
                total[word] += times * count
    return total
