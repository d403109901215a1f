"""Where each frame of an image lies and what its stored numbers mean, from the header or its functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.dicom.elements import Elements, Tag
from segcct.images.dicom.instance import Instance
from segcct.images.dicom.kinds import is_cross_section


@dataclass(frozen=True)
class Plane:
    """One slice."""

    instance: Instance
    frame: int
    """From 0."""
    position: np.ndarray
    """(3,) center of the first pixel, LPS mm."""
    axes: np.ndarray
    """(3, 2) directions along a row and along a column, LPS, unit length."""
    placed: bool
    """Whether the file gives position and axes; otherwise they are those of a 2-D image, which needs none."""
    spacing: tuple[float, float] | None
    """mm along those two directions; None where the file does not say."""
    at_detector: bool
    """Whether the spacing is that at the detector, not in the patient."""
    thickness: float | None
    """mm; None where the file does not say."""
    slope: float | None
    intercept: float | None

    @property
    def name(self) -> str:
        """The file, and the frame of several."""
        name = self.instance.file.name
        return name if self.instance.frames == 1 else f"frame {self.frame + 1} of {name}"

    @property
    def normal(self) -> np.ndarray:
        """(3,) across the slice."""
        return np.cross(self.axes[:, 0], self.axes[:, 1])


def planes_of(instance: Instance) -> list[Plane]:
    """Every frame of an image, in stored order.

    Raises:
        VolumeError: a position, orientation, spacing or rescale that is missing or malformed, naming file and tag.
    """
    elements = instance.elements
    if "MOSAIC" in elements.text(Tag.ImageType).upper().split("\\"):
        raise VolumeError(
            "a mosaic of slices in one image",
            file=instance.file,
            expected="one slice per frame",
            remedy="Convert it to NIfTI first, as with dcm2niix",
        )
    if elements.items(Tag.ModalityLUTSequence):
        raise VolumeError(
            f"stored numbers are given their meaning by a table, {Tag.ModalityLUTSequence}",
            file=instance.file,
            expected=f"{Tag.RescaleSlope} and {Tag.RescaleIntercept}",
        )
    per_frame = elements.items(Tag.PerFrameFunctionalGroupsSequence)
    frames = instance.frames
    if frames > 1 and not per_frame:
        raise without_positions(instance.file, f"no {Tag.PerFrameFunctionalGroupsSequence} for {frames} frames")
    if frames > 1 and len(per_frame) != frames:
        raise VolumeError(
            f"{Tag.PerFrameFunctionalGroupsSequence} does not describe every frame",
            file=instance.file,
            found=f"{len(per_frame)} items for {frames} frames",
            expected="the position of each frame",
        )
    shared = elements.items(Tag.SharedFunctionalGroupsSequence)[:1]
    return [_plane(instance, frame, [*per_frame[frame : frame + 1], *shared]) for frame in range(frames)]


def without_positions(path: Path, found: str) -> VolumeError:
    """The error of several frames that cannot be put in order."""
    return VolumeError(
        "the frames have no positions, so they do not form a volume",
        file=path,
        found=found,
        expected="a single frame, or the position of each",
        remedy="Give one image at a time: a file that holds a single frame",
    )


def _plane(instance: Instance, frame: int, groups: Sequence[Elements]) -> Plane:
    """One frame: its own functional groups come first, then the shared ones, then the header."""

    def place(sequence: Tag) -> Elements:
        return next((item for group in groups for item in group.items(sequence)[:1]), instance.elements)

    measures, values = place(Tag.PixelMeasuresSequence), place(Tag.PixelValueTransformationSequence)
    spacing, at_detector = _spacing(measures)
    slope, intercept = values.number(Tag.RescaleSlope), values.number(Tag.RescaleIntercept)
    if slope == 0:
        raise values.malformed(Tag.RescaleSlope, "0", "a number other than 0")
    position, axes, placed = _place(
        place(Tag.PlanePositionSequence),
        place(Tag.PlaneOrientationSequence),
        required=is_cross_section(instance.elements.sop_class, instance.elements.text(Tag.Modality)),
    )
    thickness = _thickness(measures) if instance.frames == 1 and placed else None
    return Plane(instance, frame, position, axes, placed, spacing, at_detector, thickness, slope, intercept)


def _place(position: Elements, orientation: Elements, *, required: bool) -> tuple[np.ndarray, np.ndarray, bool]:
    """(3,) position, (3, 2) axes, and whether the file gives them; one without the other is an error."""
    numbers = position.numbers(Tag.ImagePositionPatient, 3)
    directions = orientation.numbers(Tag.ImageOrientationPatient, 6)
    if numbers is None and directions is None and not required:
        return np.zeros(3), np.eye(3)[:, :2], False
    if numbers is None:
        raise position.malformed(Tag.ImagePositionPatient, "", "3 numbers, in mm")
    if directions is None:
        raise orientation.malformed(Tag.ImageOrientationPatient, "", "6 numbers, two directions")
    axes = np.array(directions).reshape(2, 3).T  # (3, 2)
    lengths = np.linalg.norm(axes, axis=0)
    if np.abs(lengths - 1).max() > 0.1 or abs(float(axes[:, 0] @ axes[:, 1])) > 0.02:
        found = orientation.text(Tag.ImageOrientationPatient)
        raise orientation.malformed(Tag.ImageOrientationPatient, found, "two directions of length 1 at a right angle")
    return np.array(numbers), axes / lengths, True


def _spacing(elements: Elements) -> tuple[tuple[float, float] | None, bool]:
    """mm along a row and along a column, and whether that is at the detector; the file gives them the other way."""
    for tag in (Tag.PixelSpacing, Tag.ImagerPixelSpacing):
        numbers = elements.numbers(tag, 2)
        if numbers is not None:
            between_rows, between_columns = numbers
            if min(numbers) <= 0:
                raise elements.malformed(tag, elements.text(tag), "2 numbers above 0, in mm")
            return (between_columns, between_rows), tag == Tag.ImagerPixelSpacing
    return None, False


def _thickness(elements: Elements) -> float | None:
    """mm across a single slice; 0, as some writers have it, is unknown."""
    for tag in (Tag.SliceThickness, Tag.SpacingBetweenSlices):
        thickness = elements.number(tag)
        if thickness is not None and thickness < 0 and tag == Tag.SliceThickness:
            raise elements.malformed(tag, f"{thickness:g}", "mm above 0")
        if thickness:
            return abs(thickness)
    return None
