"""Layout `paired`: scans and masks as volumes, in folders of their own or side by side, paired by their names.

    ROOT/images/A.nii.gz, masks/A.nii.gz          with channels {ct: "images/*.nii.gz"}, label "masks/*.nii.gz"
    ROOT/A_ct.nii.gz, A_seg.nii.gz                with channels {ct: "*_ct.nii.gz"}, label "*_seg.nii.gz"

What stands for `*` (or `{id}`) is the case id, and the case is a patient of its own unless `data.patient` says
otherwise. Patterns match below any folder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segcct.datasets.layouts.file_roles import ambiguous_labels, channel_names, sort_roles
from segcct.datasets.layouts.flat import find_flat, find_loose
from segcct.datasets.layouts.layout import Layout, Naming
from segcct.datasets.layouts.patterns import drawn_files

_BIDS = re.compile(r"(?:.*/)?(?P<id>sub-[0-9A-Za-z]+(?:_ses-[0-9A-Za-z]+)?)(?P<rest>_[^/]+\.nii(?:\.gz)?)$")
_PATIENT = r"^(sub-[0-9A-Za-z]+)"
_MOST = 0.5
"""Fraction of the sessions that must hold a file for it to be a channel or the label."""


def recognize(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """BIDS (sub-01[_ses-1]_T1w.nii.gz, with masks next to it or in derivatives/): sessions as cases, subjects as
    patients. None where no file is a mask by its name, or where each subject's files lie in a folder of its own at the
    top, which is a case folder like any other."""
    matches = [match for name in names if (match := _BIDS.match(name))]
    if all(match[0].split("/")[0] == match["id"] for match in matches):
        return None
    ids = {match["id"] for match in matches}
    pairs = Counter((match["id"], match["rest"]) for match in matches)
    rests = Counter(rest for (_, rest), times in pairs.items() if times == 1)
    common = sorted(f"{{id}}{rest}" for rest, times in rests.items() if times > _MOST * len(ids))
    channels, labels, masks = sort_roles(common)
    if len(ids) < 2 or not channels or not labels:
        return None
    return Naming(
        layout="paired",
        channels=channel_names(channels),
        label=labels[0],
        mask=masks[0] if masks else None,
        why="file names of BIDS",
        patient=_PATIENT,
        doubts=ambiguous_labels(labels),
    )


LAYOUT = Layout("paired", find_flat, partial(drawn_files, ids=("A", "B")), recognize, find_loose=find_loose)
