"""Whether a chat template that others wrote is one of zhllm's formats in other words: proved by rendering both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zhllm.text.prompt_format import FORMATS, Message, PromptFormat, format_of

_ASKED: tuple[Message, ...] = ({"role": "user", "content": '保修期多长？"引号" {括号} 👍🏽'},)
_AGAIN: tuple[Message, ...] = (
    *_ASKED,
    {"role": "assistant", "content": "三年。\n\n另起一行。"},
    {"role": "user", "content": "Thanks, 谢谢 \\ %s"},
)
_SYSTEM: tuple[Message, ...] = ({"role": "system", "content": "你是客服。\n只答保修。"},)
# A template that names the day or thinks aloud differs in one of these from every format. What stands around a
# content is not tried: formats strip it, most foreign templates do not.
PROBES = (_ASKED, (*_SYSTEM, *_ASKED), _AGAIN, (*_SYSTEM, *_AGAIN), (*_SYSTEM, *_AGAIN, *_AGAIN[1:]))


def recognise(template: str, tokens: Mapping[str, str]) -> PromptFormat | None:
    """The format that gives the prompts of a template, perhaps with a default system prompt; None where none does.

    `tokens` are what the template may name: "bos_token", "eos_token". It is rendered in transformers' sandbox.
    """
    known = format_of(template)
    prompts = None if known is not None else _prompts(template, tokens)
    if prompts is None:
        return known
    for chat_format in FORMATS.values():
        for candidate in (chat_format, _with_default(chat_format, prompts[0])):
            if candidate is not None and prompts == [candidate.render(probe, answer_next=True) for probe in PROBES]:
                return candidate
    return None


def _prompts(template: str, tokens: Mapping[str, str]) -> list[str] | None:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    probes = [[dict(message) for message in probe] for probe in PROBES]
    try:
        prompts, _ = render_jinja_template(probes, chat_template=template, add_generation_prompt=True, **tokens)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):  # whatever a stranger's code may do
        return None
    return list(prompts)


def _with_default(chat_format: PromptFormat, prompt: str) -> PromptFormat | None:
    """The format with the system prompt that stands in the prompt of a lone question."""
    before, after = chat_format.opens + chat_format.system[0], chat_format.system[1]
    rest = prompt.removeprefix(chat_format.bos + before)
    place = rest.find(after)
    return replace(chat_format, default_system=rest[:place]) if rest != prompt and place > 0 else None
