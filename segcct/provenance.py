"""Provenance of a result: the command, the versions of the packages, the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segcct.version import VERSION

PACKAGES = ("torch", "numpy", "nibabel", "SimpleITK", "albumentations", "monai", "pytorch-lightning")


def provenance(fingerprint: str | None = None) -> dict[str, Any]:
    """The command, and what `versions` says."""
    return {"command": invocation(), **versions(fingerprint)}


def invocation() -> str:
    """The command line of this process, quoted so that a shell takes it again."""
    return shlex.join(["segcct" if sys.argv[0].endswith("segcct") else Path(sys.argv[0]).name, *sys.argv[1:]])


def versions(fingerprint: str | None = None) -> dict[str, Any]:
    """When and by what this was made, without the command, whose paths may name patients: time, commit of the working
    copy (if any), package versions, machine."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "segcct": VERSION,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "processors": os.cpu_count(),
        **({} if fingerprint is None else {"data_fingerprint": fingerprint}),
    }


def _commit() -> str | None:
    """The commit of the source tree segcct runs from, with `+changes` where it was edited; None when installed."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    try:
        head, changes = (
            subprocess.check_output(["git", "-C", source, *words], stderr=subprocess.DEVNULL, text=True).strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+changes" if changes else head


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
