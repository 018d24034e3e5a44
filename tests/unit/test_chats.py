"""The canonical chat and preference: what is written, what is read back, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shaped import write_lines

from zhllm.errors import DataError
from zhllm.text.chats import Chat, Preference, read_chats, read_preferences
from zhllm.text.prompt_keys import plain_texts

USER = {"role": "user", "content": "问？"}
ANSWER = {"role": "assistant", "content": "答。𠮷"}
SILENT = ANSWER | {"weight": 0}


def test_a_chat_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    evidence = {"evidence": {"text": "答", "start": 3, "title": "题"}}
    chats = [
        Chat("一", (USER, ANSWER), "a.json"),
        Chat("二", (USER, SILENT, USER, ANSWER), "a.json", evidence),
    ]
    path = tmp_path / "chats-00000.jsonl"
    path.write_bytes(b"".join(chat.to_json() for chat in chats))
    assert list(read_chats([tmp_path])) == chats
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert list(first) == ["id", "messages", "source"], "meta is left out where there is none"
    assert second["meta"] == evidence and second["messages"][1]["weight"] == 0


def test_a_weight_of_one_is_as_good_as_none(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "chats-0.jsonl", [{"id": "a", "messages": [USER, ANSWER | {"weight": 1}]}])
    (chat,) = read_chats([path])
    assert chat.messages == (USER, ANSWER)


def test_digests() -> None:
    said = Chat("一", (USER, ANSWER), "a")
    assert said.digest() == Chat("二", (USER, ANSWER), "b", {"synthetic": True}).digest()
    assert (
        Chat("一", (USER, SILENT, USER, ANSWER), "a").digest() != Chat("一", (USER, ANSWER, USER, ANSWER), "a").digest()
    )
    other = Chat("三", ({"role": "user", "content": " 问？\n"}, {"role": "assistant", "content": "别的"}), "a")
    assert said.prompt_digest() == other.prompt_digest() and said.digest() != other.digest()
    system = Chat("四", ({"role": "system", "content": "设定"}, USER, ANSWER), "a")
    assert said.prompt_digest() != system.prompt_digest()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("首都是哪里？", "首都 是哪里?", True),
        ("請問，臺北在哪裡", "請問臺北在哪裡？\n", True),
        ("什么是AI模型", "什么是ai模型？", True),
        ("What is it, then?", "what is it then", True),
        ("读过《红楼梦》吗？", "读过红楼梦吗", True),
        ("3-2等于几？", "3+2等于几？", False),
        ("3.5加1", "35加1", False),
        ("a<b 对吗？", "a>b 对吗？", False),
        ("臺北在哪？", "台北在哪？", False),
        ("？", "！", False),
        ("😀？", "👨‍👩‍👧？", False),
        ("𠮷是什么字？", "吉是什么字？", False),
    ],
)
def test_prompts_are_one_but_for_space_punctuation_and_case(one: str, other: str, is_same: bool) -> None:
    first, second = (Chat("一", ({"role": "user", "content": text}, ANSWER), "a") for text in (one, other))
    assert (first.prompt_digest() == second.prompt_digest()) is is_same


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([USER, SILENT], "every message of the assistant has weight 0"),
        ([USER | {"weight": 0}, ANSWER], "message 1 has a weight that is not an assistant's 0 or 1"),
        ([USER, ANSWER | {"weight": 0.5}], "message 2 has a weight that is not an assistant's 0 or 1"),
        ([USER, ANSWER | {"weight": None}], "message 2 has a weight that is not an assistant's 0 or 1"),
    ],
)
def test_wrong_weights_are_refused(tmp_path: Path, messages: list[Any], problem: str) -> None:
    path = write_lines(tmp_path / "chats-0.jsonl", [{"id": "a", "messages": messages}])
    with pytest.raises(DataError, match=f"chats-0.jsonl:1: is not a canonical record: {problem}"):
        list(read_chats([path]))


def test_meta_must_be_an_object(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "chats-0.jsonl", [{"id": "a", "messages": [USER, ANSWER], "meta": "字"}])
    with pytest.raises(DataError, match='"meta" is not an object'):
        list(read_chats([path]))


def test_labelled_answers_and_pairs(tmp_path: Path) -> None:
    kept = [
        Preference("一", (USER,), "好", "坏", "a"),
        Preference("二", (USER,), "好", None, "a", {"lang": "zh"}),
        Preference("三", (USER,), None, "坏", "a"),
    ]
    path = tmp_path / "preferences-00000.jsonl"
    path.write_bytes(b"".join(preference.to_json() for preference in kept))
    assert list(read_preferences([tmp_path])) == kept
    assert len({preference.digest() for preference in kept}) == 3


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"chosen": None, "rejected": None}, 'both "chosen" and "rejected" are null'),
        ({"chosen": "好"}, '"rejected" is not a text'),
        ({"chosen": " ", "rejected": "坏"}, '"chosen" is not a text'),
        ({"chosen": ["好"], "rejected": "坏"}, '"chosen" is not a text'),
    ],
)
def test_wrong_preferences_are_refused(tmp_path: Path, answers: dict[str, Any], problem: str) -> None:
    path = write_lines(tmp_path / "preferences-0.jsonl", [{"id": "a", "prompt": [USER], **answers}])
    with pytest.raises(DataError, match=problem):
        list(read_preferences([path]))


def test_prompts_looked_at_together_are_told_by_what_each_says_alone() -> None:
    texts = ["首都 是哪里?", "？", "", "a.b. C", "3.5，", "ΟΔΟΣ.", "İ!", "𠮷 𐐀", "😀？", "x:", "\u3000\x1f…", "U.S.A."]
    told = ["首都是哪里", "？", "", "a.bc", "3.5", "οδοσ", "İ", "𠮷𐐀", "😀", "x", "\u3000\x1f…", "u.s.a"]
    assert [bytes(found).decode("utf-32-le")[:-1] for found in plain_texts(texts)] == told
    assert plain_texts(texts) == [plain_texts([text])[0] for text in texts]
    found = [bytes(found).decode("utf-32-le")[:-1] for found in plain_texts(["a.", "b\0. C", "d"])]
    assert found == ["a", "b\0c", "d"], "a NUL ends no text"
