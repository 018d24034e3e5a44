"""One object per chat format; training masks, chat, GGUF metadata and Modelfile are rendered from it.

A format is a handful of strings. Its Jinja template (transformers, llama.cpp), its Go template
(Ollama) and its Python rendering are all generated from them, so they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zhllm.errors import DataError

# {"role", "content"}, and on an assistant's turn that is only context "weight": 0.
Message = Mapping[str, Any]

# What is stripped from both ends of a content, by name: Python's strip() and Jinja's trim would also
# take the ideographic space that begins a Chinese paragraph, which llama.cpp's trim leaves.
WHITESPACE = " \t\n\r"

_SPECIAL = re.compile(r"<\|\w+\|>")


@dataclass(frozen=True)
class Segment:
    """A stretch of rendered text; `learn` is true for what the assistant writes and its end token."""

    text: str
    learn: bool


@dataclass(frozen=True)
class PromptFormat:
    """The literal text around each turn; special tokens are written out.

    `bos` opens the conversation, `opens` every exchange (the first turn, and each turn after an
    answer). `system` and `user` are (before, after) the content. An answer is `header` (prompt side),
    then what the model writes: `lead`, content, `tail`, `end`; generation stops at the token `end`.
    """

    name: str
    bos: str
    opens: str
    system: tuple[str, str]
    user: tuple[str, str]
    header: str
    lead: str
    tail: str
    end: str
    separator: str

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The tokens written as <|name|> that the format needs, in the order of its text."""
        parts = (self.bos, *self.system, *self.user, self.header, self.end)
        return tuple(dict.fromkeys(_SPECIAL.findall("".join(parts))))

    def segments(self, messages: Sequence[Message], answer_next: bool = False) -> list[Segment]:
        """The conversation as stretches of text; with `answer_next` it ends where the model begins.

        WHITESPACE is stripped from both ends of a content, as the templates do. Raises DataError for
        a role that is not system, user or assistant, or a system turn that is not first.
        """
        parts = [Segment(self.bos, learn=False)]
        previous = "assistant"
        for index, message in enumerate(messages):
            role, content = message["role"], message["content"].strip(WHITESPACE)
            if role == "assistant":
                parts.append(Segment(self.header, learn=False))
                parts.append(Segment(self.lead + content + self.tail + self.end, learn=True))
                parts.append(Segment(self.separator, learn=False))
            elif role == "user" or (role == "system" and index == 0):
                before, after = self.user if role == "user" else self.system
                opens = self.opens if previous == "assistant" else ""
                parts.append(Segment(opens + before + content + after, learn=False))
            else:
                raise DataError(f'turn {index + 1}: role "{role}". System comes first, then user and assistant.')
            previous = role
        if answer_next:
            parts.append(Segment(self.header, learn=False))
        return [part for part in parts if part.text]

    def render(self, messages: Sequence[Message], answer_next: bool = False) -> str:
        """The conversation as one string, BOS written out."""
        return "".join(segment.text for segment in self.segments(messages, answer_next))

    def jinja(self, mark_answers: bool = True) -> str:
        """The chat template for transformers; without `mark_answers` for engines that know no
        `{% generation %}` (llama.cpp)."""
        content = f"message['content'].strip({_quoted(WHITESPACE)})"
        first, last = ("{%- generation %}", "{%- endgeneration %}") if mark_answers else ("", "")
        opens = (
            "{%- if loop.first or messages[loop.index0 - 1]['role'] == 'assistant' %}"
            f"{_emit(self.opens)}{{%- endif %}}"
        ) * bool(self.opens)
        return "".join(
            (
                _emit(self.bos),
                "{%- for message in messages %}",
                "{%- if message['role'] == 'system' and loop.first %}",
                opens, _emit(self.system[0], content, self.system[1]),
                "{%- elif message['role'] == 'user' %}",
                opens, _emit(self.user[0], content, self.user[1]),
                "{%- elif message['role'] == 'assistant' %}",
                _emit(self.header), first, _emit(self.lead, content, self.tail + self.end), last,
                _emit(self.separator),
                "{%- else %}{{- raise_exception('roles: system (first), user, assistant') }}{%- endif %}",
                "{%- endfor %}",
                "{%- if add_generation_prompt %}", _emit(self.header), "{%- endif %}",
            )
        )  # fmt: skip

    def go_template(self) -> str:
        """Ollama's TEMPLATE over `.Messages`; the first BOS is left out, the engine adds it."""
        opens_first = self.opens.removeprefix("<s>") if not self.bos else self.opens
        opens = (
            '{{- if eq $last "" }}' + _go(opens_first) + '{{- else if eq $last "assistant" }}' + _go(self.opens)
            + "{{- end }}"
        ) * bool(self.opens)  # fmt: skip
        return "".join(
            (
                '{{- $last := "" }}{{- range .Messages }}',
                '{{- if eq .Role "system" }}', opens, _go(self.system[0]), "{{- .Content }}", _go(self.system[1]),
                '{{- else if eq .Role "user" }}', opens, _go(self.user[0]), "{{- .Content }}", _go(self.user[1]),
                '{{- else if eq .Role "assistant" }}', _go(self.header + self.lead), "{{- .Content }}",
                _go(self.tail + self.end + self.separator),
                "{{- end }}{{- $last = .Role }}{{- end }}", _go(self.header),
            )
        )  # fmt: skip


def _quoted(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _emit(*parts: str) -> str:
    """A Jinja output of literal parts and expressions over `message`."""
    shown = [part if part.startswith("message[") else _quoted(part) for part in parts if part]
    return "{{- " + " + ".join(shown) + " }}" if shown else ""


def _go(text: str) -> str:
    return "{{- " + _quoted(text) + " }}" if text else ""


# Sources: Meta's Llama-2 and Llama-3 prompt formats, OpenAI's ChatML.
FORMATS = {
    f.name: f
    for f in (
        PromptFormat("llama2", "", "<s>[INST] ", ("<<SYS>>\n", "\n<</SYS>>\n\n"), ("", " [/INST]"),
                     "", " ", " ", "</s>", ""),
        PromptFormat("llama3", "<|begin_of_text|>", "",
                     ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
                     ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
                     "<|start_header_id|>assistant<|end_header_id|>\n\n", "", "", "<|eot_id|>", ""),
        PromptFormat("chatml", "", "", ("<|im_start|>system\n", "<|im_end|>\n"),
                     ("<|im_start|>user\n", "<|im_end|>\n"), "<|im_start|>assistant\n", "", "", "<|im_end|>", "\n"),
        PromptFormat("plain", "<s>", "", ("", "\n"), ("User: ", "\n"), "Assistant:", " ", "", "</s>", "\n"),
    )
}  # fmt: skip


def format_of(template: str) -> PromptFormat | None:
    """The format whose Jinja template (with or without answer marks) this is; None for a foreign one."""
    for known in FORMATS.values():
        if template.strip() in (known.jinja(), known.jinja(mark_answers=False)):
            return known
    return None
