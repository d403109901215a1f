"""Processor cores that this process may use: what the system allows, and what a container's limit leaves of it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from segcct.progress import say

CGROUP = Path("/sys/fs/cgroup")


def core_share() -> int:
    """Cores that belong to this process: its CPU affinity, and a container's quota where that is smaller."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = container_cores()
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def container_cores(root: Path = CGROUP) -> float | None:
    """Cores that the control group's quota is worth (version 2, then 1); None where there is no limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # "max" and -1: no limit
    return int(quota) / int(period)


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
