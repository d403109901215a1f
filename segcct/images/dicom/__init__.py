"""DICOM: one file, or the one series in a folder, as voxels with their place in the patient.

`elements` and `header` read what a file says; `kinds` tells images from other objects; `instance` and `planes` check
it; `series` finds the files, `stack` their order and grid, `values` what their voxels mean (`codestream` where they are
compressed). GDCM, by SimpleITK, only decodes compressed frames.

`catalog` tells what lies in a folder; `label_objects`, `segments` and `contours` read labels (DICOM-SEG, RTSTRUCT).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.images.dicom.header import os_errors_as_volume_errors
from segcct.images.dicom.planes import Plane, planes_of
from segcct.images.dicom.remarks import remark
from segcct.images.dicom.series import instances_in
from segcct.images.dicom.stack import affine_of, ordered
from segcct.images.dicom.values import check_values, read_voxels


def read_dicom(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Voxels (X, Y, Z), affine (4, 4) to RAS, and whether the voxel size is known, of one file or one series.

    Slices are ordered by their positions and the step between them is the positions' own, whatever file names,
    instance numbers or SliceThickness say; a tilted gantry gives a sheared affine. A size that the files do not give
    is a unit step in the affine. A projection, such as a chest X-ray, has no position: it is read as a 2-D image on
    the grid of 2-D images, with the pixel size in the affine where the file gives one, and no voxel size.

    Raises:
        VolumeError: no image, several series or volumes; a damaged file; a missing or malformed position, orientation
            or spacing; slices that are unequal, missing, doubled or unevenly spaced; colors.
    """
    with os_errors_as_volume_errors(path):
        planes, affine, has_spacing = _located(path)
        return read_voxels(planes), affine, has_spacing


def read_geometry(path: Path) -> tuple[tuple[int, int, int], np.ndarray, bool]:
    """Shape (X, Y, Z), affine and whether the voxel size is known, as of `read_dicom`, from the headers alone.

    Raises:
        VolumeError: as `read_dicom`, but for pixels that cannot be decoded.
    """
    with os_errors_as_volume_errors(path):
        planes, affine, has_spacing = _located(path)
    first = planes[0].instance
    return (first.columns, first.rows, len(planes)), affine, has_spacing


def read_planes(path: Path) -> list[Plane]:
    """The slices of `read_dicom` along Z, each with its file and frame. Raises `VolumeError` as `read_geometry`."""
    with os_errors_as_volume_errors(path):
        return _located(path)[0]


def _located(path: Path) -> tuple[list[Plane], np.ndarray, bool]:
    """Ordered slices, affine, and whether the voxel size is known; what the files do not say is remarked on."""
    planes = ordered([plane for instance in instances_in(path) for plane in planes_of(instance)], path)
    affine, has_spacing = affine_of(planes, path)
    check_values(planes)
    if planes[0].at_detector:
        remark(path, "pixel size by ImagerPixelSpacing, which is that at the detector, not in the patient")
    if not planes[0].placed:
        if planes[0].instance.inverted:
            remark(path, "low values are bright (MONOCHROME1) and stay as stored: do not mix with MONOCHROME2")
        remark(path, "a 2-D image without a position in the patient, so distances and volumes in mm stay empty")
    elif not has_spacing:
        remark(path, "the files do not give the voxel size, so distances and volumes in mm stay empty")
    return planes, affine, has_spacing
