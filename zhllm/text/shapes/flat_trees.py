"""OASST messages that stand one by one, gathered to their trees: the one shape that is held as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from zhllm.text.document import Rejected
from zhllm.text.read.records import Record
from zhllm.text.shapes.record import Unit

_IDS = ("message_id", "user_message_id")
_PARENTS = ("parent_id", "parent_message_id")
# Of a message that is held until its tree is whole, only what is made use of.
_KEPT = ("text", "role", "lang", "rank", "deleted", "review_result", "synthetic", "labels", "tree_state")


def is_flat(value: dict[str, Any]) -> bool:
    """Whether a record is a message that names the one it replies to, and does not hold its replies."""
    return "replies" not in value and "text" in value and "role" in value and any(key in value for key in _PARENTS)


@dataclass(slots=True)
class _Message:
    line: int
    parent: str | None
    value: dict[str, Any]
    replies: list[_Message] = field(default_factory=list)


def gathered(records: Iterable[Record], name: str) -> Iterator[Unit | Rejected]:
    """The trees of flat messages, in the order of their first ones, and the messages that are in none."""
    messages: dict[str, _Message] = {}
    parent_field = ""
    for record in records:
        identity = next((str(record.value[key]) for key in _IDS if record.value.get(key) is not None), "")
        if identity in messages or not identity:
            reason = f"is the same as in line {messages[identity].line}" if identity else "is missing"
            yield Rejected(name, "record", reason, record.offset, record.line, field=_IDS[0])
            continue
        parent_field = next((key for key in _PARENTS if key in record.value), parent_field)
        parent = record.value.get(parent_field)
        kept = {key: record.value[key] for key in _KEPT if key in record.value}
        messages[identity] = _Message(record.line, None if parent in (None, "") else str(parent), kept)
    for message in messages.values():
        if message.parent in messages:
            messages[message.parent].replies.append(message)
    placed: set[int] = set()
    for identity, message in messages.items():
        if message.parent is None:
            lost: list[Rejected] = []
            yield _tree(identity, message, placed, lost, name)
            yield from lost
    yield from _outside(messages, placed, name, parent_field)


def _tree(identity: str, root: _Message, placed: set[int], lost: list[Rejected], name: str) -> Unit:
    """The messages below a first one, each in the list of the one it replies to.

    A message out of turn, or without text, costs itself and what is below it, each by its own line.
    """
    pending = [root]
    count = 0
    while pending:
        message = pending.pop()
        count += 1
        placed.add(message.line)
        kept = []
        for reply in message.replies:
            problem = _problem(reply.value, message.value.get("role"))
            if problem is None:
                kept.append(reply)
            else:
                lost += _lost(reply, *problem, placed, name)
        message.value["replies"] = [reply.value for reply in kept]
        pending += kept
    value = {"message_tree_id": identity, "prompt": root.value}
    if "tree_state" in root.value:
        value["tree_state"] = root.value["tree_state"]
    return Unit(root.line, value, "oasst-messages", count)


def _problem(value: dict[str, Any], above: Any) -> tuple[str, str] | None:
    """(field, reason) of what keeps a message from being a reply to one of role `above`, or None."""
    other = "prompter" if above == "assistant" else "assistant"
    if value.get("role") != other:
        return "role", f'is "{value.get("role")}" where "{other}" has its turn'
    text = value.get("text")
    is_sound = value.get("deleted") or (isinstance(text, str) and text.strip())
    return None if is_sound else ("text", "is empty, missing or no text")


def _lost(first: _Message, field: str, reason: str, placed: set[int], name: str) -> Iterator[Rejected]:
    yield Rejected(name, "record", reason, None, first.line, field=field)
    placed.add(first.line)
    pending = list(first.replies)
    while pending:
        message = pending.pop()
        placed.add(message.line)
        yield Rejected(name, "record", f"is below line {first.line}, which is rejected", None, message.line)
        pending += message.replies


def _outside(messages: dict[str, _Message], placed: set[int], name: str, field: str) -> Iterator[Rejected]:
    for message in messages.values():
        if message.line not in placed:
            known = message.parent in messages
            reason = f"is {message.parent}, which is {'in no tree' if known else 'not in this file'}"
            yield Rejected(name, "record", reason, None, message.line, field=field)
