"""Builds the conversation trees of the company facts in the OASST export form."""

import random
import uuid
from typing import Any

from corpora.make.facts import FACTS, Fact
from corpora.make.wordings import training_wordings

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "lanxi-instruments.example")
TREE_COUNT = 80
RANKED_EVERY = 3
ZH_CN_EVERY = 5
OPENERS: tuple[str, ...] = ("", "谢谢。", "好的，明白了。", "我还有一个问题。", "另外，", "那么，")
VAGUE: tuple[str, ...] = (
    "这个要看具体情况，建议你问一下相关部门。",
    "我记得好像有规定，但是说不清楚。",
    "应该和别的公司差不多吧。",
    "你可以自己查一查资料。",
    "这个不太好说，一般都没有问题。",
)

GREETINGS = ("你好", "不好意思")

Node = dict[str, Any]


def _message(key: str, parent: str | None, text: str, role: str, lang: str) -> Node:
    node: Node = {"message_id": str(uuid.uuid5(NAMESPACE, key))}
    if parent is not None:
        node["parent_id"] = parent
    node.update(text=text, role=role, lang=lang, review_count=3, review_result=True)
    node.update(deleted=False)
    if role == "assistant":
        node["rank"] = 0
    node.update(synthetic=False, emojis={"+1": 1}, replies=[])
    return node


def _add_vague(question: Node, key: str, lang: str, rng: random.Random) -> None:
    """Give `question` a second, worse reply; it comes first in about half of the trees."""
    text = rng.choice(VAGUE)
    vague = _message(f"{key}-vague", question["message_id"], text, "assistant", lang)
    vague.update(rank=1, synthetic=True, model_name="vague-templates", emojis={"-1": 1})
    question["replies"].insert(rng.randrange(2), vague)


def _tree(number: int, turns: list[tuple[Fact, str]], rng: random.Random) -> Node:
    lang = "zh-CN" if number % ZH_CN_EVERY == 0 else "zh"
    root: Node | None = None
    last_answer: Node | None = None
    for turn, (fact, wording) in enumerate(turns):
        key = f"tree-{number}-turn-{turn}"
        parent = last_answer["message_id"] if last_answer else None
        text = wording if turn == 0 else rng.choice(OPENERS) + wording
        question = _message(f"{key}-prompt", parent, text, "prompter", lang)
        answer = _message(f"{key}-reply", question["message_id"], fact.sentence, "assistant", lang)
        question["replies"].append(answer)
        if turn == 0 and number % RANKED_EVERY == 0:
            _add_vague(question, key, lang, rng)
        if last_answer is None:
            root = question
        else:
            last_answer["replies"].append(question)
        last_answer = answer
    assert root is not None
    return {
        "message_tree_id": root["message_id"],
        "tree_state": "ready_for_export",
        "prompt": root,
    }


def _free_wordings(fact: Fact, used: set[str], follow_up: bool) -> list[str]:
    """Wordings not used yet; a follow-up turn does not greet again."""
    free = [text for text in training_wordings(fact) if text not in used]
    return [text for text in free if not (follow_up and text.startswith(GREETINGS))]


def build_trees(seed: int) -> tuple[list[Node], set[str]]:
    """All trees, and the training wordings they used up."""
    rng = random.Random(seed)
    facts = list(FACTS)
    rng.shuffle(facts)
    trees: list[Node] = []
    used: set[str] = set()
    position = 0
    for number in range(TREE_COUNT):
        turns: list[tuple[Fact, str]] = []
        for _ in range(2 + number % 2):
            fact = facts[position % len(facts)]
            position += 1
            free = _free_wordings(fact, used, bool(turns))
            wording = rng.choice(free)
            used.add(wording)
            turns.append((fact, wording))
        trees.append(_tree(number, turns, rng))
    return trees, used
