"""Input that cannot be used: one line that says what and where, the exit code, and no folder written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_cli import run
from toys import Toy, write_jsonl

from zhllm.model.directory import copy_tokenizer

USAGE, DATA, MISSING = 2, 3, 4
Case = Callable[[Toy, Path], list[object]]


def ungrown(toy: Toy, folder: Path) -> Path:
    """The base's weights under the extended tokenizer, as if resize had been left out."""
    shutil.copytree(toy.base, folder / "ungrown", ignore=shutil.ignore_patterns("manifest.json"))
    copy_tokenizer(toy.extended, folder / "ungrown")
    return folder / "ungrown"


def damaged(toy: Toy, folder: Path) -> Path:
    """A model directory whose weights are cut off."""
    shutil.copytree(toy.resized, folder / "damaged", ignore=shutil.ignore_patterns("manifest.json"))
    path = folder / "damaged" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    return folder / "damaged"


def without(toy: Toy, folder: Path, name: str) -> Path:
    """A model directory that lacks a file."""
    shutil.copytree(toy.resized, folder / "model", ignore=shutil.ignore_patterns("manifest.json", name))
    return folder / "model"


def text_file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def questions(folder: Path, *lines: str) -> Path:
    sound = json.dumps({"question": "几天？", "answer": "六天"}, ensure_ascii=False)
    return text_file(folder, "questions.jsonl", "\n".join([*lines, sound]))


def packed_long(toy: Toy, folder: Path) -> Path:
    """Rows of 300 tokens; the toy reads 256."""
    made = shutil.copytree(toy.packed, folder / "long", ignore=shutil.ignore_patterns("manifest.json"))
    info = json.loads((made / "pack.json").read_text())
    (made / "pack.json").write_text(json.dumps({**info, "seq_len": 300}))
    return made


CASES: dict[str, tuple[Case, int, str]] = {
    "data packed with another tokenizer": (
        lambda toy, _: ["pretrain", "--model", toy.base, "--data", toy.packed, "--trainable", "lora"],
        DATA, r"packed: was packed with another tokenizer \(571 ids\) than .*base has \(420 ids\)\. Run zhllm pack",
    ),
    "data that pack did not write": (
        lambda toy, _: ["pretrain", "--model", toy.resized, "--data", toy.zh],
        DATA, r"clean-zh: has no pack\.json; give a folder that zhllm pack wrote",
    ),
    "rows longer than the model reads": (
        lambda toy, folder: ["pretrain", "--model", toy.resized, "--data", packed_long(toy, folder)],
        DATA, r"long: rows of 300 tokens, but .*resized reads 256 at most",
    ),
    "chats in rows longer than the model reads": (
        lambda toy, _: ["sft", "--model", toy.resized, "--chats", toy.chats, "--seq-len", 300],
        DATA, r"--seq-len: rows of 300 tokens, but .*resized reads 256 at most",
    ),
    "new rows of a model that has none": (
        lambda toy, _: ["sft", "--model", toy.base, "--chats", toy.chats, "--seq-len", 128, "--trainable", "new-rows"],
        DATA, r"base: has no extension\.json, so it has no new rows to train",
    ),
    "a model without the new rows, pretrain": (
        lambda toy, folder: ["pretrain", "--model", ungrown(toy, folder), "--data", toy.packed],
        DATA, r"ungrown: the model has 420 embedding rows, the tokenizer .* 571 ids\. Run zhllm resize first",
    ),
    "a model without the new rows, sft": (
        lambda toy, folder: ["sft", "--model", ungrown(toy, folder), "--chats", toy.chats, "--seq-len", 128],
        DATA, r"ungrown: the model has 420 embedding rows",
    ),
    "a model without the new rows, evaluate": (
        lambda toy, folder: ["evaluate", "--model", ungrown(toy, folder), "--task", "bits", "--data", toy.zh],
        DATA, r"ungrown: the model has 420 embedding rows",
    ),
    "an empty file to pack": (
        lambda toy, folder: ["pack", "--corpus", text_file(folder, "a.jsonl", "\n"), "--tokenizer", toy.resized],
        DATA, r"a\.jsonl: (is empty\. Run zhllm collect|holds no documents)",
    ),
    "an empty folder to pack": (
        lambda toy, folder: ["pack", "--corpus", folder, "--tokenizer", toy.resized],
        DATA, r"holds no documents",
    ),
    "a tokenizer that is none": (
        lambda toy, _: ["pack", "--corpus", toy.zh, "--tokenizer", toy.chats],
        DATA, r"chats: has no tokenizer\.json\. Give a tokenizer or model directory",
    ),
    "a format whose end token the tokenizer lacks": (
        lambda toy, _: ["sft", "--model", toy.resized, "--chats", toy.chats, "--seq-len", 128,
                        "--prompt-format", "chatml"],
        DATA, r"""resized: the format "chatml" ends a turn with '<\|im_end\|>', which is not a special token""",
    ),
    "chats that are not canonical": (
        lambda toy, folder: ["sft", "--model", toy.resized, "--seq-len", 128, "--chats",
                             write_jsonl(folder / "c.jsonl", [{"instruction": "问", "output": "答"}])],
        DATA, r"c\.jsonl:1: is not a canonical record: there is no list of messages\. Run zhllm convert",
    ),
    "answers longer than a row": (
        lambda toy, _: ["sft", "--model", toy.resized, "--chats", toy.chats, "--seq-len", 9],
        DATA, r"of 60 chats have a last answer longer than --seq-len 9\. Raise --seq-len",
    ),
    "weights that are cut off": (
        lambda toy, folder: ["sft", "--model", damaged(toy, folder), "--chats", toy.chats, "--seq-len", 128],
        DATA, r"damaged: transformers cannot open it: ",
    ),
    "a model without weights": (
        lambda toy, folder: ["sft", "--model", without(toy, folder, "*.safetensors"), "--chats", toy.chats,
                             "--seq-len", 128],
        DATA, r"model: transformers cannot open it: ",
    ),
    "a model without its config": (
        lambda toy, folder: ["pretrain", "--model", without(toy, folder, "config.json"), "--data", toy.packed],
        DATA, r"model: is not a model directory: it has no config\.json",
    ),
    "a question without an answer": (
        lambda toy, folder: ["evaluate", "--model", toy.resized, "--task", "questions", "--prompt-format", "llama2",
                             "--data", questions(folder, '{"question": "几天？", "id": "q1"}')],
        DATA, r'questions\.jsonl:1: "answer" is missing \(keys: question, id\)',
    ),
    "questions for a model without a template": (
        lambda toy, folder: ["evaluate", "--model", toy.resized, "--task", "questions", "--data", questions(folder)],
        DATA, r"resized: has no chat template \(a base model\?\)\. Give --prompt-format",
    ),
    "bits of a GGUF file that is cut off": (
        lambda toy, folder: ["evaluate", "--model", text_file(folder, "x.gguf", "GGUF"), "--task", "bits",
                             "--data", toy.zh],
        DATA, r"x\.gguf: is not a whole GGUF file",
    ),
    "a GGUF file that is none": (
        lambda toy, folder: ["evaluate", "--model", text_file(folder, "x.gguf", "no model"), "--task", "questions",
                             "--data", questions(folder)],
        DATA, r"x\.gguf: is not a GGUF file",
    ),
    "another file as a model": (
        lambda toy, folder: ["evaluate", "--model", text_file(folder, "x.bin", "no model"), "--task", "questions",
                             "--data", questions(folder)],
        DATA, r"x\.bin: is neither a model directory nor a \.gguf file",
    ),
    "a device that is not there": (
        lambda toy, _: ["sft", "--model", toy.resized, "--chats", toy.chats, "--seq-len", 128, "--device", "cuda"],
        MISSING, r"--device cuda: this machine has no CUDA device",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "code", "message"), CASES.values(), ids=CASES)
