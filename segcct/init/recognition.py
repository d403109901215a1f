"""The layout and patterns that the names of a dataset's files show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segcct.config.data_section import MOST_CHANNELS
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
from segcct.init.case_folder_names import in_case_folders, in_case_folders_of_images
from segcct.init.dicom_names import DicomNames, dicom_in
from segcct.init.flat_names import each_a_case, side_by_side
from segcct.init.grouping_proposal import Evidence, Proposal, best_of
from segcct.init.mirrored_folders import in_mirrored_folders
from segcct.init.parallel_folders import in_nested_folders, in_parallel_folders, in_parallel_trees
from segcct.plurals import listed

_ARRANGE = "Arrange them so, or write the config by hand (configs/ has examples)"
_OF_SLICES = (
    "2-D images such as {} are not read as labels of DICOM series: if they are masks of the slices, store those of a "
    "case as one volume, such as NIfTI, with the geometry of the series"
)
_CLASSIFY = f"{_ARRANGE}. A folder of images per class, without masks, is for segcct train-cls"
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
    dicom = dicom_in(root, files)
    names = _of_interest(files, dicom)
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    for name in (*LAYOUTS.added(), *LAYOUTS):
        by_layout = get_layout(name).recognize
        if by_layout is not None and (naming := by_layout(root, names)) is not None:
            return _in_bands(root, images, naming)
    of_dicom = dicom.series | dicom.x_rays
    volumes = [name for name in names if name.lower().endswith(VOLUME_SUFFIXES) or name in of_dicom]
    volumes += images if dicom.x_rays else []  # their masks
    kinds = [_of_volumes(volumes, root, dicom), _of_images(images, alone=not volumes)]
    if len(images) > len(volumes):
        kinds.reverse()
    naming = best_of(kinds[0])
    if naming is None or not naming.label:  # scans and masks may be fewer than previews of them
        other = best_of(kinds[1])
        series_alone = naming is None and bool(dicom.series)
        naming = other if other is not None and other.channels and (other.label or series_alone) else naming
    if naming is not None and naming.label and not naming.channels:
        raise DataError(
            "only masks were found, no scans",
            file=root,
            found=naming.label,
            expected="an image for each mask",
            remedy="Add the scans, in a format that segcct reads; if these are scans, give them a name without words "
            "such as seg, label or mask",
        )
    if naming is None or not 0 < len(naming.channels) <= MOST_CHANNELS:
        raise _unknown(root, files, names, dicom)
    if not naming.label and dicom.series and images:
        naming = replace(naming, doubts=(*naming.doubts, _OF_SLICES.format(images[0])))
    naming = replace(
        naming,
        channels={name: _literal(pattern) for name, pattern in naming.channels.items()},
        label=naming.label and _literal(naming.label),
        mask=naming.mask and _literal(naming.mask),
    )
    return _in_bands(root, images, naming)


def _of_volumes(volumes: Sequence[str], root: Path, dicom: DicomNames) -> Iterator[Proposal | None]:
    """The ways of grouping volumes. Of equally good ones, the first is taken: folders of scans and masks before folders
    of cases, and those before names of files."""
    if not volumes:
        return
    yield in_parallel_trees(volumes, "paired")
    yield in_mirrored_folders(volumes, "paired")
    yield in_parallel_folders(volumes, "paired")
    if len({PurePosixPath(name).parent for name in volumes}) > 1:
        yield in_case_folders(volumes, folder_name(root))
        yield side_by_side(volumes, "paired")
        yield in_nested_folders(volumes, "paired")
    else:
        yield side_by_side(volumes, "paired") or _in_one_folder(volumes, root, dicom)


def _in_one_folder(volumes: Sequence[str], root: Path, dicom: DicomNames) -> Proposal | None:
    """Files of one folder whose names do not group them: those of one case, or scans that are each a case."""
    proposal = in_case_folders(volumes, folder_name(root))
    if proposal is None or proposal.naming.label:
        return proposal
    if dicom.x_rays:  # many patients' images, not the channels of one
        return None
    return each_a_case(volumes) if not dicom.series and _are_cases(proposal.naming) else proposal


def _of_images(images: Sequence[str], *, alone: bool) -> Iterator[Proposal | None]:
    """As `_of_volumes`, for 2-D images. Those in folders of volumes may be previews."""
    yield in_parallel_trees(images, "pictures")
    yield in_mirrored_folders(images, "pictures")
    yield in_parallel_folders(images, "pictures")
    yield in_nested_folders(images, "pictures")
    yield side_by_side(images, "pictures")
    if alone and (proposal := in_case_folders_of_images(images)):
        yield replace(proposal, evidence=min(proposal.evidence, Evidence.FILE_NAMES))  # each image may be a case


def in_bands(naming: Naming, file: Path) -> Naming:
    """The one channel of a dataset of 2-D images becomes the bands red, green and blue where one of them is in color.
    Raises `VolumeError` where it cannot be read."""
    (pattern,) = naming.channels.values()
    with open_image(file, file) as image:
        gray = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;")
    return naming if gray else replace(naming, channels=dict.fromkeys(BANDS, pattern))


def _are_cases(naming: Naming) -> bool:
    """Whether the files of one folder, without label or mask, are scans: no name calls them channels of one case."""
    return bool(naming.channels) and not naming.mask and not any(map(names_modality, naming.channels))


def _literal(pattern: str) -> str:
    """Braces of a file's own name become `?`: in patterns they are special."""
    return re.sub(r"\{(?!id\})|(?<!\{id)\}", "?", pattern)


