"""The grounding check against people's answers (CMRC 2018) and laws: what is right passes, what is spoilt does not.

The figures are shares measured on the real files; each limit leaves a little room below what was measured.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from zhllm.text.read.shards import read_documents
from zhllm.text.synth.grounding import Limits, answer_problem, names_in, question_problem
from zhllm.text.synth.numbers import numbers_in

Case = tuple[str, str, str, str]  # question, answer, evidence, passage
LIMITS = Limits()


@pytest.fixture(scope="module")
def cases(real_data: Path) -> list[Case]:
    """Every question of CMRC 2018's trial set with its answer, the sentence of the answer and the paragraph."""
    data = json.loads((real_data / "squad" / "cmrc2018_trial.json").read_text(encoding="utf-8"))["data"]
    found = []
    for paragraph in (paragraph for article in data for paragraph in article["paragraphs"]):
        text = paragraph["context"]
        for question in paragraph["qas"]:
            answer = question["answers"][0]["text"]
            at = text.find(answer)
            start = max(text.rfind(mark, 0, at) for mark in "。！？") + 1
            ends = [end for end in (text.find(mark, at + len(answer)) for mark in "。！？") if end >= 0]
            found.append((question["question"], answer, text[start : min(ends, default=len(text)) + 1].strip(), text))
    assert len(found) == 1002
    return found


def kept(cases: Iterable[Case]) -> float:
    problems = [answer_problem(*case, LIMITS) for case in cases]
    assert len(problems) > 100
    return sum(problem is None for problem in problems) / len(problems)


def test_answers_of_people_pass(cases: list[Case]) -> None:
    assert kept(cases) == 1.0
    assert kept((q, sentence, sentence, text) for q, _, sentence, text in cases) == 1.0
    good = sum(question_problem(question, LIMITS) is None for question, *_ in cases)
    assert good / len(cases) > 0.96  # the rest begin with 该 or 其, or say 文中


def test_answers_to_other_paragraphs_do_not(cases: list[Case]) -> None:
    others = random.Random(0).sample(cases, len(cases))
    foreign = [(c, o) for c, o in zip(cases, others, strict=True) if o[1] not in c[3]]
    assert kept((c[0], o[1], c[2], c[3]) for c, o in foreign) < 0.01
    assert kept((c[0], o[2], c[2], c[3]) for c, o in foreign) < 0.01
    assert kept((c[0], c[2] + o[2], c[2], c[3]) for c, o in foreign) < 0.06  # a sentence too much


def test_a_changed_number_is_seen(cases: list[Case]) -> None:
    draw = random.Random(0)
    spoilt = []
    for question, _, sentence, text in cases:
        numbers = list(re.finditer(r"\d+", sentence))
        if numbers:
            place = draw.choice(numbers)
            changed = (
                sentence[: place.start()] + str(int(place[0]) + draw.choice([1, 2, 7, 10])) + sentence[place.end() :]
            )
            if numbers_in(changed) - numbers_in(text + question):
                spoilt.append((question, changed, sentence, text))
    assert kept(spoilt) == 0.0


def test_a_changed_name_is_seen(cases: list[Case]) -> None:
    """Names that the tagger knows; of others (rare people) the wording alone can tell."""
    draw = random.Random(0)
    names = sorted({name for *_, text in cases for name in names_in(text) if len(name) > 1 and not name.isascii()})
    spoilt = []
    for question, _, sentence, text in cases:
        inside = [name for name in names_in(sentence) if not name.isascii()]
        new = draw.choice(names)
        if inside and new not in text:
            spoilt.append((question, sentence.replace(draw.choice(inside), new), sentence, text))
    assert kept(spoilt) < 0.08


def test_laws_may_not_be_turned_round(real_data: Path) -> None:
    draw = random.Random(0)
    forbidding, other = [], []
    for document in read_documents([real_data / "docs_laws"]):
        for found in re.finditer(r"[^。\n]{10,80}(?:不得|禁止|应当|可以)[^。\n]{6,60}。", document.text):
            passage = document.text[max(0, found.start() - 300) : found.end() + 300]
            is_forbidding = "不得" in found[0] or "禁止" in found[0]
            (forbidding if is_forbidding else other).append((found[0], passage))
    forbidding, other = draw.sample(forbidding, 250), draw.sample(other, 250)
    assert kept(("", law, law, passage) for law, passage in forbidding + other) > 0.995
    allowed = ((law.replace("不得", "可以", 1).replace("禁止", "允许", 1), law, text) for law, text in forbidding)
    assert kept(("", new, law, text) for new, law, text in allowed) < 0.35
    forbidden = (
        (law.replace("应当", "不得", 1) if "应当" in law else law.replace("可以", "不得", 1), law, text)
        for law, text in other
    )
    assert kept(("", new, law, text) for new, law, text in forbidden) < 0.02
