"""The scripted model says the same in transformers and in llama.cpp, whole or as it is written, at any temperature."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import ANSWER, scripted_llama
from toys import CHATML_SPECIALS, LLAMA3_SPECIALS, Toy, byte_level_tokenizer, stage

from zhllm.infer import llamacpp
from zhllm.infer.engine import open_engine
from zhllm.infer.sampling import Sampling

ASKED = [{"role": "user", "content": "保修期多长？"}]


def said(model: Path) -> set[str]:
    """What an engine says, greedily, drawn at random, and as a stream."""
    with open_engine(model) as engine:
        parts = list(engine.stream(ASKED, Sampling(max_tokens=60)))
        assert len(parts) > 2 and not any("\ufffd" in part for part in parts)
        drawn = "".join(engine.stream(ASKED, Sampling(max_tokens=60, temperature=1.0, seed=3)))
        return {"".join(parts), drawn, *engine.answer_many([ASKED, ASKED], 60)}


def test_every_engine_says_the_text(toy: Toy, tmp_path: Path) -> None:
    model = scripted_llama(tmp_path / "model", toy.extended)
    assert said(model) == {ANSWER}
    if not llamacpp.available():
        pytest.skip("xllamacpp is not installed")
    types = ["f16", "q8_0", "q4_k_m"]
    gguf = stage("export", tmp_path / "gguf", model=model, type=types)
    assert [said(gguf / f"model-{kind}.gguf") for kind in types] == [{ANSWER}] * 3


@pytest.mark.parametrize(("prompt_format", "specials"), [("llama3", LLAMA3_SPECIALS), ("chatml", CHATML_SPECIALS)])
def test_byte_level_tokenizers_too(tmp_path: Path, prompt_format: str, specials: tuple[str, ...]) -> None:
    tokenizer = byte_level_tokenizer(tmp_path / "tokenizer", specials)
    assert said(scripted_llama(tmp_path / "model", tokenizer, prompt_format=prompt_format)) == {ANSWER}
