"""Hostile and damaged files under collect: the good records survive, the bad ones are listed with a place.

Each case makes one file; what is said of it, and what is kept, stands beside it.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import run as run_cli

from zhllm import stage
from zhllm.errors import DataError, StageError
from zhllm.stages import collect
from zhllm.text.read import archives, pdf, streams, xlsx
from zhllm.text.read.shards import read_documents

GOOD = "第一条　印章由行政部统一保管，外借须登记。"
ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "哈"}">' for i in range(10))
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
Rows = list[dict[str, Any]]


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


def zipped(members: dict[str, str | bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return write


def workbook(sheet: str, prolog: str = "") -> Callable[[Path], None]:
    relation = '<Relationship Id="r1" Type="t" Target="worksheets/sheet1.xml"/>'
    return zipped(
        {
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="urn:r"><sheets><sheet name="表" r:id="r1"/>'
            "</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": f"<Relationships>{relation}</Relationships>",
            "xl/worksheets/sheet1.xml": f'{prolog}<worksheet xmlns="{MAIN}">{sheet}</worksheet>',
        }
    )


def word(body: str, prolog: str = "") -> Callable[[Path], None]:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    return zipped({"word/document.xml": f"{prolog}<w:document {space}><w:body>{body}</w:body></w:document>"})


def table(values: pa.Array) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table({"text": values}), path, compression="zstd")


def pdf_bytes(content: bytes, extra: bytes = b"", trailer: bytes = b"") -> bytes:
    """A PDF of one page with this stream of drawing."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), extra, content),
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 5/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (trailer, len(data))
    return data + b"xref\n0 5\n0000000000 65535 f \n" + table + end


BOMB = b"a" * 20_000_000  # above RATIO_FROM_BYTES
JSON_BOMB = b'{"text": "' + BOMB + b'"}\n'
ENCRYPT = b"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<" + b"00" * 32 + b">/U<" + b"11" * 32 + b">>>/ID[<00><00>]"

