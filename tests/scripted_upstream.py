"""An OpenAI-compatible server on a loopback port whose every byte is given: models, streams, silence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = b'{"data": [{"id": "zh"}, {"id": "zh:law"}]}'
STREAM = "text/event-stream"


@dataclass
class Upstream:
    """What the server answers: to GET, to POST; what was posted; how long it says nothing."""

    url: str = ""
    models: bytes = MODELS
    body: bytes = b""
    kind: str = STREAM
    status: int = 200
    longest: int = 99  # messages
    silent_s: float = 0.0
    posted: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def upstream(**settings: Any) -> Iterator[Upstream]:
    """A server on a loopback port, alive inside the block."""
    served = Upstream(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, "application/json", served.models)

        def do_POST(self) -> None:
            served.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            end = time.monotonic() + served.silent_s
            while time.monotonic() < end:
                time.sleep(0.02)
            if len(served.posted[-1]["messages"]) > served.longest:
                error = {"message": "too long", "code": "context_length_exceeded"}
                self._send(400, "application/json", json.dumps({"error": error}).encode())
            else:
                self._send(served.status, served.kind, served.body)

        def _send(self, status: int, kind: str, data: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # who asked has gone
                served.silent_s = 0.0

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield served
    finally:
        served.silent_s = 0.0
        server.shutdown()
        server.server_close()


def event(text: str | None = None, finish: str | None = None, end: str = "\n\n") -> bytes:
    delta = {} if text is None else {"content": text}
    value = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}".encode()
