"""How near a written answer is to its references: exact match, CMRC's F1, BLEU, ROUGE-L, METEOR, the final number.

Chinese counts by characters, other scripts by words. Every figure is between 0 and 1, the best over the references.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from zhllm.evals.cmrc import segments
from zhllm.text.han import HAN

_PIECE = re.compile(rf"[{HAN}]|[^\W_]+(?:[.'][^\W_]+)*|[^\s]")
_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
# A hyphen behind a letter, a digit or a bracket joins (LX-300, 10-7); behind a Han character it is a minus.
_NUMBER = re.compile(rf"(?:(?<![^\W{HAN}])(?<![)\]}}])[-−])?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
NGRAMS = 4


def pieces(text: str) -> list[str]:
    """Han characters one by one, other words and signs whole, in the normal form NFKC and lower case."""
    split = re.sub(rf"([{HAN}])", r" \1 ", unicodedata.normalize("NFKC", text).lower())
    return _PIECE.findall(split)


def words(text: str) -> list[str]:
    """The same without signs."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def exact_match(reply: str, reference: str) -> float:
    """1 where the two are equal but for punctuation, white space, width and case."""
    return float(words(reply) == words(reference) and bool(words(reference)))


def f1(reply: str, reference: str) -> float:
    """F1 of the longest stretch of segments that both have, as the script of CMRC 2018 finds it (Cui et al. 2019)."""
    one, other = segments(reply), segments(reference)
    if not one or not other:
        return 0.0
    longest = SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size
    return 2 * longest / (len(one) + len(other))


def rouge_l(reply: str, reference: str) -> float:
    """F1 of the longest common subsequence (Lin 2004), of Chinese characters or words."""
    one, other = pieces(reply), pieces(reference)
    if not one or not other:
        return 0.0
    return 2 * _subsequence(one, other) / (len(one) + len(other))


def _subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for a in one:
        before = 0
        for place, b in enumerate(other, 1):
            row[place], before = (before + 1 if a == b else max(row[place], row[place - 1])), row[place]
    return row[-1]


def meteor(reply: str, reference: str) -> float:
    """METEOR by exact matches (Banerjee and Lavie 2005): Chinese has no stems and no WordNet."""
    one, other = pieces(reply), pieces(reference)
    matches = _aligned(one, other)
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(one), len(matches) / len(other)
    mean = 10 * precision * recall / (recall + 9 * precision)
    breaks = sum(b != a + 1 or y != x + 1 for (a, x), (b, y) in zip(matches, matches[1:], strict=False))
    return mean * (1 - 0.5 * ((breaks + 1) / len(matches)) ** 3)


def _aligned(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Places that match, each used once; from the end, as NLTK pairs them."""
    places: dict[str, list[int]] = {}
    for place, piece in enumerate(other):
        places.setdefault(piece, []).append(place)
    found = []
    for place in range(len(one) - 1, -1, -1):
        if places.get(one[place]):
            found.append((place, places[one[place]].pop()))
    return found[::-1]


def bleu_counts(reply: str, references: Sequence[str]) -> list[int]:
    """Of one reply: [length, nearest reference's length, then matched and possible n-grams of each order]."""
    own, others = pieces(reply), [pieces(reference) for reference in references]
    nearest = min((abs(len(o) - len(own)), len(o)) for o in others)[1]
    counts = [len(own), nearest]
    for order in range(1, NGRAMS + 1):
        found, most = _ngrams(own, order), Counter[tuple[str, ...]]()
        for other in others:
            most |= _ngrams(other, order)
        counts += [sum((found & most).values()), max(0, len(own) - order + 1)]
    return counts


def _ngrams(parts: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(parts[i : i + order]) for i in range(len(parts) - order + 1))


def bleu(counts: Sequence[Sequence[int]]) -> float:
    """Corpus BLEU (Papineni et al. 2002) of many replies' `bleu_counts`, exponential smoothing as sacrebleu's."""
    length, reference, *orders = (sum(column) for column in zip(*counts, strict=True))
    if not length:
        return 0.0
    logs, smooth = 0.0, 1.0
    used = 0
    for matched, possible in zip(orders[::2], orders[1::2], strict=True):
        if not possible:
            break
        used += 1
        if not matched:
            smooth *= 2
        logs += math.log((matched or 1 / smooth) / possible)
    if not orders[0] or used < NGRAMS:
        return 0.0
    return math.exp(min(0.0, 1 - reference / length) + logs / NGRAMS)


def final_number(text: str) -> str | None:
    """The last number of a text, without commas and a trailing .0; after "####" where that stands (GSM8K)."""
    numbers = _NUMBER.findall(unicodedata.normalize("NFKC", text).rpartition("####")[2])
    if not numbers:
        return None
    last = numbers[-1].replace(",", "").replace("−", "-")
    return last if "/" in last else f"{float(last):.10g}"


def number_match(reply: str, reference: str) -> float:
    """1 where both end with the same number."""
    wanted = final_number(reference)
    return float(wanted is not None and final_number(reply) == wanted)


PER_ITEM: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match, "f1": f1, "rouge_l": rouge_l, "meteor": meteor,
}  # fmt: skip


def best(measure: Callable[[str, str], float], reply: str, references: Sequence[str]) -> float:
    """The figure against the reference that suits the reply best."""
    return max(measure(reply, reference) for reference in references)
