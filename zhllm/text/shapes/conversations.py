"""Lists of turns: OpenAI's messages, ShareGPT's conversations and the many that look like them.

Tools, calls of them and what they return become readable text, for a chat format knows no turn of theirs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from zhllm.text.han import han_runs
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.shapes.record import FieldError, checked_text, text_of
from zhllm.text.shapes.turns import Turn

# The keys that may hold the list, in the order in which they are looked for.
LISTS = ("messages", "conversations", "conversation", "items", "dialog", "dialogue", "turns", "data")
SYSTEMS = ("system", "system_prompt", "meta_instruction")
_PICTURES = ("images", "image", "videos", "video", "audios", "audio")
_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "用户": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant", "bing": "assistant",
    "claude": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant", "moss": "assistant",
    "助手": "assistant",
    "function_call": "call", "tool_call": "call",
    "observation": "result", "tool": "result", "function": "result", "ipython": "result", "tool_response": "result",
}  # fmt: skip
_WEIGHTS = ("weight", "loss_weight", "train", "loss")
_REASONING = ("reasoning_content", "reasoning", "thinking")
_ZH = ("可以使用的工具：\n{}", "调用工具 {}：{}", "工具 {} 返回：\n{}", "工具返回：\n{}")
_EN = ("Tools you can use:\n{}", "Call the tool {}: {}", "The tool {} returned:\n{}", "The tool returned:\n{}")


def list_key(value: Mapping[str, Any]) -> str | None:
    """The key of a record that holds its turns, or None."""
    return next((key for key in LISTS if isinstance(value.get(key), list)), None)


def turns_of(value: Mapping[str, Any], repairs: Counter[str]) -> list[Turn]:
    """The turns of a record in the order of the file; raises FieldError with the path of the first that is none."""
    for name in _PICTURES:
        if value.get(name):
            raise FieldError(name, "names pictures, sound or video; only text is learnt")
    key = list_key(value)
    if key is None:
        raise FieldError(LISTS[0], f"is no list of turns, nor is any of {', '.join(LISTS[1:])}")
    return _Conversation(value, key, repairs).turns()


def content_text(content: Any, at: str) -> str:
    """A message's content as text: a text, or a list of parts that are text; "" where there is none."""
    if content is None or isinstance(content, str):
        return checked_text(content or "", at)
    if not isinstance(content, list):
        raise FieldError(at, f"is {kind_of_value(content)}, neither text nor a list of parts")
    return "\n".join(filter(None, (_part_text(part, f"{at}[{i}]") for i, part in enumerate(content))))


def _part_text(part: Any, at: str) -> str:
    if isinstance(part, str):
        return checked_text(part, at)
    kind = part.get("type", "text") if isinstance(part, dict) else kind_of_value(part)
    if kind not in ("text", "input_text", "output_text"):
        raise FieldError(at, f"is of type {kind}; only text is learnt")
    found = next((part[key] for key in ("text", "value", "content") if key in part), None)
    if found is None:
        raise FieldError(at, f"has no text (keys: {', '.join(map(str, part))})")
    return checked_text(found, at)


