"""Code that a model wrote: layouts, what is run, and the limits of the sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from evaluated import read_scores
from scripted import scripted_llama
from toys import Toy, stage, write_jsonl

from zhllm.errors import ConfigError, DataError, StageError
from zhllm.evals import sandbox
from zhllm.evals.code_tasks import program_of, read_code_tasks
from zhllm.evals.sandbox import protection, run_program

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


@pytest.fixture(scope="module")
def has_namespaces() -> bool:
    return run_program("import os\nassert os.getpid() == 2") == "passed"


both_ways = pytest.mark.parametrize("namespaces", [True, False])


@both_ways
def test_time_ends_a_program_that_works_and_one_that_waits(namespaces: bool) -> None:
    start = time.monotonic()
    assert run_program("while True: pass", 1, namespaces) == "time"
    assert run_program("import time\ntime.sleep(60)", 1, namespaces) == "time"
    assert run_program("import signal\nsignal.signal(signal.SIGXCPU, 1)\nwhile True: pass", 1, namespaces) == "time"
    assert run_program("import os, signal\nos.kill(os.getpid(), 9)", 9, namespaces) == "failed: signal 9"
    assert time.monotonic() - start < 30


# What a program does before one of its processes stays, and what is found of the first one.
LEAVES = {
    "child": ("if os.fork() == 0: stay()\ntime.sleep(60)", "time"),
    "session": ("if os.fork() == 0:\n    os.setsid()\n    stay()\ntime.sleep(60)", "time"),
    "daemon": (
        DAEMON := "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: stay()\n    os._exit(0)\n",
        "passed",
    ),
    "daemon left": (DAEMON + "time.sleep(0.3)\nraise SystemExit(3)", "failed: exit code 3"),
    "daemon of an error": (DAEMON + "time.sleep(0.3)\n1 / 0", "failed: ZeroDivisionError: division by zero"),
}


@both_ways
@pytest.mark.parametrize("name", LEAVES)
def test_nothing_outlives_a_program(name: str, namespaces: bool) -> None:
    """What stays gives itself a name (prctl(PR_SET_NAME)), by which it would be found afterwards."""
    sign = f"stays{os.urandom(4).hex()}"
    leaves, wanted = LEAVES[name]
    stay = f"def stay():\n    ctypes.CDLL(None).prctl(15, b'{sign}')\n    time.sleep(20)\n    os._exit(0)\n"
    assert run_program(f"import ctypes, os, time\n{stay}{leaves}\ntime.sleep(0.3)", 1, namespaces) == wanted
    assert not _named(sign)


def _named(sign: str) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            found += [path] if path.read_text().strip() == sign else []
    return found


@both_ways
def test_memory_files_and_processes_are_limited(namespaces: bool) -> None:
    assert run_program("x = bytearray(2 << 30)", 9, namespaces) == "failed: MemoryError"
    big = run_program("open('big', 'wb').write(bytes(2 << 20))", 9, namespaces)
    assert big in ("failed: OSError: [Errno 27] File too large", f"failed: signal {int(signal.SIGXFSZ)}")
    assert run_program("open('small', 'wb').write(bytes(1 << 19))", 9, namespaces) == "passed"
    forks = "import os, time\nfor _ in range({}):\n    if not os.fork():\n        time.sleep(5)\n        os._exit(0)\n"
    assert run_program(forks.format(40), 9, namespaces).startswith("failed: BlockingIOError")
    assert run_program(forks.format(5), 9, namespaces) == "passed"


def test_what_a_program_prints_takes_no_memory_here() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run_program("import sys\nwhile True: sys.stdout.write('样' * 65536)", time_s=1) == "time"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "in KB"
    assert run_program("print('x' * 3_000_000)") == "passed"


@both_ways
def test_it_sees_an_empty_folder_and_no_environment(monkeypatch: pytest.MonkeyPatch, namespaces: bool) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "1")
    looks = "import os, sys\nassert not os.environ.keys() - {'LC_CTYPE'}, os.environ\nassert not os.listdir('.')\n"
    assert run_program(looks + "assert sys.argv == ['task.py'] and not sys.stdin.read()", 9, namespaces) == "passed"
    assert run_program("import os\nraise ValueError(os.getcwd())", 9, namespaces).startswith("failed: ValueError: /")
    where = run_program("import os\nopen('a', 'w')\nraise ValueError(os.getcwd())", 9, namespaces).split(": ")[2]
    assert not Path(where).exists()


def test_it_reaches_no_network_no_file_and_no_process(tmp_path: Path, has_namespaces: bool) -> None:
    if not has_namespaces:
        pytest.skip("the kernel allows no namespaces here")
    (mark := tmp_path / "mark").write_text("当")
    tmp_path.chmod(0o777)
    mark.chmod(0o666)
    for step in (f"open({str(mark)!r}, 'w')", f"open({str(tmp_path / 'new')!r}, 'w')", f"os.remove({str(mark)!r})"):
        assert "Read-only file system" in run_program(f"import os\n{step}")
    assert mark.read_text() == "当"
    fills = "for i in range(99):\n    open(f'f{i}', 'wb').write(bytes(1 << 20))"
    assert run_program(fills) == "failed: OSError: [Errno 28] No space left on device"
    assert "No such process" in run_program(f"import os\nos.kill({os.getpid()}, 0)")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        reach = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert "Network is unreachable" in run_program(reach, landlock=False)
        assert run_program(reach).startswith("failed: ")


def has_landlock() -> bool:
    """Whether the kernel has Landlock, asked as landlock(7) says."""
    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0


WAYS = [(namespaces, landlock) for namespaces in (True, False) for landlock in (True, False)]
every_way = pytest.mark.parametrize(("namespaces", "landlock"), WAYS)
# By Python and, as an audit hook sees nothing of it, by the C library.
READS = "open({path!r})"
READS_IN_C = """
import ctypes
libc = ctypes.CDLL(None)
file = libc.open({path!r}.encode(), 0)
raise PermissionError('denied') if file < 0 else ValueError('read')
"""


@every_way
def test_a_program_reads_no_file_of_the_user(
    tmp_path: Path, has_namespaces: bool, namespaces: bool, landlock: bool
) -> None:
    """Neither what anybody may read nor, as root kept the right to read, what is root's alone."""
    (open_to_all := tmp_path / "秘密.txt").write_text("秘密")
    (own := tmp_path / "own.txt").write_text("秘密")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    own.chmod(0o600)
    for path in (str(open_to_all), str(own), "/etc/passwd", str(Path.home() / ".bashrc"), __file__):
        found = run_program(READS.format(path=path), 9, namespaces, landlock)
        assert found.startswith(("failed: PermissionError", "failed: FileNotFoundError")), (path, found)
        if (landlock and has_landlock()) or (namespaces and has_namespaces):
            assert "denied" in run_program(READS_IN_C.format(path=path), 9, namespaces, landlock), path
    for step in (
        f"os.listdir({str(tmp_path)!r})",
        f"os.scandir({str(tmp_path)!r})",
        "os.listdir(os.path.expanduser('~'))",
    ):
        assert run_program(f"import os\n{step}", 9, namespaces, landlock).startswith("failed: "), step


