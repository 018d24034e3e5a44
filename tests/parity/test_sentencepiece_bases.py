"""SentencePiece bases of other families, and what extension adds beside pieces: the same in every engine."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from toys import Toy, chinese, conversation, english, random_model, stage
from transformers import AutoTokenizer

from zhllm import manifest
from zhllm.errors import DataError
from zhllm.infer import llamacpp
from zhllm.infer.vocabulary import llama_cpp_encoder
from zhllm.model.tensors import Checkpoint
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.bases import open_base
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.proof import PROBE, fuzz
from zhllm.vocab.sentencepiece_model import USER_DEFINED, load

needs_llama = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
TERMS = "龘\n龘靐\n实验室的样品\n员工手册\n水质检查\n"


def pieces_file(folder: Path) -> Path:
    path = folder / "terms.tsv"
    path.write_text(TERMS, encoding="utf-8")
    return path


def trained(**options: Any) -> Any:
    """A SentencePiece BPE model of some Chinese and English; `options` make it like one family or another."""
    rng = random.Random(3)
    writer = io.BytesIO()
    lines = [chinese(rng, 20), *(english(rng, 30) for _ in range(40))]
    settings: dict[str, Any] = {
        "model_type": "bpe", "vocab_size": 420, "hard_vocab_limit": False, "byte_fallback": True,
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "minloglevel": 2, **options,
    }  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=writer, **settings)
    proto = pb.ModelProto()
    proto.ParseFromString(writer.getvalue())
    return proto


# Yi: no dummy prefix, chat tokens as user-defined symbols in the model. Its pieces hold Han words already.
YI = {"vocab_size": 700, "add_dummy_prefix": False, "user_defined_symbols": ["<|im_start|>", "<|im_end|>", "<fim>"]}


@needs_llama
def test_a_base_like_yi(tmp_path: Path) -> None:
    proto = trained(**YI)
    assert sum(p.type == USER_DEFINED for p in proto.pieces) == 3
    assert sum(len(p.piece) > 1 and "\u4e00" <= p.piece[0] <= "\u9fff" for p in proto.pieces) > 20
    (tmp_path / "yi.model").write_bytes(proto.SerializeToString())
    out = stage("extend-vocab", tmp_path / "out", base=tmp_path / "yi.model", pieces=[pieces_file(tmp_path)])
    lines = [
        *PROBE,
        *fuzz(list("实验室的样品手册人"), 500),
        "<|im_start|>user\n你好",
        "a<fim>实验室<fim> b",
    ]
    # llama.cpp takes the spelling of an end of turn for a control token whatever its type, so as text it is not equal.
    prompt = ["<|im_start|>user\n你好<|im_end|>\n<|im_start|>"]
    folder = open_base(out)
    auto = AutoTokenizer.from_pretrained(out, local_files_only=True)
    ids = folder.encode(lines)
    assert auto(lines, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
    with llama_cpp_encoder(out) as encode:
        assert encode(lines) == ids
    with llama_cpp_encoder(out, parse_special=True) as encode:
        assert encode(prompt) == auto(prompt, add_special_tokens=False)["input_ids"]
    assert folder.encode(["<fim>"]) == [[next(i for i, p in enumerate(proto.pieces) if p.piece == "<fim>")]]


def test_user_defined_pieces_beside_a_dummy_prefix_are_refused(tmp_path: Path) -> None:
    proto = trained(**{**YI, "add_dummy_prefix": True})
    (tmp_path / "b.model").write_bytes(proto.SerializeToString())
    with pytest.raises(DataError, match=r"b.model: the base holds 3 user-defined pieces \(such as '<\|im_start\|>'\)"):
        open_base(tmp_path / "b.model")


@pytest.fixture(scope="module")
def with_specials(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy base given ChatML's tokens."""
    root = tmp_path_factory.mktemp("specials")
    settings = {"base": toy.tokenizer, "pieces": [toy.pieces, pieces_file(root)], "chat_format": "chatml"}
    return stage("extend-vocab", root / "out", **settings)


