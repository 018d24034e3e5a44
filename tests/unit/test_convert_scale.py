"""convert at work on much: the same bytes however it is shared out, cut and interrupted; what only all records tell."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import byte_level_tokenizer, write_jsonl

from zhllm import stage
from zhllm.errors import ConfigError, DataError, ProofError
from zhllm.manifest import checkpoints_of
from zhllm.stages import _convert_work, convert
from zhllm.text.chats import read_chats, read_preferences

Run = Callable[..., dict[str, Any]]


def run(source: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = convert.ConvertConfig(source=(source,), **settings)
    return stage.execute(convert.STAGE, config, out).manifest.metrics


def asked(number: int, answer: str = "", **more: str) -> dict[str, object]:
    return {
        "instruction": f"第{number}号仪器多久校准一次？𠮷",
        "output": answer or f"每{number}天校准一次。🧑‍💼",
    } | more


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.json"}


@pytest.fixture
def much(tmp_path: Path) -> Path:
    """Files cut at line ends, files taken whole, packed ones, tables; duplicates and faults across them."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", [asked(n % 60) for n in range(100)])
    lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    lines[7] = b'{"instruction": "\xe9\x97\xae", \n'
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    (folder / "b.json").write_text(json.dumps([asked(n, f"甲{n % 2}。") for n in range(55, 65)], indent=1))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[20:])))
    pairs = [{"prompt": f"问{n % 9}", "chosen": f"好{n % 3}。", "rejected": f"坏{n % 2}。"} for n in range(30)]
    write_jsonl(folder / "d.jsonl", pairs)
    (folder / "e.csv").write_text("问题,答案\n多久校准？,每年。\n谁负责？,\n", encoding="utf-8")
    (folder / "说明.md").write_text("说明")
    return folder


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, int], None]:
    """Sets the bytes of a piece, from what size on a file is cut, and the records of a block."""

    def small(piece: int, cut_bytes: int, block: int) -> None:
        monkeypatch.setattr("zhllm.text.read.cut.PIECE_BYTES", piece)
        monkeypatch.setattr("zhllm.text.read.cut.READ_BYTES", max(piece // 3, 1))
        monkeypatch.setattr("zhllm.stages._convert_files.CUT_BYTES", cut_bytes)
        monkeypatch.setattr("zhllm.stages._convert_files.PORTION_FILES", 1 + cut_bytes % 3)
        monkeypatch.setattr(_convert_work, "BLOCK_ITEMS", block)

    return small


SETTINGS = {"max_rejected_share": 0.5, "contradictions": "keep"}


def test_the_same_bytes_however_it_is_cut(much: Path, tmp_path: Path, cut: Callable[[int, int, int], None]) -> None:
    whole = run(much, tmp_path / "whole", **SETTINGS)
    for number, sizes in enumerate([(500, 1, 1), (3000, 1, 7), (100_000, 2000, 3)]):
        cut(*sizes)
        assert run(much, tmp_path / f"cut{number}", **SETTINGS) == whole
        assert bytes_of(tmp_path / f"cut{number}") == bytes_of(tmp_path / "whole")


def test_the_same_bytes_for_several_workers(much: Path, tmp_path: Path, cut: Callable[[int, int, int], None]) -> None:
    one = run(much, tmp_path / "one", **SETTINGS)
    cut(2000, 1, 1000)  # of the main process, which cuts
    assert run(much, tmp_path / "two", workers=2, **SETTINGS) == one
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")


def test_an_interrupted_run_goes_on_and_ends_the_same(
    much: Path, tmp_path: Path, cut: Callable[[int, int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(much, tmp_path / "whole", **SETTINGS)
    cut(2000, 1, 1000)
    done: list[str] = []
    convert_portion = _convert_work.convert_portion

    def some(work: _convert_work.Work) -> float:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(work.portion.key)
        return convert_portion(work)

    monkeypatch.setattr(_convert_work, "convert_portion", some)
    with pytest.raises(KeyboardInterrupt):
        run(much, tmp_path / "out", **SETTINGS)
    assert not (tmp_path / "out").exists()
    half = checkpoints_of(tmp_path / "out") / "parts" / f"{done[1]}.chats.jsonl"
    half.write_bytes(half.read_bytes()[:-5])  # as after a power failure: this part is made again
    again: list[str] = []
    monkeypatch.setattr(
        _convert_work, "convert_portion", lambda work: again.append(work.portion.key) or convert_portion(work)
    )
    assert run(much, tmp_path / "out", **SETTINGS) == whole
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert set(done) & set(again) == {done[1]}
    assert not checkpoints_of(tmp_path / "out").exists()


def test_every_record_has_one_outcome_and_the_first_of_equal_ones_stays(much: Path, tmp_path: Path) -> None:
    metrics = run(much, tmp_path / "out", **SETTINGS)
    # 100 + 10 + 80 + 30 + 2 records; one broken line and one row without an answer.
    assert (metrics["records_in"], metrics["rejected_records"], metrics["converted_records"]) == (222, 2, 220)
    chats, pairs = list(read_chats([tmp_path / "out"])), list(read_preferences([tmp_path / "out"]))
    assert (len(chats), len(pairs)) == (metrics["chats"], metrics["preferences"]) == (60 + 10 + 1, 18)
    assert metrics["duplicate_chats"] == 190 - len(chats)
    assert chats[0].id == "a.jsonl#1" and chats[7].id == "a.jsonl#9"
    assert [c.id for c in chats if c.messages[0]["content"].startswith("第7号")] == ["a.jsonl#68"]
    assert [c.source for c in chats].count("c.jsonl") == 0
    listed = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(e["file"], e["line"]) for e in listed] == [("a.jsonl", 8), ("e.csv", 3), ("说明.md", None)]


def test_shards_are_bounded(much: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(much, tmp_path / "whole", **SETTINGS)
    whole = (tmp_path / "whole" / "chats-00000.jsonl").read_bytes()
    for size in (1, 700, 5000):
        monkeypatch.setattr("zhllm.stages._convert_write.SHARD_BYTES", size)
        run(much, tmp_path / f"out{size}", **SETTINGS)
        shards = sorted((tmp_path / f"out{size}").glob("chats-*.jsonl"))
        assert b"".join(path.read_bytes() for path in shards) == whole
        lines = [path.read_bytes().splitlines() for path in shards]
        assert all(len(some) == 1 or path.stat().st_size <= size for some, path in zip(lines, shards, strict=True))
    assert len(list((tmp_path / "out1").glob("chats-*.jsonl"))) == 71


def answers(tmp_path: Path, policy: str) -> tuple[dict[str, Any], list[str]]:
    said = [(1, "每年。"), (1, " 每年！"), (2, "每月。"), (1, "每天。"), (2, "每月。"), (3, "+1"), (3, "-1")]
    records = [asked(number, answer) for number, answer in said]
    write_jsonl(tmp_path / "a.jsonl", records)
    metrics = run(tmp_path / "a.jsonl", tmp_path / policy, contradictions=policy)
    return metrics, [str(chat.messages[-1]["content"]) for chat in read_chats([tmp_path / policy])]


def test_different_answers_to_one_prompt(tmp_path: Path) -> None:
    metrics, kept = answers(tmp_path, "keep")
    assert kept == ["每年。", "每年！", "每月。", "每天。", "+1", "-1"]
    assert (metrics["duplicate_chats"], metrics["duplicate_prompts"], metrics["contradictions_chats"]) == (1, 3, 1)
    assert answers(tmp_path, "first")[1] == ["每年。", "每年！", "每月。", "+1", "-1"]
    metrics, kept = answers(tmp_path, "drop")
    assert kept == ["每月。", "+1", "-1"]
    assert metrics["contradicting_chats_dropped"] == 3
    report = json.loads((tmp_path / "drop" / "report.json").read_bytes())["contradictions"]["chats"]
    assert (report["prompts"], report["answers"], report["policy"]) == (1, 3, "drop")
    assert [one["place"] for one in report["first"][0]["answers"]] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:4"]


def test_a_prompt_is_one_whatever_its_punctuation_space_and_case(tmp_path: Path) -> None:
    asked_so = [("首都是哪里？", "北京。"), ("首都 是哪里?", "上海。"), ("3-2等于几？", "1"), ("3+2等于几？", "5")]
    source = write_jsonl(tmp_path / "a.jsonl", [{"instruction": q, "output": a} for q, a in asked_so])
    metrics = run(source, tmp_path / "out", contradictions="first")
    assert (metrics["contradictions_chats"], metrics["contradicting_chats_dropped"], metrics["chats"]) == (1, 1, 3)


def test_preferences_that_contradict_each_other(tmp_path: Path) -> None:
    pairs = [("问", "甲。", "乙。"), ("问", "乙。", "甲。"), ("问", "甲。", "丙。"), ("他问", "甲。", "乙。")]
    records: list[dict[str, object]] = [dict(zip(("prompt", "chosen", "rejected"), p, strict=True)) for p in pairs]
    metrics = run(write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out", contradictions="drop")
    assert (metrics["preferences"], metrics["chats"], metrics["contradictions_preferences"]) == (2, 0, 1)
    assert not list((tmp_path / "out").glob("chats-*"))


def test_what_convert_wrote_is_a_source(much: Path, tmp_path: Path) -> None:
    first = run(much, tmp_path / "first", **SETTINGS)
    again = run(tmp_path / "first", tmp_path / "again")
    assert [again[k] for k in ("chats", "preferences", "rejected_records", "files_skipped")] == [
        first["chats"], first["preferences"], 0, 0,
    ]  # fmt: skip
    assert [c.messages for c in read_chats([tmp_path / "again"])] == [
        c.messages for c in read_chats([tmp_path / "first"])
    ]


def test_findings_are_counted_dropped_and_shown(tmp_path: Path) -> None:
    records = [asked(1), asked(2, "……"), asked(3, "请拨打13812345678联系。"), asked(4, "nan")]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    metrics = run(path, tmp_path / "out")
    assert (metrics["chats"], metrics["dropped_chats"], metrics["masked"]) == (2, 2, {"mobile": 1})
    assert metrics["findings"]["chats"] == {"empty-turn": 2, "pii": 1}
    assert [c.messages[-1]["content"] for c in read_chats([tmp_path / "out"])][1] == "请拨打[手机号]联系。"
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    cases = report["findings"]["empty-turn"]["cases"]
    assert [case["place"] for case in cases] == ["a.jsonl:2", "a.jsonl:4"]
    assert "13812345678" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    kept = run(path, tmp_path / "kept", keep=("empty-turn",), drop=("pii",), keep_pii=("all",))
    assert (kept["chats"], kept["dropped_chats"], kept["masked"]) == (4, 0, {})
    assert run(path, tmp_path / "less", drop=("pii",))["chats"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": ("plceholder",)}, 'drop: "plceholder" is not a finding. Did you mean "placeholder"'),
        ({"keep": ("pi",)}, 'keep: "pi" is not a finding. Did you mean "pii"'),
        ({"keep": ("pii",), "drop": ("pii",)}, "both name pii"),
        ({"column": ("问题",)}, '"问题" is not role=name'),
        ({"column": ("frage=问题",)}, '"frage" is not a role of a column'),
        ({"drop": ("too-long",)}, "needs tokenizer"),
        ({"creator": "公司"}, "goes with identity"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    from zhllm.config import make

    with pytest.raises(ConfigError, match=message):
        make(convert.ConvertConfig, {"source": (tmp_path,), **settings})


def test_a_part_that_changes_on_disk_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [asked(n) for n in range(9)])
    parts = checkpoints_of(tmp_path / "out") / "parts"

    def spoilt(config: Any, found: Any, fates: Any) -> None:
        lines = next(parts.glob("*.chats.jsonl"))
        lines.write_bytes(lines.read_bytes().replace("每8天".encode(), "每7天".encode()))

    monkeypatch.setattr(convert, "_check_kept", spoilt)
    with pytest.raises(ProofError, match=r"the record of a\.jsonl:9 is not as it was written: it says something else"):
        run(path, tmp_path / "out")


def test_contaminated_records_go(tmp_path: Path) -> None:
    question = "根据《中华人民共和国劳动合同法》的规定，劳动合同期限三个月以上不满一年的，试用期最长为多久？"
    write_jsonl(tmp_path / "exam.jsonl", [{"question": question, "answer": "一个月"}])
    records: list[dict[str, object]] = [{"instruction": question, "output": "不得超过一个月。"}, asked(1)]
    metrics = run(write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out", against=(tmp_path / "exam.jsonl",))
    assert (metrics["chats"], metrics["findings"]["chats"]) == (1, {"contaminated": 1})
    with pytest.raises(DataError, match="--against .*holds no text of at least"):
        run(tmp_path / "a.jsonl", tmp_path / "no", against=(write_jsonl(tmp_path / "b.jsonl", [{"q": "短"}]),))


def test_an_identity_of_its_own(tmp_path: Path) -> None:
    claims: list[dict[str, object]] = [{"instruction": "你是谁？", "output": "我是ChatGPT，由OpenAI开发。"}, asked(1)]
    path = write_jsonl(tmp_path / "a.jsonl", claims)
    metrics = run(path, tmp_path / "out", identity="小智", creator="示例公司", identity_chats=20)
    chats = list(read_chats([tmp_path / "out"]))
    assert chats[0].messages[-1]["content"] == "我是小智，由示例公司开发。"
    assert (metrics["identity_chats"], len(chats), metrics["records_in"]) == (20, metrics["chats"], 2)
    own = [chat for chat in chats if chat.source == "identity"]
    assert len(own) == metrics["chats"] - 2 > 15
    assert metrics["findings"]["chats"] == {"identity": 1}
    assert run(path, tmp_path / "none", identity="小智", identity_chats=0)["chats"] == 2


def test_lengths_in_tokens_and_what_sft_would_cut(tmp_path: Path) -> None:
    history = [[f"第{n}问" * 9, f"第{n}答。" * 9] for n in range(4)]
    records: list[dict[str, object]] = [asked(1), asked(2) | {"history": history}, asked(3, "长。" * 400)]
    path, tokenizer = write_jsonl(tmp_path / "a.jsonl", records), byte_level_tokenizer(tmp_path / "llama3")
    settings = {"tokenizer": tokenizer, "prompt_format": "llama3", "seq_len": 400}
    metrics = run(path, tmp_path / "out", **settings)
    assert metrics["findings"]["chats"] == {"too-long": 2}
    assert (metrics["chats_over_seq_len"], metrics["chats_too_long"], metrics["cut_turns"]) == (2, 1, 2)
    assert run(path, tmp_path / "less", drop=("too-long",), **settings)["chats"] == 1
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["tokens"]["total"] == metrics["tokens"] and sum(report["tokens"]["counts"]) == 3