NEEDS = """
import bisect, ctypes, decimal, email.mime.text, json, mimetypes, multiprocessing, os, random, sqlite3, ssl, tempfile
import threading, typing, unicodedata, uuid, zipfile, zoneinfo
mimetypes.init()
assert os.cpu_count() >= 1 and len(os.urandom(8)) == 8
open('/dev/null', 'w').write('样')
with open('a.txt', 'w', encoding='utf-8') as file:
    file.write('样品👩‍👩‍👧')
os.mkdir('b')
os.rename('a.txt', 'b/c.txt')
assert open('b/c.txt', encoding='utf-8').read() == '样品👩‍👩‍👧' and os.listdir('.') == ['b']
with tempfile.TemporaryDirectory() as folder:
    open(os.path.join(folder, 'x'), 'w').close()
assert sqlite3.connect('data.db').execute('select 1').fetchone() == (1,)
thread = threading.Thread(target=len, args=([],))
thread.start()
thread.join()
assert '样'.encode('gb18030') and unicodedata.name('样')
if (pid := os.fork()) == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""


@every_way
def test_what_an_answer_needs_works_in_every_way(namespaces: bool, landlock: bool) -> None:
    assert run_program(NEEDS, 9, namespaces, landlock) == "passed"


@every_way
def test_it_tells_what_holds_here(has_namespaces: bool, namespaces: bool, landlock: bool) -> None:
    """As was tried, not as was meant: a hook of Python keeps no C library from a file."""
    found = protection(namespaces, landlock)
    by_kernel = (landlock and has_landlock()) or (namespaces and has_namespaces)
    assert ("Landlock" in found.means) == (landlock and has_landlock())
    assert ("own root folder" in found.means) == (namespaces and has_namespaces and "Landlock" not in found.means)
    assert ("audit hook" in found.means) == (not by_kernel)
    assert ("reading your files" in found.kept_from) == by_kernel != ("reading your files" in found.not_kept_from)
    if by_kernel:
        assert {"writing to them", "reaching the network"} <= set(found.kept_from)
        assert found.told().startswith(f"The sandbox ({found.means}) keeps programs from reading your files, writing")
    else:
        assert ", but not from reading your files, writing to them" in found.told()


def test_no_program_gets_new_rights() -> None:
    """prctl(PR_GET_NO_NEW_PRIVS): asked for with an argument left out the kernel refuses it, and setuid files work."""
    if sys.platform != "linux":
        pytest.skip("is Linux's")
    assert run_program("import ctypes\nassert ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1") == "passed"
    looks = "import os\nlines = open('/proc/self/status').read()\nraise ValueError(lines)"
    assert "denied" in run_program(looks) or "No such file" in run_program(looks)


def test_root_gives_its_rights_away() -> None:
    if os.getuid() != 0:
        pytest.skip("is not root here")
    for namespaces in (True, False):
        assert run_program("import os\nassert os.getuid() > 1 << 30 and not os.getgroups()", 9, namespaces) == "passed"
        assert "Permission denied" in run_program("open('/etc/shadow', 'a')", 9, namespaces=False)
        assert "not permitted" in run_program("import os\nos.setuid(0)", 9, namespaces)


def test_a_sandbox_that_does_not_work_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "_GUARD", tmp_path / "none.py")
    with pytest.raises(StageError, match=r"the sandbox does not work here: .*No such file"):
        run_program("pass")
    (tmp_path / "none.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.setattr(sandbox, "GRACE_S", 0)
    assert run_program("pass", time_s=1) == "time"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**MBPP, "test_list": []}, r'"test_list" must hold at least one text of code \(assert ...\), not \[\]\.'),
        ({**MBPP, "test_list": [" "]}, r'"test_list" must hold at least one .*, not \[" "\]\. Without tests'),
        ({**MBPP, "test_list": "assert 对"}, r'"test_list" .* not "assert 对"\..*take the record out'),
        ({**MBPP, "test_list": [{"样": "品" * 99}]}, r'"test_list" .* not \[{"样": "品+\.\.\.\.'),
        ({**HUMAN, "test": ""}, r'"test" must be a text of code, not ""'),
        ({**HUMAN, "entry_point": None}, r'"entry_point" must be a text of code, not null'),
    ],
)
def test_a_task_without_tests_is_named_by_line_and_field(
    tmp_path: Path, record: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=r"t\.jsonl:2: " + message):
        read_code_tasks([write_jsonl(tmp_path / "t.jsonl", [HUMAN, record])])


def test_bad_tasks_and_the_flag(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="t.jsonl:1: is neither HumanEval's layout .* keys: text"):
        read_code_tasks([write_jsonl(tmp_path / "t.jsonl", [{"text": "写"}])])
    model = scripted_llama(tmp_path / "model", toy.extended)
    data = write_jsonl(tmp_path / "m.jsonl", [MBPP])
    with pytest.raises(ConfigError, match="--task code runs what the model writes.*--allow-code"):
        stage("evaluate", tmp_path / "out", model=model, task=["code"], data=[data])
    out = stage("evaluate", tmp_path / "out", model=model, task=["code"], data=[data], allow_code=True)
    found = read_scores(out)
    assert found["model"]["code"]["code_pass_at_1"] == 0.0
    held = protection()
    assert f"code: {held.told()}" in found["notes"]["model"]
    assert found["protocols"]["code"]["sandbox"]["by"] == held.means
