"""Cases whose files hold values only: HDF5 and NPZ arrays, PNG, TIFF. Their grid shows them as stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.errors import GeometryError, VolumeError
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.volume import Volume


def stack_channels(case: Case, data: DataSection, read: Callable[[str], np.ndarray]) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32 of the channels, which `read` gives by name as (X, Y, Z), and a grid without spacing.

    Raises:
        VolumeError: values that are not finite.
        GeometryError: the channels differ in size.
    """
    channels = {name: read(name) for name in data.channels}
    first = next(iter(channels))
    for name, values in channels.items():
        if values.shape != channels[first].shape:
            raise GeometryError(
                f"channel {name} has a different size than {first}",
                file=case.channels[name][0],
                found=values.shape,
                expected=channels[first].shape,
            )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is refused below
        image = np.stack(list(channels.values()), dtype=np.float32, casting="unsafe")  # (C, X, Y, Z)
    if not np.isfinite(image).all():
        channel, slice_ = np.argwhere(~np.isfinite(image).all(axis=(1, 2)))[0]
        files = case.channels[list(channels)[channel]]
        raise VolumeError("voxels are NaN or infinite", file=files[slice_ if len(files) > 1 else 0])
    return image, Volume(image[0], IMAGE_AFFINE, None, None, case.channels[first][0])


def check_mask_size(mask: np.ndarray, grid: Volume, file: Path) -> None:
    """Raises `GeometryError` where a mask (X, Y, Z) has another size than the image."""
    if mask.shape != grid.shape:
        found, expected = (" x ".join(map(str, shape)) for shape in (mask.shape, grid.shape))
        raise GeometryError(
            "mask and image differ in size", file=file, found=found, expected=f"{expected} as {grid.path}"
        )
