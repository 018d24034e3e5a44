"""clean: what is normalised, refused, unique and held out, on Chinese of every sort."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zhllm import stage
from zhllm.errors import DataError, ProofError
from zhllm.stages import clean
from zhllm.text.clean import last_pass
from zhllm.text.clean.charclass import count_chars
from zhllm.text.clean.cleaning import Rules, clean_text
from zhllm.text.clean.furniture import remove_furniture
from zhllm.text.clean.normalise import normalise, repair_mojibake

DATA = Path(os.environ.get("ZHLLM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} (real data for tests) is not here")

PARAGRAPH = (
    "第{n}条　员工出差应当事先填写申请单，写明出差的时间、地点和事由，由部门负责人批准。"
    "出差回来以后十五日以内到财务部办理报销，超过期限的要写明原因，经总经理同意才可以办理。"
)


def paragraph(n: int) -> str:
    return PARAGRAPH.format(n=n)


def write(path: Path, texts: list[str]) -> Path:
    lines = (json.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(texts))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = clean.CleanConfig(documents=(source,), **{"near_duplicates": False, **settings})
    return stage.execute(clean.STAGE, config, out).manifest.metrics


def ids(out: Path, split: str) -> list[str]:
    return list(pl.read_parquet(out / f"{split}-*.parquet")["id"])


def reasons(out: Path) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in pl.read_parquet(out / "rejected-*.parquet").to_dicts()}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("ＡＢＣ１２３ａｂｃ", "ABC123abc"),
        ("价格：１２元，请问？（税）《册》——“是”……", "价格：12元，请问？（税）《册》——“是”……"),
        ("甲\u3000乙", "甲 乙"),
        ("\u3000\u3000段首\n \u3000次段", "段首\n次段"),
        ("    code\n\tcode", "    code\n\tcode"),
        ("\ufeff零\u200b宽\u2060字\u00ad符\u200e", "零宽字符"),
        ("家\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f人\u2764\ufe0f\u200d\U0001f525", None),
        ("中\u200d文\u200c字", "中文字"),
        ("می\u200cخواهم क्\u200dष", None),
        ("一\r\n二\r三\u2028四\x0c五\x85六", "一\n二\n三\n四\n五\n六"),
        ("行尾 \t\n\n\n\n\n空行\n\n", "行尾\n\n空行"),
        ("控\x00制\x07符\x1b\x9d", "控制符"),
        ("①②㎡ﬁ㈱Ⅷ½", None),  # NFKC would change every one of them
        ("e\u0301 が ①㎡", "é が ①㎡"),
        ("𠮷野家𪚥葛\U000e0100城", "𠮷野家𪚥葛城"),
        ("臺灣與龍門", None),
    ],
)
def test_normal_form(raw: str, wanted: str | None) -> None:
    assert normalise(raw) == (raw if wanted is None else wanted)


@pytest.mark.parametrize("wrong", ["latin-1", "gb18030"])
def test_mojibake_is_repaired_only_where_the_way_back_is_exact(wrong: str) -> None:
    text = "合同应当采用书面形式订立员工每年享受带薪年假" + "𠮷" * (wrong == "latin-1")
    garbled = text.encode().decode(wrong)
    assert repair_mojibake(garbled) == text
    assert repair_mojibake(text) is None
    assert repair_mojibake(garbled[:-1] + "好") is None
    assert repair_mojibake("Ça déjà vu, naïveté") is None
    assert repair_mojibake("plain") is None
    assert clean_text(garbled, Rules()).text == normalise(text)


def paged(pages: int, header: str, footer: str) -> str:
    parts = []
    for n in range(1, pages + 1):
        parts += [header.format(n=n, of=pages), "", *(paragraph(10 * n + i) for i in range(6)), ""]
        parts.append(footer.format(n=n, of=pages))
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("header", "footer"),
    [
        ("澜溪仪器有限公司员工手册", "第 {n} 页 共 {of} 页"),
        ("澜溪仪器有限公司员工手册", "- {n} -"),
        ("机密", "— {n} —"),
        ("员工手册 第{n}页", "机密文件"),
        ("澜溪仪器 | 员工手册", "Page {n} of {of}"),
        ("澜溪仪器有限公司员工手册", "{n}"),
        ("澜溪仪器有限公司员工手册", "{n} / {of}"),
        ("员工手册  {n}/{of}", "内部资料，注意保密"),
    ],
)
def test_page_furniture_goes_and_the_text_stays(header: str, footer: str) -> None:
    text = normalise(paged(5, header, footer))
    found = remove_furniture(text)
    lines = [line for line in found.text.split("\n") if line]
    assert lines == [normalise(paragraph(10 * n + i)) for n in range(1, 6) for i in range(6)]
    assert found.page_lines + found.header_lines == 10


@pytest.mark.parametrize(
    "line",
    [
        "```sql",
        "参数",
        "## 示例",
        "返回值如下：",
        "| --- | --- |",
        "3",
        "取值范围",
        "好的。",
        "import numpy",
        "}",
    ],
)
def test_lines_that_repeat_rightly_stay(line: str) -> None:
    text = "\n".join(f"{line}\n{paragraph(n)}" + f"\n{paragraph(90 + n)}" * (n % 3) for n in range(1, 9))
    assert remove_furniture(text).text == text


def test_two_pages_are_no_evidence_of_a_header() -> None:
    text = normalise(paged(2, "员工手册总则", "以上规定"))
    assert remove_furniture(text).text == text


def test_a_dotted_table_of_contents_goes() -> None:
    text = "目录\n第一章 总则 ........ 3\n第二章 考勤………………12\n附则······20\n正文在此……3\n" + paragraph(1)
    found = remove_furniture(text)
    assert found.text == "目录\n正文在此……3\n" + paragraph(1)
    assert found.contents_lines == 3


def test_char_counts() -> None:
    counts = count_chars("汉𠮷々aé 1，+\n\ufffdが")
    assert (counts.han, counts.latin, counts.letters, counts.digits) == (3, 2, 3, 1)
    assert (counts.punctuation, counts.symbols, counts.replacements, counts.spaces) == (1, 1, 1, 2)
    assert (counts.chars, counts.ink, counts.words) == (12, 10, 6)


def test_every_document_has_one_outcome(tmp_path: Path) -> None:
    texts = [paragraph(n) for n in range(30)] + [
        "短",
        "only English words here, no Chinese",
        paragraph(3) + " \n",
    ]
    source = write(tmp_path / "a.jsonl", texts)
    with source.open("a", encoding="utf-8") as file:
        file.write('\n{"title": "no text"}\n')
    metrics = run(source, tmp_path / "out", valid_share=0.2)
    out = tmp_path / "out"
    assert metrics["docs_in"] == 34
    assert metrics["rejected"] == {"duplicate": 1, "low_han_share": 1, "too_short": 1, "unreadable": 1}
    assert metrics["rejected_docs"] == 4
    assert metrics["train_docs"] + metrics["valid_docs"] == 30
    assert metrics["train_docs"] == len(ids(out, "train"))
    assert 1 <= metrics["valid_docs"] == len(ids(out, "valid")) <= 14
    assert reasons(out) == {
        "d30": "too_short", "d31": "low_han_share", "d32": "duplicate", "a.jsonl#34": "unreadable"
    }  # fmt: skip
    rejected = pl.read_parquet(out / "rejected-*.parquet").to_dicts()
    assert rejected[2]["detail"] == "of d3"
    assert rejected[0]["sample"] == "短"
    assert pl.read_parquet(out / "train-*.parquet").columns == ["id", "text", "source", "meta"]
    assert metrics["han_share"] > 0.99


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("zhllm.text.read.cut.PIECE_BYTES", 500)
    source = write(tmp_path / "a.jsonl", [paragraph(n % 50) + "臺灣" for n in range(70)])
    for name, n in (("one", 1), ("many", workers)):
        run(source, tmp_path / name, workers=n, traditional="simplify", valid_share=0.1)
    one, many = (sorted((tmp_path / name).glob("*.parquet")) for name in ("one", "many"))
    assert [path.name for path in one] == [path.name for path in many]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in many]
    assert "臺" not in "".join(pl.read_parquet(tmp_path / "many" / "train-*.parquet")["text"])


def test_workers_are_not_part_of_what_makes_a_folder_stale(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [paragraph(1), paragraph(2)])
    run(source, tmp_path / "out")
    config = clean.CleanConfig(documents=(source,), workers=2, near_duplicates=False)
    assert stage.execute(clean.STAGE, config, tmp_path / "out").was_up_to_date


def test_a_duplicate_goes_where_its_twin_went_whatever_its_white_space(tmp_path: Path) -> None:
    texts = [paragraph(n) for n in range(40)]
    one = write(tmp_path / "a.jsonl", texts)
    two = write(tmp_path / "b.jsonl", [text.replace("，", "，\u200b \n") for text in reversed(texts)])
    for source, name in ((one, "one"), (two, "two")):
        run(source, tmp_path / name, valid_share=0.3)
    first = {"".join(d.split()) for d in pl.read_parquet(tmp_path / "one" / "valid-*.parquet")["text"]}
    second = {"".join(d.split()) for d in pl.read_parquet(tmp_path / "two" / "valid-*.parquet")["text"]}
    assert first == second
    assert len(first) > 3
    config = clean.CleanConfig(documents=(one, two), valid_share=0.3, near_duplicates=False)
    both = stage.execute(clean.STAGE, config, tmp_path / "both").manifest.metrics
    assert both["rejected"] == {"duplicate": 40}


@pytest.mark.parametrize(("n", "share"), [(2, 0.0001), (2, 0.5), (9, 0.0001)])
def test_both_splits_hold_a_document_when_there_are_two(tmp_path: Path, n: int, share: float) -> None:
    source = write(tmp_path / "a.jsonl", [paragraph(i) for i in range(n)])
    for seed in range(4):
        metrics = run(source, tmp_path / f"out{seed}", valid_share=share, seed=seed)
        assert metrics["valid_docs"] >= 1
        assert metrics["train_docs"] >= 1
        for split in ("train", "valid"):
            found = pl.read_parquet(tmp_path / f"out{seed}" / f"{split}-*.parquet")["text"]
            assert metrics[f"{split}_chars"] == sum(map(len, found))
        train, valid = (set(ids(tmp_path / f"out{seed}", split)) for split in ("train", "valid"))
        assert train | valid == {f"d{i}" for i in range(n)}
        assert not list((tmp_path / f"out{seed}").glob("moving-*"))


def test_the_document_held_out_of_a_small_corpus_is_not_its_largest(tmp_path: Path) -> None:
    texts = [paragraph(1), paragraph(2), "".join(paragraph(n) for n in range(50))]
    source = write(tmp_path / "a.jsonl", texts)
    for seed in range(6):
        run(source, tmp_path / f"out{seed}", valid_share=0.0001, seed=seed)
        assert ids(tmp_path / f"out{seed}", "valid") != ["d2"]


def test_one_document_or_no_share_holds_out_nothing(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", [paragraph(1)])
    assert run(one, tmp_path / "one")["valid_docs"] == 0
    two = write(tmp_path / "b.jsonl", [paragraph(1), paragraph(2)])
    assert run(two, tmp_path / "two", valid_share=0)["train_docs"] == 2
    assert ids(tmp_path / "two", "valid") == []


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("English only, sorry about that.", "low_han_share 1; profile document, language zh.*--language any"),
        ("好", "too_short 1.*--profile dialogue"),
    ],
)
def test_nothing_kept_says_why_and_what_to_try(tmp_path: Path, text: str, advice: str) -> None:
    source = write(tmp_path / "a.jsonl", [text])
    with pytest.raises(DataError, match=f"none of 1 documents is kept .{advice}"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").exists()


def test_a_folder_of_plain_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "甲.txt").write_text(paragraph(1), encoding="gb18030")
    (folder / "乙.md").write_text(paragraph(2), encoding="utf-8")
    (folder / "丙.png").write_bytes(b"x")
    run(folder, tmp_path / "out")
    assert reasons(tmp_path / "out") == {"丙.png": "not_a_document"}


def test_lines_common_to_many_documents_are_reported(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [paragraph(n) + "\n本制度自公布之日起执行。" for n in range(20)])
    metrics = run(source, tmp_path / "out")
    assert metrics["most_common_lines"] == {"本制度自公布之日起执行。": 20}
    assert metrics["common_lines"] == 1


def test_a_duplicate_on_disk_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts on disk are compared once more, whatever the first pass took them for."""
    source = write(tmp_path / "a.jsonl", [paragraph(1), paragraph(1) + "\n"])
    digests = iter([b"1" * 16, b"2" * 16])
    monkeypatch.setattr("zhllm.text.clean.cleaning.digest_of", lambda text: next(digests))
    with pytest.raises(ProofError, match="2 documents kept, but only 1 different texts"):
        run(source, tmp_path / "out", valid_share=0)
    assert not (tmp_path / "out").exists()


