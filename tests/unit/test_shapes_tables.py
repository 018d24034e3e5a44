"""Tables of questions and answers: CSV in every encoding, workbooks, headers under a title, columns named by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl
import pytest
from shaped import read, turns

from zhllm import stage
from zhllm.stages import convert

FAQ = "问题,答案\n公章由谁保管？,由行政部保管。𠮷\n年假几天？,“五天”\n"


def said(path: Path, **options: object) -> list[list[str]]:
    good, bad = read(path, **options)
    assert bad == []
    return [[text for _, text in turns(chat)] for given in good for chat in given.chats]


def table(folder: Path, text: str, name: str = "faq.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize(("name", "delimiter"), [("faq.csv", ","), ("faq.csv", ";"), ("faq.tsv", "\t")])
def test_a_table_in_any_encoding(tmp_path: Path, name: str, delimiter: str, encoding: str) -> None:
    path = table(tmp_path, FAQ.replace(",", delimiter), name, encoding)
    assert said(path) == [["公章由谁保管？", "由行政部保管。𠮷"], ["年假几天？", "“五天”"]]


@pytest.mark.parametrize(
    "header",
    [
        "提问,回答",
        "标准问,标准答案",
        "Question,Answer",
        "instruction,output",
        "prompt,response",
        " 问题： ,【答案】",
        "問題,答覆",
    ],
)
def test_known_names_of_columns(tmp_path: Path, header: str) -> None:
    assert said(table(tmp_path, f"编号,类别,{header}\n7,人事,年假几天？,五天\n")) == [["年假几天？", "五天"]]


def test_the_rows_above_the_header_and_empty_ones(tmp_path: Path) -> None:
    path = table(tmp_path, "公司常见问题,,\n\n,,\n更新于二〇二六年,,\n序号,问题,答案\n,,\n3,年假几天？,五天\n\n")
    good, bad = read(path)
    assert bad == []
    assert [(chat.id, turns(chat)[1][1]) for given in good for chat in given.chats] == [("3", "五天")]


def test_system_input_and_cells_over_lines(tmp_path: Path) -> None:
    path = table(tmp_path, 'system,instruction,input,output\n你是助手。,翻译,"一,\n二","""one"",\ntwo"\n')
    assert said(path) == [["你是助手。", "翻译\n一,\n二", '"one",\ntwo']]


def test_columns_named_by_hand(tmp_path: Path) -> None:
    path = table(tmp_path, "甲,乙,答案\n年假几天？,五天,别的\n")
    assert said(path, columns=(("question", "甲"), ("answer", "乙"))) == [["年假几天？", "五天"]]
    assert said(path, columns=(("question", "甲"),)) == [["年假几天？", "别的"]]
    _, bad = read(path, columns=(("question", "甲"), ("answer", "丙")))
    assert bad == [(1, "", "has no columns 甲, 丙 (its first row: 甲, 乙, 答案). Name them: "
                           "--column question=NAME --column answer=NAME")]  # fmt: skip
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"甲": "问？", "乙": "答"}\n', encoding="utf-8")
    assert said(lines, columns=(("question", "甲"), ("answer", "乙"))) == [["问？", "答"]]


def test_rows_are_refused_by_line_and_column(tmp_path: Path) -> None:
    path = table(tmp_path, "提问,回答\n一,\n,二\n三,四,五\n六,七\n八\n")
    good, bad = read(path)
    assert [turns(chat) for given in good for chat in given.chats] == [[("u", "六"), ("a", "七")]]
    assert bad == [
        (2, "回答", "is empty"),
        (3, "提问", "is empty, and so is input"),
        (4, "", "has 3 cells, the header 2"),
        (6, "回答", "is empty"),
    ]


def test_a_table_without_questions_is_one_clear_line(tmp_path: Path) -> None:
    path = table(tmp_path, "姓名,电话\n张三,1\n" * 12)
    good, bad = read(path)
    assert good == []
    assert bad == [(1, "", "has no columns of questions and of answers that are known (its first row: 姓名, 电话). "
                           "Name them: --column question=NAME --column answer=NAME")]  # fmt: skip


