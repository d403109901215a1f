"""Layouts: the ways in which datasets name and group their files, one small reader each.

A layout is one file with one `layout.Layout` and one row of the table in config/layout_table.py; other packages add
theirs by the entry points `segcct.layouts` or `register_layout`. What layouts share is done here: the errors for an
empty root, patients, label values.
"""

from __future__ import annotations

import hashlib
import inspect
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import DataSection
from segcct.config.expressions import search_patient
from segcct.config.layout_table import LAYOUTS
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.label_schemes import Scheme, custom_scheme, get_scheme, remap, whole_values
from segcct.datasets.layouts.case_ids import clashes, with_ids
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.errors import DataError, unknown_name
from segcct.files.file_memo import key_of
from segcct.images.volume import Volume
from segcct.plurals import counted, listed
from segcct.runtime import region_of

__all__ = [
    "LAYOUTS",
    "Found",
    "Layout",
    "Naming",
    "find_cases",
    "find_new_cases",
    "get_layout",
    "layout_code",
    "read_case",
    "read_label",
    "register_layout",
    "scan_cases",
    "scheme_of",
    "single_case",
    "stored_label",
]


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


def scheme_of(data: DataSection) -> Scheme:
    """The label scheme the config names, or the custom one it defines. Raises `LabelError`."""
    return get_scheme(data.scheme) if data.labels is None else custom_scheme(data.labels, data.regions)


def find_cases(data: DataSection, *, strict: bool = True) -> list[Case]:
    """The cases below `data.root`, sorted by id; without labels where there are none.

    Args:
        data: root, layout, patterns.
        strict: raise for the first case that lacks a channel; else leave such cases out.

    Raises:
        DataError: the root is missing or holds no case (with a drawing of the expected folder), an id is there twice,
            or, when strict, a case is incomplete; `data.patient` finds no patient in an id.
    """
    return _cases(scan_cases(data), strict=strict)


def find_new_cases(data: DataSection) -> list[Case]:
    """The cases to predict below `data.root`: as `find_cases`, or, in a folder that is not laid out as the dataset was,
    its files that are named as the dataset's are.

    Raises:
        DataError: as `find_cases`.
    """
    find_loose = get_layout(data.layout).find_loose
    found = _found(data)
    if find_loose is not None and not found.cases and not found.errors:
        found = find_loose(data)
    return _cases(_sorted(found, data), strict=True)


def single_case(data: DataSection, file: Path) -> Case | None:
    """The case of one file that holds every channel in the manner of the layout; None where a file is a volume or a
    channel alone. Raises `DataError` for a file that lacks a channel."""
    single = get_layout(data.layout).single
    return None if single is None else single(data, file)


def _cases(found: Found, *, strict: bool) -> list[Case]:
    """The cases; when strict, the first error is raised."""
    if strict and found.errors:
        first, *others = found.errors
        if others:
            more = f"{counted(len(others), 'more problem')}: `segcct check` lists them all"
            first.remedy = f"{first.remedy}. {more}" if first.remedy else more
        raise first
    return found.cases


def scan_cases(data: DataSection, tree: FolderTree | None = None) -> Found:
    """The whole cases below `data.root`, sorted by id, an error for each that is not, and notices.

    Args:
        data: root, layout, patterns.
        tree: what lies below the root, where it is known already.

    Raises:
        DataError: the root is missing or holds nothing of the layout.
    """
    return _sorted(_found(data, tree), data)


def _found(data: DataSection, tree: FolderTree | None = None) -> Found:
    layout = get_layout(data.layout)
    if not data.root.is_dir():
        raise _nothing_there(data, f"the dataset folder {'is a file' if data.root.exists() else 'does not exist'}")
    return layout.find(data, tree or FolderTree(data.root))


def _sorted(found: Found, data: DataSection) -> Found:
    """The cases by id with their patients; ids that are there twice become errors. Raises where there is nothing."""
    if not found.cases and not found.errors:
        raise _nothing_there(data, f"no case of layout {data.layout} in the dataset folder")
    cases = with_ids(found.cases, data)
    times = Counter(case.id for case in cases)
    errors = [*found.errors, *clashes(cases, data)]
    cases = [_with_patient(case, data) for case in cases if times[case.id] == 1]
    return Found(sorted(cases, key=lambda case: case.id), errors, found.cases, found.notices)


def read_case(case: Case, data: DataSection, scheme: Scheme, *, with_label: bool = True) -> LoadedCase:
    """A case in memory: channels in the config's order, label in the scheme's values.

    Raises:
        VolumeError: a file cannot be read.
        GeometryError: a channel, label or mask lies on another grid than the first channel.
        LabelError: label values that are not whole numbers or not in the scheme. Each names the file.
    """
    layout = get_layout(data.layout)
    image, grid = layout.read_image(case, data)
    label = read_label(case, data, scheme, grid) if with_label and case.label else None
    mask = region_of(layout.read_mask(case.mask, data.intensity.mask or "", grid)) if case.mask else None
    return LoadedCase(case, image, grid, label, mask)


def read_label(case: Case, data: DataSection, scheme: Scheme, grid: Volume) -> np.ndarray:
    """(X, Y, Z) label of a case in the scheme's values, on a known grid; the channels are not read.

    Raises:
        VolumeError, GeometryError, LabelError: as `read_case`.
        DataError: the case has no label.
    """
    if not case.label:
        raise DataError("the case has no label", file=next(iter(case.channels.values()))[0])
    file = case.label[0]
    values = remap(whole_values(stored_label(case.label, data, grid), file), get_layout(data.layout).label_map(data))
    stray = scheme.stray_values(values)
    if stray:
        raise scheme.stray_error(stray, file if len(case.label) == 1 else f"{file.parent} ({case.id})")
    return values.astype(scheme.dtype, copy=False)


def stored_label(files: Sequence[Path], data: DataSection, grid: Volume) -> np.ndarray:
    """(X, Y, Z) label values before `data.label_map`, on a known grid. Raises as `read_label`."""
    layout = get_layout(data.layout)
    if layout.draw_label is not None:
        return layout.draw_label(files, data, grid)
    return layout.read_mask(files, data.label or "", grid)


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


def _with_patient(case: Case, data: DataSection) -> Case:
    if data.patient is None:
        return case
    match = search_patient(data.patient, case.id)
    if match is None or not match[1]:
        raise DataError(
            "data.patient finds no patient in a case id",
            file=case.files()[0],
            found=case.id,
            expected=f"a match of {data.patient}",
            remedy="Correct the expression: every case needs a patient, so that no patient is in two splits",
        )
    return replace(case, patient=match[1])


def _nothing_there(data: DataSection, what: str) -> DataError:
    layout = get_layout(data.layout)
    found = listed(FolderTree(data.root).files(), 5) or "an empty folder" if data.root.is_dir() else None
    command = f"segcct phantom {layout.name} {shlex.quote(str(data.root))}"
    phantom = f", or write a synthetic dataset with: {command}" if layout.phantom else ""
    return DataError(
        what,
        file=data.root,
        found=found,
        expected="\n" + layout.example(data) + "\n",
        remedy=f"Set data.root to the folder of the data{phantom}",
    )
