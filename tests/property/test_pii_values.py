"""Properties of finding and masking personal data; every value is generated, none is anybody's."""

from __future__ import annotations

import random
import time
from datetime import date

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zhllm.text.clean.measures import scan
from zhllm.text.clean.normalise import normalise
from zhllm.text.clean.pii import KINDS, PLACEHOLDERS, Kind, _candidates, find, mask, may_hold
from zhllm.text.clean.pii_kinds import words
from zhllm.text.clean.pii_numbers import id_check_digit, is_luhn
from zhllm.text.clean.pii_places import Places, fold, places
from zhllm.text.clean.pii_signs import with_personal_data

digits = st.text("0123456789", min_size=1)


def exactly(n: int, first: str = "0123456789") -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(first), st.text("0123456789", min_size=n - 1, max_size=n - 1)).map("".join)


def grouped(sizes: list[int]) -> st.SearchStrategy[str]:
    return st.sampled_from([" ", "-", "–"]).map(lambda sep: sep.join("{}" * len(sizes)))


def with_luhn(body: str) -> str:
    return next(body + d for d in "0123456789" if is_luhn(body + d))


birthdays = st.dates(min_value=date(1920, 1, 1), max_value=date(2024, 1, 1))
ids = st.tuples(st.sampled_from(sorted(words("id_provinces"))), exactly(4), birthdays, exactly(3)).map(
    lambda t: t[0] + t[1] + t[2].strftime("%Y%m%d") + t[3]
)
id_cards = ids.map(lambda body: body + id_check_digit(body))
cards = st.one_of(exactly(13).map(lambda s: "622" + s[:-1]), exactly(16).map(lambda s: "62" + s)).map(with_luhn)
mobiles = st.tuples(st.sampled_from(sorted(words("mobile_prefixes"))), exactly(8)).map("".join)
mobiles = mobiles.filter(lambda s: int(s) % 10**7 and int(s) % 2**20)
name = st.tuples(st.sampled_from("abcdefghijkmn"), st.text("abcdefghij0123456789_", min_size=5, max_size=12)).map(
    "".join
)
octets = st.lists(st.integers(32, 250).map(str), min_size=4, max_size=4).filter(lambda o: len(set(o)) > 1)
VALUES: dict[Kind, st.SearchStrategy[str]] = {
    "mobile": st.one_of(mobiles, mobiles.map(lambda s: f"{s[:3]} {s[3:7]} {s[7:]}"), mobiles.map("+86-{}".format)),
    "landline": st.tuples(st.sampled_from(sorted(words("area_codes"))), exactly(8, "2345678")).map("-".join),
    "id_card": st.one_of(id_cards, id_cards.map(lambda s: f"{s[:6]} {s[6:14]} {s[14:]}")),
    "bank_card": st.one_of(cards, cards.map(lambda s: " ".join(s[i : i + 4] for i in range(0, len(s), 4)))),
    "email": st.tuples(name, st.sampled_from(["qq.com", "163.com", "mail.tsinghua.edu.cn"])).map("@".join),
    "ip": octets.map(lambda o: ".".join(["39", *o[1:]])),
    "wechat": name.filter(lambda s: s[0] not in "v"),
    "qq": exactly(9, "123456789").filter(lambda s: s[:2] not in ("19", "20")),
    "plate": st.tuples(st.sampled_from("京沪粤浙"), st.sampled_from("ABCDEFGH"), exactly(5)).map("".join),
}
BEFORE: dict[Kind, str] = {"wechat": "微信号：", "qq": "QQ：", "ip": "登录地址 "}
neighbours = st.text("张三李四住在北京路，。、；（）《》“”\n的是在和", max_size=12)


@st.composite
def sentences(draw: st.DrawFn) -> tuple[str, list[tuple[Kind, str]]]:
    text = draw(neighbours)
    values: list[tuple[Kind, str]] = []
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)):
        value = draw(VALUES[kind])
        text += "，" + BEFORE.get(kind, "") + value + "。" + draw(neighbours)
        values.append((kind, value))
    return text, values


@given(sentences())
@settings(max_examples=150, deadline=None)
def test_every_value_is_found_and_the_rest_is_untouched(case: tuple[str, list[tuple[Kind, str]]]) -> None:
    text, values = case
    found = find(text)
    assert [(f.kind, text[f.start : f.end]) for f in found] == values
    assert may_hold(text)
    masked, counts = mask(text)
    for _, value in values:
        text = text.replace(value, "\0", 1)
    for kind, _ in values:
        text = text.replace("\0", PLACEHOLDERS[kind], 1)
    assert masked == text
    assert sum(counts.values()) == len(values)
    assert mask(masked) == (masked, type(counts)())


