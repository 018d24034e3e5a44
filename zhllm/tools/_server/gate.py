"""Who may ask: whose page, with which key, how large a body. ASGI middleware; every answer is counted here."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field

import orjson
from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zhllm.infer.sampling import Sampling
from zhllm.tools._server.counters import Counters
from zhllm.tools._server.requests import RequestError

LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))
# Pages that tell nothing and need no key.
OPEN = frozenset(("/", "/health"))


@dataclass(frozen=True)
class Settings:
    """How a server serves. `key` None lets everybody ask; `hosts` None takes any Host header."""

    name: str
    key: str | None = None
    hosts: frozenset[str] | None = LOOPBACK
    parallel: int = 8
    max_waiting: int = 128
    max_body_bytes: int = 4_000_000
    max_body_seconds: float = 60
    sampling: Sampling = field(default_factory=Sampling)


def as_response(error: RequestError) -> Response:
    """What the client is told."""
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    return Response(orjson.dumps(error.body()), error.status, headers, "application/json")


class Gate:
    """Lets a request through, its body read, or answers it with an error."""

    def __init__(self, app: ASGIApp, settings: Settings, counters: Counters) -> None:
        self.app, self.settings, self.counters = app, settings, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's call."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._check_sender(scope["path"], headers)
            if scope["method"] == "POST":
                receive = await self._body_in_time(headers, receive)
            await self.app(scope, receive, counting)
        except RequestError as error:
            await as_response(error)(scope, receive, counting)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.counters.finished(path, status, time.perf_counter() - started)

    def _check_sender(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        name, _, port = host.rpartition(":")
        name = (name if port.isdigit() else host).lower()
        if self.settings.hosts is not None and name not in self.settings.hosts:
            # A page of another site whose name was made to point here (DNS rebinding).
            raise RequestError(f'this server does not answer as "{name}"', status=403)
        if path in OPEN or self.settings.key is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given if scheme.lower() == "bearer" else ""
        if not secrets.compare_digest(given.strip().encode(), self.settings.key.encode()):
            message = "the API key is missing or wrong (Authorization: Bearer KEY)"
            raise RequestError(message, code="invalid_api_key", status=401)

    async def _body_in_time(self, headers: Headers, receive: Receive) -> Receive:
        seconds = self.settings.max_body_seconds
        try:
            return await asyncio.wait_for(self._whole_body(headers, receive), seconds)
        except TimeoutError:
            raise RequestError(f"the body did not come within {seconds:g} seconds", status=408) from None

    async def _whole_body(self, headers: Headers, receive: Receive) -> Receive:
        """The body, of bounded size, as one message; then what comes after it.

        Only JSON: another site's page may send a form without asking first, but not JSON (CORS).
        """
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError("send Content-Type: application/json", status=415)
        data, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("the client is gone", status=499)
            data += message.get("body", b"")
            more = message.get("more_body", False)
            if len(data) > self.settings.max_body_bytes:
                limit = f"the body has more than {self.settings.max_body_bytes:,} bytes"
                raise RequestError(limit, code="request_too_large", status=413)
        unread: list[Message] = [{"type": "http.request", "body": bytes(data), "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        return replay
