"""A page in headless Chromium, driven over a pipe: what it shows, what it asked the network for, what it complained of.

Source: Chrome DevTools Protocol (--remote-debugging-pipe: JSON messages that end in a zero byte, on fds 3 and 4).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """An open page; use as a context manager. `requests` and `complaints` grow as they come."""

    def __init__(self, width: int = 1000, height: int = 800, language: str = "zh-CN") -> None:
        if PATH is None:
            pytest.skip("no chromium on this machine")
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._size, self._language = (width, height), language
        self._data, self._next = b"", 0
        self._answers: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Page:
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        width, height = self._size
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--remote-debugging-pipe", f"--accept-lang={self._language}"]

        def place() -> None:
            os.dup2(down, 3)
            os.dup2(up, 4)

        # The pipe's ends must be fds 3 and 4 of the child, whatever these numbers are here.
        self._child = subprocess.Popen(
            [str(PATH), *flags, "about:blank"], preexec_fn=place, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(down)
        os.close(up)
        target = self._ask("Target.createTarget", url="about:blank", width=width, height=height)["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        # A window cannot be as narrow as a phone.
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._write)
        os.close(self._read)

    def open(self, url: str) -> None:
        """Load a page and wait until it is there."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of a script (a promise's, once it is there)."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until a script is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """A PNG of what is shown, or of the whole page."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol to the page."""
        return self._ask(method, session=self._session, **params)

    def _ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while self._next not in self._answers:
            self._take()
        answer = self._answers.pop(self._next)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self) -> None:
        assert select.select([self._read], [], [], 60)[0], "chromium says nothing"
        self._data += os.read(self._read, 1 << 20)
        *messages, self._data = self._data.split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
