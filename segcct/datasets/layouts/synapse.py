"""Layout `synapse`: abdominal CT of the BTCV challenge as distributed by Synapse.

    ROOT/[RawData/][Training|Testing/]img/img0001.nii.gz, label/label0001.nii.gz

What stands for `*` (or `{id}`) in the patterns gives the case: 0001 becomes `case0001`, the name under which TransUNet
and its followers list the patients. The label files hold BTCV's own thirteen organs; under scheme `synapse` they are
mapped to its eight by lookup table (`BTCV_TO_SYNAPSE`), under scheme `btcv` they stay. `data.label_map` replaces that
table: `label_map: {}` says that the files hold the scheme's values already.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from segcct.config import DataSection
from segcct.datasets.label_schemes import BTCV_TO_SYNAPSE
from segcct.datasets.layouts.flat import Patterns, find_flat, find_loose
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.patterns import filled, tree, with_id
from segcct.datasets.layouts.volumes import read_image, read_mask


def case_id_of(number: str) -> str:
    """`0001` -> `case0001`; what is not a number stays."""
    return f"case{number}" if number.isdigit() else number


def find(data: DataSection) -> Found:
    """Every scan below `data.root`."""
    return find_flat(data, Patterns.of(data), case_id_of)


def label_map(data: DataSection) -> Mapping[int, int]:
    """BTCV's organs to the scheme's, unless the config says otherwise."""
    if data.label_map is not None:
        return data.label_map
    return BTCV_TO_SYNAPSE if data.scheme == "synapse" else {}


def picture(data: DataSection) -> str:
    """The folders with their first two scans."""
    patterns = [*data.channels.values(), *([data.label] if data.label else [])]
    names = [filled(with_id(pattern), number) for pattern in patterns for number in ("0001", "0002")]
    return tree(data.root, {"": [*names, "..."]})


LAYOUT = Layout(
    "synapse",
    find,
    read_image,
    read_mask,
    picture,
    phantom=True,
    label_map=label_map,
    find_loose=partial(find_loose, case_id_of=case_id_of),
)
