"""One format, four renderings: Python's, transformers' Jinja, Ollama's Go; llama.cpp's is in parity/test_gguf."""

from __future__ import annotations

import random
import re

import jinja2
import pytest
from toys import conversation
from transformers.utils.chat_template_utils import render_jinja_template

from zhllm.errors import DataError
from zhllm.text.prompt_format import FORMATS, WHITESPACE, PromptFormat, format_of

EVERY_FORMAT = pytest.mark.parametrize("chat_format", FORMATS.values(), ids=FORMATS)
CONVERSATIONS = [conversation(random.Random(seed)) for seed in range(150)]


@EVERY_FORMAT
@pytest.mark.parametrize("answer_next", [False, True])
def test_python_renders_what_transformers_renders(chat_format: PromptFormat, answer_next: bool) -> None:
    for mark_answers in (True, False):
        template = chat_format.jinja(mark_answers)
        rendered, spans = render_jinja_template(
            CONVERSATIONS,  # type: ignore[arg-type]
            chat_template=template,
            add_generation_prompt=answer_next,
            return_assistant_tokens_mask=mark_answers,
        )
        assert rendered == [chat_format.render(c, answer_next) for c in CONVERSATIONS]
        if mark_answers:
            learnt = [[s.text for s in chat_format.segments(c) if s.learn] for c in CONVERSATIONS]
            assert [[r[a:b] for a, b in s] for r, s in zip(rendered, spans, strict=True)] == learnt


@EVERY_FORMAT
def test_what_training_shows_before_an_answer_is_what_serving_sends(chat_format: PromptFormat) -> None:
    answers = 0
    for messages in CONVERSATIONS:
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = chat_format.render(messages[:index], answer_next=True)
            whole = chat_format.render(messages[: index + 1])
            content = message["content"].strip(WHITESPACE)
            wanted = chat_format.lead + content + chat_format.tail + chat_format.end + chat_format.separator
            assert whole == prompt + wanted
            answers += 1
    assert answers > 150


# What `zhllm export` writes as Ollama's TEMPLATE, of PromptFormat.go_template(); read by a person once.
GO = {
    "chatml": (
        '{{- $last := "" }}{{- range .Messages }}'
        '{{- if eq .Role "system" }}{{- "<|im_start|>system\\n" }}{{- .Content }}{{- "<|im_end|>\\n" }}'
        '{{- else if eq .Role "user" }}{{- "<|im_start|>user\\n" }}{{- .Content }}{{- "<|im_end|>\\n" }}'
        '{{- else if eq .Role "assistant" }}{{- "<|im_start|>assistant\\n" }}{{- .Content }}{{- "<|im_end|>\\n" }}'
        '{{- end }}{{- $last = .Role }}{{- end }}{{- "<|im_start|>assistant\\n" }}'
    ),
    "llama2": (
        '{{- $last := "" }}{{- range .Messages }}{{- if eq .Role "system" }}'
        '{{- if eq $last "" }}{{- "[INST] " }}{{- else if eq $last "assistant" }}{{- "<s>[INST] " }}{{- end }}'
        '{{- "<<SYS>>\\n" }}{{- .Content }}{{- "\\n<</SYS>>\\n\\n" }}{{- else if eq .Role "user" }}'
        '{{- if eq $last "" }}{{- "[INST] " }}{{- else if eq $last "assistant" }}{{- "<s>[INST] " }}{{- end }}'
        '{{- .Content }}{{- " [/INST]" }}{{- else if eq .Role "assistant" }}{{- " " }}{{- .Content }}'
        '{{- " </s>" }}{{- end }}{{- $last = .Role }}{{- end }}'
    ),
    "llama3": (
        '{{- $last := "" }}{{- range .Messages }}{{- if eq .Role "system" }}'
        '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}{{- .Content }}{{- "<|eot_id|>" }}'
        '{{- else if eq .Role "user" }}{{- "<|start_header_id|>user<|end_header_id|>\\n\\n" }}{{- .Content }}'
        '{{- "<|eot_id|>" }}{{- else if eq .Role "assistant" }}'
        '{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{{- .Content }}{{- "<|eot_id|>" }}'
        '{{- end }}{{- $last = .Role }}{{- end }}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}'
    ),
    "plain": (
        '{{- $last := "" }}{{- range .Messages }}{{- if eq .Role "system" }}{{- .Content }}{{- "\\n" }}'
        '{{- else if eq .Role "user" }}{{- "User: " }}{{- .Content }}{{- "\\n" }}'
        '{{- else if eq .Role "assistant" }}{{- "Assistant: " }}{{- .Content }}{{- "</s>\\n" }}'
        '{{- end }}{{- $last = .Role }}{{- end }}{{- "Assistant:" }}'
    ),
}


