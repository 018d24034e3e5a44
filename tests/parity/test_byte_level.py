"""Byte-level bases (Llama-3, Qwen): the same ids in every engine, the base untouched, specials at their ids."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from strategies import texts_with
from toys import CHATML_SPECIALS, LLAMA3_SPECIALS, byte_level_tokenizer, chinese, conversation, random_model, stage
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from zhllm import manifest
from zhllm.errors import DataError, ProofError
from zhllm.infer import llamacpp
from zhllm.infer.vocabulary import llama_cpp_encoder
from zhllm.model.tensors import Checkpoint
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.bases import open_base
from zhllm.vocab.byte_level import LETTER_OF, ByteLevelBase, merge_pairs, spell, splits, whole_text
from zhllm.vocab.byte_level_files import added_texts, prove_byte_level, tiktoken_encode
from zhllm.vocab.hf_files import TOKENIZER_FILES
from zhllm.vocab.proof import PROBE, Encode, fuzz
from zhllm.vocab.subtokens import base_of, sub_token_ids
from zhllm.vocab.tiktoken_file import QWEN2_PATTERN

PIECES = ["龘", "齉", "靐", "龘靐", "实验室的样品", "水质检查记录", "员工手册", "𠮷野家", "甲乙丙", "饕餮盛宴"]
needs_llama = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")


def write_pieces(path: Path, pieces: list[str]) -> Path:
    path.write_text("".join(f"{piece}\t1\n" for piece in pieces), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["llama3", "qwen2"])
def extended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A toy base of either family and its extension, as the stage writes it."""
    root = tmp_path_factory.mktemp(request.param)
    base = byte_level_tokenizer(root / "base", LLAMA3_SPECIALS if request.param == "llama3" else CHATML_SPECIALS)
    content = json.loads((base / "tokenizer.json").read_text())
    if request.param == "qwen2":
        content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = QWEN2_PATTERN
        content["normalizer"] = {"type": "NFC"}
    else:
        content["model"]["ignore_merges"] = True
    (base / "tokenizer.json").write_text(json.dumps(content))
    pieces = write_pieces(root / "pieces.tsv", PIECES)
    other = "chatml" if request.param == "llama3" else "llama3"
    return base, stage("extend-vocab", root / "extended", base=base, pieces=[pieces], chat_format=other)


def auto(folder: Path) -> Encode:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return lambda texts: tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]


@needs_llama
def test_every_engine_cuts_any_text_alike(extended: tuple[Path, Path], tmp_path: Path) -> None:
    base, folder = (open_base(path) for path in extended)
    AutoTokenizer.from_pretrained(extended[1], local_files_only=True).save_pretrained(tmp_path / "saved")
    fast = PreTrainedTokenizerFast.from_pretrained(extended[1], local_files_only=True)
    assert len(fast) == folder.size
    seen = 0
    with llama_cpp_encoder(extended[1]) as llama_cpp:
        engines = {"auto": auto(extended[1]), "saved": auto(tmp_path / "saved"), "llama.cpp": llama_cpp}

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(texts_with(PIECES, 40))
        def check(texts: list[str]) -> None:
            nonlocal seen
            texts = [t for t in texts if base.content["normalizer"] is None or t == base.decode(base.encode([t])[0])]
            seen += len(texts)
            ids = folder.encode(texts)
            for name, encode in engines.items():
                assert [list(row) for row in encode(texts)] == ids, name
            for text, row, before in zip(texts, ids, base.encode(texts), strict=True):
                assert folder.decode(row) == text
                if text.isascii() or max(row, default=0) < base.size:
                    assert row == before

        check()
    assert seen > 500


def test_the_base_keeps_its_ids_and_the_files_are_complete(extended: tuple[Path, Path]) -> None:
    base, folder = (open_base(path) for path in extended)
    assert isinstance(base, ByteLevelBase) and isinstance(folder, ByteLevelBase)
    vocab = folder.fast.get_vocab(with_added_tokens=True)
    assert {t: vocab[t] for t in base.vocab | base.special_ids} == base.vocab | base.special_ids
    assert list(merge_pairs(base.content)) == [
        m for m in merge_pairs(folder.content) if set(m) | {"".join(m)} <= base.vocab.keys()
    ]
    assert set(TOKENIZER_FILES) - {"tokenizer.model"} <= {p.name for p in extended[1].iterdir()}
    config = json.loads((extended[1] / "tokenizer_config.json").read_text())
    last = [t["content"] for _, t in sorted(config["added_tokens_decoder"].items(), key=lambda i: int(i[0]))]
    assert last[: len(base.special_ids)] == list(base.special_ids)
    assert last[len(base.special_ids)] == "<pad>" == config["pad_token"]
    assert json.loads((extended[1] / "added_tokens.json").read_text()) == folder.special_ids


