"""What merge is given wrong: one clear line and no folder. And what it imports from other tools."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli import run
from toys import Toy, random_model, stage

from zhllm import manifest
from zhllm.errors import DataError, StageError
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.shards import Shards
from zhllm.model.tensors import Checkpoint, Spec
from zhllm.vocab import sentencepiece_model
from zhllm.vocab.tokenizer import Tokenizer

GPT2 = "base_model.model.transformer.h.0.attn.c_attn"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def lora(folder: Path, width: int = 64, layers: int = 2, **extra: torch.Tensor) -> Path:
    """A LoRA adapter of q_proj as any tool writes it."""
    folder.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator, tensors = torch.Generator().manual_seed(0), dict[str, torch.Tensor]()
    for layer in range(layers):
        stem = Q0.replace("layers.0", f"layers.{layer}")
        tensors[f"{stem}.lora_A.weight"] = torch.randn(2, width, generator=generator)
        tensors[f"{stem}.lora_B.weight"] = torch.randn(width, 2, generator=generator) * 0.1
    save_file({**tensors, **extra}, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def changed(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """A change of the tensors in a file of the test's folder."""

    def apply(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return apply


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - 100)


def other_tokenizer(folder: Path) -> None:
    for path in (folder / "toy" / "tokenizer").glob("*token*"):
        shutil.copy(path, folder / "adapter")


def set_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{Q0}.lora_B.weight"][7, 1] = float("nan")


def bin_cut(folder: Path) -> None:
    torch.save(load_file(folder / "model" / "model.safetensors"), folder / "model" / "pytorch_model.bin")
    (folder / "model" / "model.safetensors").unlink()
    cut("model/pytorch_model.bin")(folder)


