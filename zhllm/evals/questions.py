"""Question answering: a reply is right when it contains the answer or an accepted form of it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.read.records import read_records

_NUMERAL = "0-9零〇一二两三四五六七八九十百千万"
_IGNORED = re.compile(r"[\W_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Question:
    """A question and every written form of its answer that counts."""

    id: str
    question: str
    answers: tuple[str, ...]


def read_questions(path: Path) -> list[Question]:
    """Questions from JSON lines {"id", "question", "answer", "accept": [...]}; DataError by line."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder. Give a question set (jsonl).")
    questions = []
    for record in read_records(path, str(path)):
        if isinstance(record, Rejected):
            raise DataError(f"{record.where()}: {record.reason}.")
        questions.append(_question(record.value, record.line, f"{path}:{record.line}"))
    if not questions:
        raise DataError(f"{path}: holds no questions.")
    return questions


def _question(record: dict[str, Any], number: int, where: str) -> Question:
    """A checked record; DataError that names what is missing or of the wrong kind."""
    for key in ("question", "answer"):
        if key not in record:
            raise DataError(f'{where}: "{key}" is missing (keys: {", ".join(record)}). Add it, or take the line out.')
    accept = record.get("accept", [])
    answers = [record["answer"], *(accept if isinstance(accept, list) else [None])]
    if not isinstance(record["question"], str) or not all(isinstance(a, str | int | float) for a in answers):
        raise DataError(f'{where}: "question" and "answer" must be texts, "accept" a list of texts.')
    question = Question(str(record.get("id", number)), record["question"], tuple(map(str, answers)))
    if not all(normal(answer) for answer in question.answers):
        raise DataError(f"{where}: an answer has no letter or digit: {question.answers}.")
    return question


def normal(text: str) -> str:
    """NFKC, lower case, without white space and punctuation: what a comparison should see.

    Between two numerals one space is kept ("3.5" is not "35"), except in 1,000.
    """
    text = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text).lower())
    return _IGNORED.sub(_between_numerals, text)


def _between_numerals(match: re.Match[str]) -> str:
    beside = match.string[: match.start()][-1:] + match.string[match.end() :][:1]
    return " " if re.fullmatch(f"[{_NUMERAL}]{{2}}", beside) else ""


def is_right(question: Question, reply: str) -> bool:
    """Whether the reply holds one of the answers, and not as a part of a longer number (5 days in 15 days)."""
    found = normal(reply)
    return any(re.search(_whole(normal(answer)), found) for answer in question.answers)


def _whole(answer: str) -> str:
    """A pattern for the answer that does not begin or end inside a number."""
    before = f"(?<![{_NUMERAL}])" if re.match(f"[{_NUMERAL}]", answer) else ""
    behind = f"(?![{_NUMERAL}])" if re.search(f"[{_NUMERAL}]$", answer) else ""
    return before + re.escape(answer) + behind
