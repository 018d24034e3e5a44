"""Programs that a model wrote, run in a sandbox.

That is a process with limits of time, memory, file size and processes, no environment and an empty folder; on Linux,
where the kernel allows namespaces, also no network, no other process in sight, and no file to write to but its own, in
memory. Whatever it started ends with it. The sandbox keeps mistakes from doing harm; it is no prison for code that was
written to break out. So nothing runs unless it is allowed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zhllm.errors import StageError

TIME_S, MEMORY_BYTES, FILE_BYTES, FOLDER_BYTES, PROCESSES = 10, 1 << 30, 1 << 20, 64 << 20, 16
# Of what a program prints, its end is kept; it may print without end.
KEPT_BYTES = 1 << 16
# The guard ends a program by itself; where it does not, being stopped or slow, it is ended after this time more.
GRACE_S = 15
_GUARD = Path(__file__).with_name("sandbox_guard.py")


def run_program(program: str, time_s: int = TIME_S, namespaces: bool = True) -> str:
    """ "passed", "failed: <last line>", or "time": what a program did in the sandbox.

    Without `namespaces` as on a kernel that allows none. Raises StageError where the sandbox itself does not work.
    """
    secret = os.urandom(16).hex().encode()  # printed last, and only by a program that came to its end
    limits = (time_s, MEMORY_BYTES, FILE_BYTES, FOLDER_BYTES, PROCESSES, int(namespaces))
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
    last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    if how == b"exit 0" and out.endswith(secret):
        return "passed"
    if how.endswith(b"time") or how == f"signal {int(signal.SIGXCPU)}".encode():
        return "time"
    if not how:
        raise StageError(f"the sandbox does not work here: {last[0] if last else f'exit code {child.returncode}'}")
    return f"failed: {last[0] if last else how.decode().replace('exit', 'exit code')}"[:200]


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
