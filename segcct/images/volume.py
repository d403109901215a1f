"""Images on disk: array, affine, spacing and header in one value.

Axes are the file's own voxel order (X, Y, Z); the affine maps voxel indices to RAS millimeters, whatever convention
the file was written in. `formats.py` reads the formats; NIfTI is written here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from segcct.errors import GeometryError, VolumeError
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import NIFTI_SUFFIXES
from segcct.images.formats import read_grid, read_image
from segcct.images.nifti import affine_mm, unit_mm
from segcct.runtime import NO_SPACING, header_on_grid, voxel_volume_ml

PHANTOM_MARK = "synthetic, segcct phantom"
"""What the description in the header of a phantom says."""


@dataclass(frozen=True)
class Volume:
    """A 3-D image and where it lies in the patient.

        >>> import numpy as np, segcct
        >>> scan = segcct.Volume(np.zeros((64, 64, 10), np.float32), np.diag([0.8, 0.8, 3, 1]), (0.8, 0.8, 3))
        >>> scan.with_array(scan.array > 0.5).shape
        (64, 64, 10)

    Raises `VolumeError` where array, affine or spacing are not numbers, or have another shape than described below.
    """

    array: np.ndarray
    """(X, Y, Z) voxels in the file's own order: its integers, or float32 where the file holds floats or scales."""
    affine: np.ndarray
    """4x4 float64, voxel index -> RAS position in mm."""
    spacing_mm: tuple[float, float, float] | None
    """Length of one step along each voxel axis; None where the format, or a DICOM file, holds none."""
    header: nib.Nifti1Header | None = None
    """The NIfTI header it was read with; None for other sources."""
    path: Path | None = None
    """The file or DICOM folder it was read from."""

    def __post_init__(self) -> None:
        if not isinstance(self.array, np.ndarray) or self.array.ndim != 3:
            raise self._refusal("array", self.array, "a NumPy array of 3 axes; of a 2-D image, array[:, :, None]")
        if self.array.dtype.kind not in "biuf" or not self.array.size:
            raise self._refusal("array", self.array, "at least one voxel, and integers, floats or booleans")
        object.__setattr__(self, "affine", self._numbers("affine", (4, 4), "a 4x4 matrix of finite numbers"))
        if self.spacing_mm is not None:
            spacing = self._numbers("spacing_mm", (3,), "3 lengths, or None")
            object.__setattr__(self, "spacing_mm", tuple(spacing.tolist()))

    def _numbers(self, part: str, shape: tuple[int, ...], expected: str) -> np.ndarray:
        value = getattr(self, part)
        with suppress(TypeError, ValueError):  # words, or rows of several lengths
            numbers = np.asarray(value, dtype=np.float64)
            if numbers.shape == shape and np.isfinite(numbers).all():
                return numbers
        raise self._refusal(part, value, expected)

    def _refusal(self, part: str, value: Any, expected: str) -> VolumeError:
        found = f"{value.dtype} array" if isinstance(value, np.ndarray) else f"{type(value).__name__}"
        with suppress(ValueError):  # rows of several lengths
            found += f" of shape {np.shape(value)}"
        return VolumeError(f"{part} does not fit a volume", file=self.path, found=found, expected=expected)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = self.array.shape
        return (x, y, z)

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel, also of a sheared one; None without a spacing."""
        return voxel_volume_ml(self.affine, self.spacing_mm)

    @classmethod
    def load(cls, path: str | Path) -> Volume:
        """Read NIfTI, NRRD, MHA, MHD, one DICOM file, or a folder that holds one DICOM series.

        Raises:
            VolumeError: the file is missing, empty, damaged, not an image, holds several volumes or voxels that are
                not finite; the folder holds no DICOM series or several.
        """
        path = Path(path)
        return cls(*read_image(path), path)

    def save(self, path: str | Path, *, slope: float | None = None) -> None:
        """Write `.nii` or `.nii.gz`, atomically; with `slope`, voxels are integers that readers multiply by it.

        The header of a volume that was read from NIfTI is kept: affine, sform and qform with their codes, units,
        description, 2-D shape. Its intensity scale, display range, intent and extensions describe the source's voxels
        and are dropped. Other volumes get a new header in mm. Booleans are written as uint8, other integers as the
        smallest type that holds them, floats as float32.

        Raises:
            VolumeError: the name does not end in .nii or .nii.gz, or the voxels cannot be stored.
        """
        path = Path(path)
        if not path.name.lower().endswith(NIFTI_SUFFIXES):
            raise VolumeError("volumes are written as NIfTI", file=path, expected="a name that ends in .nii or .nii.gz")
        array = _storable(self.array, path)
        header = self._header_for(array)
        image_class: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        image = image_class(array.reshape(header.get_data_shape()), None, header)
        if slope is not None:
            image.header.set_slope_inter(slope, 0.0)
        with atomic_path(path) as temporary:
            nib.save(image, temporary)

    def with_array(self, array: np.ndarray) -> Volume:
        """The volume with other voxels on the same grid. Raises `GeometryError` when the shapes differ."""
        if array.shape != self.shape:
            raise GeometryError("array does not fit the grid", file=self.path, found=array.shape, expected=self.shape)
        return replace(self, array=array)

    def _header_for(self, array: np.ndarray) -> nib.Nifti1Header:
        if self.header is None:
            return _new_header(array, self.affine, has_spacing=self.spacing_mm is not None)
        header = cast(nib.Nifti1Header, header_on_grid(self.header, array))
        stored = affine_mm(self.header)
        if not np.allclose(stored, self.affine, rtol=0, atol=1e-6 * max(1.0, float(np.abs(stored).max()))):
            unit = np.diag([1 / unit_mm(header)] * 3 + [1.0])
            header.set_sform(unit @ self.affine, code=int(header["sform_code"]) or 1)
            header.set_qform(unit @ self.affine, code=int(header["qform_code"]), strip_shears=True)
        return header


def read_header(path: Path, dataset: str = "image") -> Volume:
    """The volume a file holds, with its grid but without its voxels: the array is zeros that take no memory.

    `spacing_mm` is None for formats without geometry and for NIfTI files whose header says that it is unknown. The
    shape of a stored array is (rows, columns, 1) or (rows, columns, depth), which is enough to compare two of them;
    that of an image file is (columns, rows, pages), like a DICOM image.

    Args:
        path: NIfTI, NRRD, MHA, MHD, HDF5, NPZ, PNG, TIFF, a DICOM file or a folder of DICOM slices.
        dataset: which array of an HDF5 or NPZ file.

    Raises:
        VolumeError: the file is missing, empty, or its header cannot be read.
    """
    return Volume(*read_grid(path, dataset), path)


def holds_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM, by its suffix or its first bytes, or a folder directly holds such a file."""
    from segcct.images.dicom.header import claims_dicom

    path = Path(path)
    files = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
    return any(map(claims_dicom, files))


