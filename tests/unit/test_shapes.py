"""Shapes of one question, and of lists of turns: what is taken, mended and refused, and which shape is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shaped import made, only_turns, refused, turns

from zhllm.text.shapes.recognise import recognise
from zhllm.text.shapes.record import FieldError, Options, identity_of, language_matches

ASKED = "公章由谁保管？"
ANSWER = "由行政部保管。🧑\u200d💼𠮷"
ONE = [("u", ASKED), ("a", ANSWER)]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"instruction": ASKED, "input": "", "output": ANSWER}, "alpaca"),
        ({"instruction": ASKED, "output": ANSWER, "history": []}, "alpaca"),
        ({"instruction": ASKED, "context": "", "response": ANSWER, "category": "qa"}, "alpaca"),  # dolly
        ({"kind": "问答", "input": ASKED, "target": ANSWER}, "qa"),  # Firefly
        ({"prompt": ASKED, "response": ANSWER}, "qa"),
        ({"question": ASKED, "answer": ANSWER}, "qa"),
        ({"query": ASKED, "response": ANSWER, "history": []}, "qa"),
        ({"inputs": ASKED, "targets": ANSWER}, "qa"),
        ({"input": ASKED, "output": ANSWER}, "qa"),
        ({"问题": ASKED, "答案": ANSWER}, "qa"),
        ({"Prompt": ASKED, "Completion": ANSWER}, "qa"),
        ({"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}]}, "messages"),
        ({"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWER}]}, "sharegpt"),
        ({"items": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWER}]}, "sharegpt"),
        ({"conversation": [{"human": ASKED, "assistant": ANSWER}]}, "sharegpt"),
        ({"id": "0", "data": [ASKED, ANSWER]}, "sharegpt"),  # UltraChat
        ({"conversations": [{"role": "用户", "content": ASKED}, {"role": "助手", "content": ANSWER}]}, "sharegpt"),
        ({"chat": {"turn_1": {"Human": f"<|Human|>: {ASKED}<eoh>\n", "MOSS": f"<|MOSS|>: {ANSWER}<eom>\n"}}}, "moss"),
        ({"plain_text": f"[Human]: {ASKED}<eoh> [MOSS]: {ANSWER}<eoa>"}, "moss"),
    ],
)
def test_each_shape_is_seen_and_says_the_same(value: dict[str, Any], shape: str) -> None:
    assert recognise(value) == shape
    assert only_turns(value) == ONE
    assert only_turns(value, shape) == ONE, "and when it is named"


AMBIGUOUS = [
    ({"prompt": {"text": ASKED}, "chosen": "一", "rejected": "二"}, "oasst"),
    ({"messages": [], "chosen": "一", "rejected": "二"}, "preference"),
    ({"instruction": ASKED, "output": ["一", "二"]}, "preference"),
    ({"instruction": ASKED, "input": "", "output": ["一", "二"]}, "preference"),
    ({"prompt": ASKED, "completion": ANSWER, "label": True}, "kto"),
    ({"messages": [], "label": False}, "kto"),
    ({"messages": [], "conversations": [], "instruction": ASKED}, "messages"),
    ({"instruction": ASKED, "output": ANSWER, "label": "财务"}, "alpaca"),  # a category, not a judgement
    ({"instruction": ASKED, "output": ANSWER, "label": 1}, "alpaca"),
    ({"context": "段", "question": "问", "answers": ["段"]}, "squad"),
    ({"context": "段", "question": "问", "answer": "段"}, "qa"),
    ({"conversations": [], "instruction": ASKED, "output": ANSWER}, "sharegpt"),
    ({"text": "字", "role": "assistant", "parent_id": None}, "oasst-messages"),
]


@pytest.mark.parametrize(("value", "shape"), AMBIGUOUS)
def test_keys_of_several_shapes_are_judged_in_one_order(value: dict[str, Any], shape: str) -> None:
    assert recognise(value) == shape
    assert recognise(dict(reversed(value.items()))) == shape, "and not by the order of the keys"


@pytest.mark.parametrize(
    "value", [{}, {"text": "一段文字"}, {"question": ASKED}, {"output": ANSWER}, {"messages": "字"}]
)
def test_what_has_no_shape_is_refused_with_its_keys(value: dict[str, Any]) -> None:
    with pytest.raises(FieldError) as caught:
        recognise(value)
    expected = f"has no shape that is known; its keys: {', '.join(value)}" if value else "is an empty object"
    assert caught.value.reason == expected


def test_alpaca_with_the_names_of_others() -> None:
    value = {"instruction": ASKED, "context": "材料", "response": ANSWER, "system": "你是助手。"}
    assert only_turns(value) == [("s", "你是助手。"), ("u", f"{ASKED}\n材料"), ("a", ANSWER)]
    refused({"instruction": ASKED, "response": " \n"}, "response", "is empty")
    refused({"instruction": ASKED, "output": 5}, "output", "is number, not text")
    assert only_turns({"context": "材料", "question": "问？", "answer": "答"}) == [("u", "问？\n材料"), ("a", "答")]


BELLE = "Human:你好，我想学做菜。\nAssistant：好的，想学哪道？\nHuman: 宫保鸡丁。\nHuman 也可写成英文词\n Assistant:\n"


def test_belles_turns_in_the_instruction() -> None:
    said = only_turns({"instruction": BELLE, "input": "", "output": "先切鸡丁。"})
    assert said == [
        ("u", "你好，我想学做菜。"),
        ("a", "好的，想学哪道？"),
        ("u", "宫保鸡丁。\nHuman 也可写成英文词"),
        ("a", "先切鸡丁。"),
    ]


@pytest.mark.parametrize(
    "asked", ["Human: 甲\nHuman: 乙", "Humanity 是什么？", "Human:\nAssistant: 答\nHuman: 问", "Human 是谁"]
)
def test_what_only_looks_like_belles_turns_stays_one_question(asked: str) -> None:
    assert only_turns({"instruction": asked, "input": "", "output": "答"}) == [("u", asked), ("a", "答")]


def test_history_of_a_line() -> None:
    value = {"query": "三问", "response": "三答", "history": [["一问", "一答"], ["二问", "二答"]]}
    assert [text for _, text in only_turns(value)] == ["一问", "一答", "二问", "二答", "三问", "三答"]
    refused(value | {"history": [["一问", None]]}, "history[0][1]", "is null, not text")


def test_moss_with_tools_and_thoughts() -> None:
    value = {
        "conversation_id": "7",
        "meta_instruction": "你是 MOSS。",
        "chat": {
            "turn_10": {"Human": "<|Human|>: 好<eoh>\n", "MOSS": "<|MOSS|>: 再见<eom>\n"},
            "turn_2": {
                "Human": "<|Human|>: 今天谁赢了？<eoh>\n",
                "Inner Thoughts": "<|Inner Thoughts|>: 需要搜索。<eot>\n",
                "Commands": '<|Commands|>: Search("比赛")<eoc>\n',
                "Tool Responses": "<|Results|>: 甲队赢了。<eor>\n",
                "MOSS": "<|MOSS|>: 甲队。<eom>\n",
            },
        },
    }
    given = made(value)
    (chat,) = given.chats
    assert chat.id == "7"
    assert turns(chat) == [
        ("s", "你是 MOSS。"),
        ("u", "今天谁赢了？"),
        ("a", '调用工具 Search("比赛")'),
        ("u", "工具返回：\n甲队赢了。"),
        ("a", "甲队。"),
        ("u", "好"),
        ("a", "再见"),
    ]
    assert given.repairs == {"reasoning_left_out": 1}
    refused({"chat": {"first": {}}}, "chat.first", "is not turn_1, turn_2")
    refused({"chat": {"turn_1": {"Human": "问", "MOSS": "<|MOSS|>: <eom>"}}}, "chat.turn_1.MOSS", "is empty")
    refused({"chat": {"turn_1": ["问"]}}, "chat.turn_1", "is list, not a turn")


def said_by(*parts: tuple[str, Any], key: str = "messages", **more: Any) -> dict[str, Any]:
    return {key: [{"role": role, "content": content} for role, content in parts]} | more


def test_mended_order_is_counted() -> None:
    value = said_by(
        ("assistant", "您好，我能帮什么？"),
        ("user", "一"),
        ("user", "二"),
        ("assistant", "三"),
        ("assistant", "四"),
        ("user", "五"),
    )
    given = made(value)
    assert turns(given.chats[0]) == [("u", "一\n二"), ("a", "三\n四")]
    assert given.repairs == {"dropped_greetings": 1, "joined_turns": 2, "dropped_last_questions": 1}
    assert made(said_by(("user", "问"), ("assistant", "答"))).repairs == {}


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (said_by(("user", "问"), ("system", "后"), ("assistant", "答")), "messages[1]", "is a turn of the system's"),
        (said_by(("user", "问")), "messages", "holds no answer"),
        (said_by(("assistant", "您好")), "messages", "holds no answer"),
        (said_by(("system", "设定")), "messages", "holds no answer"),
        ({"messages": []}, "", "holds no answer"),
        (said_by(("user", "问"), ("人", "答")), "messages[1].role", "is '人', none of"),
        (said_by(("user", "问"), ("assistant", " ")), "messages[1].content", "is empty or missing"),
        (said_by(("user", "问"), ("assistant", None)), "messages[1].content", "is empty or missing"),
        (said_by(("user", 5), ("assistant", "答")), "messages[0].content", "is number, neither text nor"),
        ({"messages": [{"from": 3, "value": "问"}]}, "messages[0].from", "is '3', none of"),
        ({"messages": ["问", 5]}, "messages[1]", "is number, not a turn"),
        ({"messages": [{"甲": "问"}]}, "messages[0]", "names no role (keys: 甲)"),
        ({"conversations": [{"from": "human", "value": "问"}], "images": ["a.png"]}, "images", "names pictures"),
        (said_by(("user", [{"type": "image_url", "image_url": {}}])), "messages[0].content[0]", "is of type image_url"),
        (said_by(("user", [{"type": "text"}])), "messages[0].content[0]", "has no text (keys: type)"),
        (said_by(("user", [7])), "messages[0].content[0]", "is of type number"),
        (said_by(("user", "问\ud83d"), ("assistant", "答")), "messages[0].content", "holds a lone surrogate"),
    ],
)  # fmt: skip
def test_wrong_turns_are_refused_by_path(value: dict[str, Any], field: str, reason: str) -> None:
    refused(value, field, reason)


def test_parts_of_a_content() -> None:
    parts = [
        {"type": "text", "text": "一"},
        {"type": "text", "value": "二"},
        "三",
        {"type": "input_text", "text": "四"},
    ]
    assert only_turns(said_by(("developer", "设定"), ("user", parts), ("assistant", "答"))) == [
        ("s", "设定"),
        ("u", "一\n二\n三\n四"),
        ("a", "答"),
    ]


@pytest.mark.parametrize("key", ["weight", "loss_weight", "train", "loss"])
def test_weights(key: str) -> None:
    value = said_by(("user", "一"), ("assistant", "二"), ("user", "三"), ("assistant", "四"))
    value["messages"][1][key] = 0
    value["messages"][3][key] = True
    assert only_turns(value) == [("u", "一"), ("a", "(二)"), ("u", "三"), ("a", "四")]
    (chat,) = made(value).chats
    assert json.loads(chat.to_json())["messages"][1] == {"role": "assistant", "content": "二", "weight": 0}
    assert "weight" not in chat.messages[3]
    value["messages"][1][key] = 0.5
    refused(value, f"messages[1].{key}", "is 0.5, neither 0 nor 1")
    value["messages"][1][key] = value["messages"][3][key] = 0
    refused(value, "messages", "every turn of the assistant has weight 0")


def test_neighbours_of_unlike_weight_are_not_joined() -> None:
    value = said_by(("user", "一"), ("assistant", "二"), ("assistant", "三"))
    value["messages"][1]["weight"] = 0
    refused(value, "messages[2]", "follows a turn of the same role with another weight (0, 1)")


def test_openai_tools_become_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"城市": "北京"}'}}
    value = {
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "messages": [
            {"role": "user", "content": "北京天气？"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "晴"},
            {"role": "assistant", "content": "晴天。", "reasoning_content": "想一想"},
        ],
    }
    assert only_turns(value) == [
        ("s", '可以使用的工具：\n[{"type":"function","function":{"name":"weather"}}]'),
        ("u", "北京天气？"),
        ("a", '调用工具 weather：{"城市": "北京"}'),
        ("u", "工具 weather 返回：\n晴"),
        ("a", "晴天。"),
    ]
    assert made(value).repairs == {"reasoning_left_out": 1}
    refused(said_by(("user", "问"), ("assistant", "")) | {"functions": []}, "messages[1].content", "is empty")
    value["messages"][1]["tool_calls"] = [{"function": {}}]
    refused(value, "messages[1].tool_calls[0]", "names no function")


def test_sharegpt_tools_become_text() -> None:
    talk = [
        ("human", "What is 1+1?"),
        ("function_call", '{"name": "add", "arguments": {"a": 1, "b": 1}}'),
        ("observation", '{"sum": 2}'),
        ("gpt", "2"),
    ]
    value = {
        "conversations": [{"from": role, "value": text} for role, text in talk],
        "system": "Be short.",
        "tools": "[]",
    }
    assert only_turns(value) == [
        ("s", "Be short."),
        ("u", "What is 1+1?"),
        ("a", 'Call the tool add: {"a":1,"b":1}'),
        ("u", 'The tool returned:\n{"sum": 2}'),
        ("a", "2"),
    ]
    assert only_turns(value | {"tools": '[{"name": "add"}]'})[0] == (
        "s",
        'Be short.\nTools you can use:\n[{"name": "add"}]',
    )


def test_identity_and_language() -> None:
    assert identity_of({"id": 0, "conversation_id": "甲"}, "a#1") == "0"
    assert identity_of({"id": "", "conversation_id": "甲"}, "a#1") == "甲"
    assert identity_of({"id": None, "id_": 3}, "a#1") == "a#1"
    assert [language_matches({"lang": lang}, "zh") for lang in ("zh", "zh-CN", "ZH_tw", "zha", "en", None)] == [
        True, True, True, False, False, True
    ]  # fmt: skip
    assert Options().oasst_paths == "best"


def test_what_cannot_be_written_is_refused_or_named_otherwise() -> None:
    assert identity_of({"id": "甲\ud83d"}, "a#1") == "a#1"
    big = {"id": 1 << 70, "messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]}
    (chat,) = made(big).chats
    assert json.loads(chat.to_json())["id"] == str(1 << 70)
    refused(big | {"meta": {"n": 1 << 70}}, "meta", "holds a lone surrogate or a number beyond 64 bits")
    call = {"function": {"name": "add", "arguments": {"a": 1 << 70}}}
    big["messages"][1]["tool_calls"] = [call]
    assert str(1 << 70) in only_turns(big)[1][1]
    call["function"]["arguments"] = {"a": "\ud83d"}
    refused(big, "messages[1].content", "holds a lone surrogate")
