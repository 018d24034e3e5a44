"""The server as its users meet it: OpenAI's own client, many at once, mistakes, and a client that goes away."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from chromium import Page
from scripted import ANSWER, scripted_llama
from scripted_upstream import event, upstream
from toys import byte_level_tokenizer, random_model, stage

from zhllm.errors import StageError
from zhllm.infer import llamacpp
from zhllm.infer.llama_engine import LlamaEngine, _texts
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import Written
from zhllm.model.directory import set_chat_template
from zhllm.text.prompt_format import FORMATS

pytest.importorskip("fastapi", reason="fastapi is not installed (zhllm[serve])")
openai = pytest.importorskip("openai", reason="openai is not installed (zhllm[dev])")

KEY = "sk-秘".encode().hex()
ASKED: Any = [{"role": "system", "content": "你是助手。"}, {"role": "user", "content": "保修期多长？"}]


@contextmanager
def serving(model: str | Path, *options: str, key: str | None = KEY) -> Iterator[str]:
    """`zhllm serve` in a process of its own: the URL it names."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ZHLLM_UPSTREAM_API_KEY": KEY} | (
        {"ZHLLM_API_KEY": key} if key else {}
    )
    words = [sys.executable, "-m", "zhllm", "serve", str(model), "--port", "0", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=env, cwd=Path(__file__).parents[2]) as child:
        assert child.stderr is not None
        try:
            line = b""
            while b"serving" not in line:
                assert select.select([child.stderr], [], [], 120)[0], "the server did not start"
                line = child.stderr.readline()
                assert line, "the server ended"
            yield re.search(r"http://[\d.]+:\d+", line.decode())[0]  # type: ignore[index]
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        finally:
            child.kill()


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("serve")
    tokenizer = byte_level_tokenizer(root / "tokenizer")
    scripted_llama(root / "scripted", tokenizer, prompt_format="llama3")
    random_model(root / "endless", tokenizer, max_position_embeddings=2048)
    set_chat_template(root / "endless", FORMATS["llama3"].jinja())
    return root


@pytest.fixture(scope="module")
def directory(toys: Path) -> Iterator[str]:
    with serving(toys / "scripted", "--name", "toy", "--parallel", "8") as url:
        yield url


@pytest.fixture(scope="module")
def gguf(toys: Path) -> Iterator[str]:
    if not llamacpp.available():
        pytest.skip("xllamacpp is not installed")
    stage("export", toys / "gguf", model=toys / "scripted", type=["q8_0"])
    with serving(toys / "gguf" / "model-q8_0.gguf", "--name", "toy", "--parallel", "8") as url:
        yield url


@pytest.fixture(scope="module")
def proxy(directory: str) -> Iterator[str]:
    with serving(directory, "--name", "toy") as url:
        yield url


@pytest.fixture(params=["directory", "gguf", "proxy"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def client(url: str, key: str = KEY) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)


def streamed(url: str, **settings: Any) -> tuple[str, str | None, Any, int]:
    """What a stream said, why it ended, its usage, and how many parts it came in."""
    text, finish, usage, parts = "", None, None, 0
    options = {"model": "toy", "messages": ASKED, "stream_options": {"include_usage": True}, **settings}
    for part in client(url).chat.completions.create(stream=True, **options):
        usage = part.usage or usage
        for choice in part.choices:
            text += choice.delta.content or ""
            parts += bool(choice.delta.content)
            finish = choice.finish_reason or finish
    return text, finish, usage, parts


def test_the_official_client_gets_the_same_text_from_every_back_end(url: str) -> None:
    asked = client(url)
    assert [model.id for model in asked.models.list()] == ["toy"]
    whole = asked.chat.completions.create(model="toy", messages=ASKED)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (ANSWER, "stop")
    text, finish, usage, parts = streamed(url)
    assert (text, finish) == (ANSWER, "stop") and parts >= 3
    assert usage == whole.usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == 9 and usage.prompt_tokens > 20


def test_limits_and_stop_strings(url: str) -> None:
    assert streamed(url, max_tokens=1)[:2] == ("保修", "length")
    assert streamed(url, max_completion_tokens=1)[:2] == ("保修", "length")
    assert streamed(url, stop=["🦄"])[:2] == ("保修龘", "stop")
    assert streamed(url, stop="龘", temperature=1.0, seed=7, top_p=0.9)[:2] == ("保修", "stop")


def test_plain_completions_and_embeddings(url: str) -> None:
    asked = client(url)
    found = asked.completions.create(model="toy", prompt=["你好", "仪器"], max_tokens=1)
    assert [choice.text for choice in found.choices] == ["保修"] * 2 and found.choices[1].index == 1
    parts = asked.completions.create(model="toy", prompt="你好", stream=True, max_tokens=20)
    assert "".join(part.choices[0].text for part in parts) == ANSWER
    packed = asked.embeddings.create(model="toy", input=["你好", "再见"])  # as base64, the client's default
    plain = asked.embeddings.create(model="toy", input="你好", encoding_format="float")
    assert len(packed.data) == 2 and len(packed.data[0].embedding) == 256 and plain.usage.prompt_tokens > 0
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert sum(x * x for x in plain.data[0].embedding) == pytest.approx(1)


def test_texts_that_cannot_be_embedded_are_named(url: str) -> None:
    for given, field, message in ((["a", ""], "input.1", "is empty"), ("保修" * 600, "input", "Shorten it")):
        status, answer = raw(url, json.dumps({"input": given}).encode(), "/v1/embeddings")
        assert status == 400 and answer["error"]["param"] == field and message in answer["error"]["message"], answer


def test_sixty_four_streams_at_once_lose_nothing(url: str) -> None:
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda n: streamed(url, seed=n, temperature=0.5)[:2], range(64)))
    assert found == [(ANSWER, "stop")] * 64


