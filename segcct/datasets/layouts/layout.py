"""What a layout is: one way in which files are named and grouped into cases, and all that depends on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import volumes
from segcct.errors import DataError
from segcct.images.volume import Volume, read_header


@dataclass
class Found:
    """What a layout found below the root."""

    cases: list[Case] = field(default_factory=list)
    """Complete cases."""
    errors: list[DataError] = field(default_factory=list)
    """One for each case that lacks something."""
    incomplete: list[tuple[str, str, DataError]] = field(default_factory=list)
    """Id, patient and error of such cases, as far as they are known; the ids are the layout's own."""
    unread: list[DataError] = field(default_factory=list)
    """Those of `errors` that are of files which cannot be read, so that their cases are not known."""
    all_cases: list[Case] = field(default_factory=list)
    """Complete cases under the layout's own ids, including those that share an id; see `data.case_id`."""
    label_error: DataError | None = None
    """No label can be used, which does not matter where labels are not needed."""
    notices: list[DataError] = field(default_factory=list)
    """What may be intended but is worth knowing: missing slice numbers, masks without an image."""

    def add(self, case_id: str, patient: str, make: Callable[[], Case]) -> None:
        """Keep the case, or the `DataError` that making it raised."""
        try:
            self.cases.append(make())
        except DataError as error:
            self.lacks(case_id, patient, error)

    def lacks(self, case_id: str, patient: str, error: DataError) -> None:
        """Note a case that cannot be made."""
        self.errors.append(error)
        self.incomplete.append((case_id, patient, error))


@dataclass(frozen=True)
class MappedLabels:
    """Labels whose values are not the scheme's; the layout maps them when they are read."""

    values: Collection[int]
    """What the files may hold."""
    why: str
    doubt: str
    """A remark for the case that all values that were read are also valid in the scheme."""


@dataclass(frozen=True)
class Naming:
    """What file names alone say about a dataset: a layout and its patterns, how they were recognized, and what is known
    of such datasets."""

    layout: str
    channels: Mapping[str, str]
    """Channel name -> pattern, in order."""
    label: str | None
    why: str
    """What the names look like, for the reader."""
    mask: str | None = None
    """Pattern of a mask of the brain or body."""
    scheme: str | None = None
    """A named scheme that these names promise; the values must still agree."""
    mapped: MappedLabels | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class names -> values that the dataset itself gives."""
    regions: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Unions of these classes by name, as `data.regions`."""
    classes_from: str = "dataset.json"
    """Where the dataset gives them."""
    patient: str | None = None
    """Expression for the patient within a case id, where the names follow a standard."""
    case_id: str = "name"
    """As `data.case_id`."""
    as_acquired: str | None = None
    """Why slices are taken along the third stored axis (`data.orientation: native`), whatever the geometry says."""
    window_hu: tuple[float, float, str] | None = None
    """The usual window of such CT and its name."""
    by_convention: bool = True
    """True where a layout recognized its own names, False where names were grouped by what they have in common."""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One layout. It must define `find` and `example`; the rest defaults to what volumes need."""

    name: str
    find: Callable[[DataSection, FolderTree], Found]
    """Every case below `data.root`, which exists; unsorted."""
    example: Callable[[DataSection], str]
    """The expected folder drawn as a small tree, with the config's own patterns, for messages."""
    recognize: Callable[[Path, Sequence[str]], Naming | None] | None = None
    """(root, relative paths) -> the channels, label and scheme of a dataset whose names are this layout's own; None
    for other names. For `segcct init`, which asks the layouts in order."""

    read_image: Callable[[Case, DataSection], tuple[np.ndarray, Volume]] = volumes.read_image
    """(C, X, Y, Z) float32 in the order of `data.channels`, and the grid of the first channel."""
    read_mask: Callable[[Sequence[Path], str, Volume], np.ndarray] = volumes.read_mask
    """(files, pattern, grid) -> (X, Y, Z) values as stored, on that grid."""
    draw_label: Callable[[Sequence[Path], DataSection, Volume], np.ndarray] | None = None
    """(files, data, grid) -> (X, Y, Z) values of the scheme, for labels such as contours, which are drawn onto the grid
    of the images; None where `read_mask` reads labels."""
    read_header: Callable[[Path, str], Volume] = read_header
    """(file, pattern) -> its grid without voxels."""
    has_geometry: bool = True
    """Files hold voxel sizes and directions."""
    spatial_dims: Literal[2, 3] = 3
    """2 where each file is an image by itself, as photographs are."""
    names_arrays: bool = False
    """What the config gives for a channel is the name of an array inside the files, not a pattern of file names."""

    label_map: Callable[[DataSection], Mapping[int, int]] = lambda data: data.label_map or {}
    """File value -> scheme value."""
    label_patterns: tuple[str, ...] = ()
    """How labels are named, for references that come without a config; each then also serves as the pattern of the only
    channel."""
    mask_format: Literal["nifti", "image"] = "nifti"
    """How predicted masks are written: volumes, or images with a palette."""

    find_loose: Callable[[DataSection], Found] | None = None
    """Cases among the files directly in `data.root`, where a dataset would have folders: new scans, for prediction."""
    single: Callable[[DataSection, Path], Case | None] | None = None
    """The case of one file that holds every channel; None for other files."""
    ignored: tuple[str, ...] = ()
    """Patterns of files that are part of such a dataset but are not read as cases."""
    phantom: str | None = None
    """The function with which `segcct phantom NAME DIR` draws a case, as `module:attribute`."""
