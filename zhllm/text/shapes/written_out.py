"""A whole conversation in one text, between the marks of a prompt: openassistant-guanaco's "### Human:", Alpaca's
"### Instruction:", and the templates of ChatML, Llama-3 and Llama-2 as they are rendered.

Read strictly: a text that the marks do not part into turns, each with something said, is refused and never guessed at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zhllm.text.shapes.record import FieldError, text_of
from zhllm.text.shapes.turns import Turn

FIELD = "text"


@dataclass(frozen=True)
class _Frame:
    """The marks that begin a turn (one group: whose), where a text that has them begins, and what ends a turn."""

    marks: re.Pattern[str]
    begins: re.Pattern[str]
    roles: Mapping[str, str]
    end: str = ""


_CHATML = r"<\|im_start\|>(system|user|assistant)\n"
_LLAMA3 = r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\s*"
_SPOKEN = r"#{2,3} ?(Human|User|Assistant|System)\s?[:：]"
_TASK = r"^#{2,3} ?(Instruction|Input|Response|指令|输入|回答|回复)\s?[:：]"
_OWN = {role: role for role in ("system", "user", "assistant")}
_FRAMES = (
    _Frame(re.compile(_CHATML), re.compile(rf"\s*(?:<s>)?\s*{_CHATML}"), _OWN, "<|im_end|>"),
    _Frame(re.compile(_LLAMA3), re.compile(rf"\s*(?:<\|begin_of_text\|>)?\s*{_LLAMA3}"), _OWN, "<|eot_id|>"),
    _Frame(
        re.compile(r"\[(/?INST)\]"), re.compile(r"\s*(?:<s>)?\s*\[INST\].*\[/INST\]", re.DOTALL),
        {"INST": "user", "/INST": "assistant"},
    ),
    _Frame(
        re.compile(_SPOKEN), re.compile(rf"\s*{_SPOKEN}"),
        {"Human": "user", "User": "user", "Assistant": "assistant", "System": "system"},
    ),
    _Frame(
        re.compile(_TASK, re.MULTILINE), re.compile(rf"(?:.*\n)?{_TASK}", re.MULTILINE | re.DOTALL),
        {"Instruction": "user", "Input": "input", "Response": "assistant",
         "指令": "user", "输入": "input", "回答": "assistant", "回复": "assistant"},
    ),
)  # fmt: skip
# What Alpaca's prompt says before the first mark; any other text there is a system prompt.
_PREAMBLE = re.compile(r"Below is an instruction that describes a task.*|[下以]下?面?是一[个条].*指令.*", re.DOTALL)
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)
_BEGIN = re.compile(r"\A(?:\s|<s>|<\|begin_of_text\|>)+")
_END = re.compile(r"(?:\s|</?s>|<\|endoftext\|>|<\|end_of_text\|>)+\Z")
# Marks of templates that are not taken apart.
_RENDERED = re.compile(
    r"<start_of_turn>|<\|(?:im_start|start_header_id|user|assistant|system|prompter|User|Assistant|Human)\|>"
    r"|<｜(?:User|Assistant)｜>|\[gMASK\]|<reserved_10[26]>|\[/?INST\]"
    r"|\b(?:USER|Human): .{0,5000}?\b(?:ASSISTANT|Assistant): ",
    re.DOTALL,
)


def is_written_out(value: Mapping[str, Any]) -> bool:
    """Whether the text of a record has the marks of a prompt, also such as are refused."""
    text = value.get(FIELD)
    return isinstance(text, str) and (_frame_of(text) is not None or _RENDERED.search(text) is not None)


def _frame_of(text: str) -> _Frame | None:
    return next((frame for frame in _FRAMES if frame.begins.match(text)), None)


def written_turns(value: dict[str, Any], repairs: Counter[str]) -> list[Turn]:
    """The turns that the marks of a record's text part; FieldError where they do not take turns or say nothing."""
    text = text_of(value, FIELD)
    frame = _frame_of(text)
    if frame is None:
        found = _RENDERED.search(text)
        what = f"is a template rendered already ({found.group()[:20]!r})" if found else "has no marks of turns"
        raise FieldError(FIELD, f'{what}; give its turns as {{"messages": [{{"role", "content"}}]}}')
    turns: list[Turn] = []
    for role, mark, said in _parts(text, frame):
        if not said:
            raise FieldError(FIELD, f"says nothing after {mark!r} (turn {len(turns) + 1})")
        if role == "input" and turns and turns[-1].role == "user":
            turns[-1].content += f"\n{said}"
            continue
        before = turns[-1].role if turns else "none"
        if role not in {"none": ("system", "user"), "user": ("assistant",)}.get(before, ("user",)):
            raise FieldError(FIELD, f"has {mark!r} as turn {len(turns) + 1}: user and assistant do not take turns")
        turns.append(Turn(role, said, FIELD))
    return turns


def _parts(text: str, frame: _Frame) -> Iterator[tuple[str, str, str]]:
    """The role, the mark and what is said of each turn; "" for what is said where that is nothing."""
    pieces = frame.marks.split(text)
    marks = [match.group().strip() for match in frame.marks.finditer(text)]
    if (system := _said(pieces[0], "")) and not _PREAMBLE.fullmatch(system):
        yield "system", system[:20], system
    for mark, name, said in zip(marks, pieces[1::2], pieces[2::2], strict=True):
        role, said = frame.roles[name], _said(said, frame.end)
        if found := _SYSTEM.fullmatch(said) if name == "INST" else None:
            yield "system", "<<SYS>>", found[1].strip()
            said = found[2].strip()
        yield role, mark, said


def _said(text: str, end: str) -> str:
    """What stands between two marks without the tokens that begin and end a text."""
    text = _END.sub("", _BEGIN.sub("", text))
    if end and end in text:
        text, _, more = text.partition(end)
        if more.strip():
            raise FieldError(FIELD, f"goes on after {end!r} without a mark: {more.strip()[:20]!r}")
    return text.strip()
