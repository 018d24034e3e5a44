"""The process that runs one program of `evaluate --task code`, limits it, and ends whatever it left behind.

It is started by its path, with no environment and nothing but the standard library. argv: seconds, bytes of memory,
bytes of a file, bytes of all files, processes, whether to ask the kernel for namespaces and for Landlock (0 or 1), the
descriptor that is told what holds the program (a line) and how it ended. stdin: a line that the program prints when it
comes to its end, then the program.

The guard adopts orphans and forks an init. Where the kernel allows it the init is the first process of a PID
namespace, with no network, with every file read-only but those of its own small folder in memory: when it ends, the
kernel ends all the others (pid_namespaces(7)). Elsewhere the guard finds its descendants under /proc and ends them.

What may be read is Python's own library and its folder: by Landlock (landlock(7)), else by a root folder that holds
nothing else, else, in what Python itself opens, by an audit hook, which keeps only mistakes away.
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
BIND = 0x1000
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION, PATH_BENEATH = 1, 1
# Rights by the bit, from landlock.h: those of files, those to read, and how many a version knows.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
OF_FILES, READ = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV, EXECUTE | READ_FILE | READ_DIR
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
TCP, SCOPES = 3, 3
# What a program of the standard library needs beside Python's own files, and what it may write to.
LIBRARIES = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store", "/gnu/store", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/mime.types", "/usr/share/locale", "/usr/share/zoneinfo", "/sys/devices/system/cpu",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
OWN_FOLDER = "/task"
# Of the audit events of Python, those that name files, and those that leave the process.
_OPENS = ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown",
          "os.link", "os.symlink", "os.truncate", "os.utime", "os.chdir")  # fmt: skip
_LEAVES = (
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "subprocess.Popen",
)
# A user that nobody is, another one for each guard, so that the kernel counts the processes of this program only.
FIRST_USER = 1_500_000_000
POLL_S = 0.01

LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the program of stdin and tell the descriptor "exit N", "signal N" or "time"."""
    seconds, memory, size, whole, processes, namespaces, landlock, told = map(int, sys.argv[1:9])
    secret, _, source = sys.stdin.buffer.read().partition(b"\n")
    sys.argv[:] = ["task.py"]
    user = FIRST_USER + os.getpid()
    is_linux = sys.platform == "linux"
    apart = 0
    if is_linux:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        # With an argument left out, which the kernel wants to be 0, this does nothing.
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        apart = _namespaces() if namespaces else 0
    init = os.fork()
    if init == 0:
        if is_linux:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        version = _landlock_version() if is_linux and landlock else 0
        has_root = bool(apart & NEW_MOUNTS) and _own_files(whole, hides=not version)
        program = os.fork()
        if program == 0:
            _limit(seconds, memory, size, processes, user)
            held = _hide(version, has_root)
            os.write(told, f"{held}, {_spaces(apart)}\n".encode())
            os.close(told)
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


def _spaces(apart: int) -> str:
    if apart & NEW_MOUNTS:
        return "namespaces"
    return "network namespace" if apart & NEW_NET else "no namespaces"


def _own_files(whole: int, hides: bool) -> bool:
    """Put a folder in memory where the program begins, and make every other file read-only.

    With `hides` that folder stands in a root folder which holds nothing but what a program needs: whether that worked.
    """
    here = os.fsencode(Path.cwd())
    LIBC.mount(None, b"/", None, RECURSIVE | PRIVATE, None)
    own, root = here, b""
    if hides and (root := _own_root(here)):
        own = root + os.fsencode(OWN_FOLDER)
        Path(os.fsdecode(own)).mkdir()
    if LIBC.mount(b"tmpfs", own, b"tmpfs", NOSUID | NODEV, f"size={whole},mode=777".encode()) == 0:
        read_only, writable = (struct.pack("4Q", *bits) for bits in ((ATTR_RDONLY, 0, 0, 0), (0, ATTR_RDONLY, 0, 0)))
        LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, read_only, len(read_only))
        LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, own, 0, writable, len(writable))
        if root:
            os.chroot(root)
        os.chdir(OWN_FOLDER if root else here)
    return bool(root)