WHOLE: tuple[str, list[str], None, None] = ("file", [], None, None)  # nothing of it could be read
# name: (file, what it holds, why it is listed, its kind, texts that survive, offset, line)
Case = tuple[str, bytes | Callable[[Path], None], str, str, list[str], int | None, int | None]
CASES: dict[str, Case] = {
    "an empty file": ("a.txt", b"", "is empty", "skipped", [], None, None),
    "an empty file in an archive": ("a.zip", zipped({"b.txt": b""}), "is empty", "skipped", [], None, None),
    "an empty packed file": ("a.md.gz", gzip.compress(b""), "is empty", "skipped", [], None, None),
    "an empty table": ("a.csv", b"\n", "is empty", "skipped", [], None, None),
    "a binary file": (
        "a.txt", bytes(range(1, 128)) * 3 + bytes(64), "holds binary data, not text", "file", [], 381, 4,
    ),
    "random bytes": (
        "a.txt", bytes((i * i * 7 + 129) % 256 for i in range(4000)), "is neither UTF-8", "file", [], 0, 1,
    ),
    "no text but control characters": (
        "a.txt", b"\x01\x02 " * 500, "holds binary data: more than a tenth", "file", [], 0, 1,
    ),
    "a cut GBK character": (
        "a.txt", GOOD.encode("gb18030")[:-1], "is neither UTF-8", "file", [], 0, 1,
    ),
    "a gzip bomb": ("a.txt.gz", gzip.compress(BOMB), "its gzip data expands more than 200-fold", *WHOLE),
    "a gzip bomb of lines": (
        "a.jsonl.gz", gzip.compress(lines(GOOD) + JSON_BOMB), "after 1 lines its gzip data expands more",
        "file", [GOOD], len(lines(GOOD)), 2,
    ),
    "a zstd bomb": (
        "a.txt.zst", pa.compress(BOMB, codec="zstd", asbytes=True), "its zstd data expands more", *WHOLE,
    ),
    "an xz bomb": ("a.txt.xz", lzma.compress(BOMB), "its xz data expands more", *WHOLE),
    "a bzip2 bomb": ("a.txt.bz2", bz2.compress(BOMB), "its bzip2 data expands more", *WHOLE),
    "a zip bomb": ("a.zip", zipped({"a.txt": BOMB}), "its zip data expands more", *WHOLE),
    "a cut gzip file": (
        "a.txt.gz", gzip.compress(GOOD.encode() * 99)[:-9], "its gzip data is damaged", *WHOLE,
    ),
    "a cut gzip file of lines": (
        "a.jsonl.gz", gzip.compress(lines(GOOD)) + gzip.compress(lines("二"))[:-9],
        "its gzip data is damaged after 2 lines", "file", [GOOD, "二"], len(lines(GOOD, "二")), 3,
    ),
    "a cut zstd file of lines": (
        "a.jsonl.zst", pa.compress(lines(GOOD), codec="zstd", asbytes=True)
        + pa.compress(lines("二"), codec="zstd", asbytes=True)[:-4],
        "its zstd data is damaged after 1 lines", "file", [GOOD], len(lines(GOOD)), 2,
    ),
    "a cut zstd file": (
        "a.txt.zst", pa.compress(GOOD.encode() * 99, codec="zstd", asbytes=True)[:-5], "its zstd data is damaged",
        *WHOLE,
    ),
    "a cut xz file": ("a.txt.xz", lzma.compress(GOOD.encode())[:-20], "its xz data is damaged", *WHOLE),
    "a changed bzip2 file": (
        "a.txt.bz2", bz2.compress(GOOD.encode())[:-8] + bytes(8), "its bzip2 data is damaged", *WHOLE,
    ),
    "a damaged zip archive": ("a.zip", b"PK\x03\x04 no more", "is not a readable zip archive", *WHOLE),
    "an archive in an archive": (
        "a.zip", zipped({"好.txt": GOOD, "又.zip": b"PK"}), "is an archive inside an archive",
        "file", [GOOD], None, None,
    ),
    "a packed text in an archive": (
        "a.zip", zipped({"好.txt": GOOD, "又.txt": gzip.compress(b"text")}), "inside an archive (by its first bytes)",
        "file", [GOOD], None, None,
    ),
    "entities in Word": (
        "a.docx", word("<w:p><w:r><w:t>&e9;</w:t></w:r></w:p>", f"<!DOCTYPE w [{ENTITIES}]>"), "declares a DTD",
        *WHOLE,
    ),
    "entities in Excel": (
        "a.xlsx", workbook("<sheetData><row><c><v>&e9;</v></c></row></sheetData>", f"<!DOCTYPE w [{ENTITIES}]>"),
        "declares a DTD", *WHOLE,
    ),
    "entities in a dump": (
        "a.xml", f"<!DOCTYPE w [{ENTITIES}]><mediawiki>&e9;</mediawiki>".encode(), "declares a DTD", *WHOLE,
    ),
    "a Word bomb": (
        "a.docx", word("<w:p/>" * 4_000_000), "its zip data expands more than 200-fold", *WHOLE,
    ),
    "an Excel cell out of the sheet": (
        "a.xlsx", workbook('<sheetData><row r="3"><c r="ZZZ3"><v>1</v></c></row></sheetData>'),
        "row 3 has a cell at an impossible place (ZZZ3)", *WHOLE,
    ),
    "an old Excel file": ("a.xlsx", b"\xd0\xcf\x11\xe0 old", "is not an .xlsx file", *WHOLE),
    "other XML": ("a.xml", b"<html/>", "is XML, but not a MediaWiki dump (<html>)", "skipped", [], None, None),
    "a cut dump": (
        "a.xml", f"<mediawiki><page><title>印</title><id>7</id><text>{GOOD}</text></page><page>".encode(),
        "after 1 pages its XML is damaged", "file", [GOOD], None, None,
    ),
    "a NUL in a record": (
        "a.jsonl", lines(GOOD) + b'{"text": "a\0b"}\n', "is not JSON", "record", [GOOD], len(lines(GOOD)), 2,
    ),
    "a lone surrogate": (
        "a.json", b'[\n{"text": "\\ud800"},\n' + lines(GOOD) + b"]", "lone surrogate", "record", [GOOD], 2, 2,
    ),
    "a list in JSON lines": (
        "a.jsonl", lines(GOOD) + b'["text"]\n' + lines("三"), "is a JSON list, not an object", "record", [GOOD, "三"],
        len(lines(GOOD)), 2,
    ),
    "a record that is not closed": (
        "a.jsonl", lines(GOOD) + b'{"text": "a\n' + lines("三"), "is not JSON", "record", [GOOD, "三"],
        len(lines(GOOD)), 2,
    ),
    "text that is a number": (
        "a.jsonl", lines(GOOD) + b'{"text": 5}\n', '"text" is number, not text (keys: text)', "record", [GOOD],
        len(lines(GOOD)), 2,
    ),
    "a broken object in a list": (
        "a.json", b"[\n " + lines(GOOD).strip() + b',\n {"text": },\n ' + lines("三").strip() + b"\n]",
        "is not JSON", "record", [GOOD, "三"], 3 + len(lines(GOOD)) + 2, 3,
    ),
    "bytes of no encoding in a list": (
        "a.json", b'[\n{"text": "\xe4\xba\xff"},\n' + lines(GOOD) + b"]", "is neither UTF-8", "record", [GOOD], 2, 2,
    ),
    "a record of too many values": (
        "a.jsonl", b'{"a": [' + b"[]," * 3_000_000 + b"0]}\n" + lines(GOOD), "holds more than 2,000,000 values",
        "record", [GOOD], 0, 1,
    ),
    "a quote that is never closed": (
        "a.csv", f'text,n\n{GOOD},1\n"未完,2\n三,3\n'.encode(), "a quote that opens in this line is never closed",
        "record", [GOOD, "三"], len(f"text,n\n{GOOD},1\n".encode()), 3,
    ),
    "cells without a column": (
        "a.csv", f"text,n\n{GOOD},1\n二,2,3\n".encode(), "has 3 cells, the header 2", "record", [GOOD],
        len(f"text,n\n{GOOD},1\n".encode()), 3,
    ),
    "a row without text": ("a.csv", f"text,n\n,1\n{GOOD},1".encode(), '"text" is empty', "record", [GOOD], 7, 2),
    "bytes of no encoding in a table": (
        "a.csv", f"text,n\n{GOOD},1\n".encode() + b"\xff\xff,2\n", "is neither UTF-8", "record", [GOOD],
        len(f"text,n\n{GOOD},1\n".encode()), 3,
    ),
    "parquet with bytes that are no text": (
        "a.parquet", table(pa.array([GOOD.encode(), b"\xff", "三".encode()]).view(pa.string())),
        "holds text that is not UTF-8 (byte 0)", "record", [GOOD, "三"], None, 2,
    ),
    "a parquet bomb": (
        "a.parquet", table(pa.array(["a" * 35_000_000, "b" * 35_000_000])), "expands more than 200-fold", *WHOLE,
    ),
    "a cut parquet file": ("a.parquet", b"PAR1 no more", "is not a readable parquet file", *WHOLE),
    "a PDF of pictures": ("a.pdf", pdf_bytes(b"0 0 9 9 re f"), "has no text layer (1 pages): it needs OCR", *WHOLE),
    "a damaged PDF": ("a.pdf", b"%PDF-1.4 no more", "is not a readable PDF file", *WHOLE),
    "an encrypted PDF": ("a.pdf", pdf_bytes(b"", b"", ENCRYPT), "is encrypted; save it without", *WHOLE),
}  # fmt: skip


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = collect.CollectConfig(source=(source,), **{"max_rejected_share": 1, **settings})
    return stage.execute(collect.STAGE, config, out).manifest.metrics


