"""Instruction data of other projects as canonical chats and preferences: Alpaca records, OASST trees.

The shape of a record decides, not the name of its file. What a record lacks is a FieldError with the
field's path, so that every record is converted or refused with its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from zhllm.text.chats import Preference
from zhllm.text.prompt_format import Message

Format = Literal["alpaca", "oasst"]
Node = dict[str, Any]

_ROLE = {"prompter": "user", "assistant": "assistant"}


MAX_TURNS = 200


class FieldError(ValueError):
    """A record that cannot be converted: `field` is the path of what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def recognise(value: dict[str, Any]) -> Format:
    """The format of a record by its keys; raises FieldError where it is none of the known ones."""
    if isinstance(value.get("prompt"), dict) or ("replies" in value and "text" in value):
        return "oasst"
    if "instruction" in value and "chosen" not in value:
        return "alpaca"
    keys = ", ".join(list(value)[:8]) or "none"
    raise FieldError("", f"neither alpaca (instruction, output) nor oasst (prompt, replies); keys: {keys}")


def language_matches(record: dict[str, Any], language: str) -> bool:
    """Whether a record is of a language: `zh` takes zh-CN and zh_TW; a record that names none is taken."""
    root = record.get("prompt") if isinstance(record.get("prompt"), dict) else record
    found = root.get("lang") if isinstance(root, dict) else None
    if not isinstance(found, str):
        return True
    wanted, found = language.lower().replace("_", "-"), found.lower().replace("_", "-")
    return found == wanted or found.startswith(wanted + "-")


def alpaca_messages(value: dict[str, Any]) -> tuple[Message, ...]:
    """The chat of an Alpaca record: system, history, then instruction and input against output."""
    messages = []
    if _text(value, "system"):
        messages.append({"role": "system", "content": _text(value, "system")})
    for question, answer in _history(value):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    asked = "\n".join(part for part in (_text(value, "instruction"), _text(value, "input")) if part)
    if not asked:
        raise FieldError("instruction", "is empty, and so is input")
    answer = _text(value, "output")
    if not answer:
        raise FieldError("output", "is empty" if "output" in value else "is missing")
    return (*messages, {"role": "user", "content": asked}, {"role": "assistant", "content": answer})


def _text(value: dict[str, Any], field: str) -> str:
    """A text field without surrounding space; "" where it is missing or null."""
    return _checked_text(value.get(field) or "", field)


def _checked_text(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise FieldError(field, f"is {type(text).__name__}, not text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FieldError(field, f"holds a lone surrogate at character {error.start}") from error
    return text.strip()


def _history(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    history = value.get("history") or []
    if not isinstance(history, list):
        raise FieldError("history", f"is {type(history).__name__}, not a list of [question, answer]")
    for i, turn in enumerate(history):
        if not isinstance(turn, list) or len(turn) != 2:
            raise FieldError(f"history[{i}]", "is not [question, answer]")
        question, answer = (_checked_text(text, f"history[{i}][{j}]") for j, text in enumerate(turn))
        if not question or not answer:
            raise FieldError(f"history[{i}]", "holds an empty text")
        yield question, answer


def oasst_root(value: dict[str, Any]) -> Node:
    """The first message of a tree, checked with all below it; deleted messages are gone.

    Takes a tree ({"message_tree_id", "prompt"}) and a message that holds its replies. Every node of the
    result has `role` (user, assistant), `text`, `rank` (int or None) and `replies`, best first.
    """
    is_tree = isinstance(value.get("prompt"), dict)
    root = _node(value["prompt"] if is_tree else value, "prompt" if is_tree else "", "prompter")
    if root is None:
        raise FieldError("prompt.deleted", "the first message is deleted")
    return root


def _node(value: Any, field: str, role: str) -> Node | None:
    """A checked copy of a message and its replies, best first; None where it is deleted."""
    at = f"{field}." if field else ""
    if not isinstance(value, dict):
        raise FieldError(field, f"is {type(value).__name__}, not a message")
    if field.count("replies") > MAX_TURNS:
        raise FieldError(field[:40], f"lies deeper than {MAX_TURNS} turns")
    if value.get("deleted"):
        return None
    if value.get("role") != role:
        raise FieldError(f"{at}role", f'is "{value.get("role")}" where "{role}" has its turn')
    text, rank, replies = _text(value, "text"), value.get("rank"), value.get("replies") or []
    if not text:
        raise FieldError(f"{at}text", "is empty or missing")
    if rank is not None and not isinstance(rank, int):
        raise FieldError(f"{at}rank", f"is {rank!r}, not a whole number")
    if not isinstance(replies, list):
        raise FieldError(f"{at}replies", f"is {type(replies).__name__}, not a list")
    other = "assistant" if role == "prompter" else "prompter"
    below = [_node(reply, f"{at}replies[{i}]", other) for i, reply in enumerate(replies)]
    kept = [node for node in below if node is not None]
    # sorted() is stable: what nobody ranked comes after what was ranked, in the order of the file.
    kept.sort(key=lambda node: (node["rank"] is None, node["rank"] or 0))
    return {"role": _ROLE[role], "text": text, "rank": rank, "replies": kept}


def oasst_messages(root: Node) -> tuple[Message, ...]:
    """The best-ranked reply at every turn, down to the last answer of an assistant."""
    path, node = [_message(root)], root
    while node["replies"]:
        node = node["replies"][0]
        path.append(_message(node))
    if path[-1]["role"] == "user":
        path.pop()
    if not path:
        raise FieldError("prompt.replies", "holds no answer of an assistant that is not deleted")
    return tuple(path)


def _message(node: Node) -> Message:
    return {"role": node["role"], "content": node["text"]}


def oasst_preferences(root: Node, identity: str, source: str) -> Iterator[Preference]:
    """Everywhere in a tree, the best-ranked answer to a message against each one ranked worse."""
    count = 0
    pending: list[tuple[Node, tuple[Message, ...]]] = [(root, (_message(root),))]
    while pending:
        node, path = pending.pop()
        pending += [(reply, (*path, _message(reply))) for reply in reversed(node["replies"])]
        ranked = [reply for reply in node["replies"] if reply["rank"] is not None]
        if node["role"] != "user" or len(ranked) < 2:
            continue
        best = ranked[0]
        for worse in ranked[1:]:
            if worse["rank"] > best["rank"] and worse["text"] != best["text"]:
                count += 1
                yield Preference(f"{identity}/{count}", path, best["text"], worse["text"], source)
