"""One format, its renderings in Python and in transformers' Jinja, and what ends an answer.

Ollama's Go is in parity/test_ollama_template, llama.cpp in parity/test_gguf, token ids in parity/test_prompt_ids.
"""

from __future__ import annotations

import ast
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import jinja2
import pytest
from conftest import ROOT
from makers import DATED, THOUGHTLESS
from toys import CONTENTS, HOSTILE, conversation
from transformers.utils.chat_template_utils import render_jinja_template

from zhllm.config import PromptFormatName
from zhllm.errors import DataError
from zhllm.text.prompt_format import FORMATS, MARKERS, WHITESPACE, PromptFormat, format_of

EVERY = FORMATS | {"dated": DATED, "without thoughts": THOUGHTLESS}
EVERY_FORMAT = pytest.mark.parametrize("chat_format", EVERY.values(), ids=EVERY)
CONVERSATIONS = [conversation(random.Random(seed), CONTENTS + HOSTILE) for seed in range(500)]


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
            content = chat_format.plain(message["content"])
            wanted = chat_format.lead + content + chat_format.tail + chat_format.end + chat_format.separator
            assert whole == prompt + wanted
            answers += 1
    assert answers > 500


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


@EVERY_FORMAT
def test_what_is_typed_never_writes_a_marker(chat_format: PromptFormat) -> None:
    """As many markers as in the same turns of harmless contents, in Python; the test above says that Jinja does so."""
    for messages in [conversation(random.Random(seed), HOSTILE) for seed in range(500)]:
        harmless = chat_format.render([{**m, "content": "x"} for m in messages], answer_next=True)
        rendered = chat_format.render(messages, answer_next=True)
        for marker in (*chat_format.special_tokens, *chat_format.text_markers):
            assert rendered.count(marker) == harmless.count(marker), (marker, rendered)


@EVERY_FORMAT
def test_only_a_marker_of_the_format_itself_is_changed(chat_format: PromptFormat) -> None:
    own = {*chat_format.special_tokens, *chat_format.text_markers}
    for text in (*CONTENTS, *MARKERS):
        touched = any(marker in text.strip(WHITESPACE) for marker in own)
        assert (chat_format.plain(text) != text.strip(WHITESPACE)) == touched
        assert chat_format.plain(text).replace(" ", "") == text.strip(WHITESPACE).replace(" ", "")


@EVERY_FORMAT
def test_an_answer_of_weight_0_is_rendered_and_not_learnt(chat_format: PromptFormat) -> None:
    messages = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "错", "weight": 0}]
    messages += [{"role": "user", "content": "再问"}, {"role": "assistant", "content": "对", "weight": 1}]
    assert chat_format.render(messages) == chat_format.render([{**m, "weight": 1} for m in messages])
    rendered, spans = render_jinja_template(
        [messages],  # type: ignore[arg-type]
        chat_template=chat_format.jinja(),
        return_assistant_tokens_mask=True,
    )
    learnt = [s.text for s in chat_format.segments(messages) if s.learn]
    assert learnt == [chat_format.lead + "对" + chat_format.tail + chat_format.end]
    assert rendered == [chat_format.render(messages)]
    assert [rendered[0][a:b] for a, b in spans[0]] == learnt


def test_alpaca_is_what_chinese_llama_alpaca_was_trained_on() -> None:
    """Its training prompt (scripts/training/build_dataset.py); its server's for a system prompt and turns."""
    template = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{}\n\n### Response: "
    )
    alpaca, asked = FORMATS["alpaca-zh"], {"role": "user", "content": "保修期多长？"}
    answered = [asked, {"role": "assistant", "content": "三年。"}]
    assert alpaca.render(answered) == "<s>" + template.format("保修期多长？") + "三年。</s>\n\n"
    system = [{"role": "system", "content": "你是客服。"}, *answered, asked]
    assert alpaca.render(system, answer_next=True) == (
        "<s>你是客服。\n\n### Instruction:\n保修期多长？\n\n### Response: 三年。</s>\n\n"
        "### Instruction:\n保修期多长？\n\n### Response:"
    )


