"""Layout `brats`: the folders of the brain tumor challenges.

    ROOT/BraTS2021_00000/BraTS2021_00000_t1.nii.gz ... _seg.nii.gz        (2018-2021; also below HGG/, LGG/)
    ROOT/BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz ... -seg.nii.gz   (2023 and later)

The config names the patterns, which depend on the year. The last number of an id does not belong to the patient: from
2023 on it is a time point, and until 2019 a study.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import case_folders as folder
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.files.file_names import folder_name

_TIME_POINTS = (
    re.compile(r"(BraTS-[A-Za-z]+(?:-[A-Za-z]+)?-\d+)-\d+$"),  # BraTS-GLI-00000-000, BraTS-MEN-RT-0000-1
    re.compile(r"(Brats1[5-9]_.+)_\d+$", re.IGNORECASE),  # Brats18_TCIA01_131_1, BraTS19_CBICA_AAB_1
    re.compile(r"(brats_\d{4}_pat\d+)_\d+$", re.IGNORECASE),  # brats_2013_pat0003_1
)
_YEARS = (
    ("2018-2021", "brats2021", "_", ("t1", "t1ce", "t2", "flair")),
    ("2023 and later", "brats2023", "-", ("t1n", "t1c", "t2w", "t2f")),
)
"""Years, their scheme, what joins the case id and the channel, and the channels."""


def patient_of(case_id: str) -> str:
    """The patient a case id belongs to: the id without its time point."""
    return next((match[1] for rule in _TIME_POINTS if (match := rule.match(case_id))), case_id)


def find(data: DataSection, tree: FolderTree) -> Found:
    """Every case folder below `data.root`."""
    return folder.find_folders(data, tree, lambda place: patient_of(folder_name(place)))


def example(data: DataSection) -> str:
    """One case folder, named as in the years that the config's patterns belong to."""
    later = any("-t1" in pattern or "-t2" in pattern for pattern in data.channels.values())
    return folder.example(data, "BraTS-GLI-00000-000" if later else "BraTS2021_00000")


def recognize(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """ID/ID_t1.nii.gz (2018-2021) or ID/ID-t1n.nii.gz (2023 and later)."""
    for years, scheme, joint, contrasts in _YEARS:
        expression = re.compile(
            rf"(?:.*/)?(?P<id>[^/]+)/(?P=id){joint}(?P<part>{'|'.join(contrasts)}|seg)(?P<end>\.nii(?:\.gz)?)$"
        )
        matches = [match for name in names if (match := expression.match(name))]
        parts = Counter(match["part"] for match in matches)
        labels = parts.pop("seg", 0)
        most = max(parts.values(), default=0)
        channels = [part for part in contrasts if parts[part] > most / 2]
        if len(channels) < 2:
            continue
        end = Counter(match["end"] for match in matches).most_common(1)[0][0]
        return Naming(
            layout="brats",
            channels={part: f"{{id}}{joint}{part}{end}" for part in channels},
            label=f"{{id}}{joint}seg{end}" if labels else None,
            why=f"file names of BraTS {years}",
            scheme=scheme,
        )
    return None


LAYOUT = Layout(
    "brats",
    find,
    example,
    recognize,
    label_patterns=("{id}_seg.nii.gz", "{id}-seg.nii.gz", "{id}_seg.nii", "{id}-seg.nii"),
    phantom="segcct.phantom.brats:PHANTOM",
)
