"""convert on malformed input of each kind: one clear line with file and line number, good records kept, exit code 3."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import write_jsonl

from zhllm import stage
from zhllm.cli import main
from zhllm.config import PromptFormatName
from zhllm.errors import DataError, StageError
from zhllm.stages import convert
from zhllm.text.prompt_format import FORMATS

GOOD = {"instruction": "印章由谁保管？", "output": "由行政部保管。🧑\u200d💼𠮷"}
LINE = json.dumps(GOOD, ensure_ascii=False).encode()
OTHER = json.dumps(GOOD | {"output": "由财务部保管。"}, ensure_ascii=False).encode()


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = convert.ConvertConfig(source=(source,), **({"max_rejected_share": 0.9} | settings))
    return stage.execute(convert.STAGE, config, out).manifest.metrics


def listed(out: Path) -> list[tuple[str, int | None, str, str]]:
    lines = (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [(e["file"], e["line"], e["field"], e["reason"]) for e in map(json.loads, lines)]


def deep(levels: int) -> bytes:
    return b'{"instruction": ' + b"[" * levels + b"]" * levels + b', "output": "x"}'


# name of the file, its bytes, chats that come of it, and what is listed: line, field, how the reason begins
CASES: dict[str, tuple[str, bytes, int, list[tuple[int | None, str, str]]]] = {
    "broken line": ("a.jsonl", LINE + b"\n{\n" + OTHER, 2, [(2, "", "is not JSON")]),
    "broken member": (
        "a.json",
        b"[\n" + LINE + b',\n{"instruction": "x" "output": 1},\n' + OTHER + b"\n]",
        2,
        [(3, "", "is not JSON")],
    ),
    "list without end": ("a.json", b"[\n" + LINE + b",\n" + OTHER, 2, [(3, "", "the JSON list has no end")]),
    "other encoding": ("a.jsonl", (LINE + b"\n" + OTHER).decode().replace("🧑\u200d💼𠮷", "").encode("gb18030"), 2, []),
    "a line in no encoding": ("a.jsonl", LINE + b'\n{"instruction": "\xff\xfe\x81", "output": "x"}', 1, [(2, "", "")]),
    "marked": ("a.json", b"\xef\xbb\xbf" + LINE + b"\n" + OTHER, 2, []),
    "utf-16": ("a.jsonl", (LINE + b"\n" + OTHER).decode().encode("utf-16"), 2, []),
    "deep line": ("a.jsonl", LINE + b"\n" + deep(200_000) + b"\n" + OTHER, 2, [(2, "", "is not JSON")]),
    "deep member": (
        "a.json", b"[\n" + LINE + b",\n" + deep(200_000) + b",\n" + OTHER + b"\n]", 2, [(3, "", "is not JSON")]
    ),
    "lone surrogate": ("a.jsonl", LINE + b'\n{"instruction": "x\\ud83d", "output": "y"}', 1, [(2, "", "is not JSON")]),
    "lone surrogate in a list": (
        "a.json",
        b"[" + LINE + b',\n{"instruction": "x\\ud83d", "output": "y"}]',
        1,
        [(2, "instruction", "holds a lone surrogate at character 1")],
    ),
    "NUL": ("a.jsonl", LINE + b"\n\0\0\0\n" + OTHER, 2, [(2, "", "")]),
    "no shape": ("a.jsonl", LINE + b'\n{"text": "x"}', 1, [(2, "", "")]),
    "no object": ("a.jsonl", LINE + b'\n["x"]', 1, [(2, "", "is a JSON list, not an object")]),
    "no answer": ("a.jsonl", LINE + b'\n{"instruction": "x", "output": null}', 1, [(2, "output", "is empty")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fault_costs_its_record_only(tmp_path: Path, case: str) -> None:
    name, data, chats, faults = CASES[case]
    (tmp_path / name).write_bytes(data)
    metrics = run(tmp_path / name, tmp_path / "out")
    found = listed(tmp_path / "out")
    assert [(file, line, field) for file, line, field, _ in found] == [(name, line, field) for line, field, _ in faults]
    for (*_, reason), (*_, begins) in zip(found, faults, strict=True):
        assert reason.startswith(begins) and reason.isprintable() and len(reason) < 300
    assert (metrics["chats"], metrics["rejected_records"]) == (chats, len(faults))
    assert metrics["records_in"] == chats + len(faults)


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_packed_file_that_is_cut_off_gives_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    monkeypatch.setattr("zhllm.stages._convert_files.CUT_BYTES", 1 if is_cut else 1 << 30)
    lines = b"".join(json.dumps(GOOD | {"output": os.urandom(40).hex()}).encode() + b"\n" for _ in range(500))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines)[:-9000])
    metrics = run(tmp_path / "a.jsonl.gz", tmp_path / "out")
    ((file, line, _, reason),) = listed(tmp_path / "out")
    assert (file, line) == ("a.jsonl.gz", metrics["chats"] + 1) and "gzip data is damaged" in reason
    assert 100 < metrics["chats"] < 499
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["files"]["damaged"] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b""), "no records in 1 files, of which 1 are skipped"),
        (lambda p: p.mkdir(), "no records in 0 files"),
        (lambda p: (p.mkdir(), (p / "a.md").write_text("x")), "no records in 1 files, of which 1 are skipped"),
        (lambda p: p.write_bytes(b'{"text": "x"}'), r"1 of 1 records rejected \(100.0%, allowed 90.0%\):\n  in:1: "),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99)), "3 of 3 records rejected"),
        (
            lambda p: p.write_bytes(b'{"instruction": "x", "output": "..."}'),
            r"none of 1 records is kept \(1 empty-",
        ),
    ],
)
def test_nothing_to_keep_is_one_error(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "in")
    with pytest.raises(DataError, match=message):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.checkpoints" / "parts").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(LINE)
    (folder / "b.jsonl").write_bytes(OTHER)
    (folder / "b.jsonl").chmod(0)
    run(folder, tmp_path / "out")
    assert listed(tmp_path / "out")[0][0] == "b.jsonl"


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.text.read.sources import SourceFile

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(LINE)
    (folder / "b.jsonl").write_bytes(OTHER)
    opened = SourceFile.open

    def refused(file: SourceFile) -> Any:
        if file.name == "b.jsonl":
            raise PermissionError(errno.EACCES, "Permission denied", str(file.path))
        return opened(file)

    monkeypatch.setattr(SourceFile, "open", refused)
    metrics = run(folder, tmp_path / "out")
    assert listed(tmp_path / "out") == [("b.jsonl", None, "", "cannot be read (Permission denied)")]
    assert (metrics["chats"], metrics["rejected_records"]) == (1, 1)


def test_a_full_disk_is_one_line_and_nothing_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.jsonl").write_bytes(LINE)
    monkeypatch.setattr("zhllm.stages._convert_write._copy", full)
    with pytest.raises(StageError, match="the disk is full"):
        run(tmp_path / "a.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("问,答\n一,二\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:1: has no columns 问题.*its first row: 问, 答"):
        run(tmp_path / "a.csv", tmp_path / "out", column=("question=问题",))


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `zhllm convert`."""
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_ends_with_exit_code_3_and_names_the_first_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [GOOD] + [{"instruction": f"问{n}"} for n in range(7)]
    path, out = str(write_jsonl(tmp_path / "a.jsonl", faults)), str(tmp_path / "out")  # type: ignore[arg-type]
    code, _, said = command(capsys, "--source", path, "-o", out)
    assert code == 3 and "7 of 8 records rejected (87.5%, allowed 5.0%)" in said
    assert said.count("output is missing") == 5 and "a.jsonl:2: output is missing" in said
    assert len(listed(tmp_path / "out.partial")) == 7
    code, printed, _ = command(capsys, "--source", path, "-o", out, "--max-rejected-share", "0.9", "--json")
    assert code == 0 and json.loads(printed)["chats"] == 1


