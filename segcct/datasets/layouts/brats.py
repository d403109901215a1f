"""Layout `brats`: the folders of the brain tumour challenges.

    ROOT/BraTS2021_00000/BraTS2021_00000_t1.nii.gz ... _seg.nii.gz        (2018-2021; also below HGG/, LGG/)
    ROOT/BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz ... -seg.nii.gz   (2023 and later)

The years differ in their patterns, which the config names. Patients: from 2023 on the last number is a time point of
the patient before it; until 2019 the last number of an id is one examination of the patient.
"""

from __future__ import annotations

import re

from segcct.config import DataSection
from segcct.datasets.layouts import case_folders as folder
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.volumes import read_image, read_mask

_TIME_POINTS = (
    re.compile(r"(BraTS-[A-Za-z]+(?:-[A-Za-z]+)?-\d+)-\d+$"),  # BraTS-GLI-00000-000, BraTS-MEN-RT-0000-1
    re.compile(r"(Brats1[5-9]_.+)_\d+$", re.IGNORECASE),  # Brats18_TCIA01_131_1, BraTS19_CBICA_AAB_1
    re.compile(r"(brats_\d{4}_pat\d+)_\d+$", re.IGNORECASE),  # brats_2013_pat0003_1
)


def patient_of(case_id: str) -> str:
    """The patient a case id belongs to: the id without its time point."""
    return next((match[1] for rule in _TIME_POINTS if (match := rule.match(case_id))), case_id)


def find(data: DataSection) -> Found:
    """Every case folder below `data.root`."""
    return folder.find_folders(data, patient_of)


def picture(data: DataSection) -> str:
    """One case folder of the years whose patterns the config has."""
    later = any("-t1" in pattern or "-t2" in pattern for pattern in data.channels.values())
    return folder.picture(data, "BraTS-GLI-00000-000" if later else "BraTS2021_00000")


LAYOUT = Layout("brats", find, read_image, read_mask, picture, phantom=True)
