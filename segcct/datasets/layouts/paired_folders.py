"""Layout `paired`: scans and masks as volumes, in folders of their own or side by side, paired by their names.

    ROOT/images/A.nii.gz, masks/A.nii.gz          with channels {ct: "images/*.nii.gz"}, label "masks/*.nii.gz"
    ROOT/A_ct.nii.gz, A_seg.nii.gz                with channels {ct: "*_ct.nii.gz"}, label "*_seg.nii.gz"

What stands for `*` (or `{id}`) is the case id, and the case is a patient of its own unless `data.patient` says
otherwise. Patterns match below any folder.
"""

from __future__ import annotations

from segcct.config import DataSection
from segcct.datasets.layouts.flat import Patterns, find_flat, find_loose
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.patterns import filled, tree, with_id
from segcct.datasets.layouts.volumes import read_image, read_mask


def find(data: DataSection) -> Found:
    """Every scan of the first channel below `data.root`."""
    return find_flat(data, Patterns.of(data))


def picture(data: DataSection) -> str:
    """The files of the first two cases."""
    patterns = [*data.channels.values(), *([data.label] if data.label else [])]
    return tree(data.root, {"": [*(filled(with_id(p), case) for p in patterns for case in ("A", "B")), "..."]})


LAYOUT = Layout("paired", find, read_image, read_mask, picture, find_loose=find_loose)
