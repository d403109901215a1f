"""Synthetic datasets in real layouts, for demonstrations and tests: the embedded default of segcct.

Each layout has the geometry class and file names of its model and images that imitate the modality; nothing in them
comes from a patient, except that the brain is drawn on the ICBM152 average inside nilearn.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path

from segcct.datasets.layouts import LAYOUTS, get_layout
from segcct.errors import DataError
from segcct.phantom.phantom_files import Phantom

_COARSEST = 32
"""Most times that a grid is reduced: a coarser one has hardly a voxel per organ, and in the end a single one."""


def get_phantom(layout: str) -> Phantom:
    """The phantom of a layout. Raises `DataError` listing the layouts that have one."""
    place = get_layout(layout).phantom if layout in LAYOUTS else None
    if place is None:
        raise DataError(
            f"no phantom of layout '{layout}'", expected=", ".join(name for name in LAYOUTS if get_layout(name).phantom)
        )
    phantom: Phantom = pkgutil.resolve_name(place)
    return phantom


def write_phantom(
    layout: str,
    folder: str | Path,
    cases: int,
    *,
    seed: int = 0,
    reduce: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write `cases` synthetic patients into a new or empty folder and return their ids.

    A patient is one case, or two frames of one heart (acdc). Patient i depends on (layout, seed, i, reduce) alone.
    With `reduce` n the same patients are drawn over the same field of view on a grid n times coarser per axis (in
    plane only for acdc and synapse). `progress` is called with (done, total).

    Raises:
        DataError: an unknown layout, a number out of range, a folder that is not empty, or nilearn missing (brats).
    """
    folder = Path(folder)
    phantom = get_phantom(layout)
    for name, value, least in (("cases", cases, 1), ("seed", seed, 0), ("reduce", reduce, 1)):
        if value < least:
            raise DataError(f"{name} of a phantom is too small", found=value, expected=f"at least {least}")
    if reduce > _COARSEST:
        raise DataError("reduce of a phantom is too large", found=reduce, expected=f"at most {_COARSEST}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            "a phantom is written into a new or empty folder only",
            file=folder,
            found="a file" if folder.is_file() else "a folder that holds something",
            remedy="Name another folder, or remove this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index in range(cases):
        written.append(phantom.write_case(folder, index, seed, reduce))
        if progress is not None:
            progress(index + 1, cases)
    return written
