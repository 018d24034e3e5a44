"""An OpenAI-compatible server as an engine: vLLM, Ollama, llama.cpp's server, or zhllm's own.

The server renders the chat, so it must have the model's own template; texts arrive whole, never half a
character. Source: OpenAI's API reference (chat completions, server-sent events).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from zhllm.errors import DataError, StageError, ZhllmError
from zhllm.infer.openai_http import Call, Endpoint, EndpointError, reply_of, said_of
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import Engine, PromptTooLongError, Written
from zhllm.text.prompt_format import Message

# A server that says nothing for so long is taken for dead; a first token may have to wait for others' answers.
SILENCE_S = 600.0
_NAMES = {"repeat_penalty": "repetition_penalty"}
_OPTIONAL = ("presence_penalty", "frequency_penalty", "top_k", "min_p", "repeat_penalty")


class RemoteEngine(Engine):
    """Asks the server at `url` (with or without its /v1) for `model`, its first one where that is None."""

    def __init__(self, url: str, model: str | None = None, key: str | None = None) -> None:
        self.endpoint = Endpoint(url, key or "", allow_remote=True, timeout_s=SILENCE_S, option="")
        self.endpoint.path = self.endpoint.path or "/v1"
        self.url = self.endpoint.url
        self.names = self._names()
        if model is not None and model not in self.names:
            raise DataError(f"{self.url}: has no model {model!r}, only {', '.join(self.names)}.")
        self.model = model or self.names[0]

    def _names(self) -> list[str]:
        try:
            with self.endpoint.call() as call:
                text = self._answered(call.send("GET", "/models")).text()
        except EndpointError as error:
            raise self.error_of(error) from error
        try:
            names = [str(entry["id"]) for entry in json.loads(text).get("data") or []]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            shown = " ".join(text[:80].split())
            raise DataError(
                f"{self.url}: {self.endpoint.path}/models is no list of models ({shown!r}). "
                "Is it an OpenAI-compatible server?"
            ) from error
        if not names:
            raise DataError(f"{self.url}: names no model.")
        return names

    @property
    def adapters(self) -> tuple[str, ...]:
        """The server's other models, which can be asked by name."""
        return tuple(name for name in self.names if name != self.model)

    @property
    def context(self) -> int:
        """Not known here: the server refuses what is too long."""
        return 1 << 30

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Not known here; 0."""
        return 0

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat, one after another."""
        return ["".join(self.stream(chat, Sampling(max_tokens=max_tokens))).strip() for chat in chats]

    def stream(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Written:
        """The answer as the server sends it.

        Raises StageError where it breaks off before its end, PromptTooLongError where the server says that.
        """
        body = {
            "model": adapter or self.model,
            "messages": [{"role": m["role"], "content": m["content"]} for m in messages],
            "stream": True, "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "seed": sampling.seed,
        }  # fmt: skip
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        plain = Sampling()
        for name in _OPTIONAL:
            if getattr(sampling, name) != getattr(plain, name):
                body[_NAMES.get(name, name)] = getattr(sampling, name)
        return Written(0, partial(self._written, body))

    def _written(self, body: dict[str, Any], written: Written) -> Iterator[str]:
        call = self.endpoint.call()
        written.on_close = call.stop
        try:
            with call:
                self._answered(call.send("POST", "/chat/completions", json.dumps(body).encode()))
                if call.kind.startswith("application/json"):  # a server that does not stream
                    reply = reply_of(call.text())
                    written.finish = reply.finish
                    written.prompt_tokens, written.made_tokens = reply.prompt_tokens, reply.completion_tokens
                    yield from filter(None, [reply.text])
                    return
                for event in call.events():
                    yield from self._texts(event, written)
        except EndpointError as error:
            # One that broke off after it said why it ended is whole.
            if not written.closed and written.finish is None:
                raise self.error_of(error) from error
        if not (written.closed or call.is_done or written.finish):
            raise StageError(f"{self.url}: the answer broke off before its end.")

    def _texts(self, event: Any, written: Written) -> Iterator[str]:
        """The texts of one event."""
        if isinstance(event, dict) and event.get("error"):
            raise StageError(f"{self.url}: {self.endpoint.hide_key(said_of(json.dumps(event))[0])}")
        try:
            usage = event.get("usage") or {}
            written.prompt_tokens = usage.get("prompt_tokens", written.prompt_tokens)
            written.made_tokens = usage.get("completion_tokens", written.made_tokens)
            texts = []
            for choice in event.get("choices") or []:
                written.finish = choice.get("finish_reason") or written.finish
                texts.append((choice.get("delta") or {}).get("content"))
        except AttributeError as error:
            raise StageError(f"{self.url}: sent what is no event of a chat: {str(event)[:80]}") from error
        yield from filter(None, texts)

    def _answered(self, call: Call) -> Call:
        """The call whose answer begins; the EndpointError that says why it was refused."""
        if call.status != 200:
            raise call.refusal(call.text())
        return call

    def error_of(self, error: EndpointError) -> ZhllmError:
        """What a user is told."""
        if error.status == 200:
            return StageError(f"{self.url}: the answer broke off: {error}")
        if error.status == 0:
            return StageError(f"{self.url}: cannot be reached ({error}). Is the server running?")
        kind: type[ZhllmError] = DataError if 400 <= error.status < 500 else StageError
        kind = PromptTooLongError if error.code == "context_length_exceeded" else kind
        return kind(f"{self.url}: the server refused: {error}")
