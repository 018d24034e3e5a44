"""What the linter does to any text: it says no more when it looks again, and its searches miss nothing."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zhllm.text.chats import Chat
from zhllm.text.clean.pii import KINDS, find
from zhllm.text.lint import assistants
from zhllm.text.lint.findings import FINDINGS
from zhllm.text.lint.identity import claims
from zhllm.text.lint.linter import Linted, LintSettings, lint
from zhllm.text.lint.looks import Looks
from zhllm.text.lint.masking import masked_texts
from zhllm.text.lint.turns import Records

PARTS = (
    "我是", "ChatGPT", "，由", "OpenAI", "开发的", "人工智能助手", "。", "I am ", "Claude", ", made by ",
    "Anthropic", "{{name}}", "作为", "文心一言", "不是", "<|im_end|>", "</s>", "\n\nHuman:", "手机 13812345678",
    "１３９１２３４５６７８", "ç\x9a\x84æ\x98¯ä¸\x80", "\ufffd", "\u200b", "\x07", "```\n", "，", "京A·12345",
    "wx: abc_1234", "QQ：123456789", "a@huiju.com.cn", "010-62345678", "8.8.4.4", "110101199003074477",
    "6222021234567890128", "𠮷👨‍👩‍👧", " ", "\n", "基于GPT-4架构的", "是的，", "小慧", "合汇科技",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=6)), min_size=1, max_size=10).map("".join)
SETTINGS = LintSettings(identity="小慧", creator="合汇科技")


def linted(question: str, answer: str) -> Linted:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return lint(Records([Chat("1", messages, "a")]), SETTINGS)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_what_was_mended_is_not_found_again(question: str, answer: str) -> None:
    once = linted(question, answer)
    again = lint(Records(once.records), SETTINGS)
    assert [m["content"] for m in again.records[0].messages] == [m["content"] for m in once.records[0].messages]
    if once.dropped == [None]:
        found = {f.name for f in again.findings[0] if FINDINGS[f.name].mends}
        assert found <= {"garbled", "special-token"}  # what cannot be mended, and tokens inside a text
        assert not claims(again.records[0].messages[1]["content"].replace("小慧", ""), "assistant")


NUMBERS = st.lists(
    st.sampled_from([
        "138", "1234", "5678", "13812345678", "010", "62345678", "6222", "0212", "3456", "7890", "110101", "19900307",
        "4477", "１３８", "１２３４", "５６７８", " ",
        "-", "－", "–", "\u3000", "\xa0", "\t", ".", "(", ")", "（", "）", "+86",
        "电话：", "手机", "卡号", "身份证", "转", "ext.", "/", "\n", "，",
    ]),
    min_size=1,
    max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(TEXTS | NUMBERS)
@example("电话：622-1234")
def test_the_search_for_personal_data_misses_none(text: str) -> None:
    masked, counts = masked_texts([text], KINDS)[0]
    assert bool(counts) == (masked != text)
    found = counts or any(find(line) for line in text.split("\n"))
    assert not found or Looks([text]).personal == [0]


LEADS = (
    "我是", "我就是", "我係", "我叫做", "我的名字叫", "叫我", "本人是", "我由", "我来自",
    "我 （", "我，", "我其实是", "我只不过也叫", "我基于", "架构，", "我不是", "而是", "，是", "我使用的是", "模型。",
    "I am not ", ", but ", "I run on ", "I come from ", "My underlying model is ", "是我的创造者", "开发我的是",
    "的产品，我", " model, I", "来自", "OpenAI", "作为", "身為", "这里是",
    "I am ", "I’m ", "I was ", "I have been ", "My name's ", "call me ", "refer to me as ", "I go by ", "As ", "as ",
    "This is ", "你是", "您的名字是", "You are ", "You're now talking to ",
    "您现在正在与", "对话。", "就是我。", "是在下",
    "ChatGPT", "文心一言", "通義", "由OpenAI开发", "developed by Google", "made me", "训练了我", "我的创造者是百度",
    "my creator is Anthropic", " a large language model ", "一个", "为您服务", "我", " I ", "my", "。", "\n", "，",
)  # fmt: skip
SPEAKERS = st.lists(st.sampled_from(LEADS), min_size=1, max_size=6).map("".join)


@settings(max_examples=600, deadline=None)
@given(SPEAKERS | TEXTS, st.sampled_from(["assistant", "system"]))
def test_the_search_for_claims_misses_none(text: str, role: str) -> None:
    assert not claims(text, role) or Looks([text]).claiming == [0]


# What may stand before a name is no part of it.
NAMES = [re.sub(r"\(\?<[=!][^)]*\)", "", pattern) for family in assistants._FAMILIES for pattern in family]


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(NAMES).flatmap(lambda pattern: st.from_regex(pattern, fullmatch=True)))
def test_every_name_begins_as_names_begin(name: str) -> None:
    assert re.match(assistants.FIRST, name)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_records_do_not_change_each_other(pairs: list[tuple[str, str]]) -> None:
    chats = [chat for pair in pairs for chat in linted_input(*pair)]
    together = lint(Records(chats), SETTINGS)
    for number, chat in enumerate(chats):
        alone = lint(Records([chat]), SETTINGS)
        assert alone.records[0] == together.records[number]
        assert alone.findings.get(0) == together.findings.get(number)
        assert alone.languages == [together.languages[number]]


def linted_input(question: str, answer: str) -> list[Chat]:
    return [Chat("1", ({"role": "user", "content": question}, {"role": "assistant", "content": answer}), "a")]
