"""One DICOM image file: how its pixels are stored, checked against the size of the file before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.dicom.elements import Elements, Tag, printable
from segcct.images.dicom.header import UNDEFINED, Header, damaged, open_body

_NATIVE = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
_GRAY = ("MONOCHROME1", "MONOCHROME2", "")
_LARGEST_PADDING = 512
_FLOATS = {Tag.FloatPixelData: 32, Tag.DoubleFloatPixelData: 64}


@dataclass(frozen=True)
class Instance:
    """A gray image of one or more frames."""

    file: Path
    elements: Elements
    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    floating: bool
    start: int
    """Offset of the first pixel, or of the first fragment where they are compressed."""

    @property
    def compressed(self) -> bool:
        """Whether the frames are fragments that must be decoded."""
        return self.transfer_syntax not in _NATIVE

    @property
    def dtype(self) -> np.dtype:
        """Of one stored pixel, in the byte order of the file."""
        kind = "f" if self.floating else "i" if self.signed else "u"
        return np.dtype(f"{'>' if self.elements.big_endian else '<'}{kind}{self.bits_allocated // 8}")

    @property
    def frame_bytes(self) -> int:
        """Size of one decoded frame."""
        return self.rows * self.columns * (self.bits_allocated // 8)

    @property
    def inverted(self) -> bool:
        """Whether low values are shown bright."""
        return self.elements.text(Tag.PhotometricInterpretation) == "MONOCHROME1"

    @property
    def series(self) -> str:
        """SeriesInstanceUID; empty where the file has none."""
        return self.elements.text(Tag.SeriesInstanceUID)


def instance_of(file: Path, header: Header) -> Instance:
    """The image a header describes.

    Raises:
        VolumeError: no pixels, fewer than the header claims, many more, colors, or an encoding that cannot be read.
    """
    elements, pixels = header.elements, header.pixels
    if pixels is None:
        raise damaged(file, "an image without pixels")
    rows, columns = elements.integer(Tag.Rows), elements.integer(Tag.Columns)
    frames = 1.0 if (number := elements.number(Tag.NumberOfFrames)) is None else number
    for tag, value in ((Tag.Rows, rows), (Tag.Columns, columns), (Tag.NumberOfFrames, frames)):
        if value < 1 or value != int(value):
            raise elements.malformed(tag, f"{value:g}", "a whole number from 1")
    meaning, samples = elements.text(Tag.PhotometricInterpretation), elements.integer(Tag.SamplesPerPixel, 1)
    if samples != 1 or meaning not in _GRAY:
        found = f"{samples} samples per pixel, {printable(meaning) or 'of unknown meaning'}"
        raise VolumeError("voxels are colors or vectors", file=file, found=found, expected="one number per voxel")
    floating = pixels.tag in _FLOATS
    allocated = _FLOATS.get(pixels.tag) or elements.integer(Tag.BitsAllocated)
    stored = allocated if floating else elements.integer(Tag.BitsStored, allocated)
    high = allocated - 1 if floating else elements.integer(Tag.HighBit, stored - 1)
    if allocated not in (8, 16, 32, 64) or not stored - 1 <= high < allocated or stored < 1:
        found = f"{stored} of {allocated}, up to bit {high}"
        raise elements.malformed(Tag.BitsAllocated, found, "8, 16 or 32 bits that hold those stored")
    instance = Instance(
        *(file, elements, header.transfer_syntax, rows, columns, int(frames), allocated, stored, high),
        signed=elements.integer(Tag.PixelRepresentation, 0) == 1 and not floating,
        floating=floating,
        start=pixels.start,
    )
    if instance.compressed != (pixels.length == UNDEFINED):
        syntax = printable(header.transfer_syntax) or "unknown"
        raise damaged(file, f"transfer syntax {syntax} and pixels that do not go with it")
    if not instance.compressed:
        _check_length(instance, pixels.length, pixels.size)
        if elements.big_endian and allocated == 8 and pixels.vr == "OW":
            raise damaged(file, "8-bit pixels in big-endian words, an encoding that is retired")
    return instance


def _check_length(instance: Instance, length: int, size: int) -> None:
    """Raises `VolumeError` unless all native pixels are there, with nothing but padding behind them."""
    needed = instance.frame_bytes * instance.frames
    present = min(length, size - instance.start)
    claim = f"{instance.rows} x {instance.columns} pixels of {instance.bits_allocated} bits"
    claim += f" x {instance.frames} frames" if instance.frames > 1 else ""
    if present < length:
        raise damaged(instance.file, f"{present} of {length} bytes of pixels: the file ends too early")
    spare = present - needed
    line = instance.frame_bytes // max(instance.rows, instance.columns)  # more than that may be a wrong Rows or Columns
    if spare < 0 or (spare > 1 and spare >= line and not _is_padding(instance, needed, spare)):
        raise VolumeError(
            f"{Tag.PixelData} does not have the length that the header claims",
            file=instance.file,
            found=f"{present} bytes",
            expected=f"{needed} bytes for {claim}",
            remedy="Export or copy the image again",
        )


def _is_padding(instance: Instance, needed: int, spare: int) -> bool:
    """A block of zeros behind the pixels, as some writers leave."""
    if spare > _LARGEST_PADDING:
        return False
    with open_body(instance.file, instance.transfer_syntax) as stream:
        stream.seek(instance.start + needed)
        return not any(stream.read(spare))
