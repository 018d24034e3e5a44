"""The chat in the terminal: several turns, /clear, /exit, a history that stays within the context."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from toys import Toy, random_model

from zhllm.cli import main
from zhllm.errors import DataError
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import Engine, Written
from zhllm.text.chats import read_chats
from zhllm.text.prompt_format import Message
from zhllm.tools.chat import shorten


class Counting(Engine):
    """An engine of 100 tokens, one a character, that answers with the number of turns it was shown."""

    context = 100
    adapters = ("law", "faq")

    def __init__(self) -> None:
        self.seen: list[list[Message]] = []
        self.asked: list[tuple[Sampling, str | None]] = []
        self.interrupted = False

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m["content"]) for m in messages)

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        raise NotImplementedError

    def stream(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Written:
        self.seen.append(list(messages))
        self.asked.append((sampling, adapter))

        def parts(written: Written) -> Iterator[str]:
            yield f"答{len(messages)}"
            if self.interrupted:
                raise KeyboardInterrupt
            yield "。"

        return Written(0, parts)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr("zhllm.infer.engine.open_engine", lambda *_: made)
    return made


def talk(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str, model: str = "/tmp"
) -> tuple[int, str, str]:
    """`zhllm chat` with these lines on stdin."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    with pytest.raises(SystemExit) as left:
        main(["chat", model, *options])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def contents(messages: Sequence[Message]) -> list[str]:
    return [m["content"] for m in messages]


