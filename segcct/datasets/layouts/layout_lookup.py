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
    """A digest of the code of another package's layout, so that what an earlier version of it read is not used again;
    empty for a layout of segcct, whose version counts instead."""
    layout = get_layout(name)
    if name not in LAYOUTS.registered:
        return ""
    functions = [value for field in fields(layout) if callable(value := getattr(layout, field.name))]
    return key_of(sorted(set(map(_code_of, functions))))


def register_layout(layout: Layout) -> None:
    """Add a layout to the table. Raises `PluginError` where another has its name."""
    LAYOUTS.register(layout.name, layout)


def _code_of(function: Any) -> str:
    """A digest of the file that defines a function, or of its bytecode where there is no file, as in a notebook; empty
    for what is built in."""
    while isinstance(function, partial):
        function = function.func
    try:
        file = inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
    except (TypeError, OSError):  # built in, or typed in
        file = None
    if file is not None and Path(file).is_file():
        return _content_of(file)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    constants = [value for value in code.co_consts if not inspect.iscode(value)]
    return key_of([code.co_filename, code.co_code.hex(), code.co_names, repr(constants)])  # a cell has its own filename


@cache
def _content_of(file: str) -> str:
    """A digest of a source file, which is read once: the code that runs is that of its import."""
    return hashlib.blake2b(Path(file).read_bytes()).hexdigest()
