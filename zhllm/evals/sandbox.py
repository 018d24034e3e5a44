"""Programs that a model wrote, run in a sandbox.

That is a process with limits of time, memory, file size and processes, no environment and an empty folder; on Linux,
where the kernel allows namespaces, also no network, no other process in sight, and no file to write to but its own, in
memory; and no file to read but Python's library, by Landlock or by a root folder of its own. Whatever it started ends
with it. `protection` tries what holds. The sandbox keeps mistakes from doing harm; it is no prison for code that was
written to break out. So nothing runs unless it is allowed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from zhllm.errors import StageError

TIME_S, MEMORY_BYTES, FILE_BYTES, FOLDER_BYTES, PROCESSES = 10, 1 << 30, 1 << 20, 64 << 20, 16
# Of what a program prints, its end is kept; it may print without end.
KEPT_BYTES = 1 << 16
# The guard ends a program by itself; where it does not, being stopped or slow, it is ended after this time more.
GRACE_S = 15
_GUARD = Path(__file__).with_name("sandbox_guard.py")


@dataclass(frozen=True)
class Protection:
    """What held a program that tried everything: the means, and what it could and could not do all the same."""

    means: str
    kept_from: tuple[str, ...]
    not_kept_from: tuple[str, ...]

    def told(self) -> str:
        """One sentence."""
        failing = f", but not from {', '.join(self.not_kept_from)}" if self.not_kept_from else ""
        return f"The sandbox ({self.means}) keeps programs from {', '.join(self.kept_from) or 'nothing'}{failing}."


@dataclass(frozen=True)
class _Ran:
    """The means that held a program, how it ended, the ends of what it printed, and of what it complained."""

    means: str
    how: bytes
    out: bytes
    err: bytes


def run_program(program: str, time_s: int = TIME_S, namespaces: bool = True, landlock: bool = True) -> str:
    """ "passed", "failed: <last line>", or "time": what a program did in the sandbox.

    Without `namespaces` or `landlock` as on a kernel that has none. Raises StageError where the sandbox itself does
    not work.
    """
    secret = os.urandom(16).hex().encode()  # printed last, and only by a program that came to its end
    ran = _run(program, secret, time_s, namespaces, landlock)
    last = ran.err.decode("utf-8", "replace").strip().splitlines()[-1:]
    if ran.how == b"exit 0" and ran.out.endswith(secret):
        return "passed"
    if ran.how.endswith(b"time") or ran.how == f"signal {int(signal.SIGXCPU)}".encode():
        return "time"
    return f"failed: {last[0] if last else ran.how.decode().replace('exit', 'exit code')}"[:200]


def protection(namespaces: bool = True, landlock: bool = True) -> Protection:
    """What the sandbox keeps a program from on this machine, found by one that tries it."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        Path(folder).chmod(0o777)
        mark = Path(folder) / "mark"
        mark.touch(0o666)
        asked = {"mark": str(mark), "new": f"{folder}/new", "pid": os.getpid(), "port": server.getsockname()[1]}
        ran = _run(_PROBE.format(asked=asked), b"", TIME_S, namespaces, landlock)
    try:
        could = json.loads(ran.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        said = ran.err.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StageError(f"the sandbox does not work here: its own test ended with {ran.how!r} ({said}).") from None
    held = {done: tuple(words for name, words in _DEEDS.items() if could[name] is done) for done in (False, True)}
    return Protection(ran.means, (*held[False], *_LIMITED), held[True])


# What the probing program tries, and how each is called; limits of means hold everywhere.
_DEEDS = {
    "read": "reading your files", "write": "writing to them", "network": "reaching the network",
    "processes": "ending other processes",
}  # fmt: skip
_LIMITED = ("using more time, memory and processes than it is given",)
# By Python and by the C library, which an audit hook does not see.
_PROBE = """
import ctypes, json, os, socket, struct, sys
asked, libc = {asked}, ctypes.CDLL(None)
def can(deed):
    try:
        return deed() is not False
    except OSError:
        return False
def opens(path, flags):
    return libc.open(path.encode(), flags, 0o600) >= 0
def connects():
    family = struct.pack("BB", 16, 2) if sys.platform == "darwin" else struct.pack("H", 2)
    place = family + struct.pack("!H4s8x", asked["port"], socket.inet_aton("127.0.0.1"))
    return libc.connect(libc.socket(2, 1, 0), place, len(place)) == 0
ways = {{
    "read": (lambda: open(asked["mark"]), lambda: os.listdir(os.path.dirname(asked["mark"])),
             lambda: opens(asked["mark"], os.O_RDONLY)),
    "write": (lambda: open(asked["mark"], "a"), lambda: open(asked["new"], "w"),
              lambda: opens(asked["new"], os.O_WRONLY | os.O_CREAT)),
    "network": (lambda: socket.create_connection(("127.0.0.1", asked["port"]), 2), connects),
    "processes": (lambda: os.kill(asked["pid"], 0), lambda: libc.kill(asked["pid"], 0) == 0),
}}
print(json.dumps({{name: any([can(way) for way in tried]) for name, tried in ways.items()}}))
"""


def _run(program: str, secret: bytes, time_s: int, namespaces: bool, landlock: bool) -> _Ran:
    limits = (time_s, MEMORY_BYTES, FILE_BYTES, FOLDER_BYTES, PROCESSES, int(namespaces), int(landlock))
    ended, told = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), *map(str, limits), str(told)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env={},
            start_new_session=True, pass_fds=(told,),
        )  # fmt: skip
        os.close(told)
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(secret + b"\n" + program.encode("utf-8", "replace"))  # type: ignore[union-attr]
                child.stdin.close()  # type: ignore[union-attr]
            how, out, err = _ends(child, ended, time.monotonic() + time_s + GRACE_S)
        finally:
            _end(child)
            os.close(ended)
    means, _, how = how.rpartition(b"\n")
    if not how:
        said = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StageError(f"the sandbox does not work here: {said[0] if said else f'exit code {child.returncode}'}")
    return _Ran(means.decode(), how, out, err)


def _ends(child: subprocess.Popen[bytes], ended: int, deadline: float) -> tuple[bytes, bytes, bytes]:
    """How a program ended, and the ends of what it printed and complained of."""
    kept = {ended: b"", child.stdout.fileno(): b"", child.stderr.fileno(): b""}  # type: ignore[union-attr]
    with selectors.DefaultSelector() as waiting:
        for pipe in kept:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                kept[ended] = b"time"
                break
            for key, _ in ready:
                if data := os.read(key.fd, KEPT_BYTES):
                    kept[key.fd] = (kept[key.fd] + data)[-KEPT_BYTES:]
                else:
                    waiting.unregister(key.fd)
    how, out, err = kept.values()
    return how, out, err


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the guard and what is in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
