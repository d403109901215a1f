"""The options of each mask that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from segcct.errors import ConfigError

FormatName = Literal["nifti", "dicom-seg"]
MASK_FORMATS: tuple[FormatName, ...] = get_args(FormatName)
"""Formats that may be asked for; each has a row in `mask_files.FORMATS`."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What is written of each case."""

    mask_format: FormatName = "nifti"
    """`nifti`, or `dicom-seg` for DICOM images; masks of 2-D images are 2-D images."""
    keep_largest: bool = False
    """Keep only the largest component of each class."""
    probabilities: bool = False
    """Write the probabilities of each class too; see probability_files.py."""
    anonymize: bool = False
    """Name masks by hashed ids; what names a file or an id then goes to sources.json."""

    def __post_init__(self) -> None:
        if self.mask_format not in MASK_FORMATS:
            raise ConfigError("no such format of masks", found=self.mask_format, expected=", ".join(MASK_FORMATS))
        for name in ("keep_largest", "probabilities", "anonymize"):
            value = getattr(self, name)
            if value not in (True, False):
                raise ConfigError(f"{name} is of the wrong type", found=repr(value), expected="True or False")
            object.__setattr__(self, name, bool(value))  # that of NumPy cannot be written as JSON