def rows(out: Path, name: str) -> Rows:
    return pl.read_parquet(out / f"{name}-*.parquet").to_dicts()


@pytest.mark.parametrize(
    ("name", "content", "reason", "kind", "kept", "offset", "line"), CASES.values(), ids=list(CASES)
)
def test_a_bad_input_is_listed_and_the_good_one_survives(
    tmp_path: Path, name: str, content: bytes | Callable[[Path], None], reason: str, kind: str, kept: list[str],
    offset: int | None, line: int | None,
) -> None:  # fmt: skip
    source = tmp_path / "in"
    source.mkdir()
    if callable(content):
        content(source / name)
    else:
        (source / name).write_bytes(content)
    (source / "z.txt").write_text("另一个文件", encoding="utf-8")
    metrics = run(source, tmp_path / "out")
    assert [row["text"] for row in rows(tmp_path / "out", "documents")] == [*kept, "另一个文件"]
    (bad,) = rows(tmp_path / "out", "rejected")
    assert reason in bad["reason"]
    assert (bad["kind"], bad["offset"], bad["line"]) == (kind, offset, line)
    assert bad["file"].startswith(name)
    lost = {"file": "files_rejected", "record": "rejected_records", "skipped": "files_skipped"}[kind]
    assert metrics[lost] == 1