WEIGHTS, ADAPTER = "model/model.safetensors", "adapter/adapter_model.safetensors"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a truncated shard": (cut(WEIGHTS), "model.safetensors: is cut off: "),
    "a truncated .bin": (bin_cut, "pytorch_model.bin: is cut off, or is not a file that torch.save wrote"),
    "a truncated adapter": (cut(ADAPTER), "adapter_model.safetensors: is cut off: "),
    "a missing tensor of the base": (
        changed(WEIGHTS, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        "model.layers.1.mlp.up_proj.weight",
    ),
    "no embedding": (changed(WEIGHTS, lambda t: t.pop(EMBED)), f"has no tensor {EMBED}"),
    "a missing tensor of the adapter": (
        changed(ADAPTER, lambda t: [t.pop(n) for n in list(t) if "layers.1" in n]),
        "adapter_config.json and its tensors differ in 1 modules, e.g. ['model.layers.1.self_attn.q_proj.weight']",
    ),
    "an adapter of another width": (lambda f: lora(f / "adapter", 32), "is 32 x 32, the base model has (64, 64)."),
    "an adapter of a deeper model": (lambda f: lora(f / "adapter", 64, 3), "q_proj.weight is 64 x 64, the base model"),
    "an adapter of GPT-2": (
        changed(ADAPTER, lambda t: t.update({f"{GPT2}.lora_A.weight": torch.ones(2, 64),
                                             f"{GPT2}.lora_B.weight": torch.ones(192, 2)})),
        "its update of transformer.h.0.attn.c_attn.weight is 192 x 64, the base model has None",
    ),
    "NaN in an adapter": (changed(ADAPTER, set_nan), "lora_B.weight holds 1 values that are NaN or infinite."),
    "NaN in the base": (
        changed(WEIGHTS, lambda t: t["model.layers.0.self_attn.q_proj.weight"][3].fill_(float("nan"))),
        "merged, model.layers.0.self_attn.q_proj.weight would hold values from nan",
    ),
    "NaN where nothing is merged": (
        changed(WEIGHTS, lambda t: t["model.norm.weight"].fill_(float("nan"))),
        "the merged model's logits differ from base + adapters by nan",
    ),
    "a tokenizer of another model": (other_tokenizer, "was trained with another tokenizer (420 ids) than model has"),
    "a grown vocabulary without --import": (
        changed(ADAPTER, lambda t: t.update({f"base_model.model.{EMBED}": torch.ones(600, 64)})),
        "Give --import where another tool grew the vocabulary while it trained.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_line_and_no_folder(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    change, message = BAD[mistake]
    (tmp_path / "toy").symlink_to(toy.root)
    random_model(tmp_path / "model", toy.extended)
    lora(tmp_path / "adapter")
    change(tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    code, shown, err = run("merge --model model --adapter adapter -o out".split(), capsys)
    assert (code, shown) == (1 if "logits" in message else 3, "") and message in err
    assert err.count("\n") == 1 and err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_values_that_float16_cannot_hold_are_named(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    changed("model.safetensors", lambda t: t["model.layers.0.mlp.up_proj.weight"].mul_(1e6))(model)
    with pytest.raises(DataError, match=r"merged, model.layers.0.mlp.up_proj.weight would hold .* which F16 cannot"):
        stage("merge", tmp_path / "out", model=model, adapter=[lora(tmp_path / "a")], dtype="float16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("when", ["reserved", "written"])
def test_a_full_disk(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The space is asked for before the first tensor; a disk that cannot say so fails at a write."""

    def no_space(*_: Any) -> Any:
        raise OSError(errno.ENOSPC if when == "reserved" else errno.EOPNOTSUPP, "no")

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    if when == "written":
        monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(StageError, match="the disk is full .* Free some space"):
        stage(
            "merge", tmp_path / "out", model=random_model(tmp_path / "m", toy.extended), adapter=[lora(tmp_path / "a")]
        )
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_really_full(toy: Toy, tmp_path: Path) -> None:
    import resource

    model = random_model(tmp_path / "m", toy.extended)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(StageError, match=r"the disk is full \(.*model.safetensors"):
            stage("merge", tmp_path / "out", model=model, adapter=[lora(tmp_path / "a")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()


def test_a_digest_made_while_writing_is_of_the_bytes_and_ends_with_them(tmp_path: Path) -> None:
    specs = [Spec(name, "F32", (300, 1000)) for name in "abc"]
    data = {spec.name: os.urandom(spec.size_bytes) for spec in specs}
    with Shards(tmp_path, specs, 2_500_000) as shards, ThreadPoolExecutor() as pool:
        found = [pool.submit(shards.sha256, number) for number in range(2)]
        for name in "bca":
            shards.write(name, 0, data[name])
            shards.finish(name)
    paths = [tmp_path / name for name in shards.names]
    assert [each.result() for each in found] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    manifest.remember_digest(paths[0], "told")
    assert manifest.digest_file(paths[0]) == "told"
    with paths[0].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([data["b"][-1] ^ 1]))
    assert manifest.digest_file(paths[0]) == hashlib.sha256(paths[0].read_bytes()).hexdigest() != found[0].result()


def test_an_incomplete_base_gets_the_files_of_both_generations(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "m", toy.extended)
    for name in ("added_tokens.json", "special_tokens_map.json", "generation_config.json"):
        (model / name).unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text())
    del config["added_tokens_decoder"]
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "{{ messages }}"}))
    (model / "chat_template.jinja").unlink(missing_ok=True)
    (model / "LICENSE.txt").write_text("Llama 2 Community License")
    out = stage("merge", tmp_path / "out", model=model, adapter=[lora(tmp_path / "a")])
    assert {p.name for p in out.iterdir()} >= {
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json",
        "chat_template.jinja", "generation_config.json", "config.json", "README.md", "merge_report.json",
        "model.safetensors", "LICENSE.txt", "manifest.json",
    }  # fmt: skip
    told = json.loads((out / "tokenizer_config.json").read_text())
    assert {t["content"] for t in told["added_tokens_decoder"].values()} >= {"<s>", "</s>", "<unk>"}
    assert (out / "chat_template.jinja").read_text() == told["chat_template"] == "{{ messages }}"


def imported(folder: Path, rows: int, tokenizer: Path, base: Path, **files: Any) -> Path:
    """An adapter of another tool that grew the vocabulary: embeddings whole, its SentencePiece model beside."""
    generator = torch.Generator().manual_seed(3)
    whole = {f"base_model.model.{n}": torch.randn(rows, 64, generator=generator) * 0.1 for n in (EMBED, HEAD)}
    lora(folder, **whole)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["embed_tokens", "lm_head"]}))
    shutil.copy(tokenizer, folder / "tokenizer.model")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("form", ["LLaMA", "Alpaca, told", "Alpaca, not told", "padded", "pad without a row"])
def test_an_imported_adapter_brings_its_tokenizer(toy: Toy, tmp_path: Path, form: str) -> None:
    proto = sentencepiece_model.copy_of(sentencepiece_model.load(toy.extended))
    del proto.pieces[-1:]  # the toy's own pad
    proto.trainer_spec.pad_id, proto.trainer_spec.vocab_size = -1, len(proto.pieces)
    pieces = len(proto.pieces)
    base = random_model(tmp_path / "m", toy.tokenizer)
    told = {
        "Alpaca, told": {"added_tokens": {"[PAD]": pieces}},
        "pad without a row": {"added_tokens": {"[PAD]": pieces}},
    }
    rows = pieces + {"LLaMA": 0, "padded": 6, "pad without a row": 0}.get(form, 1)
    source = tmp_path / "chinese.model"
    source.write_bytes(proto.SerializeToString())
    path = imported(tmp_path / "a", rows, source, base, **told.get(form, {}))
    out = stage("merge", tmp_path / "out", model=base, adapter=[path], import_=True)
    assert json.loads((out / "config.json").read_text())["vocab_size"] == rows
    assert Checkpoint(out).specs[EMBED].shape == Checkpoint(out).specs[HEAD].shape == (rows, 64)
    tokenizer = Tokenizer(out)
    alpaca = form.startswith("Alpaca")
    assert tokenizer.vocab_size == pieces + alpaca
    assert tokenizer.special_id("pad") == (pieces if alpaca else None)
    proto = sentencepiece_model.load(out)
    assert len(proto.pieces) == pieces + alpaca
    assert tokenizer.encode_plain(["实验室的设备每天检查一次。"]) == Tokenizer(toy.extended).encode_plain(
        ["实验室的设备每天检查一次。"]
    )
    if alpaca:
        assert proto.pieces[pieces].piece == "[PAD]" and json.loads((out / "added_tokens.json").read_text()) == {
            "[PAD]": pieces
        }
    with pytest.raises(DataError, match="--import"):
        stage("merge", tmp_path / "not", model=base, adapter=[path])


def test_an_imported_model_with_fewer_rows_than_pieces_is_refused(toy: Toy, tmp_path: Path) -> None:
    base = random_model(tmp_path / "m", toy.tokenizer)
    with pytest.raises(DataError, match=r"has \d+ pieces, but the merged embedding has 420 rows"):
        stage("merge", tmp_path / "out", model=base, import_=True, tokenizer=toy.extended)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [55296, 55300])
def test_chinese_llama_2_as_its_makers_ship_it(real_data: Path, toy: Toy, tmp_path: Path, rows: int) -> None:
    """The real 55,296 pieces: pad is the piece 32000, which becomes a control token; engines that differ are told."""
    base = random_model(tmp_path / "m", toy.tokenizer, rows=rows, hidden_size=16, num_attention_heads=2)
    for path in base.glob("*token*"):
        path.unlink()
    shutil.copy(real_data / "tokenizers" / "chinese_llama2_55296.model", base / "tokenizer.model")
    (base / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))
    out = stage("merge", tmp_path / "out", model=base, import_=True)
    tokenizer = Tokenizer(out)
    assert (tokenizer.vocab_size, tokenizer.special_id("pad"), tokenizer.special_id("eos")) == (55296, 32000, 2)
    line = "人工智能模型的训练需要大量的中文语料。"
    theirs = sentencepiece_model.processor(sentencepiece_model.load(base)).encode(line)
    assert tokenizer.encode_plain([line])[0] == theirs
    report = json.loads((out / "merge_report.json").read_text())
    assert report["tokenizer_json_differs"] <= report["tokenizer_probe_texts"]
    assert json.loads((out / "generation_config.json").read_text())["pad_token_id"] == 32000


def test_flags_that_contradict_each_other(toy: Toy, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, message in (
        ([], "--adapter: give one adapter or more"),
        (["--adapter", str(lora(tmp_path / "a")), "--tokenizer", str(toy.extended)], "--tokenizer is for --import"),
        (["--adapter", str(tmp_path / "a"), "--max-shard-size", "much"], "'much' is no size; write 500MB or 5GB"),
    ):
        code, _, err = run(["merge", "--model", str(toy.resized), *words, "-o", str(tmp_path / "out")], capsys)
        assert code == 2 and message in err
