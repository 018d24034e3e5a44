"""synth with an endpoint: what servers, proxies and models do, a run killed and gone on, and where texts may go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import Answer, Script, completion, good, pairs_about, passage_of, serving

from zhllm import stage
from zhllm.errors import ConfigError, DataError, StageError
from zhllm.infer.openai_http import Endpoint, is_private
from zhllm.stages import synth
from zhllm.stages._synth_ask import Answered, AnswerLog
from zhllm.text.chats import Chat, read_chats
from zhllm.text.read.shards import read_documents

NOUNS = "恒温箱 离心机 显微镜 光度计 移液器 墒情仪 气象站 电子秤 酸度计 真空泵".split()
KEY = "sk-very-secret-0123456789"


def write_documents(folder: Path, count: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, noun in enumerate(NOUNS[:count]):
        lines = [
            f"# {noun}使用手册",
            f"{noun}的保修期是{number + 3}年，从开票的那一天算起。",
            f"清洁{noun}之前要先拔掉电源，再用软布擦干净外壳。🧑\u200d🔧𠮷",
        ]
        (folder / f"{number}.md").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


def run(documents: Path, out: Path, url: str, **settings: Any) -> dict[str, Any]:
    values = {"model": "toy", "endpoint": url, "back_off_s": 0.0, "concurrency": 2, "timeout_s": 20.0} | settings
    config = synth.SynthConfig(documents=(documents,), **values)
    return stage.execute(synth.STAGE, config, out).manifest.metrics


def chats(out: Path) -> list[Chat]:
    return list(read_chats([out]))


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def files(out: Path) -> dict[str, str]:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))["files"]  # type: ignore[no-any-return]


def test_good_answers_become_chats_with_their_evidence(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "docs")
    with serving() as served:
        metrics = run(documents, tmp_path / "out", served.url, style="both", temperature=0.25, seed=7, max_tokens=321)
    assert metrics["pairs"] == 12 and metrics["chats"] == 24 and metrics["requests"] == 6 == len(served.bodies)
    assert metrics["completion_tokens"] > 0 and metrics["prompt_tokens"] == 600
    texts = {document.id: document.text for document in read_documents([documents])}
    for chat in chats(tmp_path / "out"):
        evidence = chat.meta["evidence"]
        start = evidence["start"]
        assert texts[evidence["document"]][start : start + len(evidence["text"])] == evidence["text"] != ""
        assert chat.meta["style"] == "closed-book" or evidence["text"] in chat.messages[0]["content"]
    body = served.bodies[0]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("toy", 0.25, 7, 321)
    assert body["stream"] is False and "手册" in body["messages"][-1]["content"]
    assert not any("Authorization" in headers for headers in served.headers)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "恒温箱" in report and "<script" not in report


FENCED = "好的，题目如下：\n```json\n{}\n```\n希望有帮助。"


def wrapped(form: str) -> Script:
    def script(body: dict[str, Any], number: int) -> Answer:
        pairs = pairs_about(passage_of(body))
        text = json.dumps(pairs, ensure_ascii=False)
        texts = {
            "fenced": FENCED.replace("{}", text),
            "thought": f"<think>先看材料[1]，{{再想}}</think>{text}",
            "lines": "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs),
            "wrapped": json.dumps({"pairs": pairs}, ensure_ascii=False),
            "commas": text.replace("}", ",}").replace("]", ",]"),
            "chinese": json.dumps([{"问题": p["question"], "答案": p["answer"], "证据": p["evidence"]} for p in pairs]),
            "cut off": text[: -len('"}]') - 4],
        }
        return completion(texts[form], "length" if form == "cut off" else "stop")

    return script


@pytest.mark.parametrize(
    ("form", "pairs"),
    [("fenced", 4), ("thought", 4), ("lines", 4), ("wrapped", 4), ("commas", 4), ("chinese", 4), ("cut off", 2)],
)
def test_json_is_read_leniently(tmp_path: Path, form: str, pairs: int) -> None:
    with serving(wrapped(form)) as served:
        metrics = run(write_documents(tmp_path / "docs", 2), tmp_path / "out", served.url)
    assert metrics["pairs"] == pairs
    assert metrics["cut_off_answers"] == (2 if form == "cut off" else 0)


def bad(**change: str) -> Script:
    """A model that spoils the first of its pairs about each passage."""

    def script(body: dict[str, Any], number: int) -> Answer:
        pairs = pairs_about(passage_of(body))
        pairs[0] |= {name: text.replace("NOUN", pairs[0]["answer"][:3]) for name, text in change.items()}
        return completion(json.dumps(pairs, ensure_ascii=False))

    return script


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"evidence": "保修期以合同为准，最长可以延长。"}, "evidence is not in the text"),
        ({"evidence": ""}, "no evidence"),
        ({"answer": "NOUN的保修期是九十九年，从开票的那一天算起。"}, "ungrounded: number"),
        ({"answer": "NOUN的保修期由王建国从开票的那一天算起。"}, "ungrounded: name"),
        ({"answer": "NOUN的保修期按QX-900从开票的那一天算起。"}, "ungrounded: name"),
        ({"answer": "NOUN非常好用，性价比高，值得每一个家庭拥有。"}, "ungrounded: wording"),
        ({"answer": "材料没有提到保修期从开票的那一天算起。"}, "answer is a refusal"),
        ({"question": "根据本文，保修期从哪一天算起？"}, "question points at its text"),
        ({"question": "该仪器的保修期从哪一天算起？"}, "question points at something unnamed"),
        ({"question": "When does the warranty of this device begin?"}, "question in another language"),
        ({"question": "多久？"}, "question too short or too long"),
        ({"question": "NOUN的保修期\n从哪天算起？"}, "question of several lines"),
        ({"answer": ""}, "no answer in the answer"),
    ],
)
def test_what_does_not_hold_is_rejected_with_its_reason(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    with serving(bad(**change)) as served:
        metrics = run(write_documents(tmp_path / "docs", 2), tmp_path / "out", served.url)
    assert (metrics["pairs"], metrics["rejected_pairs"]) == (2, 2)
    assert [entry["reason"] for entry in rejected(tmp_path / "out")] == [reason] * 2


def test_evidence_in_other_widths_is_kept_as_the_document_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# 恒温箱手册\n\n恒温箱的功率是１，５００瓦，电压为 220 伏。\n", encoding="utf-8")

    def script(body: dict[str, Any], number: int) -> Answer:
        pair = {"question": "恒温箱的功率是多少？", "answer": "恒温箱的功率是1500瓦。"}
        return completion(json.dumps([pair | {"evidence": "恒温箱的功率是1,500瓦,电压为220伏"}], ensure_ascii=False))

    with serving(script) as served:
        run(tmp_path / "a.md", tmp_path / "out", served.url)
    (chat,) = chats(tmp_path / "out")
    assert chat.meta["evidence"]["text"] == "恒温箱的功率是１，５００瓦，电压为 220 伏。"


def test_unanswerable_questions_get_a_refusal_beside_their_passage_only(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        pairs = pairs_about(passage_of(body))
        noun = pairs[0]["answer"][:3]
        free = {"kind": "unanswerable", "question": f"{noun}的出厂价格是多少欧元？", "answer": "无", "evidence": "无"}
        there = free | {"question": f"清洁{noun}之前要先拔掉电源吗？"}
        return completion(json.dumps([*pairs, free, there], ensure_ascii=False))

    documents = write_documents(tmp_path / "docs", 2)
    with serving(script) as served:
        metrics = run(documents, tmp_path / "out", served.url, style="grounded")
        run(documents, tmp_path / "closed", served.url)
    assert metrics["unanswerable_pairs"] == 2
    assert {r["reason"] for r in rejected(tmp_path / "out")} == {"question may be answerable"}
    refusals = [chat for chat in chats(tmp_path / "out") if chat.meta["kind"] == "unanswerable"]
    assert all("出厂价格" in c.messages[0]["content"] and "材料" in c.messages[1]["content"] for c in refusals)
    assert not any(chat.meta["kind"] == "unanswerable" for chat in chats(tmp_path / "closed"))


def flaky(first: Answer, times: int = 1) -> Script:
    return lambda body, number: first if number < times else good(body, number)


@pytest.mark.parametrize(
    "first",
    [
        Answer('{"error": {"message": "slow down"}}', 429, headers={"Retry-After": "0"}),
        Answer("oops", 500),
        Answer("<html>bad gateway</html>", 502, "text/html"),
        Answer(status=0),
        Answer("<html>sign in</html>", 200, "text/html"),
        Answer('{"object": "list"}'),
        Answer('{"choices": [', 200),
        Answer('{"choices": []}', announced=5000),
        Answer("{}", wait_s=3.0),
    ],
    ids=["429", "500", "502", "reset", "html", "no choices", "broken", "cut off", "slow"],
)
def test_what_passes_is_asked_again(tmp_path: Path, first: Answer) -> None:
    with serving(flaky(first)) as served:
        metrics = run(write_documents(tmp_path / "docs", 1), tmp_path / "out", served.url, concurrency=1, timeout_s=1.5)
    assert metrics["pairs"] == 2 and len(served.bodies) == 2


def test_a_stream_that_nobody_asked_for_is_put_together(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        text = json.dumps(pairs_about(passage_of(body)), ensure_ascii=False)
        parts = [{"choices": [{"delta": {"content": text[i : i + 7]}}]} for i in range(0, len(text), 7)]
        lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
        return Answer("".join(lines) + "data: [DONE]\n\n", kind="text/event-stream")

    with serving(script) as served:
        assert run(write_documents(tmp_path / "docs", 1), tmp_path / "out", served.url)["pairs"] == 2


def test_a_request_that_is_refused_for_good_costs_its_passage_only(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        return Answer('{"error": "too long"}', 400) if "恒温箱" in passage_of(body) else good(body, number)

    with serving(script) as served:
        metrics = run(write_documents(tmp_path / "docs", 3), tmp_path / "out", served.url)
    assert metrics["pairs"] == 4 and metrics["refused_requests"] == 1 and len(served.bodies) == 3
    assert [entry["reason"] for entry in rejected(tmp_path / "out")] == ["request refused: HTTP 400: too long"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_the_run_at_once(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZHLLM_API_KEY", KEY)
    refusal = Answer(json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}), status)
    with serving(lambda body, number: refusal) as served, pytest.raises(StageError, match=str(status)) as caught:
        run(write_documents(tmp_path / "docs"), tmp_path / "out", served.url, concurrency=1)
    assert len(served.bodies) <= 2 and "***" in str(caught.value) and KEY not in str(caught.value)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    away = Answer("", 307, headers={"Location": "https://example.com/v1/chat/completions"})
    with serving(lambda body, number: away) as served, pytest.raises(StageError, match="redirects elsewhere"):
        run(write_documents(tmp_path / "docs"), tmp_path / "out", served.url, concurrency=1)


def test_no_server_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    with pytest.raises(StageError, match=r"refused.*Is the server running\? --offline needs none"):
        run(write_documents(tmp_path / "docs", 10), tmp_path / "out", url, back_off_s=60.0)


def test_an_endpoint_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        return good(body, number) if number == 0 else Answer(status=0)

    documents = write_documents(tmp_path / "docs", 10)
    with serving(script) as served, pytest.raises(StageError, match=r"8 requests in a row.*is kept: run the same"):
        run(documents, tmp_path / "out", served.url, retries=0, concurrency=1)
    assert len(served.bodies) == 9


def test_an_interrupt_ends_the_run_at_once(tmp_path: Path) -> None:
    def never(body: dict[str, Any], number: int) -> Answer:
        answer = good(body, number)
        answer.wait_s = 0.0 if number == 0 else 20.0
        return answer

    with serving(never) as served:
        command = [sys.executable, "-m", "zhllm", "synth", "--documents", str(write_documents(tmp_path / "docs"))]
        command += ["--model", "toy", "--endpoint", served.url, "-o", str(tmp_path / "out")]
        root = str(Path(synth.__file__).parents[2])
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(served.bodies) < 3:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=15)
    assert child.returncode == 130 and b"Traceback" not in said and time.monotonic() - start < 10


def test_requests_without_an_answer_are_asked_by_the_next_run_only(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "docs")

    def script(body: dict[str, Any], number: int) -> Answer:
        return Answer("busy", 503) if "离心机" in passage_of(body) else good(body, number)

    with serving(script) as served, pytest.raises(StageError, match="1 of 6 requests got no answer.*HTTP 503: busy"):
        run(documents, tmp_path / "out", served.url, retries=1)
    with serving() as again:
        run(documents, tmp_path / "out", again.url)
    assert len(again.bodies) == 1 and "离心机" in passage_of(again.bodies[0])
    with serving() as fresh:
        run(documents, tmp_path / "fresh", fresh.url)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "对不起，我不明白。",
            r"none kept \(no JSON in the answer 6\)\. The model does not write what .*answers\.jsonl, and try",
        ),
        ("", r"none kept \(the answer is empty 6\)\. Raise --max-tokens \(now 1500;"),
        ("<think>先看这一段", r"none kept \(the answer holds thoughts only 6\)\. Raise --max-tokens \(now 1500;"),
        (
            '[{"question": "保修期多长？", "answer": "三年。"}]',
            r"none kept \(no evidence 6\)\. Look at .*rejected\.jsonl; try",
        ),
    ],
)
def test_useless_answers_fail_the_stage_with_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with serving(lambda body, number: completion(text)) as served, pytest.raises(DataError, match=message):
        run(write_documents(tmp_path / "docs"), tmp_path / "out", served.url)


def test_earlier_answers_are_taken_when_settings_change(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "docs")
    with serving() as served:
        run(documents, tmp_path / "out", served.url)
        before = len(served.bodies)
        run(documents, tmp_path / "both", served.url, style="both", answers=tmp_path / "out", kinds=("factual",))
        assert len(served.bodies) - before <= 6
        asked = len(served.bodies)
        run(documents, tmp_path / "short", served.url, max_answer_chars=24, answers=tmp_path / "out")
        assert len(served.bodies) == asked
    with serving() as served, pytest.raises(DataError, match=r"holds no answers.jsonl"):
        run(documents, tmp_path / "no", served.url, answers=documents)


def test_requests_draws_passages_by_the_seed(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "docs", 10)
    with serving() as served:
        assert run(documents, tmp_path / "a", served.url, requests=4)["requests"] == 4
        first = {passage_of(body) for body in served.bodies}
        run(documents, tmp_path / "b", served.url, requests=4, seed=1)
    assert {passage_of(body) for body in served.bodies[4:]} != first


@pytest.mark.parametrize("concurrency", [1, 5])
def test_requests_go_out_together_and_the_bytes_do_not_depend_on_it(tmp_path: Path, concurrency: int) -> None:
    documents = write_documents(tmp_path / "docs", 10)

    def slowly(body: dict[str, Any], number: int) -> Answer:
        answer = good(body, number)
        answer.wait_s = 0.05 * (number % 3 + 1)
        return answer

    with serving(slowly) as served:
        run(documents, tmp_path / "out", served.url, concurrency=concurrency)
    assert served.most_at_once == concurrency
    with serving() as served:
        run(documents, tmp_path / "plain", served.url)
    assert files(tmp_path / "out") == files(tmp_path / "plain")


def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "docs", 10)

    def slowly(body: dict[str, Any], number: int) -> Answer:
        answer = good(body, number)
        answer.wait_s = 0.15
        return answer

    with serving(slowly) as served:
        command = [sys.executable, "-m", "zhllm", "synth", "--documents", str(documents), "--model", "toy"]
        command += ["--endpoint", served.url, "--concurrency", "2", "-o", str(tmp_path / "out")]
        root = str(Path(synth.__file__).parents[2])
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)
        log = tmp_path / "out.checkpoints" / "answers.jsonl"
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.3)
    kept = log.read_bytes()
    whole = kept.count(b"\n")
    assert 3 <= whole < 10 and not (tmp_path / "out").exists()
    log.write_bytes(kept + b'{"key": "cut off by the kil')
    with serving() as again:
        run(documents, tmp_path / "out", again.url)
    assert len(again.bodies) == 10 - whole
    with serving() as fresh:
        run(documents, tmp_path / "fresh", fresh.url)
    assert files(tmp_path / "out") == files(tmp_path / "fresh") and not log.exists()


def test_a_line_that_a_kill_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path) as log:
        log.write(Answered("a", "甲"))
    path.write_bytes(path.read_bytes() + b'{"key": "b", "te')
    with AnswerLog(path) as log:
        assert "a" in log and "b" not in log
        log.write(Answered("c", "丙"))
        assert log.read("c").text == "丙"
    with AnswerLog(path) as log:
        assert [log.read(key).text for key in "ac"] == ["甲", "丙"]
    path.write_bytes(b"{}\n")
    with pytest.raises(DataError, match=r"answers.jsonl:1: is no answer that synth wrote"):
        AnswerLog(path)


def test_the_key_goes_to_the_endpoint_and_into_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serving() as served:
        run(write_documents(tmp_path / "docs", 2), tmp_path / "out", served.url, api_key_env="MY_KEY")
    assert {headers["Authorization"] for headers in served.headers} == {f"Bearer {KEY}"}
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert KEY.encode() not in written and KEY not in "".join(capfd.readouterr())


def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving() as served:
        assert run(write_documents(tmp_path / "docs", 1), tmp_path / "out", served.url)["pairs"] == 2


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True),
        ("10.3.4.5", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.9", True),
        ("::1", True),
        ("fd00::12", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("8.8.8.8", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
    ],
)
def test_which_addresses_are_private(address: str, private: bool) -> None:
    assert is_private(address) is private


def addressed(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)


def test_a_remote_host_is_refused_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = write_documents(tmp_path / "docs")
    addressed(monkeypatch, "93.184.216.34")
    with pytest.raises(ConfigError, match=r"api.example.com \(93.184.216.34\) is neither.*--allow-remote"):
        run(documents, tmp_path / "out", "https://api.example.com/v1")
    with pytest.raises(ConfigError, match="over https only"):
        run(documents, tmp_path / "out", "http://api.example.com/v1", allow_remote=True)
    assert Endpoint("https://api.example.com/v1", allow_remote=True).host == "api.example.com"
    addressed(monkeypatch, "10.0.0.7", "93.184.216.34")  # a name of two worlds
    with pytest.raises(ConfigError, match="93.184.216.34"):
        Endpoint("https://gpu.example.com/v1")
    addressed(monkeypatch, "10.0.0.7")
    assert Endpoint("http://gpu.intern/v1").port == 80


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "127.0.0.1:8080", "http://:80/v1", "http://127.0.0.1:99999/v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        Endpoint(url)


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"])
def test_secrets_in_the_address_are_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigError, match="Give keys in the environment") as caught:
        Endpoint(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "--model is needed"),
        ({"offline": True, "model": "toy"}, "--offline asks no model"),
        ({"offline": True, "kinds": ("factul=1",)}, 'Did you mean "factual"'),
        ({"offline": True, "kinds": ("factual=many",)}, "the share is not a number"),
        ({"offline": True, "kinds": ("factual=-1",)}, "a share is not below 0"),
        ({"offline": True, "kinds": ("factual=0",)}, "every share is 0"),
        ({"offline": True, "kinds": ("unanswerable",)}, "needs its passage"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], match: str, tmp_path: Path) -> None:
    from zhllm.config import make

    with pytest.raises(ConfigError, match=match):
        make(synth.SynthConfig, {"documents": [tmp_path]} | values)
