"""The cleaning report: its numbers are those of the shards, hostile text is harmless, equal input gives equal bytes."""

from __future__ import annotations

import ast
import json
import os
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import dirt
import numpy as np
import polars as pl
import pytest
import xxhash
from lxml import html

from zhllm import stage
from zhllm.stages import clean
from zhllm.stages._clean_page import REASONS, change_name, html_of
from zhllm.stages._clean_report import SAMPLES, SOURCES_SHOWN, _sources, bin_edges, json_bytes
from zhllm.text.clean.changes import NORMALISED, change_in
from zhllm.text.clean.charclass import count_chars
from zhllm.text.clean.contamination import read_evaluation
from zhllm.text.clean.fates import Fates
from zhllm.text.clean.pii import PLACEHOLDERS

TEXT = Path(clean.__file__).parents[1] / "text" / "clean"
HOSTILE = "<script>alert('x')</script>\u202e\x00\x1b\u2028&\"'\ud800\u200f乙"


def run(out: Path, *documents: Path, **settings: Any) -> dict[str, Any]:
    config = clean.CleanConfig(documents=documents, **{"valid_share": 0.2, **settings})
    stage.execute(clean.STAGE, config, out)
    return report_of(out)


def report_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


def page_of(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def write(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dirty corpus thrice with other seeds, in two files, one of them with a line that is no record."""
    folder = tmp_path_factory.mktemp("corpus")
    made = [dirt.make(seed) for seed in range(3)]
    records = [{"id": f"{n}-{i}", "text": text} for n, some in enumerate(made) for i, text in some.texts.items()]
    write(folder / "甲.jsonl", records[:120])
    with write(folder / "乙.jsonl", records[120:]).open("a") as file:
        file.write('\n{"title": "no text"}\n')
    (folder / "图.png").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two evaluation files, of which the second has only a text that nobody holds."""
    folder = tmp_path_factory.mktemp("questions")
    first = write(
        folder / "考题.jsonl",
        [{"q": q, "a": "短"} for q in (*dirt.QUESTIONS, "没有哪篇文档里会有这样一道又长又偏的题目")],
    )
    return [first, write(folder / "other.jsonl", [{"q": "另一份卷子上的题目也没有在任何文档里出现过一次"}])]


@pytest.fixture(scope="module", params=["document", "web"])
def cleaned(
    request: pytest.FixtureRequest, corpus: Path, questions: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("zhllm.text.read.cut.PIECE_BYTES", 20_000)
        run(out, corpus, against=tuple(questions), profile=request.param)
    return out


def shards(out: Path, *splits: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(out / f"{split}-*.parquet") for split in splits])


def test_documents_characters_and_reasons_are_those_on_disk(cleaned: Path) -> None:
    found = report_of(cleaned)
    for split in ("train", "valid"):
        texts = shards(cleaned, split)["text"].to_list()
        assert found["documents"][split] == len(texts) > 0
        assert found["characters"][split] == sum(map(len, texts)) > 0
    rejected = shards(cleaned, "rejected")
    assert found["documents"]["rejected"] == len(rejected)
    assert found["documents"]["in"] == len(rejected) + len(shards(cleaned, "train", "valid")) == 3 * 64 + 2
    assert found["rejected"] == dict(Counter(rejected["reason"])) and len(found["rejected"]) >= 6
    assert list(found["rejected"].values()) == sorted(found["rejected"].values(), reverse=True)
    raw = [text for some in map(dirt.make, range(3)) for text in some.texts.values()]
    assert found["characters"]["in"] == sum(map(len, raw))


def test_sources_are_those_on_disk(cleaned: Path) -> None:
    rows = report_of(cleaned)["sources"]["largest"]
    kept = Counter(shards(cleaned, "train", "valid")["source"])
    rejected = Counter(shards(cleaned, "rejected").select("source", "reason").iter_rows())
    assert {row["source"] for row in rows} == {"甲.jsonl", "乙.jsonl", "图.png"}
    for row in rows:
        own = {reason: n for (source, reason), n in rejected.items() if source == row["source"]}
        assert (row["kept"], row["rejected"]) == (kept[row["source"]], own)
        assert row["documents"] == row["kept"] + sum(own.values())


def test_the_smaller_sources_are_summed() -> None:
    reasons = Counter({(f"s{n:02}", reason): n + 1 for n in range(SOURCES_SHOWN + 3) for reason in ("", "too_short")})
    found = _sources(reasons)
    assert [row["source"] for row in found["largest"]] == [f"s{n:02}" for n in range(SOURCES_SHOWN + 2, 2, -1)]
    assert found["others"] == {"sources": 3, "documents": 12, "kept": 6, "rejected": {"too_short": 6}}


def test_histograms_are_those_of_the_texts_on_disk(cleaned: Path) -> None:
    found = report_of(cleaned)
    texts = shards(cleaned, "train", "valid")["text"].to_list()
    lengths = [len(text) for text in texts]
    counted = found["lengths"]
    assert counted["edges"][:8] == [1, 2, 3, 4, 5, 7, 10, 15] and sum(counted["kept"]) == len(texts)
    assert counted["kept"] == np.histogram(lengths, counted["edges"])[0].tolist()
    assert sum(counted["rejected"]) + counted["rejected_without_text"] == found["documents"]["rejected"]
    assert counted["kept_quantiles"]["longest"] == max(lengths)
    assert sum(n <= counted["kept_quantiles"]["median"] for n in lengths) >= len(lengths) / 2


def test_chinese_shares_are_those_of_the_texts_on_disk(corpus: Path, tmp_path: Path) -> None:
    """Where nothing is masked: shares are of the texts before that. Some shares are the edges of bins."""
    mixed = [{"id": f"{n}", "text": dirt.COMMON[:n] + "ab" * (20 - n) + dirt.COMMON[20 - n :][:20]} for n in range(20)]
    found = run(tmp_path / "out", corpus, write(tmp_path / "mixed.jsonl", mixed), keep_pii=("all",))
    counts = [count_chars(text) for text in shards(tmp_path / "out", "train", "valid")["text"]]
    edges = [Fraction(n, 20) for n in range(20)]
    shares = Counter(bisect(edges, Fraction(c.han, c.words)) - 1 for c in counts)
    assert found["han_shares"]["kept"] == [shares[n] for n in range(20)] and len(shares) > 5


def test_edges_are_whole_and_cover_what_can_come() -> None:
    edges = bin_edges()
    assert edges == sorted(set(edges)) and edges[-1] == 10**9 and {10, 100, 1000, 10**6} <= set(edges)


def test_samples_are_chosen_by_their_hashes_alone(cleaned: Path) -> None:
    rows = shards(cleaned, "rejected")
    for reason, samples in report_of(cleaned)["rejected_samples"].items():
        own = rows.filter(pl.col("reason") == reason).select("id", "detail", "sample").rows(named=True)
        own.sort(key=lambda row: xxhash.xxh3_64_intdigest(row["id"].encode()))
        assert [{k: v for k, v in row.items() if k != "like"} for row in samples] == own[:SAMPLES]
        assert all(("like" in row) == (reason == "near_duplicate") for row in samples)
    assert set(report_of(cleaned)["rejected_samples"]) == set(rows["reason"])


def test_groups_of_duplicates_hold_what_was_dropped_for_them(cleaned: Path) -> None:
    found = report_of(cleaned)
    copies = sum((size - 1) * n for size, n in found["duplicates"]["groups_by_size"])
    details = shards(cleaned, "rejected").filter(pl.col("reason").is_in(["duplicate", "near_duplicate"]))["detail"]
    assert copies == sum(not detail.startswith("of another") for detail in details) > 0
    kept = set(shards(cleaned, "train", "valid")["id"])
    largest = found["duplicates"]["largest"]
    assert all(group["is_kept"] == (group["id"] in kept) for group in largest)
    assert [g["documents"] for g in largest] == sorted((g["documents"] for g in largest), reverse=True)


def test_a_copy_of_a_copy_is_of_the_first() -> None:
    fates = Fates(np.zeros(9, dtype=np.uint8), duplicate_of={3: 1, 5: 3, 7: 5, 8: 2})
    assert fates.clusters() == {1: 3, 2: 1}


def test_changes_are_counted_as_the_metrics_count_them(cleaned: Path) -> None:
    metrics = json.loads((cleaned / "manifest.json").read_text())["metrics"]
    changes = report_of(cleaned)["changes"]
    for prefix, name in (("pii_", "masked"), ("lines_", "boilerplate_lines")):
        assert metrics[name] and metrics[name] == {
            key.removeprefix(prefix): change["times"] for key, change in changes.items() if key.startswith(prefix)
        }
    assert changes["repaired_docs"]["times"] == metrics["repaired_docs"] > 0
    assert not any(name.startswith("item_") or name == "sensitive_hits" for name in changes)
    assert all(change["samples"] and change["documents"] <= change["times"] for change in changes.values())
    assert not re.search(r"\bitem_\d", page_of(cleaned)), "texts of evaluation files are no change of texts"


def test_personal_data_is_in_neither_file(cleaned: Path) -> None:
    both = (cleaned / "report.json").read_text(encoding="utf-8") + page_of(cleaned)
    values = [
        value for some in map(dirt.make, range(3)) for label in some.labels.values() for value in label.get("pii", ())
    ]
    assert len(values) == 48 and "•••" in both
    assert not [value for value in values if value in both]


def test_evaluation_files_are_accounted_for(cleaned: Path) -> None:
    found = report_of(cleaned)
    dropped = found["rejected"]["contaminated"]
    assert found["against"]["files"] == [
        {"file": "考题.jsonl", "items": 3, "too_short": 1, "found": 2, "documents_dropped": dropped},
        {"file": "other.jsonl", "items": 1, "too_short": 0, "found": 0, "documents_dropped": 0},
    ]
    items = found["against"]["items_found_most"]
    assert {row["item"] for row in items} == {question[:40] for question in dirt.QUESTIONS}
    assert sum(row["documents"] for row in items) >= dropped >= 2
    assert "Evaluation files" in page_of(cleaned)
    assert [text for text in html.fromstring(page_of(cleaned)).itertext() if text.startswith(dirt.QUESTIONS[0][:30])]


def test_every_number_is_on_the_page(cleaned: Path) -> None:
    found, text = report_of(cleaned), text_of(page_of(cleaned))
    for number in (*found["documents"].values(), *found["characters"].values(), *found["rejected"].values()):
        assert f"{number:,}" in text
    for name in ("Duplicates", "By source", *found["rejected"], *map(change_name, found["changes"])):
        assert name in text
    assert page_of(cleaned).count("<svg") == 3 and "characters in a document (log scale)" in text


def text_of(markup: str) -> str:
    return str(html.document_fromstring(markup).text_content())


def test_any_number_of_workers_gives_the_same_report(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zhllm.text.read.cut.PIECE_BYTES", 20_000)
    for name, workers in (("one", 1), ("two", 2)):
        run(tmp_path / name, corpus, workers=workers)
    for file in ("report.json", "report.html"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two and str(tmp_path).encode() not in one and str(corpus).encode() not in one
    assert "Evaluation files" not in page_of(tmp_path / "one") and report_of(tmp_path / "one")["against"] is None


def given_reasons(file: str) -> Iterator[str]:
    """The reason codes in a module: arguments of Refusal, _over and _drop, values and loops of `reason`."""
    for node in ast.walk(ast.parse((TEXT / file).read_text(encoding="utf-8"))):
        inner: list[ast.AST] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("Refusal", "_over", "_drop")
        ):
            inner = [node.args[2 if node.func.id == "_drop" else 0]]
        elif isinstance(node, ast.Assign) and "reason" in ast.unparse(node.targets[0]):
            value = node.value
            inner = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple) and "reason" in ast.unparse(node.target):
            inner = [row.elts[0] for row in node.iter.elts if isinstance(row, ast.Tuple)]
        yield from (n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value)


def test_every_reason_has_an_explanation_and_nothing_else_has() -> None:
    given = {
        reason
        for file in ("quality.py", "fates.py", "contamination.py", "first_pass.py")
        for reason in given_reasons(file)
    }
    assert given == set(REASONS) and len(given) == 18
    assert all(text.endswith(".") for text in REASONS.values())


def with_hostile_text(value: Any) -> Any:
    """A report in which everything that comes from documents and files is hostile."""
    if isinstance(value, dict):
        return {key: with_hostile_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_hostile_text(inner) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def assert_harmless(page: str) -> None:
    tree = html.document_fromstring(page)
    assert not tree.xpath("//script|//link|//img|//iframe|//@src|//@onload")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page)
    page.encode("utf-8")


def test_hostile_text_is_shown_and_does_nothing(cleaned: Path) -> None:
    page = html_of(with_hostile_text(report_of(cleaned)))
    assert_harmless(page)
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;[U+202E][U+0000][U+001B][U+2028]&amp;") > 20


def test_hostile_documents_and_names_come_through_the_stage(tmp_path: Path) -> None:
    good = [{"id": f"g{n}", "text": dirt.document(dirt.Random(n))} for n in range(4)]
    hostile = HOSTILE.replace("\ud800", "")
    bad = [{"id": f"{hostile}{n}", "text": f"{good[n]['text']}{hostile}" if n else hostile} for n in range(3)]
    source = write(tmp_path / "a\u202e<b>.jsonl", good + bad)
    with source.open("a") as file:
        file.write("\n" + json.dumps({"text": HOSTILE}))
    found = run(tmp_path / "out", source)
    assert found["rejected"] == {"near_duplicate": 2, "unreadable": 1} and NORMALISED in found["changes"]
    assert_harmless(page_of(tmp_path / "out"))
    assert "alert" in text_of(page_of(tmp_path / "out"))


def test_a_name_that_is_no_text(questions: list[Path], tmp_path: Path) -> None:
    named = tmp_path / os.fsdecode("考题".encode("gb18030") + b".jsonl")
    named.write_bytes(questions[0].read_bytes())
    assert read_evaluation([named]).files == [r"\udcbf\udcbc\udccc\udce2.jsonl"]
    assert json.loads(json_bytes({"file": named.name})) == {"file": named.name}


def test_one_document(tmp_path: Path) -> None:
    text = dirt.document(dirt.Random(1))
    found = run(tmp_path / "out", write(tmp_path / "a.jsonl", [{"id": "only", "text": text}]))
    assert found["documents"] == {"train": 1, "valid": 0, "rejected": 0, "in": 1}
    assert found["rejected"] == found["rejected_samples"] == found["changes"] == {}
    assert found["duplicates"] == {"groups_by_size": [], "largest": []}
    assert set(found["lengths"]["kept_quantiles"].values()) == {len(text)}
    page = page_of(tmp_path / "out")
    assert page.count("Nothing was left out.") == 2
    for sentence in ("Nothing was left out.", "No duplicates were found.", "No text was changed.", "No data."):
        assert sentence in page


LONG = dirt.document(dirt.Random(5))


@pytest.mark.parametrize(
    ("effect", "raw", "before", "after"),
    [
        (NORMALISED, f"{LONG}\n型号ＡＢ，备用。{LONG}", "型号ＡＢ，备用", "型号AB，备用"),
        ("lines_follow", f"{LONG}\n点击上方蓝字关注我们，更多精彩等着你\n{LONG}", "\n点击上方蓝字关注我们，", "\n"),
        ("pii_email", f"{LONG}\n邮箱zhangsan88@lanxi-yiqi.cn，谢谢。", "zh••••••••••••••••••••cn，谢", "[邮箱]，谢"),
        ("repaired_docs", LONG.encode().decode("latin-1"), "ä", LONG[:10]),
        ("simplified_docs", f"{LONG}圖書館裏{LONG}", "圖書館裏", "图书馆里"),
    ],
)  # fmt: skip
def test_a_sample_is_of_its_rule(effect: str, raw: str, before: str, after: str) -> None:
    final = clean_final(raw)
    found = change_in(effect, raw, final)
    assert found is not None
    assert before in found[0] and after in found[1] and found[0] != found[1]
    assert max(map(len, found)) < 200


def clean_final(raw: str) -> str:
    from zhllm.text.clean.normalise import normalise

    return normalise(raw)


def test_what_could_not_be_read_is_not_readable_here_either(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"id": "only", "text": LONG}])
    with source.open("a", encoding="utf-8") as file:
        file.write('\n{"text": "李四的手机号13812345678，记录没有')
    [sample] = run(tmp_path / "out", source)["rejected_samples"]["unreadable"]
    assert "手机号[手机号]，记录没有" in sample["sample"] and "手机号[手机号]" in page_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "line", "value"),
    [
        ("mobile", "电话：13812345678，找值班员。", "13812345678"), ("landline", "总机 010-12345678。", "010-12345678"),
        ("id_card", "身份证号110101199001011237，已核对。", "110101199001011237"),
        ("bank_card", "银行卡号6222021234567890128。", "6222021234567890128"), ("qq", "QQ：123456789", "123456789"),
        ("email", "邮箱zhang.san@qq.com。", "zhang.san@qq.com"), ("ip", "来自39.156.66.10的访问", "39.156.66.10"),
        ("wechat", "微信号：zhangsan_88，工作日在", "zhangsan_88"), ("plate", "车牌京A·12345的车主", "京A·12345"),
    ],
)  # fmt: skip
def test_a_masked_value_cannot_be_read_in_its_sample(kind: str, line: str, value: str) -> None:
    found = change_in(f"pii_{kind}", f"{LONG}\n{line}\n{LONG}", LONG)
    assert found is not None
    before, after = found
    assert value not in before + after and PLACEHOLDERS[kind] in after  # type: ignore[index]
    assert value[0] + "•" in before.replace(value[:2], value[0]) and len(value) - 4 <= before.count("•") < len(value)


def test_no_sample_where_nothing_changes() -> None:
    for effect in (NORMALISED, "lines_follow", "pii_email", "repaired_docs", "simplified_docs", "page_lines", "item_3"):
        assert change_in(effect, LONG, LONG) is None


def test_a_sample_of_advertisement_is_of_its_group() -> None:
    found = change_in("lines_navigation", "\n".join([LONG, *dirt.ADS, LONG]), LONG)
    assert found is not None and len(found[0]) - len(found[1]) == len(dirt.ADS[3]) + 1
    assert dirt.ADS[3] in found[0] and dirt.ADS[3] not in found[1]


def test_a_value_in_an_advertisement_is_no_sample_of_masking() -> None:
    line = "加微信 abc12345 免费领取资料，名额有限！"
    assert change_in("pii_wechat", f"{LONG}\n{line}", LONG) is None
    assert change_in("lines_contact", f"{LONG}\n{line}", LONG) is not None
