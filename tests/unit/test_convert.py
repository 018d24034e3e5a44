"""convert: Alpaca and OASST in all their disguises; every record converted, counted or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from zhllm import stage
from zhllm.errors import DataError, ProofError
from zhllm.stages import convert
from zhllm.text.chats import Chat, Preference, read_chats, read_preferences

DATA = Path(os.environ.get("ZHLLM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} (real data for tests) is not here")

QUESTION = {"instruction": "印章由谁保管？", "input": "", "output": "由行政部保管。🧑\u200d💼𠮷"}


def run(source: Path | tuple[Path, ...], out: Path, **settings: Any) -> dict[str, Any]:
    sources = source if isinstance(source, tuple) else (source,)
    config = convert.ConvertConfig(source=sources, **settings)
    return stage.execute(convert.STAGE, config, out).manifest.metrics


def write(path: Path, values: list[Any], as_list: bool = False) -> Path:
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    path.write_text("[\n" + ",\n".join(lines) + "\n]" if as_list else "\n".join(lines), encoding="utf-8")
    return path


def said(chat: Chat) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in chat.messages]


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]


def message(role: str, text: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "lang": "zh", "deleted": False, "replies": list(replies)} | more


def tree(prompt: dict[str, Any], identity: str = "树一") -> dict[str, Any]:
    return {"message_tree_id": identity, "tree_state": "ready_for_export", "prompt": prompt}


def test_alpaca_with_all_its_fields(tmp_path: Path) -> None:
    record = QUESTION | {
        "id": "甲",
        "system": "你是公司的助手。",
        "history": [["你好", "您好！"]],
        "input": "　公章　",
    }
    metrics = run(write(tmp_path / "a.json", [record], as_list=True), tmp_path / "out")
    (chat,) = read_chats([tmp_path / "out"])
    assert (chat.id, chat.source) == ("甲", "a.json")
    assert said(chat) == [
        ("system", "你是公司的助手。"),
        ("user", "你好"),
        ("assistant", "您好！"),
        ("user", "印章由谁保管？\n公章"),
        ("assistant", "由行政部保管。🧑\u200d💼𠮷"),
    ]
    assert (metrics["chats"], metrics["messages"]) == (1, 5)
    line = json.loads((tmp_path / "out" / "chats-00000.jsonl").read_text(encoding="utf-8"))
    assert list(line) == ["id", "messages", "source"]
    assert list(line["messages"][0]) == ["role", "content"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_content_decides_and_not_the_name(tmp_path: Path, name: str, as_list: bool, encoding: str) -> None:
    path = write(tmp_path / name, [QUESTION, QUESTION | {"output": "行政部。"}], as_list)
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert run(path, tmp_path / "out")["chats"] == 2


BAD = [
    ({"instruction": "问", "output": ""}, "output", "is empty"),
    ({"instruction": "问"}, "output", "is missing"),
    ({"instruction": " ", "input": None, "output": "答"}, "instruction", "is empty, and so is input"),
    ({"instruction": ["问"], "output": "答"}, "instruction", "is list, not text"),
    ({"instruction": "问", "output": "答", "history": "旧"}, "history", "is text, not a list"),
    ({"instruction": "问", "output": "答", "history": [["一"]]}, "history[0]", "is not [question, answer]"),
    ({"instruction": "问", "output": "答", "history": [["一", ""]]}, "history[0]", "holds an empty text"),
    (
        {"text": "字", "𠮷": 1},
        "",
        "has no shape that is known; its keys: text, 𠮷",
    ),
    (tree(message("assistant", "答")), "prompt.role", 'is "assistant" where "prompter" has its turn'),
    (tree(message("prompter", "问")), "prompt.replies", "holds no answer"),
    (tree(message("prompter", "问", deleted=True)), "prompt.deleted", "the first message is deleted"),
    (
        tree(message("prompter", "问", message("assistant", ""))),
        "prompt.replies[0].text",
        "is empty or missing",
    ),
    (
        tree(message("prompter", "问", message("assistant", "答", rank="一"))),
        "prompt.replies[0].rank",
        "is '一'",
    ),
    (tree(message("prompter", "问", "答")), "prompt.replies[0]", "is text, not a message"),
]


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    node = message("assistant", "底")
    for i in range(301):
        node = message(("prompter", "assistant")[i % 2], "层", node)
    path = write(tmp_path / "a.jsonl", [QUESTION, tree(node)])
    run(path, tmp_path / "out", max_rejected_share=0.5)
    assert rejected(tmp_path / "out")[0]["reason"] == "lies deeper than 200 turns"


@pytest.mark.parametrize(("record", "field", "reason"), BAD)
def test_a_bad_record_is_refused_by_field(tmp_path: Path, record: Any, field: str, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", [QUESTION, record])
    metrics = run(path, tmp_path / "out", max_rejected_share=0.5)
    (entry,) = rejected(tmp_path / "out")
    assert (entry["file"], entry["line"], entry["field"]) == ("a.jsonl", 2, field)
    assert entry["reason"].startswith(reason)
    assert (metrics["records_in"], metrics["chats"], metrics["rejected_records"]) == (2, 1, 1)


def test_a_line_that_is_not_json_and_a_list_without_end(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", [QUESTION])
    lines.write_text(lines.read_text() + '\n{"instruction": "问", \n[1]\n', encoding="utf-8")
    listed = write(tmp_path / "b.json", [QUESTION | {"output": "甲"}, "字"], as_list=True)
    listed.write_text(listed.read_text()[:-1])
    run((lines, listed), tmp_path / "out", max_rejected_share=0.9)
    places = [(entry["file"], entry["line"], entry["reason"][:18]) for entry in rejected(tmp_path / "out")]
    assert places == [
        ("a.jsonl", 2, "is not JSON: unexp"),
        ("a.jsonl", 3, "is a JSON list, no"),
        ("b.json", 3, "is a JSON text, no"),
        ("b.json", 4, "the JSON list has "),
    ]


def test_records_of_one_line_have_ids_of_their_own(tmp_path: Path) -> None:
    own = {"id": "甲", "instruction": "谁？", "output": "我。"}
    records = [QUESTION, QUESTION | {"output": "由财务部保管。"}, own, {"question": "在哪？", "answer": "在苏州。"}]
    (tmp_path / "a.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    run(tmp_path / "a.json", tmp_path / "out")
    assert [chat.id for chat in read_chats([tmp_path / "out"])] == ["a.json#1", "a.json#1.2", "甲", "a.json#1.4"]


def test_the_line_of_a_record_in_an_indented_list(tmp_path: Path) -> None:
    records = [QUESTION, {"instruction": "问"}, QUESTION | {"output": "答"}]
    (tmp_path / "a.json").write_text(json.dumps(records, indent=2, ensure_ascii=False), encoding="utf-8")
    run(tmp_path / "a.json", tmp_path / "out", max_rejected_share=0.5)
    assert [entry["line"] for entry in rejected(tmp_path / "out")] == [7]
    assert [chat.id for chat in read_chats([tmp_path / "out"])] == ["a.json#2", "a.json#10"]


def test_a_lone_surrogate_is_refused_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "问", "output": "答\\ud83d"}, {"instruction": "问", "output": "答"}]')
    run(path, tmp_path / "out", max_rejected_share=0.5)
    assert rejected(tmp_path / "out")[0]["reason"] == "holds a lone surrogate at character 1"


def test_too_many_refused_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [QUESTION, {"instruction": "问"}])
    message = r"1 of 2 records rejected \(50.0%, allowed 5.0%\):\n  a.jsonl:2: output is missing\nAll of them"
    with pytest.raises(DataError, match=message):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert rejected(tmp_path / "out.partial")


def test_no_chats_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="no records in 1 files, of which 1 are skipped"):
        run(tmp_path / "a.jsonl", tmp_path / "out")


def test_other_files_of_a_folder_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.json", [QUESTION], as_list=True)
    (folder / "说明.md").write_text("说明")
    metrics = run(folder, tmp_path / "out")
    assert (metrics["files_read"], metrics["files_skipped"], metrics["rejected_records"]) == (1, 1, 0)
    assert rejected(tmp_path / "out")[0]["reason"] == "is neither JSON, parquet nor a table (.md)"


def test_equal_chats_are_kept_once_and_counted(tmp_path: Path) -> None:
    records = [QUESTION, QUESTION | {"output": QUESTION["output"] + " \n"}, QUESTION | {"output": "另"}]
    metrics = run(write(tmp_path / "a.jsonl", records), tmp_path / "out")
    assert (metrics["chats"], metrics["duplicate_chats"]) == (2, 1)


def test_the_best_ranked_path_of_a_tree(tmp_path: Path) -> None:
    prompt = message(
        "prompter",
        "一问",
        message("assistant", "未排名", message("prompter", "不走")),
        message("assistant", "第二", rank=1),
        message("assistant", "删除的第一", rank=0, deleted=True),
        message(
            "assistant",
            "第一",
            message("prompter", "二问", message("assistant", "二答", message("prompter", "没有下文"))),
            rank=0,
        ),
        message("assistant", "第三", rank=2),
    )
    metrics = run(write(tmp_path / "a.jsonl", [tree(prompt)]), tmp_path / "out")
    (chat,) = read_chats([tmp_path / "out"])
    assert chat.id == "树一"
    assert said(chat) == [("user", "一问"), ("assistant", "第一"), ("user", "二问"), ("assistant", "二答")]
    pairs = list(read_preferences([tmp_path / "out"]))
    assert [(p.chosen, p.rejected) for p in pairs] == [("第一", "第二"), ("第一", "第三")]
    assert pairs[0] == Preference(
        "树一/1", ({"role": "user", "content": "一问"},), "第一", "第二", "a.jsonl"
    )  # fmt: skip
    assert (metrics["preferences"], metrics["oasst_records"]) == (2, 1)


def test_pairs_below_the_first_turn_carry_the_whole_prompt(tmp_path: Path) -> None:
    answers = [message("assistant", text, rank=rank) for text, rank in (("乙", 1), ("甲", 0), ("甲二", 0))]
    prompt = message("prompter", "一问", message("assistant", "一答", message("prompter", "二问", *answers)))
    run(write(tmp_path / "a.jsonl", [tree(prompt)]), tmp_path / "out")
    (pair,) = read_preferences([tmp_path / "out"])
    assert [m["content"] for m in pair.prompt] == ["一问", "一答", "二问"]
    assert (pair.chosen, pair.rejected) == ("甲", "乙")


def test_language(tmp_path: Path) -> None:
    trees = [
        tree(message("prompter", f"问{lang}", message("assistant", "答"), lang=lang), lang)
        for lang in ("zh", "zh-CN", "zh_TW", "zha", "en")
    ]
    path = write(tmp_path / "a.jsonl", [*trees, QUESTION])
    metrics = run(path, tmp_path / "out", language="zh")
    assert [chat.id for chat in read_chats([tmp_path / "out"])] == ["zh", "zh-CN", "zh_TW", "a.jsonl#6"]
    assert metrics["other_language"] == 2
    assert run(path, tmp_path / "tw", language="zh-TW")["other_language"] == 4
    with pytest.raises(DataError, match="None is of language fr"):
        run(write(tmp_path / "b.jsonl", trees), tmp_path / "fr", language="fr")


def test_a_forced_format_refuses_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [QUESTION])
    with pytest.raises(DataError, match='role is "None" where "prompter" has its turn'):
        run(path, tmp_path / "out", format="oasst")


def test_without_ranks_there_is_no_file_of_preferences(tmp_path: Path) -> None:
    run(write(tmp_path / "a.jsonl", [QUESTION]), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "chats-00000.jsonl", "manifest.json", "rejected.jsonl", "report.html", "report.json"
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"holds no preferences-\*.jsonl"):
        list(read_preferences([tmp_path / "out"]))


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "there is no list of messages"),
        ([{"role": "bot", "content": "好"}], "message 1 has no role of system, user, assistant"),
        ([{"role": "user", "content": " "}], "message 1 has no text"),
        ([{"role": "user", "content": "问"}], "the last message is not the assistant's"),
        ([{"role": "assistant", "content": "答"}], r"user and assistant do not take turns \(assistant\)"),
    ],
)
def test_reading_refuses_what_is_not_canonical(tmp_path: Path, messages: list[Any], problem: str) -> None:
    path = write(tmp_path / "chats-00000.jsonl", [{"id": "a", "messages": messages, "source": "s"}])
    with pytest.raises(DataError, match=f"chats-00000.jsonl:1: is not a canonical record: {problem}"):
        list(read_chats([path]))


def test_a_wrong_count_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", [QUESTION])
    monkeypatch.setattr("zhllm.stages._convert_write._runs", lambda table, numbers, renamed: iter(()))
    with pytest.raises(ProofError, match="1 chats were counted, 0 are in the files"):
        run(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (b"\n", b" ", "the lines after number 0 are not as long as was counted"),
        ("答".encode(), "问".encode(), "is not as it was written: it says something else"),
        (b"assistant", b"assistent", "is not as it was written: message 2 has no role of"),
    ],
)
def test_what_reads_back_otherwise_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, problem: str
) -> None:
    def damaged(path: Path, start: int, end: int, written: Any) -> None:
        written.write(path.read_bytes()[start:end].replace(before, after, 1))

    path = write(tmp_path / "a.jsonl", [{"instruction": "一", "output": "答"}, {"instruction": "二", "output": "答"}])
    monkeypatch.setattr("zhllm.stages._convert_write._copy", damaged)
    with pytest.raises(ProofError, match=problem):
        run(path, tmp_path / "out")


@needs_data
def test_real_alpaca_and_real_trees(tmp_path: Path) -> None:
    chinese = run(DATA / "instruct" / "alpaca_zh_1000.json", tmp_path / "zh")
    assert (chinese["records_in"], chinese["chats"], chinese["duplicate_chats"]) == (1000, 992, 8)
    trees = run(DATA / "oasst" / "en_100_tree.jsonl", tmp_path / "trees")
    assert (trees["chats"], trees["preferences"], trees["rejected_records"]) == (100, 429, 0)
    same = run(DATA / "oasst" / "en_100_message.jsonl", tmp_path / "messages")
    assert (same["chats"], same["preferences"]) == (100, 429)
    assert [chat.messages for chat in read_chats([tmp_path / "trees"])] == [
        chat.messages for chat in read_chats([tmp_path / "messages"])
    ]