@needs_llama
def test_chats_with_added_specials_are_the_same_in_llama_cpp(with_specials: Path) -> None:
    auto = AutoTokenizer.from_pretrained(with_specials, local_files_only=True)
    rng = random.Random(6)
    chats = [conversation(rng) for _ in range(150)]
    prompts = [FORMATS["chatml"].render(messages, answer_next=True) for messages in chats]
    wanted = auto(prompts, add_special_tokens=False)["input_ids"]
    start = auto.convert_tokens_to_ids("<|im_start|>")
    assert all(ids[0] == start for ids in wanted) and start == len(auto) - 2
    with llama_cpp_encoder(with_specials, parse_special=True) as encode:
        assert encode(prompts) == wanted
    for messages, prompt in zip(chats, prompts, strict=True):
        assert auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == prompt


def test_plain_text_is_cut_as_without_the_specials(with_specials: Path, toy: Toy) -> None:
    text = ["<|im_start|>人<|im_end|>", "the <|im_start|> lab"]
    assert open_base(with_specials).encode(text[1:]) == open_base(toy.tokenizer).encode(text[1:])
    assert open_base(with_specials).decode(open_base(with_specials).encode(text)[0]) == text[0]


def test_a_base_keeps_the_special_tokens_behind_its_model(toy: Toy, tmp_path: Path) -> None:
    """Hub copies of Llama-2 have a pad token with the id behind the last piece."""
    base = tmp_path / "base"
    shutil.copytree(toy.tokenizer, base, ignore=shutil.ignore_patterns(manifest.NAME))
    content = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    size = len(content["model"]["vocab"])
    token = {**content["added_tokens"][0], "id": size, "content": "[PAD]", "special": True}
    content["added_tokens"].append(token)
    (base / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    out = stage("extend-vocab", tmp_path / "out", base=base, pieces=[pieces_file(tmp_path)], pad_token="[PAD]")
    proto = load(out)
    assert (proto.pieces[size].piece, proto.trainer_spec.pad_id) == ("[PAD]", size)
    auto = AutoTokenizer.from_pretrained(out, local_files_only=True)
    assert (auto.pad_token_id, auto.convert_tokens_to_ids("龘")) == (size, size + 1)

    # The model may have a row for it, or none: then it gets one.
    for rows in (size, size + 1):
        model = random_model(tmp_path / f"model-{rows}", base, rows=rows)
        resized = stage("resize", tmp_path / f"resized-{rows}", model=model, tokenizer=out)
        assert Checkpoint(resized).specs["model.embed_tokens.weight"].shape[0] == len(auto)


def test_a_directory_without_tokenizer_json_is_a_base_too(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    shutil.copyfile(toy.tokenizer / "tokenizer.model", tmp_path / "base" / "tokenizer.model")
    write_tokenizer(tmp_path, load(toy.tokenizer))
    assert open_base(tmp_path / "base").size == open_base(toy.tokenizer).size == open_base(tmp_path).size


def test_a_sentencepiece_model_is_a_list_of_pieces(toy: Toy, tmp_path: Path) -> None:
    proto = trained(vocab_size=600, character_coverage=1.0)
    (tmp_path / "list.model").write_bytes(proto.SerializeToString())
    out = stage("extend-vocab", tmp_path / "out", base=toy.tokenizer, pieces=[tmp_path / "list.model"], max_pieces=40)
    found = manifest.read(out)
    assert found is not None
    assert found.metrics["added_pieces"] == 40 and found.metrics["left_out"]["in the base"] > 20
    han = [p.piece.removeprefix("▁") for p in proto.pieces if "\u4e00" <= p.piece.removeprefix("▁")[:1] <= "\u9fff"]
    first = load(out).pieces[open_base(toy.tokenizer).size].piece
    assert first in han[0]
