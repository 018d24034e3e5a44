"""A text that was cleaned before in the same run is not cleaned again, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import dirt
import pytest

from zhllm.text.clean import remembered
from zhllm.text.clean.cleaning import CleanedDocs, Rules, clean_documents
from zhllm.text.clean.remembered import SAMPLE_CHARS, Outcome, clean_once, forget
from zhllm.text.document import Document


def documents(texts: Sequence[str], name: str) -> list[Document]:
    return [Document(f"{name}{i}", text, name, f'{{"n":{i}}}') for i, text in enumerate(texts)]


def same(found: Sequence[Outcome], own: Sequence[Document], rules: Rules, known: set[str]) -> None:
    """What is given for some documents is what cleaning gives, but of a text in `known` or given before a sample."""
    cleaned, known = clean_documents(own, rules), set(known)
    for i, (document, outcome) in enumerate(zip(own, found, strict=True)):
        text, refusal, counts = cleaned.documents[i].text, cleaned.refusals[i], cleaned.counts[i]
        assert (outcome.reason, outcome.detail) == (("", "") if refusal is None else (refusal.reason, refusal.detail))
        assert (outcome.chars, outcome.han, outcome.words) == (len(text), counts.han, counts.words)
        assert (outcome.digest, outcome.sketch) == (cleaned.digests[i], cleaned.sketches[i].tobytes())
        assert (outcome.final, outcome.chars_before) == (text, len(document.text))
        assert (outcome.effects, outcome.is_changed) == (cleaned.effects[i], text != document.text)
        is_whole = refusal is None and document.text not in known
        assert outcome.text == (text if is_whole else text[:SAMPLE_CHARS]) or not text
        assert outcome.paragraphs.tolist() == ([] if document.text in known else cleaned.paragraphs[i].tolist())
        known.add(document.text)


@pytest.fixture
def texts() -> list[str]:
    made = list(dirt.make(4).texts.values())
    return [*made[:20], *made[5:12], *made[:3], "", "", "甲\ud800"]


@pytest.mark.parametrize("max_chars", [0, 2000, 24_000_000])
def test_it_gives_what_cleaning_gives(texts: list[str], monkeypatch: pytest.MonkeyPatch, max_chars: int) -> None:
    """With copies within a portion and of an earlier one; each document keeps its id, source and metadata."""
    monkeypatch.setattr(remembered, "MAX_CHARS", max_chars)
    forget()
    rules = Rules(traditional="simplify")
    known: set[str] = set()
    for name, some in (
        ("a", texts),
        ("b", texts[::-1]),
        ("c", texts[10:] + ["新的一篇文章，从前没有见过。"]),
        ("d", []),
    ):
        own = documents(some, name)
        same(clean_once(own, rules, "run", name), own, rules, known)
        known |= set(some) if max_chars > 2000 else set()


def test_only_a_text_of_an_earlier_portion_is_a_duplicate(texts: list[str]) -> None:
    """Ray may give a process portions in any order."""
    forget()
    own = documents(texts, "a")
    for portion in ("0000001-0000001", "0000001-0000000", "0000001-0000000"):
        same(clean_once(own, Rules(), "run", portion), own, Rules(), set())


def test_a_text_is_cleaned_once_in_a_run_and_anew_in_the_next(
    texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[int] = []

    def counting(some: Sequence[Document], rules: Rules) -> CleanedDocs:
        cleaned.append(len(some))
        return clean_documents(some, rules)

    monkeypatch.setattr(remembered, "clean_documents", counting)
    forget()
    own, twice = documents(texts, "a"), set(texts)
    for run, portion, rules, known in (
        ("one", "0", Rules(), set[str]()),
        ("one", "1", Rules(), twice),
        ("two", "0", Rules(masked=()), set[str]()),
    ):
        same(clean_once(own, rules, run, portion), own, rules, known)
    assert cleaned == [len(twice), len(twice)]
    forget()
    clean_once(own, Rules(), "two", "1")
    assert cleaned[-1] == len(twice)