def test_rows_lost_on_the_way_to_the_disk_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (write(tmp_path / f"{n}.txt", [paragraph(n)]).rename(tmp_path / f"{n}.jsonl") for n in (1, 2))
    config = clean.CleanConfig(documents=(one, two), near_duplicates=False)
    shards_of, write_rows = last_pass.shards_of, last_pass._write

    def without_the_last(*args: Any) -> Iterator[last_pass.ShardWork]:
        yield from (replace(work, parts=work.parts[:-1]) for work in shards_of(*args))

    with monkeypatch.context() as patched, pytest.raises(ProofError, match="clean: 2 documents in, on disk"):
        patched.setattr(last_pass, "shards_of", without_the_last)
        stage.execute(clean.STAGE, config, tmp_path / "out")
    monkeypatch.setattr(last_pass, "_write", lambda *args: write_rows(*args) + 1)
    with pytest.raises(ProofError, match=r"parquet: 1 rows on disk, 3 were written"):
        stage.execute(clean.STAGE, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_data
def test_real_statutes_are_all_kept_but_two_that_stand_twice(tmp_path: Path) -> None:
    metrics = run(DATA / "corpus" / "laws_zh.jsonl.gz", tmp_path / "out")
    assert metrics["docs_in"] == 847
    assert metrics["rejected"] == {"duplicate": 2}
    assert metrics["page_lines"] == metrics["header_lines"] == metrics["contents_lines"] == 0


@needs_data
def test_labelled_dirt_is_found(tmp_path: Path) -> None:
    """dirty_zh: 26 documents of mojibake (16 can be mended, and a copy of one), 101 copies."""
    metrics = run(DATA / "corpus" / "dirty_zh.jsonl.gz", tmp_path / "out")
    with gzip.open(DATA / "corpus" / "dirty_zh.labels.jsonl.gz") as file:
        labels = {record["id"]: record["labels"] for record in map(json.loads, file)}
    refused = reasons(tmp_path / "out")
    assert metrics["repaired_docs"] == 17
    garbled = {identity for identity, found in labels.items() if "mojibake" in found}
    assert sum(refused.get(identity) == "garbled" for identity in garbled) == 10
    copies = {
        identity: str(label["dup_of"])
        for identity, found in labels.items()
        for label in found
        if isinstance(label, dict) and "dup_of" in label
    }
    assert all("duplicate" in (refused.get(a), refused.get(b)) for a, b in copies.items())
    assert metrics["rejected_docs"] - metrics["rejected"]["duplicate"] < 0.01 * metrics["docs_in"]


def test_a_price_list_with_leader_dots_is_no_table_of_contents() -> None:
    prices = "游标卡尺 0-150mm......128\n百分表......76\n角度尺......95\n塞规......12\n量块......880"
    assert remove_furniture(prices).text == prices
    contents = "第一章 总则......1\n第二章 考勤......3\n第三章 休假......3\n第四章 出差......8"
    assert remove_furniture(contents).contents_lines == 4
