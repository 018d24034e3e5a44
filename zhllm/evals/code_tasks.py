"""Code tasks in the layouts of HumanEval and MBPP: what the model is asked, and the program made of its answer."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.read.records import read_records

_FENCE = re.compile(r"```(?:[Pp]ython|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
WHOLE = "\n    pass\n\n\n"
# What a line of Python begins with, also where the reply breaks off before it can be parsed.
_STATEMENT = re.compile(
    r"\s*(?:(?:async +)?def +\w+ *\(|class +\w+ *[(:]|import +\w|from +[\w.]+ +import\b|return\b|print *\(|"
    r"[A-Za-z_][\w.\[\]]*(?:, *\w+)* *[-+*/]?= *[^=\s])"
)
NO_CODE = "no code"
# Of a value that is none of what it must be, enough to find it by.
SHOWN_CHARS = 40


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
        for key in ("prompt", "test", "entry_point"):
            if not _is_words(record[key]):
                raise DataError(f'{where}: "{key}" must be a text of code, not {_short(record[key])}. {_REMEDY}')
        asked = f"补全下面的 Python 函数，只写完整的代码。\n\n```python\n{record['prompt']}\n```"
        tests = f"{record['test']}\n\ncheck({record['entry_point']})\n"
        return CodeTask(name, asked, record["prompt"], tests, record["entry_point"])
    words = record.get("text", record.get("prompt"))
    tests_given = record.get("test_list")
    if isinstance(words, str) and "test_list" in record:
        if not (isinstance(tests_given, list) and tests_given and all(map(_is_words, tests_given))):
            raise DataError(
                f'{where}: "test_list" must hold at least one text of code (assert ...), not {_short(tests_given)}. '
                f"{_REMEDY}"
            )
        listed = "\n".join(map(str, tests_given))
        asked = f"{words}\n\n用 Python 写，只写代码。代码必须通过这些测试：\n```python\n{listed}\n```"
        setup = record.get("test_setup_code") or "\n".join(record.get("test_imports", ()))
        return CodeTask(name, asked, f"{setup}\n" if setup else "", f"{listed}\n", None)
    raise DataError(
        f"{where}: is neither HumanEval's layout (prompt, test, entry_point) nor MBPP's (text, test_list); "
        f"keys: {', '.join(record)}."
    )


_REMEDY = "Without tests no answer can be right or wrong: add them, or take the record out."


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


def has_code(reply: str) -> bool:
    """Whether a reply holds any Python: a block of it, or a line that does something; a bare word does nothing."""
    found = _FENCE.search(reply)
    code = found[1] if found else reply
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if found or not lines:
        return bool(lines)
    return any(_STATEMENT.match(line) for line in lines) or _does_something("\n".join(lines))


def _does_something(code: str) -> bool:
    try:
        statements = ast.parse(textwrap.dedent(code)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(one, ast.Expr) or isinstance(one.value, ast.Call) for one in statements)


def program_of(task: CodeTask, reply: str) -> str:
    """The program that is run: the reply's first block of code, behind the task's beginning where it continues it."""
    found = _FENCE.search(reply)
    code = found[1] if found else reply
    if task.entry_point is None:
        return f"{task.before}{code}\n\n{task.tests}"
    is_whole = re.search(rf"^def\s+{re.escape(task.entry_point)}\b", code, re.MULTILINE)
    # A whole function stands behind the beginning, whose imports and helpers it may need.
    return f"{task.before}{WHOLE if is_whole else ''}{code}\n\n{task.tests}"
