"""GGUF files against gguf-py, transformers and llama.cpp: tensors, tokens, chat templates, logits."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from toys import LLAMA3_PATTERN, LLAMA3_SPECIALS, Toy, byte_level_tokenizer, conversation, random_model, stage
from transformers import AutoConfig, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from zhllm.errors import DataError, ProofError
from zhllm.infer import llamacpp
from zhllm.infer.llamacpp import LlamaServer
from zhllm.infer.probe import logits
from zhllm.model import gguf_file, gguf_proof, gguf_q8_0, gguf_vocab
from zhllm.model.directory import set_chat_template
from zhllm.model.gguf_file import open_source, permute, unpermute
from zhllm.model.gguf_proof import FileWeights, check_with_gguf_py
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import write_gguf
from zhllm.model.gguf_types import Mixture
from zhllm.model.gguf_writer import GGUFWriter
from zhllm.model.rope import rope_factors
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.proof import PROBE, fuzz
from zhllm.vocab.sentencepiece_model import load
from zhllm.vocab.tokenizer import Tokenizer as OurTokenizer

needs_llama = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def write(model: Path, path: Path, file_type: str, template: str | None = None) -> GgufFile:
    end_id = OurTokenizer(model).eos_id
    write_gguf(open_source(model), path, file_type, template, end_id)
    return GgufFile(path)


def older_keys(model: Path) -> None:
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling, no rope_parameters, no head_dim."""
    config = json.loads((model / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": {"type": "linear", "factor": rope["factor"]}}
    config.pop("head_dim", None)
    (model / "config.json").write_text(json.dumps(config))


MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, tied": {"tie_word_embeddings": True},
    "llama, biases, as many kv heads": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4},
    "llama, wide heads": {"head_dim": 32, "rope_theta": 500.0},
    "llama, rope llama3": {"rope_parameters": LLAMA3_ROPE},
    "llama, rope linear, older keys": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}},
    "mistral": {"model_type": "mistral"},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
}


@needs_llama
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(toy: Toy, tmp_path: Path, name: str) -> None:
    """Tensors bit for bit; llama.cpp's probabilities as near as float32 arithmetic in another order allows."""
    model = random_model(tmp_path / "model", toy.extended, **MODELS[name])
    if "older" in name:
        older_keys(model)
    file = write(model, tmp_path / "model.gguf", "f32")
    source = open_source(model)
    check_with_gguf_py(file, source)
    weights = FileWeights(file, source)
    back = {name: weights.tensor(name).copy() for name in source.names}
    stored = load_file(model / "model.safetensors")
    assert {n: t.shape for n, t in stored.items()} == {n: v.shape for n, v in back.items()}
    assert all(np.array_equal(back[n], t.numpy()) for n, t in stored.items())

    ids = [[1, *row][:40] for row in OurTokenizer(model).encode_plain(PROBE[:3])]
    with LlamaServer(tmp_path / "model.gguf", n_ctx=256, n_parallel=1, float32_cache=True) as server:
        for row, wanted in zip(ids, logits(model, ids), strict=True):
            found = server.logprobs(row, wanted.shape[1])
            ours = torch.tensor([found[i] for i in range(wanted.shape[1])])
            assert (wanted[-1].log_softmax(-1) - ours).abs().max() < 1e-4


def rotated(x: np.ndarray[Any, Any], pairs: bool) -> np.ndarray[Any, Any]:
    """Rotary embedding of (positions, head_dim): of neighbours (llama.cpp) or of halves (transformers)."""
    positions, size = x.shape
    angles = np.outer(np.arange(positions), 100.0 ** (-np.arange(0, size, 2) / size))
    a, b = (x[:, 0::2], x[:, 1::2]) if pairs else (x[:, : size // 2], x[:, size // 2 :])
    turned = (a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles))
    return np.stack(turned, -1).reshape(x.shape) if pairs else np.concatenate(turned, -1)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_permuted_rows_give_llama_cpps_rotation_the_same_attention(heads: int) -> None:
    rng = np.random.default_rng(heads)
    q, k = (rng.standard_normal((heads * 8, 16)) for _ in range(2))
    hidden = rng.standard_normal((5, 16))
    assert np.array_equal(unpermute(permute(q, heads), heads), q)
    assert np.array_equal(permute(q, heads)[:, 0], permute(q[:, 0], heads)), "a bias moves as its matrix's rows"
    for head in range(heads):
        rows = slice(head * 8, head * 8 + 8)
        scores = [
            rotated(hidden @ a[rows].T, pairs) @ rotated(hidden @ b[rows].T, pairs).T
            for a, b, pairs in ((q, k, False), (permute(q, heads), permute(k, heads), True))
        ]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-12)


