"""A GGUF file as an engine: llama.cpp in a child process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from zhllm.errors import DataError, StageError
from zhllm.infer.llamacpp import LlamaServer
from zhllm.infer.sampling import Sampling, until_stop
from zhllm.infer.writing import LocalEngine, Written, choose_format
from zhllm.text.prompt_format import Message

# llama.cpp takes the memory of the whole context at the start: 4 GB for a Llama-2-7B at 8192.
MAX_CONTEXT = 8192
# Below it llama.cpp's float32 scores are no numbers any more, and its draws are wild.
LEAST_TEMPERATURE = 1e-4


class LlamaEngine(LocalEngine):
    """A GGUF file in llama.cpp, in a child process; its adapters are GGUF files too."""

    def __init__(
        self, model: Path, fallback_format: str | None, parallel: int = 1, adapters: Mapping[str, Path] | None = None
    ) -> None:
        from zhllm.model.gguf_read import GgufFile

        file = GgufFile(model)
        metadata, template = file.metadata, file.metadata.get("tokenizer.chat_template")
        self.chat_format = choose_format(model, template, fallback_format, file.template_tokens)
        length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        if length is None:
            raise DataError(f"{model}: names no context_length; is it a language model?")
        for name, path in (adapters or {}).items():
            if path.suffix != ".gguf":
                raise DataError(f"--adapter {name}={path}: a GGUF model takes adapters as GGUF files (zhllm export).")
        self._context = min(int(length), MAX_CONTEXT // parallel)
        self._adapters = dict(adapters or {})
        self._stack = ExitStack()
        self._server = LlamaServer(model, n_ctx=self._context, n_parallel=parallel, lora=list(self._adapters.values()))
        self._embedder: LlamaServer | None = None
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
    def adapters(self) -> tuple[str, ...]:
        """The adapters by name."""
        return tuple(self._adapters)

    @property
    def context(self) -> int:
        """The model's own limit, at most MAX_CONTEXT tokens for all chats together."""
        return self._context

    def _ids(self, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
        texts = [self.chat_format.render(chat, answer_next=True) for chat in chats]
        parts = [[self._controls.get(part, part) for part in self.chat_format.split(text)] for text in texts]
        return self._server.tokenize_parts(parts)

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the rendered prompt; DataError where there is no room for an answer."""
        self._revive()
        return self.fitting(self._ids([messages])[0], self._server.model)

    def text_prompt(self, text: str) -> list[int]:
        """Ids of plain text to go on with, BOS before it; DataError as `chat_prompt`."""
        self._revive()
        return self.fitting(self._server.tokenize([text], add_special=True)[0], self._server.model)

    def _revive(self) -> None:
        for server in filter(None, (self._server, self._embedder)):
            if server.revive():
                logging.getLogger(__name__).warning("llama.cpp had ended and was started anew")

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""
        return len(self._ids([messages])[0])

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat."""
        stops = list(self.chat_format.stop_strings)
        return [d.text.strip() for d in self._server.complete_many(self._ids(chats), max_tokens, stop=stops)]

    def _parts(
        self, prompt: Sequence[int], sampling: Sampling, adapter: str | None, is_chat: bool, written: Written
    ) -> Iterator[str]:
        index = None if adapter is None else list(self._adapters).index(adapter)
        asked = sampling.__dict__ | {"stop": [], "seed": sampling.draws_seed}
        if sampling.temperature < LEAST_TEMPERATURE:
            asked["temperature"] = 0.0
        limit = min(asked.pop("max_tokens"), self.context - len(prompt))
        with closing(self._server.events(prompt, limit, adapter=index, **asked)) as events:
            stopped = yield from until_stop(_texts(events, written, is_chat), self.stops(sampling, is_chat))
        if stopped is not None:
            written.finish = "stop"

    def embed(self, texts: Sequence[str], adapter: str | None = None) -> tuple[list[list[float]], int]:
        """A vector of length 1 for each text, from a second child that is started by the first one asked for."""
        if adapter is not None:
            raise DataError("embeddings of a GGUF file come from the model without adapters.")
        if self._embedder is None:
            embedder = LlamaServer(self._server.model, n_ctx=self._context, n_parallel=1, embeddings=True)
            self._embedder = self._stack.enter_context(embedder)
        return self._embedder.embed([self.text_prompt(text) for text in texts])


def _texts(events: Iterator[dict[str, object]], written: Written, is_chat: bool) -> Iterator[str]:
    """The texts of llama.cpp's events; of a chat without the space before them."""
    started = not is_chat
    for event in events:
        if written.closed:
            return
        written.made_tokens += len(event.get("tokens") or ())  # type: ignore[arg-type]
        text = str(event.get("content", ""))
        text = text if started else text.lstrip()
        started = started or bool(text)
        if event.get("stop"):
            written.finish = "length" if event["stop_type"] == "limit" else "stop"
            written.made_tokens = int(event["tokens_predicted"])  # type: ignore[call-overload]
        if text:
            yield text
    if written.finish is None and not written.closed:
        raise StageError("llama.cpp ended before the answer did.")