class _Conversation:
    """One record while its turns are read."""

    def __init__(self, value: Mapping[str, Any], key: str, repairs: Counter[str]) -> None:
        self._value, self._items, self._key = value, value[key], key
        self._repairs = repairs
        self._said: tuple[str, str, str, str] | None = None
        self._call_names: dict[str, str] = {}

    def turns(self) -> list[Turn]:
        """The system's turn, with the tools, and then those of the list."""
        turns = [Turn("system", text, key) for key in SYSTEMS if (text := text_of(self._value, key))]
        for i, item in enumerate(self._items):
            turns += self._item(item, i, f"{self._key}[{i}]")
        return self._with_tools(turns)

    def _item(self, item: Any, index: int, at: str) -> list[Turn]:
        if isinstance(item, str):
            return [Turn(("user", "assistant")[index % 2], self._filled(checked_text(item, at), at), at)]
        if not isinstance(item, dict):
            raise FieldError(at, f"is {kind_of_value(item)}, not a turn")
        name = item.get("role", item.get("from"))
        if name is None:
            return self._pair(item, at)
        role = _ROLES.get(name.lower() if isinstance(name, str) else "")
        if role is None:
            field = "role" if "role" in item else "from"
            raise FieldError(
                f"{at}.{field}", f"is {str(name)[:40]!r}, none of user, human, assistant, gpt, system, tool ..."
            )
        return [self._turn(item, role, at)]

    def _pair(self, item: dict[str, Any], at: str) -> list[Turn]:
        """The turns of {"human", "assistant"}, in which the key is the role."""
        found = [(_ROLES[key.lower()], key) for key in item if isinstance(key, str) and key.lower() in _ROLES]
        if not found:
            raise FieldError(at, f"names no role (keys: {', '.join(list(item)[:8]) or 'none'})")
        order = ("system", "user", "call", "result", "assistant")
        turns = []
        for role, key in sorted(found, key=lambda pair: order.index(pair[0])):
            if item[key] not in (None, ""):
                turns.append(self._turn({"content": item[key]}, role, f"{at}.{key}"))
        return turns

    def _turn(self, item: dict[str, Any], role: str, at: str) -> Turn:
        key = next((key for key in ("content", "value", "text") if key in item), "content")
        text = content_text(item.get(key), f"{at}.{key}")
        if role == "call":
            text, role = self._called(text), "assistant"
        elif role == "result":
            text, role = self._returned(item, text), "user"
        elif role == "assistant":
            text = "\n".join(filter(None, (text or text_of(item, "refusal", f"{at}."), *self._calls(item, at))))
            self._repairs["reasoning_left_out"] += any(item.get(key) for key in _REASONING)
        text = self._filled(checked_text(text, f"{at}.{key}"), f"{at}.{key}")
        return Turn(role, text, at, _weight(item, at) if role == "assistant" else 1)

    def _filled(self, text: str, at: str) -> str:
        if not text:
            raise FieldError(at, "is empty or missing")
        return text

    @property
    def _words(self) -> tuple[str, str, str, str]:
        """The words around tools, Chinese where anything in the record's list is."""
        if self._said is None:
            self._said = _ZH if han_runs(str(self._items)) else _EN
        return self._said

    def _calls(self, item: dict[str, Any], at: str) -> Iterator[str]:
        """OpenAI's tool_calls, and the function_call before them, a line each."""
        calls = item.get("tool_calls") or ([item["function_call"]] if item.get("function_call") else [])
        if not isinstance(calls, list):
            raise FieldError(f"{at}.tool_calls", f"is {kind_of_value(calls)}, not a list")
        for i, call in enumerate(calls):
            function = call.get("function", call) if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise FieldError(f"{at}.tool_calls[{i}]", "names no function")
            self._call_names[str(call.get("id"))] = function["name"]
            yield self._words[1].format(function["name"], _json(function.get("arguments", {})))

    def _called(self, text: str) -> str:
        """ShareGPT's function_call: one call as JSON, or several, or any text."""
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        calls = found if isinstance(found, list) else [found]
        if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
            return text
        lines = [self._words[1].format(call["name"], _json(call.get("arguments", {}))) for call in calls]
        return "\n".join(lines)

    def _returned(self, item: dict[str, Any], text: str) -> str:
        name = item.get("name") or self._call_names.get(str(item.get("tool_call_id")))
        return self._words[2].format(name, text) if name else self._words[3].format(text)

    def _with_tools(self, turns: list[Turn]) -> list[Turn]:
        for key in ("tools", "functions"):
            tools = self._value.get(key)
            if not tools or (isinstance(tools, str) and tools.strip() in ("", "[]", "null")):
                continue
            text = self._words[0].format(tools.strip() if isinstance(tools, str) else _json(tools))
            if turns and turns[0].role == "system":
                turns[0].content = f"{turns[0].content}\n{checked_text(text, key)}"
            else:
                turns.insert(0, Turn("system", checked_text(text, key), key))
        return turns


def _json(value: Any) -> str:
    """Compact JSON; by the standard library, which takes whole numbers of any size."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _weight(item: dict[str, Any], at: str) -> int:
    for key in _WEIGHTS:
        found = item.get(key)
        if found is not None:
            if not isinstance(found, bool | int | float) or found not in (0, 1):
                raise FieldError(f"{at}.{key}", f"is {found!r}, neither 0 nor 1")
            return int(found)
    return 1
