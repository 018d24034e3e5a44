"""Mistakes given to the stages from train-vocab to export: one line, the right exit code, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from test_cli import run
from toys import Toy, random_model, stage, write_jsonl

from zhllm import manifest
from zhllm.vocab.sentencepiece_model import USER_DEFINED, load

Make = Callable[[Path], object]


def text(name: str, content: str | bytes) -> Make:
    def make(folder: Path) -> object:
        return (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def base(**settings: object) -> Make:
    """A copy of the toy base's tokenizer.model with something of it changed."""

    def make(folder: Path) -> object:
        model = load(folder / "toy" / "tokenizer")
        for name, value in settings.items():
            spec = model.normalizer_spec if name == "remove_extra_whitespaces" else model.trainer_spec
            if name == "user_defined":
                model.pieces[300].type = USER_DEFINED
            else:
                setattr(spec, name, value)
        return (folder / "base.model").write_bytes(model.SerializeToString())

    return make


def with_added_token(folder: Path) -> None:
    shutil.copytree(folder / "toy" / "tokenizer", folder / "base", ignore=shutil.ignore_patterns(manifest.NAME))
    content = json.loads((folder / "base" / "tokenizer.json").read_text())
    last = {"id": len(content["model"]["vocab"]), "content": "<|im_start|>", "special": False}
    token = {**content["added_tokens"][0], **last}
    content["added_tokens"].append(token)
    (folder / "base" / "tokenizer.json").write_text(json.dumps(content))


