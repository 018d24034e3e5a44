"""The linter looks at blocks by array: what it finds in a record is what it finds in that record alone."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zhllm.stages._convert_items import Item, key_of, keys_of, lines_and_digests
from zhllm.text.chats import Chat, Preference
from zhllm.text.lint.linter import LintSettings, lint

DIRT = (
    "你好，世界。", "A plain answer, with a full stop.", "我是ChatGPT，由OpenAI开发。", "As an AI made by OpenAI, I",
    "<|im_end|>", "</s>", "\nHuman: hi", "### Response:", "我叫{{name}}，是助手。", "13812345678",
    "１３８１２３４５６７８", "微信：abc12345", "a@b.com", "\x07", "\u200b", "ä½ å¥½ä¸–ç•Œ", "浣犲ソ涓栫晫",
    "\ufffd", "這個們來時說國為會對過學與後", "日本語です", "Привет мир", "café résumé naïve", "```python\n",
    "，", "the", "的", "𠀀𪚥", "👩‍🚀", "nan", "...", "42", "mixed 中文 words", "说明文字" * 20,
    "some long words " * 12, "\0", "ΟΔΟΣ", "3.5", "，", ". ", "3.，5",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(DIRT), min_size=1, max_size=4).map("".join)
MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "user", "assistant"]), TEXTS
    ),
    min_size=1,
    max_size=5,
)
PAIRS = st.tuples(TEXTS, TEXTS).map(
    lambda pair: [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
)
IDS = st.sampled_from(["a.jsonl#7", "a.jsonl#1234567", "a.jsonl#13812345678", "13812345678", "x@y.com#1", "b#1"])
SOURCES = st.sampled_from(["a.jsonl", "a.jsonl", "x@y.com"])
META = st.sampled_from([{}, {}, {"phone": "13812345678"}, {"language": "zh"}])
CHATS = st.builds(lambda i, m, s, meta: Chat(i, tuple(m), s, meta), IDS, PAIRS | PAIRS | MESSAGES, SOURCES, META)
PREFERENCES = st.builds(
    lambda i, m, answers, s: Preference(i, tuple(m), *answers, s),
    IDS,
    MESSAGES,
    st.tuples(TEXTS, TEXTS) | st.tuples(TEXTS, st.none()) | st.tuples(st.none(), TEXTS),
    SOURCES,
)
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.lists(CHATS, max_size=8), st.lists(PREFERENCES, max_size=4), st.sampled_from([None, "小智"]))
def test_a_record_is_judged_alike_in_any_block(
    chats: list[Chat], preferences: list[Preference], identity: str | None
) -> None:
    asked = LintSettings(identity=identity, language="zh")
    block = lint(chats, preferences, asked)
    for number, chat in enumerate(chats):
        alone = lint([chat], [], asked)
        assert block.chats[number] == alone.chats[0]
        assert block.chat_findings[number] == alone.chat_findings[0]
        assert block.chat_languages[number] == alone.chat_languages[0]
        assert block.dropped_chats[number] == alone.dropped_chats[0]
    for number, preference in enumerate(preferences):
        alone = lint([], [preference], asked)
        assert block.preferences[number] == alone.preferences[0]
        assert block.preference_findings[number] == alone.preference_findings[0]
        assert block.preference_languages[number] == alone.preference_languages[0]


@SLOW
@given(
    st.lists(CHATS | PREFERENCES, max_size=6) | st.lists(CHATS.filter(lambda chat: len(chat.messages) == 2), max_size=9)
)
def test_lines_digests_and_keys_of_many_are_those_of_each(items: list[Item]) -> None:
    lines, digests = lines_and_digests(items)
    assert lines == [item.to_json() for item in items]
    assert digests == [item.digest() for item in items]
    assert keys_of(items) == [key_of(item) for item in items]
