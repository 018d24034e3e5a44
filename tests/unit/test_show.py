"""`show` in the terminal: records chosen in bounded memory, chats token by token, folders, and what cannot be read."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import pytest
import zstandard
from conftest import ROOT
from test_cli import run
from toys import LLAMA3_SPECIALS, Toy, byte_level_tokenizer, stage, write_jsonl

from zhllm.text.prompt_format import FORMATS
from zhllm.tools._show_records import Query, chosen, reservoir
from zhllm.tools._show_tokens import ChatTokens, Place, Speller
from zhllm.tools._show_view import Facts, Span, Table, Terminal, Text, Tokens, Words, width_of
from zhllm.train.chats import Fitting, fit
from zhllm.train.pack.store import TokenSet
from zhllm.vocab.tokenizer import Tokenizer

CHAT = [
    {"role": "user", "content": "样品在哪里？"}, {"role": "assistant", "content": "在实验室。"},
    {"role": "user", "content": "谢谢👍🏽，𠮷野家"}, {"role": "assistant", "content": "不客气👩‍👩‍👧‍👦。"},
]  # fmt: skip


def show(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    code, out, err = run(["show", *map(str, args)], capsys)
    assert code == 0, err
    return out


def tokens_of(toy: Toy, messages: list[dict[str, Any]], seq_len: int | None, name: str = "llama2") -> list[Any]:
    return list(ChatTokens(toy.extended, name, seq_len).blocks(messages))


def spans_of(blocks: list[Any]) -> list[Span]:
    return [span for block in blocks if isinstance(block, Tokens) for span in block.spans]


@pytest.mark.parametrize("name", ["llama2", "plain"])
def test_what_is_learnt_is_marked_and_the_tokens_are_the_chats(toy: Toy, name: str) -> None:
    spans = spans_of(tokens_of(toy, CHAT, None, name))
    tokenizer = Tokenizer(toy.extended)
    ids = [int(i) for span in spans for i in span.hint.split()[1:]]
    assert ids == tokenizer.encode_prompt(FORMATS[name].render(CHAT))
    learnt = "".join(span.text for span in spans if span.kind == "learnt")
    assert [answer.strip() for answer in learnt.split("</s>")] == ["在实验室。", "不客气👩‍👩‍👧‍👦。", ""]
    assert [span.text for span in spans if span.is_end] == ["</s>", "</s>"]
    assert {"👍", "🏽", "𠮷", "\u200d"} <= {span.text for span in spans if span.tokens in (3, 4)}


@pytest.mark.parametrize("seq_len", [30, 60, 90, 120, 500])
def test_what_is_not_cut_is_what_sft_would_learn(toy: Toy, seq_len: int) -> None:
    system = [{"role": "system", "content": "你是助手。"}]
    fitted = fit([*system, *CHAT], FORMATS["llama2"], Tokenizer(toy.extended), seq_len, Fitting())
    blocks = tokens_of(toy, [*system, *CHAT], seq_len)
    kept = [span for span in spans_of(blocks) if span.kind != "cut"]
    said = " ".join(block.text for block in blocks if isinstance(block, Words))
    if fitted is None:
        assert not kept and "left out: " in said and "--seq-len 30" in said
        return
    assert [int(i) for span in kept for i in span.hint.split()[1:]] == fitted.ids
    assert sum(span.tokens for span in kept if span.kind == "learnt") == sum(fitted.learn)
    assert kept[-1].is_end and f"{sum(fitted.learn)} learnt" in said
    lost = [span for span in spans_of(blocks) if span.kind == "cut"]
    assert ("cut: " in said) == bool(lost) == (seq_len < 500)


def test_what_stands_behind_the_last_answer_to_learn_is_cut(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.tools import _show_tokens

    def until_the_first_answer(messages: Any, *args: Any) -> Any:
        return fit(messages[:2], *args)

    monkeypatch.setattr(_show_tokens, "fit", until_the_first_answer)
    spans = spans_of(tokens_of(toy, [*CHAT[:3], {**CHAT[3], "weight": 0}], None))
    kept, cut = ([s for s in spans if (s.kind == "cut") == is_cut] for is_cut in (False, True))
    assert spans == kept + cut and kept[-1].is_end and "不客气" in "".join(s.text for s in cut)


def test_an_end_token_that_is_lost_is_said(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.tools import _show_tokens
    from zhllm.train.chats import TokenChat

    def losing(*args: Any) -> TokenChat:
        whole = fit(*args)
        assert whole is not None
        return TokenChat(whole.ids[:-1], whole.learn[:-1])

    monkeypatch.setattr(_show_tokens, "fit", losing)
    said = [b.text for b in tokens_of(toy, CHAT, 500) if isinstance(b, Words) and b.is_alarm]
    assert said == ["the last answer that is learnt has no end token: the model would not stop"]


def test_marks_say_without_colour_what_colours_say(toy: Toy) -> None:
    spans = [Span("读"), Span("学", "learnt"), Span("止", "learnt", is_end=True), Span("旁", "context"),
             Span("剪", "cut"), Span("字", "", "", 3), Span("\n"), Span("a b", starts_document=True)]  # fmt: skip
    plain = list(Terminal(False).lines([Tokens("x", spans)]))
    assert plain == ["x: 读·{+学·止■+}·{0旁0}·[-剪-]·字(3)·⏎\n¶a␣b"]
    coloured = "".join(Terminal(True).lines([Tokens("x", spans)]))
    assert "\x1b[32m\x1b[1m学\x1b[0m·" in coloured and "{+" not in coloured
    assert click.unstyle(coloured) == "x: 读·学·止■·旁·剪·字(3)·⏎\n¶a␣b"
    assert "".join(Terminal(False, "ascii").lines([Tokens("x", spans[2:4])])) == "x: {+止<END>+}|{0旁0}"


def test_columns_stand_under_each_other_and_nothing_escapes() -> None:
    lines = list(
        Terminal(False).lines([Table(["词", "n"], [["实验室", 1], ["ab", 20000]]), Facts([("x\x1b[31m", 1.5)])])
    )
    assert {width_of(line[: line.rindex(" ")]) for line in lines[:3]} == {width_of("  实验室 ")}
    assert lines[3] == "  x[U+001B][31m  1.5"
    assert list(Terminal(False).lines([Text("t", (Span("\x1b[2J甲"),))])) == ["t: [U+001B][2J甲"]


def test_bytes_of_a_byte_level_tokenizer_are_characters(tmp_path: Path) -> None:
    tokenizer = Tokenizer(byte_level_tokenizer(tmp_path / "bytes", LLAMA3_SPECIALS))
    text = "样𠮷👍🏽 a\n" + LLAMA3_SPECIALS[4]
    spans = Speller(tokenizer).spans([Place(i) for i in tokenizer.encode_prompt(text)])
    assert "".join(span.text for span in spans) == text and all("\ufffd" not in span.text for span in spans)
    assert any(span.tokens > 1 for span in spans)
    half = tokenizer.encode_prompt("𠮷")[:1]
    assert Speller(tokenizer).spans([Place(i) for i in half])[0].text.startswith("\\x")


def test_the_format_goes_with_the_tokenizer_or_is_asked_for(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(["show", str(toy.chats), "--tokenizer", str(toy.extended)], capsys)
    assert code == 2 and err.count("\n") == 1 and "has no chat template; give --prompt-format (llama2, " in err
    from zhllm.model.directory import copy_tokenizer, set_chat_template

    (made := tmp_path / "with").mkdir()
    copy_tokenizer(toy.extended, made)
    set_chat_template(made, FORMATS["plain"].jinja())
    out = show(capsys, toy.chats, "-n", 1, "--tokenizer", made)
    assert 'format "plain"' in out and out.count("end tokens learnt: 1") == 1
    set_chat_template(made, "{{ messages }}")
    code, _, err = run(["show", str(toy.chats), "--tokenizer", str(made)], capsys)
    assert code == 2 and "has a chat template of a format that zhllm does not know" in err
    code, _, err = run(["show", str(toy.chats), "--tokenizer", str(toy.extended), "--prompt-format", "x"], capsys)
    assert code == 2 and all(name in err for name in FORMATS)
    code, _, err = run(["show", str(toy.chats), "--seq-len", "9"], capsys)
    assert code == 2 and "need --tokenizer" in err


def test_chats_by_a_sentencepiece_model_alone(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("-n", 2, "--prompt-format", "llama2")
    whole = show(capsys, toy.chats, "--tokenizer", toy.extended, *asked)
    (tmp_path / "tokenizer.model").write_bytes((toy.extended / "tokenizer.model").read_bytes())
    for path in (tmp_path, tmp_path / "tokenizer.model"):
        assert show(capsys, toy.chats, "--tokenizer", path, *asked) == whole
    code, _, err = run(["show", str(toy.chats), "--tokenizer", str(tmp_path)], capsys)
    assert code == 2 and f"--tokenizer {tmp_path}: has no chat template; give --prompt-format" in err
    (ranks := tmp_path / "x.tiktoken").write_text("YQ== 0\n")
    code, _, err = run(["show", str(toy.chats), "--tokenizer", str(ranks), "--prompt-format", "llama2"], capsys)
    assert code == 3 and err.startswith("error: ") and err.count("\n") == 1


def test_a_chat_that_is_not_canonical_is_shown_with_why(toy: Toy, tmp_path: Path, capsys: Any) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", [{"messages": CHAT[1:]}, {"messages": CHAT}])
    out = show(capsys, path, "--tokenizer", toy.extended, "--prompt-format", "llama2")
    assert f"! {path}:1: is not a canonical chat: user and assistant do not take turns" in out
    assert out.count("end tokens learnt: 2") == 1


def test_answers_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = [{"role": "user", "content": "保修多久？"}]
    records: list[dict[str, object]] = [
        {"prompt": prompt, "chosen": "保修期是十二个月。", "rejected": "保修期是二十四个月左右。"},
        {"prompt": prompt, "chosen": None, "rejected": "不知道。"},
        {"prompt": prompt, "chosen": "同", "rejected": "同"},
    ]
    path = write_jsonl(tmp_path / "preferences-00000.jsonl", records)
    out = show(capsys, tmp_path)
    assert "chosen: 保修期是{+十二个月+}。\nrejected: 保修期是[-二十四个月左右-]。" in out
    assert "rejected (a label: bad): [-" not in out and "rejected (a label: bad): 不知道。" in out
    assert "! chosen and rejected are the same" in out
    long = "甲乙丙丁" * 20_000
    path.write_text(json.dumps({"prompt": prompt, "chosen": "头" + long + "尾", "rejected": "头" + long[::-1] + "尾"}))
    assert "chosen: 头{+甲乙" in show(capsys, path)


def test_records_are_chosen_by_a_seed_whatever_the_file(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": str(n), "text": f"第{n}行\u2028内"} for n in range(5000)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.zst").write_bytes(zstandard.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.zst").rename(tmp_path / "a.jsonl.zst")
    (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'{r["id"]},"{r["text"]}"\n' for r in rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet", row_group_size=700)

    def ids(name: str, query: Query) -> list[str]:
        return [placed.record["id"] for placed in chosen([tmp_path / name], query)]

    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv", "a.parquet"):
        assert ids(name, Query(3)) == ["0", "1", "2"]
        first, second = ids(name, Query(4, 1)), ids(name, Query(4, 2))
        assert first == ids(name, Query(4, 1)) != second and sorted(first, key=int) == first
        assert ids(name, Query(3, identity="4321")) == ["4321"]
        assert ids(name, Query(3, pattern=re.compile("第49+行"))) == ["49", "499", "4999"]
    both = [tmp_path / "a.parquet", tmp_path / "a.parquet"]
    assert len(list(chosen(both, Query(7, 3)))) == 7
    assert len(list(chosen(both, Query(20_000, 3)))) == 10_000


def test_every_item_is_as_likely_as_another() -> None:
    seen = Counter(item for seed in range(4000) for item in reservoir(range(20), 3, seed))
    # 600 each are expected, with a standard deviation of 23.
    assert set(seen) == set(range(20)) and all(abs(count - 600) < 115 for count in seen.values())
    assert reservoir(range(2), 5, 0) == [0, 1] and reservoir([], 5, 0) == []


def test_the_first_records_of_a_large_file_cost_nothing(tmp_path: Path) -> None:
    line = json.dumps({"id": "x", "text": "仪器" * 2000}).encode() + b"\n"
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.writelines(itertools.repeat(line, 5000))
    pl.DataFrame({"id": ["x"] * 20_000, "text": [str(n) * 900 for n in range(20_000)]}).write_parquet(
        tmp_path / "a.parquet", compression="uncompressed"
    )
    for name, query in (("a.jsonl", Query(3)), ("a.jsonl", Query(3, 1)), ("a.parquet", Query(3))):
        tracemalloc.start()
        assert len(list(chosen([tmp_path / name], query))) == 3
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000 < (tmp_path / name).stat().st_size, name


def test_rejects_by_reason_and_files_by_name(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"d{n}", "reason": ("duplicate", "too_short")[n % 2], "sample": "样"} for n in range(6)]
    pl.DataFrame(rows).write_parquet(tmp_path / "rejected-00000.parquet")
    pl.DataFrame([{"id": "t", "text": "文" * 9000}]).write_parquet(tmp_path / "train-00000.parquet")
    out = show(capsys, tmp_path, "--reason", "short")
    assert re.findall("id: (.*)", out) == ["d1", "d3", "d5"] and "train-" not in out
    assert "text: " not in show(capsys, tmp_path, "--file", "rejected-*")
    out = show(capsys, tmp_path, "--file", "train-*")
    assert "… 5,000 more characters (--chars 0 shows all)" in out
    assert "文" * 9000 in show(capsys, tmp_path, "--chars", "0")
    lines = show(capsys, tmp_path, "--json", "-n", "1").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["d0", "t"]


def test_folders_say_what_they_are(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(r"piece +count\n +一 +\d+", show(capsys, toy.pieces, "-n", 2))
    shown = show(capsys, toy.extended)
    ids = Tokenizer(toy.extended).vocab_size
    assert re.search(rf"ids +{ids}\n", shown) and "added pieces (" in shown and re.search(r"2 +</s> +eos", shown)
    shown = show(capsys, toy.base)
    assert "model.layers.*.self_attn.q_proj.weight" in shown and re.search(r"hidden_size +\d+", shown)
    for out in (show(capsys, toy.packed, "-n", 2, "--tokenizer", toy.resized), show(capsys, toy.packed, "-n", 2)):
        assert "begins with a document" in out and "¶" in out


def test_packed_rows_are_those_of_training(toy: Toy) -> None:
    from zhllm.tools._show_tokens import packed_blocks
    from zhllm.train.pack.info import read_info

    blocks = list(packed_blocks(toy.packed, toy.resized, 10_000, None))
    rows = [block.spans for block in blocks if isinstance(block, Tokens)]
    info = read_info(toy.packed)
    sets = [TokenSet(toy.packed, name, info) for name in info.sets]
    assert len(rows) == sum(map(len, sets)) and sum(counts.docs for counts in info.sets.values()) == sum(
        span.starts_document for row in rows for span in row
    )
    wanted = [one.row(i)[0] for one in sets for i in range(len(one))]
    for row, ids in zip(rows, wanted, strict=True):
        shown = [int(i) for span in row if span.kind != "pad" for i in span.hint.split()[1:]]
        padding = sum(int(re.sub(r"\D", "", span.text)) for span in row if span.kind == "pad")
        assert np.array_equal(shown, ids[: len(shown)]) and len(shown) + padding == len(ids)


def test_a_manifest_tells_from_what_a_folder_was_made(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = show(capsys, toy.resized, "--manifest")
    assert re.search(r"stage +resize", shown) and re.search(r"\u3000+corpus +\S+ +clean +\w{12}  as it was read", shown)
    assert "no stage's folder: not compared" in shown and "see above" in shown
    assert show(capsys, toy.resized, "--manifest", "--json") == (toy.resized / "manifest.json").read_text()
    made = stage("collect", tmp_path / "made", source=[toy.root / "zh.jsonl"])
    (made / "documents-00000.parquet").unlink()
    assert "! 1 of 2 files are gone or changed" in show(capsys, made, "--manifest")
    (made / "manifest.json").write_text('{"key": {}, "files": {}, "bytes": {}, "metrics": {}, "made_by": {}}')
    code, _, err = run(["show", str(made), "--manifest"], capsys)
    assert code == 3 and "is damaged" in err and err.count("\n") == 1


def test_rows_are_not_read_with_another_tokenizer(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["show", str(toy.packed), "--tokenizer", str(toy.tokenizer)], capsys)
    assert code == 3 and "is not the tokenizer that" in err and err.count("\n") == 1


def test_metrics_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": n, "loss": 10 / n, "valid_loss": None} for n in range(1, 100)])
    out = show(capsys, tmp_path)
    assert "loss: first 10, last 0.101, lowest 0.101 at step 99" in out and "every 5 of 99" in out


def test_a_folder_of_sources_is_shown_as_it_will_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "问", "output": "答"}], ensure_ascii=False))
    for name in "乙丙":
        (tmp_path / f"{name}.txt").write_bytes(f"{name}是文档。".encode("gb18030"))
    write_jsonl(tmp_path / "c.jsonl", [{"role": 1}])
    (tmp_path / "c.jsonl").rename(tmp_path / "c.JSONL")
    out = show(capsys, tmp_path, "-n", 5)
    assert "instruction: 问\noutput: 答" in out and "*.txt (2 files)" in out and "text: 丙是文档。" in out
    assert "role: 1" in out
    assert show(capsys, tmp_path / "乙.txt").count("text: 乙是文档。") == 1


def test_a_template_or_an_extension_that_is_damaged_is_one_line(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from zhllm.model.directory import copy_tokenizer

    for name, content, message in (
        ("chat_template.jinja", b"\xbc\xff", "chat_template.jinja: is not UTF-8 text"),
        ("extension.json", b"{}", "extension.json: is damaged: base_vocab_size is None"),
        ("tokenizer.json", b"{}", "tokenizer.json: cannot be read"),
    ):
        (made := tmp_path / name.partition(".")[0]).mkdir()
        copy_tokenizer(toy.extended, made)
        (made / name).write_bytes(content)
        code, _, err = run(["show", str(made)], capsys)
        assert code == 3 and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{', "a.jsonl:2: is not JSON"),
        ("a.json", b'[{"a": 1}, {"a"', "a.json:1: is not JSON"),
        ("a.bin", b"x", "is not a kind of file that show reads"),
        ("folder/a.bin", b"x", "nothing to show: no shards, no jsonl, no model and no manifest.json (it holds a.bin;"),
        ("folder/.keep", b"", "nothing to show"),
        ("a.parquet", b"PAR1" + bytes(99), "is not a whole parquet file"),
        ("a.gguf", b"GGUF\3\0\0\0" + bytes(9), "is not a whole GGUF file"),
        ("a.gguf", b"", "is not a whole GGUF file"),
        ("a.safetensors", b"\xff" * 12, "is not a safetensors file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-20], "gzip data is damaged"),
        ("folder/config.json", b"{", "nothing to show"),
        ("manifest.json", b"{}", "is not a manifest that zhllm wrote"),
    ],
)
def test_show_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    code, _, err = run(["show", str(path.parent if "/" in name else path)], capsys)
    assert code == 3 and err.count("\n") == 1 and message in err


def test_a_filter_that_finds_nothing_and_a_bad_expression_are_errors(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(["show", str(toy.chats), "--id", "none"], capsys)
    assert code == 3 and "no record matches" in err and err.count("\n") == 1
    code, _, err = run(["show", str(toy.chats), "--grep", "("], capsys)
    assert code == 2 and "is not a regular expression" in err
    code, _, err = run(["show", str(toy.chats), "--file", "no-*"], capsys)
    assert code == 3 and "holds no file no-*" in err


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_will_do(toy: Toy, tmp_path: Path, encoding: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "𠮷", "messages": CHAT}])
    command = [sys.executable, "-m", "zhllm", "show", str(path), "--tokenizer", str(toy.extended)]
    done = subprocess.run(
        [*command, "--prompt-format", "llama2"], cwd=ROOT, capture_output=True,
        env={"PYTHONIOENCODING": encoding, "PATH": "", "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    out = done.stdout.decode(encoding)
    assert ("𠮷" in out) == (encoding == "utf-8") and ("\\U00020bb7" in out) == (encoding != "utf-8")
    assert ("。" in out) == (encoding != "latin-1") and "</s>" in out
    assert ("[-cut␣off-]" in out) == (encoding == "utf-8") and ("[-cut_off-]" in out) == (encoding != "utf-8")


def test_who_reads_only_the_beginning_is_no_error(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "字" * 5000} for _ in range(300)])
    command = f"{sys.executable} -m zhllm show {path} -n 300 | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, check=False)
    assert done.stderr == b"" and len(done.stdout.splitlines()) == 1


def test_colour_is_for_terminals_and_for_who_asks(
    toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (toy.chats, "-n", 1, "--tokenizer", toy.extended, "--prompt-format", "llama2")
    assert "\x1b[" not in show(capsys, *asked) and "\x1b[32m" in show(capsys, *asked, "--color", "always")

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    for variable, has_colour in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", variable)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stdout", screen := Screen())
        with pytest.raises(SystemExit):
            from zhllm.cli import main

            main(["show", *map(str, asked)])
        assert ("\x1b[32m" in screen.getvalue()) == has_colour and ("{+" in screen.getvalue()) != has_colour
