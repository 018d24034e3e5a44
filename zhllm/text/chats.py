"""The canonical chat and the canonical preference: JSON lines that `convert` writes and training reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import xxhash

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.prompt_format import Message
from zhllm.text.prompt_keys import prompt_text
from zhllm.text.read.records import Record, read_records

ROLES = ("system", "user", "assistant")


@dataclass(slots=True)  # never changed, but not frozen: that takes four times as long to make
class Chat:
    """Messages {"role", "content"}: perhaps one of the system, then user and assistant in turn, who ends.

    A message of the assistant's with "weight": 0 is context only; at least one is learnt. `meta` is what else is
    known, as JSON values: "evidence" {"text", "start", "title"} of an answer from a paragraph, for one.
    """

    id: str
    messages: tuple[Message, ...]
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> bytes:
        """Equal for chats that say the same and teach the same (16 bytes)."""
        return xxhash.xxh3_128_digest(orjson.dumps(self.messages, default=dict))

    def prompt_digest(self) -> bytes:
        """Equal for chats of one prompt (`prompt_text`), the messages before their last answer (16 bytes)."""
        return xxhash.xxh3_128_digest(prompt_text(self.messages[:-1]))

    def to_json(self) -> bytes:
        """One line of `chats-*.jsonl`, with its line end."""
        values: dict[str, Any] = {"id": self.id, "messages": self.messages, "source": self.source}
        return _line(values, self.meta)


@dataclass(slots=True)
class Preference:
    """Messages up to a user's, and two answers to them, the better and the worse.

    Of an answer that was only labelled good or bad (KTO), the other one is None.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: str | None
    rejected: str | None
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> bytes:
        """Equal for preferences that say the same (16 bytes)."""
        return xxhash.xxh3_128_digest(orjson.dumps((self.prompt, self.chosen, self.rejected), default=dict))

    def to_json(self) -> bytes:
        """One line of `preferences-*.jsonl`, with its line end."""
        values: dict[str, Any] = {"id": self.id, "prompt": self.prompt, "chosen": self.chosen}
        values |= {"rejected": self.rejected, "source": self.source}
        return _line(values, self.meta)


def _line(values: dict[str, Any], meta: Mapping[str, Any]) -> bytes:
    if meta:
        values["meta"] = meta
    return orjson.dumps(values, default=dict, option=orjson.OPT_APPEND_NEWLINE)


def read_chats(paths: Sequence[Path]) -> Iterator[Chat]:
    """Every chat of folders that `convert` wrote and of canonical JSON lines, in order.

    Raises DataError with file and line at the first that is not a canonical chat.
    """
    for name, record in _records(paths, "chats"):
        messages = _messages(record.value.get("messages"), name, record.line, ends_with="assistant")
        yield Chat(_id_of(record, name), messages, str(record.value.get("source", name)), _meta(record, name))


def read_preferences(paths: Sequence[Path]) -> Iterator[Preference]:
    """Every preference of folders that `convert` wrote and of canonical JSON lines, as `read_chats`."""
    for name, record in _records(paths, "preferences"):
        value = record.value
        prompt = _messages(value.get("prompt"), name, record.line, ends_with="user")
        chosen, rejected = (_answer(record, key, name) for key in ("chosen", "rejected"))
        if chosen is None and rejected is None:
            raise _not_canonical(name, record.line, 'both "chosen" and "rejected" are null')
        source = str(value.get("source", name))
        yield Preference(_id_of(record, name), prompt, chosen, rejected, source, _meta(record, name))


def _answer(record: Record, key: str, name: str) -> str | None:
    answer = record.value.get(key)
    if key in record.value and answer is None:
        return None
    if not isinstance(answer, str) or not answer.strip():
        raise _not_canonical(name, record.line, f'"{key}" is not a text')
    return answer


def _meta(record: Record, name: str) -> dict[str, Any]:
    meta = record.value.get("meta", {})
    if not isinstance(meta, dict):
        raise _not_canonical(name, record.line, '"meta" is not an object')
    return meta


def _records(paths: Sequence[Path], prefix: str) -> Iterator[tuple[str, Record]]:
    for path in paths:
        files = sorted(path.glob(f"{prefix}-*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: holds no {prefix}-*.jsonl. Run zhllm convert and give its folder.")
        for file in files:
            for record in read_records(file, str(file)):
                if isinstance(record, Rejected):
                    raise DataError(f"{record.where()}: {record.reason}. Run zhllm convert on the file.")
                yield str(file), record


def _messages(value: Any, name: str, line: int, ends_with: str) -> tuple[Message, ...]:
    problem = message_problem(value, ends_with)
    if problem:
        raise _not_canonical(name, line, problem)
    return tuple(_message(message) for message in value)


def _message(message: Message) -> Message:
    plain = {"role": message["role"], "content": message["content"]}
    return plain | {"weight": 0} if message.get("weight") == 0 else plain


def message_problem(value: Any, ends_with: str = "assistant") -> str | None:
    """What keeps a list of messages from being canonical, or None."""
    if not isinstance(value, (list, tuple)) or not value:
        return "there is no list of messages"
    for index, message in enumerate(value):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            return f"message {index + 1} has no role of {', '.join(ROLES)}"
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            return f"message {index + 1} has no text"
        if "weight" in message and not (role == "assistant" and message["weight"] in (0, 1)):
            return f"message {index + 1} has a weight that is not an assistant's 0 or 1"
    turns = [message["role"] for message in value]
    turns = turns[1:] if turns[0] == "system" else turns
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        return f"user and assistant do not take turns ({', '.join(turns[:6])})"
    if not turns or turns[-1] != ends_with:
        return f"the last message is not the {ends_with}'s"
    learnt = any(message["role"] == "assistant" and message.get("weight", 1) for message in value)
    return None if learnt or ends_with == "user" else "every message of the assistant has weight 0"


def _not_canonical(name: str, line: int, problem: str) -> DataError:
    return DataError(f"{name}:{line}: is not a canonical record: {problem}. Run zhllm convert on the file.")


def _id_of(record: Record, name: str) -> str:
    return str(record.value.get("id", f"{Path(name).name}#{record.line}"))
