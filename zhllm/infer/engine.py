"""Engines that answer chats: a model directory through transformers, a GGUF through llama.cpp.

Both are given the same rendered prompt, so the same model gives the same answer in either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from zhllm.errors import DataError
from zhllm.infer.llamacpp import until_stop
from zhllm.model.chat_templates import recognise
from zhllm.model.directory import chat_template, check_vocabulary
from zhllm.model.transformers_model import check_model_directory
from zhllm.text.prompt_format import FORMATS, Message, PromptFormat
from zhllm.train.chats import prompt_ids
from zhllm.vocab.tokenizer import Tokenizer

# llama.cpp takes the memory of the whole context at the start: 4 GB for a Llama-2-7B at 8192.
MAX_CONTEXT = 8192

# Prompts answered at once by transformers.
BATCH = 64


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0


class Engine(ABC):
    """Answers chats. Use as a context manager."""

    chat_format: PromptFormat

    @abstractmethod
    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""

    @abstractmethod
    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat."""

    @abstractmethod
    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The answer as it is written, never half a character."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens of prompt and answer together at most."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 - one that holds nothing has nothing to do
        """Free what the engine holds."""


def open_engine(model: Path, fallback_format: str | None = None, parallel: int = 1) -> Engine:
    """The engine for a model directory or a .gguf file.

    `fallback_format` names the prompt format of a model that carries no chat template; `parallel`
    chats are answered at once by llama.cpp, with memory for as many contexts. Raises
    DataError when there is neither, or the template is not one of zhllm's formats.
    """
    if model.is_dir():
        check_model_directory(model)
        return TransformersEngine(model, fallback_format)
    if model.suffix == ".gguf":
        return LlamaEngine(model, fallback_format, parallel)
    raise DataError(f"{model}: is neither a model directory nor a .gguf file.")


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
                f"{model}: its chat template is none of zhllm's formats ({', '.join(FORMATS)}). "
                "Give --prompt-format to choose one."
            )
        if found is not None:
            return found
    if fallback is None:
        raise DataError(f"{model}: has no chat template (a base model?). Give --prompt-format.")
    return FORMATS[fallback]


def directory_format(tokenizer: Tokenizer, fallback: str | None) -> PromptFormat:
    """`choose_format` of a model directory."""
    ids = {f"{role}_token": tokenizer.special_id(role) for role in ("bos", "eos")}
    tokens = {name: tokenizer.decode([found], keep_special=True) for name, found in ids.items() if found is not None}
    return choose_format(tokenizer.folder, chat_template(tokenizer.folder), fallback, tokens)


class TransformersEngine(Engine):
    """A model directory in this process."""

    def __init__(self, model: Path, fallback_format: str | None) -> None:
        import torch

        from zhllm.model.transformers_model import open_model

        self.tokenizer = Tokenizer(model)
        self.chat_format = directory_format(self.tokenizer, fallback_format)
        check_vocabulary(model, self.tokenizer)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = open_model(model).to(self.device)
        self.ends = self.chat_format.end_token_ids(self.tokenizer)

    @property
    def context(self) -> int:
        """The model's own limit."""
        return int(self.model.config.max_position_embeddings)

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        ids = prompt_ids(messages, self.chat_format, self.tokenizer)
        if len(ids) >= self.context:
            limit = f"{self.tokenizer.folder} reads {self.context} with its answer"
            raise DataError(f"the prompt has {len(ids)} tokens, but {limit}. Shorten it.")
        return ids

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""
        return len(prompt_ids(messages, self.chat_format, self.tokenizer))

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat, in batches of prompts of similar length."""
        prompts = [self._ids(chat) for chat in chats]
        answers = [""] * len(chats)
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(prompts), BATCH):
            indices = by_length[start : start + BATCH]
            made = greedy(self.model, [prompts[i] for i in indices], max_tokens, self.ends, self.context)
            for index, ids in zip(indices, made, strict=True):
                answers[index] = self._cut(decode_whole(self.tokenizer, ids)).strip()
        return answers

    def _cut(self, text: str) -> str:
        return "".join(until_stop(iter([text]), self.chat_format.stop_strings))

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The answer as it is written, never half a character."""
        import torch

        ids = torch.tensor([self._ids(messages)], device=self.device)
        generator = torch.Generator(self.device).manual_seed(sampling.seed)
        tokens = islice(_sampled(self.model, ids, sampling, self.ends, generator), self.context - ids.shape[1])
        yield from until_stop(decode_stream(self.tokenizer, tokens), self.chat_format.stop_strings)


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, ends: Sequence[int], context: int
) -> list[list[int]]:
    """The likeliest continuation of each prompt, up to its end token (left out).

    Prompt and continuation together have `context` tokens at most. Shorter prompts are padded on the
    left; the mask and the positions keep the padding unseen.
    """
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    made: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(len(prompts)))
    cache = None
    for _ in range(max_tokens):
        with torch.no_grad():
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        cache, ids = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
        for row, token in enumerate(ids[:, 0].tolist()):
            if token in ends:
                open_rows.discard(row)
            if row in open_rows:
                made[row].append(token)
                if len(prompts[row]) + len(made[row]) == context:
                    open_rows.discard(row)
        if not open_rows:
            break
    return made


