"""Requests to an OpenAI-compatible server over the standard library's HTTP, and where they may go.

A text goes to the host that was named and to no other: its address is looked up once and checked, redirects
are not followed, proxies of the environment are not used. The key is read from the environment, is sent to that
host alone, and stands in no message.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Self
from urllib.parse import urlsplit

from zhllm.errors import ConfigError

MAX_ANSWER_BYTES = 16_000_000
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
# The whole run has no use of going on: the key, the address or the model is wrong.
_FATAL = (401, 402, 403, 404, 405)
_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
_MAX_WAIT_S = 60.0
_CONNECT_S = 30.0


class EndpointError(Exception):
    """A request that got no answer; `is_final` where asking again would not help, `is_fatal` where nothing would.

    `status` is the HTTP status, 0 where there was no answer at all; `code` is OpenAI's word for the error.
    """

    def __init__(
        self, message: str, is_final: bool = False, is_fatal: bool = False, wait_s: float | None = None,
        status: int = 0, code: str = "",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.is_final, self.is_fatal, self.wait_s = is_final, is_fatal, wait_s
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote, why it stopped, and the tokens that the endpoint counted (0 where it does not say)."""

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint:
    """Where requests go: its parts, its checked address and its key."""

    def __init__(
        self, url: str, key: str = "", allow_remote: bool = False, timeout_s: float = 300.0, option: str = "--endpoint "
    ) -> None:
        """Raises ConfigError for an address that is none, or that is not on this machine or its private network.

        `option` is what messages put before the address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{option}{url}: is not an address such as http://127.0.0.1:8080/v1.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{option}{url}: is not an address such as http://127.0.0.1:8080/v1.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"{option.strip() or 'the address'}: holds a name, password, query or fragment. "
                "Give keys in the environment."
            )
        self.host, self.is_tls = parts.hostname, parts.scheme == "https"
        self.port = port or (443 if self.is_tls else 80)
        self.path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.path}"
        self._key, self._timeout_s = key, timeout_s
        self.addresses = _checked_addresses(self.host, self.port, self.is_tls, allow_remote, option + self.url)
        self._lock = threading.Lock()
        self._open: set[Call] = set()
        self._is_closed = False

    def close(self) -> None:
        """Break off every request on its way, and refuse new ones."""
        with self._lock:
            self._is_closed = True
            for call in self._open:
                call.stop()

    def reach(self) -> None:
        """Raise EndpointError unless something takes connections there: known at once, where retrying takes minutes."""
        try:
            _connected(self.addresses, self.port, min(self._timeout_s, 10.0)).close()
        except OSError as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from error

    def chat(self, body: Mapping[str, Any]) -> Reply:
        """The answer to one chat request; raises EndpointError."""
        data = json.dumps({**body, "stream": False}, ensure_ascii=False).encode("utf-8", "replace")
        deadline = time.monotonic() + self._timeout_s
        with self.call() as call:
            with self._lock:
                if self._is_closed:
                    raise EndpointError("broken off", is_final=True)
                self._open.add(call)
            try:
                call.send("POST", "/chat/completions", data)
                text = call.text(deadline)
            finally:
                with self._lock:
                    self._open.discard(call)
        if call.status != 200:
            raise call.refusal(text)
        return reply_of(text)

    def call(self) -> Call:
        """A request to come: send it, read it, and end it from any thread."""
        return Call(self)

    def headers(self) -> dict[str, str]:
        """What every request carries; the key too."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def hide_key(self, text: str) -> str:
        """A text without the key."""
        return text.replace(self._key, "***") if self._key else text

    def connection(self) -> HTTPConnection:
        """To one of the addresses that were checked; not connected yet."""
        if self.is_tls:
            context = ssl.create_default_context()
            connection: HTTPConnection = HTTPSConnection(self.host, self.port, timeout=self._timeout_s, context=context)
        else:
            connection = HTTPConnection(self.host, self.port, timeout=self._timeout_s)

        def connect(_: Any, timeout: float | None = None, source: Any = None) -> socket.socket:
            return _connected(self.addresses, self.port, timeout)

        connection._create_connection = connect  # type: ignore[attr-defined]  # the addresses that were checked
        return connection


