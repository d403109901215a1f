"""The part of the check that reads headers only: do the files of a case open, and share one voxel grid?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from segcct.check.problem import Problem
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts.volumes import GRID_TOLERANCE
from segcct.errors import SegcctError
from segcct.images.volume import Volume, check_same_grid


def check_grids(case: Case, inventory: Inventory) -> list[Problem]:
    """Files of one case that do not open, or lie on another grid than the first channel, by their headers."""
    problems = []
    first: Volume | None = None
    for file, array in _parts(case, inventory.data):
        try:
            header = inventory.header(file, array)
            if first is None:
                first = header
            else:
                smallest_mm = min(first.spacing_mm) if first.spacing_mm else 1.0
                check_same_grid(first, header, tolerance_mm=GRID_TOLERANCE * smallest_mm)
        except SegcctError as error:
            problems.append(Problem.of(error, file=file))
    return problems


def _parts(case: Case, data: DataSection) -> Iterator[tuple[Path, str]]:
    """Every file once per array that is read from it; array names matter to HDF5 and NPZ only."""
    groups = [(files, data.channels[name]) for name, files in case.channels.items()]
    groups += [(case.label or (), data.label or ""), (case.mask or (), data.intensity.mask or "")]
    seen = dict.fromkeys((file, array) for files, array in groups for file in files)
    yield from seen
