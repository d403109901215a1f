"""The elements of a DICOM header that matter here, and their values as numbers and text.

A malformed value is an error that names the file and the tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from segcct.errors import VolumeError
from segcct.plurals import counted

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Tag(IntEnum):
    """Group and element number, under the standard's own keyword."""

    MediaStorageSOPClassUID = 0x00020002
    TransferSyntaxUID = 0x00020010
    ImageType = 0x00080008
    SOPClassUID = 0x00080016
    Modality = 0x00080060
    SeriesDescription = 0x0008103E
    PatientID = 0x00100020
    SliceThickness = 0x00180050
    SpacingBetweenSlices = 0x00180088
    ImagerPixelSpacing = 0x00181164
    StudyInstanceUID = 0x0020000D
    SeriesInstanceUID = 0x0020000E
    SeriesNumber = 0x00200011
    ImagePositionPatient = 0x00200032
    ImageOrientationPatient = 0x00200037
    PlanePositionSequence = 0x00209113
    PlaneOrientationSequence = 0x00209116
    SamplesPerPixel = 0x00280002
    PhotometricInterpretation = 0x00280004
    NumberOfFrames = 0x00280008
    Rows = 0x00280010
    Columns = 0x00280011
    PixelSpacing = 0x00280030
    BitsAllocated = 0x00280100
    BitsStored = 0x00280101
    HighBit = 0x00280102
    PixelRepresentation = 0x00280103
    RescaleIntercept = 0x00281052
    RescaleSlope = 0x00281053
    ModalityLUTSequence = 0x00283000
    PixelMeasuresSequence = 0x00289110
    PixelValueTransformationSequence = 0x00289145
    SharedFunctionalGroupsSequence = 0x52009229
    PerFrameFunctionalGroupsSequence = 0x52009230
    FloatPixelData = 0x7FE00008
    DoubleFloatPixelData = 0x7FE00009
    PixelData = 0x7FE00010

    def __str__(self) -> str:
        """`Rows (0028,0010)`."""
        return f"{self.name} ({self >> 16:04X},{self & 0xFFFF:04X})"


SEQUENCES = frozenset(tag for tag in Tag if tag.name.endswith("Sequence"))
PIXELS = frozenset({Tag.FloatPixelData, Tag.DoubleFloatPixelData, Tag.PixelData})
WANTED = frozenset(Tag) - PIXELS


@dataclass(frozen=True)
class Elements:
    """One dataset: the file's own, or an item of a sequence in it."""

    file: Path
    values: Mapping[int, bytes | list[Elements]]
    """Tag -> value as stored, or the items of a sequence."""
    big_endian: bool = False

    @property
    def sop_class(self) -> str:
        """UID of the kind of object; empty where the file names none."""
        return self.text(Tag.SOPClassUID) or self.text(Tag.MediaStorageSOPClassUID)

    def text(self, tag: Tag) -> str:
        """The value without padding; empty where there is none."""
        value = self.values.get(tag, b"")
        return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""

    def items(self, tag: Tag) -> list[Elements]:
        """The items of a sequence; none where there is none."""
        value = self.values.get(tag, [])
        return value if isinstance(value, list) else []

    def numbers(self, tag: Tag, count: int) -> tuple[float, ...] | None:
        """Decimal or integer strings; None where the element is absent or empty.

        Raises:
            VolumeError: another count of values, or one that is no finite number.
        """
        text = self.text(tag)
        if not text:
            return None
        parts = [part.strip(" \0") for part in text.split("\\")]
        if len(parts) != count or not all(_NUMBER.fullmatch(part) for part in parts):
            raise self.malformed(tag, text, counted(count, "number"))
        numbers = tuple(float(part) for part in parts)
        if max(abs(number) for number in numbers) > 1e30:
            raise self.malformed(tag, text, "numbers of sensible size")
        return numbers

    def number(self, tag: Tag) -> float | None:
        """One decimal or integer string; None where the element is absent or empty. Raises `VolumeError`."""
        numbers = self.numbers(tag, 1)
        return None if numbers is None else numbers[0]

    def integer(self, tag: Tag, default: int | None = None) -> int:
        """A binary unsigned number. Raises `VolumeError` where it is absent and there is no default, or malformed."""
        value = self.values.get(tag, b"")
        if not value and default is not None:
            return default
        if not isinstance(value, bytes) or len(value) not in (2, 4):
            raise self.malformed(tag, "" if not value else f"{len(value)} bytes", "one whole number")
        return int.from_bytes(value, "big" if self.big_endian else "little")

    def malformed(self, tag: Tag, found: str, expected: str) -> VolumeError:
        """The error that names file and tag."""
        what = f"{tag} is {'missing or empty' if not found else 'malformed'}"
        return VolumeError(what, file=self.file, found=printable(found) or None, expected=expected)


def printable(text: str) -> str:
    """What a file says, fit for one line of a message."""
    shown = text if len(text) <= 80 else f"{text[:80]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