def says_synthetic(volume: Volume) -> bool:
    """Whether the header's description marks the image, or the mask that was written with it, as a phantom of segcct.
    Scanners write "SyntheticMR" there too, of patients."""
    return volume.header is not None and PHANTOM_MARK.encode() in bytes(volume.header["descrip"].item())


def check_same_grid(a: Volume, b: Volume, *, tolerance_mm: float = 1e-3) -> None:
    """Check that two volumes share one voxel grid: equal shapes, and corner voxels at most `tolerance_mm` apart.

    Where one of them holds no spacing, only the shapes are compared.

    Raises:
        GeometryError: they do not; both files are named.
    """
    expected = f"as {a.path or 'the first volume'}"
    if a.shape != b.shape:
        raise GeometryError("shapes differ", file=b.path, found=b.shape, expected=f"{a.shape} {expected}")
    if a.spacing_mm is None or b.spacing_mm is None:
        return
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(a.shape) - 1)
    offsets = nib.affines.apply_affine(a.affine, corners) - nib.affines.apply_affine(b.affine, corners)
    worst_mm = float(np.linalg.norm(offsets, axis=1).max())
    if worst_mm > tolerance_mm:
        raise GeometryError(
            f"voxel grids lie up to {worst_mm:.4g} mm apart (tolerance {tolerance_mm:g} mm)",
            file=b.path,
            found=_describe(b),
            expected=f"{_describe(a)} {expected}",
            remedy="Resample one onto the other, or copy the right header when only the header is wrong",
        )


def check_spacing(volume: Volume) -> None:
    """Check that the voxel size is that of the affine; a file's always is, that of an array may be in another order.

    Raises:
        GeometryError: they differ by more than a hundredth.
    """
    sizes = nib.affines.voxel_sizes(volume.affine)
    if volume.spacing_mm is None or np.allclose(sizes, volume.spacing_mm, rtol=0.01, atol=0):
        return
    raise GeometryError(
        "spacing_mm is not the voxel size of the affine",
        file=volume.path,
        found=volume.spacing_mm,
        expected=tuple(round(float(size), 4) for size in sizes),
        remedy="Give both in the order of the array's axes",
    )


def _describe(volume: Volume) -> str:
    spacing = "?" if volume.spacing_mm is None else " x ".join(f"{step:.4g}" for step in volume.spacing_mm)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"{''.join(nib.aff2axcodes(volume.affine))} {spacing} mm at ({origin})"


def _new_header(array: np.ndarray, affine: np.ndarray, *, has_spacing: bool) -> nib.Nifti1Header:
    """A new header in mm, or one that says that the voxel size is unknown."""
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_qform(affine, code=0, strip_shears=True)
    rotation = affine[:3, :3] / nib.affines.voxel_sizes(affine)
    if has_spacing:
        header.set_xyzt_units("mm")
        header["qform_code"] = int(np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4))
    else:
        header["descrip"] = NO_SPACING.encode()
    header.set_sform(affine, code=1 if has_spacing else 2)
    return header


def _storable(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    storable = (np.uint8, np.uint16, np.int16, np.int32)
    if array.dtype in storable:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in storable:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise VolumeError("voxel values are too large", file=path, found=f"{low}..{high}", expected="32-bit integers")
