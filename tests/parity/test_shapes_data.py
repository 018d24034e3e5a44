"""The real files of instructions, preferences, questions and trees: what the shapes give of them, against
counts made here from the raw JSON by other means."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shaped import read, turns

from zhllm.text.chats import Chat, Preference
from zhllm.text.shapes.record import Converted


def raw(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    values = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    assert isinstance(values, list) and len(values) >= 100
    return values


def chats(good: list[Converted]) -> list[Chat]:
    return [chat for given in good for chat in given.chats]


def preferences(good: list[Converted]) -> list[Preference]:
    return [preference for given in good for preference in given.preferences]


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for reply in node["replies"]:
        yield from nodes(reply)


@pytest.mark.parametrize(("name", "count"), [("alpaca_en_999", 999), ("alpaca_zh_1000", 1000)])
def test_alpaca(real_data: Path, name: str, count: int) -> None:
    path = real_data / "instruct" / f"{name}.json"
    values = raw(path)
    good, bad = read(path)
    assert (len(values), len(chats(good)), bad) == (count, count, [])
    for value, chat in zip(values, chats(good), strict=True):
        asked = "\n".join(part.strip() for part in (value["instruction"], value["input"]) if part.strip())
        assert turns(chat) == [("u", asked), ("a", value["output"].strip())]


def test_openai_messages_in_parts(real_data: Path) -> None:
    path = real_data / "instruct" / "messages_500.jsonl"
    good, bad = read(path)
    said = [["".join(part["value"] for part in m["content"]) for m in value["messages"]] for value in raw(path)]
    assert (len(said), bad) == (500, [])
    assert [[text for _, text in turns(chat)] for chat in chats(good)] == [[t.strip() for t in talk] for talk in said]
    assert all(given.repairs == {} for given in good)


@pytest.mark.parametrize(
    ("name", "count"), [("dpo_zh_conversations_500.jsonl", 500), ("dpo_zh_sharegpt_300.json", 300)]
)
def test_pairs(real_data: Path, name: str, count: int) -> None:
    path = real_data / "preference" / name
    values = raw(path)
    good, bad = read(path)
    assert (len(values), len(preferences(good)), len(chats(good)), bad) == (count, count, 0, [])
    for value, pair in zip(values, preferences(good), strict=True):
        texts = [v if isinstance(v, str) else v["value"] for v in (value["chosen"], value["rejected"])]
        assert [pair.chosen, pair.rejected] == [text.strip() for text in texts]
        assert [m["content"] for m in pair.prompt] == [turn["value"].strip() for turn in value["conversations"]]
    systems = sum(value["conversations"][0]["from"] == "system" for value in values)
    assert sum(pair.prompt[0]["role"] == "system" for pair in preferences(good)) == systems > 0


def test_labels(real_data: Path) -> None:
    path = real_data / "preference" / "kto_en_300.json"
    values = raw(path)
    good, bad = read(path)
    assert (len(values), len(good), bad) == (300, 300, [])
    for value, half in zip(values, preferences(good), strict=True):
        answer = value["messages"][-1]["content"].strip()
        assert (half.chosen, half.rejected) == ((answer, None) if value["label"] else (None, answer))
        assert len(half.prompt) == len(value["messages"]) - 1
    assert Counter(value["label"] for value in values) == {True: 150, False: 150}


def test_cmrc(real_data: Path) -> None:
    path = real_data / "squad" / "cmrc2018_trial.json"
    paragraphs = [p for article in json.loads(path.read_text(encoding="utf-8"))["data"] for p in article["paragraphs"]]
    asked = [(p["context"], qa) for p in paragraphs for qa in p["qas"]]
    nameless = [qa["id"] for _, qa in asked if not qa["question"].strip()]
    off = [qa["id"] for context, qa in asked if qa["question"].strip() and not context.startswith(
        qa["answers"][0]["text"], qa["answers"][0]["answer_start"])]  # fmt: skip
    assert (len(paragraphs), len(asked), len(nameless), len(off)) == (256, 1002, 2, 5)
    good, bad = read(path)
    assert [(field.split(".")[-1], reason) for _, field, reason in bad] == [("question", "is empty")] * 2
    found = {chat.id: (chat, given) for given in good for chat in given.chats}
    assert len(found) == 1000 and set(found) == {qa["id"] for _, qa in asked} - set(nameless)
    assert sorted(name for name, (_, given) in found.items() if given.repairs) == sorted(off)
    for context, qa in asked:
        if qa["id"] in nameless:
            continue
        chat, _ = found[qa["id"]]
        evidence, content = chat.meta["evidence"], chat.messages[0]["content"]
        assert context.strip() in content and content.endswith(qa["question"].strip())
        assert content[evidence["start"] :].startswith(evidence["text"])
        assert evidence["text"] == qa["answers"][0]["text"].strip() == chat.messages[1]["content"]


@pytest.mark.parametrize("name", ["en_100_tree.jsonl", "en_100_message.jsonl"])
@pytest.mark.parametrize("paths", ["best", "all"])
def test_golden_facts_of_the_trees(real_data: Path, name: str, paths: str) -> None:
    path = real_data / "oasst" / name
    roots = [value.get("prompt", value) for value in raw(path)]
    every = [node for root in roots for node in nodes(root)]
    ranked = sum(node.get("rank") is not None for node in every)
    assert (len(roots), len(every), ranked) == (100, 1167, 641)
    good, bad = read(path, oasst_paths=paths)
    facts: Counter[str] = Counter()
    for given in good:
        facts.update(given.facts)
    assert bad == []
    assert facts == {"oasst_trees": 100, "oasst_messages": 1167, "oasst_ranked": 641}
    assert len(preferences(good)) == sum(map(worse_answers, every)) == 429
    learnt = Counter(
        m["content"] for chat in chats(good) for m in chat.messages if m["role"] == "assistant" and m.get("weight", 1)
    )
    answers = Counter(node["text"].strip() for node in every if node["role"] == "assistant")
    if paths == "all":
        assert learnt == answers, "each answer of every tree is learnt exactly once"
    else:
        assert len(chats(good)) == 100 and learnt <= answers


def worse_answers(node: dict[str, Any]) -> int:
    """How many replies of the assistant's to a message are ranked worse than the best one."""
    ranks = [reply["rank"] for reply in node["replies"] if reply.get("rank") is not None]
    texts = {reply["text"].strip() for reply in node["replies"]}
    assert len(texts) == len(node["replies"])
    return sum(rank > min(ranks) for rank in ranks) if node["role"] == "prompter" and len(ranks) > 1 else 0


def test_flat_messages(real_data: Path) -> None:
    path = real_data / "oasst" / "seed_flat.json"
    values = raw(path)
    by_id = {value["user_message_id"]: value for value in values}

    def is_sound(value: dict[str, Any]) -> bool:
        """Whether all the way to its first message the roles take turns."""
        above = by_id.get(value["parent_message_id"])
        if above is None:
            return value["parent_message_id"] is None and value["role"] == "prompter"
        return above["role"] != value["role"] and is_sound(above)

    sound = [value for value in values if is_sound(value)]
    roots = sum(value["parent_message_id"] is None for value in values)
    assert (len(values), len(sound), roots) == (444, 434, 74)
    good, bad = read(path, oasst_paths="all")
    assert len(good) == roots
    assert sum(given.facts["oasst_messages"] for given in good) == len(sound)
    assert len(bad) == len(values) - len(sound)
    learnt = [
        m["content"] for chat in chats(good) for m in chat.messages if m["role"] == "assistant" and m.get("weight", 1)
    ]
    assert Counter(learnt) == Counter(value["text"].strip() for value in sound if value["role"] == "assistant")
