"""chat: talk to a model directory or a GGUF file in the terminal."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from zhllm.config import PromptFormatName
from zhllm.errors import DataError
from zhllm.progress import say

if TYPE_CHECKING:
    from zhllm.infer.engine import Engine, Sampling
    from zhllm.text.prompt_format import Message

FORMATS = click.Choice(get_args(PromptFormatName))
SHARE = click.FloatRange(0, 1, min_open=True)
POSITIVE = click.FloatRange(0, min_open=True)


@click.command(context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--once", metavar="TEXT", help="Answer this on stdout and leave (for scripts).")
@click.option("--system", metavar="TEXT", help="System prompt.")
@click.option("--prompt-format", type=FORMATS, help="For a model without a chat template.")
@click.option("--max-tokens", default=256, type=click.IntRange(1), help="Longest answer, in tokens.")
@click.option("--temperature", default=0.0, type=click.FloatRange(0), help="0 takes the likeliest token.")
@click.option("--top-p", default=1.0, type=SHARE, help="Draw among the likeliest that hold this share; 1 is off.")
@click.option("--top-k", default=0, type=click.IntRange(0), help="Draw among the k likeliest; 0 is off.")
@click.option("--min-p", default=0.0, type=click.FloatRange(0, 1), help="Least share of the likeliest's; 0 is off.")
@click.option("--repeat-penalty", default=1.0, type=POSITIVE, help="Above 1: repeat less; 1 is off.")
@click.option("--seed", default=0, help="Seed of the draws.")
def command(
    model: Path, once: str | None, system: str | None, prompt_format: str | None, max_tokens: int, **draws: float
) -> None:
    """Talk to MODEL: a model directory (transformers) or a .gguf file (llama.cpp).

    The conversation goes on over several turns; when it no longer fits, its oldest turns leave it.
    /clear starts anew, /exit or Ctrl-D leaves, Ctrl-C ends an answer.

    \b
    zhllm chat runs/demo/merge
    zhllm chat runs/demo/export/company-q8_0.gguf --once "保修期多长？"
    """
    from zhllm.infer.engine import Sampling, open_engine

    sampling = Sampling(max_tokens=max_tokens, **draws)  # type: ignore[arg-type]
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    with open_engine(model, prompt_format) as engine:
        if once is not None:
            _answer(engine, [*start, {"role": "user", "content": once}], sampling)
            return
        _talk(engine, start, sampling)


def _talk(engine: Engine, start: list[Message], sampling: Sampling) -> None:
    at_terminal = sys.stdin.isatty()  # from a pipe come questions only, and only answers go to stdout
    if at_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401 - gives input() line editing and history
    say("/clear starts anew, /exit leaves")
    history = list(start)
    while True:
        try:
            text = input("> " if at_terminal else "").strip()
        except EOFError:
            if at_terminal:
                click.echo()
            return
        if text == "/exit":
            return
        if not text.isprintable() and "\udc80" <= max(text) <= "\udcff":
            raise DataError("the input is not UTF-8. Set the terminal to UTF-8, or convert what is piped in.")
        if text == "/clear":
            history = list(start)
        elif text:
            history.append({"role": "user", "content": text})
            try:
                history = shorten(engine, history, len(start), sampling.max_tokens)
                reply = _answer(engine, history, sampling)
            except DataError as error:
                say(f"error: {error}")
                history.pop()
                continue
            history.append({"role": "assistant", "content": reply})


def _answer(engine: Engine, history: list[Message], sampling: Sampling) -> str:
    """Print the answer as it comes; Ctrl-C keeps what is there."""
    shorten(engine, history, len(history) - 1, sampling.max_tokens)
    parts: list[str] = []
    try:
        for part in engine.stream(history, sampling):
            parts.append(part)
            click.echo(part, nl=False)
    except KeyboardInterrupt:
        say(" [stopped]")
    click.echo()
    return "".join(parts).strip()


def shorten(engine: Engine, history: list[Message], keep_first: int, max_tokens: int) -> list[Message]:
    """The history without its oldest exchanges where it would not fit; DataError for a turn too long by itself."""
    room = engine.context - min(max_tokens, engine.context // 2)
    kept = list(history)
    while engine.prompt_tokens(kept) > room:
        if len(kept) - keep_first <= 1:
            raise DataError(
                f"the prompt has {engine.prompt_tokens(kept)} tokens; with {engine.context - room} for the answer "
                f"the model reads {room}. Shorten it."
            )
        del kept[keep_first : keep_first + 2]
    return kept
