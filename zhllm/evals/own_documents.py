"""A test out of your own documents, without a model: a number, a name or a term of a held-out paragraph is masked.

Distractors are of the same kind and come from other paragraphs of the same corpus. Questions are made in rounds: in
each a word is the answer once, and wrong options are the answers of the same round. So who knows only which words are
frequent, long or large gets no more than chance. Each place holds the right option as often as any other, of every
kind and of all, so that who always says the same letter gets chance and not more. Nothing is drawn by luck: the same
texts give the same questions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

import rjieba

from zhllm.evals.choice_sets import Choice, Subject

MASK = "____"
MIN_CHARS, MAX_CHARS = 20, 400
OPTIONS = 4
KINDS = ("numbers", "names", "terms")
# What stands behind a number decides which others may be mistaken for it.
_NUMBER = re.compile(
    r"(?<![\d.A-Za-z])(\d+(?:\.\d+)?)\s?([年月日天时分秒元万亿个人次条款岁米吨克度]|小时|分钟|公里|千米|%|％)"
)
# rjieba's tags: people, places, organisations, other names; then common nouns.
_TAGS = {"nr": "names", "ns": "names", "nt": "names", "nz": "terms", "n": "terms", "vn": "terms"}


# The words that can be masked, and the paragraphs in which they stand once, by number.
Places = dict[str, list[int]]


def own_documents(texts: Sequence[str], most: int) -> tuple[list[Subject], dict[str, int]]:
    """Subjects "numbers", "names" and "terms", `most` questions each at most, and how many there could have been.

    One question of a kind a paragraph. Where there are more than `most`, they are taken evenly over the corpus.
    """
    lines = (line.strip() for text in texts for line in text.split("\n"))
    paragraphs = list(dict.fromkeys(line for line in lines if MIN_CHARS <= len(line) <= MAX_CHARS))
    places: dict[str, dict[str, Places]] = {kind: {} for kind in KINDS}
    for number, paragraph in enumerate(paragraphs):
        for kind, group, words in dict.fromkeys(_gaps(paragraph)):
            if paragraph.count(words) == 1:
                places[kind].setdefault(group, {}).setdefault(words, []).append(number)
    subjects: list[Subject] = []
    possible: dict[str, int] = {}
    for kind in KINDS:
        asked = sorted(_questions(paragraphs, places[kind]), key=lambda found: found[0])
        # Paragraphs that differ in the masked word alone, as dates of acts do, have no one answer.
        often = Counter(choice.question for _, choice in asked)
        every = [choice for _, choice in asked if often[choice.question] == 1]
        possible[kind] = len(every)
        step = max(1.0, len(every) / most)
        if chosen := [every[int(i * step)] for i in range(min(most, len(every)))]:
            before = sum(len(subject.questions) for subject in subjects)
            subjects.append(Subject(kind, _dealt(kind, chosen, before)))
    return subjects, possible


def _gaps(paragraph: str) -> Iterator[tuple[str, str, str]]:
    """What can be masked: its kind, its group (the unit of a number, the tag and length of a word), and the words."""
    for found in _NUMBER.finditer(paragraph):
        yield "numbers", found[2], found[1]
    for word, tag in rjieba.tag(paragraph):
        kind = _TAGS.get(tag)
        if kind and len(word) >= 2 and not any(c.isdigit() for c in word):
            yield kind, f"{tag} {len(word)}", word


def _questions(paragraphs: Sequence[str], groups: dict[str, Places]) -> Iterator[tuple[int, Choice]]:
    """Questions of a kind with the paragraph of each, in rounds while four words of a group have a paragraph left."""
    used: set[int] = set()
    for group, places in sorted(groups.items()):
        rng = Random(group)
        words = sorted(places)
        rng.shuffle(words)
        words.sort(key=lambda word: len(places[word]))  # who stands in few paragraphs chooses first
        while len(words) >= OPTIONS:
            answers: dict[str, int] = {}
            for word in words:
                free = next((number for number in places[word] if number not in used), None)
                if free is not None:
                    answers[word] = free
                    used.add(free)
            words = list(answers)
            yield from _round(paragraphs, answers, rng)


def _round(paragraphs: Sequence[str], answers: dict[str, int], rng: Random) -> Iterator[tuple[int, Choice]]:
    """A question on each word: the wrong options are the next words of the round that its paragraph does not hold."""
    circle = list(answers)
    rng.shuffle(circle)
    for place, word in enumerate(circle):
        paragraph = paragraphs[answers[word]]
        rest = (*circle[place + 1 :], *circle[:place])
        others = list(islice((other for other in rest if other not in paragraph), OPTIONS - 1))
        if len(others) < OPTIONS - 1:
            continue
        rng.shuffle(others)
        question = f"下面的空格应填什么？{paragraph.replace(word, MASK)}"
        yield answers[word], Choice(question, (word, *others), 0, paragraph[:20])


def _dealt(kind: str, questions: Sequence[Choice], before: int) -> tuple[Choice, ...]:
    """The questions with their right options, which stand first, at places of a shuffled deck.

    The deck goes on where that of the `before` questions of other kinds ended: the places are as even over all kinds
    as within one. The order depends on all questions, so that none tells the place of the next.
    """
    places = [(before + number) % OPTIONS for number in range(len(questions))]
    Random("\n".join((kind, *(choice.question for choice in questions)))).shuffle(places)
    return tuple(_placed(choice, place) for choice, place in zip(questions, places, strict=True))


def _placed(choice: Choice, place: int) -> Choice:
    right, *others = choice.options
    return replace(choice, options=(*others[:place], right, *others[place:]), answer=place)
