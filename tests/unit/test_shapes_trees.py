"""OASST trees, nested and flat: paths, weights, ranks, languages, and what is left out of them.

oasst_zh.jsonl is written for this project: seven trees in zh, zh-CN, zh-TW and en with ranks, spam, a deleted
reply, a machine-written one, and a tree that was given up.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shaped import made, read, refused, turns, write_lines

from zhllm.text.read.sources import SourceFile
from zhllm.text.shapes.reading import is_line_by_line, read_units
from zhllm.text.shapes.record import Options, Unit, language_matches

FIXTURE = Path(__file__).with_name("oasst_zh.jsonl")
TREES = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for reply in node["replies"]:
        yield from nodes(reply)


def test_the_fixture_with_the_best_paths() -> None:
    good, bad = read(FIXTURE)
    assert bad == [(6, "tree_state", 'is "aborted_low_grade": the project gave this tree up')]
    chats = [chat for given in good for chat in given.chats]
    assert [chat.id for chat in chats] == ["zh-01", "zh-02", "zh-03", "zh-04", "zh-05", "zh-07"]
    assert [text[:6] for _, text in turns(chats[0])] == ["公司的印章要", "先在系统里填", "如果当天回不", "当天下班前告"]
    assert [chat.meta for chat in chats] == [{}, {"synthetic": True}, {}, {}, {}, {}]
    assert turns(chats[2])[1][1].startswith("它是销售方"), "what is deleted is not the best"
    assert len(chats[5].messages) == 2, "spam is left out, and the last question has no answer"


def test_languages_of_the_fixture() -> None:
    taken = [language_matches(tree, "zh") for tree in TREES]
    assert taken == [True, True, True, True, False, True, True]
    assert sum(language_matches(tree, "zh-CN") for tree in TREES) == 2


def test_the_facts_of_the_fixture() -> None:
    good, _ = read(FIXTURE)
    facts = {name: sum(given.facts.get(name, 0) for given in good) for name in good[0].facts}
    every = [node for tree in TREES if tree["message_tree_id"] != "zh-06" for node in nodes(tree["prompt"])]
    left_out = [n for n in every if n["deleted"] or not n["review_result"] or "点此领取" in n["text"]]
    assert len(left_out) == 3
    assert facts["oasst_trees"] == 6
    assert facts["oasst_messages"] == len(every) - 3
    assert facts["oasst_ranked"] == sum(n["rank"] is not None and n not in left_out for n in every)
    assert sum(given.facts.get("oasst_left_out", 0) for given in good) == 3


def test_pairs_from_ranks() -> None:
    good, _ = read(FIXTURE)
    pairs = [(p.id, len(p.prompt), p.chosen[:4], p.rejected[:4]) for p in good[0].preferences]
    assert pairs == [
        ("zh-01/1", 1, "先在系统", "要先申请"),
        ("zh-01/2", 1, "先在系统", "直接去行"),
        ("zh-01/3", 3, "当天下班", "那就第二"),
    ]
    assert [len(given.preferences) for given in good] == [3, 1, 0, 1, 0, 0]


def answer(text: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "text": text, "replies": list(replies), **more}


def question(text: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"role": "prompter", "text": text, "replies": list(replies), **more}


def test_all_paths_teach_each_answer_once() -> None:
    root = question(
        "一",
        answer(
            "甲",
            question("二", answer("丙", rank=1), answer("乙", rank=0)),
            question("三", answer("丁")),
            question("四"),
        ),
        answer("戊", question("无人答")),
    )
    given = made({"message_tree_id": "树", "prompt": root}, oasst_paths="all")
    assert [chat.id for chat in given.chats] == ["树/1", "树/2", "树/3", "树/4"]
    assert ["".join(text for _, text in turns(chat)) for chat in given.chats] == [
        "一甲二乙",
        "一(甲)二丙",
        "一(甲)三丁",
        "一戊",
    ]


def test_over_all_paths_every_answer_is_learnt_exactly_once() -> None:
    rng = random.Random(5)
    count = 0

    def grow(depth: int) -> dict[str, Any]:
        nonlocal count
        count += 1
        width = rng.choice([0, 1, 2, 3]) if 0 < depth < 6 else (2 if depth == 0 else 0)
        make = question if depth % 2 == 0 else answer
        return make(f"第{count}句", *(grow(depth + 1) for _ in range(width)), rank=rng.choice([None, 0, 1]))

    for _ in range(200):
        root = grow(0)
        chats = made({"prompt": root}, oasst_paths="all").chats
        learnt = [
            m["content"] for chat in chats for m in chat.messages if m["role"] == "assistant" and m.get("weight", 1)
        ]
        assert sorted(learnt) == sorted(node["text"] for node in nodes(root) if node["role"] == "assistant")
        assert len({chat.digest() for chat in chats}) == len(chats)


def test_of_the_users_replies_one_with_an_answer_is_followed() -> None:
    root = question("一", answer("甲", question("无人答", rank=0), question("二", answer("乙"), rank=1)))
    assert turns(made({"prompt": root}).chats[0])[-1] == ("a", "乙")


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"prompt": question("问", review_result=False)}, "prompt.review_result", "the first message was refused"),
        ({"prompt": question("问", labels={"spam": 0.9})}, "prompt.review_result", "the first message was refused"),
        ({"prompt": question("问", answer("答", rank=True))}, "prompt.replies[0].rank", "is True, not a whole"),
        ({"prompt": question("问", answer("答", replies="字"))}, "prompt.replies[0].replies", "is text, not a list"),
        ({"prompt": question("问", answer("答", deleted=True))}, "prompt.replies", "holds no answer"),
        (answer("答"), "role", 'is "assistant" where "prompter"'),
        ({"tree_state": "halted_by_moderator", "prompt": question("问", answer("答"))}, "tree_state", "is "),
    ],
)  # fmt: skip
def test_trees_are_refused_by_path(value: dict[str, Any], field: str, reason: str) -> None:
    refused(value, field, reason)


def flat(trees: list[dict[str, Any]], seed: bool = False) -> list[dict[str, Any]]:
    """The messages of trees one by one, under the names of either export."""
    found = []
    for tree in trees:
        for node in nodes(tree["prompt"]):
            plain = {key: value for key, value in node.items() if key != "replies"}
            if seed:
                plain["user_message_id"], plain["parent_message_id"] = plain.pop("message_id"), plain.pop("parent_id")
                plain = {"task_message_id": f"t{len(found)}", **plain}
            found.append(plain)
    return found


@pytest.mark.parametrize("seed", [False, True])
@pytest.mark.parametrize("paths", ["best", "all"])
def test_flat_messages_give_what_their_trees_give(tmp_path: Path, seed: bool, paths: str) -> None:
    trees = [tree for tree in TREES if tree["message_tree_id"] != "zh-06"]
    messages = flat(trees, seed)
    path = write_lines(tmp_path / "flat.jsonl", messages)
    assert not is_line_by_line(SourceFile(path, path.name), "auto")
    good, bad = read(path, oasst_paths=paths)
    nested, _ = read(write_lines(tmp_path / "trees.jsonl", trees), oasst_paths=paths)
    assert bad == []
    assert [turns(chat) for given in good for chat in given.chats] == [
        turns(chat) for given in nested for chat in given.chats
    ]
    random.Random(3).shuffle(messages)
    shuffled, bad = read(write_lines(tmp_path / "flat.jsonl", messages), oasst_paths="best")
    assert bad == [] and sum(given.facts["oasst_messages"] for given in shuffled) == len(messages) - 3


def test_flat_messages_that_are_in_no_tree_are_named_by_line(tmp_path: Path) -> None:
    def said(identity: Any, parent: Any, role: str, text: str) -> dict[str, Any]:
        return {"message_id": identity, "parent_id": parent, "role": role, "text": text}

    messages = [
        said("1", None, "prompter", "问"),
        said("2", "1", "assistant", "答"),
        said("1", None, "prompter", "重名"),
        said("9", "没有", "assistant", "孤儿"),
        said("10", "9", "prompter", "孤儿之下"),
        said("3", "2", "assistant", "不该轮到"),
        said("4", "3", "prompter", "其下"),
        said("5", "2", "prompter", " "),
        said("6", "7", "prompter", "环"),
        said("7", "6", "assistant", "环"),
        said(None, "1", "assistant", "无名"),
        {"instruction": "问", "output": "另一种记录"},
        {"text": "不识"},
    ]
    good, bad = read(write_lines(tmp_path / "a.jsonl", messages))
    assert [turns(chat) for given in good for chat in given.chats] == [
        [("u", "问"), ("a", "答")],
        [("u", "问"), ("a", "另一种记录")],
    ]
    assert sorted(bad) == [
        (3, "message_id", "is the same as in line 1"),
        (4, "parent_id", "is 没有, which is not in this file"),
        (5, "parent_id", "is 9, which is in no tree"),
        (6, "role", 'is "assistant" where "prompter" has its turn'),
        (7, "", "is below line 6, which is rejected"),
        (8, "text", "is empty, missing or no text"),
        (9, "parent_id", "is 7, which is in no tree"),
        (10, "parent_id", "is 6, which is in no tree"),
        (11, "message_id", "is missing"),
        (13, "", "has no shape that is known; its keys: text"),
    ]


def test_a_flat_message_among_other_records_says_so() -> None:
    refused({"text": "答", "role": "assistant", "parent_id": "1"}, "", "is a message of a tree, but the file begins")


def test_a_unit_counts_its_messages(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "flat.jsonl", flat(TREES))
    units = list(read_units(SourceFile(path, path.name), "auto", Options()))
    assert [unit.count for unit in units if isinstance(unit, Unit)] == [
        sum(1 for _ in nodes(tree["prompt"])) for tree in TREES
    ]
    assert [unit.line for unit in units if isinstance(unit, Unit)][:2] == [1, 9]
