"""Questions that ask the same in nearly the same words, found without comparing each with each."""

from __future__ import annotations

import re

import xxhash

from zhllm.text.synth.grounding import pairs_of_characters, plain
from zhllm.text.synth.numbers import numbers_in

# Above this share of common pairs of characters two questions about the same numbers and names are the same.
SIMILAR_QUESTIONS, SIMILAR_ANSWERS = 0.8, 0.5
_ANCHORS = re.compile(r"[A-Za-z0-9][\w.-]*|[“「『《][^”」』》]*[”」』》]")
_FILLERS = re.compile(r"请问|请|根据|关于|的|了|呢|吗|是|有|指|什么|哪些|哪个|多少|怎样|如何|怎么")


class Questions:
    """The questions kept so far: exact ones, and near ones by the rarest of their pairs of characters.

    Two questions are near only if they name the same numbers, codes and quoted words and have similar
    answers: 第三条规定了什么 is not 第四条规定了什么. A prefix filter (Chaudhuri, Ganti and Kaushik 2006) keeps
    it from comparing all: with similarity t two sets share one of the first n - ceil(t*n) + 1 items.
    """

    def __init__(self) -> None:
        self._exact: dict[bytes, bytes] = {}
        self._items: list[tuple[frozenset[int], frozenset[int]]] = []
        self._index: dict[tuple[bytes, int], list[int]] = {}

    def problem(self, question: str, answer: str) -> str | None:
        """ "duplicate question", "near-duplicate question", "contradicting answer", or None, and then it is kept."""
        key, said = digest_of(question), digest_of(answer)
        if key in self._exact:
            return "duplicate question" if self._exact[key] == said else "contradicting answer"
        asked = _hashes(_FILLERS.sub("", plain(question)))
        answered = _hashes(answer)
        group = _group(question)
        prefix = sorted(asked)[: len(asked) - _ceil(SIMILAR_QUESTIONS * len(asked)) + 1]
        for place in sorted({place for item in prefix for place in self._index.get((group, item), ())}):
            other_asked, other_answered = self._items[place]
            near = _share(asked, other_asked) >= SIMILAR_QUESTIONS
            if near and _contained(answered, other_answered) >= SIMILAR_ANSWERS:
                return "near-duplicate question"
        self._exact[key] = said
        self._items.append((asked, answered))
        for item in prefix:
            self._index.setdefault((group, item), []).append(len(self._items) - 1)
        return None


def digest_of(text: str) -> bytes:
    """Equal for texts that differ in blanks, widths and marks only (16 bytes)."""
    return xxhash.xxh3_128_digest(plain(text).encode("utf-8", "surrogatepass"))


def _group(question: str) -> bytes:
    anchors = sorted({*map(plain, _ANCHORS.findall(question)), *numbers_in(question)})
    return xxhash.xxh3_64_digest("\x1f".join(anchors).encode("utf-8", "surrogatepass"))


def _hashes(text: str) -> frozenset[int]:
    return frozenset(xxhash.xxh3_64_intdigest(p.encode("utf-8", "surrogatepass")) for p in pairs_of_characters(text))


def _share(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _contained(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / max(min(len(one), len(other)), 1)


def _ceil(value: float) -> int:
    return -int(-value // 1)
