"""Code that a model wrote: layouts, what is run, and the limits of the sandbox."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from evaluated import read_scores
from scripted import scripted_llama
from toys import Toy, stage, write_jsonl

from zhllm.errors import ConfigError, DataError
from zhllm.evals.code_tasks import program_of, read_code_tasks, run_program

HUMAN: dict[str, object] = {
    "task_id": "H/0", "entry_point": "add",
    "prompt": 'import math\n\ndef add(a, b):\n    """两数之和"""\n',
    "test": "def check(f):\n    assert f(1, 2) == 3\n    assert f(math.inf, 1) == math.inf\n",
}  # fmt: skip
MBPP: dict[str, object] = {"task_id": 1, "text": "写一个函数 double。", "test_list": ["assert double(2) == 4"]}


def test_humaneval_and_mbpp_answers_are_run_in_every_form(tmp_path: Path) -> None:
    human, mbpp = read_code_tasks([write_jsonl(tmp_path / "t.jsonl", [HUMAN, MBPP])])
    body, whole = "    return a + b\n", "def add(a, b):\n    return a + b\n"
    for reply in (body, whole, f"好的：\n```python\n{whole}```\n完成。", f"```\n{whole}"):
        assert run_program(program_of(human, reply)) == "passed", reply
    assert run_program(program_of(human, "    return a - b\n")) == "failed: AssertionError"
    assert run_program(program_of(mbpp, "def double(x):\n    return 2 * x")) == "passed"
    assert run_program(program_of(mbpp, "我不会")).startswith("failed: ")


def test_a_program_that_leaves_early_has_not_passed() -> None:
    assert run_program("import sys\nsys.exit(0)\nassert False") == "failed: exit code 0"
    assert run_program("import os\nos._exit(0)") == "failed: exit code 0"
    assert run_program("print('passed')\nraise SystemExit") != "passed"


def test_the_limits_hold(tmp_path: Path) -> None:
    start = time.monotonic()
    assert run_program("while True: pass", time_s=1) == "time"
    assert run_program("import time\ntime.sleep(60)", time_s=1) == "time"
    assert time.monotonic() - start < 20
    assert "MemoryError" in run_program("x = bytearray(2 << 30)")
    assert run_program("open('big', 'wb').write(bytes(2 << 20))").startswith("failed: ")
    mark = tmp_path / "mark"
    late = f"import os, time\nif os.fork() == 0:\n    time.sleep(6)\n    open({str(mark)!r}, 'w')\n    os._exit(0)\n"
    assert run_program(late, time_s=1) == "time"
    time.sleep(3.5)
    assert not mark.exists(), "what it started goes on after it"


def test_it_sees_no_environment_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "1")
    assert run_program("import os\nassert 'SECRET_OF_TEST' not in os.environ") == "passed"
    assert os.environ["SECRET_OF_TEST"] == "1"
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        reach = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        found = run_program(reach)
    if found == "passed":
        pytest.skip("the kernel allows no user namespace here, so the sandbox has the network")
    assert "Network is unreachable" in found


def test_bad_tasks_and_the_flag(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="t.jsonl:1: is neither HumanEval's layout .* keys: text"):
        read_code_tasks([write_jsonl(tmp_path / "t.jsonl", [{"text": "写"}])])
    model = scripted_llama(tmp_path / "model", toy.extended)
    data = write_jsonl(tmp_path / "m.jsonl", [MBPP])
    with pytest.raises(ConfigError, match="--task code runs what the model writes.*--allow-code"):
        stage("evaluate", tmp_path / "out", model=model, task=["code"], data=[data])
    out = stage("evaluate", tmp_path / "out", model=model, task=["code"], data=[data], allow_code=True)
    assert read_scores(out)["model"]["code"]["code_pass_at_1"] == 0.0
