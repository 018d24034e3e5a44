"""What is done to many texts on arrays is what the plain functions do to each text by itself."""

from __future__ import annotations

import gzip
import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import dirt
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import texts_with

from zhllm.text.clean import blocks, cleaning
from zhllm.text.clean.blocks import block_of, block_ranges, normalise_all
from zhllm.text.clean.boilerplate import TRIGGERS
from zhllm.text.clean.charclass import count_chars
from zhllm.text.clean.cleaning import Rules, clean_documents, clean_text
from zhllm.text.clean.measures import in_repeated_grams, repeated_shares, scan
from zhllm.text.clean.normalise import normalise
from zhllm.text.clean.quality import repeated_grams_share, repeated_lines_share
from zhllm.text.clean.signs import with_triggers
from zhllm.text.document import Document

PARAGRAPH = "第{n}条　员工出差应当事先填写申请单，写明时间、地点和事由，由部门负责人批准，回来后十五日内报销。"
AWKWARD = [
    "\ud800", "\udfff", "\r", "\n", "\r\n", "\n\n\n", " \n", "\t", "\u3000", "\u3000\u3000", "\x85", "\u2028",
    "\x0b", "\u200b", "\ufeff", "\u200c", "\u200d", "\u2060", "\u00ad", "\ufe0f", "\U000e0100", "\x00", "\x1b",
    "\xa0", "\u2003", "e", "\u0301", "\u0308", "\u0323", "\u1100", "\u1161", "\u11a8", "가", "각", "\u212b",
    "\u2126", "\u0344", "豈", "が", "か\u3099", "\U0001d15e", "\U00011099\U000110ba", "㎡", "①", "ﬁ", "Ａ", "ｚ",
    "１", "，", "－", "𠮷", "汉", "臺灣", "👨\u200d👩\u200d👧", "❤️", "می\u200cخواهم", "क्\u200dष", "1\u20e3",
    "\ufffd", "\ufffe", "䷀", "\u034f", "\u115f",
]  # fmt: skip
TABLE = "本手册的内容请参看附录里的各张表格，它们的编号从正文的开头起依次排列，直到全文的末尾，共有12"
LINES = [
    "", " ", "　　第一段另起一行，写得长一些才好看。", "返回值", "}", "- 3 -", "\t- 4 -", "— 5 —", "| 6 |",
    "第 7 页 共 9 页", "Page 8 of 9", "PAGE 9", "12", "13", "14", "3 / 20", "员工手册", "员工手册 2024 1/6",
    "员工手册 2024 2/6", "员工手册 2024 3/6", "4/6 员工手册", "5/6 员工手册", "附表第12", "第一章 总则 ........ 3",
    "第二节 考勤………（12）", "· · · · · 7", "```sql", "## 参数", "关注公众号，回复“资料”免费领取大礼包",
    "上一篇：没有了 下一篇：返回首页", "版权归原作者所有，侵权必删",
    "联系人：李四，手机13812345678，邮箱lisi@lanxi-yiqi.cn", "服务器10.2.14.3，QQ：12345678",
    "身份证号110101199003077512", "臺灣與龍門的實驗室，設備齊全。", "他说(见上文;下同). 好,不好?", "䷀䷁䷂䷃",
    "合同书面形式", "合同应当采用书面形式订立。".encode().decode("latin-1"),
    "员工每年享受带薪年假".encode().decode("gb18030", "replace"), "Ça déjà vu, naïveté, señor",
    "\ufffd\ufffd\ufffd", "a,b;c", "http://www.example.com/13812345678", "京A·12345", PARAGRAPH.format(n=1),
    PARAGRAPH.format(n=2), PARAGRAPH.format(n=2),
]  # fmt: skip
RULES = {
    "usual": Rules(),
    "simplified": Rules(traditional="simplify", language="any"),
    "chinese punctuation": Rules(punctuation="chinese"),
    "nothing masked": Rules(masked=()),
    "some masked": Rules(masked=("email", "mobile"), traditional="simplify", punctuation="chinese"),
}


