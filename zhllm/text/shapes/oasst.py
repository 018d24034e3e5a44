"""OASST trees: chats from the ranked replies of a conversation tree, and preferences from the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zhllm.text.chats import Preference
from zhllm.text.prompt_format import Message
from zhllm.text.shapes.record import FieldError, text_of

Node = dict[str, Any]

_ROLE = {"prompter": "user", "assistant": "assistant"}


MAX_TURNS = 200


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
    text, rank, replies = text_of(value, "text", at), value.get("rank"), value.get("replies") or []
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