def test_a_conversation_goes_on_until_clear(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = talk("一\n\n二\n/clear\n三\n/exit\n四\n", monkeypatch, capsys, "--max-tokens", "10")
    assert (code, out) == (0, "答1。\n答3。\n答1。\n")
    assert [contents(seen) for seen in engine.seen] == [["一"], ["一", "答1。", "二"], ["三"]]


def test_the_system_prompt_stays_and_the_end_of_input_leaves(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = talk("一\n/clear\n二", monkeypatch, capsys, "--system", "规则")
    assert (code, out) == (0, "答2。\n答2。\n")
    assert [contents(seen) for seen in engine.seen] == [["规则", "一"], ["规则", "二"]]
    assert engine.seen[0][0]["role"] == "system"


def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.interrupted = True
    code, out, err = talk("一\n二\n", monkeypatch, capsys)
    assert (code, out) == (0, "答1\n答3\n") and err.count("[stopped]") == 2
    assert contents(engine.seen[1]) == ["一", "答1", "二"]


def test_a_question_too_long_by_itself_is_refused_and_forgotten(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = talk("一\n" + "长" * 91 + "\n二\n", monkeypatch, capsys, "--max-tokens", "10")
    assert (code, out) == (0, "答1。\n答3。\n")
    assert "the prompt has 91 tokens; with 10 for the answer the model reads 90" in err
    assert contents(engine.seen[1]) == ["一", "答1。", "二"]
    once = talk("", monkeypatch, capsys, "--once", "长" * 91, "--max-tokens", "10")
    assert once[0] == DataError.exit_code and once[1] == "" and once[2].count("\n") == 1


def test_the_oldest_exchanges_leave_a_long_history(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "".join(f"{number}{'问' * 29}\n" for number in range(4))
    talk(typed, monkeypatch, capsys, "--max-tokens", "10", "--system", "规则")
    assert [[c[0] for c in contents(seen)] for seen in engine.seen] == [
        ["规", "0"], ["规", "0", "答", "1"], ["规", "1", "答", "2"], ["规", "2", "答", "3"],
    ]  # fmt: skip


def test_half_of_the_context_at_most_is_kept_for_the_answer() -> None:
    history: list[Message] = [{"role": "user", "content": "问" * 50}]
    assert shorten(Counting(), history, 0, max_tokens=4096) == history
    with pytest.raises(DataError, match="51 tokens; with 50 for the answer the model reads 50"):
        shorten(Counting(), [{"role": "user", "content": "问" * 51}], 0, max_tokens=4096)


def test_a_real_model_talks(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(random_model(tmp_path / "model", toy.extended))
    options = ("--prompt-format", "plain", "--max-tokens", "8")
    _, once, _ = talk("", monkeypatch, capsys, *options, "--once", "样品在哪里？", model=model)
    code, both, _ = talk("样品在哪里？\n/clear\n样品在哪里？\n", monkeypatch, capsys, *options, model=model)
    assert code == 0 and both == once * 2 and once.strip()


def test_commands_of_a_conversation(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "said.jsonl"
    typed = "一\n/again\n/set temperature 0.5\n/adapter faq\n二\n/adapter\n"
    typed += f"/save {saved}\n/system 新规则\n三\n/system\n四\n"
    code, out, err = talk(typed, monkeypatch, capsys, "--system", "规则")
    assert (code, out) == (0, "答2。\n答2。\n答4。\n答2。\n答1。\n")
    assert [contents(seen) for seen in engine.seen] == [
        ["规则", "一"], ["规则", "一"], ["规则", "一", "答2。", "二"], ["新规则", "三"], ["四"],
    ]  # fmt: skip
    assert [(s.temperature, adapter) for s, adapter in engine.asked] == [
        (0.0, None), (0.0, None), (0.5, "faq"), (0.5, None), (0.5, None),
    ]  # fmt: skip
    assert "now faq" in err and "now the base" in err
    (chat,) = read_chats([saved])
    assert contents(chat.messages) == ["规则", "一", "答2。", "二", "答4。"]


def test_mistakes_in_commands_are_one_line_each(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "/set temperature -1\n/set top_p 5\n/set max_tokens 0\n/set min_p nan\n/set temperature\n/save\n"
    typed += (
        "好🦄\udcff\n/claer\n/again\n/adapter lew\n/set temprature 1\n/set top_p viel\n/save x/y/z\n一\n/set\n/help\n"
    )
    code, out, err = talk(typed, monkeypatch, capsys)
    assert (code, out) == (0, "答1。\n")
    for message in (
        '/claer: is not a command. Did you mean "/clear"?', "/again: nothing was asked yet",
        '/adapter lew: there is no such adapter. Did you mean "law"?',
        '/set temprature: there is no such setting. Did you mean "temperature"?',
        "temperature -1.0: must be from 0 to 100", "top_p 5.0: must be more than 0, at most 1",
        "the input is not UTF-8", "max_tokens 0: must be 1 or more", "min_p nan: must be from 0 to 1",
        "/set temperature: give a name and a value", "/save: name the file",
        "/set top_p viel: is not a number", "/save: nothing was said yet", "temperature 0.0, top_p 1.0", "/again",
    ):  # fmt: skip
        assert message in err


def test_only_so_many_turns_are_shown(
    engine: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk("一\n二\n三\n", monkeypatch, capsys, "--turns", "1", "--system", "规则")
    assert [len(seen) for seen in engine.seen] == [2, 4, 4]
    talk("一\n二\n", monkeypatch, capsys, "--turns", "0")
    assert [contents(seen) for seen in engine.seen[3:]] == [["一"], ["二"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--adapter", "law"), "--adapter law: give NAME=PATH"),
        (("--adapter", "law=nowhere"), "there is no nowhere"),
        (("--adapter", "a=/tmp", "--adapter", "a=/tmp"), "the name a is given twice"),
    ],
)
def test_adapters_are_named(
    options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = talk("", monkeypatch, capsys, *options)
    assert code == 2 and message in err


def test_what_is_pasted_into_a_terminal_is_one_question() -> None:
    pytest.importorskip("readline")
    code = "from zhllm.tools.chat import _remember_lines, _typed\n_remember_lines(None)\nprint(ascii(_typed(True)))"
    parent, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal, env=env) as child:
        try:
            os.close(terminal)
            shown = _until(parent, b"\x1b[?2004h")  # readline asks the terminal to mark what is pasted
            if b"> " not in shown:
                _until(parent, b"> ")
            os.write(parent, "\x1b[200~第一行\nsecond 🦄\x1b[201~\r".encode())
            assert ascii("第一行\nsecond 🦄").encode() in _until(parent, b"'\r\n")
            assert child.wait(20) == 0
        finally:
            child.kill()
    os.close(parent)


def _until(fd: int, sign: bytes) -> bytes:
    seen = b""
    while sign not in seen:
        assert select.select([fd], [], [], 60)[0], seen
        seen += os.read(fd, 4096)
    return seen
