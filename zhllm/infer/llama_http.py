"""llama.cpp in a child process as this process sees it: started, asked over HTTP, ended, and its errors.

xllamacpp runs in the child alone: in-process its callbacks swallow exceptions, a malformed message
hangs the interpreter at exit, and a failed assertion in C++ would take the whole program down.
The child never outlives its parent, and what llama.cpp prints shows only inside an error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, Self

from zhllm.errors import DataError, MissingError, StageError, ZhllmError

LOG_LINES_SHOWN = 12
REPORT_S = 0.5


def available() -> bool:
    """Whether xllamacpp is installed; does not import it."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaHttp:
    """A GGUF file in a child process and requests to it on 127.0.0.1, alive inside a `with` block."""

    def __init__(self, model: Path, options: dict[str, int], start_timeout_s: float) -> None:
        """`options` are the child's flags (`llama_child`); it starts on entering the block."""
        self.model = model
        self._options = options
        self._start_timeout_s = start_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._port = 0
        self._headers: dict[str, str] = {}
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        """Start the child and wait until it answers.

        Raises `MissingError` without a working xllamacpp, `DataError` where llama.cpp cannot load the file,
        `StageError` where it is killed or not ready within `start_timeout_s`.
        """
        if not available():
            raise MissingError(
                'xllamacpp is not installed, and running GGUF files needs it: pip install "zhllm[llama]".'
            )
        if not self.model.is_file():
            raise DataError(f"{self.model}: there is no such GGUF file.")
        try:
            self._start()
            self._wait_until_healthy(time.monotonic() + self._start_timeout_s)
        except BaseException:  # Ctrl-C too: `__exit__` does not run when `__enter__` raises
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the child."""
        self.close()

    def close(self) -> None:
        """Kill the child and take its exit code; calling it again does nothing.

        The child holds nothing worth saving, so there is no polite request it could ignore.
        """
        child, log = self._child, self._log
        self._child = self._log = None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if log is not None:
            log.close()

    def revive(self) -> bool:
        """Start the child anew where it has ended (killed for memory, by hand, by a fault); whether it had.

        Raises as entering the block. What was being written ends with a StageError; nothing else is lost.
        """
        with self._starting:
            if not self._port or (self._child is not None and self._child.poll() is None):
                return False
            time.sleep(REPORT_S)  # whoever waited for the old child reads what it said last
            self.__exit__()
            self.__enter__()
            return True

    def _start(self) -> None:
        root = Path(__file__).resolve().parents[2]
        path = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        env["GGML_NO_BACKTRACE"] = "1"  # else a failed assertion starts gdb to print the stack
        env.pop("AIP_MODE", None)  # Vertex AI's variable would override the port
        flags = [f"--{name}={v}" for name, value in self._options.items() for v in _each(value)]
        # A file without a name: nothing is left behind even when this process is killed.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "zhllm.infer.llama_child", str(self.model.resolve()), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=env,
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the child
        )

    def _wait_until_healthy(self, deadline: float) -> None:
        assert self._child is not None and self._child.stdout is not None
        line = _read_line(self._child.stdout.fileno(), deadline)
        if line is None:
            limit = f"was not ready after {self._start_timeout_s:g} s (start_timeout_s)"
            raise self._dead(limit, StageError)
        if not line.endswith(b"\n"):
            code = self._child.wait()
            # A broken file may also trip an assertion (-6). SIGKILL is likely for want of memory, 1
            # is Python's own for an exception that nobody caught.
            kinds: dict[int, type[ZhllmError]] = {1: StageError, -signal.SIGKILL: StageError}
            kinds[MissingError.exit_code] = MissingError
            raise self._dead(f"could not load it (exit code {code})", kinds.get(code, DataError))
        ready = json.loads(line)
        self._port = int(ready["port"])
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {ready['key']}",
        }
        with contextlib.closing(self._connect()) as connection:
            self._request(connection, "GET", "/health", None)

    def _dead(self, what: str, kind: type[ZhllmError] = StageError) -> ZhllmError:
        said = ""
        if self._log is not None and not self._log.closed:
            # pread, because the child writes at the file position that both share.
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), 16384, max(0, size - 16384))
            lines = tail.decode("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
            said = "".join(f"\n  {line}" for line in lines)
        return kind(f"{self.model}: llama.cpp {what}. Its last lines:{said or ' (none)'}")

    def _connect(self) -> HTTPConnection:
        if self._child is None:
            raise RuntimeError("LlamaServer works inside its `with` block only.")
        # No time limit on an answer: a long generation on a CPU takes hours, and a dead child
        # closes the connection.
        return HTTPConnection("127.0.0.1", self._port)

    def _post(self, path: str, body: object, connection: HTTPConnection | None = None) -> Any:
        if connection is not None:
            return self._request(connection, "POST", path, body)
        with contextlib.closing(self._connect()) as once:
            return self._request(once, "POST", path, body)

    def _request(self, connection: HTTPConnection, method: str, path: str, body: object) -> Any:
        with self._dead_child_reported(path):
            answer = self._answer(connection, method, path, body).read()
        return json.loads(answer)

    def _answer(self, connection: HTTPConnection, method: str, path: str, body: object) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, self._headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refusal(path, response.status, response.read())
        return response

    def _events(self, path: str, body: object) -> Generator[dict[str, Any]]:
        """Server-sent events of one request; closing the iterator drops the connection."""
        with contextlib.closing(self._connect()) as connection, self._dead_child_reported(path):
            for line in self._answer(connection, "POST", path, body):
                name, _, data = line.partition(b": ")
                if name == b"error":
                    raise _refusal(path, 500, data)
                if name == b"data" and data.strip() != b"[DONE]":
                    event = json.loads(data)
                    if "error" in event:
                        raise _refusal(path, int(event["error"].get("code", 500)), data)
                    yield event

    @contextlib.contextmanager
    def _dead_child_reported(self, path: str) -> Iterator[None]:
        """Turn a broken connection into a `StageError` with what the child said last."""
        try:
            yield
        except (OSError, HTTPException) as error:
            code: int | None = None
            if self._child is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self._child.wait(1.0)
            state = "is still running" if code is None else f"has exit code {code}"
            raise self._dead(f"broke off {path} ({error!r}; the child {state})") from error


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _refusal(path: str, status: int, data: bytes) -> ZhllmError:
    try:
        message = str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = data.decode("utf-8", "replace")
    kind = DataError if 400 <= status < 500 else StageError
    return kind(f"llama.cpp refused {path} (HTTP {status}): {message}")


def _read_line(fd: int, deadline: float) -> bytes | None:
    """Bytes of `fd` up to a newline, or up to its end; None where `deadline` passes first."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line
