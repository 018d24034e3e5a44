"""Prompts with reference answers: SQuAD-like files (CMRC), GSM8K, and any JSON lines of question and answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.read.records import read_records

PROMPTS = ("question", "prompt", "instruction", "query", "input", "问题")
ANSWERS = ("answers", "answer", "reference", "references", "target", "output", "答案")
READING = "阅读短文，用原文中的话回答问题，只写答案。\n\n短文：{}\n\n问题：{}"


@dataclass(frozen=True)
class Item:
    """A prompt, its references, where it stands, and whether the last number is what counts (GSM8K's "####")."""

    id: str
    prompt: str
    references: tuple[str, ...]
    is_number: bool


def read_items(paths: Sequence[Path]) -> list[Item]:
    """Every item of the files; DataError for one without a prompt or an answer, and where there is none."""
    items: list[Item] = []
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path}: is a folder. Give prompts with answers (jsonl, or a SQuAD-like json).")
        found = [item for record in read_records(path, str(path)) for item in _items(record, path)]
        if not found:
            raise DataError(f"{path}: holds no prompts.")
        items += found
    return items


def _items(record: Any, path: Path) -> Iterator[Item]:
    if isinstance(record, Rejected):
        raise DataError(f"{record.where()}: {record.reason}.")
    value, where = record.value, f"{path}:{record.line}"
    if "paragraphs" in value or isinstance(value.get("data"), list):
        articles = value["data"] if "paragraphs" not in value else [value]
        for article in articles:
            yield from _squad(article, where)
        return
    prompt = _first(value, PROMPTS)
    answer = _first(value, ANSWERS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{where}: has no prompt ({', '.join(PROMPTS)}; keys: {', '.join(value)}).")
    given = answer if isinstance(answer, list) else [answer]
    references = tuple(str(a) for a in [*given, *value.get("accept", ())] if a is not None and str(a).strip())
    if not references:
        raise DataError(f"{where}: has no answer ({', '.join(ANSWERS)}; keys: {', '.join(value)}).")
    extra = value.get("input") if prompt != value.get("input") and isinstance(value.get("input"), str) else ""
    text = f"{prompt}\n{extra}" if extra else prompt
    yield Item(str(value.get("id", where)), text, references, any("####" in r for r in references))


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _squad(article: Mapping[str, Any], where: str) -> Iterator[Item]:
    """The questions of an article on its paragraphs."""
    for paragraph in article.get("paragraphs", ()):
        for question in paragraph.get("qas", ()):
            texts = [a["text"] for a in question.get("answers", ()) if str(a.get("text", "")).strip()]
            if not texts:
                raise DataError(f"{where}: question {question.get('id')} has no answer.")
            prompt = READING.format(paragraph["context"], question["question"])
            yield Item(str(question.get("id", where)), prompt, tuple(dict.fromkeys(texts)), False)