def test_every_piece_is_one_token_also_inside_a_text(extended: tuple[Path, Path]) -> None:
    folder = open_base(extended[1])
    added = added_texts(folder.content, base_of(extended[1]).size)  # type: ignore[union-attr]
    assert set(PIECES) <= added.keys()
    for text, index in added.items():
        assert folder.encode_inside([text]) == [[index]]
    assert spell("龘靐") in folder.vocab  # type: ignore[union-attr]


@needs_llama
def test_chats_with_added_specials_are_the_same_in_llama_cpp(extended: tuple[Path, Path]) -> None:
    chat = FORMATS["chatml" if "<|eot_id|>" in open_base(extended[0]).special_ids else "llama3"]  # type: ignore[union-attr]
    auto_tokenizer = AutoTokenizer.from_pretrained(extended[1], local_files_only=True)
    rng = random.Random(5)
    chats = [conversation(rng) for _ in range(60)]
    prompts = [chat.render(messages, answer_next=True) for messages in chats]
    wanted = [auto_tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    size = base_of(extended[1]).size
    assert all(any(i >= size for i in ids) for ids in wanted), "the added specials are not used"
    with llama_cpp_encoder(extended[1], parse_special=True) as encode:
        assert encode(prompts) == wanted
    for messages, prompt in zip(chats, prompts, strict=True):
        assert auto_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == prompt


def test_sub_tokens_are_the_bases_own(extended: tuple[Path, Path]) -> None:
    base, folder = (open_base(path) for path in extended)
    ids, size = sub_token_ids(extended[1])
    assert size == base.size and len(ids) == folder.size - size
    for index, parts in enumerate(ids, size):
        text = folder.text_of(index)
        if text is not None:
            assert parts == base.encode_inside([text])[0]
        elif parts:  # a join of bytes
            token = next(t for t, i in folder.vocab.items() if i == index)  # type: ignore[union-attr]
            assert "".join(next(t for t, i in base.vocab.items() if i == p) for p in parts) == token  # type: ignore[union-attr]
        else:
            assert index >= folder.size - 6, "only special tokens are made of nothing"


def test_a_model_grows_with_it(extended: tuple[Path, Path], tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", extended[0])
    resized = stage("resize", tmp_path / "resized", model=model, tokenizer=extended[1])
    size = open_base(extended[1]).size
    rows = Checkpoint(resized).raw("model.embed_tokens.weight")
    old = Checkpoint(model).raw("model.embed_tokens.weight")
    ids, base_size = sub_token_ids(extended[1])
    assert rows.shape[0] == size and np.array_equal(rows[:base_size], old)
    np.testing.assert_allclose(rows[base_size], old[ids[0]].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("fault", ["a merge of the base is missing", "merges of pieces turned", "an id moved"])
def test_the_proof_refuses(extended: tuple[Path, Path], tmp_path: Path, fault: str) -> None:
    content = json.loads((extended[1] / "tokenizer.json").read_text(encoding="utf-8"))
    base = open_base(extended[0])
    if fault == "a merge of the base is missing":
        del content["model"]["merges"][0]
    elif fault == "merges of pieces turned":
        content["model"]["merges"] = content["model"]["merges"][::-1]
    else:
        vocab = content["model"]["vocab"]
        a, b = list(base.vocab)[300:302]
        vocab[a], vocab[b] = vocab[b], vocab[a]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ProofError, match=r"base (language|ids): |reachable|tiktoken"):
        prove_byte_level(tmp_path, base, ["the lab keeps every sample", chinese(random.Random(9), 3)])  # type: ignore[arg-type]


def test_a_rank_file_gives_the_official_tokenizer(real_data: Path) -> None:
    """280,147 merges, 256 specials, BOS before a text: as in Meta's tokenizer.json."""
    base = open_base(real_data / "tokenizers" / "llama3.tiktoken")
    assert isinstance(base, ByteLevelBase)
    assert (base.size, len(base.content["model"]["merges"]), len(base.special_ids)) == (128_256, 280_147, 256)
    ids = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|eot_id|>": 128009, "<|start_header_id|>": 128006}
    assert ids.items() <= base.special_ids.items()
    ranks = tiktoken_encode(base.content)
    texts = [*PROBE, *fuzz(list("的一是不了人我在有他这中大来"), 1000)]
    assert ranks is not None and base.encode(texts) == ranks(texts)
    assert base.cut_runs(["人工智能龘"]) == [["人", "工", "智能", "龘"]]
    assert base.pad_token == "<|finetune_right_pad_id|>"


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("x.tiktoken", b"IQ== 0\nIg== 1\nIw== 3\n", "its 3 ranks are not 0 to 2"),
        ("x.tiktoken", b"IQ== 0\nIg== 1\n", r"2 ranks are neither Llama-3's \(128,000\) nor Qwen2's"),
        ("x.tiktoken", b"IQ== 0\nIg==\n", r"x.tiktoken:2: b'Ig==' is not a token in base64 and its rank"),
        ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "is not byte-level .no ByteLevel"),
        ("tokenizer.json", b'{"model": {"type": "WordPiece", "vocab": {}}}', "holds a WordPiece model"),
        ("tokenizer.json", b'{"model": ', "cannot be read as JSON"),
        ("x.txt", b"hello", "is not a SentencePiece model"),
        ("x.txt", b"", "is not a SentencePiece model"),
    ],
)
def test_what_is_no_base_is_said(tmp_path: Path, name: str, data: bytes, error: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=error):
        open_base(tmp_path / name)


