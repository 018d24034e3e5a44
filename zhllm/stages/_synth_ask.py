"""synth's requests: which there are, who has answered already, and several at a time to the endpoint.

An answer is on the disk before the next request of its thread goes out, so that nothing that was answered is
asked again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
import xxhash

from zhllm.errors import ConfigError, DataError, StageError
from zhllm.infer.openai_http import Endpoint, EndpointError, ask
from zhllm.progress import Bar, say

if TYPE_CHECKING:
    from zhllm.stages._synth_config import SynthConfig

ANSWERS = "answers.jsonl"
# So many requests in a row without an answer mean that the endpoint is gone.
MAX_FAILURES = 8


def body_of(config: SynthConfig, messages: list[Any]) -> dict[str, Any]:
    """What is sent for one chunk."""
    body = {"model": config.model, "messages": messages, "temperature": config.temperature, "seed": config.seed}
    return body | {"max_tokens": config.max_tokens}


def key_of(body: dict[str, Any]) -> str:
    """What a request and its answer are known by: equal requests have one answer."""
    return xxhash.xxh3_128_hexdigest(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request: words, or the endpoint's refusal of this very request."""

    key: str
    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""

    def to_json(self) -> bytes:
        """One line of `answers.jsonl`."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__}, option=orjson.OPT_APPEND_NEWLINE)


class AnswerLog:
    """A file of answers that grows by whole lines; a line that a kill cut off is dropped on opening."""

    def __init__(self, path: Path) -> None:
        """Opens or begins the file, and reads which keys it holds."""
        self._lock = threading.Lock()
        self._places: dict[str, tuple[Path, int]] = {}
        path.touch()
        whole = _index(path, self._places)
        os.truncate(path, whole)
        self._path, self._file = path, path.open("ab")

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the file."""
        self._file.close()

    def also_read(self, source: Path) -> int:
        """Know the answers of an earlier run too (its folder or file), refusals left out; how many are new."""
        path = source / ANSWERS if source.is_dir() else source
        if not path.is_file():
            raise DataError(f"--answers {source}: holds no {ANSWERS}. Give the folder of an earlier synth.")
        found: dict[str, tuple[Path, int]] = {}
        _index(path, found, only_answered=True)
        before = len(self._places)
        self._places = found | self._places
        return len(self._places) - before

    def __contains__(self, key: str) -> bool:
        """Whether the request has its answer."""
        return key in self._places

    def read(self, key: str) -> Answered:
        """The answer to a request."""
        path, offset = self._places[key]
        with path.open("rb") as file:
            file.seek(offset)
            return Answered(**orjson.loads(file.readline()))

    def write(self, answered: Answered) -> None:
        """Keep an answer, on the disk when this returns; any thread may call it."""
        with self._lock:
            self._places[answered.key] = (self._path, self._file.tell())
            self._file.write(answered.to_json())
            self._file.flush()
            os.fsync(self._file.fileno())


def _index(path: Path, places: dict[str, tuple[Path, int]], only_answered: bool = False) -> int:
    """Add where each key's line begins; returns the bytes of whole lines."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                value = Answered(**orjson.loads(line))
            except (orjson.JSONDecodeError, TypeError) as error:
                raise DataError(f"{path}:{number}: is no answer that synth wrote. Delete the line.") from error
            if not (only_answered and value.error):
                places[value.key] = (path, offset)
            offset += len(line)
    return offset


def endpoint_of(config: SynthConfig) -> Endpoint:
    """The endpoint with the key of the environment; says where the documents go."""
    key = os.environ.get(config.api_key_env, "")
    if any(not 32 < ord(c) < 127 for c in key):
        raise ConfigError(f"{config.api_key_env}: the key holds blanks or characters that no header may have.")
    endpoint = Endpoint(config.endpoint, key, config.allow_remote, config.timeout_s)
    say(f"synth: excerpts of the documents go to {endpoint.url} (model {config.model})")
    return endpoint


def ask_all(bodies: Iterator[dict[str, Any]], config: SynthConfig, log: AnswerLog, shown: Bar) -> list[str]:
    """Have every request answered, `concurrency` at a time; returns what went wrong with those that were not.

    Raises StageError as soon as nothing is to be hoped for: a wrong key or model, or no answer many times in a row.
    """
    endpoint = endpoint_of(config)
    stop = threading.Event()
    failed: list[str] = []
    in_a_row = 0
    running: dict[Future[None], str] = {}

    def one(body: dict[str, Any], key: str) -> None:
        try:
            reply, again = ask(endpoint, body, config.retries, config.back_off_s, stop.wait)
        except EndpointError as error:
            if not error.is_final or error.is_fatal or stop.is_set():
                raise
            log.write(Answered(key, error=str(error)))
        else:
            log.write(Answered(key, reply.text, reply.finish, reply.prompt_tokens, reply.completion_tokens))
            if again:
                say(f"a request was answered after {again + 1} tries")

    pool = ThreadPoolExecutor(config.concurrency)
    try:
        for number, body in enumerate(_new(bodies, log, running, shown)):
            if number == 0:
                _reach(endpoint)
            while len(running) >= config.concurrency:
                in_a_row = _take(running, failed, in_a_row, endpoint, shown)
            key = key_of(body)
            running[pool.submit(one, body, key)] = key
        while running:
            in_a_row = _take(running, failed, in_a_row, endpoint, shown)
    finally:
        stop.set()
        endpoint.close()
        pool.shutdown(cancel_futures=True)
    return failed


def _reach(endpoint: Endpoint) -> None:
    try:
        endpoint.reach()
    except EndpointError as error:
        raise StageError(
            f"--endpoint {endpoint.url}: {error}. Is the server running? --offline needs none. What was answered "
            "before is kept."
        ) from error


def _new(
    bodies: Iterator[dict[str, Any]], log: AnswerLog, running: dict[Future[None], str], shown: Bar
) -> Iterator[dict[str, Any]]:
    """The requests that have no answer and are not on their way."""
    for body in bodies:
        key = key_of(body)
        if key in log:
            shown.advance(1)
        elif key not in running.values():
            yield body


def _take(running: dict[Future[None], str], failed: list[str], in_a_row: int, endpoint: Endpoint, shown: Bar) -> int:
    """Wait for a request; returns how many in a row failed by now."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        del running[future]
        error = future.exception()
        if error is None:
            in_a_row = 0
            shown.advance(1)
            continue
        if not isinstance(error, EndpointError):
            raise error
        in_a_row += 1
        failed.append(str(error))
        if error.is_fatal or in_a_row >= MAX_FAILURES:
            raise StageError(
                f"--endpoint {endpoint.url}: {error} (the last of {in_a_row} requests in a row without an answer)."
                " What was answered is kept: run the same command again to go on."
            )
    return in_a_row
