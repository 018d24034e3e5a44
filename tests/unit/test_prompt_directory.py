"""A tuned and a merged directory say in every file how turns are written and where an answer ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import Toy, byte_level_tokenizer, random_model, stage
from transformers import AutoTokenizer, GenerationConfig

from zhllm.errors import DataError
from zhllm.model.directory import carry_prompt_format, set_chat_template, set_prompt_format
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


@pytest.mark.parametrize(
    ("template", "asked", "wanted"),
    [
        (None, None, "llama2"),  # only <s> and </s> are there
        (FORMATS["plain"].jinja(), None, "plain"),
        (FORMATS["plain"].jinja(mark_answers=False).replace("{%- for", "{% for"), None, "plain"),
        (FORMATS["plain"].jinja(), "llama2", "llama2"),
        ("{{ messages[0]['content'] }}", None, "none of zhllm's formats"),
        ("{{ messages[0]['content'] }}", "alpaca-zh", "alpaca-zh"),
    ],
)
def test_sft_writes_turns_as_the_model_does(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str | None, asked: str | None, wanted: str
) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    if template is not None:
        set_chat_template(model, template)
    settings = {"chats": [toy.chats], "seq_len": 64, "steps": 1, "rows_per_step": 1, "lora_rank": 2}
    settings |= {"max_left_out_share": 1.0, **({} if asked is None else {"prompt_format": asked})}
    if wanted not in FORMATS:
        with pytest.raises(DataError, match=wanted):
            stage("sft", tmp_path / "out", model=model, **settings)
        return
    out = stage("sft", tmp_path / "out", model=model, **settings)
    assert (out / "chat_template.jinja").read_text() == FORMATS[wanted].jinja()
    said = capsys.readouterr().err
    assert ("its own chat template is replaced" in said) is (asked is not None)
    assert (f"turns are written in {wanted}" in said) is (asked is None)


def test_a_base_without_a_template_gets_a_format_whose_tokens_it_has(toy: Toy, tmp_path: Path) -> None:
    base = random_model(tmp_path / "base", byte_level_tokenizer(tmp_path / "tokenizer", QWEN))
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = {"chats": [toy.chats], "seq_len": 128, "steps": 1, "rows_per_step": 1, "lora_rank": 2}
    out = stage("sft", tmp_path / "out", model=base, **settings)
    assert (out / "chat_template.jinja").read_text() == FORMATS["chatml"].jinja()
