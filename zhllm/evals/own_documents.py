"""A test out of your own documents, without a model: a number, a name or a term of a held-out paragraph is masked.

Distractors are of the same kind and come from other paragraphs of the same corpus. Nothing is drawn by luck: the
same texts give the same questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import rjieba

from zhllm.evals.choice_sets import Choice, Subject

MASK = "____"
MIN_CHARS, MAX_CHARS = 20, 400
OPTIONS = 4
# Words that are drawn to find three distractors among.
DRAWS = 50
# What stands behind a number decides which others may be mistaken for it.
_NUMBER = re.compile(
    r"(?<![\d.A-Za-z])(\d+(?:\.\d+)?)\s?([年月日天时分秒元万亿个人次条款岁米吨克度]|小时|分钟|公里|千米|%|％)"
)
# rjieba's tags: people, places, organisations, other names; then common nouns.
_KINDS = {"nr": "names", "ns": "names", "nt": "names", "nz": "terms", "n": "terms", "vn": "terms"}


@dataclass(frozen=True)
class _Gap:
    """What can be masked: its kind, its group (the unit of a number), the words, and where they begin."""

    kind: str
    group: str
    words: str
    start: int


def own_documents(texts: Sequence[str], most: int) -> tuple[list[Subject], dict[str, int]]:
    """Subjects "numbers", "names" and "terms", `most` questions each at most, and how many there could have been.

    One question of a kind a paragraph. Where there are more than `most`, they are taken evenly over the corpus.
    """
    paragraphs = [line.strip() for text in texts for line in text.split("\n")]
    paragraphs = list(dict.fromkeys(p for p in paragraphs if MIN_CHARS <= len(p) <= MAX_CHARS))
    gaps = [list(_gaps(paragraph)) for paragraph in paragraphs]
    pools: dict[tuple[str, str], list[str]] = {}
    for gap in (gap for found in gaps for gap in found):
        pools.setdefault((gap.kind, gap.group), []).append(gap.words)
    subjects, possible = [], {}
    for kind in ("numbers", "names", "terms"):
        pairs = zip(paragraphs, gaps, strict=True)
        every = [q for p, found in pairs if (q := _question(p, [g for g in found if g.kind == kind], pools))]
        possible[kind] = len(every)
        step = max(1.0, len(every) / most)
        chosen = [every[int(i * step)] for i in range(min(most, len(every)))]
        if chosen:
            subjects.append(Subject(kind, tuple(chosen)))
    return subjects, possible


def _gaps(paragraph: str) -> Iterator[_Gap]:
    for found in _NUMBER.finditer(paragraph):
        yield _Gap("numbers", found[2], found[1], found.start(1))
    start = 0
    for word, tag in rjieba.tag(paragraph):
        kind = _KINDS.get(tag)
        if kind and len(word) >= 2 and not any(c.isdigit() for c in word):
            yield _Gap(kind, f"{tag} {len(word)}", word, start)
        start += len(word)


def _question(paragraph: str, gaps: Sequence[_Gap], pools: dict[tuple[str, str], list[str]]) -> Choice | None:
    """A question on one of the gaps whose words stand once in the paragraph and have enough distractors."""
    rng = Random(paragraph)
    for gap in rng.sample(list(gaps), len(gaps)):
        # Drawn as often as they stand in the corpus: else who knows only which words are frequent would beat chance.
        drawn = dict.fromkeys(rng.choices(pools[gap.kind, gap.group], k=DRAWS))
        others = [words for words in drawn if words not in paragraph][: OPTIONS - 1]
        if paragraph.count(gap.words) != 1 or len(others) < OPTIONS - 1:
            continue
        options = [gap.words, *others]
        rng.shuffle(options)
        masked = paragraph[: gap.start] + MASK + paragraph[gap.start + len(gap.words) :]
        question = f"下面的空格应填什么？{masked}"
        return Choice(question, tuple(options), options.index(gap.words), paragraph[:20])
    return None
