"""The linter looks at blocks by array: what it finds in a record is what it finds in that record alone."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zhllm.stages._convert_items import Item, key_of, keys_of, written
from zhllm.text.chats import Chat, Preference
from zhllm.text.lint.linter import LintSettings, lint
from zhllm.text.lint.turns import Records

DIRT = (
    "你好，世界。", "A plain answer, with a full stop.", "我是ChatGPT，由OpenAI开发。", "As an AI made by OpenAI, I",
    "<|im_end|>", "</s>", "\nHuman: hi", "### Response:", "我叫{{name}}，是助手。", "13812345678",
    "１３８１２３４５６７８", "微信：abc12345", "a@b.com", "\x07", "\u200b", "ä½ å¥½ä¸–ç•Œ", "浣犲ソ涓栫晫",
    "\ufffd", "這個們來時說國為會對過學與後", "日本語です", "Привет мир", "café résumé naïve", "```python\n",
    "，", "the", "的", "𠀀𪚥", "👩‍🚀", "nan", "...", "42", "mixed 中文 words", "说明文字" * 20,
    "some long words " * 12, "\0", "ΟΔΟΣ", '","source":"x"},{"id":"', '"messages":[', "\\", "3.5", "，", ". ", "3.，5",
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
IDS = st.sampled_from(
    ['x","messages":[],"', "a.jsonl#7", "a.jsonl#1234567", "a.jsonl#13812345678", "13812345678", "x@y.com#1", "b#1"]
)
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


def columns(items: list[Item]) -> Records:
    """The records as convert gathers them: of a question and its answer only the texts."""
    records = Records()
    for item in items:
        if isinstance(item, Chat) and not item.meta and [m["role"] for m in item.messages] == ["user", "assistant"]:
            records.add_pairs([item.id], item.source, [item.messages[0]["content"]], [item.messages[1]["content"]])
        else:
            records.add(item)
    return records


@SLOW
@given(st.lists(CHATS | PREFERENCES, max_size=12), st.sampled_from([None, "小智"]))
def test_a_record_is_judged_alike_in_any_block(items: list[Item], identity: str | None) -> None:
    asked = LintSettings(identity=identity, language="zh")
    assert list(columns(items)) == items
    block = lint(columns(items), asked)
    for number, item in enumerate(items):
        alone = lint(Records([item]), asked)
        assert block.records[number] == alone.records[0]
        assert block.findings.get(number) == alone.findings.get(0)
        assert block.languages[number] == alone.languages[0]
        assert block.dropped.get(number) == alone.dropped.get(0)
        assert block.chars[block.records.span(number)].tolist() == alone.chars.tolist()


@SLOW
@given(st.lists(CHATS | PREFERENCES, max_size=8) | st.lists(CHATS.filter(lambda chat: len(chat.messages) == 2)))
def test_lines_digests_and_keys_of_many_are_those_of_each(items: list[Item]) -> None:
    records, chosen = columns(items), [number for number in range(len(items)) if number % 4]
    lines, sizes, digests = written(records, chosen)
    assert lines == b"".join(items[number].to_json() for number in chosen)
    assert sizes.tolist() == [len(items[number].to_json()) for number in chosen]
    assert digests == [items[number].digest() for number in chosen]
    assert keys_of(records, chosen) == [key_of(items[number]) for number in chosen]
