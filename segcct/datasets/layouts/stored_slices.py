"""Layout `slices`: `.h5` and `.npz` files of one slice or volume each, in which ACDC and Synapse are often shared.

    patient001_frame01_slice_1.h5, case0005_slice000.npz     slices (y, x), restacked in the order of their numbers
    patient001_frame01.h5, case0001.npy.h5                   volumes (z, y, x)

In this layout a channel's pattern and the label's are names of arrays inside the files: `channels: {cine: image}`,
`label: label`. The case id is the file name without `_slice...` and suffixes; `patientXXX` before `_frameYY` is the
patient. Where a case has a volume and slices, the volume is read. The files hold no voxel size and no orientation:
spacing is None, and voxels are exposed as (X, Y, Z) on a grid that shows them as stored, top left first.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts.file_roles import ambiguity, label_score
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.datasets.layouts.patterns import data_patterns, drawn, split_of
from segcct.datasets.layouts.without_geometry import check_mask_size, stack_channels
from segcct.errors import DataError, GeometryError, VolumeError
from segcct.files.file_names import ARRAY_SUFFIXES, split_name, stem_of
from segcct.images.arrays import array_names, array_shapes, read_arrays
from segcct.images.volume import Volume
from segcct.plurals import listed

_SLICE = re.compile(r"(?P<case>.+?)[_-]?slice[_-]?(?P<number>\d+)$", re.IGNORECASE)
_LONG_GAP = 4
_FRAME = re.compile(r"(?P<patient>.+?)_frame\d+$")
_DATASETS = (
    ("acdc", "ACDC", re.compile(r"patient\d+_frame\d+(_slice_?\d+)?$")),
    ("synapse", "Synapse (TransUNet)", re.compile(r"case\d{4}(_slice\d+)?$")),
)
"""Scheme, dataset and the file names by which it is recognized."""


def slice_of(stem: str) -> tuple[str, int] | None:
    """`case0005_slice012` -> (`case0005`, 12); None for the name of a volume."""
    match = _SLICE.match(stem)
    return (match["case"], int(match["number"])) if match else None


def find(data: DataSection, tree: FolderTree) -> Found:
    """Every case below `data.root`; its channels and label are the same files."""
    volumes: dict[str, list[str]] = {}
    slices: dict[str, dict[int, list[str]]] = {}
    for name in tree.files():
        stem = _stem(Path(name).name)
        if stem is None:
            continue
        one = slice_of(stem)
        if one is None:
            volumes.setdefault(stem, []).append(name)
        else:
            slices.setdefault(one[0], {}).setdefault(one[1], []).append(name)
    found = Found()
    for case_id in sorted(volumes.keys() | slices.keys()):
        numbered = slices.get(case_id, {})
        groups = [volumes[case_id]] if case_id in volumes else [numbered[number] for number in sorted(numbered)]
        found.add(case_id, _patient_of(case_id), partial(_make_case, data, case_id, groups))
        gaps = _gaps(numbered) if case_id not in volumes else []
        if gaps:
            found.notices.append(
                DataError(
                    f"case {case_id} has gaps between its slices; they are stacked as if there were none",
                    file=data.root / groups[0][0],
                    found=f"no slice {listed(gaps)}",
                    remedy="Add the missing slices; without them 3-D distances and volumes are wrong",
                )
            )
    return found


def single(data: DataSection, file: Path) -> Case | None:
    """The slice or volume of one file; a slice is a case by itself."""
    stem = _stem(file.name)
    return None if stem is None else _make_case(data.model_copy(update={"root": file.parent}), stem, [[file.name]])


def example(data: DataSection) -> str:
    """The two kinds of files and the arrays in them."""
    arrays = ", ".join(data_patterns(data))
    names = [f"patient001_frame01_slice_1.h5   (arrays {arrays}: rows, columns)", "..."]
    return drawn(data.root, {"": [*names, f"patient002_frame01.h5   (arrays {arrays}: slices, rows, columns)", "..."]})


def read_image(case: Case, data: DataSection) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32 and a grid without spacing. Raises `VolumeError` or `GeometryError` naming the file."""
    return stack_channels(case, data, lambda name: _stack(case.channels[name], data.channels[name]))


def read_mask(files: Sequence[Path], pattern: str, grid: Volume) -> np.ndarray:
    """(X, Y, Z) values of the array named `pattern`. Raises `VolumeError` or `GeometryError` naming the file."""
    mask = _stack(files, pattern)
    check_mask_size(mask, grid, files[0])
    return mask


