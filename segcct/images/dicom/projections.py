"""Folders of X-rays: each DICOM file is a 2-D image by itself, without a position, and none is a slice of a volume."""

from __future__ import annotations

from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.dicom.header import Header, claims_dicom, files_in
from segcct.images.dicom.kinds import is_cross_section
from segcct.images.dicom.series import header_of, no_image
from segcct.images.dicom.tags import Tag


def projections_in(folder: Path) -> list[Path]:
    """The DICOM images directly in a folder, sorted, where they are projections such as X-rays; else none.

    Other objects, such as reports, are left out. A damaged file counts as an image among those that can be read, so
    that reading it says what is wrong. Headers are read until the first slice of a volume.
    """
    images: list[Path] = []
    readable = 0
    for file in filter(claims_dicom, files_in(folder)):
        try:
            header = header_of(file)
        except (VolumeError, OSError):
            images.append(file)
            continue
        if no_image(header) is not None:
            continue
        if not _is_projection(header):
            return []
        images.append(file)
        readable += 1
    return images if readable else []


def _is_projection(header: Header) -> bool:
    """Whether an image has no place in the patient by its nature."""
    elements = header.elements
    places = (Tag.ImagePositionPatient, Tag.ImageOrientationPatient)
    if any(elements.text(tag).strip() for tag in places) or elements.items(Tag.PerFrameFunctionalGroupsSequence):
        return False
    return not is_cross_section(elements.sop_class, elements.text(Tag.Modality))