def from_lines() -> st.SearchStrategy[str]:
    """A document of awkward lines, with any line end."""
    ends = st.sampled_from(["\n", "\r\n", "\r", "\n\n\n", " \n"])
    return st.builds(lambda lines, end: end.join(lines), st.lists(st.sampled_from(LINES), max_size=12), ends)


def paged(header: str, footer: str, pages: int, seed: int) -> str:
    """A document with a header and a footer on each of its pages, a printed page apart."""
    rng, parts = random.Random(seed), []
    for n in range(1, pages + 1):
        body = [dirt.document(rng), dirt.document(rng)]
        parts += [header.format(n=n, of=pages), *body[: 1 + seed % 2], footer.format(n=n, of=pages)]
    return "\n".join(parts)


HEADERS = [
    "{n}", "- {n} -", "\t- {n} -", "员工手册", "员工手册 {n}", "员工手册 2024 {n}/{of}", "{n}/{of} 手册",
    "共12{n}\n{n} / {of}", "第 {n} 页", "Page {n}", "—{n}—", "|{n}|", "手册第{n}页 共{of}页", "䷀䷁䷂䷃", "内部资料",
    "见附表12", "",
]  # fmt: skip
pages = st.builds(paged, st.sampled_from(HEADERS), st.sampled_from(HEADERS), st.integers(2, 5), st.integers(0, 3))
awkward = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=2), max_size=25).map("".join)
spoilt = st.builds(
    lambda text, spoil: spoil(text),
    from_lines() | pages,
    st.sampled_from(
        [
            dirt.widened,
            lambda text: dirt.sprinkled(random.Random(1), text, dirt.INVISIBLE, 0.05),
            lambda text: text.encode("utf-8", "replace").decode("latin-1"),
            lambda text: text.encode("utf-8", "replace").decode("gb18030", "replace"),
            lambda text: text.replace("\n", "\r\n"),
        ]
    ),
)
headed = st.builds(
    lambda paged_text, between: paged_text.replace("\n", between, 2),
    pages,
    st.sampled_from(["\n====\n", "\n" + "加我微信领取资料 " * 30 + "\n", "\n\n", "\n返回值\n"]),
)
texts = st.lists(awkward | from_lines() | headed | spoilt, min_size=1, max_size=8)
normal_texts = texts.map(lambda some: [normalise(text) for text in some])