TEXT = [f"第{i}条　印章由行政部统一保管，外借须登记，逾期不还的按照规定处理。\n" for i in range(1, 31)]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_a_bad_byte_costs_its_line_of_a_text_only(tmp_path: Path, name: str, encoding: str) -> None:
    data = [line.encode(encoding if i == 0 else encoding.removesuffix("-sig")) for i, line in enumerate(TEXT)]
    data[6] = data[6][:5] + b"\xff" + data[6][5:]
    (tmp_path / name).write_bytes(b"".join(data))
    metrics = run(tmp_path / name, tmp_path / "out", max_rejected_share=0)
    (document,) = rows(tmp_path / "out", "documents")
    assert document["text"] == "".join(TEXT[:6] + TEXT[7:])
    assert ("gb18030" in document["meta"]) == (encoding == "gb18030")
    (bad,) = rows(tmp_path / "out", "rejected")
    offset = bad["offset"]
    assert 0 <= offset - len(b"".join(data[:6])) <= 5 and bad["line"] == 7
    assert (bad["kind"], bad["file"]) == ("record", name)
    assert f"byte {offset}, 0x" in bad["reason"] and "统一保管" in bad["sample"]
    assert (metrics["files_read"], metrics["files_rejected"], metrics["rejected_records"]) == (1, 0, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_text_cut_off_inside_its_last_character_loses_that_line(tmp_path: Path, encoding: str) -> None:
    data = "".join(TEXT).rstrip().encode(encoding)[:-1]
    (tmp_path / "a.txt").write_bytes(data)
    run(tmp_path / "a.txt", tmp_path / "out")
    assert rows(tmp_path / "out", "documents")[0]["text"] == "".join(TEXT[:-1])
    (bad,) = rows(tmp_path / "out", "rejected")
    assert bad["line"] == len(TEXT) and bad["offset"] == len(data) - (2 if encoding == "utf-8" else 1)


def test_a_text_with_too_many_bad_lines_or_too_few_lines_is_rejected(tmp_path: Path) -> None:
    data = [line.encode() for line in TEXT]
    data[3] = data[9] = b"\xff\n"
    (tmp_path / "many.txt").write_bytes(b"".join(data))
    (tmp_path / "short.txt").write_bytes(b"".join(data[:8]))
    (tmp_path / "latin.txt").write_bytes(b"plain line\n" * 10 + "café déjà vu\n".encode("latin-1") * 30)
    (tmp_path / "z.txt").write_bytes(b"".join(data[:3] * 67 + data[3:4] + data[3:4]))  # 2 of 203
    metrics = run(tmp_path, tmp_path.with_name("out"))
    assert (metrics["docs"], metrics["files_rejected"], metrics["rejected_records"]) == (1, 3, 2)


def test_a_parquet_file_without_rows_is_skipped(tmp_path: Path) -> None:
    table(pa.array([], pa.string()))(tmp_path / "a.parquet")
    (tmp_path / "z.txt").write_text(GOOD, encoding="utf-8")
    metrics = run(tmp_path, tmp_path.with_name("out"))
    (bad,) = rows(tmp_path.with_name("out"), "rejected")
    assert (bad["file"], bad["kind"], bad["reason"]) == ("a.parquet", "skipped", "is empty")
    assert (metrics["files_read"], metrics["files_skipped"]) == (1, 1)


def test_a_pdf_that_wants_all_memory_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packer = __import__("zlib").compressobj(9)
    packed = b"".join(packer.compress(b" " * 10_000_000) for _ in range(60)) + packer.flush()
    (tmp_path / "a.pdf").write_bytes(pdf_bytes(packed, b"/Filter/FlateDecode"))
    (tmp_path / "b.txt").write_text(GOOD, encoding="utf-8")
    if sys.platform != "linux":
        pytest.skip("only Linux limits the memory of the process")
    run(tmp_path, tmp_path.with_name("out"))
    assert [row["text"] for row in rows(tmp_path.with_name("out"), "documents")] == [GOOD]
    assert "made PDFium stop" in rows(tmp_path.with_name("out"), "rejected")[0]["reason"]


def test_a_pdf_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_bytes(b"0 0 9 9 re f"))
    pdf._stop(pdf._started())  # a new process takes longer to start than it is given
    monkeypatch.setattr(pdf, "MAX_SECONDS", 0.0)
    with pytest.raises(DataError, match=r"a.pdf: took PDFium over 0 s"):
        run(tmp_path / "a.pdf", tmp_path / "out")
    assert pdf._reader is None


