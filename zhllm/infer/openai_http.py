"""Chat requests to an OpenAI-compatible endpoint over the standard library's HTTP, and where they may go.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
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


class EndpointError(Exception):
    """A request that got no answer; `is_final` where asking again would not help, `is_fatal` where nothing would."""

    def __init__(
        self, message: str, is_final: bool = False, is_fatal: bool = False, wait_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.is_final, self.is_fatal, self.wait_s = is_final, is_fatal, wait_s


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote, why it stopped, and the tokens that the endpoint counted (0 where it does not say)."""

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint:
    """Where requests go: its parts, its checked address and its key."""

    def __init__(self, url: str, key: str = "", allow_remote: bool = False, timeout_s: float = 300.0) -> None:
        """Raises ConfigError for an address that is none, or that is not on this machine or its private network."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise ConfigError(f"--endpoint {url}: is not an address such as http://127.0.0.1:8080/v1.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError("--endpoint: holds a name, password, query or fragment. Give keys in the environment.")
        self.host, self.is_tls = parts.hostname, parts.scheme == "https"
        self.port = port or (443 if self.is_tls else 80)
        self.path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.path}"
        self._key, self._timeout_s = key, timeout_s
        self._address = _checked_address(self.host, self.port, self.is_tls, allow_remote, self.url)
        self._lock = threading.Lock()
        self._open: set[HTTPConnection] = set()
        self._is_closed = False

    def close(self) -> None:
        """Break off every request on its way, and refuse new ones."""
        with self._lock:
            self._is_closed = True
            for connection in self._open:
                if connection.sock is not None:
                    _shut(connection.sock)

    def reach(self) -> None:
        """Raise EndpointError unless something takes connections there: known at once, where retrying takes minutes."""
        try:
            socket.create_connection((self._address, self.port), min(self._timeout_s, 10.0)).close()
        except OSError as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from error

    def chat(self, body: Mapping[str, Any]) -> Reply:
        """The answer to one chat request; raises EndpointError."""
        data = json.dumps({**body, "stream": False}, ensure_ascii=False).encode("utf-8", "replace")
        deadline = time.monotonic() + self._timeout_s
        connection = self._connection()
        try:
            with self._lock:
                if self._is_closed:
                    raise EndpointError("broken off", is_final=True)
                self._open.add(connection)
            connection.request("POST", f"{self.path}/chat/completions", data, self._headers())
            response = connection.getresponse()
            text = _read(response, deadline)
        except (OSError, HTTPException) as error:
            raise EndpointError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
        if response.status != 200:
            raise self._refusal(response, text)
        return _reply(text)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def _connection(self) -> HTTPConnection:
        if self.is_tls:
            context = ssl.create_default_context()
            connection: HTTPConnection = HTTPSConnection(self.host, self.port, timeout=self._timeout_s, context=context)
        else:
            connection = HTTPConnection(self.host, self.port, timeout=self._timeout_s)
        address = self._address

        def connect(_: Any, timeout: float | None = None, source: Any = None) -> socket.socket:
            return socket.create_connection((address, self.port), timeout)

        connection._create_connection = connect  # type: ignore[attr-defined]  # the address that was checked
        return connection

    def _refusal(self, response: HTTPResponse, text: str) -> EndpointError:
        said = _message(text)
        said = said.replace(self._key, "***") if self._key else said
        if 300 <= response.status < 400:
            return EndpointError(
                f"HTTP {response.status}: redirects elsewhere, which is not followed", is_final=True, is_fatal=True
            )
        retried = response.status in _RETRIED
        return EndpointError(
            f"HTTP {response.status}: {said}",
            is_final=not retried,
            is_fatal=response.status in _FATAL,
            wait_s=_wait(response.getheader("Retry-After")) if retried else None,
        )


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


def _checked_address(host: str, port: int, is_tls: bool, allow_remote: bool, url: str) -> str:
    """The address of a host; ConfigError unless every one it has is private, or remote ones are allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--endpoint {url}: {host} has no address ({error}).") from error
    addresses = [str(entry[4][0]) for entry in found]
    outside = [address for address in addresses if not is_private(address)]
    if outside and not allow_remote:
        raise ConfigError(
            f"--endpoint {url}: {host} ({outside[0]}) is neither this machine nor in a private network, and your "
            "documents would be sent there. Use a server of your own, or add --allow-remote if you may send them."
        )
    if outside and not is_tls:
        raise ConfigError(f"--endpoint {url}: documents go to a remote host over https only.")
    return addresses[0]


def is_private(address: str) -> bool:
    """Whether an address is of this machine or of a private network (RFC 1918, RFC 4193)."""
    value = ipaddress.ip_address(address.partition("%")[0])
    mapped = value.ipv4_mapped if isinstance(value, ipaddress.IPv6Address) else None
    return any((mapped or value) in net for net in _PRIVATE if net.version == (mapped or value).version)


def _read(response: HTTPResponse, deadline: float) -> str:
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise EndpointError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes", is_final=True)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer took too long")
    if response.length:  # the connection ended before what was announced
        raise ConnectionError("the answer was cut off")
    return b"".join(parts).decode("utf-8", "replace")


def _reply(text: str) -> Reply:
    """The reply in an answer's JSON; also where it was streamed although nobody asked for that."""
    try:
        value = _streamed(text) if text.lstrip().startswith("data:") else json.loads(text)
        choice = value["choices"][0]
        said = choice["message"]["content"] or ""
    except (ValueError, LookupError, TypeError) as error:
        raise EndpointError(f"no chat completion in the answer: {' '.join(text[:120].split())!r}") from error
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


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        pass
    return " ".join(text.split())[:300] or "(no words)"


def _wait(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date: our own waiting will do
        return None


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_RDWR)
