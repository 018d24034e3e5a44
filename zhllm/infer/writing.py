"""What answers chats, whatever runs the model: answers as they are written, prompts as tokens, texts as vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

from zhllm.errors import DataError
from zhllm.infer.sampling import Sampling, without_tail
from zhllm.model.chat_templates import recognise, shown_prompt
from zhllm.model.directory import chat_template
from zhllm.text.prompt_format import FORMATS, Message, PromptFormat
from zhllm.vocab.tokenizer import Tokenizer

Finish = Literal["stop", "length"]


class PromptTooLongError(DataError):
    """A prompt that leaves no room for an answer."""


class Written:
    """An answer as it is written: iterate for its text, never half a character; nothing is done before that.

    Afterwards `made_tokens` (the end token too) and `finish` hold: "stop" where the model ended it or wrote a
    stop string, "length" where it may not become longer. `close`, from any thread, ends it early.
    """

    def __init__(self, prompt_tokens: int, parts: Callable[[Written], Iterator[str]]) -> None:
        self.prompt_tokens, self.made_tokens = prompt_tokens, 0
        self.finish: str | None = None
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None
        self._parts = parts(self)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.closed:
            raise StopIteration
        return next(self._parts)

    def close(self) -> None:
        """Want no more text."""
        self.closed = True
        self.on_close()


class Engine(ABC):
    """Answers chats. Use as a context manager."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens of prompt and answer together at most."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that `stream` and `write` take for `adapter`."""
        return ()

    @abstractmethod
    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""

    @abstractmethod
    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat."""

    @abstractmethod
    def stream(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Written:
        """The answer as it is written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 - one that holds nothing has nothing to do
        """Free what the engine holds."""


class LocalEngine(Engine):
    """An engine that tokenises here: chats and plain text become ids, ids become text."""

    chat_format: PromptFormat

    @abstractmethod
    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the rendered prompt; DataError where there is no room for an answer."""

    @abstractmethod
    def text_prompt(self, text: str) -> list[int]:
        """Ids of plain text to go on with, BOS before it; DataError as `chat_prompt`."""

    @abstractmethod
    def _parts(
        self, prompt: Sequence[int], sampling: Sampling, adapter: str | None, is_chat: bool, written: Written
    ) -> Iterator[str]:
        """The text of an answer as it is written; counts it in `written`."""

    @abstractmethod
    def embed(self, texts: Sequence[str], adapter: str | None = None) -> tuple[list[list[float]], int]:
        """A vector of length 1 for each text (the mean of the last hidden states), and the tokens read."""

    def write(
        self, prompt: Sequence[int], sampling: Sampling, adapter: str | None = None, is_chat: bool = True
    ) -> Written:
        """What follows the prompt; of a chat without the space before it, and up to the format's stop strings.

        What the format writes between an answer and its end token (a space in llama2) is left out too.
        """
        parts = partial(self._parts, prompt, sampling, adapter, is_chat)
        tail = self.chat_format.tail if is_chat else ""
        return Written(len(prompt), (lambda written: without_tail(parts(written), tail)) if tail else parts)

    def stream(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Written:
        """The answer as it is written."""
        return self.write(self.chat_prompt(messages), sampling, adapter)

    def fitting(self, ids: list[int], model: Path) -> list[int]:
        """The ids of a prompt; PromptTooLongError where there is no room for an answer."""
        if len(ids) >= self.context:
            limit = f"{model} reads {self.context} with its answer"
            raise PromptTooLongError(f"the prompt has {len(ids)} tokens, but {limit}. Shorten it.")
        return ids

    def stops(self, sampling: Sampling, is_chat: bool) -> tuple[str, ...]:
        """Where an answer ends as text."""
        return (*sampling.stop, *(self.chat_format.stop_strings if is_chat else ()))


def choose_format(
    model: Path, template: str | None, fallback: str | None, tokens: Mapping[str, str] | None = None
) -> PromptFormat:
    """The format of a model's own template, also of one in other words, else the fallback.

    `tokens` are the "bos_token" and "eos_token" that the template may name.
    """
    if template is not None:
        found = recognise(template, tokens or {})
        if found is None and fallback is None:
            raise DataError(
                f"{model}: its chat template is none of zhllm's formats ({', '.join(FORMATS)}): "
                f"{shown_prompt(template, tokens or {})}. Give --prompt-format to choose one."
            )
        if found is not None:
            return found
    if fallback is None:
        raise DataError(f"{model}: has no chat template (a base model?). Give --prompt-format.")
    return FORMATS[fallback]


def directory_format(tokenizer: Tokenizer, fallback: str | None, adapters: Iterable[Path] = ()) -> PromptFormat:
    """`choose_format` of a model directory with adapters on it, which is theirs where the model has no template.

    DataError where two of them write turns in different ways: one prompt cannot serve both.
    """
    tokens = template_tokens(tokenizer)
    spoken = {folder: found for folder in adapters if (found := chat_template(folder)) is not None}
    template = chat_template(tokenizer.folder)
    first = next(iter(spoken), tokenizer.folder)
    source, template = (first, spoken.get(first)) if template is None else (tokenizer.folder, template)
    chosen = choose_format(source, template, fallback, tokens)
    for folder, other in spoken.items():
        tuned = recognise(other, tokens)
        if tuned != chosen:
            name = "a foreign chat template" if tuned is None else tuned.name
            raise DataError(f"{folder}: was tuned in {name}, but {source} speaks {chosen.name}. Merge it instead.")
    return chosen


def template_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The "bos_token" and "eos_token" that a chat template may name, as the tokenizer writes them."""
    ids = {f"{role}_token": tokenizer.special_id(role) for role in ("bos", "eos")}
    return {name: tokenizer.decode([found], keep_special=True) for name, found in ids.items() if found is not None}
