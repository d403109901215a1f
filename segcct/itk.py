"""NRRD, MHA, MHD and DICOM, by SimpleITK: voxels in stored order and the affine in RAS mm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from segcct.errors import VolumeError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITION, _ORIENTATION, _PIXEL_SPACING, _THICKNESS = "0020|0032", "0020|0037", "0028|0030", "0018|0050"
_UNEVEN = 0.01
"""Largest difference between slice gaps, as a share of their mean."""


@dataclass(frozen=True)
class _Slice:
    file: Path
    size: tuple[int, ...]
    position: np.ndarray
    """(3,) centre of the first pixel, LPS mm."""
    axes: np.ndarray
    """(3, 2) directions of the columns and rows, LPS, unit length."""
    spacing: np.ndarray
    """(2,) mm along those two directions."""
    thickness: float

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.axes[:, 0], self.axes[:, 1])


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file. Raises `VolumeError`."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _voxels(image, path), _affine(image)


def read_geometry(path: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file, from its header alone. Raises `VolumeError`."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    size = reader.GetSize()
    if any(extra > 1 for extra in size[3:]):
        raise _several_volumes(path, size)
    x, y, z = (*size, 1)[:3]
    return (x, y, z), _affine(reader)


def read_dicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of one DICOM file or of the one series in a folder.

    Slices are ordered by their positions and the step between them is the positions' own, whatever file names,
    instance numbers or SliceThickness say; a tilted gantry gives a sheared affine.

    Raises:
        VolumeError: no series or several, unequal slices, slices missing, doubled or unevenly spaced.
    """
    files = _series(path) if path.is_dir() else [path]
    slices = sorted((_read_slice(file) for file in files), key=lambda s: float(s.position @ s.normal))
    if len(slices) == 1 and len(slices[0].size) > 2 and slices[0].size[2] > 1:
        return read_image(slices[0].file)
    step = _step(slices, path)
    first = slices[0]
    lps = np.eye(4)
    lps[:3, :2] = first.axes * first.spacing
    lps[:3, 2] = step
    lps[:3, 3] = first.position
    try:
        image = sitk.ReadImage([str(s.file) for s in slices])
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _voxels(image, path), _LPS_TO_RAS @ lps


def _series(folder: Path) -> list[Path]:
    reader = sitk.ImageSeriesReader()
    with _quiet():
        groups = {uid: reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))}
    if len(groups) == 1:
        return [Path(file) for file in next(iter(groups.values()))]
    if not groups:
        names = sorted(entry.name for entry in folder.iterdir())
        raise VolumeError(
            "the folder holds no DICOM image",
            file=folder,
            found=", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "an empty folder",
            expected="the slices of one series",
        )
    raise VolumeError(
        f"the folder holds {len(groups)} DICOM series",
        file=folder,
        found="; ".join(f"{len(files)} files from {Path(files[0]).name}" for files in groups.values()),
        expected="one series",
        remedy="Move each series into a folder of its own",
    )


def _read_slice(file: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(file, error) from error

    def numbers(key: str, default: str) -> np.ndarray:
        text = reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""
        return np.array([float(part) for part in (text or default).split("\\")])

    size = reader.GetSize()
    if len(size) > 2 and size[2] > 1:
        return _Slice(file, size, np.zeros(3), np.eye(3)[:, :2], np.ones(2), 1.0)
    if not reader.HasMetaDataKey(_POSITION) or not reader.HasMetaDataKey(_ORIENTATION):
        raise VolumeError("DICOM image without ImagePositionPatient or ImageOrientationPatient", file=file)
    axes = numbers(_ORIENTATION, "").reshape(2, 3).T  # (3, 2): along a row, along a column
    row_step, column_step = numbers(_PIXEL_SPACING, "1\\1")  # between rows, between columns
    return _Slice(
        file,
        size,
        numbers(_POSITION, ""),
        axes / np.linalg.norm(axes, axis=0),
        np.array([column_step, row_step]),
        float(numbers(_THICKNESS, "1")[0]) or 1.0,
    )


def _step(slices: list[_Slice], path: Path) -> np.ndarray:
    """(3,) LPS mm from one slice to the next."""
    first = slices[0]
    if len(slices) == 1:
        return first.normal * first.thickness
    for other in slices[1:]:
        same = np.allclose(other.axes, first.axes, atol=1e-3) and np.allclose(other.spacing, first.spacing, rtol=1e-3)
        if other.size != first.size or not same:
            raise VolumeError(
                "slices of one series differ in size, pixel spacing or orientation",
                file=other.file,
                found=f"{other.size[:2]}, {other.spacing} mm",
                expected=f"{first.size[:2]}, {first.spacing} mm as {first.file.name}",
            )
    positions = np.array([s.position for s in slices])  # (D, 3)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    length = float(np.linalg.norm(step))
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    worst = int(np.argmax(np.abs(gaps - np.median(gaps))))
    if length == 0 or gaps.min() < 1e-3:
        at = int(np.argmin(gaps))
        raise VolumeError(
            "two slices at one position",
            file=path,
            found=f"{slices[at].file.name} and {slices[at + 1].file.name}",
            expected="one volume",
            remedy="Keep one time point or echo per folder",
        )
    if np.abs(np.diff(positions, axis=0) - step).max() > _UNEVEN * length:
        raise VolumeError(
            "slices are missing or unevenly spaced",
            file=path,
            found=f"{gaps[worst]:.4g} mm between {slices[worst].file.name} and {slices[worst + 1].file.name}",
            expected=f"{np.median(gaps):.4g} mm as between most",
        )
    return step


def _voxels(image: sitk.Image, path: Path) -> np.ndarray:
    """(X, Y, Z) voxels, stored order."""
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise VolumeError("voxels are colours or vectors", file=path, expected="one number per voxel")
    array = sitk.GetArrayFromImage(image)  # (..., Z, Y, X)
    extra = array.shape[:-3]
    if any(size > 1 for size in extra):
        raise _several_volumes(path, array.shape[::-1])
    return array.reshape((1, *array.shape)[-3:]).transpose(2, 1, 0)


def _affine(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    dims = image.GetDimension()
    used = min(dims, 3)
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dims, dims)[:used, :used]
    lps[:used, :used] = direction * np.array(image.GetSpacing())[:used]
    lps[:used, 3] = np.array(image.GetOrigin())[:used]
    return _LPS_TO_RAS @ lps


def _several_volumes(path: Path, shape: tuple[int, ...]) -> VolumeError:
    return VolumeError(
        "holds more than one volume",
        file=path,
        found=f"shape {shape}",
        expected="(X, Y, Z)",
        remedy="Save the volume that is meant as a file of its own",
    )


def _unreadable(path: Path, error: RuntimeError) -> VolumeError:
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
    return VolumeError("cannot be read as an image", file=path, found=reason, remedy="Copy or download it again")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ITK's warnings off while headers are probed: they go to stderr and name no file."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
