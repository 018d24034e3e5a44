"""What only all chats together tell: duplicates, prompts asked before, and answers that contradict each other.

Found by sorting the digests of all rows; of the texts only those are read again whose prompt stands there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zhllm.stages._convert_items import CASE_CHARS, Item, read_item, texts_of
from zhllm.stages._convert_parts import ROW, Part, Rows
from zhllm.text.chats import Chat

KEPT, DUPLICATE, CONTRADICTING = 0, 1, 2
EXAMPLES = 10
ANSWERS_SHOWN = 4
Numbers = npt.NDArray[np.int64]
Fates = npt.NDArray[np.uint8]
# Answers that differ in nothing but space, punctuation and case say the same.
_SIGNS = re.compile(r"[\W_]+")


class Table:
    """The rows of all parts in the order of the input, and where each one's line stands."""

    def __init__(self, parts: Sequence[Part], kind: str) -> None:
        self.kind, self.parts = kind, parts
        self.starts = np.cumsum([0, *(part.summary.items[kind] for part in parts)])
        self.rows: Rows = np.zeros(self.starts[-1], ROW)
        self.offsets: Numbers = np.zeros(len(self.rows), np.int64)
        # One part at a time: the rows of all of them are most of the memory that is needed.
        for part, start, end in zip(parts, self.starts[:-1], self.starts[1:], strict=True):
            self.rows[start:end] = part.rows(kind)
            sizes = self.rows["size"][start:end]
            self.offsets[start:end] = np.cumsum(sizes, dtype=np.int64) - sizes

    def place(self, number: int) -> str:
        """Where a row is from, as `file:line`."""
        part = self.parts[int(np.searchsorted(self.starts, number, side="right")) - 1]
        row = self.rows[number]
        return f"{part.summary.names[row['file']]}:{row['line']}"

    def items(self, numbers: Numbers) -> Iterator[tuple[int, Item]]:
        """The chats or preferences of some rows, in ascending order."""
        for part, start, end in zip(self.parts, self.starts[:-1], self.starts[1:], strict=True):
            some = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, end)]
            if not len(some):
                continue
            with part.lines_at(self.kind).open("rb") as file:
                for number in some.tolist():
                    file.seek(self.offsets[number])
                    yield number, read_item(self.kind, file.read(self.rows["size"][number]))


@dataclass
class Found:
    """What became of each row, and the groups that were found, for the report.

    `duplicates` are the largest groups of equal rows, `examples` the first of the `contradictions`, EXAMPLES each at
    most; `duplicate_prompts` counts rows whose prompt an earlier one that says something else has.
    """

    fates: Fates
    duplicates: list[list[int]]
    duplicate_prompts: int
    contradictions: int
    contradicting: int
    examples: list[list[int]]

    def count(self, fate: int) -> int:
        """Rows of a fate."""
        return int((self.fates == fate).sum())


def find(table: Table, contradictions: str) -> Found:
    """The fates of all rows; `contradictions` says what becomes of those: keep, first or drop."""
    fates = np.zeros(len(table.rows), np.uint8)
    equal = _grouped(table.rows["digest"], np.arange(len(fates)))
    fates[equal.later()] = DUPLICATE
    asked = _grouped(table.rows["key"], np.flatnonzero(fates == KEPT))
    answers = _answers(table, asked.members)
    first = np.repeat(answers[asked.starts], asked.sizes)
    opposed = asked.of_which(np.logical_or.reduceat(answers != first, asked.starts) if len(asked.starts) else [])
    if contradictions == "drop":
        fates[opposed.members] = CONTRADICTING
    elif contradictions == "first":
        fates[asked.members[answers != first]] = CONTRADICTING
    largest = np.lexsort((equal.members[equal.starts], -equal.sizes))[:EXAMPLES]
    earliest = np.argsort(opposed.members[opposed.starts])[:EXAMPLES]
    return Found(
        fates,
        [equal.group(k) for k in largest.tolist()],
        len(asked.later()),
        len(opposed.starts),
        len(opposed.members),
        [opposed.group(k) for k in earliest.tolist()],
    )


