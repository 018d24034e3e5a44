"""The ids of a chat: transformers' own for ordinary text, one set in every engine, and no control token from a content.

With the real tokenizers: Llama-2's, Chinese-LLaMA-2's, Llama-3's, and Llama-3's with ChatML's tokens.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import scripted_llama
from toys import CONTENTS, HOSTILE, Toy, byte_level_tokenizer, conversation, random_model, stage
from transformers import AutoTokenizer

from zhllm.errors import DataError
from zhllm.infer import llamacpp
from zhllm.infer.engine import open_engine
from zhllm.infer.llama_engine import LlamaEngine
from zhllm.infer.sampling import Sampling
from zhllm.infer.transformers_engine import TransformersEngine
from zhllm.model.directory import set_chat_template
from zhllm.text.prompt_format import FORMATS, Message
from zhllm.train.chats import prompt_ids, tokenize
from zhllm.vocab.bases import open_base
from zhllm.vocab.byte_level import ByteLevelExtension
from zhllm.vocab.byte_level_files import write_byte_level
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.tokenizer import Tokenizer

BASES = {
    "llama2": "llama2.model", "chatml": "llama3.tiktoken", "llama3": "llama3.tiktoken",
    "alpaca-zh": "chinese_llama2_55296.model", "plain": "chinese_llama2_55296.model",
}  # fmt: skip
FORMAT = pytest.mark.parametrize("name", FORMATS)


def answered(rng: random.Random, contents: tuple[str, ...] | list[str]) -> list[Message]:
    """A chat that ends with an answer, which may be of weight 0."""
    messages: list[Message] = [*conversation(rng, contents)]
    messages += [{"role": "assistant", "content": "好"}] * (messages[-1]["role"] != "assistant")
    return [{**m, "weight": 0} if m["role"] == "assistant" and rng.random() < 0.2 else m for m in messages]


@pytest.fixture(scope="module")
def folders(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory for each format, as extend-vocab writes it with one piece and the tokens of the format added."""
    made = {}
    for name, file in BASES.items():
        made[name] = tmp_path_factory.mktemp(name)
        template = FORMATS[name].jinja()
        base = open_base(real_data / "tokenizers" / file)
        extension = base.extend(["龘靐"], None, FORMATS[name].special_tokens, None)
        if isinstance(extension, ByteLevelExtension):
            write_byte_level(made[name], extension.content, extension.config, extension.base_size, template)
        else:
            write_tokenizer(made[name], extension.model, extension.base_size, template)
    return made


@FORMAT
def test_ordinary_chats_have_the_ids_and_the_mask_of_transformers(folders: dict[str, Path], name: str) -> None:
    auto, ours = AutoTokenizer.from_pretrained(folders[name], local_files_only=True), Tokenizer(folders[name])
    for seed in range(100):
        messages = answered(random.Random(seed), CONTENTS)
        chat = tokenize(messages, FORMATS[name], ours)
        options = {"tokenize": True, "return_dict": True}
        theirs = auto.apply_chat_template(messages, return_assistant_tokens_mask=True, **options)
        assert chat.ids == theirs["input_ids"]
        if not chat.merged:
            assert [int(learnt) for learnt in chat.learn] == theirs["assistant_masks"]
        asked = auto.apply_chat_template(messages[:-1], add_generation_prompt=True, **options)
        assert prompt_ids(messages[:-1], FORMATS[name], ours) == asked["input_ids"]


@FORMAT
def test_what_is_typed_never_becomes_a_control_token(folders: dict[str, Path], name: str) -> None:
    """As many of each as in the same turns of harmless contents, and the text is all there."""
    chat_format, tokenizer = FORMATS[name], Tokenizer(folders[name])
    every = sorted(tokenizer.fast.get_added_tokens_decoder().values(), key=lambda token: token.content)
    spelt = [token.content for token in every if token.special]
    assert len(spelt) >= 3
    parsed, byte_level = 0, tokenizer.is_byte_level
    for seed in range(200):
        messages = answered(random.Random(seed), [*HOSTILE, *spelt[:: max(1, len(spelt) // 20)]])
        chat = tokenize(messages, chat_format, tokenizer)
        harmless = tokenize([{**m, "content": "x"} for m in messages], chat_format, tokenizer)
        controls = [[i for i in ids if i in tokenizer.special_ids] for ids in (chat.ids, harmless.ids)]
        assert controls[0] == controls[1], chat_format.render(messages)
        if byte_level:  # byte-level text comes back as it was
            same = tokenizer.decode(chat.ids, keep_special=True) == chat_format.render(messages)
            assert same, chat_format.render(messages)
        parsed += chat.ids != tokenizer.encode_prompt(chat_format.render(messages))
    assert parsed > 20, "read as text with special tokens, as Ollama reads it, these chats would hold others"


@FORMAT
@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
def test_llama_cpp_is_given_the_ids_of_transformers(toy: Toy, tmp_path: Path, name: str) -> None:
    specials = {"chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>")}
    tokenizer = toy.extended
    if name in ("llama3", "chatml"):
        tokenizer = byte_level_tokenizer(tmp_path / "tokenizer", *filter(None, [specials.get(name)]))
    model = random_model(tmp_path / "model", tokenizer)
    set_chat_template(model, FORMATS[name].jinja())
    gguf = stage("export", tmp_path / "gguf", model=model, type=["f16"]) / "model-f16.gguf"
    chats = [conversation(random.Random(seed), [*CONTENTS, *HOSTILE]) for seed in range(200)]
    engine = TransformersEngine(model, None)
    wanted = [prompt_ids(chat, engine.chat_format, engine.tokenizer) for chat in chats]
    with LlamaEngine(gguf, None, parallel=1) as llama:
        assert llama._ids(chats) == wanted
        assert llama.prompt_tokens(chats[0]) == len(wanted[0])


@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
def test_a_file_without_the_tokens_of_a_format_is_refused(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    gguf = stage("export", tmp_path / "gguf", model=model, type=["f16"]) / "model-f16.gguf"
    with pytest.raises(DataError, match=r"format \"chatml\" writes '<\|im_start\|>', which is not a control token"):
        open_engine(gguf, "chatml").__enter__()


def test_an_answer_ends_where_the_model_begins_another_turn(toy: Toy, tmp_path: Path) -> None:
    """A model that has not learnt the format runs on: what it writes behind a marker is not its answer."""
    model = scripted_llama(tmp_path / "model", toy.extended, "保修龘🦄")
    asked: list[Message] = [{"role": "user", "content": "?"}]

    def said(path: Path, *markers: str) -> list[str]:
        with open_engine(path) as engine:
            engine.chat_format = replace(engine.chat_format, text_markers=markers)
            return [*engine.answer_many([asked], 60), "".join(engine.stream(asked, Sampling(max_tokens=60)))]

    assert said(model) == ["保修龘🦄"] * 2
    assert said(model, "龘") == ["保修"] * 2
    if llamacpp.available():
        gguf = stage("export", tmp_path / "gguf", model=model, type=["f16"]) / "model-f16.gguf"
        assert (said(gguf), said(gguf, "龘")) == (["保修龘🦄"] * 2, ["保修"] * 2)
