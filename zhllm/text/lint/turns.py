"""The texts of a block of chats and preferences in one list, with whose each is, and back into the records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zhllm.text.chats import ROLES, Chat, Preference
from zhllm.text.prompt_format import Message

SYSTEM, USER, ASSISTANT = range(len(ROLES))
_ROLE_NUMBERS = {role: number for number, role in enumerate(ROLES)}


class Turns(NamedTuple):
    """Every text of a block, its role, the number of its record, and where each record's texts begin (and one more).

    `role_numbers` are the roles as SYSTEM, USER or ASSISTANT, or another number; [D].
    """

    texts: list[str]
    roles: list[str]
    owners: list[int]
    starts: list[int]
    role_numbers: npt.NDArray[np.uint8]


def turns_of(records: Sequence[Chat | Preference]) -> Turns:
    """The texts of some records, in order: messages, then the answers of a preference."""
    said = [record.messages if isinstance(record, Chat) else _messages_of(record) for record in records]
    texts = [message["content"] for messages in said for message in messages]
    roles = [message["role"] for messages in said for message in messages]
    sizes = list(map(len, said))
    owners: list[int] = np.repeat(np.arange(len(sizes)), sizes).tolist()
    return Turns(texts, roles, owners, list(accumulate(sizes, initial=0)), _numbers_of(roles))


def _numbers_of(roles: list[str]) -> npt.NDArray[np.uint8]:
    pairs = len(roles) // 2
    if roles == ["user", "assistant"] * pairs:  # told in a fifth of the time
        return np.tile(np.array((USER, ASSISTANT), dtype=np.uint8), pairs)
    return np.fromiter(map(_ROLE_NUMBERS.get, roles, repeat(len(ROLES))), np.uint8, len(roles))


def _messages_of(record: Preference) -> list[Message]:
    """The prompt of a preference and its answers as messages."""
    answers = [text for text in (record.chosen, record.rejected) if text is not None]
    return [*record.prompt, *({"role": "assistant", "content": text} for text in answers)]


def place_in(record: Chat | Preference, at: int) -> str:
    """What to call the text of a record that `turns_of` gives as its number `at`."""
    if isinstance(record, Chat) or at < len(record.prompt):
        return f"message {at + 1}"
    return "chosen" if at == len(record.prompt) and record.chosen is not None else "rejected"


def with_texts(record: Chat | Preference, texts: Sequence[str]) -> Chat | Preference:
    """A record with other texts, as many as it has, in the order of `turns_of`."""
    if isinstance(record, Chat):
        messages = tuple({**m, "content": text} for m, text in zip(record.messages, texts, strict=True))
        return replace(record, messages=messages)
    answers = list(texts[len(record.prompt) :])
    prompt = tuple({**m, "content": text} for m, text in zip(record.prompt, texts, strict=False))
    chosen = answers.pop(0) if record.chosen is not None else None
    rejected = answers.pop(0) if record.rejected is not None else None
    return replace(record, prompt=prompt, chosen=chosen, rejected=rejected)


def with_evidence_in_place(record: Chat | Preference) -> Chat | Preference:
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
