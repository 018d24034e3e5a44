"""The application: routes, who may ask, how many at once, and what goes back.

Every answer is written by a thread of its own that hands its text to the event loop, so a slow client delays
nobody. A request waits for one of `parallel` places; when `max_waiting` wait already, it is told to come back.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, TypeVar
from uuid import uuid4

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

from zhllm.errors import DataError, ZhllmError
from zhllm.infer.remote import RemoteEngine
from zhllm.infer.writing import Engine, LocalEngine, PromptTooLongError, Written
from zhllm.tools._server.gate import Gate, Settings, as_response
from zhllm.tools._server.proxy import add_proxy
from zhllm.tools._server.requests import (
    Asked,
    ChatAsked,
    CompletionAsked,
    EmbeddingsAsked,
    RequestError,
    Writing,
    parse,
)  # fmt: skip
from zhllm.tools._server.service import Service

T = TypeVar("T")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def make_app(engine: Engine, settings: Settings) -> FastAPI:
    """The application over an engine that is open."""
    service = Service(engine, settings)
    app = FastAPI(title="zhllm", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    app.add_middleware(Gate, settings=settings, counters=service.counters)
    for kind in (RequestError, ZhllmError, HTTPException, Exception):
        app.add_exception_handler(kind, _on_error)
    _add_pages(app, service)
    if isinstance(engine, RemoteEngine):
        add_proxy(app, service, engine)
    else:
        assert isinstance(engine, LocalEngine)
        _add_writing(app, service, engine)
    return app


def _add_pages(app: FastAPI, service: Service) -> None:
    page = resources.files("zhllm.tools._server").joinpath("page.html").read_text(encoding="utf-8")

    @app.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    async def chat_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.counters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service, name) for name in service.models]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        service.adapter_of(Asked(model=name))
        return _model(service, name)


def _model(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.created, "owned_by": "zhllm"}


def _add_writing(app: FastAPI, service: Service, engine: LocalEngine) -> None:
    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = parse(ChatAsked, await request.body())
        adapter, messages = service.adapter_of(asked), asked.conversation()
        ids = await service.in_thread(_fitting, engine.chat_prompt, messages, "messages")
        sampling = asked.sampling(service.settings.sampling)
        return await _answer(service, request, asked, [engine.write(ids, sampling, adapter)], _Shape.chat())

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        asked = parse(CompletionAsked, await request.body())
        adapter, prompts = service.adapter_of(asked), asked.prompts()
        if len(prompts) > 1 and asked.stream:
            raise RequestError("a stream has one prompt; send one, or no stream", "prompt")
        ids = [await service.in_thread(_fitting, engine.text_prompt, text, "prompt") for text in prompts]
        sampling = asked.sampling(service.settings.sampling)
        writing = [engine.write(prompt, sampling, adapter, is_chat=False) for prompt in ids]
        return await _answer(service, request, asked, writing, _Shape.text())

    @app.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        asked = parse(EmbeddingsAsked, await request.body())
        texts, adapter = asked.texts(), service.adapter_of(asked)
        service.check_room()
        async with service.place():
            working = service.in_thread(_fitting, partial(engine.embed, adapter=adapter), texts, "input")
            vectors, tokens = await service.while_wanted(request, working)
        service.counters.tokens.update(prompt=tokens)
        encode = _base64 if asked.encoding_format == "base64" else list
        data = [{"object": "embedding", "index": i, "embedding": encode(v)} for i, v in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "model": asked.model or service.settings.name, "data": data, "usage": usage})


def _fitting(work: Callable[[Any], T], what: Any, param: str) -> T:
    """The ids of a prompt, or the vectors of texts; one that is too long is a RequestError, as the engine says it."""
    try:
        return work(what)
    except DataError as error:
        code = "context_length_exceeded" if isinstance(error, PromptTooLongError) else None
        raise RequestError(str(error), param, code) from error


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@dataclass(frozen=True)
class _Shape:
    """How chat and plain completions write the same things."""

    kind: str
    chunk: str
    prefix: str
    said: Callable[[str], dict[str, Any]]
    delta: Callable[[str | None], dict[str, Any]]

    @classmethod
    def chat(cls) -> _Shape:
        return cls(
            "chat.completion", "chat.completion.chunk", "chatcmpl-",
            lambda text: {"message": {"role": "assistant", "content": text, "refusal": None}},
            lambda text: {"delta": {} if text is None else {"content": text}},
        )  # fmt: skip

    @classmethod
    def text(cls) -> _Shape:
        return cls(
            "text_completion",
            "text_completion",
            "cmpl-",
            lambda text: {"text": text},
            lambda text: {"text": text or ""},
        )  # fmt: skip


async def _answer(
    service: Service, request: Request, asked: Writing, writing: list[Written], shape: _Shape
) -> Response:
    service.check_room()
    head = {"id": shape.prefix + uuid4().hex, "object": shape.chunk if asked.stream else shape.kind,
            "created": int(time.time()), "model": asked.model or service.settings.name}  # fmt: skip
    if asked.stream:
        events = _events(service, asked, writing[0], head, shape)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    texts = await service.while_wanted(request, asyncio.gather(*(_whole(service, w) for w in writing)))
    choices = [
        {"index": i, **shape.said(text), "logprobs": None, "finish_reason": w.finish}
        for i, (text, w) in enumerate(zip(texts, writing, strict=True))
    ]
    return _json({**head, "choices": choices, "usage": _usage(writing)})


async def _whole(service: Service, written: Written) -> str:
    async with service.place():
        return "".join([part async for part in service.parts(written)])


async def _events(
    service: Service, asked: Writing, written: Written, head: dict[str, Any], shape: _Shape
) -> AsyncIterator[bytes]:
    """Server-sent events: the role, the parts, why it ended, the usage where it was asked for, [DONE]."""
    wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    extra: dict[str, Any] = {"usage": None} if wants_usage else {}

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + orjson.dumps({**head, "choices": choices, **extra, **more}) + b"\n\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, **delta, "logprobs": None, "finish_reason": finish}]

    try:
        async with service.place():
            if shape.kind == "chat.completion":
                yield event(choice({"delta": {"role": "assistant", "content": ""}}))
            async for part in service.parts(written):
                yield event(choice(shape.delta(part)))
    except asyncio.CancelledError:
        service.counters.disconnects += 1
        raise
    except Exception as error:
        yield b"data: " + orjson.dumps(_as_request_error(error).body()) + b"\n\n"
        return
    yield event(choice(shape.delta(None), written.finish))
    if wants_usage:
        yield event([], usage=_usage([written]))
    yield b"data: [DONE]\n\n"


def _usage(written: Sequence[Written]) -> dict[str, int]:
    prompt, made = sum(w.prompt_tokens for w in written), sum(w.made_tokens for w in written)
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _as_request_error(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, HTTPException):
        return RequestError(str(error.detail).lower(), status=error.status_code)
    if isinstance(error, DataError):
        return RequestError(str(error))
    known = isinstance(error, ZhllmError)
    return RequestError(str(error) if known else f"the server failed ({type(error).__name__})", status=500)


async def _on_error(request: Request, error: Exception) -> Response:
    return as_response(_as_request_error(error))
