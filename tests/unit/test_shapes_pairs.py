"""Preference pairs and labelled answers in the shapes people publish them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shaped import made, read, refused

from zhllm.text.chats import Chat, Preference

USER = {"role": "user", "content": "问？"}
GOOD, BAD = {"role": "assistant", "content": "好"}, {"role": "assistant", "content": "坏"}
GPT = {"from": "gpt"}
HUMAN = {"from": "human", "value": "问？"}
HH = "\n\nHuman: 问？\n\nAssistant: "


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "问？", "chosen": "好", "rejected": "坏"},
        {"question": "问？", "response_chosen": "好", "response_rejected": "坏"},
        {"prompt": "问？", "chosen_response": "好", "rejected_response": "坏"},
        {"prompt": "问？", "pos_resp": "好", "neg_resp": "坏"},
        {"question": "问？", "response_j": "好", "response_k": "坏"},
        {"instruction": "问？", "input": "", "output": ["好", "坏"]},
        {"instruction": "问？", "chosen": ["好"], "rejected": ["坏"]},
        {"conversations": [HUMAN], "chosen": "好", "rejected": "坏"},
        {
            "conversations": [HUMAN],
            "chosen": {"from": "gpt", "value": "好"},
            "rejected": {"from": "gpt", "value": "坏"},
        },
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "问？", "prompt_id": "x", "chosen": [USER, GOOD], "rejected": [USER, BAD], "messages": [USER, GOOD]},
        {"chosen": HH + "好", "rejected": HH + "坏"},
        {"prompt": HH, "chosen": "好", "rejected": "坏"},
        {"conversations": [HUMAN], "chosen": {"value": "好"}, "rejected": {"content": "坏"}},
    ],
)
def test_each_shape_of_a_pair(value: dict[str, Any]) -> None:
    given = made(value)
    assert given.chats == ()
    (pair,) = given.preferences
    assert (pair.prompt, pair.chosen, pair.rejected) == ((USER,), "好", "坏")
    assert pair.id == value.get("prompt_id", "a#7")


def said(*texts: str) -> tuple[dict[str, str], ...]:
    roles = ("user", "assistant")
    return tuple({"role": roles[i % 2], "content": text} for i, text in enumerate(texts))


def test_pairs_with_earlier_turns_and_a_system() -> None:
    system = {"role": "system", "content": "设定"}
    want = (system, *said("一", "二", "三"))
    for value in (
        {"system": "设定", "history": [["一", "二"]], "question": "三", "response_chosen": "好",
         "response_rejected": "坏"},
        {"conversations": [{"from": "system", "value": "设定"}, *({"from": f, "value": v} for f, v in (
            ("human", "一"), ("gpt", "二"), ("human", "三")))], "chosen": "好", "rejected": "坏"},
        {"system": "设定", "chosen": [*said("一", "二", "三"), GOOD], "rejected": [*said("一", "二", "三"), BAD]},
        {"chosen": [*want, GOOD], "rejected": [*want, BAD]},
        {"system": "设定", "prompt": "Human: 一\n\nAssistant: 二\n\nHuman: 三\n\nAssistant:", "chosen": "好",
         "rejected": "坏"},
    ):  # fmt: skip
        (pair,) = made(value).preferences
        assert pair.prompt == want, value


def test_a_list_of_outputs_is_best_first() -> None:
    given = made({"instruction": "问？", "input": "材料", "output": ["好", "中", "坏"]})
    assert [(p.id, p.chosen, p.rejected) for p in given.preferences] == [("a#7/1", "好", "中"), ("a#7/2", "好", "坏")]
    assert given.preferences[0].prompt[0]["content"] == "问？\n材料"


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"prompt": "问", "chosen": "好"}, "rejected", "is missing"),
        ({"prompt": "问", "chosen": None, "rejected": None}, "chosen", "is null"),
        ({"prompt": "问", "chosen": None}, "chosen", "is null"),
        ({"prompt": "问", "chosen": " ", "rejected": "坏"}, "chosen", "is empty"),
        ({"prompt": "问", "chosen": 5, "rejected": "坏"}, "chosen", "is neither text, nor a turn"),
        ({"prompt": "问", "chosen": [], "rejected": "坏"}, "chosen", "is neither text, nor a turn"),
        ({"prompt": "问", "chosen": "好", "rejected": "好 "}, "rejected", "is the same as the better answer"),
        ({"chosen": "好", "rejected": "坏", "题": "问"}, "prompt", "is missing; keys: chosen, rejected, 题"),
        ({"prompt": " ", "chosen": "好", "rejected": "坏"}, "prompt", "is empty"),
        ({"chosen": [USER, GOOD], "rejected": [USER]}, "rejected", "is not one turn of the assistant's after"),
        ({"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD]}, "chosen", "is not one turn of the assistant's"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "答"}], "chosen": "好", "rejected": "坏"},
         "conversations", "does not end with a user's turn"),
        ({"conversations": [], "chosen": "好", "rejected": "坏"}, "", "does not end with a user's turn"),
        ({"instruction": "问", "output": ["好"]}, "output", "is a list of 1"),
        ({"instruction": "问", "output": ["好", "好"]}, "output[1]", "is the same"),
        ({"instruction": "问", "output": ["好", 3]}, "output[1]", "is number, not text"),
        ({"prompt": "问", "chosen": [{"type": "image"}], "rejected": "坏"}, "chosen", "is empty"),
    ],
)  # fmt: skip
def test_bad_pairs_are_refused_by_field(value: dict[str, Any], field: str, reason: str) -> None:
    refused(value, field, reason)


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ({"messages": [USER, GOOD], "label": True}, True),
        ({"messages": [USER, GOOD], "label": False}, False),
        ({"prompt": "问？", "completion": "好", "label": True}, True),
        ({"prompt": [USER], "completion": [GOOD], "label": False}, False),
        ({"instruction": "问？", "input": "", "output": "好", "kto_tag": True}, True),
        ({"instruction": "问？", "input": "", "output": "好", "kto_tag": "false"}, False),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "好"}], "kto_tag": "desirable"}, True),
        ({"messages": [USER, GOOD], "label": "财务", "kto_tag": False}, False),
    ],
)
def test_a_label_makes_half_a_preference(value: dict[str, Any], is_good: bool) -> None:
    given = made(value)
    (half,) = given.preferences
    assert (half.prompt, half.chosen, half.rejected) == ((USER,), *(("好", None) if is_good else (None, "好")))
    assert given.facts == {"kto_good" if is_good else "kto_bad": 1}


def test_bad_labels() -> None:
    refused(
        {"messages": [USER, GOOD], "kto_tag": "maybe"}, "kto_tag", "is 'maybe', neither true, 1, desirable, good nor"
    )
    refused({"messages": [USER, GOOD], "label": 0.5}, "label", "is '0.5'", "kto")
    refused({"messages": [USER, GOOD]}, "label", "is missing", "kto")
    refused({"messages": [USER], "label": True}, "messages[0]", "is the last turn, but not an answer")
    refused({"messages": [], "label": True}, "messages", "is empty")
    refused({"prompt": "问", "completion": "", "label": True}, "messages", "is no list of turns")


def test_canonical_records_come_back_as_they_are(tmp_path: Path) -> None:
    evidence = {"evidence": {"text": "答", "start": 0}}
    silent = {"role": "assistant", "content": "答", "weight": 0}
    chats = [Chat("一", (USER, GOOD), "c", evidence), Chat("二", (USER, silent, USER, GOOD), "c", {"synthetic": True})]
    halves = [
        Preference("三", (USER,), "好", "坏", "p", {"language": "zh"}),
        Preference("四", (USER,), "好", None, "p"),
        Preference("五", (USER,), None, "坏", "p", {"language": "zh"}),
    ]
    for name, items in (("c", chats), ("p", halves)):
        (tmp_path / name).write_bytes(b"".join(item.to_json() for item in items))
        good, bad = read(tmp_path / name)
        assert bad == []
        assert [item for given in good for item in (*given.chats, *given.preferences)] == items
    foreign = {"messages": [USER, GOOD], "meta": {"url": "x"}, "topic": "别处的"}
    assert made(foreign).chats[0].meta == {}
