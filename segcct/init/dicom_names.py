"""Which names below a dataset's root are DICOM: by their endings, or, where they have none, by the first bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segcct.errors import VolumeError
from segcct.files.file_names import ARRAY_SUFFIXES, DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES
from segcct.images.dicom.elements import Tag
from segcct.images.dicom.header import claims_dicom, read_header, sop_class_of
from segcct.images.dicom.kinds import kind_of_no_image
from segcct.images.dicom.series import projections_in

_IMAGES = VOLUME_SUFFIXES + DICOM_SUFFIXES + ARRAY_SUFFIXES + IMAGE_SUFFIXES
_LOOKED_AT = 3
"""Files without an ending whose first bytes are read, at most, in each folder: the first one may be of another kind."""


@dataclass(frozen=True)
class DicomNames:
    """The DICOM files of a dataset, by their relative paths."""

    x_rays: frozenset[str]
    """Files that are 2-D images, each by itself, and not slices of a series."""
    series: frozenset[str]
    """Folders with slices; those of localizers only where there are no others."""
    loose: tuple[str, ...]
    """Slices directly in the root."""


def dicom_in(root: Path, names: Sequence[str]) -> DicomNames:
    """The X-rays and series among the names."""
    named = [name for name in names if name.lower().endswith(DICOM_SUFFIXES)]
    folders = {root / PurePosixPath(name).parent for name in named}
    projections = [file for folder in sorted(folders) if folder.is_dir() for file in projections_in(folder)]
    x_rays = frozenset(named).intersection(file.relative_to(root).as_posix() for file in projections)
    slices = [name for name in named if name not in x_rays]
    slices += _without_ending(root, names)
    by_folder = _by_folder(map(PurePosixPath, slices))
    series = {folder for folder, files in by_folder.items() if not all(_is_no_image(root / name) for name in files)}
    scouts = {folder for folder in series if all(_is_localizer(root / name) for name in by_folder[folder])}
    series = series - scouts or series
    return DicomNames(x_rays, frozenset(series - {"."}), tuple(name for name in slices if "/" not in name))


def _without_ending(root: Path, names: Sequence[str]) -> Iterator[str]:
    """The slices whose names have no ending, as hospitals export them, in folders that hold no other images. X-rays
    without an ending are left out: patterns could not tell them from other files."""
    with_images = {str(PurePosixPath(name).parent) for name in names if name.lower().endswith(_IMAGES)}
    bare = (
        path
        for path in map(PurePosixPath, names)
        if (not path.suffix or path.suffix[1:].isdigit())  # IM0001, 1.2.840.1
        and path.name.upper() != "DICOMDIR"
        and str(path.parent) not in with_images
    )
    for folder, files in _by_folder(bare).items():
        if any(_is_dicom(root / name) for name in files[:_LOOKED_AT]) and not projections_in(root / folder):
            yield from files


def _by_folder(paths: Iterable[PurePosixPath]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(str(path.parent), []).append(str(path))
    return folders


def _is_no_image(file: Path) -> bool:
    """Whether a file is another DICOM object, such as a report. A damaged one may be an image: reading it says what is
    wrong."""
    try:
        return file.is_file() and kind_of_no_image(sop_class_of(file)) is not None
    except (OSError, VolumeError):
        return False


def _is_localizer(file: Path) -> bool:
    """Whether an image was made to plan others: a scout, which is no channel."""
    try:
        return "LOCALIZER" in read_header(file).elements.text(Tag.ImageType).upper()
    except (OSError, VolumeError):
        return False


def _is_dicom(file: Path) -> bool:
    try:
        return claims_dicom(file)
    except OSError:  # a file that cannot be opened says nothing
        return False
