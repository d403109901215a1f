"""What lies in a folder of DICOM files, by the headers of a few of them: a series of images, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.dicom.elements import Tag, printable
from segcct.images.dicom.header import claims_dicom, os_errors_as_volume_errors, read_header, sop_class_of
from segcct.images.dicom.kinds import kind_of_no_image
from segcct.images.dicom.label_objects import SEGMENTATIONS, STRUCTURE_SETS, LabelObject, read_label_object
from segcct.images.size_limits import refuse_unreadable


@dataclass(frozen=True)
class ImageSeries:
    """The images that lie directly in a folder, by the header of the first of them."""

    folder: Path
    modality: str
    """CT, MR, PT ..."""
    description: str
    """SeriesDescription; empty where there is none."""
    study: str
    """StudyInstanceUID."""
    series: str
    """SeriesInstanceUID."""
    patient: str
    """PatientID, to tell patients apart; empty where there is none."""
    is_scan: bool = True
    """Slices at a place: neither a localizer nor a page, such as a dose report."""


def series_and_labels(
    folder: Path, names: Sequence[str], *, labels: bool
) -> tuple[ImageSeries | None, list[LabelObject], list[VolumeError]]:
    """The images in a folder, the segmentations and structure sets in it, and what is wrong with them.

    Whether the images are one series is seen when they are read. Other objects are left out. A broken link, a pipe or
    an unreadable file is one of the problems.

    Args:
        folder: the folder.
        names: its files, sorted.
        labels: look into segmentations and structure sets, for which pydicom is needed.
    """
    images: ImageSeries | None = None
    objects: list[LabelObject] = []
    problems: list[VolumeError] = []
    for file in (folder / name for name in names):
        try:
            with os_errors_as_volume_errors(file):
                if not claims_dicom(file):
                    continue
                refuse_unreadable(file)
                sop_class = sop_class_of(file)
                if sop_class in SEGMENTATIONS + STRUCTURE_SETS:
                    objects += [read_label_object(file)] if labels else []
                elif images is None and kind_of_no_image(sop_class) is None:
                    images = _series_of(file)
        except VolumeError as error:
            problems.append(error)
    return images, objects, problems


def _series_of(file: Path) -> ImageSeries:
    elements = read_header(file).elements
    tags = (Tag.Modality, Tag.SeriesDescription, Tag.StudyInstanceUID, Tag.SeriesInstanceUID, Tag.PatientID)
    modality, description, study, series, patient = (printable(elements.text(tag)) for tag in tags)
    placed = Tag.ImagePositionPatient in elements.values or Tag.PerFrameFunctionalGroupsSequence in elements.values
    is_scan = placed and "LOCALIZER" not in elements.text(Tag.ImageType).upper()
    return ImageSeries(file.parent, modality, description, study, series, patient, is_scan)
