"""The options of each mask that is written."""

from __future__ import annotations

from dataclasses import dataclass

MASK_FORMATS = ("nifti", "dicom-seg")
"""Formats that may be asked for."""


@dataclass(frozen=True)
class MaskOptions:
    """What is written of each case."""

    mask_format: str = "nifti"
    """One of `MASK_FORMATS`: `nifti`, or `dicom-seg` for DICOM images; masks of 2-D images are 2-D images."""
    keep_largest: bool = False
    """Keep only the largest component of each class."""
    probabilities: bool = False
    """Write the probabilities of each class too; see probability_files.py."""
    anonymize: bool = False
    """Name masks by hashed ids; what names a file or an id then goes to sources.json."""
