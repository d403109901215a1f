"""The processor: its name, the instruction sets that matter for speed, and the cores that this process may use."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from segcct.progress import say

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
"""Lists the control groups of this process."""
CPUINFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""As Linux writes them; bf16 and sve are those of ARM."""


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The model as the system names it."""
    return _fields(cpuinfo).get("model name") or platform.processor() or platform.machine()


def instruction_sets(cpuinfo: Path = CPUINFO) -> list[str]:
    """Those of `INSTRUCTION_SETS` that the processor has; empty where the system does not list them (no Linux)."""
    fields = _fields(cpuinfo)
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return [name for name in INSTRUCTION_SETS if name in flags]


def core_share() -> int:
    """Cores that belong to this process: its CPU affinity, or the quota of its container where that is smaller."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = container_cores()
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def container_cores(root: Path = CGROUP, membership: Path = MEMBERSHIP) -> float | None:
    """Cores that the smallest quota of this process's control groups is worth; None where there is no limit."""
    limits = []
    for group in control_groups("cpu", root, membership):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                quota, period = " ".join((group / name).read_text(encoding="ascii") for name in names).split()
            except (OSError, ValueError):
                continue
            if quota.isdecimal() and period.isdecimal() and int(period) > 0:  # "max" and -1: no limit
                limits.append(int(quota) / int(period))
    return min(limits, default=None)


def control_groups(controller: str, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """Folders of the control groups that limit this process, from its own up to the root, whose files have names of
    version 2, or of version 1 for the controller (`cpu`, `memory`).

    A container usually sees its own group as the root; a batch system such as SLURM limits a group far below it.
    """
    own = {root: "", root / controller: ""}
    try:
        for line in membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                own[root / controller if controllers else root] = place.lstrip("/")
    except (OSError, ValueError):
        pass  # no Linux
    for top, place in own.items():
        group = top / place
        while group != top:
            yield group
            group = group.parent
        yield top


def limit_threads(processes: int = 1) -> int:
    """Let torch use no more threads than the cores of one of `processes` on this machine; returns their number.

    More threads than cores wait for each other: two processes of two threads on two cores are ten times slower than
    with one thread each. Fewer, as set by OMP_NUM_THREADS, stay as they are. Says so on stderr where it lowers them.
    """
    import torch  # slow, and the readers of files ask for no more than the memory of a container

    threads = min(torch.get_num_threads(), max(1, core_share() // processes))
    if threads != torch.get_num_threads():
        say(f"{threads} threads instead of {torch.get_num_threads()}: the cores that this process has")
        torch.set_num_threads(threads)
    return threads


def _fields(cpuinfo: Path) -> dict[str, str]:
    """The first processor's lines."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
