"""Which processor this is, and the instruction sets that matter for speed here."""

from __future__ import annotations

import platform
from pathlib import Path

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


def _fields(cpuinfo: Path) -> dict[str, str]:
    """The first processor's lines."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