def _sampled(model: Any, ids: Any, sampling: Sampling, ends: Sequence[int], generator: Any) -> Iterator[int]:
    import torch

    cache, step_ids, every = None, ids, ids
    for _ in range(sampling.max_tokens):
        with torch.no_grad():
            out = model(input_ids=step_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        step_ids = _draw(out.logits[:, -1].float(), every, sampling, generator)
        every = torch.cat([every, step_ids], dim=1)
        token = int(step_ids)
        if token in ends:
            return
        yield token


def _draw(logits: Any, seen: Any, sampling: Sampling, generator: Any) -> Any:
    """(1, 1) next id: repetition penalty, temperature, top-k, top-p, min-p, in transformers' order."""
    import torch
    from transformers import generation

    steps: list[Any] = []
    if sampling.repeat_penalty != 1.0:
        steps.append(generation.RepetitionPenaltyLogitsProcessor(sampling.repeat_penalty))
    if sampling.temperature == 0.0:
        for step in steps:
            logits = step(seen, logits)
        return logits.argmax(-1, keepdim=True)
    steps.append(generation.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(generation.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        steps.append(generation.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        steps.append(generation.MinPLogitsWarper(sampling.min_p))
    for step in steps:
        logits = step(seen, logits)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)


def decode_whole(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of ids, without the bytes of a last character that is not complete.

    At most three bytes can wait for a fourth. They are left out before decoding, because tokenizers
    takes a run of byte tokens for invalid as a whole when its last character is cut.
    """
    texts = (tokenizer.decode(ids[: len(ids) - cut]) for cut in range(4))
    return next((text for text in texts if not text.endswith("\ufffd")), tokenizer.decode(ids))


def decode_stream(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    """Text as soon as whole characters are there; a byte-fallback character waits for its last byte."""
    ids: list[int] = []
    shown = 0
    for token in tokens:
        ids.append(token)
        whole = decode_whole(tokenizer, ids).lstrip()
        if len(whole) > shown:
            yield whole[shown:]
            shown = len(whole)


class LlamaEngine(Engine):
    """A GGUF file in llama.cpp, in a child process."""

    def __init__(self, model: Path, fallback_format: str | None, parallel: int) -> None:
        from zhllm.infer.llamacpp import LlamaServer
        from zhllm.model.gguf_read import GgufFile

        metadata = GgufFile(model).metadata
        spelt, ids = metadata.get("tokenizer.ggml.tokens", []), ("bos", "eos")
        named = {f"{role}_token": metadata.get(f"tokenizer.ggml.{role}_token_id") for role in ids}
        tokens = {name: str(spelt[i]) for name, i in named.items() if i is not None and i < len(spelt)}
        self.chat_format = choose_format(model, metadata.get("tokenizer.chat_template"), fallback_format, tokens)
        length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        if length is None:
            raise DataError(f"{model}: names no context_length; is it a language model?")
        self._context = min(int(length), MAX_CONTEXT // parallel)
        self._stack = ExitStack()
        self._server = LlamaServer(model, n_ctx=self._context, n_parallel=parallel)
        self._controls: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start llama.cpp; DataError where the file lacks a special token of the format."""
        self._stack.enter_context(self._server)
        try:
            self._controls = self._control_ids()
        except BaseException:  # `__exit__` does not run when `__enter__` raises
            self._stack.close()
            raise
        return self

    def _control_ids(self) -> dict[str, int]:
        tokens = self.chat_format.special_tokens
        found = self._server.tokenize(tokens, parse_special=True)
        for token, ids, as_text in zip(tokens, found, self._server.tokenize(tokens), strict=True):
            if len(ids) != 1 or ids == as_text:
                raise DataError(
                    f'{self._server.model}: the format "{self.chat_format.name}" writes {token!r}, which is not a '
                    "control token of this file. Choose another --prompt-format."
                )
        return {token: ids[0] for token, ids in zip(tokens, found, strict=True)}

    def __exit__(self, *error: object) -> None:
        """End the child."""
        self._stack.close()

    @property
    def context(self) -> int:
        """The model's own limit, at most MAX_CONTEXT tokens for all chats together."""
        return self._context

    def _ids(self, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
        texts = [self.chat_format.render(chat, answer_next=True) for chat in chats]
        parts = [[self._controls.get(part, part) for part in self.chat_format.split(text)] for text in texts]
        return self._server.tokenize_parts(parts)

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""
        return len(self._ids([messages])[0])

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat."""
        stops = list(self.chat_format.stop_strings)
        return [d.text.strip() for d in self._server.complete_many(self._ids(chats), max_tokens, stop=stops)]

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The answer as it is written, never half a character."""
        parts = self._server.stream(
            self._ids([messages])[0],
            sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repeat_penalty=sampling.repeat_penalty,
            seed=sampling.seed,
            stop=list(self.chat_format.stop_strings),
        )
        started = False
        for part in parts:
            text = part if started else part.lstrip()
            started = started or bool(text)
            if text:
                yield text
