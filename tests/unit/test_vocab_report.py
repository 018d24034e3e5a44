"""The vocabulary report: its numbers are those of the measures, its page is whole, equal input gives equal bytes."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from toys import LLAMA3_SPECIALS, Toy, byte_level_tokenizer, stage

from zhllm import manifest
from zhllm.text.shards import held_out
from zhllm.text.standard import common_characters, standard_characters, traditional_characters
from zhllm.vocab.bases import open_base
from zhllm.vocab.measure import compression, token_counts, uncovered
from zhllm.vocab.subtokens import base_of

PIECES = "龘\n龘靐\n实验室的样品\n水质检查\n员工手册\n甲乙丙\n"


@pytest.fixture(scope="module", params=["sentencepiece", "byte-level"])
def extended(request: pytest.FixtureRequest, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    base = toy.tokenizer if request.param == "sentencepiece" else byte_level_tokenizer(root / "base", LLAMA3_SPECIALS)
    (root / "pieces.tsv").write_text(PIECES, encoding="utf-8")
    lists = [toy.pieces, root / "pieces.tsv"]
    return stage("extend-vocab", root / "out", base=base, pieces=lists, text=[toy.zh])


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return found


def test_the_numbers_are_those_of_the_measures(extended: Path, toy: Toy) -> None:
    found, base, tokenizer = report_of(extended), base_of(extended), open_base(extended)
    texts = [d.text for d in held_out([toy.zh])]
    before, after = compression(base, texts), compression(tokenizer, texts)
    assert found["chars_per_token"] == [before.chars_per_token, after.chars_per_token]
    assert found["byte_fallback_rate"] == [before.byte_fallback_rate, after.byte_fallback_rate]
    assert found["text"] == {"given": True, "documents": len(texts), "chars": sum(map(len, texts))}
    counts = token_counts(tokenizer, texts)
    added = found["added_pieces"]
    assert found["counts"] == [counts[base.size + k] for k in range(added)]
    assert found["never_seen"] == found["counts"].count(0) > 0
    assert base.size + added + len(found["specials"]) == tokenizer.size
    assert found["characters"] + found["words"] <= added
    for row, characters in zip(
        found["coverage"], (common_characters(), standard_characters(), traditional_characters()), strict=True
    ):
        assert row["of"] == len(characters)
        assert row["after"] == len(characters) - len(uncovered(tokenizer, characters)) >= row["before"]
    metrics = manifest.read(extended).metrics  # type: ignore[union-attr]
    assert [metrics["chars_per_token_before"], metrics["chars_per_token_after"]] == found["chars_per_token"]
    assert metrics["proofs"] == found["proofs"]


def test_the_curve_begins_with_the_base_and_ends_with_all_pieces(extended: Path, toy: Toy) -> None:
    found, texts = report_of(extended), [d.text for d in held_out([toy.zh])]
    lines = [line for text in texts for line in text.split("\n") if line]  # all of it, the sample being small
    points = found["curve"]["points"]
    assert [points[0][0], points[-1][0]] == [0, found["added_pieces"]] and len(points) == 8
    assert points[0][1] == compression(base_of(extended), lines).chars_per_token
    assert points[-1][1] == compression(open_base(extended), lines).chars_per_token
    assert [rate for _, rate in points] == sorted(rate for _, rate in points)


def test_sentences_are_cut_before_and_after(extended: Path) -> None:
    size = base_of(extended).size
    for row in report_of(extended)["sentences"]:
        for side, encode in (("before", base_of(extended).encode), ("after", open_base(extended).encode)):
            assert [index for _, index, _, _ in row[side]] == encode([row["text"]])[0]
            for text, index, is_new, is_bytes in row[side]:
                assert is_new == (index >= size)
                assert is_bytes == (
                    len(text) % 2 == 0 and text.strip() in (text.upper(), "") and text not in row["text"]
                )
    assert [row["kind"] for row in report_of(extended)["sentences"]].count("your text") > 0


class Tags(HTMLParser):
    """Counts tags and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in ("meta", "br", "path", "line", "circle", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "br", "path", "line", "circle", "rect", "polyline"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(extended: Path) -> None:
    html = (extended / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(html)
    assert tags.open == [] and tags.seen["section"] == 6 and tags.seen["svg"] == 2
    assert "http" not in html.replace("http-equiv", "") and "<script" not in html and "src=" not in html
    assert "实验室的样品" in html and "0x" not in html.split("<section", 1)[0]


def test_without_text_it_says_that_it_measured_none(toy: Toy, tmp_path: Path) -> None:
    out = stage("extend-vocab", tmp_path / "out", base=toy.tokenizer, pieces=[toy.pieces])
    assert report_of(out)["text"]["given"] is False
    assert "No text was given (--text)" in (out / "report.html").read_text(encoding="utf-8")


def test_equal_input_gives_equal_bytes(toy: Toy, tmp_path: Path) -> None:
    folders = [
        stage("extend-vocab", tmp_path / name, base=toy.tokenizer, pieces=[toy.pieces], text=[toy.zh]) for name in "ab"
    ]
    for name in ("report.json", "report.html"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
