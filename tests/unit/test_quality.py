"""quality and profiles: each rule refuses what it is for and nothing that people wrote on purpose."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path

import pytest

from zhllm.text.clean.charclass import count_chars
from zhllm.text.clean.normalise import normalise, repair_mojibake
from zhllm.text.clean.profiles import OWN_FILE, PROFILES, Profile, ProfileName, read_profiles
from zhllm.text.clean.quality import (
    Language,
    Shape,
    judge,
    mojibake_share,
    repeated_grams_share,
    repeated_lines_share,
)

PARAGRAPH = (
    "第{n}条　员工出差应当事先填写申请单，写明出差的时间、地点和事由，由部门负责人批准。"
    "出差回来以后十五日以内到财务部办理报销，超过期限的要写明原因，经总经理同意才可以办理。"
)
SOUND = Shape(0.0, 0.0, 0.0, 0.0)


def paragraph(n: int) -> str:
    return PARAGRAPH.format(n=n)


def shape_of(text: str) -> Shape:
    return Shape(repeated_lines_share(text, count_chars(text).ink), repeated_grams_share(text), 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "profile", "language", "reason"),
    [
        (paragraph(1), "document", "zh", None),
        ("通知：本周五下午全公司放假半天。", "document", "zh", None),
        ("通知：本周五下午全公司放假半天。", "web", "zh", "too_short"),
        ("澜溪仪器有限公司 内部通知\n\n。", "document", "zh", "too_short"),
        ("好的。", "dialogue", "zh", None),
        ("The staff canteen opens at noon and closes at two. " * 3, "document", "zh", "low_han_share"),
        ("The staff canteen opens at noon and closes at two. " * 3, "document", "en", None),
        ("The staff canteen opens at noon and closes at two. " * 3, "document", "any", None),
        (paragraph(1), "document", "en", "low_latin_share"),
        ("★☆■□▲△" * 10 + "价目", "document", "zh", "symbol_share"),
        ("价目 " + "12 345 678 9012 " * 20, "document", "zh", "digit_share"),
        (paragraph(1) + "\n点击上方蓝字关注我们" * 60, "document", "zh", "repeated_lines"),
        ("欢迎" + "哈" * 2000, "document", "zh", "repeated_grams"),
        (paragraph(1) + "\ufffd" * 5, "document", "zh", "garbled"),
        (
            "鏄庣櫧鐨勬枃瀛楄璇垚浜嗗埆鐨勭紪鐮佷箣鍚庣殑鏍峰瓙杩欐牱鐨勫瓧涓嶈璁粌" * 3,
            "document",
            "zh",
            "garbled",
        ),
        ("送餘姚知縣陳最寺丞\n舊見恩初渥，新遊刃久虛。\n官曹鵲樹下，民版象耕餘。", "document", "zh", None),
    ],
)
def test_rules(text: str, profile: ProfileName, language: Language, reason: str | None) -> None:
    refusal = judge(count_chars(text), shape_of(text), PROFILES[profile], language)
    assert (refusal.reason if refusal else None) == reason


@pytest.mark.parametrize(
    ("field", "limit", "reason"),
    [
        ("repeated_lines", "max_repeated_lines_share", "repeated_lines"),
        ("repeated_grams", "max_repeated_grams_share", "repeated_grams"),
        ("contents", "max_contents_share", "contents_page"),
        ("boilerplate", "max_boilerplate_share", "advertisement"),
    ],
)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_share_is_refused_beyond_its_limit_and_not_at_it(
    field: str, limit: str, reason: str, profile: ProfileName
) -> None:
    counts = count_chars(paragraph(1))
    at = getattr(PROFILES[profile], limit)
    assert judge(counts, SOUND._replace(**{field: at}), PROFILES[profile], "zh") is None
    refusal = judge(counts, SOUND._replace(**{field: at + 0.001}), PROFILES[profile], "zh")
    assert refusal is not None and refusal.reason == reason


def test_sensitive_hits_are_only_counted_unless_a_limit_is_set() -> None:
    counts, shape = count_chars(paragraph(1)), SOUND._replace(sensitive_hits=3)
    assert judge(counts, shape, PROFILES["web"], "zh") is None
    strict = replace(PROFILES["web"], max_sensitive_hits=2)
    refusal = judge(counts, shape, strict, "zh")
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == ("sensitive", "3 hits of the lexicon, over 2")
    assert judge(counts, shape, replace(strict, max_sensitive_hits=3), "zh") is None


def test_repeated_lines_count_from_the_second_on() -> None:
    text = "返回值\n参数如下：\n甲 乙 丙\n参数如下：\n返回值\n甲 乙 丙\n甲 乙 丙"
    assert repeated_lines_share(text, 5 + 3 * 3 + 5 + 6) == (5 + 3 + 3) / 25
    assert repeated_lines_share("", 0) == 0.0


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252", "gb18030"])
def test_mojibake_beside_sound_text_is_repaired(wrong: str) -> None:
    meant = "合同应当采用书面形式订立员工每年享受带薪年假"
    bad = meant.encode().decode(wrong) if wrong != "cp1252" else windows_1252(meant)
    text = f"第一行没有坏，“引号”也好……\nEnglish line, déjà vu\n{bad} 2024\n联通"
    assert repair_mojibake(text) == text.replace(bad, meant)
    assert repair_mojibake(text.replace(bad, meant)) is None
    assert repair_mojibake("plain") is None
    if wrong != "gb18030":
        assert repair_mojibake(f"订立合同：{bad}（见附件）") == f"订立合同：{meant}（见附件）"


def windows_1252(text: str) -> str:
    """UTF-8 as a browser shows it that was told Windows-1252."""
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in text.encode())


def test_mojibake_that_lost_bytes_is_garbled_whatever_the_language() -> None:
    """Latin-1 whose control characters are gone: è´åä¿¡ç"""
    lost = normalise((paragraph(1) * 3).encode().decode("latin-1"))
    lost = repair_mojibake(lost) or lost  # a character or two are whole by chance
    for text in (lost, PARAGRAPH * 9 + lost[:100]):
        counts = count_chars(text)
        share = mojibake_share(text, counts.ink)
        assert share > 0.05
        refusal = judge(counts, SOUND._replace(mojibake=share), PROFILES["document"], "any")
        assert refusal is not None and refusal.reason == "garbled"
    for sound in (paragraph(1), "Příliš žluťoučký kůň, déjà vu, nǐ hǎo, Tất cả mọi người, à é è", ""):
        assert mojibake_share(sound, len(sound)) == 0


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("", 0),
        ("一二三四五六七八九", 0),
        ("一二三四五六七八九十" * 2, 10),
        ("一二三四五 六七八九十\n一二三四五六\t七八九十", 10),
        ("一二三四五六七八九" * 2, 0),
        ("哈" * 12, 11),  # the second gram and the third cover all but the first character
        ("一二三四五六七八九十甲" * 2 + "乙", 11),
    ],
)
def test_repeated_grams(text: str, covered: int) -> None:
    assert repeated_grams_share(text) == pytest.approx(covered / max(len("".join(text.split())), 1))


def test_repeated_grams_are_as_defined() -> None:
    """Against the definition, word for word, on strings of few letters."""
    chance = random.Random(5)
    for _ in range(300):
        chars = "".join(chance.choices("甲乙", k=chance.randrange(60)))
        starts = range(len(chars) - 9)
        repeated = [i for i in starts if chars[i : i + 10] in {chars[j : j + 10] for j in range(i)}]
        covered = {i + k for i in repeated for k in range(10)}
        assert repeated_grams_share(chars) == pytest.approx(len(covered) / max(len(chars), 1))


def test_every_profile_is_read_whole() -> None:
    assert set(PROFILES) == {"document", "web", "dialogue", "classical"}
    for profile in PROFILES.values():
        for field in fields(Profile):
            value = getattr(profile, field.name)
            assert value is None or value > 0, field.name


OWN = OWN_FILE.read_text(encoding="utf-8").partition("[web]")[0].replace("[document]", '["合同"]')


def test_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace('max_sensitive_hits = "off"', "max_sensitive_hits = 0"), encoding="utf-8")
    assert read_profiles(path) == {"合同": replace(PROFILES["document"], max_sensitive_hits=0)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_chars", "min_char", r"\[合同\] min_char = 14: unknown key. Did you mean min_chars"),
        ("min_chars = 14", "", r"\[合同\] min_chars: missing. A profile has all 11 keys"),
        ("min_chars = 14", "min_chars = 0", r"min_chars = 0: wanted a whole number from 1\.$"),
        ("min_chars = 14", 'min_chars = "off"', r"min_chars = 'off': wanted a whole number from 1\.$"),
        ("max_digit_share = 0.60", "max_digit_share = 60", r"max_digit_share = 60: wanted a share from 0 to 1"),
        ("max_digit_share = 0.60", "max_digit_share = true", "max_digit_share = True: wanted a share"),
        ('hits = "off"', 'hits = "no"', "max_sensitive_hits = 'no': wanted a whole number from 0, or \"off\""),
        ('hits = "off"', "hits = -1", "max_sensitive_hits = -1: wanted a whole number from 0, or"),
        ('["合同"]', "", "min_chars stands outside a table"),
        ('["合同"]', "[合同]", r"own.toml: .*line 9.*Profiles are a TOML file; see profiles.toml"),
    ],
)
def test_a_fault_in_a_file_of_the_user_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as found:
        read_profiles(path)
    assert str(path) in str(found.value)


def test_an_empty_or_undecodable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="own.toml: no profile in it"):
        read_profiles(path)
    path.write_bytes("[合同]".encode("gb18030"))
    with pytest.raises(ValueError, match="own.toml: .*utf-8"):
        read_profiles(path)