def test_an_unknown_finding_is_exit_code_2_and_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_jsonl(tmp_path / "a.jsonl", [dict(GOOD)]))
    code, _, said = command(capsys, "--source", path, "-o", str(tmp_path / "out"), "--drop", "truncatd")
    assert code == 2 and 'Did you mean "truncated"' in said


def test_records_of_one_line_are_told_by_their_place_in_the_list(tmp_path: Path) -> None:
    good, bad = '{"instruction":"一","output":"二"}', '{"instruction":"一","output":7}'
    (tmp_path / "a.json").write_text(f'[{good},{bad},[],{{"没有":1}}, null,{bad},\n{bad},[ ]]', encoding="utf-8")
    run(tmp_path / "a.json", tmp_path / "out", max_rejected_share=1.0)
    assert listed(tmp_path / "out") == [
        ("a.json", 1, "[1].output", "is number, not text"),
        ("a.json", 1, "[2]", "is an empty list, not an object"),
        ("a.json", 1, "[3]", "has no shape that is known; its keys: 没有"),
        ("a.json", 1, "[4]", "is a JSON null, not an object"),
        ("a.json", 1, "[5].output", "is number, not text"),
        ("a.json", 2, "output", "is number, not text"),
        ("a.json", 2, "[7]", "is an empty list, not an object"),
    ]


