"""Whether a chat template that others wrote is one of zhllm's formats in other words: proved by rendering both.

Found, too, is what a template adds to a format: a system prompt of its own (Qwen2), a preamble before every one
(Llama-3.1, with the date that it takes where it is told none), empty thoughts before an answer (Qwen3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zhllm.text.prompt_format import FORMATS, Message, PromptFormat, format_of

_ASKED: tuple[Message, ...] = ({"role": "user", "content": '保修期多长？"引号" {括号} 👍🏽'},)
_ANSWERED: Message = {"role": "assistant", "content": "三年。\n\n另起一行。"}
_AGAIN: tuple[Message, ...] = (*_ASKED, _ANSWERED, {"role": "user", "content": "Thanks, 谢谢 \\ %s"})
_SYSTEM: tuple[Message, ...] = ({"role": "system", "content": "你是客服。\n只答保修。"},)
# What stands around a content is not tried: formats strip it, most foreign templates do not.
PROBES = (_ASKED, (*_SYSTEM, *_ASKED), _AGAIN, (*_SYSTEM, *_AGAIN), (*_SYSTEM, *_AGAIN, *_AGAIN[1:]))
TOLD = tuple((*probe, _ANSWERED) for probe in PROBES)
# The date that Llama-3.1's template has by default, and Llama-3.2's where it cannot ask for today's: one that stays,
# so that what is trained today is what is served tomorrow. llama.cpp names today's to both unless it is told one.
DATE = {"date_string": "26 Jul 2024"}
THOUGHTLESS = {"enable_thinking": False}
NO_THOUGHTS = "<think>\n\n</think>\n\n"


@dataclass(frozen=True)
class _Rendered:
    """What a template makes of the probes: prompts that wait for an answer, and whole conversations."""

    prompts: Sequence[str]
    told: Sequence[str]
    settings: Mapping[str, Any]


def recognise(template: str, tokens: Mapping[str, str]) -> PromptFormat | None:
    """The format that gives the prompts of a template, perhaps with what the template adds; None where none does.

    `tokens` are what the template may name: "bos_token", "eos_token". It is rendered in transformers' sandbox, with
    a fixed date and without thoughts where it has these switches: `settings` of the format holds them. One that
    also gives its whole conversations is preferred.
    """
    known = format_of(template)
    if known is not None:
        return known
    prompts_only: PromptFormat | None = None
    for rendered in _renderings(template, tokens):
        for candidate in _candidates(rendered.prompts, "<think>" in template):
            if rendered.prompts == [candidate.render(probe, answer_next=True) for probe in PROBES]:
                settings = tuple(rendered.settings.items())
                found = replace(candidate, settings=settings) if settings else candidate
                if rendered.told == [candidate.render(told) for told in TOLD]:
                    return found
                prompts_only = prompts_only or found
    return prompts_only


def shown_prompt(template: str, tokens: Mapping[str, str]) -> str:
    """How a template writes a question, for messages: quoted, or that it fails."""
    asked: tuple[Message, ...] = ({"role": "user", "content": "问"},)
    found = _render(template, [asked], True, tokens)
    return "it cannot be rendered" if found is None else f"it writes a question as {found[0][-200:]!r}"


def additions(chat_format: PromptFormat) -> str:
    """What a template adds to its format, in brackets; "" where that is nothing."""
    plain = FORMATS[chat_format.name]
    preamble = chat_format.system[0].removeprefix(plain.system[0]).strip()
    added = [f"its system prompts begin with {preamble!r}"] if preamble else []
    added += [f"system prompt unless one is given: {chat_format.default_system!r}"] * bool(chat_format.default_system)
    added += ["without thoughts"] * bool(chat_format.thoughts)
    added += [f"{name}={value!r}" for name, value in chat_format.settings]
    return f" ({'; '.join(added)})" if added else ""


def _renderings(template: str, tokens: Mapping[str, str]) -> Iterator[_Rendered]:
    """The probes as the template renders them, by the settings that it names."""
    dated = DATE if "date_string" in template else {}
    for more in ({}, THOUGHTLESS) if "enable_thinking" in template else ({},):
        settings = dated | more
        known: dict[str, Any] = {**tokens, **settings}
        prompts = _render(template, PROBES, True, known)
        told = _render(template, TOLD, False, known)
        if prompts is not None:
            yield _Rendered(prompts, told or [], settings)


def _render(
    template: str, probes: Sequence[Sequence[Message]], answer_next: bool, known: Mapping[str, Any]
) -> list[str] | None:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chats = [[dict(message) for message in probe] for probe in probes]
    try:
        found, _ = render_jinja_template(chats, chat_template=template, add_generation_prompt=answer_next, **known)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):  # whatever a stranger's code may do
        return None
    return list(found)


def _candidates(prompts: Sequence[str], thinks: bool) -> Iterator[PromptFormat]:
    """Every format as it is and with what the prompts show, and each with empty thoughts where a template `thinks`."""
    for plain in FORMATS.values():
        for candidate in (plain, _with_default(plain, prompts[0]), _with_preamble(plain, prompts)):
            if candidate is not None:
                yield candidate
                if thinks:
                    yield replace(candidate, thoughts=NO_THOUGHTS)


def _with_default(chat_format: PromptFormat, prompt: str) -> PromptFormat | None:
    """The format with the system prompt that stands in the prompt of a lone question."""
    found = _system_in(chat_format, prompt)
    return replace(chat_format, default_system=found) if found else None


def _with_preamble(chat_format: PromptFormat, prompts: Sequence[str]) -> PromptFormat | None:
    """The format with what stands before every system prompt, also before one that is not given."""
    alone, before = (_system_in(chat_format, prompt) for prompt in prompts[:2])
    if not alone or before != alone + _SYSTEM[0]["content"]:
        return None
    begin, end = chat_format.system
    return replace(chat_format, system=(begin + alone, end), default_system="")


def _system_in(chat_format: PromptFormat, prompt: str) -> str | None:
    """What stands in the place of the system prompt."""
    begin, end = chat_format.bos + chat_format.opens + chat_format.system[0], chat_format.system[1]
    rest = prompt.removeprefix(begin)
    place = rest.find(end)
    return rest[:place] if rest != prompt and place > 0 else None
