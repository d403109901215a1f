"""What a training run finds on disk, found once: cases, headers, digests, split, scheme.

Everything at the start of a run asks the inventory: the check, the split, the digests behind cache keys and
fingerprint, the slices counted by `--dry-run`, the mark of synthetic data. The folders below the root are walked once,
and a file that has not changed since the last start is not opened at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import get_layout, layout_code, scan_cases, scheme_of
from segcct.datasets.split_drawing import make_splits
from segcct.datasets.split_lists import unlabeled_cases
from segcct.datasets.split_record import Splits
from segcct.files.file_memo import FileMemo, key_of
from segcct.files.file_names import NIFTI_SUFFIXES
from segcct.images.content_digest import is_one_file
from segcct.images.volume import Volume, says_synthetic
from segcct.version import VERSION

READER_VERSION = 4
"""Incremented when the layouts' `read_header` give other grids or marks, or refuse other files."""
_MOST_VOXELS = 2**20
"""Along an axis."""


class Inventory:
    """The dataset of a data section.

    Args:
        data: root, layout, patterns, split.
        remember: use what earlier runs with this cache learned about files that have not changed since;
            `memo.save` adds to it. Otherwise every file is read.
        needs_labels: leave cases without a label out of the split.

    Raises:
        DataError: the root is missing or holds nothing of the layout. What is wrong with single cases is in
            `found.errors`.
        LabelError: there is no such scheme.
    """

    def __init__(self, data: DataSection, *, remember: bool = False, needs_labels: bool = True) -> None:
        self.data = data
        self.needs_labels = needs_labels
        self.scheme = scheme_of(data)
        self.tree = FolderTree(data.root)
        self.found = scan_cases(data, self.tree)
        self.memo = memo_of(data.cache_folder, data.root) if remember else FileMemo()
        self._read: dict[tuple[Path, str], dict[str, Any]] = {}

    @cached_property
    def cases(self) -> list[Case]:
        """The complete cases, sorted by id; those that train without labels have none, even if there is one on disk.
        Raises `SplitError` as `splits` and `unlabeled`."""
        if not self.needs_labels:
            return [replace(case, label=None) for case in self.found.cases]
        if not self.data.split.names_unlabeled:
            return self.found.cases
        unlabeled = {case.id: case for case in self.unlabeled}
        return [unlabeled.get(case.id, case) for case in self.found.cases]

    @cached_property
    def splits(self) -> Splits:
        """The split. Raises `SplitError` as `make_splits`."""
        needs_labels = self.needs_labels or self.data.split.draws_among_labeled
        return make_splits(self.found.cases, self.data, needs_labels=needs_labels)

    @cached_property
    def unlabeled(self) -> list[Case]:
        """The cases that train without labels. Raises `SplitError` as `unlabeled_cases`."""
        return unlabeled_cases(self.found.cases, self.data, self.splits)

    def header(self, file: Path, array: str) -> Volume:
        """The grid of a file, as its layout's `read_header` gives it, without the header's other fields.

        Raises:
            VolumeError: the file is missing or its header cannot be read.
        """
        facts = self._facts(file, array)
        affine, spacing = np.asarray(facts["affine"], dtype=np.float64), facts["spacing_mm"]
        voxels = np.broadcast_to(np.uint8(0), facts["shape"])
        return Volume(voxels, affine, None if spacing is None else (spacing[0], spacing[1], spacing[2]), None, file)

    def is_synthetic(self, case: Case) -> bool:
        """Whether the case says in its header that it is a phantom."""
        name, files = next(iter(case.channels.items()))
        is_nifti = files[0].name.lower().endswith(NIFTI_SUFFIXES)
        return is_nifti and self._facts(files[0], self.data.channels[name])["synthetic"]

    def _facts(self, file: Path, array: str) -> dict[str, Any]:
        """Shape, affine, spacing and mark of a file."""
        layout = get_layout(self.data.layout)
        place = file, array if layout.names_arrays else ""
        if place not in self._read:
            kind = f"header {READER_VERSION} {layout.name}{layout_code(layout.name)} {place[1]}"

            def read() -> dict[str, Any]:
                return _facts_of(layout.read_header(file, array))

            self._read[place] = self.memo.value(kind, file, read, _are_facts) if is_one_file(file) else read()
        return self._read[place]


def memo_of(cache: Path, root: Path) -> FileMemo:
    """The memo of the files below a root; it lies in the folder of the prepared cases."""
    return FileMemo(cache / f".{key_of(str(root.resolve()))}.memo", VERSION)


def _facts_of(volume: Volume) -> dict[str, Any]:
    return {
        "shape": list(volume.shape),
        "affine": volume.affine.tolist(),
        "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
        "synthetic": says_synthetic(volume),
    }


def _are_facts(value: Any) -> bool:
    try:
        x, y, z = value["shape"]
        affine, spacing = np.asarray(value["affine"], dtype=np.float64), value["spacing_mm"]
        return (
            all(type(length) is int and 0 < length < _MOST_VOXELS for length in (x, y, z))
            and affine.shape == (4, 4)
            and (spacing is None or (len(spacing) == 3 and all(step > 0 for step in spacing)))
            and isinstance(value["synthetic"], bool)
        )
    except (KeyError, TypeError, ValueError):
        return False
