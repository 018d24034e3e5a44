"""Question answering: a reply is right when it contains the answer or an accepted form of it."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zhllm.errors import DataError

_IGNORED = re.compile(r"[\s\W_]+")


@dataclass(frozen=True)
class Question:
    """A question and every written form of its answer that counts."""

    id: str
    question: str
    answers: tuple[str, ...]


def read_questions(path: Path) -> list[Question]:
    """Questions from JSON lines {"id", "question", "answer", "accept": [...]}; DataError by line."""
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            answers = [record["answer"], *record.get("accept", [])]
            question = Question(str(record.get("id", number)), record["question"], tuple(map(str, answers)))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:{number}: is not a JSON object ({error}).") from error
        except KeyError as error:
            keys = ", ".join(record)
            raise DataError(f"{path}:{number}: {error} is missing (keys: {keys}). Add it, or take the line out.") from error
        if not all(normal(a) for a in question.answers):
            raise DataError(f"{path}:{number}: an answer has no letter or digit: {question.answers}.")
        questions.append(question)
    if not questions:
        raise DataError(f"{path}: holds no questions.")
    return questions


def normal(text: str) -> str:
    """NFKC, lower case, without white space and punctuation: what a comparison should see."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", text).lower())


def is_right(question: Question, reply: str) -> bool:
    """Whether the reply holds one of the answers."""
    found = normal(reply)
    return any(normal(answer) in found for answer in question.answers)


def bootstrap_interval(hits: Sequence[bool], seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the share of hits (Efron 1979)."""
    rng = random.Random(seed)
    count = len(hits)
    shares = sorted(sum(rng.choices(hits, k=count)) / count for _ in range(rounds))
    return shares[int(0.025 * rounds)], shares[int(0.975 * rounds) - 1]
