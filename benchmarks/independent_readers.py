"""Image files as other libraries read them: nibabel, SimpleITK, pydicom, h5py, numpy, OpenCV and Pillow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")
"""Transfer syntaxes: JPEG baseline and extended, near-lossless JPEG-LS, lossy JPEG 2000."""
_UNIT_MM = {"meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True)
class Read:
    """A file as a library reads it."""

    array: np.ndarray
    """(X, Y, Z) voxels, (Z, Y, X) or (Z, Y, X, 3) pixels of a 2-D image, or an array as stored."""
    affine: np.ndarray | None = None
    """4x4, voxel index -> RAS mm; NaN where the library does not say, None if it says nothing."""
    ordered: bool = True
    """Whether slices are ordered by position; otherwise they are in the order of the file."""
    tolerance: float = 0.0
    """By how much decoders of a lossy compression may differ."""


def nifti(path: Path) -> Read:
    """NIfTI, by nibabel."""
    import nibabel as nib

    image: Any = nib.load(path)
    array = np.asanyarray(image.dataobj)
    if array.dtype.names or array.dtype.kind == "c":
        raise ValueError("no numbers")
    unit = _UNIT_MM.get(image.header.get_xyzt_units()[0], 1.0)
    return Read(_in_three(array), np.diag([unit, unit, unit, 1.0]) @ image.affine)


def itk(path: Path) -> Read:
    """NRRD and MetaImage, by SimpleITK."""
    import SimpleITK as sitk  # noqa: N813

    return _of_itk(sitk.ReadImage(str(path)))


def dicom(path: Path) -> Read:
    """DICOM in stored order, by pydicom, or by SimpleITK if pydicom cannot decompress it."""
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    tolerance = 2.0 if syntax in _LOSSY else 0.0
    try:
        frames = dataset.pixel_array
    except (RuntimeError, NotImplementedError):
        array = itk(path).array
        return Read(array, _affine(dataset) if array.shape[2] == 1 else None, False, tolerance)
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise ValueError("colors")
    frames = frames if frames.ndim == 3 else frames[None]  # (Z, Y, X)
    values = np.stack([_rescaled(frame, dataset, number) for number, frame in enumerate(frames)])
    return Read(values.transpose(2, 1, 0), _affine(dataset) if len(frames) == 1 else None, False, tolerance)


def dicom_folder(path: Path) -> Read:
    """The only series of a folder, by SimpleITK."""
    import SimpleITK as sitk  # noqa: N813

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    if len(series) != 1:
        raise ValueError(f"{len(series)} series")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0]))
    return _of_itk(reader.Execute())


def hdf5(path: Path, name: str) -> Read:
    """An array of an HDF5 file, by h5py."""
    import h5py

    with h5py.File(path) as file:
        return Read(np.asarray(file[name]))


def npz(path: Path, name: str) -> Read:
    """An array of an NPZ file, by numpy."""
    with np.load(path, allow_pickle=False) as file:
        return Read(file[name])


def opencv(path: Path) -> Read:
    """A 2-D image without transparency, as (Z, Y, X) if it is gray, by OpenCV."""
    import cv2

    done, pages = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
    if not done or not pages:
        raise ValueError("OpenCV cannot read it")
    stack = np.stack(pages)
    colors = stack.ndim == 4 and stack.shape[-1] > 2
    return Read(_plain(stack[..., 2::-1] if colors else stack), tolerance=_of_jpeg(path))


def pillow(path: Path) -> Read:
    """As `opencv`, by Pillow."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        deep = image.mode.startswith(("I", "F")) or image.mode in ("L", "1")
        pages = [np.asarray(page if deep else page.convert("RGB")) for page in ImageSequence.Iterator(image)]
    return Read(_plain(np.stack(pages)), tolerance=_of_jpeg(path))


READERS: dict[str, tuple[Callable[..., Read], ...]] = {
    "nifti": (nifti,),
    "nrrd": (itk,),
    "metaimage": (itk,),
    "dicom": (dicom,),
    "dicom folder": (dicom_folder,),
    "hdf5": (hdf5,),
    "npz": (npz,),
    "image": (opencv, pillow),
}
"""Kind of file -> readers; segcct must agree with one of them."""


def _of_jpeg(path: Path) -> float:
    return 4.0 if path.suffix.lower() in (".jpg", ".jpeg") else 0.0


def _in_three(array: np.ndarray) -> np.ndarray:
    """The array in three axes: trailing axes of length 1 are removed or added."""
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array.reshape(array.shape + (1,) * (3 - array.ndim)) if array.ndim < 3 else array


def _of_itk(image: Any) -> Read:
    import SimpleITK as sitk  # noqa: N813

    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("colors or vectors")
    array = _in_three(sitk.GetArrayFromImage(image).T)
    dims = image.GetDimension()
    used = min(dims, 3)
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dims, dims)[:used, :used]
    lps[:used, :used] = direction * np.array(image.GetSpacing())[:used]
    lps[:used, 3] = np.array(image.GetOrigin())[:used]
    return Read(array, _LPS_TO_RAS @ lps)


def _rescaled(frame: np.ndarray, dataset: Any, number: int) -> np.ndarray:
    """(Y, X) values after the rescaling of the frame, or of the file."""
    from pydicom.pixels.processing import apply_modality_lut

    groups = []
    if "PerFrameFunctionalGroupsSequence" in dataset:
        groups.append(dataset.PerFrameFunctionalGroupsSequence[number])
    if "SharedFunctionalGroupsSequence" in dataset:
        groups.append(dataset.SharedFunctionalGroupsSequence[0])
    for group in groups:
        if "PixelValueTransformationSequence" in group:
            return np.asarray(apply_modality_lut(frame, group.PixelValueTransformationSequence[0]))
    return np.asarray(apply_modality_lut(frame, dataset))


def _affine(dataset: Any) -> np.ndarray | None:
    """Affine of one slice, whose third column is unknown."""
    try:
        rows, columns = (float(step) for step in dataset.PixelSpacing)
        direction = np.array([float(value) for value in dataset.ImageOrientationPatient])
        origin = [float(value) for value in dataset.ImagePositionPatient]
    except (AttributeError, TypeError, ValueError):
        return None
    lps = np.full((4, 4), np.nan)
    lps[:3, 0], lps[:3, 1], lps[:3, 3] = direction[:3] * columns, direction[3:] * rows, origin
    return np.diag(_LPS_TO_RAS)[:, None] * lps


def _plain(pages: np.ndarray) -> np.ndarray:
    """Pages as (Z, Y, X) if they are gray."""
    if pages.ndim == 4 and (pages == pages[..., :1]).all():
        return pages[..., 0]
    return pages