@pytest.mark.parametrize("head_dim", [16, 64, 128])
@pytest.mark.parametrize("original", [64, 8192])
def test_llama3_rope_factors_are_those_of_transformers(head_dim: int, original: int) -> None:
    rope = {**LLAMA3_ROPE, "rope_theta": 500000.0, "factor": 8.0, "original_max_position_embeddings": original}
    settings = {"hidden_size": 4 * head_dim, "num_attention_heads": 4, "max_position_embeddings": 131072}
    config = AutoConfig.for_model("llama", rope_parameters=dict(rope), **settings)
    wanted, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")
    plain = 500000.0 ** (-np.arange(0, head_dim, 2) / head_dim)
    factors = rope_factors({**settings, "rope_parameters": rope})
    assert factors is not None and factors.shape == (head_dim // 2,)
    np.testing.assert_allclose(plain / factors, wanted.numpy(), rtol=2e-6)


def test_metadata_is_read_by_gguf_py(toy: Toy, tmp_path: Path) -> None:
    rows = len(load(toy.extended).pieces) + 5
    model = random_model(tmp_path / "model", toy.extended, rows=rows, rope_theta=123.0)
    template = FORMATS["plain"].jinja(mark_answers=False)
    ours = write(model, tmp_path / "file.gguf", "q8_0", template)
    reader = GGUFReader(str(tmp_path / "file.gguf"))
    read = {n: f.contents() for n, f in reader.fields.items() if not n.startswith("GGUF.")}
    assert ours.metadata == read, "our reader and gguf-py's"
    for tensor in reader.tensors:
        mine = ours.tensors[tensor.name]
        assert (mine.type, list(mine.shape)) == (tensor.tensor_type, [int(n) for n in reversed(tensor.shape)])
        assert np.array_equal(mine.data.ravel(), tensor.data.view(np.uint8).ravel())
    assert read | {
        "general.architecture": "llama", "general.name": "file", "general.file_type": gguf.LlamaFileType.MOSTLY_Q8_0,
        "llama.context_length": 256, "llama.embedding_length": 64, "llama.block_count": 2,
        "llama.feed_forward_length": 96, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.rope.freq_base": 123.0, "llama.rope.dimension_count": 16, "llama.vocab_size": rows,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": True, "tokenizer.chat_template": template,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": rows - 6, "tokenizer.ggml.add_bos_token": True,
    } == read  # fmt: skip
    pieces = load(toy.extended).pieces
    padding = [f"[PAD{i}]" for i in range(rows - 5, rows)]
    assert read["tokenizer.ggml.tokens"] == [p.piece for p in pieces] + padding
    assert read["tokenizer.ggml.scores"][:-5] == [p.score for p in pieces]
    assert read["tokenizer.ggml.token_type"] == [p.type for p in pieces] + [5] * 5


@pytest.mark.parametrize("file_type", ["f32", "f16", "bf16", "q8_0", "q4_k_m"])
def test_tensor_bytes_are_gguf_pys(toy: Toy, tmp_path: Path, file_type: str) -> None:
    """Rows of 64 and 96 fall back from K-quants to the 32-value blocks that gguf-py can write."""
    model = random_model(tmp_path / "model", toy.extended, dtype="bfloat16")
    source = open_source(model)
    file = write(model, tmp_path / "file.gguf", file_type)
    kinds = Counter(t.type for t in file.tensors.values() if len(t.shape) > 1)
    assert set(kinds) == {
        "f32": {T.F32}, "f16": {T.F16}, "bf16": {T.BF16}, "q8_0": {T.Q8_0}, "q4_k_m": {T.Q5_0, T.Q8_0},
    }[file_type]  # fmt: skip
    for name, tensor in load_file(model / "model.safetensors").items():
        values = tensor.float().numpy()
        heads = source.heads(name)
        written = file.tensors[source.names[name]]
        wanted = gguf.quantize(values if heads is None else permute(values, heads), written.type)
        assert written.type == (T.F32 if values.ndim == 1 else written.type)
        assert np.array_equal(written.data.ravel(), wanted.view(np.uint8).ravel()), name


def test_the_bytes_do_not_depend_on_the_folders_name(toy: Toy, tmp_path: Path) -> None:
    for number in (1, 2):
        model = random_model(tmp_path / f"model {number}", toy.extended)
        (tmp_path / f"{number}").mkdir()
        write(model, tmp_path / f"{number}" / "same.gguf", "q8_0")
    assert (tmp_path / "1" / "same.gguf").read_bytes() == (tmp_path / "2" / "same.gguf").read_bytes()


def counted(layers: int, shapes: dict[str, tuple[int, int]], file_type: str, tied: bool = False) -> dict[str, int]:
    names = [n for n in shapes if not n.startswith("blk.") and not (tied and n == "output")]
    inner = [n.removeprefix("blk.") for n in shapes if n.startswith("blk.")]
    names += [f"blk.{layer}.{n}" for n in inner for layer in range(layers)]

    def shape(name: str) -> tuple[int, int]:
        return shapes[f"blk.{name.split('.', 2)[2]}" if name.startswith("blk.") else name]

    shared = shapes["blk.attn_q"][0] / shapes["blk.attn_k"][0]
    mixture = Mixture(file_type, layers, tied, shared)
    found = Counter(mixture.of(f"{n}.weight", shape(n)).name for n in names)
    return dict(found)


def llama_shapes(hidden: int, kv: int, ffn: int, vocab: int) -> dict[str, tuple[int, int]]:
    return {
        "token_embd": (vocab, hidden), "output": (vocab, hidden), "blk.attn_q": (hidden, hidden),
        "blk.attn_k": (kv, hidden), "blk.attn_v": (kv, hidden), "blk.attn_output": (hidden, hidden),
        "blk.ffn_gate": (ffn, hidden), "blk.ffn_up": (ffn, hidden), "blk.ffn_down": (hidden, ffn),
    }  # fmt: skip


# What llama.cpp's loader prints ("llama_model_loader: - type q4_K: 193 tensors") of files that llama.cpp
# itself quantised: Llama-2 7B and Llama-3.2 1B from public logs, Qwen2.5 0.5B from ollama/ollama#9031. The
# 70B row follows llama_tensor_get_type in src/llama-quant.cpp (no log of one was found).
@pytest.mark.parametrize(
    ("layers", "shapes", "file_type", "tied", "types"),
    [
        (32, llama_shapes(4096, 4096, 11008, 32000), "q4_k_m", False, {"Q4_K": 193, "Q6_K": 33}),
        (32, llama_shapes(4096, 4096, 11008, 32000), "q5_k_m", False, {"Q5_K": 193, "Q6_K": 33}),
        (16, llama_shapes(2048, 512, 8192, 128256), "q4_k_m", True, {"Q4_K": 96, "Q6_K": 17}),
        (24, llama_shapes(896, 128, 4864, 151936), "q4_k_m", True, {"Q5_0": 132, "Q8_0": 13, "Q4_K": 12, "Q6_K": 12}),
        (80, llama_shapes(8192, 1024, 28672, 32000), "q4_k_m", False, {"Q4_K": 441, "Q5_K": 40, "Q6_K": 81}),
        (80, llama_shapes(8192, 1024, 28672, 32000), "q5_k_m", False, {"Q5_K": 481, "Q6_K": 81}),
        (2, llama_shapes(2048, 512, 8192, 999), "q6_k", False, {"Q6_K": 16}),
        (2, llama_shapes(96, 48, 160, 999), "q6_k", False, {"Q8_0": 16}),
        (2, llama_shapes(40, 40, 160, 999), "q4_k_m", False, {"F16": 14, "Q5_0": 1, "Q8_0": 1}),
        (2, llama_shapes(40, 40, 160, 999), "f32", False, {"F32": 16}),
    ],
)
def test_the_mixture_is_llama_cpps(
    layers: int, shapes: dict[str, tuple[int, int]], file_type: str, tied: bool, types: dict[str, int]
) -> None:
    assert counted(layers, shapes, file_type, tied) == types


@pytest.mark.parametrize("name", ["attn_v", "ffn_down"])
def test_the_outer_and_every_third_layer_get_more_bits(name: str) -> None:
    kinds = [Mixture("q4_k_m", 32, False).of(f"blk.{layer}.{name}.weight", (4096, 4096)) for layer in range(32)]
    six = [layer for layer, kind in enumerate(kinds) if kind == T.Q6_K]
    assert six == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


@pytest.mark.parametrize("file_type", ["q4_k_m", "f16"])
def test_one_dimension_stays_f32(file_type: str) -> None:
    assert Mixture(file_type, 32, False).of("blk.0.attn_norm.weight", (4096,)) == T.F32


@needs_llama
@pytest.mark.parametrize("chat_format", FORMATS.values(), ids=FORMATS)
def test_llama_cpp_renders_chats_as_training_does(toy: Toy, tmp_path: Path, chat_format: Any) -> None:
    chats = [c for c in (conversation(random.Random(seed)) for seed in range(120)) if c[-1]["role"] == "user"]
    chats.append([{"role": "user", "content": " \n\u3000\u3000第一段。\u3000\t"}])
    write(toy.resized, tmp_path / "chat.gguf", "f16", chat_format.jinja(mark_answers=False))
    with LlamaServer(tmp_path / "chat.gguf", n_ctx=256, n_parallel=1) as server:
        rendered = [server.apply_template(chat) for chat in chats]
    wanted = [chat_format.render(chat, answer_next=True) for chat in chats]
    assert rendered == [text.removeprefix("<s>") for text in wanted]
    assert len(chats) > 40


def llama3_tokenizer(tiktoken: Path, out: Path) -> Path:
    """Llama-3's tokenizer.json from Meta's rank file: all splits of every piece as merges, 256 specials."""
    letters, ranks = letters_of_bytes(), {}
    for line in tiktoken.read_bytes().splitlines():
        token, rank = line.split()
        ranks["".join(letters[b] for b in base64.b64decode(token))] = int(rank)
    merges = []
    for piece, rank in ranks.items():
        splits = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        found = [(ranks[a], ranks[b], a, b) for a, b in splits if a in ranks and b in ranks]
        merges += [(rank, *split) for split in sorted(found)]
    merges.sort(key=lambda merge: merge[0])
    model = models.BPE(vocab=ranks, merges=[m[3:] for m in merges], ignore_merges=True)
    tokenizer = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    reserved = range(256 - len(LLAMA3_SPECIALS))
    names = [*LLAMA3_SPECIALS, *(f"<|reserved_special_token_{n}|>" for n in reserved)]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    bos = (names[0], 128000)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    out.mkdir()
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos[0], "eos_token": names[4]}
    (out / "tokenizer_config.json").write_text(json.dumps(config))
    return out