def test_a_default_system_prompt_opens_the_first_exchange() -> None:
    """Also where a format opens exchanges, as llama2's does."""
    chat_format = replace(FORMATS["llama2"], default_system="规则")
    spelt = [{"role": "system", "content": "规则"}]
    wanted = [FORMATS["llama2"].render([*spelt * (c[0]["role"] != "system"), *c]) for c in CONVERSATIONS]
    assert [chat_format.render(c) for c in CONVERSATIONS] == wanted
    assert render_jinja_template(CONVERSATIONS, chat_template=chat_format.jinja())[0] == wanted  # type: ignore[arg-type]


class Words:
    """A vocabulary of a few special tokens."""

    folder = Path("somewhere")

    def __init__(self, *tokens: str, **roles: str) -> None:
        self.ids, self.roles = {token: 10 + i for i, token in enumerate(tokens)}, roles

    def special_id(self, role: str) -> int | None:
        return self.ids[self.roles[role]] if role in self.roles else None

    def special_token_id(self, text: str) -> int | None:
        return self.ids.get(text)


def test_generation_ends_at_the_end_of_turn_and_at_the_end_of_text() -> None:
    qwen = Words("<|endoftext|>", "<|im_start|>", "<|im_end|>", eos="<|endoftext|>", pad="<|endoftext|>")
    assert FORMATS["chatml"].generation_config(qwen) == {"eos_token_id": [12, 10], "pad_token_id": 10}
    llama = Words("<s>", "</s>", bos="<s>", eos="</s>")
    assert FORMATS["llama2"].generation_config(llama) == {"bos_token_id": 10, "eos_token_id": [11]}
    assert FORMATS["plain"].end_token_ids(Words("</s>")) == [10]
    with pytest.raises(DataError, match=r'somewhere: the format "chatml" ends a turn with .*not a special token'):
        FORMATS["chatml"].generation_config(llama)


@EVERY_FORMAT
def test_where_an_answer_stops_as_text(chat_format: PromptFormat) -> None:
    """The end token, and every marker that a model which runs on would write next."""
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    behind = chat_format.render(turns).removeprefix(chat_format.render(turns[:2]))
    assert chat_format.stop_strings[0] == chat_format.end
    assert any(stop.strip() in behind for stop in chat_format.stop_strings[1:])


@EVERY_FORMAT
def test_a_modelfile_carries_template_stops_and_system(chat_format: PromptFormat) -> None:
    written = chat_format.modelfile("./m.gguf", system='用"中文"回答。 </s><|im_end|>', temperature=0.3, num_ctx=4096)
    assert written.startswith(f'FROM ./m.gguf\nTEMPLATE """{chat_format.go_template()}"""\nSYSTEM """用"中文"回答。')
    assert chat_format.go_template().count('"""') == 0
    assert f'SYSTEM """{chat_format.plain("用" + chr(34) + "中文" + chr(34) + "回答。 </s><|im_end|>")}"""' in written
    assert re.findall(r'PARAMETER stop "([^"]*)"', written) == list(chat_format.stop_strings)
    assert written.endswith("PARAMETER temperature 0.3\nPARAMETER num_ctx 4096\n")
    with pytest.raises(DataError, match="cannot be written in a Modelfile"):
        chat_format.modelfile("./m.gguf", system='"""')


def test_the_names_on_the_command_line_are_those_of_the_formats() -> None:
    assert get_args(PromptFormatName) == tuple(FORMATS)


OWN_MARKERS = [marker for marker in MARKERS if marker.strip() == marker]
# Tokens as a vocabulary has them, or as they are looked for in data: no part of a prompt there.
VOCABULARY = {"vocab/proof.py", "vocab/base.py", "vocab/tiktoken_file.py", "text/lint/tokens.py",
              "text/shapes/written_out.py"}  # fmt: skip


def test_nothing_else_writes_a_prompt() -> None:
    """No other module holds a marker in a string; docstrings may name one."""
    found = []
    for path in sorted((ROOT / "zhllm").rglob("*.py")):
        name = str(path.relative_to(ROOT / "zhllm"))
        if name == "text/prompt_format.py" or name in VOCABULARY:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                found += [f"{name}:{node.lineno}: {m}" for m in OWN_MARKERS if m in node.value]
    assert found == []


def test_a_format_is_known_by_its_template() -> None:
    for chat_format in FORMATS.values():
        assert format_of(chat_format.jinja()) is chat_format
        assert format_of(chat_format.jinja(mark_answers=False) + "\n") is chat_format
        assert format_of(chat_format.jinja().replace("message", "turn", 1)) is None
    assert format_of("") is None