def raw(url: str, body: bytes | None, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any]:
    """A request as it stands: status, and the answer's JSON (its text where it is none)."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    connection.request("GET" if body is None else "POST", path, body, sent)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text.decode()


def chat(**fields: object) -> bytes:
    return json.dumps({"model": "toy", "messages": ASKED, **fields}).encode()


MISTAKES: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{not json", 400, "the body is not JSON"),
    "not UTF-8": ("你好".encode("gbk"), 400, "the body is not JSON"),
    "a list": (b"[]", 400, "should be an object"),
    "no messages": (b"{}", 400, "messages: Field required"),
    "empty messages": (chat(messages=[]), 400, "messages: List should have at least 1 item"),
    "a wrong role": (chat(messages=[{"role": "robot", "content": "x"}]), 400, "messages.0.role: Input should be"),
    "a late system": (chat(messages=[*ASKED, ASKED[0]]), 400, "a system message must come first"),
    "the assistant last": (chat(messages=[{"role": "assistant", "content": "x"}]), 400, "message must be the user"),
    "a picture": (
        chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, 'a part of type "image_url"'
    ),
    "a temperature": (chat(temperature=-1), 400, "temperature: Input should be greater than or equal to 0"),
    "no number": (chat(temperature=float("nan")), 400, "temperature: Input should be"),
    "a penalty": (chat(repetition_penalty=1e-300), 400, "repetition_penalty: Input should be greater"),
    "no content": (chat(messages=[{"role": "user", "content": None}]), 400, "messages.0.content: Input should be"),
    "no tokens": (chat(max_tokens=0), 400, "max_tokens: Input should be greater than or equal to 1"),
    "tools": (chat(tools=[{"type": "function"}]), 400, '"tools" is not supported'),
    "two choices": (chat(n=2), 400, '"n" is not supported'),
    "a misspelt field": (chat(temprature=1), 400, '"temprature" is not supported'),
    "another model": (chat(model="gpt-9"), 404, 'there is no model "gpt-9" here, only toy'),
    "too long": (chat(messages=[{"role": "user", "content": "保修" * 600}]), 400, "Shorten it"),
    "too large": (chat(messages=[{"role": "user", "content": "x" * 4_100_000}]), 413, "more than 4,000,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("backend", ["directory", "gguf"])
def test_a_mistake_is_one_clear_error(mistake: str, backend: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(backend)
    body, status, message = MISTAKES[mistake]
    found, answer = raw(url, body)
    assert found == status and message in answer["error"]["message"], answer
    assert streamed(url)[0] == ANSWER, "the server is hurt"


def test_a_body_that_stays_away_is_not_waited_for_for_ever(toys: Path) -> None:
    with serving(toys / "scripted", "--name", "toy", "--max-body-seconds", "0.5") as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as half_sent:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            half_sent.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            answer = half_sent.makefile("rb").read()
        assert b" 408 " in answer.splitlines()[0] and b"did not come within 0.5 seconds" in answer
        assert streamed(url)[0] == ANSWER


def test_fields_that_ask_for_nothing_are_taken(url: str) -> None:
    nothing = {
        "n": 1,
        "user": "u",
        "metadata": {"a": "b"},
        "tools": [],
        "response_format": {"type": "text"},
        "logprobs": False,
    }
    assert raw(url, chat(**nothing))[0] == 200


def test_who_may_ask(url: str) -> None:
    with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        client(url, "wrong").models.list()
    assert raw(url, None, "/v1/models", Authorization="")[0] == 401
    assert raw(url, None, "/metrics", Authorization="")[0] == 401
    assert raw(url, chat(), Content_Type="text/plain")[0] == 415, "a form of another site would be served"
    status, answer = raw(url, chat(), Host="evil.example:80")
    assert status == 403 and "evil.example" in answer["error"]["message"]
    assert raw(url, None, "/health", Authorization="") == (200, {"status": "ok"})
    assert raw(url, None, "/health", Host="LocalHost:80", Authorization="")[0] == 200
    assert raw(url, None, "/v1/models", Authorization=f"bearer {KEY}")[0] == 200
    status, answer = raw(url, None, "/nowhere")
    assert status == 404 and answer["error"]["message"] == "not found"


def test_what_is_counted(directory: str) -> None:
    before = raw(directory, None, "/metrics")[1]
    streamed(directory)
    raw(directory, b"{", path="/v1/completions")
    after = raw(directory, None, "/metrics")[1]

    def count(page: str, name: str) -> float:
        return float((re.search(rf"^{re.escape(name)} (\S+)$", page, re.M) or [0, 0])[1])

    for name, more in {
        'zhllm_requests_total{path="/v1/chat/completions",status="200"}': 1,
        'zhllm_requests_total{path="/v1/completions",status="400"}': 1,
        'zhllm_tokens_total{kind="completion"}': 9,
    }.items():
        assert count(after, name) == count(before, name) + more, name
    assert count(after, "zhllm_requests_running") == count(after, "zhllm_requests_waiting") == 0


@pytest.fixture(scope="module")
def endless(toys: Path) -> Iterator[str]:
    """A model that writes until it may not any more, two answers at once, one more waiting."""
    with serving(toys / "endless", "--parallel", "2", "--max-waiting", "1", "--drain-seconds", "1") as url:
        yield url


def begun(url: str, stream: bool = True, first: int = 3) -> socket.socket:
    """A long answer that was asked for (and has begun, where it is a stream)."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"messages": ASKED, "max_tokens": 1900, "stream": stream, "temperature": 2, "seed": 5}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    made = socket.create_connection((host, int(port)))
    made.sendall(head.encode() + body)
    if stream:
        made.settimeout(60)
        seen = b""
        while seen.count(b"data:") < first:
            seen += made.recv(4096)
    return made


