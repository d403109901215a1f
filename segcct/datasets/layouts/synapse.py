"""Layout `synapse`: abdominal CT of the BTCV challenge as distributed by Synapse.

    ROOT/[RawData/][Training|Testing/]img/img0001.nii.gz, label/label0001.nii.gz

What stands for `*` (or `{id}`) in the patterns gives the case: 0001 becomes `case0001`, the name under which TransUNet
and its followers list the patients. The label files hold BTCV's own thirteen organs; under scheme `synapse` they are
mapped to its eight by lookup table (`BTCV_TO_SYNAPSE`), under scheme `btcv` they stay. `data.label_map` replaces that
table: `label_map: {}` says that the files hold the scheme's values already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.label_schemes import BTCV_TO_SYNAPSE
from segcct.datasets.layouts.flat import find_flat, find_loose
from segcct.datasets.layouts.layout import Layout, MappedLabels, Naming
from segcct.datasets.layouts.patterns import drawn_files

_FILE = re.compile(r"(?:.*/)?(?P<part>img|label)(?P<number>\d{4})(?P<end>\.nii(?:\.gz)?)$")
_WINDOW_HU = (-125.0, 275.0)
_MAPPED = MappedLabels(
    values=BTCV_TO_SYNAPSE,
    why="BTCV's organs, mapped to the eight of TransUNet; scheme btcv keeps all thirteen",
    doubt="no label value is above 8, so these may be the eight organs in an order of their own: then set "
    "data.label_map: {} (or the right map); without it BTCV's own numbers are assumed",
)


def case_id_of(number: str) -> str:
    """`0001` -> `case0001`; what is not a number stays."""
    return f"case{number}" if number.isdigit() else number


def label_map(data: DataSection) -> Mapping[int, int]:
    """BTCV's organs to the scheme's, unless the config says otherwise."""
    if data.label_map is not None:
        return data.label_map
    return BTCV_TO_SYNAPSE if data.scheme == "synapse" else {}


def recognize(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """img0001.nii.gz and label0001.nii.gz."""
    matches = [match for name in names if (match := _FILE.match(name))]
    parts = {match["part"] for match in matches}
    if "img" not in parts:
        return None
    end = matches[0]["end"]
    return Naming(
        layout="synapse",
        channels={"ct": f"img{{id}}{end}"},
        label=f"label{{id}}{end}" if "label" in parts else None,
        why="scans and labels of the BTCV challenge (Synapse)",
        scheme="synapse",
        mapped=_MAPPED,
        window_hu=(*_WINDOW_HU, "window of the Synapse protocol"),
    )


LAYOUT = Layout(
    "synapse",
    partial(find_flat, case_id_of=case_id_of),
    partial(drawn_files, ids=("0001", "0002")),
    recognize,
    label_map=label_map,
    label_patterns=("label/label*.nii.gz",),
    find_loose=partial(find_loose, case_id_of=case_id_of),
    phantom="segcct.phantom.synapse:PHANTOM",
)
