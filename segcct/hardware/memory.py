"""Memory that is free, within the limit of a container or job; memory that is kept for reuse."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from segcct.hardware.processor import CGROUP, MEMBERSHIP, control_groups

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
_KEEP_FREED_MEMORY = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}
"""Options of mallopt(3), by their numbers in malloc.h."""


def free_memory_gb(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> float | None:
    """Memory that a new process can have, in GB (1e9 bytes); None where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    limit = _container_bytes(cgroup, membership)
    return min(free, limit) / 1e9 if limit is not None else free / 1e9


def load_average() -> float | None:
    """Processes that wanted to run in the last minute, on average; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def peak_memory_mb(status: Path = STATUS) -> float | None:
    """The most memory that this program has had so far, in MB (1e6 bytes); None where the system does not say.

    Where there is no /proc, the figure of a child process may be that of its parent.
    """
    try:
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6, 1)
    except (OSError, ValueError, KeyError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resident_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def resident_mb(ru_maxrss: int) -> float:
    """What getrusage(2) calls `ru_maxrss`, in MB (1e6 bytes): it is in bytes on macOS, else in units of 1024 bytes."""
    return round(ru_maxrss / 1e6 if sys.platform == "darwin" else ru_maxrss * 1024 / 1e6, 1)


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for its next arrays; whether it does so now.

    glibc returns the memory of arrays above 32 MB to the system as soon as they are freed, and the system has to clear
    the pages of the next ones: on a processor about a quarter of the time of a training step with large batches. The
    peak hardly grows, because every step needs the same memory again. Other C libraries, and settings that the user
    made in the environment (GLIBC_TUNABLES, MALLOC_...), are left as they are.
    """
    library = _glibc()
    return library is not None and all(library.mallopt(*option) for option in _KEEP_FREED_MEMORY.values())


def return_freed_memory() -> None:
    """Give back to the system what this process has kept, so that it counts as free; memory freed later is kept."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library where it is glibc with its default settings."""
    chosen = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(n.startswith("MALLOC_") for n in os.environ)
    if chosen or sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _container_bytes(cgroup: Path, membership: Path) -> int | None:
    """What the limits of this process's control groups leave, cached pages of files included; None: no limit."""
    left = []
    for group in control_groups("memory", cgroup, membership):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            try:
                limit = (group / limit_name).read_text(encoding="ascii").strip()
                used = (group / used_name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            if limit.isdecimal() and used.isdecimal() and int(limit) < 1 << 60:  # version 1 writes 2**63 for no limit
                left.append(max(0, int(limit) - max(0, int(used) - _file_pages(group / "memory.stat"))))
    return min(left, default=None)


def _file_pages(stat: Path) -> int:
    """Bytes of cached files, which count as used but are freed for any process; of all groups below, where listed."""
    try:
        pairs = (line.split() for line in stat.read_text(encoding="ascii").splitlines())
        counts = {name: int(value) for name, value in pairs}
    except (OSError, ValueError):
        return 0
    names = ("active_file", "inactive_file")
    return sum(counts.get(f"total_{name}", counts.get(name, 0)) for name in names)