def _stem(name: str) -> str | None:
    """A file's name without its ending; None for another kind of file."""
    stem, ending = split_name(name)
    return stem if ending.lower() in ARRAY_SUFFIXES else None


def _gaps(numbered: Mapping[int, object]) -> list[str]:
    """Numbers missing between the first and the last: `3`, `5`, or `7 to 90` where many are."""
    gaps: list[str] = []
    for low, high in itertools.pairwise(sorted(numbered)):
        many = high - low > _LONG_GAP
        gaps += [f"{low + 1} to {high - 1}"] if many else [str(number) for number in range(low + 1, high)]
    return gaps


def _make_case(data: DataSection, case_id: str, groups: list[list[str]]) -> Case:
    for names in groups:
        if len(names) > 1:
            raise DataError(
                f"case {case_id} is stored more than once",
                file=data.root / names[0],
                found=", ".join(names),
                expected="one file per volume or slice",
                remedy="Rename or remove one, or point data.root at the folder that is meant",
            )
    files = tuple(data.root / names[0] for names in groups)
    first = files[0]
    keys = _names_in(first, data)
    missing = [key for key in data.channels.values() if key not in keys]
    if missing:
        raise VolumeError(
            f"holds no array named {missing[0]}",
            file=first,
            found=listed(keys) or "no array",
            expected="data.channels to name arrays of the file, such as `channels: {mri: image}`",
        )
    label = files if data.label is not None and data.label in keys else None
    return Case(
        id=case_id,
        patient=_patient_of(case_id),
        channels=dict.fromkeys(data.channels, files),
        label=label,
        mask=files if data.intensity.mask is not None else None,
        split=split_of(groups[0][0]),
    )


def _patient_of(case_id: str) -> str:
    frame = _FRAME.match(case_id)
    return frame["patient"] if frame else case_id


def _names_in(file: Path, data: DataSection) -> Sequence[str]:
    """Names of the arrays in a file, or those that it should have where it cannot be read: its case then fails when it
    is read, like one with a damaged volume, and not the whole folder."""
    try:
        return array_names(file)
    except VolumeError:
        return data_patterns(data)


def _stack(files: Sequence[Path], key: str) -> np.ndarray:
    """(X, Y, Z) from one volume (z, y, x) or from slices (y, x) in order."""
    arrays = read_arrays(files, key)
    if len(arrays) == 1 and arrays[0].ndim == 3:
        return arrays[0].transpose(2, 1, 0)
    for file, array in zip(files, arrays, strict=True):
        if array.ndim != 2 or array.shape != arrays[0].shape:
            raise GeometryError(
                f"array {key} does not fit the other slices" if len(arrays) > 1 else f"array {key} is not an image",
                file=file,
                found=f"shape {array.shape}",
                expected=f"{arrays[0].shape} as {files[0].name}" if arrays[0].ndim == 2 else "(rows, columns)",
            )
    return np.stack(arrays).transpose(2, 1, 0)


def recognize(root: Path, names: Sequence[str]) -> Naming | None:
    """Slices or volumes in .h5 and .npz files."""
    files = [name for name in names if name.lower().endswith(ARRAY_SUFFIXES)]
    if not files or len(files) < len(names) / 2:
        return None
    keys = array_shapes(root / files[0])
    labels = [key for key in keys if label_score(key) > 0]
    images = [key for key, shape in keys.items() if key not in labels and len(shape) in (2, 3)]
    if not images:
        raise DataError(
            "holds no image array",
            file=root / files[0],
            found=", ".join(f"{key} {shape}" for key, shape in keys.items()) or "no array",
            expected="an array of rows and columns, or of slices, rows and columns",
        )
    stems = [stem_of(name) for name in files]
    known = (each for each in _DATASETS if all(map(each[2].match, stems)))
    scheme, dataset, _ = next(known, (None, None, None))
    named = f", named like those of {dataset}" if dataset else ""
    return Naming(
        layout="slices",
        channels={"image" if len(images) == 1 else key: key for key in images},
        label=labels[0] if labels else None,
        why=f"arrays in {PurePosixPath(files[0]).suffix} files{named}",
        scheme=scheme,
        doubts=ambiguity("arrays may be labels", labels),
    )


LAYOUT = Layout(
    "slices",
    find,
    example,
    recognize,
    read_image=read_image,
    read_mask=read_mask,
    has_geometry=False,
    names_arrays=True,
    label_patterns=("label",),
    single=single,
)
