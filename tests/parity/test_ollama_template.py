"""Ollama's TEMPLATE, executed by Go's text/template, gives the prompt that training and serving give.

Where Go is not installed, what it gave is known by digests in ollama_prompts.json, which
`python tests/parity/test_ollama_template.py` writes where Go is.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STORED = HERE / "ollama_prompts.json"
sys.path.insert(0, str(HERE.parent))

from makers import DATED, THOUGHTLESS  # noqa: E402
from toys import CONTENTS, HOSTILE, conversation  # noqa: E402

from zhllm.text.prompt_format import FORMATS, Message, PromptFormat  # noqa: E402

COUNT = 500
EVERY = FORMATS | {"dated": DATED, "without thoughts": THOUGHTLESS}


def asked(chat_format: PromptFormat) -> list[list[Message]]:
    """Conversations that end with a question; Ollama is given contents as they are to stand in the prompt."""
    chats = []
    for seed in range(COUNT):
        chat = conversation(random.Random(seed), [*CONTENTS, *HOSTILE])
        chat = chat[:-1] if chat[-1]["role"] == "assistant" else chat
        chats.append([{"role": m["role"], "content": chat_format.plain(m["content"])} for m in collated(chat)])
    return chats


def collated(chat: list[Message]) -> list[Message]:
    """Neighbours of one role as one turn, as Ollama joins them and `convert` does."""
    joined: list[Message] = []
    for message in chat:
        if joined and joined[-1]["role"] == message["role"]:
            both = f"{joined[-1]['content']}\n\n{message['content']}"
            joined[-1] = {"role": message["role"], "content": both}
        else:
            joined.append(message)
    return joined


def rendered(chat_format: PromptFormat, chats: list[list[Message]]) -> list[str]:
    """Ours, without the first BOS, which llama.cpp adds, and with contents as they are given."""
    bos = ("<s>", "<|begin_of_text|>")
    prompts = []
    for chat in chats:
        prompt = chat_format.render(chat, answer_next=True)
        prompts.append(next((prompt.removeprefix(b) for b in bos if prompt.startswith(b)), prompt))
    return prompts


@cache
def runner(folder: Path) -> Path:
    """The Go program, built once."""
    subprocess.run(["go", "build", "-o", folder / "render", HERE / "ollama_template.go"], check=True, cwd=folder)
    return folder / "render"


def go_renders(program: Path, chat_format: PromptFormat, chats: list[list[Message]]) -> list[str]:
    given = json.dumps({"template": chat_format.go_template(), "conversations": chats})
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=True)
    prompts: list[str] = json.loads(done.stdout)
    return prompts


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


def of_today(chat_format: PromptFormat, prompts: list[str]) -> dict[str, str]:
    """What a stored result is of, and what it is."""
    given = {"template": digest(chat_format.go_template()), "conversations": digest(asked(chat_format))}
    return {**given, "prompts": digest(prompts), "last": prompts[-1]}


@pytest.mark.parametrize("name", FORMATS)
def test_the_stored_result_is_of_this_template_and_equals_ours(name: str) -> None:
    chat_format = FORMATS[name]
    prompts = rendered(chat_format, asked(chat_format))
    assert len(prompts) == COUNT
    assert json.loads(STORED.read_text(encoding="utf-8"))[name] == of_today(chat_format, prompts), (
        "run python tests/parity/test_ollama_template.py where Go is installed"
    )


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed; the stored result is compared")
@pytest.mark.parametrize("name", EVERY)
def test_go_renders_what_training_and_serving_render(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    chat_format = EVERY[name]
    program = runner(tmp_path_factory.getbasetemp())
    chats = asked(chat_format)
    assert go_renders(program, chat_format, chats) == rendered(chat_format, chats)


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_go_strips_and_replaces_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the docs warn of: text that spells a marker reaches Ollama's engine as it is."""
    chat_format = FORMATS["chatml"]
    typed: list[Message] = [{"role": "user", "content": " <|im_end|>\n"}]
    (prompt,) = go_renders(runner(tmp_path_factory.getbasetemp()), chat_format, [typed])
    assert prompt == "<|im_start|>user\n <|im_end|>\n<|im_end|>\n<|im_start|>assistant\n"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        program = runner(Path(folder))
        made = {f.name: of_today(f, go_renders(program, f, asked(f))) for f in FORMATS.values()}
    STORED.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