def metric(url: str, name: str) -> float:
    page = raw(url, None, "/metrics")[1]
    return float(re.search(rf"^zhllm_{name} (\S+)$", page, re.M)[1])  # type: ignore[index]


def soon(check: Any) -> None:
    """Wait until a check holds, 20 s at most."""
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_client_that_leaves_frees_its_place_and_a_full_house_says_so(endless: str) -> None:
    running = [begun(endless), begun(endless, stream=False)]
    soon(lambda: metric(endless, "requests_running") == 2)
    waiting = threading.Thread(target=lambda: raw(endless, json.dumps({"messages": ASKED, "max_tokens": 2}).encode()))
    waiting.start()
    soon(lambda: metric(endless, "requests_waiting") == 1)
    status, answer = raw(endless, json.dumps({"messages": ASKED}).encode())
    assert status == 429 and "1 requests wait already" in answer["error"]["message"]
    for left in running:
        left.close()
    waiting.join(30)
    assert not waiting.is_alive()
    soon(lambda: metric(endless, "requests_running") == 0)
    assert metric(endless, "disconnects_total") >= 2
    assert raw(endless, json.dumps({"messages": ASKED, "max_tokens": 2}).encode())[0] == 200


def test_at_shutdown_answers_come_to_their_end(toys: Path) -> None:
    with serving(toys / "endless", "--drain-seconds", "60", key=None) as url, ThreadPoolExecutor(2) as pool:
        body = json.dumps({"messages": ASKED, "max_tokens": 300, "temperature": 2, "seed": 5}).encode()
        answers = [pool.submit(raw, url, body) for _ in range(2)]
        soon(lambda: metric(url, "requests_running") == 2)
    for answer in answers:
        status, found = answer.result()
        assert status == 200 and found["usage"]["completion_tokens"] > 100


