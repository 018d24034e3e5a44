"""OASST conversation trees: chats from their paths, preferences from the ranks of their replies.

Left out, with all below them, and counted: messages that are deleted, that reviewers refused
(`review_result` false) or mostly took for spam. Machine-written ones (`synthetic`) stay; their chats say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zhllm.text.chats import Chat, Preference
from zhllm.text.prompt_format import Message
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.shapes.record import Converted, FieldError, Options, Unit, text_of

_ROLE = {"prompter": "user", "assistant": "assistant"}
# A thread of OASST has at most a dozen; what is deeper is broken, and Python's own stack ends at 1,000.
MAX_TURNS = 200
MAX_SPAM = 0.5
# The states in which the project gave a tree up.
_GIVEN_UP = ("aborted_low_grade", "halted_by_moderator")


@dataclass(slots=True)
class Node:
    """A checked message and the replies to it, best first."""

    role: str
    text: str
    rank: int | None
    is_synthetic: bool
    replies: list[Node] = field(default_factory=list)

    def message(self) -> dict[str, Any]:
        """The node as a canonical message."""
        return {"role": self.role, "content": self.text}


def oasst_converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """The chats and preferences of a tree; `facts` counts its messages, those ranked and those left out."""
    facts: Counter[str] = Counter(oasst_trees=1)
    root = oasst_root(unit.value, facts)
    paths = [_best_path(root)] if options.oasst_paths == "best" else list(_all_paths(root))
    if not paths or not paths[0]:
        raise FieldError("prompt.replies", "holds no answer of an assistant that is not left out")
    chats = [
        Chat(identity if options.oasst_paths == "best" else f"{identity}/{i}", messages, source, _meta(path))
        for i, (path, messages) in enumerate(_weighted(paths), 1)
    ]
    return Converted(chats, tuple(_preferences(root, identity, source)), {}, facts)


def oasst_root(value: dict[str, Any], facts: Counter[str]) -> Node:
    """The first message of a tree, checked with all below it; what is left out is gone, and counted.

    Takes a tree ({"message_tree_id", "prompt"}) and a message that holds its replies.
    """
    is_tree = isinstance(value.get("prompt"), dict)
    if value.get("tree_state") in _GIVEN_UP:
        raise FieldError("tree_state", f'is "{value["tree_state"]}": the project gave this tree up')
    first, at = (value["prompt"], "prompt") if is_tree else (value, "")
    root = _node(first, at, "prompter", facts)
    if root is None:
        dot = f"{at}." if at else ""
        if first.get("deleted"):
            raise FieldError(f"{dot}deleted", "the first message is deleted")
        raise FieldError(f"{dot}review_result", "the first message was refused by its reviewers, or is spam")
    return root


def _node(value: Any, at: str, role: str, facts: Counter[str]) -> Node | None:
    """A checked copy of a message and its replies, best first; None where it is left out."""
    dot = f"{at}." if at else ""
    if not isinstance(value, dict):
        raise FieldError(at, f"is {kind_of_value(value)}, not a message")
    if at.count("replies") > MAX_TURNS:
        raise FieldError(at[:40], f"lies deeper than {MAX_TURNS} turns")
    if _is_left_out(value):
        facts["oasst_left_out"] += _size(value)
        return None
    if value.get("role") != role:
        raise FieldError(f"{dot}role", f'is "{value.get("role")}" where "{role}" has its turn')
    text, rank = text_of(value, "text", dot), value.get("rank")
    if not text:
        raise FieldError(f"{dot}text", "is empty or missing")
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool)):
        raise FieldError(f"{dot}rank", f"is {rank!r}, not a whole number")
    facts["oasst_messages"] += 1
    facts["oasst_ranked"] += rank is not None
    other = "assistant" if role == "prompter" else "prompter"
    kept = [
        node
        for i, reply in enumerate(_replies(value, dot))
        if (node := _node(reply, f"{dot}replies[{i}]", other, facts)) is not None
    ]
    # sort() is stable: what nobody ranked comes after what was ranked, in the order of the file.
    kept.sort(key=lambda node: (node.rank is None, node.rank or 0))
    return Node(_ROLE[role], text, rank, value.get("synthetic") is True, kept)


def _replies(value: dict[str, Any], dot: str) -> list[Any]:
    replies = value.get("replies") or []
    if not isinstance(replies, list):
        raise FieldError(f"{dot}replies", f"is {kind_of_value(replies)}, not a list")
    return replies


def _is_left_out(value: dict[str, Any]) -> bool:
    return bool(value.get("deleted")) or value.get("review_result") is False or _spam(value.get("labels")) > MAX_SPAM


def _spam(labels: Any) -> float:
    """The share of reviewers who took it for spam: {"spam": {"value"}}, or as {"name": [...], "value": [...]}."""
    if not isinstance(labels, dict):
        return 0.0
    names, values = labels.get("name"), labels.get("value")
    if isinstance(names, list) and isinstance(values, list):
        labels = dict(zip(names, ({"value": value} for value in values), strict=False))
    spam = labels.get("spam")
    value = spam.get("value") if isinstance(spam, dict) else spam
    return float(value) if isinstance(value, int | float) else 0.0


def _size(value: dict[str, Any]) -> int:
    """How many messages there are from this one on."""
    count, pending = 0, [value]
    while pending:
        count += 1
        replies = pending.pop().get("replies")
        pending += [reply for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
    return count


def _best_path(root: Node) -> list[Node]:
    """The best reply at every turn, a user's only where it is answered, down to the last answer."""
    path = [root]
    while replies := [reply for reply in path[-1].replies if reply.role == "assistant" or reply.replies]:
        path.append(replies[0])
    return path if path[-1].role == "assistant" else []


def _all_paths(root: Node) -> Iterator[list[Node]]:
    """Every path to an answer below which there is no further one, best first."""
    pending = [[root]]
    while pending:
        path = pending.pop()
        pending += [[*path, reply] for reply in reversed(path[-1].replies)]
        if path[-1].role == "assistant" and not any(reply.replies for reply in path[-1].replies):
            yield path


def _weighted(paths: list[list[Node]]) -> Iterator[tuple[list[Node], tuple[Message, ...]]]:
    """Each path and its messages; an answer that an earlier path teaches already has weight 0."""
    learnt: set[int] = set()
    for path in paths:
        yield path, tuple(node.message() | ({"weight": 0} if id(node) in learnt else {}) for node in path)
        learnt.update(id(node) for node in path if node.role == "assistant")


def _meta(path: list[Node]) -> dict[str, Any]:
    return {"synthetic": True} if any(node.is_synthetic and node.role == "assistant" for node in path) else {}


def _preferences(root: Node, identity: str, source: str) -> Iterator[Preference]:
    """Everywhere in a tree, the best-ranked answer to a message against each one ranked worse."""
    count = 0
    pending: list[tuple[Node, tuple[Message, ...]]] = [(root, (root.message(),))]
    while pending:
        node, path = pending.pop()
        pending += [(reply, (*path, reply.message())) for reply in reversed(node.replies)]
        ranked = [reply for reply in node.replies if reply.rank is not None]
        if node.role != "user" or len(ranked) < 2:
            continue
        best = ranked[0]
        for worse in ranked[1:]:
            if worse.rank != best.rank and worse.text != best.text:
                count += 1
                yield Preference(f"{identity}/{count}", path, best.text, worse.text, source)
