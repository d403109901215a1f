"""The layout and patterns that the names of a dataset's files show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segcct.datasets.layouts import LAYOUTS, get_layout
from segcct.datasets.layouts.file_roles import names_modality
from segcct.datasets.layouts.layout import Naming
from segcct.datasets.layouts.patterns import compiled
from segcct.errors import DataError
from segcct.files.file_names import (
    ARRAY_SUFFIXES,
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    NIFTI_SUFFIXES,
    VOLUME_SUFFIXES,
    folder_name,
    split_name,
)
from segcct.images.raster import BANDS, open_image
from segcct.init.grouping import (
    each_a_case,
    in_case_folders,
    in_nested_folders,
    in_one_heap,
    in_parallel_folders,
    in_parallel_trees,
)
from segcct.plurals import listed

_ARRANGE = "Arrange them so, or write the config by hand (configs/ has examples)"
_OUTLINES = "Outlines in JSON files (COCO, labelme) are not read: draw them as mask images first"


def recognize(root: Path, names: Sequence[str]) -> Naming:
    """The layout and patterns that the file names show. Raises `DataError` when they show none.

    Where `.nii` and `.nii.gz` are mixed, a pattern that meets both ends in `.nii*`.
    """
    names = [_lowered(name) for name in names]
    packed = [f"{name}.gz" if name.lower().endswith(".nii") else name for name in names]
    endings = {split_name(name)[1].lower() for name in names}
    if not endings.issuperset(NIFTI_SUFFIXES) or len(set(packed)) < len(packed):
        return _recognized(root, names)
    naming = _recognized(root, packed)

    def unpacked(pattern: str | None) -> str | None:
        if pattern is None or not pattern.lower().endswith(".nii.gz"):
            return pattern
        loose = f"{pattern[:-3]}*"
        met = {split_name(name)[1] for name in names if compiled(loose, anywhere=True).match(name)}
        return pattern[:-7] + met.pop() if len(met) == 1 else loose

    channels = {name: str(unpacked(pattern)) for name, pattern in naming.channels.items()}
    return replace(naming, channels=channels, label=unpacked(naming.label), mask=unpacked(naming.mask))


def _lowered(name: str) -> str:
    """A volume's name with its ending in small letters, as patterns take either."""
    stem, ending = split_name(name)
    return stem + ending.lower() if ending.lower() in VOLUME_SUFFIXES else name


def _recognized(root: Path, files: Sequence[str]) -> Naming:
    x_rays = _x_rays(root, files)
    names, series = _with_series(files, x_rays)
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    for name in (*LAYOUTS.added(), *LAYOUTS):
        by_layout = get_layout(name).recognize
        if by_layout is not None and (naming := by_layout(root, names)) is not None:
            return _in_bands(root, images, naming)
    volumes = [name for name in names if name.lower().endswith(VOLUME_SUFFIXES) or name in series or name in x_rays]
    volumes += images if x_rays else []  # their masks
    if len(volumes) >= len(images):
        folders = in_case_folders(volumes, folder_name(root)) if volumes else None
        nested = in_nested_folders(volumes, "paired")
        one_folder = len({PurePosixPath(name).parent for name in volumes}) == 1
        if x_rays and one_folder and folders and not folders.label:
            folders = None  # many patients' images, not the channels of one
        naming = (
            in_parallel_folders(volumes, "paired")
            or in_parallel_trees(volumes, "paired")
            or (in_one_heap(volumes, "paired") if one_folder else None)
            or (folders if folders and not folders.doubts and (folders.label or not nested) else None)
            or in_one_heap(volumes, "paired")
            or nested
            or folders
        )
        if naming is folders and one_folder and not series and _are_cases(naming):
            naming = each_a_case(volumes)
    else:
        naming = (
            in_parallel_folders(images, "pictures")
            or in_parallel_trees(images, "pictures")
            or in_nested_folders(images, "pictures")
            or in_one_heap(images, "pictures")
        )
    if naming is not None and naming.label and not naming.channels:
        raise DataError(
            "only masks were found, no scans",
            file=root,
            found=naming.label,
            expected="an image for each mask",
            remedy="Add the scans; if these are scans, give them a name without words such as seg, label or mask",
        )
    if naming is None or not naming.channels:
        raise _unknown(root, files, names, x_rays)
    naming = replace(
        naming,
        channels={name: _literal(pattern) for name, pattern in naming.channels.items()},
        label=naming.label and _literal(naming.label),
        mask=naming.mask and _literal(naming.mask),
    )
    return _in_bands(root, images, naming)