def samples(real_data: Path) -> list[str]:
    """Documents of every shared corpus, the dirty ones most of all."""
    found = []
    for path in sorted((real_data / "corpus").glob("*_zh.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            some = [json.loads(line)["text"] for _, line in zip(range(1500), file, strict=False)]
        step = 1 if "dirty" in path.name else 15
        found += [text for text in some[::step] if len(text) < 6000][: 200 if "dirty" in path.name else 25]
    return found


@given(texts)
@settings(max_examples=150, deadline=None)
@example(["\r", "\n", "", "\r\n", " \r", "\u3000", "甲\r"])
@example(["甲\ud800", "\udfff", "e", "\u0301", "\u1100", "\u1161"])
def test_normal_forms(some: list[str]) -> None:
    assert normalise_all(some) == [normalise(text) for text in some]


@given(texts_with(AWKWARD, 8))
@settings(max_examples=40, deadline=None)
def test_normal_forms_of_what_engines_differ_on(some: list[str]) -> None:
    assert normalise_all(some) == [normalise(text) for text in some]


def test_normal_form_of_every_code_point() -> None:
    """By itself between two others; of the large blocks that are alike, a thousand at a time."""
    alike = ((0x3400, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xF900), (0x20000, 0x2F800), (0x30000, 0x32000))
    whole = ["".join(map(chr, range(a, min(a + 1000, end)))) for start, end in alike for a in range(start, end, 1000)]
    bounds = [0, *(place for pair in alike for place in pair), 0x2FA20, 0xE0000, 0xE0200]
    single = [chr(c) for a, b in zip(bounds[::2], bounds[1::2], strict=False) for c in range(a, b)]
    several = [f"\u3000甲{c}乙 \n{c} " for c in single]
    assert normalise_all(several) == [normalise(text) for text in several]
    assert normalise_all(whole) == [normalise(text) for text in whole]


def test_normal_form_of_every_pair_that_composes() -> None:
    pairs = [unicodedata.decomposition(chr(code)).split() for code in range(0x110000)]
    of_two = ["".join(chr(int(c, 16)) for c in pair) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"]
    hangul = [unicodedata.normalize("NFD", chr(code)) for code in range(0xAC00, 0xD7A4, 13)]
    finals = [chr(code) + chr(final) for code in (0xAC00, 0xAC01, 0xD788) for final in range(0x11A6, 0x11C5)]
    vowels = [chr(lead) + chr(vowel) for lead in (0x1100, 0x1112) for vowel in range(0x1160, 0x1178)]
    some = [*of_two, *(text[1] + text[0] for text in of_two), *hangul, *finals, *vowels]
    assert len(of_two) > 1000
    assert normalise_all(some) == [normalise(text) for text in some]


@given(normal_texts)
@settings(max_examples=60, deadline=None)
def test_counts(some: list[str]) -> None:
    scanned = scan(some)
    assert scanned.counts == [count_chars(text) for text in some]
    assert scanned.block.texts() == some


@given(normal_texts)
@settings(max_examples=60, deadline=None)
@example(["abcd\nabcd", "abcd", "\n\n", "", "甲乙丙丁\n甲乙丙丁\n甲乙丙丁"])
def test_shares_of_what_repeats(some: list[str]) -> None:
    """Of 10-grams a sample is looked at, so that share may be less than the exact one, and never more."""
    counts = [count_chars(text) for text in some]
    lines, grams = repeated_shares(scan(some))
    exact = [repeated_lines_share(text, count.ink) for text, count in zip(some, counts, strict=True)]
    assert lines == pytest.approx(exact)
    assert all(share <= repeated_grams_share(text) + 1e-9 for text, share in zip(some, grams, strict=True))
    assert repeated_shares(scan(some[:1]))[1] == grams[:1], "whatever stands beside it"


@given(normal_texts, st.sampled_from([0.2, 0.6, 0.98]))
@settings(max_examples=60, deadline=None)
@example(["", "短", "甲乙丙丁戊己庚辛壬癸" * 100, "".join(map(chr, range(0x4E00, 0x4F00)))], 0.98)
@example([c * 9 + c.join("春夏秋冬") + "东南西北上下左右前后" * (3 * n) for n, c in enumerate("甲乙丙丁" * 5)], 0.6)
def test_no_share_over_the_limit_is_missed(some: list[str], limit: float) -> None:
    scanned = scan(some)
    every = (in_repeated_grams(scanned.ink) / np.maximum(scanned.ink.lengths, 1)).tolist()
    over = repeated_shares(scanned, limit)[1]
    assert all(found in (share, 0.0) for share, found in zip(every, over, strict=True))
    assert all(found == share for share, found in zip(every, over, strict=True) if share > limit)


@pytest.mark.parametrize(
    "phrase", ["哈", "好的", "早上好", "恭喜发财", *(f"{thing}坏了怎么办？" for thing in dirt.THINGS)]
)
def test_a_few_words_over_and_over_are_noticed(phrase: str) -> None:
    """Also where the sample of 10-grams has none of the few there are."""
    text = phrase * (400 // len(phrase))
    assert repeated_shares(scan([text]))[1][0] == pytest.approx(repeated_grams_share(text), abs=0.3)


def test_a_repeated_passage_is_nearly_all_found() -> None:
    rng = random.Random(3)
    some = [dirt.document(rng) for _ in range(60)]
    twice = [text + "\n" + text[: rng.randint(60, len(text))] for text in some]
    found = repeated_shares(scan(twice))[1]
    assert all(repeated_grams_share(t) - share < 0.12 for t, share in zip(twice, found, strict=True))


def documents(some: Sequence[str]) -> list[Document]:
    return [Document(f"d{i}", text, "s") for i, text in enumerate(some)]


def check_clean(some: Sequence[str], rules: Rules) -> None:
    """All together, each by itself and the plain way give the same texts, effects and judgements."""
    together = clean_documents(documents(some), rules)
    plain = [clean_text(text, rules) for text in some]
    assert [d.text for d in together.documents] == [c.text for c in plain]
    assert [{k: n for k, n in e.items() if n} for e in together.effects] == [dict(c.effects) for c in plain]
    for i, text in enumerate(some):
        alone = clean_documents([Document(f"d{i}", text, "s")], rules)
        assert alone.documents[0] == together.documents[i]
        assert alone.refusals[0] == together.refusals[i]
        assert alone.counts[0] == together.counts[i]
        assert alone.digests[0] == together.digests[i]
        assert np.array_equal(alone.sketches[0], together.sketches[i])
        assert np.array_equal(alone.paragraphs[0], together.paragraphs[i])


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@given(texts)
@settings(max_examples=15, deadline=None)
@example(["\t- 3 -\n" + PARAGRAPH])
@example([paged("员工手册 2024 {n}/{of}", "", 5, 1), paged("共12{n}\n{n} / {of}", "", 4, 1)])
@example([paged("{n}/{of} 手册", TABLE, 5, 1), paged("", "{n}", 4, 0)])
@example([paged("䷀䷁䷂䷃", "", 4, 1), paged("", "{n}", 4, 0), ""])
@example([paged("员工手册", "加我微信领取资料 " * 40, 4, 1), paged("内部资料\n---", "内部资料", 5, 0)])
def test_clean(rules: Rules, some: list[str]) -> None:
    check_clean(some, rules)


@pytest.mark.parametrize("chars", [1, 100])
def test_clean_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, chars: int) -> None:
    some = [*dirt.make(2).texts.values(), "", "甲\ud800", paged("员工手册", "- {n} -", 4, 0)]
    rules = RULES["some masked"]
    whole = clean_documents(documents(some), rules)
    tiny: Callable[[Sequence[str]], object] = lambda texts: block_ranges(texts, chars)  # noqa: E731
    monkeypatch.setattr(blocks, "block_ranges", tiny)
    monkeypatch.setattr(cleaning, "block_ranges", tiny)
    cut = clean_documents(documents(some), rules)
    assert cut.documents == whole.documents
    assert cut.refusals == whole.refusals
    assert cut.digests == whole.digests
    assert np.array_equal(cut.sketches, whole.sketches)


@pytest.mark.parametrize("rules", [RULES["usual"], RULES["some masked"]], ids=["usual", "some masked"])
def test_clean_on_the_small_dirty_corpus(rules: Rules) -> None:
    check_clean(list(dirt.make(1).texts.values()), rules)


def test_real_documents(real_data: Path) -> None:
    some = samples(real_data)
    assert len(some) > 300
    normal = normalise_all(some)
    assert normal == [normalise(text) for text in some]
    assert scan(normal).counts == [count_chars(text) for text in normal]
    rules = Rules(traditional="simplify")
    together = clean_documents(documents(some), rules)
    assert [d.text for d in together.documents] == [clean_text(text, rules).text for text in some]


def test_every_trigger_is_noticed() -> None:
    lines = [f"前{trigger}" for trigger in TRIGGERS] + [f"{trigger}后" for trigger in TRIGGERS]
    assert with_triggers(scan(lines)).tolist() == list(range(len(lines)))
    assert not len(with_triggers(scan(["", "甲", "甲乙", "没有的事", "x" * 500 + TRIGGERS[0]])))


def test_ranges_cover_every_text_once() -> None:
    for sizes in ([], [0], [5, 0, 3, 900, 1], [1] * 50):
        some = ["甲" * size for size in sizes]
        for chars in (1, 7, 10_000):
            assert [i for found in block_ranges(some, chars) for i in range(len(some))[found]] == list(range(len(some)))


def test_a_block_gives_its_texts_back() -> None:
    some = ["", "甲\n乙", "𠮷\ud800", "\n", ""]
    assert block_of(some).texts() == some
    assert block_of(some).docs == 5
