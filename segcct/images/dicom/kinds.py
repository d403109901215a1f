"""Kinds of DICOM objects that are not images of a patient, though they may lie next to one or even hold pixels."""

from __future__ import annotations

import re

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_RT_IMAGES = {f"{_STORAGE}481.{end}" for end in ("1", "23", "24")}
_NO_IMAGES = {
    "1.2.840.10008.1.3.10": "DICOMDIR",
    "1.2.840.10008.1.9": "basic study content",
    "1.2.840.10008.1.20": "storage commitment",
    "1.2.840.10008.1.40": "procedural event log",
    "1.2.840.10008.1.42": "substance administration log",
    "1.2.840.10008.5.1.4.34": "RT delivery or unified procedure step",
    "1.2.840.10008.5.1.4.38": "hanging protocol",
    "1.2.840.10008.5.1.4.39": "color palette",
    "1.2.840.10008.5.1.4.43": "implant template",
    "1.2.840.10008.5.1.4.44": "implant assembly template",
    "1.2.840.10008.5.1.4.45": "implant template group",
    **{
        _STORAGE + end: name
        for name, ends in {
            "MR spectroscopy": "4.2",
            "overlay": "8",
            "waveform or curve": "9",
            "lookup table": "10",
            "presentation state": "11",
            "parametric map": "30",
            "raw data": "66",
            "spatial registration": "66.1",
            "spatial fiducials": "66.2",
            "deformable registration": "66.3",
            "segmentation": "66.4",
            "surface segmentation": "66.5",
            "tractography": "66.6",
            "label map segmentation": "66.7",
            "height map segmentation": "66.8",
            "real world value mapping": "67",
            "surface scan": "68",
            "stereometric relationship": "77.1.5.3",
            "eye measurement": "77.1.5.8 78 79 80 81 82",
            "structured report": "88",
            "content assessment": "90",
            "annotations": "91",
            "encapsulated document": "104",
            "PET curve": "129",
            "structured display": "131",
            "protocol or performed procedure": "200",
            "inventory": "201",
            "radiotherapy object": "481",
            "RT dose": "481.2",
            "RT structure set": "481.3",
            "RT plan": "481.5",
        }.items()
        for end in ends.split()
    },
}
"""Class, or a class above it in the tree of UIDs -> what its objects are."""
_CROSS_SECTIONS = {
    f"{_STORAGE}{end}"
    for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "6.2", "13.1.1", "13.1.2", "13.1.3", "128", "128.1", "130")
}
"""CT, MR and PET, enhanced or not, and volumes of ultrasound and of X-rays: the standard asks a position of each."""


def kind_of_no_image(sop_class: str) -> str | None:
    """What an object of this class is if it is not an image of a patient; None for images and unknown classes."""
    if sop_class in _RT_IMAGES:
        return None
    while sop_class and sop_class not in _NO_IMAGES:
        sop_class = sop_class.rpartition(".")[0]
    return _NO_IMAGES.get(sop_class)


def is_cross_section(sop_class: str, modality: str) -> bool:
    """Whether an image must have a position in the patient, unlike a projection, which has none by nature.

    Where the class is missing or not in the standard, the modality decides.
    """
    return sop_class in _CROSS_SECTIONS if sop_class.startswith(_STORAGE) else modality in ("CT", "MR", "PT")


def is_private(sop_class: str) -> bool:
    """Whether the class is a manufacturer's own, and not a damaged one of the standard."""
    return re.fullmatch(r"\d+(\.\d+)+", sop_class) is not None and not sop_class.startswith("1.2.840.10008.")
