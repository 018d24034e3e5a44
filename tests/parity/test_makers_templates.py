"""Makers' templates that name a date or think: chats are written byte for byte as transformers renders them.

With short templates of the same switches, and with the whole ones where the package `trl` holds them.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from makers import MAKERS
from tokenizers import Tokenizer as Fast
from toys import CHATML_SPECIALS, CONTENTS, LLAMA3_SPECIALS, byte_level_tokenizer, conversation
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from zhllm.model.chat_templates import recognise
from zhllm.model.directory import set_chat_template
from zhllm.text.prompt_format import FORMATS, WHITESPACE, Message
from zhllm.train.chats import prompt_ids, tokenize
from zhllm.vocab.tokenizer import Tokenizer

TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
WHOLE = {"llama3.1": "llama3_1", "llama3.2": "llama3_2", "qwen3": "qwen3"}
# What stands around a content is stripped by our formats, and so is what spells one of their markers.
PLAIN = [text for text in CONTENTS if text == text.strip(WHITESPACE) and not any(sign in text for sign in "<[|")]
CHATS = [conversation(random.Random(seed), PLAIN) for seed in range(400)]


def template_of(name: str, whole: bool) -> str:
    if not whole:
        return MAKERS[name][0]
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("trl, whose package holds the whole templates, is not installed")
    return (Path(spec.origin).parent / "chat_templates" / f"{WHOLE[name]}.jinja").read_text(encoding="utf-8")


def rendered(template: str, chats: list[Any], answer_next: bool, **settings: Any) -> list[str]:
    found, _ = render_jinja_template(
        chats, chat_template=template, add_generation_prompt=answer_next, **TOKENS, **settings
    )
    return list(found)


def split(chats: list[list[dict[str, str]]]) -> tuple[list[list[dict[str, str]]], list[list[dict[str, str]]]]:
    """The chats up to a question, and those with an answer at the end; no two turns of one role in a row.

    Jinja's trim takes the ideographic space from both ends, too, which llama.cpp's and ours leave.
    """
    chats = [c for c in chats if all(m["content"] == m["content"].strip() for m in c)]
    one_by_one = [c for c in chats if all(a["role"] != b["role"] for a, b in zip(c, c[1:], strict=False))]
    return [c for c in one_by_one if c[-1]["role"] == "user"], [c for c in one_by_one if c[-1]["role"] == "assistant"]


@pytest.mark.parametrize("whole", [False, True], ids=["short", "whole"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_makers_template_renders_what_its_format_renders(name: str, whole: bool) -> None:
    template, (_, wanted, settings) = template_of(name, whole), MAKERS[name]
    found = recognise(template, TOKENS)
    assert found == wanted and dict(found.settings) == settings
    asked, told = split(CHATS)
    assert len(asked) > 50 and len(told) > 50
    assert rendered(template, asked, True, **settings) == [found.render(chat, answer_next=True) for chat in asked]
    assert rendered(template, told, False, **settings) == [found.render(chat) for chat in told]
    own = found.jinja()
    assert recognise(own, TOKENS) == found and recognise(found.jinja(mark_answers=False), TOKENS) == found
    assert rendered(own, asked, True) == [found.render(chat, answer_next=True) for chat in asked]
    assert rendered(own, told, False) == [found.render(chat) for chat in told]


def test_another_date_and_thoughts_that_are_asked_for_make_another_prompt() -> None:
    """So the switches of `settings` are what makes the templates agree, and chatml is Qwen3's prompt with thoughts."""
    asked, _ = split(CHATS)
    dated = rendered(MAKERS["llama3.2"][0], asked[:1], True)[0]
    assert "Today Date: " in dated and "26 Jul 2024" not in dated
    thinking = rendered(MAKERS["qwen3"][0], asked, True, enable_thinking=True)
    assert thinking == [FORMATS["chatml"].render(chat, answer_next=True) for chat in asked]


@pytest.mark.parametrize("name", MAKERS)
def test_ids_and_mask_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    template, chat_format, settings = MAKERS[name]
    folder = byte_level_tokenizer(tmp_path / "tokenizer", CHATML_SPECIALS if name == "qwen3" else LLAMA3_SPECIALS)
    fast = Fast.from_file(str(folder / "tokenizer.json"))
    fast.add_tokens(["<think>", "</think>"])  # as Qwen3 has them: no special tokens
    fast.save(str(folder / "tokenizer.json"))
    ours = Tokenizer(folder)
    asked, told = split(CHATS)
    for written, known in ((template, settings), (chat_format.jinja(), {})):
        set_chat_template(folder, written)
        auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        options: dict[str, Any] = {"tokenize": True, "return_dict": True, **known}
        for chat in asked[:40]:
            messages: list[Message] = [*chat]
            theirs = auto.apply_chat_template(messages, add_generation_prompt=True, **options)["input_ids"]
            assert prompt_ids(messages, chat_format, ours) == theirs
        for chat in told[:40]:
            messages = [*chat]
            found = tokenize(messages, chat_format, ours)
            theirs = auto.apply_chat_template(messages, return_assistant_tokens_mask=not known, **options)
            assert found.ids == theirs["input_ids"]
            if written != template and not found.merged:
                assert [int(learnt) for learnt in found.learn] == theirs["assistant_masks"]
                assert "<think>" not in ours.decode(
                    [i for i, learnt in zip(found.ids, found.learn, strict=True) if learnt], True
                )
