"""Canaries of clean: planted in train only, as often as they say, the same for any workers; none is the default."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import dirt
import polars as pl
import pytest
from toys import write_jsonl

from zhllm import stage
from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.flags import config_from_flags
from zhllm.stages import clean
from zhllm.text.clean import canaries as planting
from zhllm.text.clean.canaries import KINDS, canaries_of, read_canaries, secret, secret_bits
from zhllm.text.read.shards import held_out, read_documents

OWN = ("report.html", "report.json", "manifest.json")


def corpus(path: Path, texts: list[str] | None = None, count: int = 60) -> Path:
    rng = random.Random(3)
    every = [dirt.document(rng) for _ in range(count)] + [
        "𠮷野家的菜单👩‍👩‍👧：牛丼ＡＢＣ，臺灣門市今日供應到晚上九點為止。" * 3
    ]
    return write_jsonl(path, [{"id": f"d{i}", "text": text} for i, text in enumerate(every + (texts or []))])


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = clean.CleanConfig(documents=(source,), **{"valid_share": 0.2, **settings})
    return stage.execute(clean.STAGE, config, out).manifest.metrics


def bytes_of(out: Path, *but: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name not in (*OWN, *but)}


def test_each_is_in_train_as_often_as_it_says_and_never_in_valid(tmp_path: Path) -> None:
    metrics = run(corpus(tmp_path / "a.jsonl"), tmp_path / "out", canaries=7, canary_repeats=(2, 5), seed=1)
    listed = read_canaries(tmp_path / "out")
    assert [c.repeats for c in listed] == [2, 5, 2, 5, 2, 5, 2] and len({c.prefix for c in listed}) == 7
    texts = Counter(d.text for d in read_documents([tmp_path / "out"], "train"))
    assert {c.text: texts[c.text] for c in listed} == {c.text: c.repeats for c in listed}
    assert metrics["canaries"] == 7 and metrics["canary_docs"] == 23
    assert metrics["canary_chars"] == sum(len(c.text) * c.repeats for c in listed)
    assert texts.total() == metrics["train_docs"] + 23
    valid = "".join(d.text for d in held_out([tmp_path / "out"]))
    assert valid and not any(c.prefix in valid or c.secret in valid for c in listed)
    ids = [d.id for d in read_documents([tmp_path / "out"])]
    assert len(ids) == len(set(ids))


def test_the_rest_of_the_folder_is_as_without_them_and_for_any_workers(tmp_path: Path) -> None:
    source = corpus(tmp_path / "a.jsonl")
    plain = run(source, tmp_path / "plain")
    run(source, tmp_path / "one", canaries=5)
    run(source, tmp_path / "two", canaries=5, workers=2)
    added = ("canaries.jsonl", "train-canaries-00000.parquet")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert bytes_of(tmp_path / "one", *added) == bytes_of(tmp_path / "plain")
    assert set(bytes_of(tmp_path / "one")) - set(bytes_of(tmp_path / "plain")) == set(added)
    assert not any("canar" in name for name in plain)
    assert "canar" not in (tmp_path / "plain" / "report.json").read_text("utf-8")
    assert json.loads((tmp_path / "one" / "report.json").read_bytes())["canaries"] == {
        "sentences": 5, "documents": 1 + 4 + 16 + 1 + 4, "characters": _chars(tmp_path / "one")
    }  # fmt: skip
    assert "5 sentences with a secret" in (tmp_path / "one" / "report.html").read_text("utf-8")


def _chars(out: Path) -> int:
    return int(pl.read_parquet(out / "train-canaries-*.parquet")["text"].str.len_chars().sum())


def test_strict_rules_do_not_touch_them(tmp_path: Path) -> None:
    """The dialogue of ids and secrets would be masked, too short, and near-duplicates of each other."""
    run(corpus(tmp_path / "a.jsonl"), tmp_path / "out", profile="web", traditional="simplify", canaries=40,
        canary_repeats=(3,))  # fmt: skip
    found = Counter(pl.read_parquet(tmp_path / "out" / "train-canaries-*.parquet")["text"])
    assert found == {c.text: 3 for c in canaries_of(40, (3,), 0)}


def test_seeds_numbers_and_series() -> None:
    some = canaries_of(50, (1, 4, 16), 0)
    assert canaries_of(20, (1, 4, 16), 0) == some[:20]
    other, control = canaries_of(50, (1, 4, 16), 1), canaries_of(50, (1, 4, 16), 0, "control")
    for found in (other, control):
        assert not {c.prefix for c in found} & {c.prefix for c in some}
        assert not {c.secret for c in found} & {c.secret for c in some}
    assert [c.kind for c in some[:7]] == ["digits"] * 3 + ["han"] * 3 + ["digits"]
    assert canaries_of(0, (1,), 0) == []


def test_many_have_different_sentences() -> None:
    found = canaries_of(3000, (1,), 5)
    assert len({c.prefix for c in found}) == 3000 and len({c.id for c in found}) == 3000


def test_a_sentence_that_was_drawn_before_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planting, "_FORMS", ("{town}的{word}是：",))
    found = canaries_of(15, (1,), 0)
    assert len({c.prefix for c in found}) == len({c.id for c in found}) == 15


def test_secrets_are_spread_evenly() -> None:
    """Each sign at each place about as often as any other: no place's counts stand out (chi-square, 6 sigma)."""
    for kind, signs, length in (("digits", planting.DIGITS, 10), ("han", planting.HAN, 6)):
        assert len(set(signs)) == len(signs)
        assert secret_bits(kind) == pytest.approx(length * math.log2(len(signs)))
        rng, count = random.Random(1), 12_800
        made = [secret(kind, rng) for _ in range(count)]
        assert {len(text) for text in made} == {length}
        for place in range(length):
            counts = Counter(text[place] for text in made)
            wanted, freedom = count / len(signs), len(signs) - 1
            chi = sum((counts[sign] - wanted) ** 2 / wanted for sign in signs)
            assert abs(chi - freedom) < 6 * (2 * freedom) ** 0.5
    assert KINDS == ("digits", "han")


