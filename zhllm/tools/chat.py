"""chat: talk to a model directory, a GGUF file or a server in the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zhllm.config import nearest
from zhllm.errors import ConfigError, DataError, ZhllmError
from zhllm.progress import say
from zhllm.tools._options import FORMATS, KEY_VARIABLE, adapters_of, sampling_options

if TYPE_CHECKING:
    from zhllm.infer.sampling import Sampling
    from zhllm.infer.writing import Engine, Written
    from zhllm.text.prompt_format import Message

HISTORY_LINES = 1000

HELP = """\
/clear              start anew (the system prompt stays)
/system [TEXT]      set the system prompt and start anew; without TEXT there is none
/again              answer the last question again
/adapter [NAME]     use an adapter from here on; without NAME the base
/set NAME VALUE     change a setting of sampling, e.g. /set temperature 0.7; /set shows them
/save FILE          write the conversation as a canonical chat (JSON line)
/exit               leave (as Ctrl-D does); Ctrl-C ends an answer"""


@click.command(context_settings={"show_default": True})
@click.argument("model")
@click.option("--once", metavar="TEXT", help="Answer this on stdout and leave (for scripts).")
@click.option("--system", metavar="TEXT", help="System prompt.")
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="An adapter; the first is used.")
@click.option("--turns", type=click.IntRange(0), help="Past exchanges shown to the model.  [default: all that fit]")
@click.option("--remote-model", metavar="NAME", help="Which model of a server.  [default: its first]")
@click.option("--prompt-format", type=FORMATS, help="For a model without a chat template.")
@click.option("--history-file", type=click.Path(path_type=Path, dir_okay=False), help="Keep typed lines here.")
@sampling_options
def command(
    model: str, once: str | None, system: str | None, adapters: tuple[str, ...], turns: int | None,
    remote_model: str | None, prompt_format: str | None, history_file: Path | None, **draws: Any,
) -> None:  # fmt: skip
    """Talk to MODEL: a model directory (transformers), a .gguf file (llama.cpp), or the URL of a server.

    The conversation goes on over several turns; when it no longer fits, its oldest turns leave it. /help lists
    what can be typed besides questions. A server's key is read from ZHLLM_API_KEY.

    \b
    zhllm chat runs/demo/merge
    zhllm chat runs/demo/export/company-q8_0.gguf --once "保修期多长？"
    zhllm chat http://127.0.0.1:8000/v1 --temperature 0.7
    """
    from zhllm.infer.engine import open_engine
    from zhllm.infer.sampling import Sampling

    if once is not None and not once.strip():
        raise ConfigError("--once: the question is empty.")
    named = adapters_of(adapters, model)
    engine = open_engine(model, prompt_format, 1, named, os.environ.get(KEY_VARIABLE), remote_model)
    with engine:
        talk = Talk(engine, Sampling(**draws), system, turns, next(iter(named), None))
        if once is not None:
            talk.is_once = True
            talk.ask(once)
        else:
            _talk(talk, history_file)


class Talk:
    """A conversation: what was said, with which settings, by which adapter."""

    def __init__(
        self, engine: Engine, sampling: Sampling, system: str | None, turns: int | None, adapter: str | None
    ) -> None:
        self.engine, self.sampling, self.turns, self.adapter = engine, sampling, turns, adapter
        self.is_once = False  # Ctrl-C then leaves, as scripts expect
        self.begin(system)

    def begin(self, system: str | None) -> None:
        """Start anew."""
        self.start: list[Message] = [{"role": "system", "content": system}] if system else []
        self.history: list[Message] = list(self.start)

    def ask(self, text: str) -> None:
        """Print the answer to a question; where it cannot be answered, the question is forgotten."""
        before = list(self.history)
        self.history.append({"role": "user", "content": text})
        try:
            self.history.append({"role": "assistant", "content": self._answer()})
        except BaseException:
            self.history = before
            raise

    def _answer(self) -> str:
        """Print the answer as it comes; Ctrl-C keeps what is there."""
        from zhllm.infer.writing import PromptTooLongError

        shown = shorten(self.engine, self._recent(), len(self.start), self.sampling.max_tokens)
        while True:
            try:
                return self._shown(self.engine.stream(shown, self.sampling, self.adapter))
            except PromptTooLongError:  # what a server says, whose tokens nobody can count here
                if len(shown) - len(self.start) <= 1:
                    raise
                del shown[len(self.start) : len(self.start) + 2]

    def _shown(self, written: Written) -> str:
        """Print what is written; a line that an error cuts off is ended."""
        parts: list[str] = []
        try:
            for part in written:
                parts.append(part)
                click.echo(part, nl=False)
        except KeyboardInterrupt:
            if self.is_once:
                raise
            say(" [stopped]")
        except BaseException:
            if parts:
                click.echo()
            raise
        finally:
            written.close()
        click.echo()
        return "".join(parts).strip()

    def _recent(self) -> list[Message]:
        said = self.history[len(self.start) :]
        kept = said if self.turns is None else said[-(2 * self.turns + 1) :]
        return [*self.start, *kept]

    def again(self) -> None:
        """Answer the last question again."""
        if len(self.history) - len(self.start) < 2:
            raise DataError("/again: nothing was asked yet.")
        question = self.history[-2]["content"]
        del self.history[-2:]
        self.ask(question)

    def use(self, adapter: str) -> None:
        """Switch to an adapter; "" is the base."""
        if adapter and adapter not in self.engine.adapters:
            raise ConfigError(f"/adapter {adapter}: there is no such adapter.{nearest(adapter, self.engine.adapters)}")
        self.adapter = adapter or None
        say(f"now {adapter or 'the base'}")

    def set(self, words: list[str]) -> None:
        """Change a setting of sampling, or show them all."""
        known = {f.name: f.default for f in fields(self.sampling) if f.name != "stop"}
        if not words:
            say(", ".join(f"{name} {getattr(self.sampling, name)}" for name in known))
            return
        if len(words) != 2:
            raise ConfigError(f"/set {' '.join(words)}: give a name and a value, e.g. /set temperature 0.7.")
        name, text = words
        if name not in known:
            raise ConfigError(f"/set {name}: there is no such setting.{nearest(name, list(known))}")
        try:
            value = int(text) if isinstance(known[name], int) else float(text)
        except ValueError:
            raise ConfigError(f"/set {name} {text}: is not a number.") from None
        self.sampling = replace(self.sampling, **{name: value})  # type: ignore[arg-type]

    def save(self, path: str) -> None:
        """Append the conversation to a file, as a canonical chat."""
        from zhllm.text.chats import Chat

        if not path:
            raise ConfigError("/save: name the file, e.g. /save chats.jsonl.")
        if self.history[-1:] == self.start[-1:]:
            raise DataError("/save: nothing was said yet.")
        try:
            with Path(path).open("ab") as file:
                file.write(Chat("chat", tuple(self.history), "zhllm chat").to_json())
        except OSError as error:
            raise DataError(f"/save {path}: cannot be written ({error.strerror}).") from error
        say(f"saved to {path}")


def _talk(talk: Talk, history_file: Path | None) -> None:
    at_terminal = sys.stdin.isatty()  # from a pipe come questions only, and only answers go to stdout
    if at_terminal:
        _remember_lines(history_file)
    say("/help lists commands, /exit leaves")
    while True:
        try:
            text = _typed(at_terminal)
            if text in (None, "/exit"):
                return
            assert text is not None
            if text.startswith("/"):
                _obey(talk, text)
            elif text:
                talk.ask(text)
        except KeyboardInterrupt:  # before the first word of an answer
            say(" [stopped]")
        except ZhllmError as error:
            say(f"error: {error}")


def _typed(at_terminal: bool) -> str | None:
    """The next line; None at the end."""
    try:
        text = input("> " if at_terminal else "").strip()
    except EOFError:
        if at_terminal:
            click.echo()
        return None
    except KeyboardInterrupt:
        click.echo()
        return ""
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        raise DataError("the input is not UTF-8. Set the terminal to UTF-8, or convert what is piped in.")
    return text


def _obey(talk: Talk, text: str) -> None:
    """Do what a line that begins with / asks for; ConfigError for an unknown one."""
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    commands: dict[str, Callable[[], None]] = {
        "/clear": lambda: talk.begin(talk.start[0]["content"] if talk.start else None),
        "/system": lambda: talk.begin(rest or None),
        "/again": talk.again,
        "/adapter": lambda: talk.use(rest),
        "/set": lambda: talk.set(rest.split()),
        "/save": lambda: talk.save(rest),
        "/help": lambda: say(HELP),
    }
    if name not in commands:
        raise ConfigError(f"{name}: is not a command.{nearest(name, [*commands, '/exit'])} /help lists them.")
    commands[name]()


def _remember_lines(path: Path | None) -> None:
    """Line editing and history, kept in a file where one is named."""
    with suppress(ImportError):
        import atexit
        import readline

        # What is pasted is one question, however many lines it has (GNU readline 8; others ignore it).
        readline.parse_and_bind("set enable-bracketed-paste on")
        if path is not None:
            with suppress(OSError):
                readline.read_history_file(path)
            readline.set_history_length(HISTORY_LINES)
            atexit.register(_write_history, path)


def _write_history(path: Path) -> None:
    import readline

    try:
        readline.write_history_file(path)
        path.chmod(0o600)  # what was asked is private
    except OSError as error:
        say(f"--history-file {path}: cannot be written ({error.strerror}).")


def shorten(engine: Engine, history: list[Message], keep_first: int, max_tokens: int) -> list[Message]:
    """The history without its oldest exchanges where it would not fit; DataError for a turn too long by itself."""
    room = engine.context - min(max_tokens, engine.context // 2)
    kept = list(history)
    while (tokens := engine.prompt_tokens(kept)) > room:
        if len(kept) - keep_first <= 1:
            raise DataError(
                f"the prompt has {tokens} tokens; with {engine.context - room} for the answer "
                f"the model reads {room}. Shorten it."
            )
        del kept[keep_first : keep_first + 2]
    return kept
