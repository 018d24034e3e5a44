"""Questions about a paragraph, as in SQuAD, CMRC 2018 and DRCD: the answer is grounded, its place is kept.

`meta.evidence` is {"text", "start", "title"}: `text` stands at character `start` of the user's message.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from zhllm.text.chats import Chat
from zhllm.text.han import han_runs
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.script import MIN_TRADITIONAL_SHARE, traditional_characters
from zhllm.text.shapes.record import Converted, FieldError, Options, Shape, Unit, checked_text, text_of

_ASKED = {
    "zh": ("请根据下面的材料回答问题。\n\n材料：\n", "\n\n问题："),
    "zh_hant": ("請根據下面的材料回答問題。\n\n材料：\n", "\n\n問題："),
    "en": ("Answer the question from the passage below.\n\nPassage:\n", "\n\nQuestion: "),
}
_CONTEXTS = ("context", "context_text")
_QUESTIONS = ("question", "query_text")
SHAPE: Shape = "squad"


def squad_units(value: dict[str, Any], line: int) -> list[Unit]:
    """A unit for each question of an article, a paragraph or a question that holds its paragraph."""
    if "paragraphs" in value:
        paragraphs = value["paragraphs"]
        if not isinstance(paragraphs, list):
            raise FieldError("paragraphs", f"is {kind_of_value(paragraphs)}, not a list")
        units = []
        for i, paragraph in enumerate(paragraphs):
            units += _questions(paragraph, line, f"paragraphs[{i}].", value.get("title"))
    elif "qas" in value:
        units = _questions(value, line, "", value.get("title"))
    else:
        return [Unit(line, value, SHAPE)]
    if not units:
        raise FieldError("paragraphs" if "paragraphs" in value else "qas", "holds no question")
    return units


def _questions(paragraph: Any, line: int, at: str, title: Any) -> list[Unit]:
    """The units of a paragraph; what is none becomes a unit that converting refuses by field."""
    if not isinstance(paragraph, dict):
        return [Unit(line, {}, SHAPE, at=at)]
    context = next((paragraph[key] for key in _CONTEXTS if key in paragraph), None)
    shared = {"context": context, "title": paragraph.get("title", title)}
    qas = paragraph.get("qas")
    if not isinstance(qas, list):
        return [Unit(line, shared, SHAPE, at=at)]
    return [
        Unit(line, shared | (qa if isinstance(qa, dict) else {}), SHAPE, at=f"{at}qas[{i}].")
        for i, qa in enumerate(qas)
    ]


def squad_converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """The chat of one question: paragraph and question against the first answer, or a refusal."""
    value = unit.value
    paragraph, question = _first(value, _CONTEXTS), _first(value, _QUESTIONS)
    script = _script(paragraph)
    before, between = _ASKED[script]
    asked = {"role": "user", "content": f"{before}{paragraph}{between}{question}"}
    answer = None if value.get("is_impossible") is True else _first_answer(value)
    if answer is None:
        refusal: str = getattr(options, f"refusal_{script}")
        chat = Chat(identity, (asked, {"role": "assistant", "content": refusal}), source)
        return Converted((chat,), facts={"squad_unanswerable": 1})
    text, given, field = answer
    repairs: Counter[str] = Counter()
    skipped = len(value_of(value, _CONTEXTS)) - len(value_of(value, _CONTEXTS).lstrip())
    place = _place(paragraph, text, None if given is None else given - skipped, field, repairs)
    evidence: dict[str, Any] = {"text": text, "start": len(before) + place}
    if isinstance(value.get("title"), str) and value["title"].strip():
        evidence["title"] = checked_text(value["title"], "title")
    chat = Chat(identity, (asked, {"role": "assistant", "content": text}), source, {"evidence": evidence})
    return Converted((chat,), repairs=repairs)


def value_of(value: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """What the first of these keys holds that there is, or None."""
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> str:
    key = next((key for key in keys if value.get(key) is not None), None)
    text = "" if key is None else text_of(value, key)
    if not text:
        raise FieldError(key or keys[0], "is empty" if key else "is missing")
    return text


def _script(text: str) -> str:
    """The wording that goes with a paragraph: most of what is Chinese has far more Han than Latin letters."""
    han = sum(map(len, han_runs(text)))
    if han * 4 < sum(char.isascii() and char.isalpha() for char in text) or not han:
        return "en"
    traditional = sum(map(text.count, traditional_characters().intersection(text)))
    return "zh_hant" if traditional >= MIN_TRADITIONAL_SHARE * han else "zh"


def _first_answer(value: dict[str, Any]) -> tuple[str, int | None, str] | None:
    """(text, its offset if one is given, its path) of the first answer; None where there is none."""
    if "answers" not in value:
        raise FieldError("answers", "is missing")
    answers, field = value["answers"], "answers[0]"
    if isinstance(answers, dict):  # as the datasets library writes it
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list | None) or (starts and len(starts) != len(texts)):
            raise FieldError("answers", "is no object of two lists, text and answer_start")
        answers = [{"text": text, "answer_start": starts[i] if starts else None} for i, text in enumerate(texts)]
    if answers is None or answers == []:
        return None
    if not isinstance(answers, list):
        raise FieldError("answers", f"is {kind_of_value(answers)}, not a list")
    first = {"text": answers[0]} if isinstance(answers[0], str) else answers[0]
    if not isinstance(first, dict):
        raise FieldError(field, f"is {kind_of_value(first)}, not an answer")
    text = text_of(first, "text", f"{field}.")
    if not text:
        raise FieldError(f"{field}.text", "is empty or missing")
    start = first.get("answer_start")
    if not isinstance(start, int | None) or isinstance(start, bool):
        raise FieldError(f"{field}.answer_start", f"is {start!r}, not a whole number")
    lead = len(first["text"]) - len(first["text"].lstrip())
    return text, None if start is None else start + lead, f"{field}.text"


def _place(paragraph: str, text: str, given: int | None, field: str, repairs: Counter[str]) -> int:
    """Where an answer stands; the nearest place to where it was said to, if not there."""
    if given is not None and given >= 0 and paragraph.startswith(text, given):
        return given
    found, at = [], paragraph.find(text)
    while at >= 0:
        found.append(at)
        at = paragraph.find(text, at + 1)
    if not found:
        raise FieldError(field, f"is not in the paragraph ({text[:40]!r})")
    if given is None:
        return found[0]
    repairs["mended_offsets"] += 1
    return min(found, key=lambda place: abs(place - given))
