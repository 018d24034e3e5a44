"""synth by rules from end to end: proofs, reports, reading by sft, the same bytes whoever works, and no network."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zhllm import stage
from zhllm.cli import cli
from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.stages import _synth_make, synth
from zhllm.text.chats import read_chats
from zhllm.text.read.shards import read_documents

COMPANY = Path(__file__).parents[2] / "corpora" / "company"
WARRANTY = "# 水质仪{0}手册\n\n水质仪的保修期是{1}年。水质仪的外壳是深蓝色的，电源线长度是{2}米。🧑\u200d🔬𠮷\n"


def run(documents: Path | tuple[Path, ...], out: Path, **settings: Any) -> dict[str, Any]:
    paths = documents if isinstance(documents, tuple) else (documents,)
    config = synth.SynthConfig(documents=paths, offline=True, **settings)
    return stage.execute(synth.STAGE, config, out).manifest.metrics


def files(out: Path) -> dict[str, str]:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))["files"]  # type: ignore[no-any-return]


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_company_gives_chats_whose_evidence_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(socket.socket, "connect", connect)
    sources = (COMPANY / "handbook", COMPANY / "faq")
    metrics = run(sources, tmp_path / "out", style="both")
    assert metrics["pairs"] > 250 and metrics["pairs"] + metrics["rejected_pairs"] == metrics["pairs_found"]
    assert len(rejected(tmp_path / "out")) == metrics["rejected_pairs"] > 10
    texts = {document.id: document.text for document in read_documents(sources)}
    chats = list(read_chats([tmp_path / "out"]))
    assert len(chats) == metrics["chats"] == metrics["closed_book_chats"] + metrics["grounded_chats"]
    assert len({chat.id for chat in chats}) == len(chats)
    for chat in chats:
        evidence = chat.meta["evidence"]
        assert texts[evidence["document"]].startswith(evidence["text"], evidence["start"])
    asked = {chat.messages[0]["content"]: chat.messages[1]["content"] for chat in chats}
    assert asked["公司电脑密码每多少天要换一次？"] == "公司电脑密码每九十天要换一次。"
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert sum(report["kinds"].values()) == sum(report["rules"].values()) == metrics["pairs"]
    assert sum(report["rejected"].values()) == metrics["rejected_pairs"]
    assert "公司" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_bytes_are_the_same_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_synth_make, "BATCH_DOCS", 3)
    run(COMPANY / "faq", tmp_path / "one", style="both")
    run(COMPANY / "faq", tmp_path / "two", style="both", workers=2)
    run(COMPANY / "faq", tmp_path / "other", style="both", seed=5)
    assert files(tmp_path / "one") == files(tmp_path / "two") != files(tmp_path / "other")


def test_a_question_with_two_answers_is_not_asked_without_its_passage(tmp_path: Path) -> None:
    for name, years in (("甲", 3), ("乙", 5)):
        (tmp_path / f"{name}.md").write_text(WARRANTY.format(name, years, 2), encoding="utf-8")
    closed = run(tmp_path, tmp_path.with_name("closed"))
    questions = [chat.messages[0]["content"] for chat in read_chats([tmp_path.with_name("closed")])]
    assert not any("保修期是多少" in question for question in questions)
    reasons = [entry["reason"] for entry in rejected(tmp_path.with_name("closed"))]
    assert reasons.count("contradicting answer") == 2 and "duplicate question" in reasons
    both = run(tmp_path, tmp_path.with_name("both"), style="both")
    assert both["closed_book_left_out"] == 2 and both["pairs"] == closed["pairs"] + 2 + both.get(
        "unanswerable_pairs", 0
    )


def test_shards_are_bounded_and_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_synth_make, "SHARD_BYTES", 4000)
    metrics = run(COMPANY / "faq", tmp_path / "out")
    shards = sorted((tmp_path / "out").glob("chats-*.jsonl"))
    assert len(shards) > 5 and all(shard.stat().st_size < 12_000 for shard in shards)
    assert len(list(read_chats([tmp_path / "out"]))) == metrics["chats"]


def test_evidence_that_does_not_stand_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_synth_make, "meta_of", lambda *args: _moved(*args))
    with pytest.raises(ProofError, match="evidence does not stand in document"):
        run(COMPANY / "faq", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _moved(*args: Any) -> dict[str, Any]:
    from zhllm.text.synth.pairs import meta_of

    meta = meta_of(*args)
    meta["evidence"]["start"] += 1
    return meta


def test_a_pair_without_an_outcome_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_synth_make, "_reject", lambda *args: None)
    with pytest.raises(ProofError, match="pairs were found"):
        run(COMPANY / "faq", tmp_path / "out")


def test_documents_without_anything_to_ask_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("今天天气很好，我们去了河边，后来就回家了。\n", encoding="utf-8")
    with pytest.raises(DataError, match="no pairs found"):
        run(tmp_path / "a.txt", tmp_path / "out")


def test_kinds_that_are_left_out_are_not_made(tmp_path: Path) -> None:
    metrics = run(COMPANY / "manuals", tmp_path / "out", kinds=("procedure", "definition=2"), style="both")
    assert {name for name in metrics if name.endswith("_pairs")} <= {
        "procedure_pairs",
        "definition_pairs",
        "rejected_pairs",
    }
    assert metrics["procedure_pairs"] and metrics["definition_pairs"]


def test_of_a_cleaned_corpus_the_training_documents_are_asked_about(tmp_path: Path) -> None:
    from zhllm.text.document import Document
    from zhllm.text.read.shards import write_documents

    folder = tmp_path / "clean"
    folder.mkdir()
    for name, split in (("甲", "train"), ("乙", "valid")):
        text = WARRANTY.format(name, 3, 2).replace("水质仪", f"{name}型光度计")
        write_documents(folder, split, [Document(name, text, f"{name}.md")])
    run(folder, tmp_path / "out")
    assert {chat.source for chat in read_chats([tmp_path / "out"])} == {"甲.md"}


def test_the_command_line_and_show(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    done = CliRunner().invoke(cli, ["synth", "--documents", str(COMPANY / "faq"), "--offline", "-o", out, "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout.splitlines()[-1])["chats"] > 50
    shown = CliRunner().invoke(cli, ["show", out, "-n", "1"])
    assert shown.exit_code == 0 and "evidence" in shown.output and "user:" in shown.output
    wrong = CliRunner().invoke(cli, ["synth", "--documents", str(COMPANY / "faq"), "-o", out])
    assert isinstance(wrong.exception, ConfigError) and "--model is needed" in str(wrong.exception)
