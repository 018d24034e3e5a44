"""The linter of instruction data: each finding on records that have it, and on records that must stay alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from zhllm.text.chats import Chat, Preference
from zhllm.text.clean.pii import KINDS
from zhllm.text.lint.findings import DROPPED, FINDINGS
from zhllm.text.lint.linter import Linted, LintSettings, lint
from zhllm.text.lint.masking import with_identity_to_mask, with_masked_identity
from zhllm.text.lint.turns import Records

QUESTION = "请介绍一下合肥的天气。"


def chat(answer: str, question: str = QUESTION, system: str | None = None) -> Chat:
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Chat("a.json#1", tuple(messages), "a.json")


def linted(answer: str, question: str = QUESTION, **settings: object) -> Linted:
    return lint(Records([chat(answer, question)]), LintSettings(**settings))  # type: ignore[arg-type]


def names(answer: str, question: str = QUESTION, **settings: object) -> list[str]:
    return [finding.name for finding in linted(answer, question, **settings).findings.get(0, [])]


def answer_of(result: Linted) -> str:
    return str(result.records[0].messages[-1]["content"])


@pytest.mark.parametrize("answer", ["……", "。", "nan", "None", "<noinput>", "---\n***", "N/A"])
def test_an_answer_of_nothing_is_an_empty_turn_and_drops_the_chat(answer: str) -> None:
    assert names(answer) == ["empty-turn"]
    assert linted(answer).dropped == {0: "empty-turn"}


@pytest.mark.parametrize("answer", ["3", "是", "👍🏽", "👨‍👩‍👧", "Ω", "𠮷", "あ"])
def test_a_short_answer_is_no_empty_turn(answer: str) -> None:
    assert names(answer) == []


LONG = "合肥属亚热带季风性湿润气候，四季分明，气候温和，雨量适中。" * 5
CUT = [
    LONG + "其中，春季",
    LONG + "夏季多雨，",
    LONG + "主要的原因包括、",
    LONG + "主要有以下几种：",
    "代码如下，请参考下面的实现方法，并按照需要修改其中的参数：\n```python\nprint(1)\nfor i in range(10):",
    "```python\nprint(1)",
    "可以从以下几点考虑：",
    "主要的原因包括：",
    "The steps are as follows:",
    "The climate of Hefei is humid. " * 6 + "In summer the rain is the result of",
    "The climate of Hefei is humid. " * 6 + "In summer it rains, and the temperature rei",
]
WHOLE = [
    LONG,
    LONG + "😊",
    LONG + "\n\n1. 春季\n2. 夏季\n3. 秋季",
    LONG + "\n\n此致，\n张三",
    LONG + "\n\n参考：https://example.com/weather",
    LONG + "\n\n| 月份 | 气温 |\n|---|---|\n| 一月 | 3 |",
    "合肥",
    "代码如下：\n```python\nprint('四季分明的合肥市天气预报程序，仅供参考')\n```",
    "床前明月光\n疑是地上霜\n举头望明月\n低头思故乡\n" * 4 + "床前明月光，\n疑是地上霜",
    "The climate of Hefei is humid. " * 6 + "\n- Spring\n- Summer",
    "Apple, Banana, Grapes",
    "```print(1)``` 就行",
    "标题：春季",
    "以下是我的回答：春季多雨。",
]


@pytest.mark.parametrize("answer", CUT)
def test_an_answer_that_ends_in_the_middle_is_truncated(answer: str) -> None:
    assert "truncated" in names(answer, "天气如何？ weather in English?")


@pytest.mark.parametrize("answer", WHOLE)
def test_lists_tables_verses_titles_and_code_are_not_truncated(answer: str) -> None:
    assert "truncated" not in names(answer, "天气如何？ weather in English?")


def test_an_answer_that_says_the_question_again_is_a_repetition() -> None:
    assert names(QUESTION) == ["repeated-turn"]
    long = "合肥属亚热带季风性湿润气候，四季分明，气候温和，雨量适中，光照充足。"
    turns = [{"role": r, "content": c} for r, c in (("user", "天气？"), ("assistant", long)) * 2]
    found = lint(Records([Chat("1", tuple(turns), "a")]), LintSettings()).findings[0]
    assert [f.name for f in found] == ["repeated-turn"]
    same = Preference("1", ({"role": "user", "content": QUESTION},), long, long, "a")
    assert [f.name for f in lint(Records([same]), LintSettings()).findings[0]] == ["repeated-turn"]


def test_roles_out_of_order_are_found() -> None:
    turns = (
        {"role": "user", "content": "一"},
        {"role": "user", "content": "二"},
        {"role": "assistant", "content": "三"},
    )
    result = lint(Records([Chat("1", turns, "a")]), LintSettings())
    assert result.findings[0][0].detail == "user, user, assistant"
    assert result.dropped == {0: "role-order"}


def test_personal_data_is_masked_in_contents_answers_and_metadata() -> None:
    said = "我的手机号是１３８１２３４５６７８，邮箱 wang.fang@huiju.com.cn"
    one = Chat("1", chat("好的，已记下 13812345678。", said).messages, "13987654321.json", {"电话": "13712345678"})
    two = Preference("2", one.messages[:1], None, "请拨打 13812345678 联系王芳。", "a")
    result = lint(Records([one, two]), LintSettings())
    assert [m["content"] for m in result.records[0].messages] == [
        "我的手机号是[手机号]，邮箱 [邮箱]",
        "好的，已记下 [手机号]。",
    ]
    assert (result.records[0].source, result.records[0].meta) == ("[手机号].json", {"电话": "[手机号]"})
    assert isinstance(answers := result.records[1], Preference)
    assert (answers.chosen, answers.rejected) == (None, "请拨打 [手机号] 联系王芳。")
    assert (result.counts["pii_mobile"], result.counts["pii_email"]) == (4, 2)
    kept = lint(Records([one, two]), LintSettings(masked=()))
    assert (list(kept.records), kept.findings) == ([one, two], {})


@pytest.mark.parametrize(
    ("answer", "kept"),
    [("你好。<|im_end|>", "你好。"), ("你好。</s></s>\n", "你好。"), ("你好。<|eot_id|>\n<|im_start|>user", "你好。"),
     ("你好。<eom>", "你好。"), ("你好。\n\nHuman:", "你好。"), ("<|im_end|> 是结束标记。", "<|im_end|> 是结束标记。")],
)  # fmt: skip
def test_control_tokens_are_found_and_stripped_at_the_end_of_an_answer(answer: str, kept: str) -> None:
    result = linted(answer)
    assert [f.name for f in result.findings[0]] == ["special-token"]
    assert answer_of(result) == kept


@pytest.mark.parametrize("answer", ["这是<s>删除</s>的字。", "a <| b |> c", "他说：Human 是人。", "if (a<s) return;"])
def test_what_only_looks_like_a_token_stays(answer: str) -> None:
    assert names(answer) == []


def test_what_lost_its_encoding_is_mended_where_it_is_certain() -> None:
    broken = "合肥属亚热带季风性湿润气候，四季分明。".encode().decode("latin-1")
    assert answer_of(linted(broken)) == "合肥属亚热带季风性湿润气候，四季分明。"
    assert answer_of(linted("你好\u200b，\x00世\x0c界。")) == "你好，世\n界。"
    assert names("你好\ufffd\ufffd世界。") == ["garbled"]
    assert names("👨‍👩‍👧 ２０２４年　全角。") == []  # joiners, full width


def test_the_language_is_told_by_the_script() -> None:
    texts = {"合肥的天气。": "zh", "這個問題說得對，請問您還有什麼問題？": "zh-Hant", "It rains today.": "en",
             "Погода сегодня хорошая.": "other", "今日はいい天気ですね。": "other",
             "Il fait très beau à l'été, déjà.": "other",
             "请把 weather is fine today and very good 翻译成中文": "mixed"}  # fmt: skip
    chats = [chat(text, text + "？") for text in texts]
    assert lint(Records(chats), LintSettings()).languages == list(texts.values())
    result = lint(Records(chats), LintSettings(language="zh", drop=frozenset({"language"})))
    assert result.dropped == {number: "language" for number in range(2, 7)}


def test_an_answer_in_another_language_is_a_switch_unless_asked_for() -> None:
    answer = "The weather in Hefei is mild and humid all through the year."
    assert names(answer) == ["language-switch"]
    assert names(answer, "请把这段话翻译成英文：合肥气候温和湿润。") == []


def test_too_long_records_are_told_by_the_callers_lengths() -> None:
    def lengths(conversations: object) -> list[int]:
        return [sum(len(m["content"]) for m in said) for said in conversations]  # type: ignore[attr-defined]

    result = linted(LONG, lengths=lengths, max_tokens=100)
    assert result.findings[0][0].name == "too-long"
    assert result.findings[0][0].detail == f"{len(LONG) + len(QUESTION)} tokens of 100"
    assert result.dropped == {}


def test_the_table_names_what_is_dropped() -> None:
    assert {name for name, rule in FINDINGS.items() if rule.drops} == DROPPED
    assert lint(Records([]), LintSettings()).dropped == {}


def test_utf8_that_was_read_as_gbk_is_mended() -> None:
    meant = "中文信息处理系统和汉字编码的历史很长"
    assert answer_of(linted(meant.encode().decode("gb18030"))) == meant
    assert names("浣犲ソ\ufffd锛屼笘鐣屻") == ["garbled"]


def test_what_is_left_of_mojibake_that_lost_bytes_is_told() -> None:
    broken = "合肥属亚热带季风性湿润气候，四季分明，光照充足。".encode().decode("latin-1")
    lost = "".join(char for char in broken if not "\x80" <= char <= "\x9f")
    result = linted(lost)
    assert [f.name for f in result.findings[0]] == ["garbled"]
    assert "mojibake" in result.findings[0][0].detail


def test_evidence_stands_where_it_stood_before_masking() -> None:
    asked = "电话13812345678，地址在合肥市。\n问：地址在哪？"
    messages = ({"role": "user", "content": asked}, {"role": "assistant", "content": "在合肥市。"})
    chat = Chat("1", messages, "a", {"evidence": {"text": "合肥市", "start": asked.index("合肥市"), "title": ""}})
    result = lint(Records([chat]), LintSettings()).records[0]
    start = result.meta["evidence"]["start"]
    assert result.messages[0]["content"][start:].startswith("合肥市。")
    assert result.messages[0]["content"].startswith("电话[手机号]，")


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_every_finding_is_documented(readme: str) -> None:
    text = (Path(__file__).parents[2] / readme).read_text(encoding="utf-8")
    assert [name for name in FINDINGS if f"\n| `{name}` |" not in text] == []


@pytest.mark.parametrize("source", ["a.jsonl", "tel.jsonl", "电话", "TEL.", "手机号：", "传真 ", "x-10"])
def test_no_number_of_a_line_is_taken_for_one_of_a_telephone(source: str) -> None:
    for number in ("1234567", "62345678", "6212345", "10623456"):
        record = Chat(f"{source}#{number}", chat("好。").messages, source)
        assert with_masked_identity(record, KINDS) == record
        assert with_identity_to_mask(Records([record])) == []