def letters_of_bytes() -> dict[int, str]:
    """GPT-2's letters for bytes (openai/gpt-2, encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(other)}


@needs_llama
@pytest.mark.parametrize(
    ("name", "pattern"), [("llama-bpe", LLAMA3_PATTERN), ("qwen2", LLAMA3_PATTERN.replace("{1,3}", ""))]
)
def test_byte_level_ids_are_those_of_hugging_face(tmp_path: Path, name: str, pattern: str) -> None:
    tokenizer = byte_level_tokenizer(tmp_path / "tokenizer")
    text = (tokenizer / "tokenizer.json").read_text(encoding="utf-8")
    assert json.dumps(LLAMA3_PATTERN) in text
    text = text.replace(json.dumps(LLAMA3_PATTERN), json.dumps(pattern))
    (tokenizer / "tokenizer.json").write_text(text, encoding="utf-8")
    file = write(random_model(tmp_path / "model", tokenizer), tmp_path / "file.gguf", "f16")
    assert file.metadata["tokenizer.ggml.pre"] == name
    lines = [*PROBE, *fuzz(list("实验室的样品手册人𠮷"), 1000)]
    wanted = OurTokenizer(tokenizer).encode_plain(lines)
    with LlamaServer(tmp_path / "file.gguf", n_ctx=256, n_parallel=1) as server:
        assert server.tokenize(lines) == wanted


@pytest.mark.slow
@needs_llama
def test_llama3_through_export(real_data: Path, tmp_path: Path) -> None:
    """Byte-level BPE with 128,256 rows and the llama3 rope: ids, chat and logits in llama.cpp."""
    tokenizer = llama3_tokenizer(real_data / "tokenizers" / "llama3.tiktoken", tmp_path / "llama3")
    model = random_model(
        tmp_path / "model", tokenizer, rows=128256, dtype="bfloat16", hidden_size=32, num_hidden_layers=1,
        intermediate_size=64, num_attention_heads=2, num_key_value_heads=1, rope_parameters=LLAMA3_ROPE,
    )  # fmt: skip
    set_chat_template(model, FORMATS["llama3"].jinja())
    out = stage("export", tmp_path / "gguf", model=model, type=["f16"])
    auto = AutoTokenizer.from_pretrained(model, local_files_only=True)
    english = (real_data / "corpus" / "en_c4_300.jsonl").read_text(encoding="utf-8").splitlines()[:150]
    lines = [*PROBE, *(line for text in english for line in json.loads(text)["text"].split("\n"))]
    lines += ["👩‍👩‍👧‍👦 '''S I'M we'Ll 12345 1234\n\n\n  x", "中文，全角１２３！𠮷野家", "   \t\n  ", "ÀÉ naïve Ж", ""]
    wanted = auto(lines, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    prompt = FORMATS["llama3"].render(conversation(random.Random(3)), answer_next=True)
    with LlamaServer(out / "model-f16.gguf", n_ctx=256, n_parallel=1) as server:
        assert server.tokenize(lines) == wanted
        assert server.tokenize([prompt], parse_special=True) == [auto(prompt, add_special_tokens=False)["input_ids"]]
    metadata = GgufFile(out / "model-f16.gguf").metadata
    assert metadata["tokenizer.ggml.pre"] == "llama-bpe" and len(metadata["tokenizer.ggml.merges"]) == 280147
    assert metadata["tokenizer.ggml.eos_token_id"] == 128004
    assert metadata["tokenizer.ggml.token_type"] == [1] * 128000 + [3] * 256
    assert OurTokenizer(model).encode_plain(lines) == wanted
    report = json.loads((out / "report.json").read_text())["types"]["f16"]
    assert report["llama_cpp_kl_max"] < 1e-3


def not_permuted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gguf_file, "permute", lambda rows, heads: rows)


def permuted_the_wrong_way_and_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gguf_file, "permute", unpermute)
    patch.setattr(gguf_proof, "unpermute", permute)


def two_scores_exchanged(patch: pytest.MonkeyPatch) -> None:
    write_scores = gguf_vocab.GGUFWriter.add_token_scores
    patch.setattr(
        gguf_vocab.GGUFWriter, "add_token_scores",
        lambda self, scores: write_scores(self, [*scores[:300], scores[301], scores[300], *scores[302:]]),
    )  # fmt: skip


def another_rope_base(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gguf_file, "rope", lambda config: {"rope_theta": 7.0})


def a_tenth_too_large(patch: pytest.MonkeyPatch) -> None:
    quantize, factor = gguf_q8_0.quantize, np.float32(1.1)
    patch.setattr(gguf_q8_0, "quantize", lambda blocks, largest: quantize(blocks * factor, largest * factor))


def no_dummy_prefix(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gguf_vocab.GGUFWriter, "add_add_space_prefix", lambda self, value: None)
    patch.setattr(gguf_vocab.GGUFWriter, "add_tokenizer_pre", lambda self, name: self.add_bool(
        "tokenizer.ggml.add_space_prefix", False))  # fmt: skip


FAULTS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    not_permuted: r"mean KL divergence from the source is \d\.\d+ \(limit 0.02",
    permuted_the_wrong_way_and_back: "llama.cpp's next-token probabilities differ from the source",
    two_scores_exchanged: r"tokens of the file: 2 of \d+ texts fail",
    another_rope_base: "llama.cpp's next-token probabilities differ from the source",
    a_tenth_too_large: r"is off by 0\.\d+ of its length",
    no_dummy_prefix: r"ids in llama.cpp: \d+ of \d+ texts fail",
}


@needs_llama
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_export_refuses_a_file_that_is_not_the_model(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    fault(monkeypatch)
    with pytest.raises(ProofError, match=FAULTS[fault]):
        stage("export", tmp_path / "out", model=model, type=["q8_0"])
    assert not (tmp_path / "out").exists()


def changed_config(**changes: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def changed_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(model: Path) -> None:
        tensors = load_file(model / "model.safetensors")
        change(tensors)
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    return apply


def other_tokenizer(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(model: Path) -> None:
        (model / "tokenizer.model").unlink()
        content = json.loads((model / "tokenizer.json").read_text())
        change(content)
        (model / "tokenizer.json").write_text(json.dumps(content))

    return apply


def as_word_level(content: dict[str, Any]) -> None:
    content["model"] = {"type": "WordLevel", "vocab": content["model"]["vocab"], "unk_token": "<unk>"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_config(architectures=["MixtralForCausalLM"]), r"architecture \['MixtralForCausalLM'\]; export knows"),
        (changed_config(architectures=None), "architecture None; export knows LlamaForCausalLM"),
        (changed_config(rope_scaling={"rope_type": "yarn", "factor": 2.0}), 'rope scaling "yarn" is not one'),
        (changed_config(rope_parameters={"rope_type": "dynamic"}), 'rope scaling "dynamic" is not one'),
        (changed_tensors(lambda t: t.update(extra=torch.ones(2))), r"1 tensors have no place .*\['extra'\]"),
        (changed_tensors(lambda t: t.pop("model.norm.weight")), r"1 weights are missing .*model.norm.weight"),
        (other_tokenizer(lambda c: None), "its pre-tokenizer is not one whose llama.cpp name is known"),
        (other_tokenizer(as_word_level), "tokenizer.json holds a WordLevel model; GGUF export knows BPE"),
    ],
    ids=["mixtral", "no architecture", "yarn", "dynamic", "extra tensor", "missing tensor", "pre-tokenizer", "words"],
)
def test_export_refuses_what_it_does_not_know(
    toy: Toy, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    change(model)
    with pytest.raises(DataError, match=message):
        stage("export", tmp_path / "out", model=model, type=["f16"])
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_tokenizer_with_more_ids_than_rows(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.tokenizer)
    shutil.copy(toy.extended / "tokenizer.json", model)
    shutil.copy(toy.extended / "tokenizer.model", model)
    with pytest.raises(DataError, match=r"the model has \d+ embedding rows, the tokenizer .* \d+ ids"):
        stage("export", tmp_path / "out", model=model, type=["f16"])


def test_rotary_frequencies_of_old_checkpoints_are_left_out(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    wanted = list(write(model, tmp_path / "a.gguf", "f16").tensors)
    changed_tensors(lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))(model)
    assert list(write(model, tmp_path / "b.gguf", "f16").tensors) == wanted


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:200], lambda d: b"GGML" + d[4:], lambda d: b""])
def test_a_damaged_file_is_a_data_error(toy: Toy, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write(toy.resized, tmp_path / "a.gguf", "f16")
    (tmp_path / "a.gguf").write_bytes(damage((tmp_path / "a.gguf").read_bytes()))
    with pytest.raises(DataError, match=r"a\.gguf: is not a (whole )?GGUF file"):
        GgufFile(tmp_path / "a.gguf")


def test_metadata_is_packed_as_gguf_py_packs_it() -> None:
    values: list[list[object]] = [["a", "", "中文", "𠮷"], [b"\xff\x00", b"x"], [1, 2, -3], [0.5, -1.0, 3e38]]
    values += [["a", b"b"], [True, False], [[1], [2]], [1, 0.5], []]
    for value in values:
        for sub_type in (None, gguf.GGUFValueType.STRING if value and isinstance(value[0], str) else None):
            arguments = (value, gguf.GGUFValueType.ARRAY, True, sub_type)
            found, wanted = (kind("/dev/null", "llama") for kind in (GGUFWriter, gguf.GGUFWriter))
            assert outcome(found, arguments) == outcome(wanted, arguments), value


def outcome(writer: gguf.GGUFWriter, arguments: tuple[object, ...]) -> object:
    try:
        return writer._pack_val(*arguments)
    except ValueError as error:
        return str(error)