def _of_interest(names: Sequence[str], dicom: DicomNames) -> list[str]:
    """Names without files of no interest, where a folder of DICOM slices counts as one file."""
    wanted = VOLUME_SUFFIXES + IMAGE_SUFFIXES + ARRAY_SUFFIXES
    files = [name for name in names if name.lower().endswith((*wanted, ".json", "info.cfg"))]
    return sorted({*files, *dicom.series, *dicom.x_rays})


def _in_bands(root: Path, images: Sequence[str], naming: Naming) -> Naming:
    """As `in_bands`, by the first of the images."""
    if naming.layout != "pictures" or len(naming.channels) > 1:
        return naming
    (pattern,) = naming.channels.values()
    return in_bands(naming, root / next(name for name in images if compiled(pattern, anywhere=True).match(name)))


def _unknown(root: Path, files: Sequence[str], names: Sequence[str], dicom: DicomNames) -> DataError:
    if dicom.loose:
        return DataError(
            "DICOM slices lie directly in the dataset folder",
            file=root,
            found=f"{len(dicom.loose)} such as {dicom.loose[0]}",
            expected="a folder per case with the slices in a folder inside it, and the mask next to it",
            remedy="Move the slices, as in CASE/ct/*.dcm and CASE/seg.nrrd",
        )
    kinds = Counter("folder of DICOM slices" if name in dicom.series else split_name(name)[1].lower() for name in names)
    del kinds[""]  # what describes a dataset
    if not kinds:
        every = [PurePosixPath(name).name for name in files]
        return DataError(
            "holds no image files",
            file=root,
            found=listed(every, 4) or "an empty folder",
            expected=", ".join((*VOLUME_SUFFIXES, *DICOM_SUFFIXES, *ARRAY_SUFFIXES, *IMAGE_SUFFIXES)),
            remedy="Unpack archives, convert images of other formats such as .ppm, and add endings that are missing",
        )
    of_images = not kinds.keys().isdisjoint(IMAGE_SUFFIXES)
    outlined = of_images and any(name.endswith(".json") for name in names)
    nested = any("/" in name for name in files)
    return DataError(
        "the names do not show which files are scans and which are masks",
        file=root,
        found=", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)),
        expected="scans and masks in folders of their own (images/, masks/), side by side (A.png, A_mask.png), "
        "a folder per case, or the files of BraTS, ACDC, BTCV or nnU-Net",
        remedy=_OUTLINES if outlined else _CLASSIFY if of_images and nested else _ARRANGE,
    )
