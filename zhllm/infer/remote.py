"""An OpenAI-compatible server as an engine: vLLM, Ollama, llama.cpp's server, or zhllm's own.

The server renders the chat, so it must have the model's own template; texts arrive whole, never half a
character. Source: OpenAI's API reference (chat completions, server-sent events).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from zhllm.errors import DataError, StageError
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import Engine, Written
from zhllm.text.prompt_format import Message

# A server that says nothing for so long is taken for dead; a first token may have to wait for others' answers.
SILENCE_S = 600.0
_EXTRA = ("top_k", "min_p")


class RemoteEngine(Engine):
    """Asks the server at `url` (with or without its /v1) for `model`, its first one where that is None."""

    def __init__(self, url: str, model: str | None = None, key: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url}: is not the URL of a server (http://127.0.0.1:8000/v1).")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._parts, self._path = parts, parts.path.rstrip("/") or "/v1"
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self.names = self._names()
        if model is not None and model not in self.names:
            raise DataError(f"{self.url}: has no model {model!r}, only {', '.join(self.names)}.")
        self.model = model or self.names[0]

    def _names(self) -> list[str]:
        with closing(self._connect()) as connection:
            found = json.loads(self._request(connection, "GET", "/models", None).read())
        names = [str(entry["id"]) for entry in found.get("data") or []]
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
        """The answer as the server sends it; StageError where the connection breaks before its end."""
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
        for name in ("presence_penalty", "frequency_penalty", *_EXTRA):
            if getattr(sampling, name) != getattr(plain, name):
                body[name] = getattr(sampling, name)
        if sampling.repeat_penalty != 1.0:
            body["repetition_penalty"] = sampling.repeat_penalty
        return Written(0, partial(self._written, body))

    def _written(self, body: dict[str, Any], written: Written) -> Iterator[str]:
        with closing(self._connect()) as connection:
            for event in _events(self._request(connection, "POST", "/chat/completions", body), self.url):
                if written.closed:
                    return
                if "error" in event:
                    raise StageError(f"{self.url}: {_said(event)}")
                usage = event.get("usage") or {}
                written.prompt_tokens = usage.get("prompt_tokens", written.prompt_tokens)
                written.made_tokens = usage.get("completion_tokens", written.made_tokens)
                for choice in event.get("choices") or []:
                    written.finish = choice.get("finish_reason") or written.finish
                    if text := (choice.get("delta") or {}).get("content"):
                        yield text

    def forward(self, path: str, body: bytes) -> tuple[int, str, Generator[bytes]]:
        """Another's request as it stands: status, content type, and the answer's bytes as they come."""
        connection = self._connect()
        try:
            connection.request("POST", self._path + path, body, self._headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._lost(error) from error
        return response.status, response.headers.get("Content-Type", ""), _bytes(connection, response)

    def _connect(self) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=SILENCE_S)

    def _request(self, connection: HTTPConnection, method: str, path: str, body: object) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, self._path + path, data, self._headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._lost(error) from error
        if response.status != 200:
            said = response.read(4096)
            try:
                reason = _said(json.loads(said))
            except ValueError:
                reason = said.decode("utf-8", "replace")[:200]
            kind = DataError if 400 <= response.status < 500 else StageError
            raise kind(f"{self.url}: refused {path} (HTTP {response.status}): {reason}")
        return response

    def _lost(self, error: Exception) -> StageError:
        return StageError(f"{self.url}: cannot be reached ({error}). Is the server running?")


def _said(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _bytes(connection: HTTPConnection, response: HTTPResponse) -> Generator[bytes]:
    with closing(connection):
        while data := response.read1(65536):
            yield data


def _events(response: HTTPResponse, url: str) -> Iterator[dict[str, Any]]:
    """The events of a stream up to [DONE]; StageError where it breaks off before."""
    try:
        for line in response:
            said = line.removeprefix(b"data:").strip()
            if said == b"[DONE]":
                return
            if line.startswith(b"data:") and said:
                yield json.loads(said)
    except (OSError, HTTPException, ValueError) as error:
        raise StageError(f"{url}: the answer broke off ({error}).") from error
    raise StageError(f"{url}: the answer broke off before its end.")
