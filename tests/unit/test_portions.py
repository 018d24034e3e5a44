"""The input of clean in portions: the same records wherever it is cut, and an outcome for everything in it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dirt
import polars as pl
import pyarrow as pa
import pytest
from test_bad_files import CASES, GOOD, lines

from zhllm import stage
from zhllm.stages import clean
from zhllm.text.clean import portions
from zhllm.text.clean.normalise import normalise
from zhllm.text.clean.portions import portions_of
from zhllm.text.document import Document, Item, Rejected
from zhllm.text.read import cut as cut_module
from zhllm.text.read import records, sources
from zhllm.text.read.shards import document_files
from zhllm.text.read.sources import Keys, read_file

LONG = 600  # bytes of a line that is too long, in these tests
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": lambda data: data,
    ".jsonl.gz": gzip.compress,
    ".jsonl.bz2": bz2.compress,
    ".jsonl.xz": lzma.compress,
    ".jsonl.zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}
LINES: list[bytes] = [
    b'{"text": "\xe7\xac\xac\xe4\xb8\x80"}', b'{"id": 7, "text": "b", "n": [1, {"x": null}]}', b"", b" \r",
    b'{"text": "c"}\r', b'{"id": "", "text": "d"}', b'{"id": true, "text": "e"}', b'{"id": 1.5, "text": "f"}',
    b'{"id": null, "text": ""}', b'{"text": 5}', b'{"title": "t"}', b'["text"]', b"5", b"null", b'"text"', b"{",
    b'{"text": "a\0b"}', b"\0\0\0", b'{"text": "\\ud800"}', b'{"text": "\\u0000"}', b'{"text": "a", "text": "twice"}',
    b'\xef\xbb\xbf{"text": "mark"}', '{"text": "本合同自双方签字之日起生效，有效期一年。"}'.encode("gb18030"),
    b'{"text": "\xff\xfe\xff"}', b'{"text": "g"} x', b'{"text": "' + b"x" * 560 + b'"}',
    b'{"text": "' + b"x" * LONG + b'"}', b'{"text": "' + b"x" * 3 * LONG + b'"}',
    *(b'{"text": "%s"}' % (b"y" * (LONG - 12 + n)) for n in (-2, -1, 0, 1)), b'{"id": "z", "text": "last"}',
]  # fmt: skip


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sets how much is read and cut at a time, and makes 600 bytes a line too long."""

    def small(read_bytes: int, portion_bytes: int) -> None:
        monkeypatch.setattr(cut_module, "READ_BYTES", read_bytes)
        for module in (cut_module, portions):
            monkeypatch.setattr(module, "PIECE_BYTES", portion_bytes)
            monkeypatch.setattr(module, "MAX_RECORD_BYTES", LONG)
        monkeypatch.setattr(portions, "_LONG_LINE_BYTES", LONG // 2)
        monkeypatch.setattr(records, "MAX_RECORD_BYTES", LONG)

    return small


def whole(path: Path) -> list[Item]:
    return [item for file in document_files(path) for item in read_file(file, Keys())]


def in_portions(path: Path) -> list[Item]:
    found = list(portions_of([path], Keys()))
    assert len({portion.key for portion in found}) == len(found)
    assert [portion.key for portion in found] == sorted(portion.key for portion in found)
    return [item for portion in found for item in portion.read(Keys())]


def same(one: list[Item], other: list[Item]) -> None:
    """Equal documents; of what is rejected the same places and, but for the damage of a file, the same words."""
    assert [item for item in one if isinstance(item, Document)] == [i for i in other if isinstance(i, Document)]
    lost, wanted = ([i for i in items if isinstance(i, Rejected)] for items in (one, other))
    assert [(i.kind, i.file, i.offset, i.line, i.sample) for i in lost] == [
        (i.kind, i.file, i.offset, i.line, i.sample) for i in wanted
    ]
    assert [i.reason for i in lost if i.kind != "file"] == [i.reason for i in wanted if i.kind != "file"]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(("read_bytes", "portion_bytes"), [(1, 1), (7, 100), (100, 99), (650, 1000), (10**6, 10**6)])
def test_lines_are_the_same_wherever_they_are_cut(
    tmp_path: Path, cut: Callable[[int, int], None], suffix: str, read_bytes: int, portion_bytes: int
) -> None:
    cut(read_bytes, portion_bytes)
    rng = random.Random(read_bytes)
    for n in range(4):
        some = LINES if n == 0 else rng.choices(LINES, k=12)
        path = tmp_path / f"{n}{suffix}"
        path.write_bytes(PACKERS[suffix](b"\n".join([LINES[0], *some]) + b"\n" * (n % 2)))
        same(in_portions(path), whole(path))


def test_places_are_those_in_the_file(tmp_path: Path, cut: Callable[[int, int], None]) -> None:
    cut(10, 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(data := b"\n".join(LINES))
    starts = [0]
    for line in LINES:
        starts.append(starts[-1] + len(line) + 1)
    bad = [item for item in in_portions(path) if isinstance(item, Rejected)]
    assert len(bad) > 12
    for item in bad:
        assert item.offset is not None and item.line is not None
        assert starts[item.line - 1] <= item.offset < starts[item.line]
        assert "UTF-8" in item.reason or item.offset == starts[item.line - 1]
    too_long = [item for item in bad if "over 600" in item.reason]
    assert [len(LINES[item.line - 1]) + 1 > LONG for item in too_long if item.line] == [True] * len(too_long)
    assert len(too_long) == sum(len(line) + 1 > LONG for line in LINES)
    found = [item for item in in_portions(path) if isinstance(item, Document)]
    assert (found[-1].id, found[-1].text) == ("z", "last") and data.endswith(LINES[-1])
    assert found[0].id == "a.jsonl#1"


def test_a_file_of_line_ends_takes_no_memory(tmp_path: Path, cut: Callable[[int, int], None]) -> None:
    cut(10, 20)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" * 500 + lines("甲") + b" \n" * 500 + b'{"text": 1}')
    document, bad = in_portions(path)
    assert isinstance(document, Document) and document.id == "a.jsonl#501"
    assert isinstance(bad, Rejected) and (bad.line, bad.offset) == (1002, 500 + len(lines("甲")) + 1000)
    assert max(len(portion.lines) for portion in portions_of([path], Keys())) < 100
    path.write_bytes(b"\n" * 500 + b" \r\n" * 9)
    (nothing,) = in_portions(path)
    assert isinstance(nothing, Rejected) and (nothing.kind, nothing.reason) == ("skipped", "is empty")


RANDOM = random.Random(1).randbytes(40_000).hex()  # does not shrink, so a file can be cut where one likes


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix != ".jsonl"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_all_lines_before_the_damage_survive(tmp_path: Path, suffix: str, share: float) -> None:
    """What was decompressed before it is not lost, be it a kilobyte or more than is read at once."""
    texts = [f"{n}：{RANDOM[n * 300 : n * 300 + 300]}" for n in range(260)]
    data = lines(*texts)
    packed = PACKERS[suffix](data)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(packed[: int(len(packed) * share)])
    for found in (in_portions(path), whole(path)):
        *documents, bad = found
        assert [d.text for d in documents if isinstance(d, Document)] == texts[: len(documents)]
        assert isinstance(bad, Rejected) and bad.kind == "file" and "data is damaged" in bad.reason
        assert bad.line == len(documents) + 1
        assert bad.offset == len(lines(*texts[: len(documents)]))
        if suffix == ".jsonl.gz":  # the others hold a block or more back
            assert len(documents) >= int(len(texts) * share) - 2
    same(in_portions(path), whole(path))


def test_a_small_damaged_file_gives_its_lines(tmp_path: Path) -> None:
    packed = gzip.compress(lines(GOOD, "二", "三"))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[:-9])
    found = in_portions(path)
    assert [item.text for item in found if isinstance(item, Document)] == [GOOD, "二", "三"]
    assert isinstance(found[-1], Rejected) and "after 3 lines" in found[-1].reason


def test_damage_inside_a_line_too_long_costs_what_follows_only(tmp_path: Path, cut: Callable[[int, int], None]) -> None:
    """And not the file read a second time from its beginning."""
    cut(100, 200)
    data = gzip.compress(lines("甲", "乙") + lines(RANDOM))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(data[: len(data) // 2])
    one, two, bad = in_portions(path)
    assert [one.text, two.text] == ["甲", "乙"] if isinstance(one, Document) and isinstance(two, Document) else False
    assert isinstance(bad, Rejected) and (bad.kind, bad.line, bad.offset) == ("file", 3, len(lines("甲", "乙")))
    same(in_portions(path), whole(path))


def test_a_disk_that_fails_in_the_middle_costs_what_follows_only(
    tmp_path: Path, cut: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(10, 20)
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines("甲", "乙", "丙"))

    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= len(lines("甲", "乙")):
                raise OSError(5, "Input/output error")
            return super().read1(size)

    opened = sources.SourceFile.open
    calls: list[int] = []

    def failing(file: sources.SourceFile) -> Any:
        calls.append(1)
        # The looks at its first bytes succeed: what kind of file it is, and whether of JSON lines.
        return opened(file) if len(calls) <= 2 else Failing(path.read_bytes())

    monkeypatch.setattr(sources.SourceFile, "open", failing)
    *documents, bad = in_portions(path)
    assert [item.text for item in documents if isinstance(item, Document)] == ["甲", "乙"]
    assert isinstance(bad, Rejected) and "Input/output error" in bad.reason and bad.kind == "file"


@pytest.mark.parametrize("name", ["报告.json.txt", "a.csv.md", "v1.jsonl.TXT", "b.parquet.txt"])
def test_the_last_extension_decides(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"{GOOD}\n{GOOD}", encoding="utf-8")
    (document,) = in_portions(tmp_path / name)
    assert isinstance(document, Document) and document.text == f"{GOOD}\n{GOOD}"


def test_upper_case_and_packed_extensions_are_known(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_bytes(lines("甲", "乙"))
    (tmp_path / "B.JsonL.GZ").write_bytes(gzip.compress(lines("丙")))
    found = in_portions(tmp_path)
    assert [item.text for item in found if isinstance(item, Document)] == ["甲", "乙", "丙"]


def test_small_files_go_together_and_records_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PORTION_FILES", 3)
    for n in range(7):
        (tmp_path / f"{n}.txt").write_text(f"{n}{GOOD}", encoding="utf-8")
    (tmp_path / "4.jsonl").write_bytes(lines("甲"))
    found = list(portions_of([tmp_path], Keys()))
    assert [[file.name for file in portion.files] or portion.name for portion in found] == [
        ["0.txt", "1.txt", "2.txt"], ["3.txt"], "4.jsonl", ["4.txt", "5.txt", "6.txt"],
    ]  # fmt: skip
    assert len([item for portion in found for item in portion.read(Keys())]) == 8


def test_tables_and_lists_are_cut_by_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PIECE_BYTES", 300)
    texts = [f"{n}{GOOD}" for n in range(40)]
    (tmp_path / "a.json").write_text(json.dumps([{"text": text} for text in texts], indent=1), encoding="utf-8")
    (tmp_path / "b.csv").write_bytes(("text,n\n" + "".join(f"{text},1\n" for text in texts)).encode("gb18030"))
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "c.parquet")
    found = list(portions_of([tmp_path], Keys()))
    assert len(found) > 9
    assert [i.text for p in found for i in p.read(Keys()) if isinstance(i, Document)] == texts * 3


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    settings = {"documents": (source,), "profile": "dialogue", "valid_share": 0, "language": "any", **settings}
    return stage.execute(clean.STAGE, clean.CleanConfig(**settings), out).manifest.metrics


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    return pl.read_parquet(out / f"{name}-*.parquet").to_dicts()


@pytest.mark.parametrize(
    ("name", "content", "reason", "kind", "kept", "offset", "line"), CASES.values(), ids=list(CASES)
)
def test_clean_itself_lists_a_bad_input_and_keeps_the_good_one(
    tmp_path: Path, name: str, content: bytes | Callable[[Path], None], reason: str, kind: str, kept: list[str],
    offset: int | None, line: int | None,
) -> None:  # fmt: skip
    """The hostile files of collect's tests, without collect: the same outcome, with the place."""
    source = tmp_path / "in"
    source.mkdir()
    if callable(content):
        content(source / name)
    else:
        (source / name).write_bytes(content)
    (source / "z.txt").write_text("另一个文件", encoding="utf-8")
    metrics = run(source, tmp_path / "out", only="duplicates")
    assert sorted(row["text"] for row in rows(tmp_path / "out", "train")) == sorted([*kept, "另一个文件"])
    (bad,) = rows(tmp_path / "out", "rejected")
    assert bad["reason"] == {"skipped": "not_a_document"}.get(kind, "unreadable")
    words = reason.split(" after ")[0]
    assert words in bad["detail"]
    assert bad["source"].startswith(name)
    assert bad["id"] == bad["source"] + (f"#{line}" if line is not None else "")
    assert (f"(byte {offset})" in bad["detail"]) == (offset is not None)
    assert metrics["rejected"] == {bad["reason"]: 1}


def mixed_folder(folder: Path) -> None:
    """Good and bad of many kinds, beside each other."""
    rng = random.Random(2)
    folder.mkdir()
    (folder / "好.txt").write_text(dirt.document(rng), encoding="gb18030")
    (folder / "表.csv").write_bytes(f"text,作者\n{dirt.document(rng).split()[0]},李四\n,无\n".encode("gb18030"))
    (folder / "空.jsonl").write_bytes(b"")
    (folder / "空白.txt").write_text(" \n　\n", encoding="utf-8")
    (folder / "图.png").write_bytes(b"\x89PNG")
    (folder / "记录.jsonl").write_bytes(b"\n".join(LINES[:20]) + b"\n" + lines(dirt.document(rng)))
    (folder / "列表.jsonl").write_text(json.dumps([{"text": dirt.document(rng)}, 5]), encoding="utf-8")
    (folder / "二进制.txt").write_bytes(bytes(range(1, 32)) * 99)
    with zipfile.ZipFile(folder / "包.zip", "w") as archive:
        archive.writestr("里/甲.jsonl", lines(dirt.document(rng), dirt.document(rng)))
        archive.writestr("里/乙.png", b"x")
    (folder / "里").mkdir()
    (folder / "里" / "圈").symlink_to(folder)
    (folder / "断").symlink_to(folder / "没有")
    (folder / "环.txt").symlink_to(folder / "环.txt")
    (folder / ".隐藏.txt").write_text("不读", encoding="utf-8")


def test_every_input_of_a_mixed_folder_has_an_outcome(tmp_path: Path) -> None:
    mixed_folder(tmp_path / "in")
    metrics = run(tmp_path / "in", tmp_path / "out")
    bad = {row["id"]: (row["reason"], row["detail"]) for row in rows(tmp_path / "out", "rejected")}
    assert len(bad) == metrics["rejected_docs"]
    good = [row["source"] for row in rows(tmp_path / "out", "train")]
    every = {path.name for path in (tmp_path / "in").iterdir() if not path.name.startswith(".")} - {"里"}
    sources_named = {*good, *(identity.split("#")[0] for identity in bad)}
    assert every - {name.split("/")[0] for name in sources_named} == set()
    assert {"包.zip/里/甲.jsonl", "好.txt", "表.csv", "记录.jsonl", "列表.jsonl"} <= set(good)
    assert bad["图.png"][0] == bad["空.jsonl"][0] == bad["里/圈"][0] == bad["断"][0] == "not_a_document"
    assert "is a link to a folder" in bad["里/圈"][1]
    assert bad["二进制.txt#1"][0] == bad["空白.txt"][0] == bad["环.txt"][0] == bad["表.csv#3"][0] == "unreadable"
    assert metrics["docs_in"] == len(good) + len(bad)


def test_a_file_that_may_not_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(GOOD, encoding="utf-8")
    for name in ("b.txt", "c.jsonl"):
        (tmp_path / "in" / name).write_bytes(lines(GOOD + "二"))
    opened = Path.open

    def refusing(path: Path, *args: Any, **settings: Any) -> Any:
        if path.name in ("b.txt", "c.jsonl"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **settings)

    monkeypatch.setattr(Path, "open", refusing)
    run(tmp_path / "in", tmp_path / "out")
    assert {row["id"]: (row["reason"], row["detail"]) for row in rows(tmp_path / "out", "rejected")} == {
        name: ("unreadable", "cannot be read (Permission denied)") for name in ("b.txt", "c.jsonl")
    }
    assert [row["text"] for row in rows(tmp_path / "out", "train")] == [normalise(GOOD)]
