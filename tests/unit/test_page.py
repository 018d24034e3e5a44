"""HTML pages and charts: nothing unescaped, nothing fetched, equal bytes, and no number that breaks a picture."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html

from zhllm.chart import Axis, Series, bar_chart, binned, histogram, line_chart, rank_frequency, scatter
from zhllm.page import Column, Html, Page, Tile, Token, details, escape, heading, note, number, paragraph, percent

from zhllm.page import difference, excerpt, table, tiles, tokens, visible, visible_ends  # isort: skip

HOSTILE = "<script>alert('x')</script> & \"quoted\" <0x0A> \x00"


def text_of(markup: str) -> str:
    return str(html.fromstring(f"<div>{markup}</div>").text_content())


@pytest.mark.parametrize(
    "made",
    [
        paragraph(HOSTILE), note(HOSTILE), heading(HOSTILE), details(HOSTILE, paragraph(HOSTILE)),
        tiles([Tile(HOSTILE, HOSTILE, HOSTILE)]), table([HOSTILE, Column(HOSTILE)], [[HOSTILE, HOSTILE]], HOSTILE),
        tokens([Token(HOSTILE, HOSTILE, "new")], HOSTILE), bar_chart([(HOSTILE, 1.0)], HOSTILE),
        line_chart([Series(HOSTILE, [(1, 2)]), Series(HOSTILE, [(1, 3)])], Axis(HOSTILE), Axis(HOSTILE), HOSTILE),
        histogram([1.0, 2.0], Axis(HOSTILE), HOSTILE, title=HOSTILE),
        binned([1, 2, 3], [4, 5], Axis(HOSTILE), HOSTILE, HOSTILE), excerpt(HOSTILE, HOSTILE),
        difference(HOSTILE, HOSTILE + "a"),
    ],
)  # fmt: skip
def test_text_is_text(made: str) -> None:
    assert isinstance(made, Html)
    assert "<script" not in made and "\x00" not in made
    assert "<script>alert('x')" in text_of(made).replace("\u2423", " ")


def test_markup_stands_as_it_is() -> None:
    assert escape(Html("<b>")) == "<b>" and escape("<b>") == "&lt;b&gt;"
    assert paragraph("a < b ", Html("<b>c</b>")) == "<p>a &lt; b <b>c</b></p>\n"


def test_no_text_turns_round_what_stands_beside_it() -> None:
    assert escape("a\u202eb\u2066c\u2069") == "a\ufffdb\ufffdc\ufffd"
    assert text_of(excerpt("\u202e א\r\n")) == "[U+202E] א[U+000D]\n\n"


def test_a_difference_is_marked_where_it_is() -> None:
    made = difference("电话 13812345678，谢谢\n下一行", "电话 [手机号]，谢谢\n下一行")
    assert "电话 <del>13812345678</del><ins>[手机号]</ins>，谢谢\n下一行" in made
    assert "前文\n<del>广告 一行⏎</del>后文后文" in difference("前文\n广告 一行\n后文后文", "前文\n后文后文")
    assert "<del>甲乙丙</del><ins>一乙二</ins>" in difference("甲乙丙", "一乙二"), "one equal character is chance"
    assert "<del" not in difference("同", "同") and "<ins>新</ins>" in difference("", "新")
    assert visible_ends(" a b\n") == "␣a b⏎" and visible_ends(" \n") == "␣⏎" and visible_ends("") == ""


def test_a_page_is_whole_and_fetches_nothing() -> None:
    page = Page("标题 <1>", "Lead & more", "zh")
    for name in ("one", "two", "three", "four"):
        page.section(name, paragraph("text"), line_chart([Series("s", [(0, 1), (1, 2)])], Axis("x"), Axis("y")))
    made = page.html()
    tree = html.document_fromstring(made)
    assert tree.get("lang") == "zh" and tree.findtext(".//h1") == "标题 <1>"
    assert [a.get("href") for a in tree.iterfind(".//nav/a")] == ["#s1", "#s2", "#s3", "#s4"]
    assert [s.get("id") for s in tree.iterfind(".//section")] == ["s1", "s2", "s3", "s4"]
    assert not tree.xpath("//script|//link|//img|//iframe|//@src|//@onload")
    assert not re.search(r"https?:|url\(|@import", made.replace("http://www.w3.org/2000/svg", ""))
    assert "default-src 'none'" in made
    assert page.html() == made


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(1234567, None, "1,234,567"), (0.5, 2, "0.50"), (1.23456, None, "1.235"), (123456.7, None, "123,457"),
     (float("nan"), None, "–"), (None, None, "–"), (float("inf"), 2, "–"), (1e-9, None, "1e-09"), ("text", 2, "text"),
     (0.0, None, "0"), (1e300, None, "1e+300")],
)  # fmt: skip
def test_numbers_are_for_people(value: float | str | None, digits: int | None, shown: str) -> None:
    assert number(value, digits) == shown


def test_shares_are_percent() -> None:
    assert percent(0.1234) == "12.3\u00a0%" and percent(1, 0) == "100\u00a0%" and percent(math.nan) == "–"
    assert percent(0.5, 0, signed=True) == "+50\u00a0%" and percent(-0.1234, signed=True) == "\u221212.3\u00a0%"


def test_only_columns_of_numbers_are_aligned_right() -> None:
    rows = [["人", 5, "a", percent(0.5)], ["工", None, 3, "–"]]
    tree = html.fromstring(table(["piece", "times", "mixed", "share"], rows))
    assert [cell.get("class") for cell in tree.iterfind(".//th")] == [None, "number", None, "number"]


def test_ticks_are_round_numbers_with_equal_decimals() -> None:
    def labels(points: list[tuple[float, float]], log: bool = False) -> list[list[str]]:
        texts = svg(line_chart([Series("s", points)], Axis("x", log), Axis("y", log))).findall("text")
        ticks = {anchor: [t.text for t in texts if t.get("text-anchor") == anchor] for anchor in ("middle", "end")}
        return [ticks["middle"], ticks["end"][:-1]]  # the last at an end is the title

    assert labels([(0, 0.71), (17335, 1.86)]) == [
        ["0", "2,500", "5,000", "7,500", "10,000", "12,500", "15,000"], ["0.5", "1.0", "1.5", "2.0"],
    ]  # fmt: skip
    assert labels([(0, 2e-5), (3e6, 1e-5)])[0] == ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M", "3.0M"]
    assert labels([(1, 1), (1e7, 1e3)], log=True) == [["1", "100", "10,000", "1M"], ["1", "10", "100", "1,000"]]
    assert labels([(1, -3), (2, 4)])[0] == ["1", "2"], "whole numbers have no ticks between them"


def test_labels_do_not_run_into_each_other() -> None:
    """By the size that narrow screens get: 16 units, 9 for a digit."""
    for low, high in ((0, 7), (0, 99), (0, 12345), (0, 9e5), (0, 123456789), (1_000_000, 1_000_007)):
        texts = svg(line_chart([Series("s", [(low, 1), (high, 2)])], Axis("x"), Axis("y"))).findall("text")
        ticks = [(float(t.get("x")), 9 * len(t.text)) for t in texts if t.get("text-anchor") == "middle"]
        assert len(ticks) >= 2
        assert all(b - a >= (wa + wb) / 2 for (a, wa), (b, wb) in pairwise(ticks))
        assert ticks[0][0] - ticks[0][1] / 2 >= 0 and ticks[-1][0] + ticks[-1][1] / 2 <= 520


def test_a_long_series_is_drawn_with_its_extremes_and_few_points() -> None:
    points = [(float(n), math.sin(n) + (5 if n == 44_444 else 0)) for n in range(100_000)]
    drawn = svg(line_chart([Series("s", points)], Axis("x"), Axis("y")))
    line = next(p for p in drawn.findall("path") if "line " in p.get("class"))
    corners = [tuple(map(float, c.split())) for c in line.get("d")[1:].split("L")]
    assert len(corners) <= 4 * 520 and len(drawn.findall("circle")) <= 81
    assert "fine" in line.get("class")
    top = min(corners, key=lambda c: c[1])
    assert sum(y < top[1] + 50 for _, y in corners) == 1, "the one high point is still there"


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_stand_out_from_the_paper(scheme: int) -> None:
    """WCAG 2.1: 3 to 1 for lines and bars, 4.5 to 1 for text, in the light and in the dark scheme."""
    block = re.findall(r":root\{(.*?)\}", Page("x").html(), re.S)[scheme]
    colours = dict(re.findall(r"--(\w+):(#\w+)", block))
    for name in ("s1", "s2", "s3", "s4", "s5", "s6"):
        assert contrast(colours[name], colours["paper"]) >= 3, name
    for name in ("paper", "card", "plain1", "plain2", "new1", "new2", "gone", "come"):
        assert contrast(colours["ink"], colours[name]) >= 4.5, name
    for name in ("paper", "card", "byte", "plain1"):
        assert contrast(colours["soft"], colours[name]) >= 4.5, name


def contrast(one: str, other: str) -> float:
    light = sorted((luminance(one), luminance(other)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_cannot_be_seen_is_shown() -> None:
    assert visible(" a\n\t\u200b\u3000中") == "\u2423a\u23ce\u21e5[U+200B]\u3000中"


def test_a_line_goes_where_its_numbers_say() -> None:
    made = line_chart([Series("s", [(0, 0), (5, 5), (10, 10)])], Axis("x"), Axis("y"))
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in svg(made).iter("{*}circle")]
    assert len(dots) == 3
    (x0, y0), (x1, y1), (x2, y2) = dots
    assert x0 < x1 < x2 and y0 > y1 > y2, "up is larger"
    assert math.isclose(x1 - x0, x2 - x1, abs_tol=0.2) and math.isclose(y0 - y1, y1 - y2, abs_tol=0.2)


def test_a_log_axis_spaces_factors_evenly() -> None:
    made = line_chart([Series("s", [(1, 1), (10, 1), (100, 1)])], Axis("x", log=True), Axis("y"))
    x = [float(c.get("cx")) for c in svg(made).iter("{*}circle")]
    assert math.isclose(x[1] - x[0], x[2] - x[1], abs_tol=0.2)


def svg(made: str) -> etree._Element:
    found = re.search(r"<svg.*?</svg>", made, re.S)
    assert found is not None
    return etree.fromstring(found[0])


def test_what_an_axis_cannot_show_is_counted() -> None:
    made = line_chart([Series("s", [(1, math.nan), (2, 3), (3, math.inf)])], Axis("x"), Axis("y"))
    assert "2 points" in text_of(made) and len(list(svg(made).iter("{*}circle"))) == 1
    assert "No data" in line_chart([Series("s", [])], Axis("x"), Axis("y"))
    assert "No data" in histogram([], Axis("x"), "y") and "No data" in bar_chart([])
    assert len(list(svg(rank_frequency("s", [5, 0, 2], "x", "y")).iter("{*}circle"))) == 2


def test_what_was_counted_before_is_drawn_as_it_was_counted() -> None:
    made = svg(binned([1, 10, 100, 1000], [5, 0, 10], Axis("x", log=True), "y"))
    columns = [[float(c.get(key)) for key in ("x", "width", "height")] for c in made.iter("{*}rect")]
    assert len(columns) == 2 and math.isclose(columns[1][2], 2 * columns[0][2], abs_tol=0.2)
    assert math.isclose(columns[1][0] - columns[0][0], 2 * (columns[0][1] + 1), abs_tol=0.4)
    assert "1–10: 5" in etree.tostring(made, encoding="unicode")
    assert "No data" in binned([1, 2], [0], Axis("x"), "y")
    with pytest.raises(ValueError, match="2 counts have 3 edges, not 2"):
        binned([1, 2], [1, 2], Axis("x"), "y")


def test_bars_are_as_long_as_their_numbers() -> None:
    tree = html.fromstring(bar_chart([("a", 4.0), ("b", 1.0), ("c", 0.0), ("d", math.nan), ("seen", 1e-6), ("e", -1)]))
    widths = [re.search(r"width:([\d.]+)%", s.get("style"))[1] for s in tree.iterfind(".//span")]  # type: ignore[index]
    assert [float(w) for w in widths] == [100, 25, 0, 0, 0.5, 0]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=8), st.booleans(), st.booleans())
def test_no_number_breaks_a_chart(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    made = line_chart([Series("s", points)], Axis("x", log_x), Axis("y", log_y))
    made += histogram([x for x, _ in points], Axis("x", log_x), "y") + bar_chart([("a", y) for _, y in points])
    drawn = "".join(re.findall(r"<svg.*?</svg>", made, re.S))
    assert "nan" not in drawn.lower() and not re.search(r'="-?inf', drawn)
    for found in re.findall(r"<svg.*?</svg>", made, re.S):
        etree.fromstring(found)


def test_a_scatter_names_its_dots_inside_the_frame() -> None:
    points = [("q4_k_m", 3.2, 0.03), ("f16", 9.9, 3e-7), ("<b>", 5.0, 1e-3), ("lost", 1.0, 0.0)]
    made = etree.fromstring(scatter(points, Axis("MB", from_zero=True), Axis("KL", log=True), "sizes"))
    named = {"".join(t.itertext()): t for t in made.iter("text")}
    assert {"q4_k_m", "f16", "<b>"} <= named.keys() and "lost" not in named
    assert (named["q4_k_m"].get("text-anchor"), named["f16"].get("text-anchor")) == ("start", "end")
    assert len(list(made.iter("circle"))) == 3 and "1 point" in etree.tostring(made, encoding="unicode")
    assert "No data" in scatter([], Axis("MB"), Axis("KL"))


def test_the_names_of_a_crowd_of_dots_cover_neither_each_other_nor_a_dot() -> None:
    crowd = [(f"q{n}_k_m", 4.5 + n / 10, 0.5 - n / 50) for n in range(6)] + [("f16", 16, 1.0), ("bf16", 16, 0.99)]
    made = etree.fromstring(scatter(crowd, Axis("bits"), Axis("share")))
    boxes = []
    for text in made.iter("text"):
        if (name := str(text.text)) in dict.fromkeys(c[0] for c in crowd):
            x, y, width = float(text.get("x")), float(text.get("y")), 9 * len(name)
            left = x if text.get("text-anchor") == "start" else x - width
            boxes.append((left, left + width, y))
    assert len(boxes) == len(crowd) and all(a >= 0 and b <= 520 for a, b, _ in boxes)
    for place, (a, b, y) in enumerate(boxes):
        assert all(abs(y - v) >= 12 or a >= d or b <= c for c, d, v in boxes[place + 1 :])
        for dot in made.iter("circle"):
            assert not (a < float(dot.get("cx")) < b and y - 12 < float(dot.get("cy")) < y + 3)
