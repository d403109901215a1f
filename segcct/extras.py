"""Packages that only some commands need: the extras of pyproject.toml, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from segcct.errors import PackageError


def import_extra(module: str, extra: str) -> Any:
    """A module of an optional package.

    Args:
        module: its dotted name.
        extra: the extra of segcct that installs the package.

    Raises `PackageError`, which says how to install it, where it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PackageError(
            f"this needs the package {module.partition('.')[0]}, which cannot be imported",
            found=error,
            remedy=f"Install it: pip install 'segcct[{extra}]'",
        ) from error