def test_pairs_and_labels_in_a_table(tmp_path: Path) -> None:
    (given,), bad = read(table(tmp_path, "prompt,chosen,rejected\n问？,好,坏\n"))
    assert bad == [] and (given.preferences[0].chosen, given.preferences[0].rejected) == ("好", "坏")
    path = table(tmp_path, "问题,答案,标签\n问？,好,true\n")
    assert said(path) == [["问？", "好"]], "a column of labels may be of categories"
    (given,), _ = read(path, columns=(("label", "标签"),))
    assert given.preferences[0].chosen == "好"
    _, bad = read(table(tmp_path, "prompt,chosen,rejected\n,好,坏\n问？,好,\n"))
    assert bad == [(2, "prompt", "is empty"), (3, "rejected", "is empty")]


MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(path: Path, sheets: dict[str, list[list[str]]]) -> Path:
    """A small .xlsx with inline texts."""
    listed = [f'<sheet name="{name}" r:id="r{i}"/>' for i, name in enumerate(sheets)]
    targets = [f'<Relationship Id="r{i}" Target="worksheets/{i}.xml"/>' for i in range(len(sheets))]
    files = {
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{RELATIONS}"><sheets>{"".join(listed)}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f"<Relationships>{''.join(targets)}</Relationships>",
    }
    for i, rows in enumerate(sheets.values()):
        lines = []
        for number, row in enumerate(rows, 1):
            cells = [f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in row]
            lines.append(f'<row r="{number}">{"".join(cells)}</row>')
        files[f"xl/worksheets/{i}.xml"] = f"<worksheet {MAIN}><sheetData>{''.join(lines)}</sheetData></worksheet>"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("name", ["faq.xlsx", "faq.data"])
def test_every_sheet_of_a_workbook(tmp_path: Path, name: str) -> None:
    sheets = {
        "封面": [["公司常见问题"], ["内部资料"]],
        "人事": [["标准问", "标准答案"], ["年假几天？", "五天"], ["", ""], ["病假呢？", ""]],
        "行政": [["类别", "提问", "回答"], ["印章", "公章由谁保管？", "由行政部保管。𠮷"]],
    }
    good, bad = read(workbook(tmp_path / name, sheets))
    assert [turns(chat) for given in good for chat in given.chats] == [
        [("u", "年假几天？"), ("a", "五天")],
        [("u", "公章由谁保管？"), ("a", "由行政部保管。𠮷")],
    ]
    assert bad == [(4, "人事!标准答案", "is empty")]


def test_a_workbook_without_questions_and_one_that_is_none(tmp_path: Path) -> None:
    _, bad = read(workbook(tmp_path / "a.xlsx", {"封面": [["公司"]], "空": []}))
    assert [(line, field) for line, field, _ in bad] == [(1, "封面")]
    (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04 broken")
    assert "is not an .xlsx file" in read(tmp_path / "b.xlsx")[1][0][2]
    (tmp_path / "c.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    assert "is not an .xlsx file (an old .xls, or protected?)" in read(tmp_path / "c.xls")[1][0][2]


def test_json_that_is_called_csv(tmp_path: Path) -> None:
    path = table(tmp_path, '{"instruction": "问？", "input": "", "output": "答"}\n')
    assert said(path) == [["问？", "答"]]
    path = table(tmp_path, '[{"instruction": "问？", "input": "", "output": "答"}]', "b.csv")
    assert said(path) == [["问？", "答"]]


@pytest.mark.parametrize("name", ["faq.txt", "faq.json", "faq.jsonl"])
def test_a_table_under_another_name(tmp_path: Path, name: str) -> None:
    assert len(said(table(tmp_path, FAQ, name, "gb18030"))) == 2
    good, bad = read(table(tmp_path, "公司常见问题\n" + FAQ, name), "table")
    assert (len(good), bad) == (2, [])


@pytest.mark.parametrize("name", ["faq.csv", "faq.json", "faq.jsonl", "faq.txt", "faq", "faq.zip", "faq.parquet"])
@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_what_a_renamed_file_holds_decides(tmp_path: Path, name: str, kind: str, is_folder: bool) -> None:
    (folder := tmp_path / "资料").mkdir()
    if kind == "xlsx":
        workbook(folder / name, {"人事": [["问题", "答案"], ["年假几天？", "五天。𠮷"]]})
    else:
        pl.DataFrame({"问题": ["年假几天？"], "答案": ["五天。𠮷"]}).write_parquet(folder / name)
    config = convert.ConvertConfig(source=(folder if is_folder else folder / name,))
    metrics = stage.execute(convert.STAGE, config, tmp_path / "out").manifest.metrics
    assert (metrics["chats"], metrics["rejected_records"], metrics["files_skipped"]) == (1, 0, 0)
    assert "五天。𠮷" in (tmp_path / "out" / "chats-00000.jsonl").read_text(encoding="utf-8")
