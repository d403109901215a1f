"""Kinds of DICOM objects that are no images of a patient, though they may lie beside one or even hold pixels."""

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
    f"{_STORAGE}4.2": "MR spectroscopy",
    f"{_STORAGE}8": "overlay",
    f"{_STORAGE}9": "waveform or curve",
    f"{_STORAGE}10": "lookup table",
    f"{_STORAGE}11": "presentation state",
    f"{_STORAGE}30": "parametric map",
    f"{_STORAGE}66": "raw data",
    f"{_STORAGE}66.1": "spatial registration",
    f"{_STORAGE}66.2": "spatial fiducials",
    f"{_STORAGE}66.3": "deformable registration",
    f"{_STORAGE}66.4": "segmentation",
    f"{_STORAGE}66.5": "surface segmentation",
    f"{_STORAGE}66.6": "tractography",
    f"{_STORAGE}66.7": "label map segmentation",
    f"{_STORAGE}66.8": "height map segmentation",
    f"{_STORAGE}67": "real world value mapping",
    f"{_STORAGE}68": "surface scan",
    f"{_STORAGE}77.1.5.3": "stereometric relationship",
    f"{_STORAGE}77.1.5.8": "eye measurement",
    f"{_STORAGE}78": "eye measurement",
    f"{_STORAGE}79": "eye measurement",
    f"{_STORAGE}80": "eye measurement",
    f"{_STORAGE}81": "eye measurement",
    f"{_STORAGE}82": "eye measurement",
    f"{_STORAGE}88": "structured report",
    f"{_STORAGE}90": "content assessment",
    f"{_STORAGE}91": "annotations",
    f"{_STORAGE}104": "encapsulated document",
    f"{_STORAGE}129": "PET curve",
    f"{_STORAGE}131": "structured display",
    f"{_STORAGE}200": "protocol or performed procedure",
    f"{_STORAGE}201": "inventory",
    f"{_STORAGE}481": "radiotherapy object",
    f"{_STORAGE}481.2": "RT dose",
    f"{_STORAGE}481.3": "RT structure set",
    f"{_STORAGE}481.5": "RT plan",
}


_CROSS_SECTIONS = {
    f"{_STORAGE}{end}"
    for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "6.2", "13.1.1", "13.1.2", "13.1.3", "128", "128.1", "130")
}
"""CT, MR and PET, enhanced or not, and volumes of ultrasound and of X-rays: the standard asks a position of each."""


def kind_of_no_image(sop_class: str) -> str | None:
    """What an object of this class is, where it is no image of a patient; None for images and unknown classes."""
    if sop_class in _RT_IMAGES:
        return None
    parts = sop_class.split(".")
    for count in range(len(parts), 0, -1):
        name = _NO_IMAGES.get(".".join(parts[:count]))
        if name is not None:
            return name
    return None


def is_no_image(sop_class: str) -> bool:
    """Whether objects of this class are known to be no images."""
    return kind_of_no_image(sop_class) is not None


def is_cross_section(sop_class: str, modality: str) -> bool:
    """Whether an image without a position is incomplete, and not by its nature flat as a projection is.

    A class that the standard does not know, or none, leaves the modality to go by.
    """
    return sop_class in _CROSS_SECTIONS if is_standard(sop_class) else modality in ("CT", "MR", "PT")


def is_standard(sop_class: str) -> bool:
    """Whether the class is one of the standard's storage classes."""
    return sop_class.startswith(_STORAGE)


def is_private(sop_class: str) -> bool:
    """Whether the class is a maker's own, and not a damaged one of the standard's."""
    return re.fullmatch(r"\d+(\.\d+)+", sop_class) is not None and not sop_class.startswith("1.2.840.10008.")
