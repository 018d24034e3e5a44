"""Which shape a record has, by its keys alone.

Keys of several shapes may stand in one record; the order of the tests here then decides, the more
telling keys first: a tree, two answers, a label, a list of turns, a paragraph, and last single texts.
"""

from __future__ import annotations

from typing import Any

from zhllm.text.shapes.conversations import list_key
from zhllm.text.shapes.flat_trees import is_flat
from zhllm.text.shapes.names import found_roles
from zhllm.text.shapes.pairs import pair_keys
from zhllm.text.shapes.record import FieldError, Shape
from zhllm.text.shapes.written_out import is_written_out


def recognise(value: dict[str, Any]) -> Shape:
    """The shape of a record by its keys; raises FieldError where it is none of the known ones."""
    keys = value.keys()
    if keys == _ALPACA:  # the most frequent one by far
        return "preference" if isinstance(value["output"], list) else "alpaca"
    shape = _of_several(value) or _of_single_texts(value)
    if shape is None:
        if not value:
            raise FieldError("", "is an empty object")
        named = ", ".join(str(key)[:40] for key in list(value)[:8])
        raise FieldError("", f"has no shape that is known; its keys: {named}")
    return shape


_ALPACA = {"instruction", "input", "output"}


def _of_several(value: dict[str, Any]) -> Shape | None:
    """Trees, pairs, labels, turns and paragraphs."""
    if isinstance(value.get("prompt"), dict):
        return "oasst"
    if ("replies" in value and "text" in value) or is_flat(value):
        return "oasst-messages"
    if pair_keys(value) is not None:
        return "preference"
    if "kto_tag" in value or isinstance(value.get("label"), bool):
        return "kto"
    if isinstance(value.get("messages"), list):
        return "messages"
    if isinstance(value.get("chat"), dict) or "plain_text" in value:
        return "moss"
    if list_key(value) is not None:
        return "sharegpt"
    if "paragraphs" in value or "qas" in value or ("context" in value and "answers" in value):
        return "squad"
    return None


def _of_single_texts(value: dict[str, Any]) -> Shape | None:
    """Lines of a question and an answer, under whatever names, or of both in one text."""
    if "instruction" in value:
        return "preference" if isinstance(value.get("output"), list) else "alpaca"
    if {"question", "answer"} <= found_roles(value, ("answer", "question")).keys():
        return "qa"
    return "text" if is_written_out(value) else None
