"""What a layout is: one way in which files are named and grouped into cases, and how their voxels are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.errors import DataError
from segcct.images.volume import Volume


@dataclass
class Found:
    """What a layout met below the root."""

    cases: list[Case] = field(default_factory=list)
    """Whole cases."""
    errors: list[DataError] = field(default_factory=list)
    """One for each case that lacks something."""
    all_cases: list[Case] = field(default_factory=list)
    """Whole cases under the layout's own ids, those that share an id with another too; see `data.case_id`."""
    notices: list[DataError] = field(default_factory=list)
    """What may be meant and is worth knowing: missing slice numbers, masks without an image."""

    def add(self, make: Callable[[], Case]) -> None:
        """Keep the case, or the `DataError` that making it raised."""
        try:
            self.cases.append(make())
        except DataError as error:
            self.errors.append(error)


def own_label_map(data: DataSection) -> Mapping[int, int]:
    """`data.label_map`, or nothing."""
    return data.label_map or {}


@dataclass(frozen=True)
class Layout:
    """One layout: three functions and what is said when nothing is found."""

    name: str
    find: Callable[[DataSection], Found]
    """Below an existing `data.root`: every case, unsorted."""
    read_image: Callable[[Case, DataSection], tuple[np.ndarray, Volume]]
    """(C, X, Y, Z) float32 in the order of `data.channels`, and the grid of the first channel."""
    read_mask: Callable[[Sequence[Path], str, Volume], np.ndarray]
    """(files, pattern, grid) -> (X, Y, Z) values as stored, on that grid."""
    picture: Callable[[DataSection], str]
    """The expected folder as a small tree, with the config's own patterns."""
    phantom: bool = False
    """`segcct phantom NAME DIR` writes such a dataset."""
    label_map: Callable[[DataSection], Mapping[int, int]] = own_label_map
    """File value -> scheme value."""
    find_loose: Callable[[DataSection], Found] | None = None
    """Cases among the files directly in `data.root`, where a dataset would have folders: new scans, for prediction."""
    aside: tuple[str, ...] = ()
    """Patterns of files that belong to such a dataset and are not read as cases."""
    single: Callable[[DataSection, Path], Case | None] | None = None
    """The case of one file that holds every channel; None for a file that does not."""