def test_members_of_a_list_within_an_object_are_told_by_their_place(tmp_path: Path) -> None:
    good = '{"instruction":"一","output":"好的。"}'
    (tmp_path / "a.json").write_text(f'{{"version":1,"data":[{good},{{}},null,\n{good},\n7,\n[], {{"x":1}}]}}')
    run(tmp_path / "a.json", tmp_path / "out", max_rejected_share=1.0)
    assert listed(tmp_path / "out") == [
        ("a.json", 1, "data[1]", "is an empty object"),
        ("a.json", 1, "data[2]", "is a JSON null, not an object"),
        ("a.json", 3, "", "is a JSON number, not an object"),
        ("a.json", 4, "", "is a JSON list, not an object"),
        ("a.json", 4, "data[6]", "has no shape that is known; its keys: x"),
    ]


def test_parquet_rows_are_records_whose_empty_cells_are_not_there(tmp_path: Path) -> None:
    rows = [
        {"instruction": "年假有几天？𠮷", "input": None, "output": "五天。"},
        {"instruction": "年假有几天？", "output": None},
        {"messages": [{"role": "user", "content": "早"}, {"role": "assistant", "content": "早上好！"}]},
    ]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(SCHEMA)), tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.parquet").write_bytes((tmp_path / "in" / "a.parquet").read_bytes()[:-9])
    (tmp_path / "in" / "c.json").write_bytes((tmp_path / "in" / "a.parquet").read_bytes())  # a name that lies
    metrics = run(tmp_path / "in", tmp_path / "out")
    assert (metrics["records_in"], metrics["chats"], metrics["duplicate_chats"]) == (7, 2, 2)
    said = [chat["messages"][0]["content"] for chat in map(json.loads, (tmp_path / "out" / "chats-00000.jsonl").open())]
    assert said == ["年假有几天？𠮷", "早"]
    first, broken, last = listed(tmp_path / "out")
    assert first == ("a.parquet", 2, "output", "is missing") and last == ("c.json", 2, "output", "is missing")
    assert broken[:2] == ("b.parquet", None) and broken[3].startswith("is not a readable parquet file")


SCHEMA = {
    "instruction": pa.string(),
    "input": pa.string(),
    "output": pa.string(),
    "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
}


@pytest.mark.parametrize("language", ["klingon", "中文", "", "chinese", "zhh"])
def test_a_language_that_is_none_is_refused(language: str) -> None:
    with pytest.raises(ValueError, match=f'"{language}" is not a language: give its code, as zh, zh-Hant, zh-TW'):
        convert.ConvertConfig(source=(Path(),), language=language)


@pytest.mark.parametrize("language", ["zh", "zh-TW", "zh_Hant", "ZH", "en", "pt-BR", "yue", None])
def test_a_language_is_named_by_its_code(language: str | None) -> None:
    assert convert.ConvertConfig(source=(Path(),), language=language).language == language


def test_every_prompt_format_can_be_counted_in() -> None:
    for name in FORMATS:
        assert convert.ConvertConfig(source=(Path(),), prompt_format=name).prompt_format == name  # type: ignore[arg-type]
    assert set(get_args(PromptFormatName)) == set(FORMATS)
