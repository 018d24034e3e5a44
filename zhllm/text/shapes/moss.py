"""MOSS: turns that lie in an object, or in one text, between marks of their own (<eoh>, <eom>)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from zhllm.text.han import han_runs
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.shapes.record import FieldError, checked_text, text_of
from zhllm.text.shapes.turns import Turn

_MARKS = re.compile(r"^\s*(?:<\|[A-Za-z ]+\|>|\[[A-Za-z ]+\])\s*:?|<eo[a-z]>\s*$")
_NUMBERED = re.compile(r"turn_(\d+)")
_SPOKEN = re.compile(r"\[(Human|MOSS)\]:")
_NONE = ("", "None", "none")


def moss_turns(value: dict[str, Any], repairs: Counter[str]) -> list[Turn]:
    """The turns of a MOSS record: {"chat": {"turn_1": {"Human", "MOSS", ...}}} or {"plain_text"}.

    A command and its result are turns of their own, as text; the inner thoughts are left out, and counted.
    """
    system = text_of(value, "meta_instruction") or text_of(value, "prefix")
    turns = [Turn("system", system, "meta_instruction")] if system else []
    if "plain_text" in value:
        return turns + list(_plain(text_of(value, "plain_text")))
    chat = value.get("chat")
    if not isinstance(chat, dict):
        raise FieldError("chat", f"is {kind_of_value(chat)}, not an object of turns")
    for key in sorted(chat, key=_number):
        turns += _exchange(chat[key], f"chat.{key}", repairs)
    return turns


def _number(key: str) -> int:
    match = _NUMBERED.fullmatch(key)
    if match is None:
        raise FieldError(f"chat.{key}", "is not turn_1, turn_2 and so on")
    return int(match[1])


def _plain(text: str) -> Iterator[Turn]:
    pieces = _SPOKEN.split(text)
    for i in range(1, len(pieces) - 1, 2):
        yield Turn("user" if pieces[i] == "Human" else "assistant", _said(pieces[i + 1], "plain_text"), "plain_text")


def _exchange(value: Any, at: str, repairs: Counter[str]) -> Iterator[Turn]:
    if not isinstance(value, dict):
        raise FieldError(at, f"is {kind_of_value(value)}, not a turn")
    said = {key: _clean(text_of(value, key, f"{at}.")) for key in value}
    repairs["reasoning_left_out"] += said.get("Inner Thoughts", "") not in _NONE
    yield Turn("user", _said(said.get("Human", ""), f"{at}.Human"), at)
    command, result = said.get("Commands", ""), said.get("Tool Responses", "")
    if command not in _NONE:
        is_chinese = bool(han_runs(said.get("Human", "")))
        yield Turn("assistant", f"{'调用工具' if is_chinese else 'Call the tool'} {command}", at)
        if result in _NONE:
            raise FieldError(f"{at}.Tool Responses", "is empty where a command was given")
        yield Turn("user", f"{'工具返回：' if is_chinese else 'The tool returned:'}\n{result}", at)
    yield Turn("assistant", _said(said.get("MOSS", ""), f"{at}.MOSS"), at)


def _clean(text: str) -> str:
    return _MARKS.sub("", text.strip()).strip()


def _said(text: str, at: str) -> str:
    cleaned = checked_text(_clean(text), at)
    if not cleaned:
        raise FieldError(at, "is empty or missing")
    return cleaned