def in_bands(naming: Naming, file: Path) -> Naming:
    """The one channel of a dataset of 2-D images becomes the bands red, green and blue where one of them is in color.
    Raises `VolumeError` where it cannot be read."""
    (pattern,) = naming.channels.values()
    with open_image(file, file) as image:
        gray = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;")
    return naming if gray else replace(naming, channels=dict.fromkeys(BANDS, pattern))


def _are_cases(naming: Naming | None) -> bool:
    """Whether the files of one folder, without label or mask, are scans: no name calls them channels of one case."""
    if naming is None or naming.label or naming.mask:
        return False
    return bool(naming.channels) and not any(map(names_modality, naming.channels))


def _literal(pattern: str) -> str:
    """Braces of a file's own name become `?`: in patterns they are special."""
    return re.sub(r"\{(?!id\})|(?<!\{id)\}", "?", pattern)


def _x_rays(root: Path, names: Sequence[str]) -> set[str]:
    """The DICOM files that are 2-D images, each by itself, and not slices of a series."""
    from segcct.images.dicom.series import projections_in

    dicom = {name for name in names if name.lower().endswith(DICOM_SUFFIXES)}
    folders = {root / PurePosixPath(name).parent for name in dicom}
    files = [file for folder in sorted(folders) if folder.is_dir() for file in projections_in(folder)]
    return dicom.intersection(file.relative_to(root).as_posix() for file in files)


def _with_series(names: Sequence[str], x_rays: Collection[str]) -> tuple[list[str], set[str]]:
    """Names without files of no interest, where a folder of DICOM slices counts as one file; those folders."""
    wanted = VOLUME_SUFFIXES + IMAGE_SUFFIXES + ARRAY_SUFFIXES
    files = [name for name in names if name.lower().endswith((*wanted, ".json", "info.cfg"))]
    slices = [name for name in names if name.lower().endswith(DICOM_SUFFIXES) and name not in x_rays]
    series = {str(PurePosixPath(name).parent) for name in slices} - {"."}
    return sorted({*files, *series, *x_rays}), series


def _in_bands(root: Path, images: Sequence[str], naming: Naming) -> Naming:
    """As `in_bands`, by the first of the images."""
    if naming.layout != "pictures" or len(naming.channels) > 1:
        return naming
    (pattern,) = naming.channels.values()
    return in_bands(naming, root / next(name for name in images if compiled(pattern, anywhere=True).match(name)))


def _unknown(root: Path, files: Sequence[str], names: Sequence[str], x_rays: Collection[str]) -> DataError:
    dicom = [name for name in files if name.lower().endswith(DICOM_SUFFIXES)]
    loose = [name for name in dicom if "/" not in name and name not in x_rays]
    if loose:
        return DataError(
            "DICOM slices lie directly in the dataset folder",
            file=root,
            found=f"{len(loose)} such as {loose[0]}",
            expected="a folder per case with the slices in a folder inside it, and the mask next to it",
            remedy="Move the slices, as in CASE/ct/*.dcm and CASE/seg.nrrd",
        )
    of_series = set(names) - set(files)
    kinds = Counter("folder of DICOM slices" if name in of_series else split_name(name)[1].lower() for name in names)
    del kinds[""]  # what describes a dataset
    if not kinds:
        every = [PurePosixPath(name).name for name in files]
        return DataError(
            "holds no image files",
            file=root,
            found=listed(every, 4) or "an empty folder",
            expected=", ".join((*VOLUME_SUFFIXES, *DICOM_SUFFIXES, *ARRAY_SUFFIXES, *IMAGE_SUFFIXES)),
            remedy="Unpack archives, and give files that are images the ending of their format",
        )
    outlined = not kinds.keys().isdisjoint(IMAGE_SUFFIXES) and any(name.endswith(".json") for name in names)
    return DataError(
        "the names do not show which files are scans and which are masks",
        file=root,
        found=", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)),
        expected="scans and masks in folders of their own (images/, masks/), side by side (A.png, A_mask.png), "
        "a folder per case, or the files of BraTS, ACDC, BTCV or nnU-Net",
        remedy=_OUTLINES if outlined else _ARRANGE,
    )
