"""Layout `nnunet`: nnU-Net's raw datasets.

    ROOT/dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, [imagesTs/, labelsTs/]

Channels are `{id}_0000.nii.gz`, `{id}_0001.nii.gz`, ..., the label is `{id}.nii.gz`; channel names and label values
stand in dataset.json and are repeated in the config. imagesTr trains, imagesTs tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.layouts.flat import find_flat, find_loose
from segcct.datasets.layouts.layout import Layout, Naming
from segcct.datasets.layouts.patterns import drawn, filled, with_id
from segcct.errors import DataError
from segcct.files.json_file import read_object

_IMAGE = re.compile(r"imagesTr/(?P<id>[^/]+?)(?:_(?P<channel>\d{4}))?(?P<end>\.nii\.gz|\.nii|\.nrrd|\.mha)$")
_DATASET_JSON = "dataset.json"
_MOST_CHANNELS = 20
_LARGEST_LABEL, _DIGITS = 65535, 10


def example(data: DataSection) -> str:
    """The two folders with their first case."""
    images = [filled(with_id(pattern), "CASE_001") for pattern in data.channels.values()]
    labels = [filled(with_id(data.label), "CASE_001")] if data.label else []
    return drawn(data.root, {"": [_DATASET_JSON], "imagesTr": [*images, "..."], "labelsTr": [*labels, "..."]})


def recognize(root: Path, names: Sequence[str]) -> Naming | None:
    """imagesTr, labelsTr and dataset.json."""
    matches = [match for name in names if (match := _IMAGE.match(name))]
    if not matches:
        return None
    end = matches[0]["end"]
    numbers = sorted({match["channel"] for match in matches if match["channel"]})
    if "0000" not in numbers or len(numbers) > _MOST_CHANNELS:
        numbers = []  # four digits at the end are part of the case id
    facts, doubts = _dataset_json(root)
    called = facts.get("channel_names") or facts.get("modality") or {}
    patterns = [f"{{id}}_{number}{end}" for number in numbers] or [f"{{id}}{end}"]
    channels = {
        str(called.get(str(index), f"channel_{index}")).lower().replace(" ", "_"): pattern
        for index, pattern in enumerate(patterns)
    }
    if len(channels) < len(patterns):
        channels = {f"channel_{index}": pattern for index, pattern in enumerate(patterns)}
        doubts.append("dataset.json gives several channels one name; they are numbered here")
    has_labels = any(name.startswith("labelsTr/") for name in names)
    return Naming(
        layout="nnunet",
        channels=channels,
        label=f"{{id}}{end}" if has_labels else None,
        why="imagesTr and labelsTr as nnU-Net names them",
        classes=_classes(facts.get("labels"), doubts),
        doubts=tuple(doubts),
    )


def _dataset_json(root: Path) -> tuple[Mapping[str, Mapping[str, object]], list[str]]:
    file = root / _DATASET_JSON
    if not file.exists():
        return {}, ["there is no dataset.json, so channels and classes have no names"]
    try:
        facts = read_object(file)
    except DataError as error:
        return {}, [f"dataset.json cannot be read ({error.found})"]
    return {key: value for key, value in facts.items() if isinstance(value, dict)}, []


def _classes(labels: object, doubts: list[str]) -> Mapping[str, int]:
    """Class name -> value from nnU-Net's `labels`: name -> value in version 2, value -> name before."""
    classes: dict[str, int] = {}
    if not isinstance(labels, Mapping):
        return classes
    for key, value in labels.items():
        if isinstance(value, list):
            doubts.append(f"dataset.json defines {key} as a region {value}; add it to data.regions")
        elif key.isdecimal() and len(key) < _DIGITS:
            classes[str(value)] = int(key)
        elif isinstance(value, int) and key.lower() != "ignore":
            classes[key] = value
    large = [name for name, value in classes.items() if value > _LARGEST_LABEL]
    if large:
        doubts.append(f"dataset.json gives {large[0][:40]} a value beyond {_LARGEST_LABEL}; it is left out")
    return {name: value for name, value in classes.items() if 0 < value <= _LARGEST_LABEL}


LAYOUT = Layout(
    "nnunet",
    partial(find_flat, folders=("imagesT?", "labelsT?")),
    example,
    recognize,
    label_patterns=("labelsTr/{id}.nii.gz", "labelsTs/{id}.nii.gz"),
    find_loose=find_loose,
    ignored=(_DATASET_JSON,),
)
