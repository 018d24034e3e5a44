"""An engine with its places: who waits for one, whose answer is written, what was counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import Request

from zhllm.infer.remote import RemoteEngine
from zhllm.infer.writing import Engine, Written
from zhllm.tools._server.counters import Counters
from zhllm.tools._server.gate import Settings
from zhllm.tools._server.requests import Asked, RequestError

T = TypeVar("T")


class Service:
    """An engine, the places in it, and what was counted."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.counters, self.places = Counters(), asyncio.Semaphore(settings.parallel)
        self.threads = ThreadPoolExecutor(settings.parallel + 4, "answers")
        self.created = int(time.time())
        self.models = models_of(engine, settings.name)

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """A blocking call of the engine."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *args)

    def adapter_of(self, asked: Asked) -> str | None:
        """The adapter that a request's model names; no name is the first model."""
        if not asked.model or asked.model in self.models:
            return self.models[asked.model or self.settings.name]
        known = ", ".join(self.models)
        raise RequestError(f'there is no model "{asked.model}" here, only {known}', "model", "model_not_found", 404)

    def check_room(self) -> None:
        """RequestError 429 where as many wait already as may."""
        if self.places.locked() and self.counters.waiting >= self.settings.max_waiting:
            message = f"{self.counters.waiting} requests wait already; try again later"
            raise RequestError(message, code="rate_limit_exceeded", status=429)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places, waited for."""
        self.counters.waiting += 1
        try:
            await self.places.acquire()
        finally:
            self.counters.waiting -= 1
        self.counters.running += 1
        try:
            yield
        finally:
            self.counters.running -= 1
            self.places.release()

    async def parts(self, written: Written) -> AsyncIterator[str]:
        """The text of an answer as it is written; leaving early ends the writing."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | BaseException | None]()

        def pump() -> None:
            last: BaseException | None = None
            try:
                for part in written:
                    loop.call_soon_threadsafe(queue.put_nowait, part)
            except Exception as error:
                last = error
            with suppress(RuntimeError):  # the loop is gone with the server
                loop.call_soon_threadsafe(queue.put_nowait, last)

        pumping = loop.run_in_executor(self.threads, pump)
        try:
            while (part := await queue.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            written.close()
            await asyncio.shield(pumping)
            self.counters.tokens.update(prompt=written.prompt_tokens, completion=written.made_tokens)

    async def while_wanted(self, request: Request, work: Awaitable[T]) -> T:
        """The result of some work, which ends when nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=0.5))[0]:
                if await request.is_disconnected():
                    self.counters.disconnects += 1
                    raise RequestError("the client is gone", status=499)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def models_of(engine: Engine, name: str) -> dict[str, str | None]:
    """What a request may name: the base by its name, an adapter by "name:adapter", another server's by their own."""
    is_remote = isinstance(engine, RemoteEngine)
    return {name: None} | {a if is_remote else f"{name}:{a}": a for a in engine.adapters}