def test_splits_and_letters() -> None:
    assert splits("abc", {"a": 0, "bc": 1, "ab": 2, "c": 3}) == [("a", "bc"), ("ab", "c")]
    assert whole_text(spell("中文 é")) == "中文 é" and whole_text(spell("中")[:2]) is None and whole_text("中") is None


def test_a_repeated_run_is_equal_to_the_byte(extended: tuple[Path, Path], tmp_path: Path) -> None:
    pieces = write_pieces(tmp_path / "pieces.tsv", PIECES)
    found = manifest.read(extended[1])
    assert found is not None
    chat = "chatml" if "<|eot_id|>" in open_base(extended[0]).special_ids else "llama3"  # type: ignore[union-attr]
    again = stage("extend-vocab", tmp_path / "again", base=extended[0], pieces=[pieces], chat_format=chat)
    same: Any = manifest.read(again)
    assert same.files == found.files


def test_a_piece_that_forms_a_token_of_the_base_does_so_in_every_engine() -> None:
    """甲乙丙 is in the base, but only by a merge that never comes up; with 甲乙 added its ranks make it."""
    first, second, third = (spell(c) for c in "甲乙丙")
    merges = [(t[0], t[1]) for t in (first, second, third)] + [(t[:2], t[2]) for t in (first, second, third)]
    whole, rest = first + second + third, first[2] + second + third
    tokens = [*(LETTER_OF[b] for b in range(256)), *(a + b for a, b in merges), rest, whole]
    content = open_base_content(tokens, [*merges, (first[:2], rest)])
    base = ByteLevelBase(content, {}, "made here")
    assert base.encode_inside(["甲乙丙"]) == [[base.vocab[t] for t in (first, second, third)]]
    extension = base.extend(["甲乙"])
    ranks = tiktoken_encode(extension.content)
    assert ranks is not None
    for text in ("甲乙丙", "丙甲乙丙甲乙"):
        found = ByteLevelBase(extension.content, {}, "extended").encode([text])
        assert found == ranks([text]) and base.vocab[whole] in found[0]


def open_base_content(tokens: list[str], merges: list[tuple[str, str]]) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": None,
        "decoder": byte_level, "model": model,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "special"), [({"pad_token": "<|end|>"}, "<|end|>"), ({}, "<|finetune_right_pad_id|>")]
)
def test_a_pad_token_of_the_base_stays_its_pad_token(config: dict[str, str], special: str) -> None:
    content = open_base_content([LETTER_OF[b] for b in range(256)], [])
    content["added_tokens"] = [{"id": 256, "content": special, "special": True, "single_word": False, "lstrip": False,
                                "rstrip": False, "normalized": False}]  # fmt: skip
    found = ByteLevelBase(content, dict(config), "made here").extend(["人"], "<pad>")
    assert (found.specials, found.config["pad_token"]) == ([], special)
