"""DICOM series with segmentations and structure sets for tests, by highdicom and pydicom."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RTStructureSetStorage

from tests.support.dicom_files import AXIAL, image, save

Points = dict[str, np.ndarray]
"""Name of a segment -> (N, 3) LPS mm of its pixels, sorted."""
PIXEL_MM = (1.25, 0.75)
"""Spacing of rows, of columns."""
ORIGIN = np.array([-31.5, 12.25, 7.0])


def ct_series(
    folder: Path, pixels: np.ndarray, *, uid: str = "1.2.3.5", turn: Sequence[float] = AXIAL, **elements: object
) -> Path:
    """A series of (slices, rows, columns), 3 mm apart along the normal."""
    normal = np.cross(turn[:3], turn[3:])
    usual = {"FrameOfReferenceUID": "1.2.3.9", "PixelSpacing": list(PIXEL_MM), "ImageOrientationPatient": list(turn)}
    for k, plane in enumerate(pixels):
        dataset = image(plane, position=ORIGIN + 3 * k * normal, number=k + 1, series=uid, **(usual | elements))
        save(dataset, folder / f"1-{k + 1:03}.dcm")
    return folder


def headers(scan: Path) -> list[Dataset]:
    """The slices of a series in the order of their names, with the elements that highdicom requires."""
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(scan.iterdir())]
    for source in sources:
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(source, keyword, None)
        source.StudyDate, source.StudyTime = None, None
    return sources


def segmentation(
    file: Path,
    scan: Path,
    pixels: np.ndarray,
    names: Sequence[str],
    *,
    kind: str = "BINARY",
    description: str = "Segmentation",
    **more: object,
) -> Path:
    """A DICOM-SEG of (slices, rows, columns) segment numbers, or of probabilities in a last axis, by highdicom."""
    segments = [
        hd.seg.SegmentDescription(
            number, name, codes.SCT.AnatomicalStructure, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, name in enumerate(names, start=1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = hd.seg.Segmentation(
            headers(scan), pixels, kind, segments, hd.UID(), 9, hd.UID(), 1, "test", "test", "1", "1",
            series_description=description, **more,
        )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file)
    return file


def structure_set(
    file: Path,
    scan: Path,
    regions: Mapping[str, Sequence[np.ndarray]],
    *,
    geometric_type: str = "CLOSED_PLANAR",
    description: str = "Contours",
) -> Path:
    """An RTSTRUCT of polygons (N, 3): column, row and slice, in voxels of the series."""
    sources = headers(scan)
    sources.sort(key=lambda each: int(each.InstanceNumber))
    first, last = sources[0], sources[-1]
    turn = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    origin, end = (np.array(each.ImagePositionPatient, float) for each in (first, last))
    steps = np.stack([turn[0] * PIXEL_MM[1], turn[1] * PIXEL_MM[0], (end - origin) / max(1, len(sources) - 1)])
    dataset = image(np.zeros((1, 1), np.uint8), position=None, sop_class=RTStructureSetStorage, series="1.2.3.8")
    for keyword in ("PixelData", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    dataset.Modality, dataset.SeriesDescription = "RTSTRUCT", description
    dataset.StudyInstanceUID = first.StudyInstanceUID
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, polygons) in enumerate(regions.items(), start=1):
        region, contours = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        contours.ReferencedROINumber, contours.ContourSequence = number, []
        for polygon in polygons:
            contour = Dataset()
            contour.ContourGeometricType = geometric_type
            contour.NumberOfContourPoints = len(polygon)
            contour.ContourData = [f"{value:.5f}" for value in (polygon @ steps + origin).ravel()]
            contours.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(region)
        dataset.ROIContourSequence.append(contours)
    return save(dataset, file)


def rectangle(low: Sequence[float], high: Sequence[float], z: float) -> np.ndarray:
    """(4, 3) corners of a rectangle on slice z, given as (column, row)."""
    (a, b), (c, d) = low, high
    return np.array([[a, b, z], [c, b, z], [c, d, z], [a, d, z]], float)


def by_coordinates(file: Path, sources: dict[str, pydicom.Dataset] | None = None) -> Points:
    """Read a DICOM-SEG without segcct: the position of every pixel, from the attributes of its frame."""
    dataset = pydicom.dcmread(file)
    labels = {each.SegmentNumber: each.SegmentLabel for each in dataset.SegmentSequence}
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = shared.PixelMeasuresSequence[0].PixelSpacing
    found = defaultdict(list)
    for frame, group in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        name = labels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            found[name].append(position + column * across * turn[:3] + row * down * turn[3:])
        if sources:
            (reference,) = group.DerivationImageSequence[0].SourceImageSequence
            source = sources[reference.ReferencedSOPInstanceUID]
            assert np.allclose(source.ImagePositionPatient, position)
            assert np.allclose(source.ImageOrientationPatient, turn)
    return {name: in_order(np.array(points)) for name, points in found.items()}


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 2).T)]
