"""Code tasks in the layouts of HumanEval and MBPP: what a model wrote is run against the task's tests, in a sandbox.

The sandbox is a process of its own with a time limit, limits of memory, file size and processes, an empty folder, no
environment, and (where the kernel allows a user namespace) no network. It keeps mistakes from doing harm; it is no
prison for code that was written to break out. So nothing runs unless it is allowed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.read.records import read_records

TIME_S, MEMORY_BYTES, FILE_BYTES, PROCESSES = 10, 1 << 30, 1 << 20, 16
_FENCE = re.compile(r"```(?:[Pp]ython|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
WHOLE = "\n    pass\n\n\n"

# The child limits itself before it reads a word of the task; CLONE_NEWUSER | CLONE_NEWNET, from sched.h.
_CHILD = """\
import ctypes, resource, sys
seconds, memory, size, processes = map(int, sys.argv[1:5])
ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)
for what, limit in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, size),
                    (resource.RLIMIT_NPROC, processes), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(what, (limit, limit))
source = sys.stdin.read()
secret = sys.argv[5]
del sys.argv[1:]
exec(compile(source, "task.py", "exec"), {"__name__": "__main__"})
sys.__stdout__.write(secret)
"""


@dataclass(frozen=True)
class CodeTask:
    """A task: what the model is asked, what stands before its code, and the tests behind it."""

    id: str
    prompt: str
    before: str
    tests: str
    entry_point: str | None


def read_code_tasks(paths: Sequence[Path]) -> list[CodeTask]:
    """HumanEval's {task_id, prompt, test, entry_point} or MBPP's {task_id, text, test_list}; DataError by line."""
    tasks = []
    for path in paths:
        for record in read_records(path, str(path)):
            if isinstance(record, Rejected):
                raise DataError(f"{record.where()}: {record.reason}.")
            tasks.append(_task(record.value, f"{path}:{record.line}"))
    if not tasks:
        raise DataError(f"{', '.join(map(str, paths))}: holds no code task.")
    return tasks


def _task(record: dict[str, Any], where: str) -> CodeTask:
    name = str(record.get("task_id", where))
    if {"prompt", "test", "entry_point"} <= record.keys():
        asked = f"补全下面的 Python 函数，只写完整的代码。\n\n```python\n{record['prompt']}\n```"
        tests = f"{record['test']}\n\ncheck({record['entry_point']})\n"
        return CodeTask(name, asked, record["prompt"], tests, record["entry_point"])
    words = record.get("text", record.get("prompt"))
    tests_given = record.get("test_list")
    if isinstance(words, str) and isinstance(tests_given, list) and tests_given:
        listed = "\n".join(map(str, tests_given))
        asked = f"{words}\n\n用 Python 写，只写代码。代码必须通过这些测试：\n```python\n{listed}\n```"
        setup = record.get("test_setup_code") or "\n".join(record.get("test_imports", ()))
        return CodeTask(name, asked, f"{setup}\n" if setup else "", f"{listed}\n", None)
    raise DataError(
        f"{where}: is neither HumanEval's layout (prompt, test, entry_point) nor MBPP's (text, test_list); "
        f"keys: {', '.join(record)}."
    )


def program_of(task: CodeTask, reply: str) -> str:
    """The program that is run: the reply's first block of code, behind the task's beginning where it continues it."""
    found = _FENCE.search(reply)
    code = found[1] if found else reply
    if task.entry_point is None:
        return f"{task.before}{code}\n\n{task.tests}"
    is_whole = re.search(rf"^def\s+{re.escape(task.entry_point)}\b", code, re.MULTILINE)
    # A whole function stands behind the beginning, whose imports and helpers it may need.
    return f"{task.before}{WHOLE if is_whole else ''}{code}\n\n{task.tests}"


def run_program(program: str, time_s: int = TIME_S) -> str:
    """ "passed", "failed: <last line>", or "time": what a program did in the sandbox."""
    secret = os.urandom(16).hex()  # printed last, and only by a program that came to its end
    with tempfile.TemporaryDirectory() as folder:
        limits = map(str, (time_s, MEMORY_BYTES, FILE_BYTES, PROCESSES))
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD, *limits, secret],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env={},
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = child.communicate(program.encode("utf-8", "replace"), timeout=time_s + 2)
        except subprocess.TimeoutExpired:
            return "time"
        finally:
            _end(child)
    if child.returncode == 0 and out.endswith(secret.encode()):
        return "passed"
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "time"
    last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"failed: {last[0] if last else f'exit code {child.returncode}'}"[:200]


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