def test_an_archive_of_endless_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    zipped({f"{i}.txt": GOOD for i in range(9)})(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a.zip: its directory has \d+ bytes, over 100; unpack it"):
        run(tmp_path / "a.zip", tmp_path / "out")


def test_an_archive_that_expands_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNCHECKED_BYTES", 1_000_000)
    zipped({f"{i}.txt": b"a" * 1_000_000 for i in range(3)})(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a.zip: expands more than 200-fold \([\d,]+ bytes to 3,000,000\)"):
        run(tmp_path / "a.zip", tmp_path / "out")


def test_a_row_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROW_ELEMENTS", 100)
    workbook(f"<sheetData><row>{'<c><v>1</v></c>' * 99}</row></sheetData>")(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="holds a row or text of over 100 elements"):
        run(tmp_path / "a.xlsx", tmp_path / "out")


def test_a_text_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_WHOLE_BYTES", 1000)
    (tmp_path / "a.txt").write_text(GOOD * 100, encoding="utf-8")
    with pytest.raises(DataError, match=r"a.txt: is larger than 1,000 bytes; split it, or give it as JSON lines"):
        run(tmp_path / "a.txt", tmp_path / "out")


def test_names_that_are_not_utf8_are_shown_readably(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    try:
        (folder / os.fsdecode("公司规章制度.txt".encode("gb18030"))).write_text(GOOD, encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    run(folder, tmp_path / "out")
    assert rows(tmp_path / "out", "documents")[0]["id"] == "公司规章制度.txt"


def test_a_loop_of_links_is_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(GOOD, encoding="utf-8")
    (folder / "甲").symlink_to(folder, target_is_directory=True)
    (folder / "乙.txt").symlink_to(folder / "丙.txt")
    (folder / "丙.txt").symlink_to(folder / "乙.txt")
    metrics = run(folder, tmp_path / "out")
    assert (metrics["docs"], metrics["files_skipped"], metrics["files_rejected"]) == (1, 1, 2)
    reasons = " ".join(row["reason"] for row in rows(tmp_path / "out", "rejected"))
    assert "link to a folder" in reasons and "cannot be read" in reasons


def test_a_file_that_may_not_be_read_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(GOOD, encoding="utf-8")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("zhllm.text.read.sources.open_bytes", refuse)
    with pytest.raises(DataError, match=r"a.txt: cannot be read \(Permission denied\)"):
        run(tmp_path / "a.txt", tmp_path / "out")


@pytest.mark.parametrize("closed", [("甲",), ("甲", "丙"), ("",)])
def test_a_folder_that_may_not_be_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: tuple[str, ...]
) -> None:
    folder = tmp_path / "in"
    for name in ("甲", "乙", "丙"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.txt").write_text(GOOD, encoding="utf-8")
    scandir, refused = os.scandir, [str(folder / name) for name in closed]

    def refuse(path: str) -> Any:
        if str(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    if closed == ("",):
        with pytest.raises(DataError, match=r"in: cannot be read \(Permission denied\)"):
            run(folder, tmp_path / "out")
        return
    metrics = run(folder, tmp_path / "out")
    assert (metrics["docs"], metrics["files_rejected"]) == (3 - len(closed), len(closed))
    found = {(row["file"], row["kind"], row["reason"]) for row in rows(tmp_path / "out", "rejected")}
    assert found == {(name, "file", "cannot be read (Permission denied)") for name in closed}


@pytest.mark.parametrize("when", ["write_table", "close"])
def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    (tmp_path / "a.txt").write_text(GOOD, encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, when, full)
    code, out, err = run_cli(["collect", "--source", str(tmp_path / "a.txt"), "-o", str(tmp_path / "out")], capsys)
    assert code == StageError.exit_code
    assert out == "" and err.count("\n") == 1
    assert "-00000.parquet: cannot be written (No space left on device). Nothing was finished." in err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/manifest.json"))


def test_workers_give_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(7):
        (folder / f"{i}.txt").write_text(f"{GOOD}{i}", encoding="utf-8")
    (folder / "a.jsonl").write_bytes(lines("甲", "乙") + b"{\n")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines("丙")))
    (folder / "c.pdf").write_bytes(pdf_bytes(b"0 0 9 9 re f"))
    zipped({"d.txt": GOOD, "e.png": b""})(folder / "f.zip")
    for workers in (1, 2):
        run(folder, tmp_path / str(workers), workers=workers)
    for name in ("documents", "rejected"):
        one, two = (tmp_path / n / f"{name}-00000.parquet" for n in "12")
        assert one.read_bytes() == two.read_bytes()
    assert len(rows(tmp_path / "2", "documents")) == 11


def test_a_dump_with_redirects_is_no_damaged_one(tmp_path: Path) -> None:
    page = "<page><title>{}</title><ns>{}</ns><id>{}</id>{}<revision><text>{}</text></revision></page>"
    pages = (("印章", 0, 1, "", GOOD), ("章", 0, 2, '<redirect title="印章"/>', "见[[印章]]"),
             ("公章", 0, 5, "", "#重定向 [[印章]]"), ("用户", 2, 3, "", "我"),
             ("空", 0, 4, "", "{{stub}}"))  # fmt: skip
    dump = "".join(page.format(*p) for p in pages)
    (tmp_path / "a.xml").write_text(f"<mediawiki>{dump}</mediawiki>", encoding="utf-8")
    (document,) = read_documents([tmp_path / "a.xml"])
    assert (document.id, document.text, document.meta) == ("a.xml#1", GOOD, '{"title":"印章"}')
    metrics = run(tmp_path / "a.xml", tmp_path / "out")
    counted = "1 pages of other namespaces, 1 pages without text, 2 redirects"
    assert metrics["left_out"] == [f"a.xml: {counted}"]
    (row,) = rows(tmp_path / "out", "rejected")
    assert (row["kind"], row["reason"]) == ("left out", counted)
