"""One object per chat format; everything that writes or reads a prompt is rendered from it.

A format is a handful of strings. Its Jinja template (transformers, vLLM, llama.cpp), its Go template
(Ollama), its Python rendering, the tokens and texts that end an answer, generation_config.json and the
Modelfile are all generated from them, so they cannot drift apart.

A content never writes a marker: where it spells one ("<|im_end|>", "[INST]"), a space goes behind the
marker's first character, in Python and in Jinja alike. So a rendered prompt holds the format's special
tokens only where the format put them, and engines that parse no others are safe from what users type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from zhllm.errors import DataError

# {"role", "content"}; an assistant's turn with "weight": 0 is read and not learnt.
Message = Mapping[str, Any]

# What is stripped from both ends of a content, by name: Python's strip() and Jinja's trim would also
# take the ideographic space that begins a Chinese paragraph, which llama.cpp's trim leaves.
WHITESPACE = " \t\n\r"

_SPECIAL = re.compile(r"<\|\w+\|>|</?s>")


class Vocabulary(Protocol):
    """What a format asks of a tokenizer."""

    folder: Path

    def special_id(self, role: str) -> int | None:
        """The id of "bos", "eos" or "pad"."""

    def special_token_id(self, text: str) -> int | None:
        """The id of the special token written so; None where there is none."""


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
    then what the model writes: `lead`, content, `tail`, `end`; generation stops at the token `end`,
    and where the model begins one of the `text_markers` by itself. A conversation that names no system
    prompt has `default_system` (which may be empty), where there is one. `thoughts` are the empty thoughts that
    follow the header of the answer to come, and of the last one; earlier answers stand without them, as in Qwen3.
    `settings` are the switches with which the template of a format's maker renders the same; they make no difference.
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
    text_markers: tuple[str, ...] = ()
    default_system: str | None = None
    thoughts: str = ""
    settings: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The special tokens that the format needs, in the order of its text."""
        parts = (self.bos, self.opens, *self.system, *self.user, self.header, self.end)
        return tuple(dict.fromkeys(_SPECIAL.findall("".join(parts))))

    @cached_property
    def stop_strings(self) -> tuple[str, ...]:
        """Where an answer ends, as text: the end token, and what would open another turn."""
        opening = (token for token in self.special_tokens if token in self.user[0])
        return tuple(dict.fromkeys((self.end, *opening, *self.text_markers)))

    def end_token_ids(self, tokenizer: Vocabulary) -> list[int]:
        """The ids at which generation stops: the format's end of turn, then the tokenizer's own end token.

        DataError where the vocabulary lacks the former: the model would never stop.
        """
        end = tokenizer.special_token_id(self.end)
        if end is None:
            raise DataError(
                f'{tokenizer.folder}: the format "{self.name}" ends a turn with {self.end!r}, which is '
                "not a special token of this tokenizer. Choose another --prompt-format."
            )
        eos = tokenizer.special_id("eos")
        return list(dict.fromkeys((end, end if eos is None else eos)))

    def generation_config(self, tokenizer: Vocabulary) -> dict[str, Any]:
        """The fields of generation_config.json that the format decides; DataError as `end_token_ids`."""
        ids = {f"{role}_token_id": tokenizer.special_id(role) for role in ("bos", "pad")}
        known = {name: found for name, found in ids.items() if found is not None}
        return {**known, "eos_token_id": self.end_token_ids(tokenizer)}

    def plain(self, content: str) -> str:
        """A content as it is rendered: stripped of WHITESPACE, the markers in it broken by a space."""
        content = content.strip(WHITESPACE)
        for marker, broken in self._breaks:
            content = content.replace(marker, broken)
        return content

    @cached_property
    def _breaks(self) -> list[tuple[str, str]]:
        markers = (*self.special_tokens, *self.text_markers)
        return [(marker, f"{marker[0]} {marker[1:]}") for marker in markers]

    def segments(self, messages: Sequence[Message], answer_next: bool = False) -> list[Segment]:
        """The conversation as stretches of text; with `answer_next` it ends where the model begins.

        Contents are those of `plain`. Raises DataError for a role that is not system, user or
        assistant, or a system turn that is not first.
        """
        parts, previous = [Segment(self.bos, learn=False)], "assistant"
        if self.default_system is not None and messages and messages[0]["role"] != "system":
            parts.append(Segment(self._default_turn, learn=False))
            previous = "system"
        for index, message in enumerate(messages):
            role, content = message["role"], self.plain(message["content"])
            if role == "assistant":
                learn = message.get("weight", 1) != 0
                thoughts = self.thoughts if index == len(messages) - 1 else ""
                parts.append(Segment(self.header + thoughts, learn=False))
                parts.append(Segment(self.lead + content + self.tail + self.end, learn))
                parts.append(Segment(self.separator, learn=False))
            elif role == "user" or (role == "system" and index == 0):
                before, after = self.user if role == "user" else self.system
                opens = self.opens if previous == "assistant" else ""
                parts.append(Segment(opens + before + content + after, learn=False))
            else:
                raise DataError(f'turn {index + 1}: role "{role}". System comes first, then user and assistant.')
            previous = role
        if answer_next:
            parts.append(Segment(self.header + self.thoughts, learn=False))
        return [part for part in parts if part.text]

    def render(self, messages: Sequence[Message], answer_next: bool = False) -> str:
        """The conversation as one string, BOS written out."""
        return "".join(segment.text for segment in self.segments(messages, answer_next))

    def split(self, rendered: str) -> list[str]:
        """A rendered conversation in parts: each special token of the format by itself, and the text between."""
        tokens = "|".join(map(re.escape, self.special_tokens))
        return [part for part in re.split(f"({tokens})", rendered) if part]

    def jinja(self, mark_answers: bool = True) -> str:
        """The chat template for transformers and vLLM; without `mark_answers` for engines that know no
        `{% generation %}` (llama.cpp)."""
        breaks = "".join(f".replace({_quoted(marker)}, {_quoted(broken)})" for marker, broken in self._breaks)
        content = f"{{%- set content = message['content'].strip({_quoted(WHITESPACE)}){breaks} %}}"
        answer = _around(self.lead, self.tail + self.end)
        if mark_answers:
            unlearnt = "message['weight'] is defined and message['weight'] == 0"
            marked = f"{{%- generation %}}{answer}{{%- endgeneration %}}"
            answer = f"{{%- if {unlearnt} %}}{answer}{{%- else %}}{marked}{{%- endif %}}"
        follows = "messages[loop.index0 - 1]['role'] == 'assistant'"
        has_default = self.default_system is not None
        begins = f"not loop.first and {follows}" if has_default else f"loop.first or {follows}"
        opens = f"{{%- if {begins} %}}{_emit(self.opens)}{{%- endif %}}" * bool(self.opens)
        opens_system = _emit(self.opens) if has_default else opens
        thoughts = f"{{%- if loop.last %}}{_emit(self.thoughts)}{{%- endif %}}" * bool(self.thoughts)
        unsaid = "{%- if loop.first and message['role'] != 'system' %}" + _emit(self._default_turn) + "{%- endif %}"
        return "".join(
            (
                _emit(self.bos),
                "{%- for message in messages %}",
                content,
                unsaid * has_default,
                "{%- if message['role'] == 'system' and loop.first %}",
                opens_system, _around(*self.system),
                "{%- elif message['role'] == 'user' %}",
                opens, _around(*self.user),
                "{%- elif message['role'] == 'assistant' %}",
                _emit(self.header), thoughts, answer,
                _emit(self.separator),
                "{%- else %}{{- raise_exception('roles: system (first), user, assistant') }}{%- endif %}",
                "{%- endfor %}",
                "{%- if add_generation_prompt %}", _emit(self.header + self.thoughts), "{%- endif %}",
            )
        )  # fmt: skip

    def go_template(self) -> str:
        """Ollama's TEMPLATE over `.Messages`; the first BOS is left out, the engine adds it.

        Go's templates have no function that strips or replaces: contents stand as they are sent.
        """
        opens_first = self.opens.removeprefix("<s>") if not self.bos else self.opens
        opens = (
            '{{- if eq $last "" }}' + _go(opens_first) + '{{- else if eq $last "assistant" }}' + _go(self.opens)
            + "{{- end }}"
        ) * bool(self.opens)  # fmt: skip
        unsaid = '{{- if eq $last "" }}{{- if ne .Role "system" }}' + _go(self._default_turn) + "{{- end }}{{- end }}"
        return "".join(
            (
                '{{- $last := "" }}{{- range .Messages }}', unsaid * (self.default_system is not None),
                '{{- if eq .Role "system" }}', opens, _go(self.system[0]), "{{- .Content }}", _go(self.system[1]),
                '{{- else if eq .Role "user" }}', opens, _go(self.user[0]), "{{- .Content }}", _go(self.user[1]),
                '{{- else if eq .Role "assistant" }}', _go(self.header + self.lead), "{{- .Content }}",
                _go(self.tail + self.end + self.separator),
                "{{- end }}{{- $last = .Role }}{{- end }}", _go(self.header + self.thoughts),
            )
        )  # fmt: skip

    @property
    def _default_turn(self) -> str:
        return self.opens + self.system[0] + self.plain(self.default_system or "") + self.system[1]

    def modelfile(self, source: str, system: str | None = None, **parameters: float) -> str:
        """Ollama's Modelfile of a GGUF file: the template, where to stop, a system prompt, its parameters by name.

        Source: Ollama's Modelfile reference. DataError for a system prompt that it has no way to write.
        """
        lines = [f"FROM {source}", f'TEMPLATE """{self.go_template()}"""']
        if system is not None:
            if '"""' in system:
                raise DataError('a system prompt with """ in it cannot be written in a Modelfile. Use other quotes.')
            lines.append(f'SYSTEM """{self.plain(system)}"""')
        lines += [f'PARAMETER stop "{stop}"' for stop in self.stop_strings]
        lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _emit(text: str) -> str:
    return "{{- " + _quoted(text) + " }}" if text else ""


