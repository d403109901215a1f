"""SNOMED CT codes for the classes of label schemes, so that other programs recognize a structure.

The codes are those of the DICOM standard's context groups (part 16). For a class that has none, the writer of a file
makes a private code from its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from segcct.datasets.label_schemes import Scheme


@dataclass(frozen=True)
class ClassCode:
    """What a class is, in SNOMED CT."""

    value: str
    meaning: str
    side: Literal["left", "right"] | None = None
    """Which of a pair of organs, which the code does not say."""
    category: Literal["anatomical structure", "abnormality"] = "anatomical structure"


_KIDNEY, _ADRENAL = ClassCode("64033007", "Kidney"), ClassCode("23451007", "Adrenal gland")
_ORGANS = {
    "adrenal gland": _ADRENAL,
    "aorta": ClassCode("15825003", "Aorta"),
    "esophagus": ClassCode("32849002", "Esophagus"),
    "gallbladder": ClassCode("28231008", "Gallbladder"),
    "inferior vena cava": ClassCode("64131007", "Inferior vena cava"),
    "kidney": _KIDNEY,
    "left adrenal gland": replace(_ADRENAL, side="left"),
    "left kidney": replace(_KIDNEY, side="left"),
    "liver": ClassCode("10200004", "Liver"),
    "pancreas": ClassCode("15776009", "Pancreas"),
    "right adrenal gland": replace(_ADRENAL, side="right"),
    "right kidney": replace(_KIDNEY, side="right"),
    "spleen": ClassCode("78961009", "Spleen"),
    "stomach": ClassCode("69695003", "Stomach"),
}
"""Classes whose names mean the same in every scheme."""
_NECROSIS = ClassCode("6574001", "Necrosis", category="abnormality")
_EDEMA = ClassCode("79654002", "Edema", category="abnormality")
_OF_SCHEME = {
    "acdc": {
        "RV": ClassCode("53085002", "Right ventricle"),
        "MYO": ClassCode("49848007", "Myocardium of left ventricle"),
        "LV": ClassCode("87878005", "Left ventricle"),
    },
    "brats2015": {"necrosis": _NECROSIS, "edema": _EDEMA},
    "brats2021": {"NCR": _NECROSIS, "ED": _EDEMA},
    "brats2023": {"NCR": _NECROSIS, "ED": _EDEMA},
}
"""Classes whose names mean something in one scheme only."""


def code_of(scheme: Scheme, name: str) -> ClassCode | None:
    """The code of a class; None where there is none."""
    return _OF_SCHEME.get(scheme.name, {}).get(name) or _ORGANS.get(" ".join(name.lower().replace("_", " ").split()))