def test_another_server_may_be_silent_or_write_otherwise() -> None:
    body = (event("龘🦄") + b": ping\n\n" + event(None, "stop") + b"data: [DONE]\n\n").replace(b"\n", b"\r\n")
    options = ("--parallel", "1", "--max-waiting", "0", "--drain-seconds", "1")
    with upstream(body=body) as served, serving(served.url, *options, key=None) as url:
        names = [model["id"] for model in raw(url, None, "/v1/models")[1]["data"]]
        assert names == ["zh", "zh:law"], "its models keep their names"
        assert raw(url, json.dumps({"messages": ASKED, "temperature": float("nan")}).encode())[0] == 400
        with Page() as page:
            page.open(url + "/")
            page.until("document.querySelector('#model').options.length === 2")
            assert ask_page(page, "说") == "龘🦄", "CRLF and comments"
        served.silent_s = 120
        for stream in (False, True):
            left = begun(url, stream, first=0)
            soon(lambda: metric(url, "requests_running") == 1)
            assert raw(url, json.dumps({"messages": ASKED}).encode())[0] == 429
            left.close()
            soon(lambda: metric(url, "requests_running") == 0)
        held = begun(url, first=0)  # and so does the server, although nothing was answered
        soon(lambda: metric(url, "requests_running") == 1)
    held.close()


def test_a_killed_llama_cpp_is_started_anew(toys: Path, gguf: str) -> None:
    del gguf  # its file is wanted
    with LlamaEngine(toys / "gguf" / "model-q8_0.gguf", None) as engine:
        answer = engine.stream(ASKED, Sampling())
        assert next(answer)
        child = engine._server._child
        assert child is not None
        child.kill()
        child.wait()
        assert "".join(engine.stream(ASKED, Sampling())) == ANSWER


@pytest.mark.parametrize("ends", [[], [{"content": "半"}]])
def test_an_answer_of_llama_cpp_without_an_end_is_an_error(ends: list[dict[str, object]]) -> None:
    written = Written(0, lambda made: _texts(iter(ends), made, True))
    with pytest.raises(StageError, match="ended before the answer did"):
        list(written)


def ask_page(page: Page, text: str) -> str:
    """Type a question into the chat page and take the answer from it."""
    count = page.run("document.querySelectorAll('.turn.assistant footer button').length")
    page.run(
        f"document.querySelector('#text').value = {json.dumps(text)}; document.querySelector('#form').requestSubmit()"
    )
    page.until(f"document.querySelectorAll('.turn.assistant footer button').length === {count + 2}")
    return str(page.run("[...document.querySelectorAll('.turn.assistant .text')].at(-1).textContent"))


def test_the_chat_page(toys: Path, tmp_path: Path) -> None:
    with serving(toys / "scripted", "--name", "toy") as url, Page(390, 700) as page:
        page.open(url + "/")
        page.until("document.querySelector('.turn.error') !== null")
        assert "API key is missing" in page.run("document.querySelector('.turn.error').textContent")
        page.complaints.clear()  # the browser's own line of the 401
        page.run(f"key.value = '{KEY}'; key.onchange()")
        page.until("document.querySelector('#model').options.length === 1")
        assert ask_page(page, "保修期<b>多长</b>？") == ask_page(page, "再说一遍") == ANSWER
        assert page.run("document.querySelector('.turn.user .text').textContent") == "保修期<b>多长</b>？"
        page.run("document.querySelector('#max_tokens').value = '1'")
        assert ask_page(page, "短一点") == "保修"
        assert "到达长度上限" in page.run("[...document.querySelectorAll('.turn footer')].at(-1).textContent")
        page.run("[...document.querySelectorAll('.turn footer button')].at(-1).click()")  # once more
        page.until("document.querySelectorAll('.turn.assistant footer button').length === 6")
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
        assert page.screenshot(tmp_path / "chat.png").stat().st_size > 5000
        page.run("document.querySelector('#fresh').click()")
        assert page.run("document.querySelectorAll('.turn').length") == 0
        assert page.complaints == [] and all(asked.startswith((url, "data:")) for asked in page.requests)


def test_the_page_stops_an_answer(endless: str) -> None:
    with Page() as page:
        page.open(endless + "/")
        page.run(f"key.value = '{KEY}'; max_tokens.value = '1900'; temperature.value = '2'; key.onchange()")
        page.run("document.querySelector('#text').value = '说'; document.querySelector('#form').requestSubmit()")
        page.until("document.querySelector('.turn.assistant .text').textContent.length > 20")
        page.run("document.querySelector('#stop').click()")
        page.until("[...document.querySelectorAll('.turn footer')].at(-1).textContent.includes('已停止')")
        page.run("document.querySelector('#text').value = '再'; document.querySelector('#form').requestSubmit()")
        page.until("[...document.querySelectorAll('.turn.assistant .text')].at(-1).textContent.length > 20")
        page.run("document.querySelector('#fresh').click()")
        page.until("document.querySelector('#stop').hidden")
        assert page.run("history.length") == 0, "a new chat begins with half an answer of the old one"
    soon(lambda: metric(endless, "requests_running") == 0)
