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

_SESSION = r"(?:.*/)?(?P<id>(?P<session>sub-[0-9A-Za-z]+(?:_ses-[0-9A-Za-z]+)?)"
_REST = r")(?P<rest>_[^/]+\.nii(?:\.gz)?)$"
_BIDS = re.compile(_SESSION + _REST)
_BIDS_RUNS = re.compile(_SESSION + r"(?:_[^/]*?(?<=_)run-(?P<run>\d+)(?=_))?" + _REST)
_PATIENT = r"^(sub-[0-9A-Za-z]+)"
_MOST = 0.5
"""Fraction of the sessions that must hold a file for it to be a channel or the label."""


def recognize(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """BIDS (sub-01[_ses-1]_T1w.nii.gz, with masks next to it or in derivatives/): sessions as cases, or their runs
    where those have masks; subjects as patients. None where no file is a mask by its name, or where each subject's
    files lie in a folder of its own at the top and no run has a mask: that is a case folder like any other."""
    of_runs = [match for name in names if (match := _BIDS_RUNS.match(name))]
    if len({match["run"] for match in of_runs if match["run"]}) > 1 and (naming := _named_by(of_runs)):
        return naming
    matches = [match for name in names if (match := _BIDS.match(name))]
    return None if all(match[0].split("/")[0] == match["id"] for match in matches) else _named_by(matches)


def _named_by(matches: Sequence[re.Match[str]]) -> Naming | None:
    """The channels and label that most sessions hold, if one id has them all, and most runs have all channels."""
    sessions = {match["session"] for match in matches}
    pairs = Counter((match["id"], match["rest"]) for match in matches)
    ids_with: dict[str, set[str]] = {}
    for (case_id, rest), times in pairs.items():
        if times == 1:
            ids_with.setdefault(f"{{id}}{rest}", set()).add(case_id)
    common = sorted(pattern for pattern, ids in ids_with.items() if len(ids) > _MOST * len(sessions))
    channels, labels, masks = sort_roles(common)
    if len(sessions) < 2 or not channels or not labels:
        return None
    with_all = set.intersection(*(ids_with[pattern] for pattern in channels))
    with_any = set.union(*(ids_with[pattern] for pattern in channels))
    if with_all.isdisjoint(ids_with[labels[0]]):
        return None  # a T1w of each run, and one FLAIR and mask of the session
    if len(with_any) > len(sessions) and len(with_all) <= _MOST * len(with_any):
        return None  # a T1w of each run, and the rest of one run alone
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
