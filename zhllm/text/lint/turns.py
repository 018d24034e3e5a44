"""Chats and preferences as columns: the texts of all of them in one list, with whose each is.

Most chats are a question and its answer: of those nothing is kept but the two texts, id and source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zhllm.text.chats import ROLES, Chat, Preference
from zhllm.text.prompt_format import Message

SYSTEM, USER, ASSISTANT = range(len(ROLES))
Record = Chat | Preference


class Records:
    """Records in order, and the `texts` of all of them; `others` are those that are more than a pair.

    A pair is a chat of a question and its answer. The texts of a record are its messages, then the answers of a
    preference; those of record i begin at `starts[i]`, and `starts` has one more.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.starts = [0]
        self.others: dict[int, Record] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add any record."""
        self.others[len(self.ids)] = record
        self.ids.append(record.id)
        self.sources.append(record.source)
        self.texts += [message["content"] for message in _messages_of(record)]
        self.starts.append(len(self.texts))

    def add_pairs(self, ids: Sequence[str], source: str, asked: Sequence[str], answers: Sequence[str]) -> None:
        """Add pairs of one source."""
        texts = [""] * (2 * len(ids))
        texts[::2], texts[1::2] = asked, answers
        self.starts += range(len(self.texts) + 2, len(self.texts) + len(texts) + 1, 2)
        self.ids += ids
        self.sources += [source] * len(ids)
        self.texts += texts

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self.ids)))

    def __getitem__(self, number: int) -> Record:
        if (other := self.others.get(number)) is not None:
            return other
        asked, answer = self.texts[self.span(number)]
        return Chat(self.ids[number], messages_of_pair(asked, answer), self.sources[number])

    def pairs(self, numbers: Sequence[int]) -> tuple[Sequence[str], Sequence[str]]:
        """The questions and the answers of pairs, in order."""
        if not self.others and len(numbers) == len(self.ids):
            return self.texts[::2], self.texts[1::2]
        firsts = [self.starts[number] for number in numbers]
        return [self.texts[first] for first in firsts], [self.texts[first + 1] for first in firsts]

    def span(self, number: int) -> slice:
        """The texts of a record."""
        return slice(*self.starts[number : number + 2])

    def put_texts(self, number: int) -> None:
        """Bring texts of a record that were replaced in `texts` into the record itself."""
        if (other := self.others.get(number)) is not None:
            self.others[number] = with_evidence_in_place(with_texts(other, self.texts[self.span(number)]))

    def put_identity(self, number: int, record: Record) -> None:
        """Bring id, source and metadata of a record that were replaced into it."""
        self.ids[number], self.sources[number] = record.id, record.source
        if number in self.others:
            self.others[number] = record


def messages_of_pair(asked: str, answer: str) -> tuple[Message, Message]:
    """A question and its answer as messages."""
    return {"role": "user", "content": asked}, {"role": "assistant", "content": answer}


class Turns(NamedTuple):
    """The role of each text of some records, as its place in `names`, which begin with ROLES, [D]; the number of its
    record, [D]; where each record's texts begin, [R + 1].
    """

    roles: npt.NDArray[np.int64]
    names: Sequence[str]
    owners: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def role(self, number: int) -> str:
        """The role of a text."""
        return self.names[int(self.roles[number])]

    def owner(self, number: int) -> int:
        """The record of a text."""
        return int(self.owners[number])

    def roles_of(self, span: slice) -> list[str]:
        """The roles of some texts."""
        return [self.names[role] for role in self.roles[span].tolist()]


def turns_of(records: Records) -> Turns:
    """Whose each text of the records is."""
    numbers = {role: number for number, role in enumerate(ROLES)}
    starts = np.array(records.starts, dtype=np.int64)
    owners = np.repeat(np.arange(len(records)), np.diff(starts))
    roles = np.full(len(owners), USER, dtype=np.int64)
    roles[starts[1:] - 1] = ASSISTANT
    for number, record in records.others.items():
        said = [message["role"] for message in _messages_of(record)]
        roles[records.span(number)] = [numbers.setdefault(role, len(numbers)) for role in said]
    return Turns(roles, list(numbers), owners, starts)


def _messages_of(record: Record) -> Sequence[Message]:
    """The messages of a chat; the prompt of a preference and its answers as messages."""
    if isinstance(record, Chat):
        return record.messages
    answers = [text for text in (record.chosen, record.rejected) if text is not None]
    return [*record.prompt, *({"role": "assistant", "content": text} for text in answers)]


def place_in(record: Record, at: int) -> str:
    """What to call the text of a record that `turns_of` gives as its number `at`."""
    if isinstance(record, Chat) or at < len(record.prompt):
        return f"message {at + 1}"
    return "chosen" if at == len(record.prompt) and record.chosen is not None else "rejected"


def with_texts(record: Record, texts: Sequence[str]) -> Chat | Preference:
    """A record with other texts, as many as it has, in the order of `turns_of`."""
    if isinstance(record, Chat):
        messages = tuple({**m, "content": text} for m, text in zip(record.messages, texts, strict=True))
        return replace(record, messages=messages)
    answers = list(texts[len(record.prompt) :])
    prompt = tuple({**m, "content": text} for m, text in zip(record.prompt, texts, strict=False))
    chosen = answers.pop(0) if record.chosen is not None else None
    rejected = answers.pop(0) if record.rejected is not None else None
    return replace(record, prompt=prompt, chosen=chosen, rejected=rejected)


def with_evidence_in_place(record: Record) -> Chat | Preference:
    """A record whose texts changed, with `meta.evidence.start` where its text stands now; no evidence if nowhere."""
    evidence = record.meta.get("evidence")
    if not isinstance(evidence, Mapping) or not isinstance(evidence.get("start"), int):
        return record
    messages = record.messages if isinstance(record, Chat) else record.prompt
    asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    text, start = str(evidence.get("text", "")), evidence["start"]
    places = [match.start() for match in re.finditer(re.escape(text), asked)] if text else []
    meta = {key: value for key, value in record.meta.items() if key != "evidence"}
    if places:
        meta["evidence"] = {**evidence, "start": min(places, key=lambda place: abs(place - start))}
    return replace(record, meta=meta)
