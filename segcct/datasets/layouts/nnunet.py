"""Layout `nnunet`: nnU-Net's raw datasets.

    ROOT/dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, [imagesTs/, labelsTs/]

Channels are `{id}_0000.nii.gz`, `{id}_0001.nii.gz`, ..., the label is `{id}.nii.gz`; channel names and label values
stand in dataset.json and are repeated in the config. imagesTr trains, imagesTs tests.
"""

from __future__ import annotations

from segcct.config import DataSection
from segcct.datasets.layouts.flat import Patterns, find_flat, find_loose
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.patterns import filled, tree, with_id
from segcct.datasets.layouts.volumes import read_image, read_mask


def find(data: DataSection) -> Found:
    """Every case in imagesTr and imagesTs."""
    return find_flat(data, Patterns.of(data, image="imagesT?", mask="labelsT?"))


def picture(data: DataSection) -> str:
    """The two folders with their first case."""
    images = [filled(with_id(pattern), "CASE_001") for pattern in data.channels.values()]
    labels = [filled(with_id(data.label), "CASE_001")] if data.label else []
    return tree(data.root, {"": ["dataset.json"], "imagesTr": [*images, "..."], "labelsTr": [*labels, "..."]})


LAYOUT = Layout("nnunet", find, read_image, read_mask, picture, find_loose=find_loose, aside=("dataset.json",))
