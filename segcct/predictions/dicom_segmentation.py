"""Masks as DICOM segmentations (DICOM-SEG), which viewers show on the images that they refer to.

Every class is a binary segment in the order of the scheme, with its SNOMED CT code where it has one. Each frame of a
segment lies at the position of the slice that it was predicted from. Slices without foreground are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.datasets.class_codes import code_of
from segcct.datasets.label_schemes import Scheme
from segcct.errors import LabelError, VolumeError, short_reason
from segcct.extras import import_extra
from segcct.figures.colors import class_colors, rgb
from segcct.files.atomic_file import atomic_path
from segcct.images.dicom import read_planes
from segcct.images.dicom.planes import Plane
from segcct.images.volume import Volume, holds_dicom
from segcct.plurals import counted
from segcct.version import VERSION

PRIVATE_CODES = "99SEGCCT"
"""Coding scheme of classes that have no SNOMED CT code: the code is the name of the class."""
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""The attributes by which a segmentation refers to its images."""
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""Attributes that a segmentation copies from its images, and that anonymized images often lack."""
_UTF8 = "ISO_IR 192"
_LONGEST = 64
"""Bytes of a label or a meaning."""


def segment_labels(names: Iterable[str]) -> dict[str, str]:
    """Class name -> the label of its segment: the name, as far as DICOM can hold it. Raises `LabelError` where two
    classes would have one label, by which masks are read."""
    labels = {name: name.replace("\\", "/").encode()[:_LONGEST].decode(errors="ignore") for name in names}
    of_label: dict[str, str] = {}
    for name, label in labels.items():
        if (other := of_label.setdefault(label, name)) != name:
            raise LabelError(
                f"two classes have the same name in a DICOM segmentation, which holds {_LONGEST} bytes of it",
                found=f"{other}, {name}",
                remedy="Leave --format out: the mask is then written as NIfTI",
            )
    return labels


def check_images(scan: Volume, scheme: Scheme) -> None:
    """Raises `VolumeError` where a segmentation cannot refer to a scan, and `LabelError` where it cannot hold the
    scheme: before time is spent on its mask."""
    segment_labels(scheme.classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _sources(_planes(scan))


def write_segmentation(mask: Volume, file: Path, scheme: Scheme) -> None:
    """Write a mask in the scheme's values atomically.

    Args:
        mask: on the grid of DICOM images, with their file or folder as its path.
        file: the target, whose name ends in .dcm.
        scheme: the classes.

    Raises:
        VolumeError: the mask is of no DICOM images, or they lack what a segmentation needs to refer to them.
        LabelError: as `segment_labels`.
        PackageError: highdicom is not installed. OSError: as `atomic_path`.
    """
    planes = _planes(mask)
    numbers = np.ascontiguousarray(scheme.to_index(mask.array).transpose(2, 1, 0))  # (D, rows, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values in other programs' headers, and of an empty mask
        sources = _sources(planes)
        if len(sources) == 1:  # the frames of one file, which highdicom takes in stored order
            numbers = numbers[np.argsort([plane.frame for plane in planes])]
        with atomic_path(file) as temporary:
            _segmentation(sources, numbers, scheme, planes[0].instance.file).save_as(temporary)


def _planes(mask: Volume) -> list[Plane]:
    """The slices of the images that a mask was predicted on."""
    if mask.path is None or not mask.path.exists() or not (mask.path.is_dir() or holds_dicom(mask.path)):
        raise VolumeError(
            "a DICOM segmentation refers to DICOM images, and these are none",
            file=mask.path,
            remedy="Leave --format out: the mask is then written as NIfTI",
        )
    planes = read_planes(mask.path)
    first = planes[0].instance
    if mask.shape != (first.columns, first.rows, len(planes)):
        found = (first.columns, first.rows, len(planes))
        raise VolumeError("the images are not those of the mask", file=mask.path, found=found, expected=mask.shape)
    if not planes[0].placed or planes[0].spacing is None:
        raise VolumeError(
            "a DICOM segmentation cannot refer to images without position or pixel size",
            file=mask.path,
            remedy="Leave --format out: the mask is then written as NIfTI",
        )
    return planes


def _sources(planes: Sequence[Plane]) -> list[Any]:
    """The headers of the files that hold the slices, in their order, complete. Raises `VolumeError`."""
    pydicom = import_extra("pydicom", "dicom")
    files = list(dict.fromkeys(plane.instance.file for plane in planes))
    if 1 < len(files) < len(planes):
        raise VolumeError(
            "a DICOM segmentation of several multi-frame files cannot be written",
            file=files[0],
            found=counted(len(files), "file"),
            expected="one multi-frame file, or a file per slice",
            remedy="Leave --format out: the mask is then written as NIfTI",
        )
    sources = []
    for file in files:
        try:
            source = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:  # which pydicom raises of many kinds, and our own reader has read the file
            raise VolumeError("cannot be read by pydicom", file=file, found=error) from error
        missing = [keyword for keyword in _UIDS if not source.get(keyword)]
        if missing:
            raise _lacking(missing, file)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in source:
                setattr(source, keyword, None)
        sources.append(source)
    _agree(sources, planes)
    return sources


def _lacking(keywords: Sequence[str], file: Path) -> VolumeError:
    return VolumeError(
        "the images lack what a DICOM segmentation refers to them by",
        file=file,
        found=f"no {', '.join(keywords)}",
        remedy="Leave --format out: the mask is then written as NIfTI",
    )


def _agree(sources: Sequence[Any], planes: Sequence[Plane]) -> None:
    """Make the headers say in one place, and exactly alike, what highdicom takes from them: orientation, pixel size and
    the distance of slices. Our reader has found that they agree but for rounding; slice thickness is no distance."""
    first, plane = sources[0], planes[0]
    measures = first
    if first.get("PerFrameFunctionalGroupsSequence"):
        own = first.PerFrameFunctionalGroupsSequence[0]
        if not first.get("SharedFunctionalGroupsSequence"):
            first.SharedFunctionalGroupsSequence = [type(first)()]
        shared = first.SharedFunctionalGroupsSequence[0]
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if keyword not in shared and keyword in own:
                setattr(shared, keyword, own[keyword].value)
            if not shared.get(keyword):
                raise _lacking([keyword], plane.instance.file)
        measures = shared.PixelMeasuresSequence[0]
    for source in sources[1:]:
        source.ImageOrientationPatient = first.ImageOrientationPatient
    gap = abs(float((planes[1].position - plane.position) @ plane.normal)) if len(planes) > 1 else plane.thickness
    measures.SliceThickness = measures.SpacingBetweenSlices = None if gap is None else f"{gap:.10g}"


def _segmentation(sources: Sequence[Any], numbers: np.ndarray, scheme: Scheme, file: Path) -> Any:
    """The dataset of segment numbers (D, rows, columns) on the slices of `sources`."""
    seg = import_extra("highdicom.seg", "dicom")
    uid = import_extra("pydicom.uid", "dicom").generate_uid
    try:
        return seg.Segmentation(
            source_images=sources,
            pixel_array=numbers,
            segmentation_type="BINARY",
            segment_descriptions=_descriptions(scheme),
            series_instance_uid=uid(),
            series_number=_series_number(sources[0]),
            sop_instance_uid=uid(),
            instance_number=1,
            manufacturer="segcct",
            manufacturer_model_name="segcct",
            software_versions=VERSION,
            device_serial_number=VERSION,
            series_description="Segmentation by segcct",
            content_label="SEGCCT",
            specific_character_set=_UTF8,
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # each lack of a header has its own
        raise VolumeError(
            "a DICOM segmentation of these images cannot be written",
            file=file,
            found=short_reason(error),
            remedy="Leave --format out: the mask is then written as NIfTI",
        ) from error


def _series_number(source: Any) -> int:
    """A series number that is probably free: 100 times that of the images plus 1, as derived series are numbered; or 1
    where that is no number that DICOM can hold."""
    try:
        number = int(source.get("SeriesNumber") or 0) * 100 + 1
    except (TypeError, ValueError):
        return 1
    return number if 1 <= number < 2**31 else 1


def _descriptions(scheme: Scheme) -> list[Any]:
    """What each segment is, numbered from 1 in the order of the classes."""
    seg = import_extra("highdicom.seg", "dicom")
    hd = import_extra("highdicom", "dicom")
    codes = import_extra("pydicom.sr.codedict", "dicom").codes
    algorithm = hd.AlgorithmIdentificationSequence("segcct", codes.DCM.ArtificialIntelligence, VERSION)
    categories = {
        "anatomical structure": codes.SCT.AnatomicalStructure,
        "abnormality": codes.SCT.MorphologicallyAbnormalStructure,
    }
    sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
    found = []
    colors = class_colors(len(scheme.classes))
    labels = segment_labels(scheme.classes)
    for number, ((name, label), color) in enumerate(zip(labels.items(), colors, strict=True), start=1):
        code = code_of(scheme, name)
        kind = hd.sr.CodedConcept(*((code.value, "SCT", code.meaning) if code else (label, PRIVATE_CODES, label)))
        if code is not None and code.side is not None:
            kind.SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(sides[code.side])]
        found.append(
            seg.SegmentDescription(
                segment_number=number,
                segment_label=label,
                segmented_property_category=categories[code.category if code else "anatomical structure"],
                segmented_property_type=kind,
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm,
                display_color=hd.color.CIELabColor.from_rgb(*rgb(color)),
            )
        )
    return found
