"""DICOM: one file, or the one series in a folder, as voxels with their place in the patient.

`tags`, `elements` and `header` read what a file says; `kinds` tells images from other objects; `instance` and `planes`
check it; `series` finds the files, `stack` their order and grid, `values` what their voxels mean (`fragments` and
`codestream` where they are compressed). GDCM, by SimpleITK, only decodes compressed frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.dicom.planes import planes_of
from segcct.dicom.series import instances_in, say_once
from segcct.dicom.stack import affine_of, ordered
from segcct.dicom.values import read_voxels
from segcct.errors import VolumeError


def read_dicom(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Voxels (X, Y, Z), affine (4, 4) to RAS, and whether the voxel size is known, of one file or one series.

    Slices are ordered by their positions and the step between them is the positions' own, whatever file names,
    instance numbers or SliceThickness say; a tilted gantry gives a sheared affine. A size that the files do not give
    is a unit step in the affine.

    Raises:
        VolumeError: no image, several series or volumes; a damaged file; a missing or malformed position, orientation
            or spacing; slices that are unequal, missing, doubled or unevenly spaced; colors.
    """
    try:
        planes = [plane for instance in instances_in(path) for plane in planes_of(instance)]
        planes = ordered(planes, path)
        affine, known = affine_of(planes, path)
        voxels = read_voxels(planes)
    except OSError as error:
        reason = error.strerror or "an input error"
        raise VolumeError("cannot be read", file=error.filename or path, found=reason) from error
    if planes[0].at_detector:
        say_once(f"{path}: pixel size by ImagerPixelSpacing, which is that at the detector, not in the patient")
    if not known:
        say_once(f"{path}: the files do not give the voxel size, so distances and volumes in mm stay empty")
    return voxels, affine, known