def _own_root(here: bytes) -> bytes:
    """A folder in memory with Python's library and little more, at their places; b"" where that cannot be made."""
    if LIBC.mount(b"tmpfs", here, b"tmpfs", NOSUID | NODEV, b"size=1m,mode=755") != 0:
        return b""
    for path in (*_readable(), *DEVICES):
        place = Path(f"{os.fsdecode(here)}{path}")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            if Path(path).is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()
            LIBC.mount(os.fsencode(path), bytes(place), None, BIND | RECURSIVE, None)
    is_whole = all(
        Path(f"{os.fsdecode(here)}{path}").exists() for path in (os.__file__, *filter(os.path.exists, sys.path))
    )
    return here if is_whole else b""


def _readable() -> list[str]:
    """The folders and files of Python's library and of the libraries it opens, those that are there."""
    own = [*sys.path, f"{sys.base_prefix}/lib", f"{sys.base_exec_prefix}/lib", str(Path(os.__file__).parent)]
    paths = dict.fromkeys([*own, *(os.path.realpath(path) for path in own), *LIBRARIES])
    return [path for path in paths if Path(path).exists()]


def _hide(version: int, has_root: bool) -> str:
    """Hide from this process the files that are not its own: what does that."""
    if version and _landlock(version):
        return f"Landlock {version}"
    if has_root:
        return "own root folder"
    _watch()
    return "audit hook of Python"


def _landlock_version() -> int:
    """The version of Landlock that the kernel has, 0 where it has none or it is switched off."""
    return max(0, int(LIBC.syscall(SYS_LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)))


def _landlock(version: int) -> bool:
    """Take from this process and its children every file that a program does not need, TCP, and signals to others."""
    handled = (1 << RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("3Q", handled, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = LIBC.syscall(SYS_LANDLOCK_CREATE, attributes, size, 0)
    if rules < 0:
        return False
    given = [(path, READ) for path in _readable()]
    given += [(path, READ_FILE | WRITE_FILE | IOCTL_DEV) for path in DEVICES]
    for path, rights in [*given, (".", handled)]:
        with contextlib.suppress(OSError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = handled & (rights if Path(path).is_dir() else rights & OF_FILES)
            LIBC.syscall(SYS_LANDLOCK_ADD, rules, PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    held = LIBC.syscall(SYS_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(held)


def _watch() -> None:
    """Refuse what Python opens outside its library and the program's folder; code in C is not seen."""
    real, decode, slash = os.path.realpath, os.fsdecode, os.sep
    read = tuple(real(path) + slash for path in (*_readable(), *DEVICES))
    own = real(".") + slash

    def refuse(event: str, args: tuple[object, ...]) -> None:
        if event in _LEAVES:
            raise PermissionError(13, f"Permission denied: {event}")
        if event not in _OPENS:
            return
        is_read = event in ("os.listdir", "os.scandir") or (event == "open" and not _writes(args))
        for path in args:
            if isinstance(path, str | bytes) and not (event == "open" and path is not args[0]):
                place = real(decode(path)) + slash
                if not place.startswith((own, *read) if is_read or place[:5] == "/dev/" else own):
                    raise PermissionError(13, "Permission denied", path)

    sys.addaudithook(refuse)


def _writes(args: tuple[object, ...]) -> bool:
    mode, flags = args[1], args[2]
    by_mode = isinstance(mode, str) and bool(set(mode) & set("wax+"))
    return by_mode or (mode is None and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR)))


def _limit(seconds: int, memory: int, size: int, processes: int, user: int) -> None:
    """Take rights and means from this process and all that it starts."""
    if sys.platform == "linux":
        if os.getuid() == 0 and _can_be_nobody(user):
            _be_nobody(user)
        elif os.getuid() != 0:
            _have_rights(0)  # those over its own namespaces, which would undo them
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
    LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.chown(".", user, user)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _have_rights(1 << CAP_DAC_READ_SEARCH)


def _have_rights(bits: int) -> None:
    """Keep these rights of root (capabilities(7)) and no others."""
    LIBC.capset(struct.pack("Ii", CAPABILITY_VERSION_3, 0), struct.pack("6I", bits, bits, 0, 0, 0, 0))


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