class Call:
    """One request and its answer. Use as a context manager in the thread that sends and reads.

    `stop`, from any thread, breaks it off: whoever waits for it gets an EndpointError, or the end of the answer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint, self._connection = endpoint, endpoint.connection()
        self._response: HTTPResponse | None = None
        self._sock: socket.socket | None = None
        self.is_stopped = False
        self.is_done = False  # the stream said that it is whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, method: str, path: str, data: bytes | None = None) -> Self:
        """Ask, and wait until the answer begins; EndpointError where it does not."""
        try:
            self._connection.connect()
            self._sock = self._connection.sock
            if self.is_stopped:
                raise EndpointError("broken off", is_final=True)
            self._connection.request(method, self._endpoint.path + path, data, self._endpoint.headers())
            self._response = self._connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self.broken(error) from error
        return self

    @property
    def status(self) -> int:
        """HTTP's status."""
        return self._response.status if self._response else 0

    @property
    def kind(self) -> str:
        """The answer's type, as its header says."""
        return (self._response.getheader("Content-Type") if self._response else None) or ""

    def parts(self) -> Iterator[bytes]:
        """The answer's bytes as they come; EndpointError where it breaks off before its announced end."""
        assert self._response is not None, "nothing was sent"
        try:
            while part := self._response.read1(65536):
                yield part
            if self._response.length:
                raise ConnectionError("the answer was cut off")
        except (OSError, HTTPException, ValueError) as error:  # ValueError: http.client's, of a chunk without length
            raise self.broken(error) from error

    def text(self, deadline: float = float("inf")) -> str:
        """The whole answer, of bounded size; EndpointError as `parts`, and after the deadline (monotonic seconds)."""
        parts, size = [], 0
        for part in self.parts():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise EndpointError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes", is_final=True)
            if time.monotonic() > deadline:
                raise EndpointError("TimeoutError: the answer took too long")
        return b"".join(parts).decode("utf-8", "replace")

    def events(self) -> Iterator[Any]:
        """The values of a stream's events up to [DONE]; EndpointError where one is no JSON."""
        for line in self._lines():
            said = line.removeprefix(b"data:").strip()
            if said == b"[DONE]":
                self.is_done = True
                return
            if line.startswith(b"data:") and said:
                try:
                    yield json.loads(said)
                except ValueError as error:
                    raise self.broken(error) from error

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > MAX_ANSWER_BYTES:
                raise EndpointError(f"an event of more than {MAX_ANSWER_BYTES:,} bytes", status=self.status)
            yield from lines
        yield rest

    def refusal(self, text: str) -> EndpointError:
        """The error of an answer whose status is not 200."""
        status = self.status
        if 300 <= status < 400:
            said = f"HTTP {status}: redirects elsewhere, which is not followed"
            return EndpointError(said, is_final=True, is_fatal=True, status=status)
        retried = status in _RETRIED
        message, code = said_of(text)
        return EndpointError(
            f"HTTP {status}: {self._endpoint.hide_key(message)}",
            is_final=not retried,
            is_fatal=status in _FATAL,
            wait_s=_wait(self._response.getheader("Retry-After")) if retried and self._response else None,
            status=status,
            code=code,
        )

    def broken(self, error: Exception) -> EndpointError:
        """What went wrong on the way, as an EndpointError."""
        return EndpointError(f"{type(error).__name__}: {error}".rstrip(": "), status=self.status)

    def stop(self) -> None:
        """Break it off; from any thread."""
        self.is_stopped = True
        # Not the connection's own: it forgets its socket where the server will close it.
        if self._sock is not None:
            _shut(self._sock)

    def close(self) -> None:
        """Let go of it; only in the thread that reads, or when nobody does."""
        if self._response is not None:
            self._response.close()
        self._connection.close()


def ask(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    retries: int,
    back_off_s: float,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[Reply, int]:
    """(the answer, how often it was asked for again); waits twice as long each time, or as the endpoint says.

    Raises the last EndpointError when `retries` more requests did not help either.
    """
    for attempt in range(retries + 1):
        try:
            return endpoint.chat(body), attempt
        except EndpointError as error:
            if error.is_final or attempt == retries:
                raise
            wait = error.wait_s if error.wait_s is not None else back_off_s * 2**attempt
            sleep(min(wait, _MAX_WAIT_S))
    raise AssertionError("range(retries + 1) is never empty")


def _checked_addresses(host: str, port: int, is_tls: bool, allow_remote: bool, named: str) -> list[str]:
    """The addresses of a host; ConfigError unless every one it has is private, or remote ones are allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{named}: {host} has no address ({error}).") from error
    addresses = [str(entry[4][0]) for entry in found]
    outside = [address for address in addresses if not is_private(address)]
    if outside and not allow_remote:
        raise ConfigError(
            f"{named}: {host} ({outside[0]}) is neither this machine nor in a private network, and your "
            "documents would be sent there. Use a server of your own, or add --allow-remote if you may send them."
        )
    if outside and not is_tls:
        raise ConfigError(f"{named}: documents go to a remote host over https only.")
    return addresses


def _connected(addresses: list[str], port: int, timeout_s: float | None) -> socket.socket:
    """A connection to the first address that takes one: "localhost" may be ::1 and 127.0.0.1."""
    for place, address in enumerate(addresses):
        try:
            made = socket.create_connection((address, port), min(timeout_s or _CONNECT_S, _CONNECT_S))
        except OSError:
            if place == len(addresses) - 1:
                raise
        else:
            made.settimeout(timeout_s)
            return made
    raise AssertionError("a host that was checked has an address")


def is_private(address: str) -> bool:
    """Whether an address is of this machine or of a private network (RFC 1918, RFC 4193)."""
    value = ipaddress.ip_address(address.partition("%")[0])
    mapped = value.ipv4_mapped if isinstance(value, ipaddress.IPv6Address) else None
    return any((mapped or value) in net for net in _PRIVATE if net.version == (mapped or value).version)


def reply_of(text: str) -> Reply:
    """The reply in an answer's JSON; also where it was streamed although nobody asked for that."""
    try:
        value = _streamed(text) if text.lstrip().startswith("data:") else json.loads(text)
        choice = value["choices"][0]
        said = choice["message"]["content"] or ""
    except (ValueError, LookupError, TypeError) as error:
        said = f"no chat completion in the answer: {' '.join(text[:120].split())!r}"
        raise EndpointError(said, status=200) from error
    usage = value.get("usage") or {}
    counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(str(said), str(choice.get("finish_reason") or ""), *counts)


def _streamed(text: str) -> dict[str, Any]:
    said: list[str] = []
    finish = ""
    usage: dict[str, Any] = {}
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        usage = event.get("usage") or usage
        for choice in event.get("choices", [])[:1]:
            said.append(choice.get("delta", {}).get("content") or "")
            finish = choice.get("finish_reason") or finish
    return {"choices": [{"message": {"content": "".join(said)}, "finish_reason": finish}], "usage": usage}


def said_of(text: str) -> tuple[str, str]:
    """The words and the code of an error, in OpenAI's form or any other."""
    code = ""
    try:
        error = json.loads(text)["error"]
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        pass
    return " ".join(text.split())[:300] or "(no words)", code


def _wait(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date: our own waiting will do
        return None


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_RDWR)