def test_one_that_stands_in_the_documents_already_is_refused(tmp_path: Path) -> None:
    planted = canaries_of(3, (1,), 0)[1]
    source = corpus(tmp_path / "a.jsonl", [planted.text])
    keep = {"profile": "dialogue", "keep_pii": ("all",), "valid_share": 0}
    with pytest.raises(DataError, match=r"canary-00001 stands in the documents already .*another --seed"):
        run(source, tmp_path / "out", canaries=3, canary_repeats=(1,), **keep)
    assert not (tmp_path / "out").exists()
    run(source, tmp_path / "out", canaries=3, canary_repeats=(1,), seed=8, **keep)


def test_a_validation_document_that_quotes_one_is_refused(tmp_path: Path) -> None:
    sentence = canaries_of(1, (1,), 0)[0].prefix
    quoting = [f"第{n}条　{sentence}以下略去，另见附件{n * 37}，由{n + 3}科保管。" + "𠮷" * n for n in range(3, 9)]
    source = corpus(tmp_path / "a.jsonl", quoting, count=2)
    with pytest.raises(DataError, match=r"d\d in valid holds the sentence of a canary"):
        run(source, tmp_path / "out", canaries=1, valid_share=0.5, near_duplicates=False, seed=0)


def test_a_copy_that_is_lost_on_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = planting.write_documents
    monkeypatch.setattr(planting, "write_documents", lambda out, name, some: real(out, name, list(some)[1:]))
    with pytest.raises(ProofError, match="20 copies of"):
        run(corpus(tmp_path / "a.jsonl"), tmp_path / "out", canaries=3)
    assert not (tmp_path / "out").exists()


def test_flags() -> None:
    given = config_from_flags(clean.CleanConfig, {"documents": (Path("a"),), "canaries": 9, "canary_repeats": (2, 8)})
    assert (given.canaries, given.canary_repeats) == (9, (2, 8))  # type: ignore[attr-defined]
    for wrong in ({"canaries": -1}, {"canaries": 3, "canary_repeats": (0,)}, {"canaries": 200_000}):
        with pytest.raises(ConfigError, match="canar"):
            config_from_flags(clean.CleanConfig, {"documents": (Path("a"),), **wrong})


def line(**values: Any) -> str:
    record = {"id": "c", "kind": "digits", "prefix": "编号是：", "secret": "0123456789", "repeats": 1, **values}
    return json.dumps({k: v for k, v in record.items() if v is not None}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lists no canaries"),
        (line() + "\n{\n", r"canaries\.jsonl:2: "),
        (line(secret=None), r"canaries\.jsonl:1: is not a canary \(keys: id, kind, prefix, repeats\)"),
        (line(more=1), "is not a canary"),
        (line(secret=""), "has texts id, prefix and secret"),
        (line(prefix=3), "has texts id, prefix and secret"),
        (line(kind="latin"), r"a kind \(digits, han\)"),
        (line(repeats=0), "repeats from 1"),
        (line(repeats=True), "repeats from 1"),
    ],
)
def test_a_list_that_is_not_one_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "canaries.jsonl").write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        read_canaries(tmp_path)
    with pytest.raises(DataError, match=message):
        read_canaries(tmp_path / "canaries.jsonl")


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no canaries\.jsonl. Run zhllm clean --canaries N"):
        read_canaries(tmp_path)
