"""The first pass of `clean`: a portion of the input is cleaned and becomes a part on disk, whoever does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from zhllm.text.clean.changes import change_in
from zhllm.text.clean.cleaning import Rules
from zhllm.text.clean.contamination import EvaluationGrams
from zhllm.text.clean.identity import masked_identities, masked_identity
from zhllm.text.clean.parts import SUFFIX, Row, write_part
from zhllm.text.clean.pii import Kind, mask
from zhllm.text.clean.portions import Portion
from zhllm.text.clean.remembered import Change, Outcome, clean_once, not_cleaned
from zhllm.text.document import Document, Item, Rejected, without_offsets
from zhllm.text.read.sources import Keys

# Places where each rule changed a text, for people to look at: more where there may be no other portion.
CHANGES_KEPT, CHANGES_KEPT_OF_FIRST = 1, 3
_CHANGES_TRIED = 6
MAX_COMMON_LINE_CHARS = 40
LINES_COUNTED_CHARS = 200_000
LINES_KEPT = 200


@dataclass(frozen=True, slots=True)
class Work:
    """A portion and what to do with it; the part is written to `folder`."""

    portion: Portion
    rules: Rules
    keys: Keys
    folder: Path
    run: str  # another one for each run, so that a process which lives on starts anew


@dataclass(frozen=True, slots=True)
class _Portion:
    """The documents of a portion, with personal data masked in what comes with the texts, and their outcomes."""

    before: Sequence[Document]
    documents: Sequence[Document]
    outcomes: Sequence[Outcome]


def clean_portion(work: Work) -> int:
    """Clean a portion and write its part; the number of its rows."""
    items = list(work.portion.read(work.keys))
    before = [item for item in items if isinstance(item, Document)]
    masked = () if work.rules.only_duplicates else work.rules.masked
    outcomes = clean_once(before, work.rules, work.run, work.portion.key)
    done = _Portion(before, masked_identities(before, masked), outcomes)
    write_part(work.folder / (work.portion.key + SUFFIX), _rows(items, done, masked), _stats(done, work))
    return len(items)


def _rows(items: Sequence[Item], done: _Portion, masked: tuple[Kind, ...]) -> list[Row]:
    """The rows of the part: what was cleaned, and what could not be read, in the order of the input."""
    cleaned = map(_row, done.documents, done.outcomes)
    if len(items) == len(done.documents):
        return list(cleaned)
    return [_row_of_rejected(item, masked) if isinstance(item, Rejected) else next(cleaned) for item in items]


def _row(document: Document, outcome: Outcome) -> Row:
    meta = document.meta
    if outcome.is_changed and not outcome.reason:
        meta = without_offsets(meta)
    return document.id, document.source, meta, outcome


def _row_of_rejected(item: Rejected, masked: tuple[Kind, ...]) -> Row:
    identity = item.file if item.line is None else f"{item.file}#{item.line}"
    reason = "unreadable" if item.kind in ("file", "record") else "not_a_document"
    where = "" if item.offset is None else f" (byte {item.offset})"
    sample, detail = (mask(text, masked)[0] for text in (item.sample, item.reason + where))
    return _row(masked_identity(Document(identity, "", item.file), masked), not_cleaned(sample, reason, detail))


def _stats(done: _Portion, work: Work) -> dict[str, Any]:
    """What the report tells of a part: counts by rule, samples of changes, short lines by documents."""
    effects: Counter[str] = Counter()
    for outcome in done.outcomes:
        for name, times in outcome.effects.items():
            effects[name] += times
    is_first = not (work.portion.file or work.portion.number)
    return {
        "docs_in": len(done.outcomes),
        "chars_in": sum(outcome.chars_before for outcome in done.outcomes),
        "effects": effects,
        "docs_changed": Counter(chain.from_iterable(outcome.rules for outcome in done.outcomes)),
        "changes": _changes(done, CHANGES_KEPT_OF_FIRST if is_first else CHANGES_KEPT),
        "short_lines": _short_lines(done.outcomes),
        "contaminated": _contaminated(done.outcomes, work.rules.against),
    }


def _changes(done: _Portion, most: int) -> dict[str, list[list[str]]]:
    """Of the first documents that each rule changed: id, and the place before and after."""
    changes: dict[str, list[list[str]]] = {}
    tried: Counter[str] = Counter()
    for before, after, outcome in zip(done.before, done.documents, done.outcomes, strict=True):
        for name in outcome.rules:
            if len(changes.get(name, ())) < most and tried[name] < _CHANGES_TRIED:
                tried[name] += 1
                change = _change(name, before.text, outcome)
                if change is not None:
                    changes.setdefault(name, []).append([after.id, *change])
    return changes


def _change(name: str, before: str, outcome: Outcome) -> Change | None:
    """What a rule did to a text, which is looked for once."""
    if name not in outcome.changes:
        change = change_in(name, before, outcome.final)
        outcome.changes[name] = None if change is None else list(change)
    return outcome.changes[name]


def _contaminated(outcomes: Sequence[Outcome], against: EvaluationGrams | None) -> dict[str, int]:
    """Documents dropped because of each evaluation file, by its number; one may hold texts of several."""
    docs: Counter[str] = Counter()
    for outcome in outcomes if against is not None else ():
        if against is not None and outcome.reason == "contaminated":
            numbers = (name.removeprefix("item_") for name in outcome.effects if name.startswith("item_"))
            docs.update({str(against.items[int(number)].file) for number in numbers})
    return docs


def _short_lines(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Short lines and the documents they stand in, of the first documents of the part that are kept."""
    counted: Counter[str] = Counter()
    docs = 0
    for text in _first_kept(outcomes):
        counted.update({line for line in text.split("\n") if 2 <= len(line) <= MAX_COMMON_LINE_CHARS})
        docs += 1
    often = sorted(((n, line) for line, n in counted.items() if n > 1), key=lambda pair: (-pair[0], pair[1]))
    return {"": docs} | {line: n for n, line in often[:LINES_KEPT]}


def _first_kept(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The cleaned texts of the first documents that are kept, up to LINES_COUNTED_CHARS."""
    chars = 0
    for outcome in outcomes:
        if not outcome.reason:
            yield outcome.final
            chars += len(outcome.final)
            if chars >= LINES_COUNTED_CHARS:
                return
