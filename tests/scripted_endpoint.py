"""A chat-completions endpoint on a loopback port that plays a script: what a server, a proxy or a model may do."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON = "application/json"


@dataclass
class Answer:
    """One HTTP answer; status 0 resets the connection."""

    body: str = ""
    status: int = 200
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    announced: int | None = None  # a Content-Length that is not true


Script = Callable[[dict[str, Any], int], Answer]


@dataclass
class Served:
    """What the endpoint saw: bodies, headers, and how many were at it at a time."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    most_at_once: int = 0


def completion(text: str, finish: str = "stop") -> Answer:
    value = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": len(text)},
    }
    return Answer(json.dumps(value, ensure_ascii=False))


def passage_of(body: dict[str, Any]) -> str:
    return re.search(r"<<<\n(.*)\n>>>", body["messages"][-1]["content"], re.DOTALL)[1]  # type: ignore[index]


def pairs_about(passage: str) -> list[dict[str, str]]:
    """What a good model writes: a pair for every sentence, each with its evidence."""
    found = re.findall(r"[^。\n]{8,}。", passage)
    return [
        {"kind": "factual", "question": f"{s[:12]}等事项是怎么规定的？", "answer": s, "evidence": s} for s in found[:3]
    ]


def good(body: dict[str, Any], number: int) -> Answer:
    del number
    return completion(json.dumps(pairs_about(passage_of(body)), ensure_ascii=False))


@contextmanager
def serving(script: Script = good) -> Iterator[Served]:
    """The endpoint, alive inside the block; `script` gets each body and how many came before it."""
    lock, at_once = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(served.bodies)
                served.bodies.append(body)
                served.headers.append(dict(self.headers))
                at_once[0] += 1
                served.most_at_once = max(served.most_at_once, at_once[0])
            try:
                self._give(script(body, number), body)
            finally:
                with lock:
                    at_once[0] -= 1

        def _give(self, answer: Answer, body: dict[str, Any]) -> None:
            time.sleep(answer.wait_s)
            if answer.status == 0:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()
                return
            data = answer.body.encode()
            try:
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(answer.announced or len(data)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # who asked has gone
                return
            if answer.status == 200:
                with lock:
                    served.answered.append(passage_of(body))

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