def test_a_stage_says_what_is_wrong_in_one_line(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    case: Case, code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "given").mkdir()
    arguments = [*map(str, case(toy, tmp_path / "given")), "-o", str(tmp_path / "out")]
    assert_refused(arguments, code, message, capsys)
    assert not (tmp_path / "out").exists()
    left = tmp_path / "out.partial"
    assert not left.exists() or not [p for p in left.iterdir() if p.name == "manifest.json"]


def assert_refused(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = run(arguments, capsys)
    assert found == code, err
    *notes, last = err.splitlines()
    assert out == "" and last.startswith("error: ") and err.endswith("\n"), err
    assert all(note.startswith("turns are written in ") for note in notes), "sft says so before it reads anything"
    assert re.search(message, err), err


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (lambda toy, _: [toy.resized], r"resized: has no chat template \(a base model\?\)\. Give --prompt-format"),
        (lambda toy, _: [toy.resized, "--prompt-format", "llama3"], r'"llama3" ends a turn with'),
        (lambda toy, folder: [ungrown(toy, folder), "--prompt-format", "llama2"], r"has 420 embedding rows"),
        (lambda toy, folder: [text_file(folder, "x.gguf", "")], r"x\.gguf: is not a (whole )?GGUF file"),
        (lambda toy, folder: [text_file(folder, "x.gguf", "GGUF\3\0")], r"x\.gguf: is not a whole GGUF file"),
        (lambda toy, folder: [text_file(folder, "x.txt", "text")], "is neither a model directory nor a .gguf file"),
        (lambda toy, folder: [foreign(toy, folder)], r"its chat template is none of zhllm's formats \(llama2, "),
    ],
)
def test_chat_says_what_is_wrong_in_one_line(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Case, message: str
) -> None:
    arguments = ["chat", *map(str, case(toy, tmp_path)), "--once", "几天？"]
    assert_refused(arguments, DATA, message, capsys)


def foreign(toy: Toy, folder: Path) -> Path:
    """A model directory with a chat template of its own."""
    model = without(toy, folder, "none")
    text_file(model, "chat_template.jinja", "{{ messages[0].content }}")
    return model
