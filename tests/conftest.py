"""Fixtures: no network but loopback, the real data where they are, toys made once a session."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import toys` from every folder

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


def data_dir() -> Path:
    """Where the real tokenizers and texts lie."""
    return Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = data_dir()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ZHLLM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A toy line on disk: corpus, base tokenizer and model, pieces, extended tokenizer, resized model."""
    from toys import build_toy

    return build_toy(tmp_path_factory.mktemp("toy"))
