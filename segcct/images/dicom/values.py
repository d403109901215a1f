"""Voxels of ordered slices: each slice by its own stored type, slope and intercept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segcct.images.dicom.elements import Tag
from segcct.images.dicom.header import damaged, open_body
from segcct.images.dicom.instance import Instance
from segcct.images.dicom.planes import Plane
from segcct.images.size_limits import refuse_claim

_EXACT = 1 << 53
"""Whole numbers up to here are exact in the arithmetic of slopes."""

_RATIO = 1000
"""Bytes of pixels that a compressed byte can become."""
_LEAST_BYTES = (1 << 28) // _RATIO
"""Below this size the limit does not apply: an image of a single value takes even fewer bytes."""
_DECODED_TOGETHER = 1 << 23
"""Bytes of frames that are decoded in one go."""


def read_voxels(planes: Sequence[Plane]) -> np.ndarray:
    """(X, Y, Z) values of ordered slices, checked: integers where every slope and intercept is whole, else float32.

    Raises:
        VolumeError: pixels that cannot be read, naming their file.
    """
    instances = {plane.instance.file: plane.instance for plane in planes}
    first = planes[0].instance
    values = np.empty((len(planes), first.rows, first.columns), _dtype(planes))
    where = {(plane.instance.file, plane.frame): index for index, plane in enumerate(planes)}
    for instance in instances.values():
        for frame, stored in enumerate(_stored_frames(instance)):
            index = where[instance.file, frame]
            _rescale(stored, planes[index], values[index])
    return values.transpose(2, 1, 0)


def check_values(planes: Sequence[Plane]) -> None:
    """Check what the headers say about values.

    Raises:
        VolumeError: a slice lacks the slope or intercept that others have, and 1 or 0 would be a guess; or compressed
            pixels are too many for the size of their file.
    """
    for instance in {plane.instance.file: plane.instance for plane in planes}.values():
        if instance.compressed:
            size = max(instance.file.stat().st_size - instance.start, _LEAST_BYTES)
            shape = (instance.columns, instance.rows, instance.frames)
            refuse_claim(instance.file, shape, instance.dtype.itemsize, size, ratio=_RATIO, kind="DICOM")
    slopes, intercepts = [plane.slope for plane in planes], [plane.intercept for plane in planes]
    for tag, values, neutral in ((Tag.RescaleSlope, slopes, 1.0), (Tag.RescaleIntercept, intercepts, 0.0)):
        other = next((value for value in values if value not in (None, neutral)), None)
        if other is not None and None in values:
            elements = planes[values.index(None)].instance.elements
            raise elements.malformed(tag, "", f"a number, as {other:g} in other slices")


def _dtype(planes: Sequence[Plane]) -> np.dtype:
    """The smallest type that holds whatever the headers allow: the stored one, or int16, uint16, int32, int64."""
    kinds = {(plane.instance.dtype.newbyteorder("="), plane.instance.bits_stored, *_factors(plane)) for plane in planes}
    if any(dtype.kind == "f" or slope != int(slope) or shift != int(shift) for dtype, _, slope, shift in kinds):
        return np.dtype(np.float32)
    if len(kinds) == 1 and next(iter(kinds))[2:] == (1.0, 0.0):
        return next(iter(kinds))[0]
    ends = []
    for dtype, bits, slope, shift in kinds:
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
        ends += [low * int(slope) + int(shift), high * int(slope) + int(shift), int(slope)]  # all that is computed with
    for candidate in (np.int16, np.uint16, np.int32, np.int64):
        if np.iinfo(candidate).min <= min(ends) and max(ends) <= min(np.iinfo(candidate).max, _EXACT):
            return np.dtype(candidate)
    return np.dtype(np.float32)


def _factors(plane: Plane) -> tuple[float, float]:
    """Slope and intercept."""
    return plane.slope or 1.0, plane.intercept or 0.0


def _rescale(stored: np.ndarray, plane: Plane, out: np.ndarray) -> None:
    """Write slope * stored + intercept to `out` (rows, columns)."""
    slope, intercept = _factors(plane)
    if out.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused as such
            out[...] = stored * np.float64(slope) + intercept
        return
    out[...] = stored  # what wraps around here comes back by the sum, since the type holds the result
    if slope != 1:
        out *= int(slope)
    if intercept != 0:
        out += int(intercept)


def _stored_frames(instance: Instance) -> Iterator[np.ndarray]:
    """(rows, columns) stored numbers of each frame, in stored order."""
    if instance.compressed:
        # SimpleITK takes 0.2 s to import, and most series are native.
        from segcct.images.dicom.codestream import compressed_frames, decode

        streams = compressed_frames(instance)
        together = max(1, min(256, _DECODED_TOGETHER // instance.frame_bytes))
        for first in range(0, len(streams), together):
            yield from _used_bits(decode(streams[first : first + together], instance), instance)
        return
    with open_body(instance.file, instance.transfer_syntax) as stream:
        stream.seek(instance.start)
        for _ in range(instance.frames):
            data = stream.read(instance.frame_bytes)
            if len(data) < instance.frame_bytes:
                raise damaged(instance.file, "fewer pixels than a moment ago")
            yield _used_bits(np.frombuffer(data, instance.dtype).reshape(instance.rows, instance.columns), instance)


def _used_bits(stored: np.ndarray, instance: Instance) -> np.ndarray:
    """Numbers (..., rows, columns) made of the bits from HighBit down alone; others may hold overlays."""
    if instance.floating or instance.bits_stored == instance.bits_allocated:
        return stored
    stored = stored.astype(instance.dtype.newbyteorder("="), copy=False)
    above = instance.bits_allocated - 1 - instance.high_bit
    return (stored << above) >> (instance.bits_allocated - instance.bits_stored)
