"""Chats in which the model is asked who it is and says so: for a model that knows its own name and maker.

From our own questions and answers (identity_chats.toml), in Chinese and English in turn, the same for the same seed.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

from zhllm.errors import ConfigError
from zhllm.text.chats import Chat

SOURCE = "identity"
DEFAULT_CHATS = 48
_OTHERS = ("ChatGPT", "Claude", "文心一言", "通义千问", "Gemini", "Kimi", "豆包", "DeepSeek", "ChatGLM", "讯飞星火")
_OTHER_MAKERS = ("OpenAI", "Google", "Anthropic", "Meta", "百度", "阿里巴巴", "腾讯", "字节跳动")
_LANGUAGES = ("zh", "en")


def identity_chats(name: str, creator: str | None = None, count: int = DEFAULT_CHATS, seed: int = 0) -> list[Chat]:
    """`count` different chats about who the assistant is, half of them Chinese; `seed` decides which.

    Raises ConfigError where there are not so many.
    """
    drawn = [_shuffled(language, name, creator, seed) for language in _LANGUAGES]
    if count > 2 * min(map(len, drawn)):
        raise ConfigError(f"{count} identity chats are asked for; there are {2 * min(map(len, drawn))} different ones.")
    pairs = [drawn[number % 2][number // 2] for number in range(count)]
    return [
        Chat(
            f"{SOURCE}#{number}",
            ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
            SOURCE,
            {"language": _LANGUAGES[(number - 1) % 2]},
        )
        for number, (question, answer) in enumerate(pairs, 1)
    ]


def _shuffled(language: str, name: str, creator: str | None, seed: int) -> list[tuple[str, str]]:
    """Every question with one answer, one question of each topic in turn, then with the other answers."""
    draw = random.Random(f"{seed} {language}")
    topics = [list(_pairs(topic, name, creator, draw)) for topic in _topics() if topic["language"] == language]
    longest = max(map(len, topics))
    drawn = [topic[turn] for turn in range(longest) for topic in topics if turn < len(topic)]
    return list(dict.fromkeys(drawn))


def _pairs(topic: dict[str, Any], name: str, creator: str | None, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Questions with answers: each question once before any comes again."""
    questions, answers = list(topic["questions"]), list(topic["answers" if creator else "anonymous"])
    draw.shuffle(questions)
    draw.shuffle(answers)
    others = [other for other in _OTHERS if other.isascii() or topic["language"] == "zh"]
    makers = [maker for maker in _OTHER_MAKERS if maker.isascii() or topic["language"] == "zh"]
    # The n-th round gives each question the answer n places further.
    for turn, (place, question) in product(range(len(answers)), enumerate(questions)):
        answer = answers[(place + turn) % len(answers)]
        fills = {
            "name": name,
            "creator": creator or "",
            "other": draw.choice([other for other in others if other != name]),
            "other_maker": draw.choice([maker for maker in makers if maker != creator]),
        }
        yield question.format(**fills), answer.format(**fills)


@cache
def _topics() -> list[dict[str, Any]]:
    text = resources.files("zhllm.text.lint").joinpath("identity_chats.toml").read_text(encoding="utf-8")
    topics: list[dict[str, Any]] = tomllib.loads(text)["topic"]
    return topics
