"""Layouts by their names: those of segcct, and those that other packages register."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from segcct.config.layout_table import LAYOUTS
from segcct.datasets.layouts.layout import Layout
from segcct.errors import DataError, unknown_name
from segcct.files.file_memo import key_of


def get_layout(name: str) -> Layout:
    """The layout of that name. Raises `DataError` listing the valid names."""
    if name not in LAYOUTS:
        raise unknown_name(DataError, "layout", name, LAYOUTS)
    layout: Layout = LAYOUTS[name]
    return layout


def layout_code(name: str) -> str:
    """A digest of the files in which the functions of another package's layout stand, so that what was read by other
    code is not used again; empty for a layout of segcct, whose version counts instead."""
    layout = get_layout(name)
    if name not in LAYOUTS.registered:
        return ""
    functions = [value for field in fields(layout) if callable(value := getattr(layout, field.name))]
    return key_of(sorted({_content_of(file) for file in map(_source_file, functions) if file is not None}))


def register_layout(layout: Layout) -> None:
    """Add a layout to the table. Raises `ValueError` where another has its name."""
    LAYOUTS.register(layout.name, layout)


def _source_file(function: Any) -> str | None:
    """Where a function stands; None where it is in no file, as in a notebook."""
    while isinstance(function, partial):
        function = function.func
    try:
        file = inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
    except (TypeError, OSError):  # built in, or typed in
        return None
    return file if file is not None and Path(file).is_file() else None


@cache
def _content_of(file: str) -> str:
    """A digest of a source file. The code that runs is of the time of its import, so it is not read again."""
    return hashlib.blake2b(Path(file).read_bytes()).hexdigest()
