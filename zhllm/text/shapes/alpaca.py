"""One question and its answer: Alpaca records, BELLE's with earlier turns in the instruction, and lines of
two texts, as Firefly's, under any of the names in `names`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import itemgetter, methodcaller
from typing import Any

from zhllm.text.prompt_format import Message
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.shapes.names import found_roles
from zhllm.text.shapes.record import FieldError, checked_text, text_of

_ANSWERS = ("output", "response", "answer")
_QA_ROLES = ("answer", "question", "input")
# BELLE writes a whole conversation into the instruction; hh-rlhf into its answers.
_SPEAKER = re.compile(r"(?:^|\n)[ \t]*(Human|Assistant)[ \t]*[:：]")


def alpaca_messages(value: dict[str, Any]) -> tuple[Message, ...]:
    """The chat of an Alpaca record: system, history, then instruction and input against output."""
    asked, more = text_of(value, "instruction"), text_of(value, "input") or text_of(value, "context")
    if not asked and not more:
        raise FieldError("instruction", "is empty, and so is input")
    field = "output" if "output" in value else next((key for key in _ANSWERS if key in value), "output")
    return _messages(value, f"{asked}\n{more}" if asked and more else asked or more, field)


_PLAIN = ("instruction", "input", "output")
_plain_values, _PLAIN_TEXTS = itemgetter(*_PLAIN), [*map(itemgetter, _PLAIN)]
_strip, _is_spoken = str.strip, methodcaller("startswith", "Human")


def plain_columns(values: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Questions and answers of values as orjson parsed them: what `alpaca_messages` gives of plain records.

    Of a value that it must look at closer, both are "".
    """
    values = list(values)
    return _alike(values) or _one_by_one(values)


def _alike(values: Sequence[Any]) -> tuple[list[str], list[str]] | None:
    """Questions and answers of values of which every one is plain; None where any may not be."""
    try:
        asked, more, answers = ([*map(_strip, map(text, values))] for text in _PLAIN_TEXTS)
    except (KeyError, TypeError):  # no record, no such key, no text
        return None
    for number in compress(range(len(more)), more):
        asked[number] = f"{asked[number]}\n{more[number]}" if asked[number] else more[number]
    is_alike = set(map(len, values)) == {3} and all(asked) and all(answers)
    return None if not is_alike or any(map(_is_spoken, asked)) else (asked, answers)


def _one_by_one(values: Sequence[Any]) -> tuple[list[str], list[str]]:
    questions, answers = list[str](), list[str]()
    for value in values:
        try:
            asked, more, answer = _plain_values(value)
            asked, more, answer = _strip(asked), _strip(more), _strip(answer)
        except (KeyError, TypeError):  # no record, no such key, no text
            asked = more = answer = ""
        if more:
            asked = f"{asked}\n{more}" if asked else more
        if not asked or not answer or len(value) != 3 or _is_spoken(asked):
            asked = answer = ""
        questions.append(asked)
        answers.append(answer)
    return questions, answers


def qa_messages(value: dict[str, Any]) -> tuple[Message, ...]:
    """The chat of a line that holds a question and an answer by any of their names."""
    names = found_roles(value, _QA_ROLES)
    if "question" not in names or "answer" not in names:
        missing = "answer" if "question" in names else "question"
        raise FieldError(missing, f"is missing; keys: {', '.join(list(value)[:8]) or 'none'}")
    asked = text_of(value, names["question"])
    if not asked:
        raise FieldError(names["question"], "is empty")
    more = text_of(value, names["input"]) if "input" in names else ""
    return _messages(value, f"{asked}\n{more}" if more else asked, names["answer"])


def _messages(value: dict[str, Any], asked: str, field: str) -> tuple[Message, ...]:
    """System and history, then what was asked, against the field of the answer."""
    answer = text_of(value, field)
    if not answer:
        raise FieldError(field, "is empty" if field in value else "is missing")
    last = ({"role": "user", "content": asked}, {"role": "assistant", "content": answer})
    if "system" not in value and "history" not in value and not asked.startswith("Human"):
        return last
    return (*_system(value), *_earlier(value), *_spoken_before(asked), last[1])


def _system(value: dict[str, Any]) -> list[Message]:
    system = text_of(value, "system")
    return [{"role": "system", "content": system}] if system else []


def _earlier(value: dict[str, Any]) -> Iterator[Message]:
    for question, answer in history_of(value):
        yield {"role": "user", "content": question}
        yield {"role": "assistant", "content": answer}


def _spoken_before(asked: str) -> list[Message]:
    """The turns written in an instruction, up to the user's last; one of the user's where there are none."""
    turns = spoken_turns(asked)
    if turns and turns[-1] == ("assistant", ""):
        turns.pop()
    roles = [role for role, _ in turns]
    in_turn = roles == [("user", "assistant")[i % 2] for i in range(len(roles))]
    if not in_turn or roles[-1:] != ["user"] or not all(text for _, text in turns):
        return [{"role": "user", "content": asked}]
    return [{"role": role, "content": text} for role, text in turns]


def spoken_turns(text: str) -> list[tuple[str, str]]:
    """(role, text) of each turn of "Human: ... Assistant: ..."; none where the text does not begin so."""
    pieces = _SPEAKER.split(text.strip())
    if len(pieces) < 3 or pieces[0].strip():
        return []
    roles = ("user" if name == "Human" else "assistant" for name in pieces[1::2])
    return [(role, said.strip()) for role, said in zip(roles, pieces[2::2], strict=True)]


def history_of(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each earlier [question, answer] of a record."""
    history = value.get("history") or []
    if not isinstance(history, list):
        raise FieldError("history", f"is {kind_of_value(history)}, not a list of [question, answer]")
    for i, turn in enumerate(history):
        if not isinstance(turn, list) or len(turn) != 2:
            raise FieldError(f"history[{i}]", "is not [question, answer]")
        question, answer = (checked_text(text, f"history[{i}][{j}]") for j, text in enumerate(turn))
        if not question or not answer:
            raise FieldError(f"history[{i}]", "holds an empty text")
        yield question, answer
