"""A package of one file, as pip would install it, which this process finds while a monkeypatch lasts."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from segcct import plugins


def install(
    folder: Path, patch: pytest.MonkeyPatch, table: plugins.Registry, module: str, source: str, *, package: str
) -> None:
    """Write the module and the package's entry point for a table, as before the table has loaded any package."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    record = folder / f"{module}-1.0.dist-info"
    record.mkdir(exist_ok=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (record / "entry_points.txt").write_text(f"[{table._group}]\nadded = {module}\n", encoding="utf-8")
    patch.syspath_prepend(folder)
    patch.setattr(table, "_added", dict(table._added))
    patch.setattr(table, "_installed", set(table._installed))
    for name in ("_groups_named", "load_plugins"):
        patch.setattr(plugins, name, cache(getattr(plugins, name).__wrapped__))
    patch.setitem(sys.modules, module, None)  # so that the module goes when the patch ends
    del sys.modules[module]
