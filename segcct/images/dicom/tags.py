"""The elements of a DICOM header that say what an image is, where it lies and what its voxels mean."""

from __future__ import annotations

from enum import IntEnum


class Tag(IntEnum):
    """Group and element number, under the standard's own keyword."""

    MediaStorageSOPClassUID = 0x00020002
    TransferSyntaxUID = 0x00020010
    ImageType = 0x00080008
    SOPClassUID = 0x00080016
    Modality = 0x00080060
    SliceThickness = 0x00180050
    SpacingBetweenSlices = 0x00180088
    ImagerPixelSpacing = 0x00181164
    SeriesInstanceUID = 0x0020000E
    SeriesNumber = 0x00200011
    ImagePositionPatient = 0x00200032
    ImageOrientationPatient = 0x00200037
    FrameContentSequence = 0x00209111
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
