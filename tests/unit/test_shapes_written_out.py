"""Conversations written out in one text: parted strictly at the marks of a prompt, or refused with the mark."""

from __future__ import annotations

from pathlib import Path

import pytest
from shaped import made, only_turns, refused
from test_convert import run
from toys import write_jsonl

from zhllm.text.chats import read_chats
from zhllm.text.prompt_format import FORMATS

PREAMBLE = "Below is an instruction that describes a task, paired with an input. Write a response.\n\n"
TURNS = [
    ("u", "保修期多长？🧑\u200d💼𠮷"),
    ("a", "三年。\n\n### 说明\n从购买之日算起。"),
    ("u", "谢谢"),
    ("a", "不客气。"),
]


@pytest.mark.parametrize("between", ["", "\n", "\n\n"])
@pytest.mark.parametrize(("human", "assistant"), [("### Human: ", "### Assistant: "), ("###User：", "###Assistant：")])
def test_guanacos_marks_part_the_turns(human: str, assistant: str, between: str) -> None:
    text = between.join({"u": human, "a": assistant}[role] + said for role, said in TURNS)
    assert only_turns({"text": text}) == TURNS
    assert only_turns({"text": text, "source": "oasst", "id": "1"}, format="text") == TURNS
    left = made({"text": f"{text}{between}{human}还有吗？"})
    assert left.repairs == {"dropped_last_questions": 1} and len(left.chats[0].messages) == 4


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("### Instruction:\n翻译\n\n### Response:\n你好</s>", [("u", "翻译"), ("a", "你好")]),
        (f"{PREAMBLE}### Instruction:\n翻译\n\n### Input:\nhello\n\n### Response:\n你好<|endoftext|>",
         [("u", "翻译\nhello"), ("a", "你好")]),
        ("下面是一个描述任务的指令。\n\n### 指令：\n翻译\n\n### 回答：\n你好", [("u", "翻译"), ("a", "你好")]),
        ("你是客服。\n### Instruction:\n问\n### Response:\n答\n### Instruction:\n再问\n### Response:\n再答",
         [("s", "你是客服。"), ("u", "问"), ("a", "答"), ("u", "再问"), ("a", "再答")]),
        ("<s>[INST] 问 [/INST] 答 </s><s>[INST] 再问 [/INST] 再答 </s>",
         [("u", "问"), ("a", "答"), ("u", "再问"), ("a", "再答")]),
        ("### System: 规则### Human: 问### Assistant: 答", [("s", "规则"), ("u", "问"), ("a", "答")]),
    ],
)  # fmt: skip
def test_instructions_and_responses(text: str, turns: list[tuple[str, str]]) -> None:
    assert only_turns({"text": text}) == turns


@pytest.mark.parametrize("name", ["chatml", "llama3", "llama2", "alpaca-zh"])
def test_what_a_format_rendered_is_read_back(name: str) -> None:
    messages = [{"role": {"u": "user", "a": "assistant"}[role], "content": said} for role, said in TURNS]
    system = {"role": "system", "content": "你是客服。\n只答保修。"}
    for asked, turns in ((messages, TURNS), ([system, *messages], [("s", system["content"]), *TURNS])):
        assert only_turns({"text": FORMATS[name].render(asked)}) == turns


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "### Human: 你好### Human: 在吗### Assistant: 在",
            "has '### Human:' as turn 2: user and assistant do not take",
        ),
        ("### Assistant: 在### Human: 你好", "has '### Assistant:' as turn 1"),
        ("### Human: 你好### Assistant: 在### System: 规则", "has '### System:' as turn 3"),
        ("### Human: 你好### Assistant:", "says nothing after '### Assistant:' (turn 2)"),
        ("### Human: 你好", "holds no answer of an assistant to a user"),
        ("### Input:\n你好\n### Response:\n好", "has '### Input:' as turn 1"),
        (
            "<|im_start|>user\n问<|im_end|>\n多余<|im_start|>assistant\n答<|im_end|>",
            "goes on after '<|im_end|>' without",
        ),
        ("<|im_start|>tool\n问<|im_end|>", "is a template rendered already ('<|im_start|>')"),
        ("<start_of_turn>user\n你好<end_of_turn>", "is a template rendered already ('<start_of_turn>')"),
        ("A chat. USER: 你好 ASSISTANT: 好</s>", "is a template rendered already ('USER: 你好 ASSISTANT: ')"),
    ],
)
def test_what_does_not_part_into_turns_is_refused_with_the_mark(text: str, reason: str) -> None:
    refused({"text": text}, "text", reason)


@pytest.mark.parametrize("text", ["一段文字", "# 标题\n## Human rights\n正文", "见 ### Human: 一节"])
def test_a_text_without_marks_is_no_conversation(text: str) -> None:
    refused({"text": text}, "", "has no shape that is known; its keys: text")
    refused({"text": text}, "text", "has no marks of turns", format="text")


def test_texts_beside_a_question_and_an_answer_are_left_alone() -> None:
    value = {"instruction": "问", "output": "答", "text": "### Instruction:\n别的\n### Response:\n别的"}
    assert only_turns(value) == [("u", "问"), ("a", "答")]


def test_a_file_of_such_lines(tmp_path: Path) -> None:
    lines = [f"### Human: 问题{i}？### Assistant: 第{i}个回答。" for i in range(40)]
    source = write_jsonl(tmp_path / "guanaco.jsonl", [{"text": text} for text in [*lines, "### Human: 空"]])
    metrics = run(source, tmp_path / "out")
    assert (metrics["text_records"], metrics["chats"], metrics["rejected_records"]) == (40, 40, 1)
    assert [chat.messages[-1]["content"] for chat in read_chats([tmp_path / "out"])][39] == "第39个回答。"
