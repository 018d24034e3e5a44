"""Requests handed on to another server as they stand; its answers come back as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zhllm.infer.openai_http import Call, EndpointError
from zhllm.infer.remote import RemoteEngine
from zhllm.tools._server.requests import Asked, RequestError, parse
from zhllm.tools._server.service import Service


def add_proxy(app: FastAPI, service: Service, engine: RemoteEngine) -> None:
    """What is asked goes to another server as it stands, but for the name of the model."""

    async def forward(request: Request) -> Response:
        asked = parse(Asked, await request.body())
        name = service.adapter_of(asked) or engine.model
        body = orjson.dumps({**_fields(await request.body()), "model": name})
        service.check_room()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(service.place())
            upstream = _Upstream(service, engine)
            stack.push_async_callback(upstream.end)
            path = request.url.path.removeprefix("/v1")
            call = await service.while_wanted(request, upstream.do(upstream.call.send, "POST", path, body))
            if not call.kind.startswith("text/event-stream"):
                data = await service.while_wanted(request, upstream.do(_whole_bytes, call))
                return Response(data, call.status, media_type=call.kind)
            return _Forwarded(upstream.parts(), call.status, call.kind, stack.pop_all())

    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        app.add_api_route(path, forward, methods=["POST"])


class _Forwarded(StreamingResponse):
    """Another server's answer; what it holds is let go of however it ends, also before it began."""

    def __init__(self, content: AsyncIterator[bytes], status: int, kind: str, held: AsyncExitStack) -> None:
        super().__init__(content, status, media_type=kind)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


class _Upstream:
    """A request to another server, waited for by one thread at a time; `end` breaks it off at once."""

    def __init__(self, service: Service, engine: RemoteEngine) -> None:
        self.service, self.engine, self.call = service, engine, engine.endpoint.call()
        self._busy: asyncio.Future[Any] | None = None

    async def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """A blocking call; RequestError 502 where the other server fails."""
        self._busy = asyncio.get_running_loop().run_in_executor(self.service.threads, function, *args)
        try:
            return await asyncio.shield(self._busy)
        except EndpointError as error:
            raise RequestError(str(self.engine.error_of(error)), status=502) from error

    async def parts(self) -> AsyncIterator[bytes]:
        """The bytes of a stream as they come; where it breaks off, an event that says so."""
        data = self.call.parts()
        try:
            while (part := await self.do(next, data, b"")) != b"":
                yield part
        except asyncio.CancelledError:
            self.service.counters.disconnects += 1
            raise
        except RequestError as error:
            yield b"\n\ndata: " + orjson.dumps(error.body()) + b"\n\n"

    async def end(self) -> None:
        """Let go of the connection, whatever waits for it."""
        self.call.stop()
        if self._busy is not None:
            with suppress(Exception):
                await self._busy
        self.call.close()


def _whole_bytes(call: Call) -> bytes:
    return b"".join(call.parts())


def _fields(data: bytes) -> dict[str, Any]:
    """A body's fields; RequestError for what pydantic reads as JSON and others do not (NaN)."""
    try:
        found: dict[str, Any] = orjson.loads(data)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    return found
