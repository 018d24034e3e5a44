"""The process that runs one program of `evaluate --task code`, limits it, and ends whatever it left behind.

It is started by its path, with no environment and nothing but the standard library. argv: seconds, bytes of memory,
bytes of a file, bytes of all files, processes, whether to ask the kernel for namespaces (0 or 1), the descriptor that
is told how it ended. stdin: a line that the program prints when it comes to its end, then the program.

The guard adopts orphans and forks an init. Where the kernel allows it the init is the first process of a PID
namespace, with no network, with every file read-only but those of its own small folder in memory: when it ends, the
kernel ends all the others (pid_namespaces(7)). Elsewhere the guard finds its descendants under /proc and ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
import time
from pathlib import Path
from typing import NoReturn

# From sched.h, mount.h, prctl.h, capability.h; mount_setattr has one number on every machine.
NEW_USER, NEW_NET, NEW_PID, NEW_MOUNTS, NEW_IPC = 0x10000000, 0x40000000, 0x20000000, 0x20000, 0x08000000
APART = NEW_NET | NEW_PID | NEW_MOUNTS | NEW_IPC
NOSUID, NODEV, RECURSIVE, PRIVATE = 0x2, 0x4, 0x4000, 0x40000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY = 442, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 8, 36, 38
CAP_DAC_READ_SEARCH, CAPABILITY_VERSION_3 = 2, 0x20080522
# A user that nobody is, another one for each guard, so that the kernel counts the processes of this program only.
FIRST_USER = 1_500_000_000
POLL_S = 0.01

LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the program of stdin and tell the descriptor "exit N", "signal N" or "time"."""
    seconds, memory, size, whole, processes, namespaces, told = map(int, sys.argv[1:8])
    secret, _, source = sys.stdin.buffer.read().partition(b"\n")
    sys.argv[:] = ["task.py"]
    user = FIRST_USER + os.getpid()
    is_linux = sys.platform == "linux"
    apart = 0
    if is_linux:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1)
        apart = _namespaces() if namespaces else 0
    init = os.fork()
    if init == 0:
        if is_linux:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if apart & NEW_MOUNTS:
            _own_files(whole)
        program = os.fork()
        if program == 0:
            os.close(told)
            _limit(seconds, memory, size, processes, user)
            _run(source, secret)
        _wait_for(program, seconds, told)
    end = time.monotonic() + seconds + 1
    while os.waitpid(init, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.write(told, b"time")
            os.kill(init, signal.SIGKILL)
            break
        time.sleep(POLL_S)
    _end_the_rest()


def _namespaces() -> int:
    """Leave the network, the processes and the mounts of others; which of them could be left."""
    own_user, own_group = os.getuid(), os.getgid()
    ways = [NEW_USER | APART, NEW_USER | NEW_NET]
    for flags in [APART, *ways] if own_user == 0 else ways:
        if LIBC.unshare(flags) == 0:
            if flags & NEW_USER:
                # Who is not known in the namespace can make no file in its folders.
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/uid_map", f"{own_user} {own_user} 1")
                _write("/proc/self/gid_map", f"{own_group} {own_group} 1")
            return flags
    return 0


def _write(path: str, text: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_text(text)


def _own_files(whole: int) -> None:
    """Put a folder in memory where the program begins, and make every other file read-only."""
    here = bytes(Path.cwd())
    LIBC.mount(None, b"/", None, RECURSIVE | PRIVATE, None)
    if LIBC.mount(b"tmpfs", here, b"tmpfs", NOSUID | NODEV, f"size={whole},mode=777".encode()) == 0:
        read_only, writable = (struct.pack("4Q", *bits) for bits in ((ATTR_RDONLY, 0, 0, 0), (0, ATTR_RDONLY, 0, 0)))
        LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, read_only, len(read_only))
        LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, here, 0, writable, len(writable))
        os.chdir(here)


def _limit(seconds: int, memory: int, size: int, processes: int, user: int) -> None:
    """Take rights and means from this process and all that it starts."""
    if sys.platform == "linux" and os.getuid() == 0 and _can_be_nobody(user):
        _be_nobody(user)
    limits = [(resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, size),
              (resource.RLIMIT_NPROC, processes), (resource.RLIMIT_CORE, 0)]  # fmt: skip
    for what, limit in limits:
        with contextlib.suppress(OSError, ValueError):  # a lower one stands already
            resource.setrlimit(what, (limit, limit))


def _can_be_nobody(user: int) -> bool:
    """Whether a process without the rights of root still reads its library: tried in one that ends."""
    trial = os.fork()
    if trial == 0:
        try:
            _be_nobody(user)
            Path(os.__file__).open().close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(trial, 0)[1] == 0


def _be_nobody(user: int) -> None:
    """Be a user of no file, who may read what root may: the limit of processes does not hold for root."""
    LIBC.prctl(PR_SET_KEEPCAPS, 1)
    os.chown(".", user, user)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    LIBC.capset(header, struct.pack("6I", 1 << CAP_DAC_READ_SEARCH, 1 << CAP_DAC_READ_SEARCH, 0, 0, 0, 0))


def _run(source: bytes, secret: bytes) -> NoReturn:
    """Run the program as a Python program is run; what it raises is told on stderr and by the exit code."""
    scope = {"__name__": "__main__"}
    exec(compile(source, "task.py", "exec"), scope)  # noqa: S102
    sys.__stdout__.write(secret.decode())  # type: ignore[union-attr]
    sys.exit(0)


def _wait_for(program: int, seconds: int, told: int) -> NoReturn:
    """Wait as an init does until the program ends, and tell how."""
    while True:
        ended, status, usage = os.wait3(0)
        if ended == program:
            break
    if os.WIFEXITED(status):
        found = f"exit {os.WEXITSTATUS(status)}"
    elif usage.ru_utime + usage.ru_stime > seconds - 0.5:
        found = "time"
    else:
        found = f"signal {os.WTERMSIG(status)}"
    os.write(told, found.encode())
    os._exit(0)


def _end_the_rest() -> None:
    """End all descendants, however they left their session, until none is left to wait for."""
    while True:
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(POLL_S / 10)


def _descendants() -> set[int]:
    """The living processes below this one, by /proc; none where there is no /proc."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_bytes().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                parents[int(file.parent.name)] = int(parent)
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


if __name__ == "__main__":
    main()
