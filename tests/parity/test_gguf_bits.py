"""Bits of a GGUF file: its own weights and tokens give those of the directory it was made of, and llama.cpp's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated import byte_level_model, llama2_model, read_scores
from test_gguf import MODELS, needs_llama, older_keys
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.bits import bits_per_char
from zhllm.infer.gguf_forward import GgufForward
from zhllm.infer.llamacpp import LlamaServer
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import write_gguf
from zhllm.vocab.tokenizer import Tokenizer

TEXTS = ["实验室的样品每三天记录一次，𠮷野家負責。" * 30, "好", "", "The lab keeps 👩‍👩‍👧 cold.\n　　ＡＢＣ繁體"]
TEXTS += ["校准。" * 90]


def written(model: Path, path: Path, file_type: str) -> Path:
    write_gguf(open_source(model), path, file_type, None, Tokenizer(model).eos_id)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_read_back_from_its_file_alone(toy: Toy, tmp_path: Path, name: str) -> None:
    model = random_model(tmp_path / "model", toy.extended, **MODELS[name])
    if "older" in name:
        older_keys(model)
    file = GgufForward(written(model, tmp_path / "model.gguf", "f32"))
    tokenizer = Tokenizer(model)
    ids = [[1, *row][: file.context] for row in tokenizer.encode_plain([t for t in TEXTS if t])]
    short = ["".join(tokenizer.decode(row[1:])) for row in ids]
    found = [sum(row) for row in file.nats(ids)]
    again = tokenizer.encode_plain(short)
    same = [i for i, row in enumerate(again) if row == ids[i][1:]]  # those that were not cut in a character
    own = bits_per_char(model, short).nats_of
    assert len(same) >= 3 and [found[i] for i in same] == pytest.approx([own[i] for i in same], rel=1e-5)


@needs_llama
@pytest.mark.parametrize("tokenizer", ["llama-2", "byte-level"])
def test_bits_of_a_file_are_those_of_its_directory(tmp_path: Path, real_data: Path, tokenizer: str) -> None:
    """f32 to the last digits, f16 as it rounds, q4_k_m near and not the same; windows of long texts as well."""
    make: Any = (lambda out: llama2_model(out, real_data)) if tokenizer == "llama-2" else byte_level_model
    model = make(tmp_path / "made")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 160}))
    data = write_jsonl(tmp_path / "d.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(TEXTS) if t])
    settings: dict[str, Any] = {"task": ["bits"], "data": [data]}
    found: dict[str, dict[str, Any]] = {}
    for file_type in ("f32", "f16", "q4_k_m"):
        path = written(model, tmp_path / f"{file_type}.gguf", file_type)
        out = stage("evaluate", tmp_path / f"out-{file_type}", model=path, against=model, **settings)
        found[file_type] = read_scores(out)
    own = found["f32"]["against"]["bits"]
    for file_type, near in (("f32", 1e-6), ("f16", 2e-3), ("q4_k_m", 0.15)):
        of_file = found[file_type]["model"]["bits"]
        assert of_file["bits_per_char"] == pytest.approx(own["bits_per_char"], rel=near)
        assert of_file["bits_per_byte"] == pytest.approx(own["bits_per_byte"], rel=near)
        assert (of_file["chars"], of_file["tokens"]) == (own["chars"], own["tokens"])
    assert found["q4_k_m"]["model"]["bits"]["bits_per_char"] != pytest.approx(own["bits_per_char"], rel=1e-3)
    assert "multiplied in float32" in found["f32"]["notes"]["model"][0]
    assert not any("float32" in note for note in found["f32"]["notes"]["against"])


@needs_llama
@pytest.mark.parametrize("file_type", ["f16", "q8_0", "q4_k_m"])
def test_llama_cpp_says_the_same_of_every_token(toy: Toy, tmp_path: Path, file_type: str) -> None:
    """Rows of 256 values, so that every type is what its name says; llama.cpp rounds activations to 8 bits."""
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8}
    model = random_model(tmp_path / "model", toy.extended, **shape)
    path = written(model, tmp_path / "model.gguf", file_type)
    ids = [1, *Tokenizer(model).encode_plain(["样品每三天记录一次，由办公室登记。The lab."])[0]]
    (own,) = GgufForward(path).nats([ids])
    with LlamaServer(path, n_ctx=256, n_parallel=1, cache_prompt=True) as server:
        told = [server.logprobs(ids[:i], Tokenizer(model).vocab_size)[ids[i]] for i in range(1, len(ids))]
    assert own == pytest.approx([-value for value in told], abs=0.02 if file_type == "f16" else 0.2)
    assert sum(own) == pytest.approx(-sum(told), rel=1e-3 if file_type == "f16" else 0.01)


def test_what_is_no_such_model_is_told_in_a_line(toy: Toy, tmp_path: Path) -> None:
    from gguf import GGUFWriter

    settings: dict[str, Any] = {"task": ["bits"], "data": [toy.zh]}
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00")
    other = GGUFWriter(str(tmp_path / "other.gguf"), "mamba")
    other.write_header_to_file()
    other.write_kv_data_to_file()
    other.close()
    empty = write_jsonl(tmp_path / "empty.jsonl", [{"id": "1", "text": ""}])
    model = written(toy.resized, tmp_path / "model.gguf", "f16")
    for path, said in (
        (broken, "broken.gguf: is not a whole GGUF file"),
        (tmp_path / "other.gguf", "other.gguf: architecture 'mamba'; its weights can be read for llama, "),
        (empty, "is neither a model directory nor a .gguf file"),
    ):
        with pytest.raises(DataError, match=said):
            stage("evaluate", tmp_path / "out", model=path, **settings)
    with pytest.raises(DataError, match="--adapter .* is for model directories"):
        stage("evaluate", tmp_path / "out", model=model, adapter=toy.zh, **settings)
    with pytest.raises(DataError, match="holds no text"):
        stage("evaluate", tmp_path / "out", model=model, task=["bits"], data=[empty])


@needs_llama
def test_one_token_is_asked_for_as_in_the_whole_distribution(toy: Toy, tmp_path: Path) -> None:
    """With the likeliest one before it; a piece that is one byte of a character is not told."""
    tokenizer = Tokenizer(toy.resized)
    ids = [1, *tokenizer.encode_plain(["样品由办公室登记。𠮷 The lab."])[0]]
    told = 0
    with LlamaServer(written(toy.resized, tmp_path / "m.gguf", "f16"), n_ctx=256, n_parallel=1) as server:
        for place in range(1, len(ids)):
            whole = server.logprobs(ids[:place], tokenizer.vocab_size)
            found = server.logprob_of(ids[:place], ids[place])
            if found is None:
                assert 3 <= ids[place] < 259, "only bytes are not told"
                continue
            told += 1
            assert list(found) == list(dict.fromkeys([next(iter(whole)), ids[place]]))
            assert list(found.values()) == pytest.approx([whole[token] for token in found], abs=1e-3)
    assert 5 < told < len(ids)
