"""What this machine lends to a program: cores, memory and their limits, without importing torch.

Read from Linux's /proc and /sys; elsewhere what is not known is None. `root` is another root of those for tests.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
# Flags of processors whose bf16 products are done by the hardware (x86, Arm).
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Cpu:
    """The processor: its name, the cores this process may use, and the share of them that a cgroup grants."""

    name: str
    cores: int
    quota: float | None
    flags: frozenset[str]

    @property
    def has_bf16(self) -> bool:
        """Whether bf16 products are done by the hardware."""
        return bool(self.flags & BF16_FLAGS)


@dataclass(frozen=True)
class HostMemory:
    """Bytes of the machine's memory, those not in use, and the limit of this process's cgroup."""

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None

    @property
    def usable_bytes(self) -> int | None:
        """The lower of what is free and what may be used; None where nothing is known."""
        known = [value for value in (self.available_bytes, self.limit_bytes) if value is not None]
        return min(known, default=None)


def bytes_of(text: str) -> int | None:
    """Bytes in "24GB", "24 GiB" or "512M": units of 1,024, as memory is labelled; None where it is no such text."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?\s*", text, re.IGNORECASE)
    return None if found is None else int(float(found[1]) * 1024 ** ("KMGT".index(found[2].upper()) + 1))


def cpu(root: Path = ROOT) -> Cpu:
    """The processor, as this process may use it."""
    rows = [line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines()]
    values = {key.strip().lower(): value.strip() for key, _, value in reversed(rows)}
    flags = frozenset((values.get("flags") or values.get("features") or "").split())
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Cpu(values.get("model name", "unknown"), cores, _quota(root), flags)


def host_memory(root: Path = ROOT) -> HostMemory:
    """The machine's memory and the lowest limit of the cgroups this process is in."""
    rows = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    sizes = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1 and row[1].isdigit()}
    limits = [int(text) for folder in _cgroups(root) for text in _limits(folder) if text.isdigit()]
    total = sizes.get("MemTotal")
    low = min((limit for limit in limits if total is None or limit < total), default=None)
    return HostMemory(total, sizes.get("MemAvailable"), low)


def _quota(root: Path) -> float | None:
    """Cores' worth of time that a cgroup grants; None where it does not say."""
    for folder in _cgroups(root):
        given, _, period = _text(folder / "cpu.max").partition(" ")  # version 2: "200000 100000" or "max 100000"
        given = given or _text(folder / "cpu.cfs_quota_us").strip()
        period = period or _text(folder / "cpu.cfs_period_us")
        if given.isdigit() and period.strip().isdigit():
            return int(given) / int(period)
    return None


def _limits(folder: Path) -> list[str]:
    return [_text(folder / name).strip() for name in ("memory.max", "memory.limit_in_bytes")]


def _cgroups(root: Path) -> list[Path]:
    """The folders of this process's cgroups and of those above them, version 2 and 1."""
    base = root / "sys/fs/cgroup"
    folders = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", "", ""])[:3]
        top = base / controllers.split(",")[0] if controllers else base
        own = top / path.lstrip("/")
        folders += [own, *(above for above in own.parents if above.is_relative_to(top))]
    return [*folders, base, base / "memory", base / "cpu"]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