def _around(before: str, after: str) -> str:
    """A Jinja output of the content between two literal texts."""
    parts = (_quoted(before) if before else "", "content", _quoted(after) if after else "")
    return "{{- " + " + ".join(filter(None, parts)) + " }}"


def _go(text: str) -> str:
    return "{{- " + _quoted(text) + " }}" if text else ""


_ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."

# Sources: Meta's Llama-2 and Llama-3 prompt formats; OpenAI's ChatML, without the system prompt that some Qwen
# models put where none is given; Chinese-LLaMA-Alpaca's prompt (its preamble is English), whose system prompt
# takes the preamble's place, as in its server.
FORMATS = {
    f.name: f
    for f in (
        PromptFormat("llama2", "", "<s>[INST] ", ("<<SYS>>\n", "\n<</SYS>>\n\n"), ("", " [/INST]"),
                     "", " ", " ", "</s>", "", ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")),
        PromptFormat("llama3", "<|begin_of_text|>", "",
                     ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
                     ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
                     "<|start_header_id|>assistant<|end_header_id|>\n\n", "", "", "<|eot_id|>", ""),
        PromptFormat("chatml", "", "", ("<|im_start|>system\n", "<|im_end|>\n"),
                     ("<|im_start|>user\n", "<|im_end|>\n"), "<|im_start|>assistant\n", "", "", "<|im_end|>", "\n"),
        PromptFormat("alpaca-zh", "<s>", "", ("", "\n\n"), ("### Instruction:\n", "\n\n"), "### Response:",
                     " ", "", "</s>", "\n\n", ("### Instruction:", "### Response:"), _ALPACA),
        PromptFormat("plain", "<s>", "", ("", "\n"), ("User: ", "\n"), "Assistant:", " ", "", "</s>", "\n",
                     ("\nUser:", "\nAssistant:")),
    )
}  # fmt: skip

# Every text that opens, parts or ends turns in some format: what data should not spell.
MARKERS = tuple(dict.fromkeys(m for f in FORMATS.values() for m in (*f.special_tokens, *f.text_markers)))


def format_of(template: str) -> PromptFormat | None:
    """The format whose Jinja template (with or without answer marks) this is; None for a foreign one."""
    for known in FORMATS.values():
        if template.strip() in (known.jinja(), known.jinja(mark_answers=False)):
            return known
    return None