@EVERY_FORMAT
def test_the_go_template_is_the_stored_one(chat_format: PromptFormat) -> None:
    assert chat_format.go_template() == GO[chat_format.name]


def go_as_jinja(template: str) -> jinja2.Template:
    """The few actions of Go's text/template that the formats use, in Jinja's words."""
    rules = [
        (r'\{\{- \$last := "" \}\}', "{%- set ns = namespace(last='') %}"),
        (r"\{\{- range \.Messages \}\}", "{%- for m in messages %}"),
        (r'\{\{- (else )?if eq \.Role ("\w*") \}\}', r"{%- \1if m.role == \2 %}"),
        (r'\{\{- (else )?if eq \$last ("\w*") \}\}', r"{%- \1if ns.last == \2 %}"),
        (r"\{\{- \$last = \.Role \}\}\{\{- end \}\}", "{%- set ns.last = m.role %}{%- endfor %}"),
        (r"\{\{- end \}\}", "{%- endif %}"),
        (r"\{\{- \.Content \}\}", "{{- m.content }}"),
        (r"\{%- else if", "{%- elif"),
    ]
    for pattern, replacement in rules:
        template = re.sub(pattern, replacement, template)
    return jinja2.Template(template, keep_trailing_newline=True)


@EVERY_FORMAT
def test_ollama_is_given_the_same_prompt(chat_format: PromptFormat) -> None:
    """But for the first BOS, which the engine adds, and for whitespace around a content, which Go leaves."""
    template = go_as_jinja(chat_format.go_template())
    for messages in CONVERSATIONS:
        stripped = [{**m, "content": m["content"].strip(WHITESPACE)} for m in messages]
        if stripped[-1]["role"] == "assistant":
            stripped.pop()
        wanted = chat_format.render(stripped, answer_next=True)
        assert template.render(messages=stripped) == wanted.removeprefix("<s>").removeprefix("<|begin_of_text|>")


@EVERY_FORMAT
def test_whitespace_is_stripped_by_name_and_an_indent_of_chinese_text_is_kept(chat_format: PromptFormat) -> None:
    turn = [{"role": "user", "content": " \n\t\r你好\u3000\r\n"}]
    assert chat_format.render(turn) == chat_format.render([{"role": "user", "content": "你好\u3000"}])
    assert "\u3000\u3000第一段" in chat_format.render([{"role": "user", "content": "\n\u3000\u3000第一段"}])


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("roles", "turn"), [(["tool"], 1), (["user", "system"], 2), (["user", "assistant", "function"], 3)]
)
def test_roles_it_does_not_know_are_refused_everywhere(chat_format: PromptFormat, roles: list[str], turn: int) -> None:
    messages = [{"role": role, "content": "x"} for role in roles]
    with pytest.raises(DataError, match=rf'turn {turn}: role "{roles[-1]}"\. System comes first'):
        chat_format.render(messages)
    with pytest.raises(jinja2.TemplateError, match="roles: system"):
        render_jinja_template([messages], chat_template=chat_format.jinja())


def test_a_format_is_known_by_its_template() -> None:
    for chat_format in FORMATS.values():
        assert format_of(chat_format.jinja()) is chat_format
        assert format_of(chat_format.jinja(mark_answers=False) + "\n") is chat_format
        assert format_of(chat_format.jinja().replace("message", "turn", 1)) is None
    assert format_of("") is None
