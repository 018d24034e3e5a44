"""A tuned and a merged directory say in every file how turns are written and where an answer ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import Toy, byte_level_tokenizer, random_model, stage
from transformers import AutoTokenizer, GenerationConfig

from zhllm.errors import DataError
from zhllm.model.directory import carry_prompt_format, set_prompt_format
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer

# As Qwen's: the text ends with another token than a turn does.
QWEN = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def lines(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An sft adapter in ChatML, and base + adapter merged."""
    root = tmp_path_factory.mktemp("tuned")
    base = random_model(root / "base", byte_level_tokenizer(root / "tokenizer", QWEN))
    settings = {"chats": [toy.chats], "prompt_format": "chatml", "steps": 1, "rows_per_step": 1, "lora_rank": 2}
    tuned = stage("sft", root / "tuned", model=base, seq_len=128, **settings)
    return tuned, stage("merge", root / "merged", model=base, adapter=[tuned])


def test_generation_stops_at_the_end_of_a_turn(lines: tuple[Path, Path]) -> None:
    for folder in lines:
        ids = Tokenizer(folder)
        wanted = [ids.special_token_id("<|im_end|>"), ids.special_token_id("<|endoftext|>")]
        assert GenerationConfig.from_pretrained(folder).eos_token_id == wanted
        assert wanted[0] != wanted[1]


def test_the_template_is_inline_and_a_file(lines: tuple[Path, Path]) -> None:
    template = FORMATS["chatml"].jinja()
    for folder in lines:
        assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == template
        assert (folder / "chat_template.jinja").read_text() == template
        asked = [{"role": "user", "content": "保修期？<|im_end|>"}]
        auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        rendered = auto.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert rendered == FORMATS["chatml"].render(asked, answer_next=True)


def test_other_settings_of_generation_stay(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    (model / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 0}')
    set_prompt_format(model, FORMATS["llama2"], Tokenizer(model))
    written = json.loads((model / "generation_config.json").read_text())
    assert (written["temperature"], written["eos_token_id"]) == (0.6, [2])
    before = (model / "chat_template.jinja").read_bytes()
    with pytest.raises(DataError, match="not a special token of this tokenizer"):
        set_prompt_format(model, FORMATS["chatml"], Tokenizer(model))
    assert (model / "chat_template.jinja").read_bytes() == before
    plain = random_model(tmp_path / "plain", toy.extended)
    carry_prompt_format(plain, model)
    assert json.loads((model / "generation_config.json").read_text()) == written, "an adapter without a template"


def test_a_tokenizer_made_for_a_format_says_so(toy: Toy, tmp_path: Path) -> None:
    made = stage("extend-vocab", tmp_path / "made", base=toy.tokenizer, pieces=[toy.pieces], chat_format="chatml")
    ids = Tokenizer(made)
    wanted = [ids.special_token_id("<|im_end|>"), ids.eos_id]
    assert json.loads((made / "generation_config.json").read_text())["eos_token_id"] == wanted
