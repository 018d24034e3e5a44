"""collect on files of every kind, encoding and damage: each is read, rejected with its place, or skipped."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toys import write_jsonl

from zhllm import stage
from zhllm.errors import DataError, ProofError
from zhllm.stages import collect
from zhllm.text.parallel import map_in_order
from zhllm.text.read import records, streams
from zhllm.text.read.parquet import ShardWriter
from zhllm.text.read.shards import has_split, held_out, read_documents, write_documents

CHINESE = "第一条　为了规范公司的印章管理，防止风险，制定本办法。𠮷野家的收据也要盖章。"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def run(source: Path | tuple[Path, ...], out: Path, **settings: Any) -> dict[str, Any]:
    sources = source if isinstance(source, tuple) else (source,)
    config = collect.CollectConfig(source=sources, **settings)
    return stage.execute(collect.STAGE, config, out).manifest.metrics


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    return pl.read_parquet(out / f"{name}-*.parquet").to_dicts()


def texts(out: Path) -> dict[str, str]:
    return {row["id"]: row["text"] for row in rows(out, "documents")}


def write_docx(path: Path, body: str, prolog: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", f"{prolog}<w:document {W}><w:body>{body}</w:body></w:document>")


@pytest.mark.parametrize("name", ["制度.docx", "制度.txt", "制度.csv", "制度", "制度.zip", "制度.xml"])
@pytest.mark.parametrize("kind", ["docx", "parquet"])
def test_a_renamed_file_is_read_as_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    (folder := tmp_path / "资料").mkdir()
    if kind == "docx":
        write_docx(folder / name, f"<w:p><w:r><w:t>{CHINESE}</w:t></w:r></w:p>")
    else:
        pl.DataFrame({"text": [CHINESE]}).write_parquet(folder / name)
    metrics = run(folder, tmp_path / "out", workers=2)
    assert metrics["files_read"] == metrics["docs"] == 1
    assert [row["text"] for row in rows(tmp_path / "out", "documents")] == [CHINESE]


def test_every_kind_and_encoding_gives_the_same_chinese(tmp_path: Path) -> None:
    folder = tmp_path / "资料"
    (folder / "子目录").mkdir(parents=True)
    for name, encoding in (("a", "utf-8"), ("b", "utf-8-sig"), ("c", "utf-16"), ("d", "gb18030")):
        (folder / f"{name}.txt").write_text(CHINESE, encoding=encoding)
    (folder / "e.TXT.gz").write_bytes(gzip.compress(CHINESE.encode()))
    (folder / "f.md").write_text(CHINESE, encoding="utf-8")
    (folder / "g.html").write_text(f"<p>{CHINESE}</p>", encoding="utf-8")
    write_docx(folder / "子目录" / "h.docx", f"<w:p><w:r><w:t>{CHINESE}</w:t></w:r></w:p>")
    metrics = run(folder, tmp_path / "out")
    found = texts(tmp_path / "out")
    assert list(found) == [
        "a.txt", "b.txt", "c.txt", "d.txt", "e.TXT.gz", "f.md", "g.html", "子目录/h.docx"
    ]  # fmt: skip
    assert set(found.values()) == {CHINESE}
    assert metrics["files_read"] == metrics["docs"] == 8
    assert metrics["chars"] == 8 * len(CHINESE)
    encodings = {row["id"]: row["meta"] for row in rows(tmp_path / "out", "documents")}
    assert encodings["d.txt"] == '{"encoding":"gb18030"}'
    assert encodings["a.txt"] == "{}"


def test_all_files_are_accounted_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "好.txt").write_text(CHINESE, encoding="utf-8")
    (folder / "坏.txt").write_bytes(CHINESE.encode() + b"\n\xff\xff")
    (folder / "图.png").write_bytes(b"\x89PNG")
    (folder / "空.txt").write_bytes(b"")
    (folder / ".隐藏.txt").write_text("秘密")
    (folder / "~$锁.docx").write_text("锁")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("秘密")
    (folder / "又.txt").symlink_to(folder / "好.txt")
    (folder / "环").symlink_to(folder, target_is_directory=True)
    (folder / "断.txt").symlink_to(folder / "没有.txt")
    metrics = run(folder, tmp_path / "out", max_rejected_share=1.0)
    assert list(texts(tmp_path / "out").values()) == [CHINESE]
    assert (metrics["files_found"], metrics["files_read"]) == (7, 1)
    assert (metrics["files_rejected"], metrics["files_skipped"]) == (2, 4)
    listed = {row["file"]: (row["kind"], row["reason"]) for row in rows(tmp_path / "out", "rejected")}
    assert listed["坏.txt"][0] == "file"
    assert f"byte {len(CHINESE.encode()) + 1}" in listed["坏.txt"][1]
    assert "No such file" in listed["断.txt"][1]
    assert listed["图.png"] == ("skipped", "is not a kind of document zhllm reads (.png)")
    assert listed["空.txt"] == ("skipped", "is empty")
    assert "same file" in (listed.get("又.txt") or listed["好.txt"])[1]
    assert "link to a folder" in listed["环"][1]


def test_a_bad_line_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "记录.jsonl"
    lines = [
        b'\xef\xbb\xbf{"id": "\xe7\x94\xb2", "text": "\xe4\xb8\x80", "url": "x"}',
        b'{"text": "\xe4\xba\x8c"',
        b"",
        '{"text": "三月三日"}'.encode("gb18030"),
        b'{"text": "\xff\xff\xff"}',
        b'{"text": 5}',
        b'{"title": "x"}',
        b'["text"]',
        b'{"text": "\\ud800"}',
        b'{"text": "last"}',
    ]
    path.write_bytes(b"\n".join(lines))
    metrics = run(path, tmp_path / "out", max_rejected_share=1.0)
    assert texts(tmp_path / "out") == {"甲": "一", "记录.jsonl#4": "三月三日", "记录.jsonl#10": "last"}
    bad = rows(tmp_path / "out", "rejected")
    assert [row["line"] for row in bad] == [2, 5, 6, 7, 8, 9]
    assert bad[0]["offset"] == len(lines[0]) + 1
    assert [row["reason"][:20] for row in bad] == [
        "is not JSON: unexpec", "is neither UTF-8 (by", '"text" is number, no', '"text" is missing (k',
        "is a JSON list, not ", "is not JSON: no low ",
    ]  # fmt: skip
    assert metrics["files_read"] == 1
    assert metrics["rejected_records"] == 6
    assert rows(tmp_path / "out", "documents")[0]["meta"] == '{"url":"x"}'


def test_too_many_bad_records_fail_with_the_first_place_and_leave_only_partial(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "好"}\n{"body": "坏"}\n', encoding="utf-8")
    message = r'1 of 2 records rejected \(50.0%, allowed 5.0%\):\n  a.jsonl:2: "text" is missing \(keys: body\)'
    with pytest.raises(DataError, match=message):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / "rejected-00000.parquet").exists()
    assert DataError.exit_code == 3


def test_the_share_that_the_message_advises_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(7):
        (folder / f"{i}.txt").write_bytes(b"\xff\xff\xff" if i == 0 else "好的".encode())
    with pytest.raises(DataError, match=r"1 of 7 files rejected(?s:.*)--max-rejected-share 0\.15"):
        run(folder, tmp_path / "out")
    assert run(folder, tmp_path / "out", max_rejected_share=0.15)["files_rejected"] == 1


def test_no_documents_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ppt").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"no documents \(1 files found, 1 of them skipped\).*\n  a.ppt: is not"):
        run(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("batch", [1, 1000])
def test_another_text_key_and_repeated_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(collect, "BATCH_DOCS", batch)
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"key": 1, "body": "正文"}\n' * 2, encoding="utf-8")
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    metrics = run(files, tmp_path / "out", text_key="body", id_key="key")
    assert list(texts(tmp_path / "out")) == ["1", "a.jsonl:1", "b.jsonl:1", "b.jsonl:1~2"]
    assert metrics["renamed_ids"] == 3


@pytest.mark.parametrize(
    "content",
    [
        '[\n {"text": "一"},\n {"text": "二"}\n]',
        '{"text": "一"}\n{"text": "二"}\n',
        '{\n "text": "一"\n}\n{\n "text": "二"\n}\n',
    ],
    ids=["list", "lines", "indented objects"],
)
def test_content_and_not_the_extension_decides_the_form_of_json(tmp_path: Path, content: str) -> None:
    for name in ("a.json", "a.jsonl"):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert [d.text for d in read_documents([path])] == ["一", "二"]


def test_a_broken_first_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "断\n{"text": "一"}\n{"text": "二"}\n', encoding="utf-8")
    run(path, tmp_path / "out", max_rejected_share=0.4)
    assert list(texts(tmp_path / "out").values()) == ["一", "二"]


def test_a_list_that_is_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "一"},\n{"text": "二"},\n{"text": "三', encoding="utf-8")
    found = list(records.read_records(path, "a.json"))
    assert [r.line for r in found] == [1, 2, 3]
    assert isinstance(found[2], records.Rejected)
    assert "is not JSON: Unterminated string" in found[2].reason
    path.write_text('[{"text": "一"}\n', encoding="utf-8")
    assert "has no end" in str(list(records.read_records(path, "a.json"))[1])


def test_damaged_gzip_keeps_the_lines_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    line = '{"text": "第%d行"}\n'
    path.write_bytes(gzip.compress("".join(line % i for i in range(20_000)).encode())[:-2000])
    metrics = run(path, tmp_path / "out", max_rejected_share=1.0)
    assert metrics["files_rejected"] == 1
    assert metrics["docs"] > 100
    assert "gzip data is damaged after" in rows(tmp_path / "out", "rejected")[0]["reason"]


def test_a_bomb_is_refused_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(streams, "MAX_WHOLE_BYTES", 1000)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 5000 + b'"}\n{"text": "ok"}\n'))
    (folder / "b.txt.gz").write_bytes(gzip.compress(b"a" * 5000))
    metrics = run(folder, tmp_path / "out", max_rejected_share=1.0)
    assert texts(tmp_path / "out") == {"a.jsonl.gz#2": "ok"}
    reasons = [row["reason"] for row in rows(tmp_path / "out", "rejected")]
    assert reasons[0] == "the line has 5,013 bytes, over 1,000"
    assert reasons[1].startswith("is larger than 1,000 bytes")
    assert (metrics["rejected_records"], metrics["files_rejected"]) == (1, 1)


def test_a_document_without_text_is_rejected_not_empty(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_docx(folder / "扫描.docx", "<w:p/>")
    (folder / "b.txt").write_text("文字")
    run(folder, tmp_path / "out", max_rejected_share=1.0)
    assert rows(tmp_path / "out", "rejected")[0]["reason"] == "holds no text (pictures only?)"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "甲", "k": [1]}\n{"text": "乙"}\n', encoding="utf-8")
    for name in ("one", "two"):
        run(tmp_path / "a.jsonl", tmp_path / name)
    one, two = (sorted((tmp_path / name).glob("*.parquet")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_shards_are_read_back_and_rejected_rows_are_not_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "甲", "k": [1]}\n{"no": 1}\n', encoding="utf-8")
    run(tmp_path / "a.jsonl", tmp_path / "out", max_rejected_share=1.0)
    (document,) = read_documents([tmp_path / "out"])
    assert (document.id, document.text, document.source) == ("a.jsonl#1", "甲", "a.jsonl")
    assert document.meta == '{"k":[1]}'
    with pytest.raises(DataError, match=r'a.jsonl:2: "text" is missing \(keys: no\)'):
        list(read_documents([tmp_path / "a.jsonl"]))


def test_splits_belong_to_clean_folders_only(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "a.txt").write_text("整个")
    documents = {"train": "训练", "valid": "验证"}
    for split, text in documents.items():
        source = list(read_documents([tmp_path / "a.txt"]))[0]
        write_documents(tmp_path / "clean", split, [type(source)(split, text, "a")])
    folder, file = tmp_path / "clean", tmp_path / "a.txt"
    assert [d.text for d in read_documents([folder])] == ["训练", "验证"]
    assert [d.text for d in read_documents([folder, file], split="train")] == ["训练", "整个"]
    assert [d.text for d in held_out([folder, file])] == ["验证", "整个"]
    assert has_split([folder], "valid")
    assert not has_split([folder, file], "valid")
    with pytest.raises(DataError, match=r"a.txt: has no validation split. Run zhllm clean"):
        list(read_documents([file], split="valid"))


@pytest.mark.parametrize(
    ("text", "kind"), [(None, "null"), (True, "boolean"), (1.5, "number"), (["一"], "list"), ({}, "object")]
)
def test_a_text_that_is_none_is_named_as_json_names_it(tmp_path: Path, text: object, kind: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "一"}, {"text": text}])
    run(path, tmp_path / "out", max_rejected_share=1.0)
    (bad,) = rows(tmp_path / "out", "rejected")
    assert (bad["line"], bad["reason"]) == (2, f'"text" is {kind}, not text (keys: text)')


def test_an_id_that_is_no_name_is_not_one(tmp_path: Path) -> None:
    values = [{"id": found, "text": f"文{i}"} for i, found in enumerate(({"a": 1}, [1], None, "", 0, "甲"))]
    run(write_jsonl(tmp_path / "a.jsonl", values), tmp_path / "out")
    ids = [row["id"] for row in rows(tmp_path / "out", "documents")]
    assert ids == ["a.jsonl#1", "a.jsonl#2", "a.jsonl#3", "a.jsonl#4", "0", "甲"]


def test_parquet_of_others(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["甲", None], "n": [1, 2]})
    frame.write_parquet(tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", tmp_path / "out", max_rejected_share=1.0)
    (row,) = rows(tmp_path / "out", "documents")
    assert (row["id"], row["text"], row["meta"]) == ("a.parquet#1", "甲", '{"n":1}')
    (bad,) = rows(tmp_path / "out", "rejected")
    assert (bad["line"], bad["reason"]) == (2, '"text" is null, not text')
    with pytest.raises(DataError, match=r'has no column "body" \(columns: text, n\)'):
        run(tmp_path / "a.parquet", tmp_path / "out2", text_key="body")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is not a readable parquet file"):
        run(tmp_path / "b.parquet", tmp_path / "out3")


def test_shards_are_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zhllm.text.read.parquet.ROW_GROUP_CHARS", 20)
    monkeypatch.setattr("zhllm.text.read.parquet.SHARD_CHARS", 40)
    with ShardWriter(tmp_path, "documents") as writer:
        for i in range(10):
            writer.write((str(i), "十个汉字的一段文本。", "s", "{}"))
    assert len(writer.paths) > 2
    assert [d.id for d in read_documents([tmp_path])] == [str(i) for i in range(10)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        run(tmp_path, tmp_path / "out")


def in_group(group: int) -> list[str]:
    """The living processes of a group (a zombie is none)."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stats.append(path.read_text().rpartition(")")[2].split())
    return [" ".join(stat) for stat in stats if stat[0] != "Z" and int(stat[2]) == group]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc to see processes")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_ctrl_c_prints_no_traceback_of_any_process(tmp_path: Path, workers: int, wait: float) -> None:
    (tmp_path / "in").mkdir()
    for i in range(30):
        (tmp_path / "in" / f"{i}.txt").write_text(CHINESE, encoding="utf-8")
    code = (
        "import time\nfrom zhllm.text.read import sources\nread = sources.READERS['.txt']\n"
        "def slow(file, keys):\n    if file.name == '0.txt':\n"
        "        print('reading', flush=True)\n        time.sleep(60)\n"
        "    yield from read(file, keys)\n"
        "sources.READERS['.txt'] = slow\n"
        "if __name__ == '__main__':\n    from zhllm.cli import main\n"
        f"    main(['collect', '--source', 'in', '-o', 'out', '--workers', '{workers}'])\n"
    )
    (tmp_path / "slow.py").write_text(code)
    running = subprocess.Popen(
        [sys.executable, "slow.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(collect.__file__).parents[2])},
    )  # fmt: skip
    assert running.stdout is not None and running.stdout.readline() == "reading\n"
    time.sleep(wait)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=20)[1]
    assert running.returncode == 130
    assert said.strip() == "interrupted"
    end = time.monotonic() + 10
    while (left := in_group(running.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def test_workers_end_at_once_when_nobody_wants_their_results() -> None:
    results = map_in_order(time.sleep, (0, 60, 60, 60), 2)
    assert next(results) is None
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 20


def test_a_wrong_count_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("甲")
    monkeypatch.setattr("zhllm.text.read.parquet.count_rows", lambda paths: 7)
    with pytest.raises(ProofError, match="documents shards hold 7 rows, not 1"):
        run(tmp_path / "a.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