@given(id_cards, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_an_id_number_with_another_check_digit_is_none(value: str, shift: int) -> None:
    order = "0123456789X"
    wrong = value[:-1] + order[(order.index(value[-1]) + shift) % 11]
    assert all(f.kind != "id_card" for f in find(f"居民{wrong}。"))


@given(cards, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_a_card_with_another_check_digit_needs_a_word(value: str, shift: int) -> None:
    wrong = value[:-1] + str((int(value[-1]) + shift) % 10)
    assert all(f.kind != "bank_card" for f in find(f"共{wrong}。"))
    assert [f.kind for f in find(f"卡号：{wrong}。")][-1:] in (["bank_card"], ["id_card"])


PIECES = [
    *(
        "13812345678",
        "138 1234 5678",
        "+86",
        "010-12345678",
        "(010)",
        "62781234",
        "510107198203194930",
        "卡号",
        "电话",
        "手机号",
    ),
    *(
        "6271200007522412497",
        "6222 0212 3456 7890 128",
        "a@b.cn",
        "zhangsan@qq.com",
        "39.156.66.10",
        "8.8.8.8",
        "1.2.3.4",
    ),
    *(
        "微信号",
        "微信：",
        "VX",
        "wx:",
        "abc_12345",
        "QQ",
        "12345678",
        "京A12345",
        "粤B·12345D",
        "警",
        "转801",
        "2020-12-25",
    ),
    *(
        "2408:8207:7842:5a10::1",
        "::",
        "https://a.cn/",
        "、",
        "，",
        "：",
        " ",
        "-",
        "/",
        "\n",
        "[",
        "]",
        "的",
        "版本",
        "v",
        "@",
        ".",
    ),
    *PLACEHOLDERS.values(),
]
mixtures = st.lists(st.sampled_from(PIECES) | st.text("0123456789 -.@:Xa", max_size=4), max_size=12).map("".join)


@given(mixtures)
@example("2408:8207:7842:5a10::1a@b.cn")
@example("a@b.cn@13812345678")
@settings(max_examples=150, deadline=None)
def test_masking_twice_is_masking_once(text: str) -> None:
    masked, counts = mask(text)
    assert find(masked) == []
    assert counts.total() >= len(find(text))


@given(mixtures)
@settings(max_examples=200, deadline=None)
def test_places_stand_in_order_and_do_not_overlap(text: str) -> None:
    found = find(text)
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    assert all(f.start < f.end <= len(text) for f in found)
    assert may_hold(text) or not found


@given(mixtures)
@settings(max_examples=150, deadline=None)
def test_no_value_stands_where_nobody_looks(text: str) -> None:
    """The regexes over the whole text find no more than over the places that hold a needle."""
    lines = [(0, len(text))]
    everywhere = list(range(len(text)))
    ats = [i for i, c in enumerate(fold(text)) if c == "@"]
    whole = Places(fold(text), lines, everywhere, lines, lines, everywhere, everywhere, ats)
    assert set(_candidates(whole)) == set(_candidates(places(text)))


accounts = st.lists(
    st.sampled_from(
        ["wx", "VX", "qq", "Qq群", "WeChat", "加V", "＋微", "wxid_", "号", "：", " ", "=", "联系", "/", "abcd12"]
    )
    | exactly(6, "123456789"),
    max_size=6,
).map("".join)


@given(st.lists(mixtures | accounts | sentences().map(lambda case: case[0]), min_size=1, max_size=4))
@example(["+8613812345678", "（86）138-1234-5678", "电话号码：62781234", "Tel.6278 1234", "＋微abc123", "2408:8207::1"])
@example(["wx:abcd12", "微信abc_12", "QQ123456", "a@b.cn", "张三＠b．cn", "京A12345", "粤B·12345D", "39.156.66.10"])
@example(["9", "1-", "@", "2:", "wx", "京", "京A", "京A123", "a@b", "1.2.3.4", "1.2.3", "138 ", "12345678"])
@settings(max_examples=150, deadline=None)
def test_every_line_with_a_value_is_looked_at(some: list[str]) -> None:
    """On arrays no line is passed over in which `find` finds something, whatever stands around it."""
    normal = [normalise(text) for text in some]
    scanned = scan(normal)
    looked_at = {(doc, offset) for doc, offset, _ in scanned.places_of(with_personal_data(scanned))}
    for doc, text in enumerate(normal):
        offset = 0
        for line in text.split("\n"):
            assert (doc, offset) in looked_at or not find(line), line
            offset += len(line) + 1


def test_digits_at_random_are_hardly_ever_anything() -> None:
    rng = random.Random(7)
    runs = ["".join(rng.choices("0123456789", k=rng.randint(5, 24))) for _ in range(5000)]
    hits = [f for run in runs for f in find(f"数 {run} 个") if f.kind != "mobile"]
    assert len(hits) <= 5


def test_time_grows_with_the_text_only() -> None:
    for unit in (
        "1",
        "1-",
        "1 ",
        "138 ",
        "13812345678 ",
        "@",
        "a@",
        "a.",
        "1.",
        ":",
        "1:",
        "::",
        "(",
        "+86",
        "0-",
        "微",
        "QQ",
        "京A",
        "VX",
    ):
        start = time.process_time()
        find(unit * (50_000 // len(unit)))
        assert time.process_time() - start < 2, unit
