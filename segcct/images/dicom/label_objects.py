"""Labels that are DICOM objects of their own: segmentations (`segments`) and structure sets (`contours`).

They refer to images and are drawn on the grid of these. Structures are identified by name: the label of a segment, the
name of a region of interest. pydicom reads them (extra `dicom`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import VolumeError
from segcct.extras import import_extra
from segcct.images.affines import LPS_TO_RAS
from segcct.images.dicom.elements import printable
from segcct.images.dicom.header import DEFLATED, read_header
from segcct.images.size_limits import damage_refused

_STORAGE = "1.2.840.10008.5.1.4.1.1."
SEGMENTATIONS = (f"{_STORAGE}66.4", f"{_STORAGE}66.7")
"""SOP classes of segmentations of segments and of label maps."""
STRUCTURE_SETS = (f"{_STORAGE}481.3",)
_LAST_OF_SUMMARY = 0x30060020
"""Structure Set ROI Sequence: the last element before pixels and contours, which may be large."""


@dataclass(frozen=True)
class LabelObject:
    """What a segmentation or structure set says of itself, without its pixels or contours."""

    file: Path
    sop_class: str
    description: str
    """SeriesDescription; empty where there is none."""
    study: str
    """StudyInstanceUID."""
    series: frozenset[str]
    """SeriesInstanceUIDs of the images that it refers to; none where it does not say."""
    names: tuple[str, ...]
    """Labels of its segments or names of its regions of interest, in stored order; names may be repeated."""

    @property
    def kind(self) -> str:
        """SEG or RTSTRUCT, as DICOM's modality."""
        return "SEG" if self.sop_class in SEGMENTATIONS else "RTSTRUCT"


def read_label_object(file: Path) -> LabelObject:
    """The summary of a segmentation or structure set.

    Raises:
        VolumeError: it is neither, or damaged. PackageError: pydicom is not installed.
    """
    with _opened(file) as (sop_class, stream):
        reader = import_extra("pydicom.filereader", "dicom")
        dataset = reader.read_partial(stream, stop_when=lambda tag, *_: tag > _LAST_OF_SUMMARY)
        if sop_class in SEGMENTATIONS:
            names = [segment.get("SegmentLabel") for segment in dataset.SegmentSequence]
            series = [each.get("SeriesInstanceUID") for each in dataset.get("ReferencedSeriesSequence") or ()]
        else:
            names = [region.get("ROIName") for region in dataset.StructureSetROISequence]
            series = list(_series_of_structure_set(dataset))
        return LabelObject(
            file,
            sop_class,
            str(dataset.get("SeriesDescription") or ""),
            str(dataset.get("StudyInstanceUID") or ""),
            frozenset(str(uid) for uid in series if uid),
            tuple(map(structure_name, names)),
        )


def structure_name(stored: Any) -> str:
    """The label of a segment or the name of a region as it is known here: in one printable line, not too long."""
    return printable(str(stored or "").strip())


def read_whole(file: Path) -> Any:
    """The pydicom dataset of a segmentation or structure set. Raises as `read_label_object`."""
    with _opened(file) as (_, stream):
        return import_extra("pydicom", "dicom").dcmread(stream)


def index_of(grid_affine: np.ndarray) -> np.ndarray:
    """(4, 4) LPS position in mm -> voxel index of a grid with that affine to RAS."""
    inverse: np.ndarray = np.linalg.inv(grid_affine) @ LPS_TO_RAS
    return inverse


@contextmanager
def label_damage_refused(file: Path) -> Iterator[None]:
    """As `damage_refused`, without pydicom's warnings about values that do not keep to the standard."""
    with damage_refused(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(file: Path) -> Iterator[tuple[str, Any]]:
    """SOP class and stream of a file that is a label object; what goes wrong with it becomes a `VolumeError`."""
    import_extra("pydicom", "dicom")
    with label_damage_refused(file):
        header = read_header(file)
        sop_class = header.elements.sop_class
        if sop_class not in SEGMENTATIONS + STRUCTURE_SETS:
            raise VolumeError(
                "is not a DICOM label", file=file, found=printable(sop_class), expected="a DICOM-SEG or RTSTRUCT"
            )
        if header.transfer_syntax == DEFLATED:  # whose size is not known before it is inflated
            raise VolumeError("a deflated DICOM label is not read", file=file, remedy="Convert it, as with dcmconv +te")
        with file.open("rb") as stream:
            yield sop_class, stream


def _series_of_structure_set(dataset: Any) -> Iterator[str]:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield series.get("SeriesInstanceUID")
