"""Another server as an engine: what it may send, and what a user is told where it sends something else."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from scripted_upstream import event, upstream

from zhllm.errors import ConfigError, DataError, StageError
from zhllm.infer.remote import RemoteEngine
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import PromptTooLongError
from zhllm.tools.chat import Talk

ASKED: Any = [{"role": "user", "content": "保修期多长？"}]
STREAM = "text/event-stream"


WHOLE = {"choices": [{"message": {"role": "assistant", "content": "龘🦄"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (event("龘") + event("🦄") + event(None, "stop") + b"data: [DONE]\n\n", STREAM),
        (
            event("龘", end="\r\n\r\n") + b": ping\r\n\r\n" + event("🦄", end="\r\n\r\n") + b"data: [DONE]\r\n\r\n",
            STREAM,
        ),
        (event("龘🦄") + b"data: [DONE]", STREAM),
        (event("龘🦄") + event(None, "stop"), STREAM),
        (event("龘🦄").replace(b"data: ", b"data:") + event(None, "stop"), STREAM),
        (json.dumps(WHOLE, ensure_ascii=False).encode(), "application/json; charset=utf-8"),
    ],
    ids=["plain", "CRLF and comments", "no last newline", "no [DONE]", "no space", "not a stream"],
)
def test_streams_of_other_servers_are_read(body: bytes, kind: str) -> None:
    with upstream(body=body, kind=kind) as served:
        written = RemoteEngine(served.url).stream(ASKED, Sampling(repeat_penalty=1.1), "zh:law")
        assert "".join(written) == "龘🦄"
    assert served.posted[0]["model"] == "zh:law" and served.posted[0]["repetition_penalty"] == 1.1


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (event("龘"), 200, STREAM, "broke off before its end"),
        (event("龘") + b"data: {half\n\n", 200, STREAM, "broke off: JSONDecodeError"),
        (event("龘") + b"data: [1]\n\n", 200, STREAM, "no event of a chat"),
        (event("龘") + b'data: {"error": {"message": "out of memory"}}\n\n', 200, STREAM, "out of memory"),
        (b"<html>", 200, "application/json", "no chat completion in the answer: '<html>'"),
        (b"<html>", 502, "text/html", "refused: HTTP 502: <html>"),
        (b'{"error": {"message": "sk-secret is wrong"}}', 401, "application/json", r"HTTP 401: \*\*\* is wrong"),
    ],
)
def test_what_goes_wrong_is_one_clear_error(body: bytes, status: int, kind: str, message: str) -> None:
    with upstream(body=body, status=status, kind=kind) as served:
        engine = RemoteEngine(served.url, key="sk-secret")
        with pytest.raises(DataError if status == 401 else StageError, match=message):
            list(engine.stream(ASKED, Sampling()))


@pytest.mark.parametrize("models", [b"<html>", b"[]", b'{"data": [{"name": "zh"}]}', b'{"data": []}', b'"\xff"'])
def test_what_is_no_list_of_models_is_refused(models: bytes) -> None:
    with upstream(models=models) as served, pytest.raises(DataError, match=r"no list of models|names no model"):
        RemoteEngine(served.url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:port", "http://", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        RemoteEngine(url)


def test_a_silent_server_can_be_left() -> None:
    with upstream(silent_s=30.0) as served:
        written = RemoteEngine(served.url).stream(ASKED, Sampling())
        leaving = threading.Timer(0.3, written.close)
        leaving.start()
        started = time.monotonic()
        assert list(written) == [] and time.monotonic() - started < 5


def test_a_conversation_too_long_for_a_server_loses_its_oldest_turns(capsys: pytest.CaptureFixture[str]) -> None:
    with upstream(body=event("好") + event(None, "stop"), longest=4) as served:
        talk = Talk(RemoteEngine(served.url), Sampling(), "规则", None, None)
        for question in "一二三":
            talk.ask(question)
        assert [len(body["messages"]) for body in served.posted] == [2, 4, 6, 4]
        assert [m["content"] for m in served.posted[-1]["messages"]] == ["规则", "二", "好", "三"]
        served.longest = 1
        with pytest.raises(PromptTooLongError, match="too long"):
            talk.ask("四")
    assert capsys.readouterr().out == "好\n好\n好\n"