def model(change: Callable[[Path], object], tokenizer: str = "tokenizer") -> Make:
    def make(folder: Path) -> object:
        random_model(folder / "model", folder / "toy" / tokenizer)
        return change(folder / "model")

    return make


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without(name: str) -> Callable[[Path], None]:
    def drop(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return drop


def only_bin(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def of_another_width(folder: Path) -> None:
    """An adapter as anyone's: no manifest, matrices for a model of hidden size 32."""
    shutil.copytree(folder / "toy" / "resized", folder / "model")
    adapter = folder / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    import torch

    save_file({f"{name}A.weight": torch.ones(2, 32), f"{name}B.weight": torch.ones(32, 2)},
              adapter / "adapter_model.safetensors")  # fmt: skip


def of_another_base(folder: Path) -> None:
    toy = folder / "toy"
    settings = {"steps": 2, "rows_per_step": 2, "lora_rank": 2, "learning_rate": 1e-3}
    stage("pretrain", folder / "adapter", model=toy / "resized", data=toy / "packed", **settings)
    shutil.copytree(toy / "resized", folder / "model")
    (folder / "model" / "config.json").write_text((folder / "model" / "config.json").read_text() + " ")
    (folder / "model" / manifest.NAME).unlink()


EXTEND = "extend-vocab --base toy/tokenizer --pieces pieces.tsv"
EXTEND_BASE = "extend-vocab --base {} --pieces toy/pieces"
RESIZE = "resize --model model --tokenizer toy/extended"
EXPORT = "export --model model --type f16"
MERGE = "merge --model model --adapter adapter"
BAD: dict[str, tuple[Make, str, int, str]] = {
    "a text as base": (text("a.txt", "文" * 99), EXTEND_BASE.format("a.txt"), 3, "a.txt: is not a SentencePiece mod"),
    "an image as base": (text("a.png", b"\x89PNG\r\n\x1a\n" * 9), EXTEND_BASE.format("a.png"), 3, "is not a SentenceP"),
    "an empty base": (text("a.model", b""), EXTEND_BASE.format("a.model"), 3, "is not a SentencePiece model (it holds"),
    "a folder without tokenizer.model": (
        lambda f: (f / "base").mkdir(), EXTEND_BASE.format("base"), 3,
        "has no tokenizer.model and no tokenizer.json (no to"
    ),
    "a tokenizer.json without a model": (
        lambda f: text("tokenizer.json", "{}")((f / "base").mkdir() or f / "base"),
        EXTEND_BASE.format("base"), 3, "holds a None model; only BPE tokenizers can be extended.",
    ),
    "a unigram base": (base(model_type=1), EXTEND_BASE.format("base.model"), 3, "is not a BPE model (type 1); a base"),
    "a base that strips": (
        base(remove_extra_whitespaces=True), EXTEND_BASE.format("base.model"), 3, "changes the text (remove_extra_wh"
    ),
    "a base with user-defined pieces": (
        base(user_defined=True), EXTEND_BASE.format("base.model"), 3, "the base holds 1 user-defined pieces (such as"
    ),
    "a base with added tokens": (
        with_added_token, EXTEND_BASE.format("base"), 3, "has 1 added tokens behind its 420 pieces, e.g. '<|im_start|"
    ),
    "no Han in the corpus": (
        lambda f: write_jsonl(f / "en.jsonl", [{"text": "English only, カナ and 한글."}]),
        "train-vocab --corpus en.jsonl --size 99", 3, "no Han character is seen 10 times or more in the corpus",
    ),
    "no pieces at all": (text("pieces.tsv", ""), EXTEND, 3, "none of the 0 pieces can be added: no pieces given."),
    "only a header": (text("pieces.tsv", "piece\tcount\n"), EXTEND, 3, "none of the 0 pieces can be added"),
    "an empty piece": (text("pieces.tsv", "piece\tcount\n人\t9\n\t8\n"), EXTEND, 3, "pieces.tsv:3: '' is not a piece."),
    "a piece with a space": (text("pieces.tsv", "人 工\t9\n"), EXTEND, 3, "pieces.tsv:1: '人 工' is not a piece."),
    "only Latin pieces": (
        text("pieces.tsv", "ing\nAI\n中a\n"), EXTEND, 3, "none of the 3 pieces can be added: 3 not Han (such as 'ing')"
    ),
    "pieces in GBK": (text("pieces.tsv", "人工\t9".encode("gbk")), EXTEND, 3, "pieces.tsv: is not UTF-8 text (byte 0)"),
    "a folder without pieces": (
        lambda f: (f / "pieces.tsv").mkdir(), EXTEND, 3, "holds no pieces.tsv. Give a train-vocab folder or a tsv file."
    ),
    "a tokenizer of 32016": (
        lambda f: None, "train-tokenizer --corpus toy/clean-en --size 32016", 3, "size 32016 is one that llama.cpp's"
    ),
    "a tokenizer of 49152": (lambda f: None, "train-tokenizer --corpus toy/clean-en --size 49152", 3, "use 49151"),
    "resize: truncated": (model(truncated), RESIZE, 3, "model.safetensors: is cut off: "),
    "resize: a .bin that is none": (model(only_bin), RESIZE, 3, "is cut off, or is not a file that torch.save"),
    "resize: no embeddings": (
        model(without("model.embed_tokens.weight")), RESIZE, 3, "model: has no tensor model.embed_tokens.weight"
    ),
    "resize: no head": (model(without("lm_head.weight")), RESIZE, 3, "model: has no tensor lm_head.weight"),
    "resize: not a model": (lambda f: (f / "model").mkdir(), RESIZE, 3, "is not a model directory"),
    "resize: config.json is no JSON": (model(text("config.json", "{")), RESIZE, 3, "is not a model directory: config"),
    "export: truncated": (model(truncated), EXPORT, 3, "model.safetensors: is cut off: "),
    "export: a .bin that is none": (model(only_bin), EXPORT, 3, "is cut off, or is not a file that torch.save"),
    "export: a missing tensor": (
        model(without("model.layers.1.mlp.up_proj.weight")), EXPORT, 3, "1 weights are missing or misshapen, e.g. ['mod"
    ),
    "merge: an adapter of another base": (of_another_base, MERGE, 3, "adapter: was trained on another model ("),
    "evaluate: an adapter of another base": (
        of_another_base, "evaluate --model model --adapter adapter --task bits --data toy/clean-zh", 3,
        "adapter: was trained on another model (",
    ),
    "merge: an adapter of another shape": (of_another_width, MERGE, 3, "is 32 x 32, the base model has (64, 64)."),
    "merge: no adapter": (
        model(lambda f: (f.parent / "adapter").mkdir()), MERGE, 3, "adapter: is not an adapter: it has neither"
    ),
    "merge: nothing to merge": (lambda f: None, "merge --model toy/resized", 2, "--adapter"),
    "a size of nothing": (lambda f: None, "train-vocab --corpus toy/clean-zh --size 0", 2, "size: Input should be g"),
    "at most no pieces": (lambda f: None, "extend-vocab --base toy/tokenizer --pieces toy/pieces --max-pieces 0", 2,
                          "max_pieces: Input should be greater than 0 (got 0)"),
    "an unknown type": (lambda f: None, "export --model toy/resized --type q3_k", 2, "'q3_k' is not one of"),
    "a name with a path": (lambda f: None, "export --model toy/resized --name ../x", 2, "name: String should match"),
    "an unknown model size": (
        lambda f: None, "init-model --tokenizer toy/tokenizer --size 7b", 2, "'7b' is not one of"
    ),
    "a path that is not there": (lambda f: None, RESIZE, 2, "--model model: there is no such file or folder."),
}  # fmt: skip


@pytest.mark.parametrize("command", ["chat model --once 你好", "serve model --port 0"])
def test_an_adapter_of_another_base_answers_nobody(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "toy").symlink_to(toy.root)
    monkeypatch.chdir(tmp_path)
    of_another_base(tmp_path)
    code, shown, err = run([*command.split(), "--adapter", "a=adapter", "--prompt-format", "plain"], capsys)
    assert (code, shown) == (3, "")
    assert "error: adapter: was trained on another model (" in err.splitlines()[-1]


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_line_and_an_exit_code(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    make, command, exit_code, message = BAD[mistake]
    (tmp_path / "toy").symlink_to(toy.root)
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    capsys.readouterr()
    code, shown, err = run([*command.split(), "-o", "out"], capsys)
    assert (code, shown) == (exit_code, "")
    assert message in err
    if exit_code == 3:
        lines = err.splitlines()  # what went before may have left a note of its own
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert not (tmp_path / "out").exists()


def test_the_real_unigram_model_is_not_a_base(
    real_data: Path, toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = real_data / "tokenizers" / "chinese_sp_20k.model"
    args = ["extend-vocab", "--base", str(given), "--pieces", str(toy.pieces), "-o", str(tmp_path / "out")]
    code, _, err = run(args, capsys)
    assert code == 3 and "chinese_sp_20k.model: is not a BPE model (type 1)" in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pieces_that_cannot_be_added_are_counted_beside_those_that_can(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["piece\tcount", "龘\t9", "龘\t9", "ing\t5", "中a\t5", "，\t3", "靐\t1", "龘靐\t1", "甲乙丙\t1"]
    pieces = tmp_path / "pieces.tsv"
    pieces.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out"
    code, _, err = run(["extend-vocab", "--base", str(toy.tokenizer), "--pieces", str(pieces), "-o", str(out)], capsys)
    assert code == 0
    metrics = manifest.read(out).metrics  # type: ignore[union-attr]
    assert metrics["left_out"] == {"twice": 1, "not Han": 2, "in the base": 1}
    assert metrics["added_pieces"] == 8 and metrics["joins"] == 4 and "left out, not Han: 2 (ing 中a)" in err
