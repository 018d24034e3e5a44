"""Chat templates of others are taken for a format of ours only where they render the same prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import LLAMA31, LLAMA32, QWEN3
from test_cli import run
from toys import CHATML_SPECIALS, LLAMA3_SPECIALS, Toy, byte_level_tokenizer, random_model, stage

from zhllm.errors import DataError
from zhllm.infer.writing import directory_format
from zhllm.model.chat_templates import recognise
from zhllm.model.directory import set_chat_template
from zhllm.model.gguf_read import GgufFile
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer

# The templates that Llama-2-chat, Llama-3-Instruct and Qwen2-Instruct came with.
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' "
    "+ message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def test_the_same_prompts_in_other_words_are_known() -> None:
    assert recognise(LLAMA2, TOKENS) is FORMATS["llama2"]
    assert recognise(LLAMA3, {"bos_token": "<|begin_of_text|>"}) is FORMATS["llama3"]
    for chat_format in FORMATS.values():
        assert recognise(chat_format.jinja(), {}) is chat_format
        assert recognise("{# by others #}" + chat_format.jinja(mark_answers=False), {}) == chat_format


def test_a_default_system_prompt_is_kept() -> None:
    found = recognise(QWEN2, {})
    assert found is not None and (found.name, found.default_system) == ("chatml", "You are a helpful assistant.")
    asked = [{"role": "user", "content": "问"}]
    assert found.render(asked, answer_next=True) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n问<|im_end|>\n<|im_start|>assistant\n"
    )
    assert recognise(QWEN2.replace("loop.first and ", ""), {}) is None, "before every turn"


@pytest.mark.parametrize(
    "template",
    [
        LLAMA2.replace("' [/INST]'", "'[/INST]'"),
        LLAMA3.replace("'<|eot_id|>'", "'\n<|eot_id|>'"),
        LLAMA3.replace("bos_token + content", "content"),
        QWEN2.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'"),
        "{{ messages }}", "{% for %}", "{{ raise_exception('no') }}", "{{ messages[7]['content'] }}",
        "{{ 1 / none }}", "",
    ],
)  # fmt: skip
def test_other_prompts_are_not(template: str) -> None:
    assert recognise(template, {"bos_token": "<|begin_of_text|>", "eos_token": "</s>"}) is None


def test_a_directory_with_a_template_of_others(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", byte_level_tokenizer(tmp_path / "tokenizer", LLAMA3_SPECIALS))
    set_chat_template(model, LLAMA3)
    assert directory_format(Tokenizer(model), "plain") is FORMATS["llama3"]
    set_chat_template(model, LLAMA3.replace("'<|eot_id|>'", "'\n<|eot_id|>'"))
    assert directory_format(Tokenizer(model), "llama3") is FORMATS["llama3"], "as --prompt-format says"
    said = r"none of zhllm's formats .*: it writes a question as '<.begin_of_text.>.*\\n\\n'\. Give --prompt-format"
    with pytest.raises(DataError, match=said):
        directory_format(Tokenizer(model), None)


def test_a_base_without_a_template_speaks_as_its_adapters_do(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    folders = {name: tmp_path / name for name in ("rows", "tuned", "other")}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "rows":
            template = FORMATS["plain" if name == "tuned" else "llama2"].jinja()
            (folder / "chat_template.jinja").write_text(template)
    tokenizer = Tokenizer(model)
    assert directory_format(tokenizer, None, [folders["rows"], folders["tuned"]]) is FORMATS["plain"]
    with pytest.raises(DataError, match="other: was tuned in llama2, but .*tuned speaks plain. Merge it"):
        directory_format(tokenizer, None, [folders["tuned"], folders["other"]])
    with pytest.raises(DataError, match="has no chat template"):
        directory_format(tokenizer, None, [folders["rows"]])
    set_chat_template(model, FORMATS["llama2"].jinja())
    with pytest.raises(DataError, match="tuned: was tuned in plain, but .*model speaks llama2"):
        directory_format(tokenizer, None, [folders["tuned"]])


# A template that speaks of tools, too, where there are any.
WITH_TOOLS = "{% if tools is defined and tools %}{{ tools | tojson }}{% endif %}"
DEFAULT = "You are a helpful assistant."


@pytest.mark.parametrize(
    ("name", "template", "specials"),
    [
        ("llama3", WITH_TOOLS + LLAMA3, LLAMA3_SPECIALS),
        ("chatml", WITH_TOOLS + QWEN2, CHATML_SPECIALS),
        ("llama3", LLAMA31, LLAMA3_SPECIALS),
        ("llama3", LLAMA32, LLAMA3_SPECIALS),
        ("chatml", QWEN3, CHATML_SPECIALS),
    ],
)
def test_export_keeps_a_makers_words_and_proves_and_writes_a_modelfile(
    tmp_path: Path, name: str, template: str, specials: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model", byte_level_tokenizer(tmp_path / "tokenizer", specials))
    set_chat_template(model, template)
    out = stage("export", tmp_path / "out", model=model, type=["f16"])
    file = out / "model-f16.gguf"
    assert GgufFile(file).metadata["tokenizer.chat_template"] == template
    chosen = recognise(template, GgufFile(file).template_tokens)
    assert chosen is not None and chosen.name == name
    assert (out / "Modelfile").read_text() == chosen.modelfile("./model-f16.gguf", temperature=0)
    err = capsys.readouterr().err
    assert f"The chat template is {name} in its maker's words" in err
    assert ("proved with these switches" in err) == (template in (LLAMA31, LLAMA32, QWEN3))
    for shown in (model, file):
        code, printed, _ = run(["show", str(shown)], capsys)
        assert code == 0 and f"{name} in other words" in printed and (DEFAULT in printed) == (DEFAULT in template)
    as_it_is = stage("export", tmp_path / "foreign", model=model, type=["f16"], foreign_template=True)
    assert not (as_it_is / "Modelfile").exists(), "the flag asks for no proof"


def test_a_format_with_a_system_prompt_of_its_own_is_exported_without_answer_marks(tmp_path: Path) -> None:
    """As `sft` leaves it on a model that came with such a template: {% generation %} is no word of llama.cpp's."""
    model = random_model(tmp_path / "model", byte_level_tokenizer(tmp_path / "tokenizer", CHATML_SPECIALS))
    chosen = recognise(QWEN2, {})
    assert chosen is not None and "generation" in chosen.jinja()
    set_chat_template(model, chosen.jinja())
    out = stage("export", tmp_path / "out", model=model, type=["f16"])
    file = GgufFile(out / "model-f16.gguf")
    assert file.metadata["tokenizer.chat_template"] == chosen.jinja(mark_answers=False)
    assert DEFAULT in (out / "Modelfile").read_text()


def test_show_reads_chats_in_the_format_of_a_makers_template(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model", byte_level_tokenizer(tmp_path / "tokenizer", LLAMA3_SPECIALS))
    set_chat_template(model, LLAMA3)
    code, out, err = run(["show", str(toy.chats), "-n", "1", "--tokenizer", str(model)], capsys)
    assert code == 0 and 'format "llama3", rows' in out, err
    set_chat_template(model, LLAMA32)
    code, out, err = run(["show", str(toy.chats), "-n", "1", "--tokenizer", str(model)], capsys)
    assert code == 0 and 'format "llama3" (its system prompts begin with' in out and "26 Jul 2024" in out, err
