"""Texts that a process has cleaned already in this run: an equal one, as crawls are full of, is not cleaned again.

It changes no result, only the time: what is remembered is all that cleaning gives for a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from zhllm.text.clean.changes import NORMALISED
from zhllm.text.clean.cleaning import CleanedDocs, Rules, clean_documents
from zhllm.text.clean.grams import Hashes
from zhllm.text.clean.normalise import normalise
from zhllm.text.clean.pii import mask
from zhllm.text.clean.sketches import PLACES
from zhllm.text.document import Document

SAMPLE_CHARS = 300
# Chinese has two bytes a character in memory; further texts are not remembered.
MAX_CHARS = 12_000_000
_NO_PARAGRAPHS: Hashes = np.zeros(0, dtype=np.uint64)
Change = list[str]  # a place in a text before a rule changed it, and after


class Outcome(NamedTuple):
    """What cleaning gave for one text, whichever documents have it.

    `text` is what is to be kept of it: the cleaned text whole, or a sample of one that is refused or stands in an
    earlier document, for nobody needs the whole of a duplicate. `final` is the cleaned text in any case.
    `rules` are the names of what was done. `changes` holds samples of that, which are looked for when needed.
    """

    text: str
    reason: str  # "" where no rule refused it
    detail: str
    chars: int
    han: int
    words: int
    digest: bytes
    sketch: bytes
    paragraphs: Hashes
    final: str = ""
    chars_before: int = 0
    effects: Mapping[str, int] = {}  # noqa: RUF012
    is_changed: bool = False
    rules: Sequence[str] = ()
    changes: dict[str, Change | None] = {}  # noqa: RUF012
    is_first: bool = True


def not_cleaned(sample: str, reason: str, detail: str) -> Outcome:
    """For input that gave no text."""
    return Outcome(sample, reason, detail, 0, 0, 0, bytes(16), bytes(2 * PLACES), _NO_PARAGRAPHS)


@dataclass(slots=True)
class _Memory:
    """What was cleaned in one run, by the text as it came."""

    run: str
    portion: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    chars: int = 0


_memory = _Memory("")


def clean_once(documents: Sequence[Document], rules: Rules, run: str, portion: str) -> list[Outcome]:
    """What `clean_documents` gives, but equal texts of one `run` (which has one set of rules) are cleaned once.

    `portion` sorts the portions of a run in the order of the input: only a text of an earlier one makes a duplicate.
    """
    global _memory
    if _memory.run != run or _memory.portion >= portion:
        _memory = _Memory(run)
    _memory.portion = portion
    known = _memory.outcomes
    new: dict[str, Document] = {}
    for document in documents:
        if document.text not in known:
            new.setdefault(document.text, document)
    whole = dict(zip(new, _outcomes(list(new.values()), rules), strict=True))
    known.update(whole)
    given = [
        whole.pop(document.text) if document.text in whole else _again(known, document.text) for document in documents
    ]
    _remember(list(new))
    return given


def _again(known: dict[str, Outcome], text: str) -> Outcome:
    """What is given for further documents with a text."""
    outcome = known[text]
    if outcome.is_first:
        outcome = outcome._replace(text=outcome.text[:SAMPLE_CHARS], paragraphs=_NO_PARAGRAPHS, is_first=False)
        known[text] = outcome
    return outcome


def forget() -> None:
    """Let go of everything that was cleaned in this process."""
    global _memory
    _memory = _Memory("")


def _remember(texts: Sequence[str]) -> None:
    """Keep what was found for some new texts, or let go of it where there is much already."""
    chars = sum(map(len, texts))
    if _memory.chars + chars <= MAX_CHARS:
        _memory.chars += chars
        return
    for text in texts:
        del _memory.outcomes[text]


def _outcomes(documents: Sequence[Document], rules: Rules) -> list[Outcome]:
    cleaned = clean_documents(documents, rules) if documents else None
    return [] if cleaned is None else [_outcome(document, cleaned, i) for i, document in enumerate(documents)]


def _outcome(before: Document, cleaned: CleanedDocs, i: int) -> Outcome:
    text, refusal, counts = cleaned.documents[i].text, cleaned.refusals[i], cleaned.counts[i]
    return Outcome(
        text=text if refusal is None else text[:SAMPLE_CHARS] or _sample_before(before.text),
        reason="" if refusal is None else refusal.reason,
        detail="" if refusal is None else refusal.detail,
        chars=len(text),  # `counts` are of the text before masking
        han=counts.han,
        words=counts.words,
        digest=cleaned.digests[i],
        sketch=cleaned.sketches[i].tobytes(),
        paragraphs=cleaned.paragraphs[i],
        final=text,
        chars_before=len(before.text),
        effects=cleaned.effects[i],
        is_changed=text != before.text,
        rules=tuple(cleaned.effects[i]) or ((NORMALISED,) if text != before.text else ()),
        changes={},
    )


def _sample_before(text: str) -> str:
    """How a text began of which nothing is left, without personal data."""
    return mask(normalise(text[:SAMPLE_CHARS]))[0]
