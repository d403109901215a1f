"""Small DICOM files for tests, written by pydicom: slices, enhanced multi-frame images, other objects."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian

from segcct.images.volume import Volume

AXIAL = (1, 0, 0, 0, 1, 0)


def image(
    pixels: np.ndarray,
    *,
    position: object = (0, 0, 0),
    number: int = 1,
    series: str = "1.2.3.5",
    sop_class: str = CTImageStorage,
    bits: int | None = None,
    **elements: object,
) -> FileDataset:
    """A dataset of integer pixels (rows, columns) or (frames, rows, columns).

    By default, an axial slice with pixels of 1.5 mm, 3 mm thick. `elements` are set by their DICOM keywords; those
    that are None are left out.
    """
    allocated = pixels.dtype.itemsize * 8
    values = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": f"{series}.{number}",
        "Modality": "CT",
        "StudyInstanceUID": "1.2.3.6",
        "SeriesInstanceUID": series,
        "SeriesNumber": 7,
        "InstanceNumber": number,
        "ImagePositionPatient": None if position is None else list(position),
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [1.5, 1.5],
        "SliceThickness": 3,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": allocated,
        "BitsStored": bits or allocated,
        "HighBit": (bits or allocated) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(),
    } | elements
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some values are malformed on purpose
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
    if pixels.size * allocated // 8 % 2:
        dataset.PixelData += b"\0"
    return dataset


def save(dataset: FileDataset, file: Path) -> Path:
    """Write to `file`, and create its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(file, enforce_file_format=True)
    return file


def series(folder: Path, count: int = 6, *, gap: float = 3.0, **elements: object) -> list[Path]:
    """Slices 0.dcm, 1.dcm, ... of (4, 5) pixels with the values 0, 1, ..., from bottom to top."""
    return [
        save(
            image(np.full((4, 5), k, np.int16), position=(0, 0, gap * k), number=k + 1, **elements), folder / f"{k}.dcm"
        )
        for k in range(count)
    ]


def enhanced(
    frames: np.ndarray,
    positions: Sequence[Sequence[float]],
    *,
    slopes: Sequence[float] | None = None,
    orientations: Sequence[Sequence[float]] | None = None,
    **elements: object,
) -> FileDataset:
    """An enhanced MR image (N, rows, columns) whose frames lie at `positions`, in the order given."""
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.5, 1.5], 9
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = [measures]
    if orientations is None:
        shared.PlaneOrientationSequence = [orientation]
    groups = []
    for index, position in enumerate(positions):
        group, place, turn, values = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = list(position)
        group.PlanePositionSequence = [place]
        if orientations is not None:
            turn.ImageOrientationPatient = list(orientations[index])
            group.PlaneOrientationSequence = [turn]
        content = Dataset()
        content.StackID, content.InStackPositionNumber = "1", index + 1
        content.DimensionIndexValues = [1, index + 1]
        group.FrameContentSequence = [content]
        if slopes is not None:
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slopes[index], 0, "US"
            group.PixelValueTransformationSequence = [values]
        groups.append(group)
    stack, place = Dataset(), Dataset()
    for dimension, pointer in ((stack, 0x00209056), (place, 0x00200032)):
        dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = pointer, 0x00209111
    in_groups = dict.fromkeys(("ImageOrientationPatient", "PixelSpacing", "SliceThickness"))
    usual = {"NumberOfFrames": len(frames), "Modality": "MR", "SharedFunctionalGroupsSequence": [shared]}
    usual |= {"DimensionIndexSequence": [stack, place], "PerFrameFunctionalGroupsSequence": groups}
    return image(frames, position=None, sop_class=EnhancedMRImageStorage, **(in_groups | usual | elements))


def values(volume: Volume) -> np.ndarray:
    """(slices, rows, columns), as pydicom gives frames."""
    return volume.array.transpose(2, 1, 0)


def dcm2niix(folder: Path, output: Path) -> nib.Nifti1Image:
    """The only volume that dcm2niix writes for a folder, in canonical orientation."""
    program = pytest.importorskip("dcm2niix")
    output.mkdir()
    subprocess.run(
        [program.bin, "-z", "n", "-b", "n", "-f", "a", "-o", output, folder], check=True, capture_output=True
    )
    (file,) = output.glob("*.nii")
    return nib.as_closest_canonical(nib.load(file))