@dataclass
class _Groups:
    """Groups of two or more rows: `members` of one after the other, each in ascending order, and where each begins."""

    members: Numbers
    starts: Numbers

    @property
    def sizes(self) -> Numbers:
        """How many members each has."""
        return np.diff(self.starts, append=len(self.members))

    def later(self) -> Numbers:
        """All members but the first of each."""
        return np.delete(self.members, self.starts)

    def group(self, number: int) -> list[int]:
        """The members of one."""
        start = int(self.starts[number])
        return [int(row) for row in self.members[start : start + int(self.sizes[number])]]

    def of_which(self, chosen: npt.NDArray[np.bool_] | Sequence[bool]) -> _Groups:
        """Only the chosen ones."""
        mask = np.asarray(chosen, np.bool_)
        sizes = self.sizes
        return _Groups(self.members[np.repeat(mask, sizes)], np.cumsum(sizes[mask]) - sizes[mask])


def _grouped(digests: npt.NDArray[np.uint64], numbers: Numbers) -> _Groups:
    """The rows with equal digests, of those asked for."""
    some = digests[numbers]
    order = np.lexsort((some[:, 1], some[:, 0]))  # stable: equal ones stay in ascending order
    like_last = np.zeros(len(order) + 1, np.bool_)
    like_last[1:-1] = (some[order[1:]] == some[order[:-1]]).all(axis=1)
    is_member = like_last[:-1] | like_last[1:]
    members = numbers[order[is_member]]
    return _Groups(members, np.flatnonzero(~like_last[:-1][is_member]))


def _answers(table: Table, members: Numbers) -> npt.NDArray[np.uint64]:
    """A hash of what each of the rows answers, but for space, punctuation and case, in their order."""
    found = np.zeros(len(members), np.uint64)
    order = np.argsort(members)
    hashes = (xxhash.xxh3_64_intdigest("\0".join(_said(item)).encode()) for _, item in table.items(members[order]))
    found[order] = np.fromiter(hashes, np.uint64, len(members))
    return found


def _said(item: Item) -> list[str]:
    if isinstance(item, Chat):
        return [_plain(item.messages[-1]["content"])]
    return ["" if text is None else _plain(text) for text in (item.chosen, item.rejected)]


def _plain(text: str) -> str:
    return _SIGNS.sub("", text).lower() or text  # an answer of signs alone, as +1 is, says something too


def duplicates_shown(table: Table, found: Found) -> list[dict[str, Any]]:
    """The largest groups of equal rows: how many, where the first stand, how they begin."""
    firsts = dict(table.items(np.array(sorted(group[0] for group in found.duplicates), np.int64)))
    return [
        {
            "times": len(group),
            "places": [table.place(number) for number in group[:ANSWERS_SHOWN]],
            "begins": _begins(firsts[group[0]]),
        }
        for group in found.duplicates
    ]


def contradictions_shown(table: Table, found: Found) -> list[dict[str, Any]]:
    """The first prompts with different answers: what is asked, and where each answer stands."""
    shown = [group[:ANSWERS_SHOWN] for group in found.examples]
    items = dict(table.items(np.array(sorted(number for group in shown for number in group), np.int64)))
    return [
        {
            "prompt": _prompt(items[group[0]])[:CASE_CHARS],
            "times": len(whole),
            "answers": [{"place": table.place(n), "answer": _answer(items[n])} for n in group],
        }
        for group, whole in zip(shown, found.examples, strict=True)
    ]


def _begins(item: Item) -> str:
    return " → ".join(text[:CASE_CHARS] for text in texts_of(item)[:2])


def _prompt(item: Item) -> str:
    messages = item.messages[:-1] if isinstance(item, Chat) else item.prompt
    return str(messages[-1]["content"]) if messages else ""


def _answer(item: Item) -> str:
    if isinstance(item, Chat):
        return str(item.messages[-1]["content"])[:CASE_CHARS]
    return " > ".join("–" if text is None else text[:CASE_CHARS] for text in (item.chosen, item.rejected))
