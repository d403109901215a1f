"""Names of files and folders: the endings of the formats that segcct reads, and what a name is without its ending.

Only the format's own ending is cut: `1.2.840.1.nii.gz` is `1.2.840.1`. A link keeps its own name: its target's may be a
patient's.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
METAIMAGE_SUFFIXES = (".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima")
HDF5_SUFFIXES = (".h5", ".hdf5")
NPZ_SUFFIXES = (".npz",)
ARRAY_SUFFIXES = (".npy.h5", *HDF5_SUFFIXES, *NPZ_SUFFIXES)
IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".gif", ".jpg", ".jpeg", ".bmp")
EXACT_IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".gif", ".bmp")
"""Images that keep values exactly, as JPEG does not."""
JPEG_SUFFIXES = (".jpg", ".jpeg")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES + METAIMAGE_SUFFIXES
_OTHERS = (".webp", ".npy", ".tar.gz", ".tgz", ".tar", ".csv")
_LONGEST_FIRST = sorted(
    (*VOLUME_SUFFIXES, *DICOM_SUFFIXES, *ARRAY_SUFFIXES, *IMAGE_SUFFIXES, *_OTHERS), key=len, reverse=True
)


def split_name(name: str) -> tuple[str, str]:
    """`1.2.840.nii.gz` -> (`1.2.840`, `.nii.gz`); the ending is empty where it is no known format's."""
    lower = name.lower()
    for ending in _LONGEST_FIRST:
        if lower.endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], name[-len(ending) :]
    return name, ""


def stem_of(name: str) -> str:
    """The last part of a path without its format's ending."""
    return split_name(PurePath(name).name)[0]


def case_name(path: Path) -> str:
    """What a file or folder calls its case: the file's name without its ending, or the folder's whole name."""
    return folder_name(path) if path.is_dir() else stem_of(path.name)


def composed(name: str) -> str:
    """A name in composed Unicode, for comparisons: macOS often stores `ü` as `u` and a mark."""
    return unicodedata.normalize("NFC", name)


def spelled_as(names: Collection[str], known: Iterable[str]) -> dict[str, str]:
    """Name -> the one of `known` that is the same in another Unicode spelling.

    A name that is known itself stays as it is, and so do several that would be the same, or would have a choice.
    """
    names, known = list(dict.fromkeys(names)), set(known)
    strangers = _only_ones(name for name in names if name not in known)
    others = _only_ones(known.difference(names))
    found = {name: others[spelling] for spelling, name in strangers.items() if spelling in others}
    return {name: found.get(name, name) for name in names}


def _only_ones(names: Iterable[str]) -> dict[str, str]:
    """Composed spelling -> the name, where there is but one."""
    by_spelling: dict[str, list[str]] = {}
    for name in names:
        by_spelling.setdefault(composed(name), []).append(name)
    return {spelling: alike[0] for spelling, alike in by_spelling.items() if len(alike) == 1}


def spellings(name: str) -> list[str]:
    """A name as it is and in its other spellings in Unicode, if any: see `composed`."""
    return list(dict.fromkeys((name, composed(name), unicodedata.normalize("NFD", name))))


def as_stored(folder: Path, name: str) -> Path:
    """The path of a file that a table or header names, in the Unicode spelling that the file has."""
    paths = [folder / spelling for spelling in spellings(name)]
    return paths[0] if len(paths) == 1 else next(filter(os.path.lexists, paths), paths[0])


def folder_name(folder: Path) -> str:
    """A folder's own name, also where it is a link; `.` and `..`, which are not names, are resolved."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def absolute(path: Path) -> str:
    """The absolute path under the file's own name: links are not followed, but where `..` goes through them."""
    parts = path.parts
    upwards = max((place + 1 for place, part in enumerate(parts) if part == ".."), default=0)
    return str(Path(*parts[:upwards]).resolve().joinpath(*parts[upwards:]) if upwards else path.absolute())
