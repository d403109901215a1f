"""Layout `nnunet`: nnU-Net's raw datasets.

    ROOT/dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, [imagesTs/, labelsTs/]

Channels are `{id}_0000.nii.gz`, `{id}_0001.nii.gz`, ..., the label is `{id}.nii.gz`; channel names, label values and
regions stand in dataset.json and are repeated in the config. imagesTr trains, imagesTs tests. Those of 2-D images (PNG,
TIFF, BMP) are recognized here and read by the layout `pictures`.
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
from segcct.files.file_names import IMAGE_SUFFIXES
from segcct.files.json_file import read_object
from segcct.plurals import listed

_IMAGE = re.compile(
    r"(?P<top>[^/]+/)?imagesTr/(?P<id>[^/]+?)(?:_(?P<channel>\d{4}))?"
    r"(?P<end>\.nii\.gz|\.nii|\.nrrd|\.mha|(?i:\.png|\.tiff?|\.bmp))$"
)
_DATASET_JSON = "dataset.json"
_MOST_CHANNELS = 20
_LARGEST_LABEL, _DIGITS = 65535, 10


def example(data: DataSection) -> str:
    """The two folders with their first case."""
    images = [filled(with_id(pattern), "CASE_001") for pattern in data.channels.values()]
    labels = [filled(with_id(data.label), "CASE_001")] if data.label else []
    return drawn(data.root, {"": [_DATASET_JSON], "imagesTr": [*images, "..."], "labelsTr": [*labels, "..."]})


def recognize(root: Path, names: Sequence[str]) -> Naming | None:
    """imagesTr, labelsTr and dataset.json, in the root or in a folder in it, such as Dataset001_Heart.

    Raises `DataError` for several datasets.
    """
    matches = _images(root, names)
    if not matches:
        return None
    top, end = matches[0]["top"] or "", matches[0]["end"]
    labeled = {name.removeprefix(f"{top}labelsTr/") for name in names if name.startswith(f"{top}labelsTr/")}
    of_images = end.lower().endswith(IMAGE_SUFFIXES)
    if of_images and not labeled:
        return None
    numbers = _channel_numbers(matches, names)
    expected = (f"{match['id']}{match['end']}" if numbers else match[0].rpartition("/")[2] for match in matches)
    if labeled and labeled.isdisjoint(expected):  # CASE__CT.nii.gz, CASE__PT.nii.gz; or other endings
        return None
    facts, doubts = _dataset_json(root / top)
    images, labels = ("imagesT?/", "labelsT?/") if of_images else ("", "")
    patterns = {int(number): f"{images}{{id}}_{number}{end}" for number in numbers} or {0: f"{images}{{id}}{end}"}
    channels, renamed = _channels(patterns, facts)
    classes, regions, left_out = _classes(facts.get("labels"))
    return Naming(
        layout="pictures" if of_images else "nnunet",
        channels=channels,
        label=f"{labels}{{id}}{end}" if labeled else None,
        why="imagesTr and labelsTr as nnU-Net names them",
        classes=classes,
        regions=regions,
        doubts=(*doubts, *renamed, *left_out),
    )


def _images(root: Path, names: Sequence[str]) -> list[re.Match[str]]:
    """The training images of the one dataset in the root, or in a folder in it; none where several folders may be one.
    Raises `DataError` where several are."""
    matches = [match for name in names if (match := _IMAGE.match(name))]
    inside = [match for match in matches if not match["top"]]
    if inside:  # what folders below it hold, such as a copy, is not the dataset
        return inside
    tops = sorted({match["top"] for match in matches})
    if len(tops) > 1 and all((root / top / _DATASET_JSON).is_file() for top in tops):
        raise DataError(
            "holds several datasets of nnU-Net", file=root, found=listed(tops), remedy="Name the folder of one of them"
        )
    return matches if len(tops) == 1 else []


def _channel_numbers(matches: Sequence[re.Match[str]], names: Sequence[str]) -> list[str]:
    """`0000`, `0001`, ...; none where four digits at the end are part of the case id, as they are if the masks have
    them too."""
    numbers = sorted({match["channel"] for match in matches if match["channel"]})
    alike = set(names).issuperset(match[0].replace("imagesTr/", "labelsTr/", 1) for match in matches)
    return [] if "0000" not in numbers or len(numbers) > _MOST_CHANNELS or alike else numbers


def _channels(
    patterns: Mapping[int, str], facts: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, str], Sequence[str]]:
    """Name in dataset.json -> pattern of each channel, and a remark where the names are not of use."""
    called = facts.get("channel_names") or facts.get("modality") or {}
    channels = {
        str(called.get(str(number), f"channel_{number}")).lower().replace(" ", "_"): pattern
        for number, pattern in patterns.items()
    }
    if len(channels) == len(patterns):
        return channels, ()
    numbered = {f"channel_{number}": pattern for number, pattern in patterns.items()}
    return numbered, ["dataset.json gives several channels one name; they are numbered here"]


def _dataset_json(root: Path) -> tuple[Mapping[str, Mapping[str, object]], list[str]]:
    file = root / _DATASET_JSON
    if not file.exists():
        return {}, ["there is no dataset.json, so channels and classes have no names"]
    try:
        facts = read_object(file)
    except DataError as error:
        return {}, [f"dataset.json cannot be read ({error.found})"]
    return {key: value for key, value in facts.items() if isinstance(value, dict)}, []


def _classes(labels: object) -> tuple[Mapping[str, int], Mapping[str, Sequence[int]], list[str]]:
    """Class name -> value, region name -> values, and remarks on what is left out, from nnU-Net's `labels`.

    Version 2 maps a name to a value, or to the values of a region; version 1 maps a value to a name. A value that only
    regions of several values hold becomes a class such as `class_3`.
    """
    classes: dict[str, int] = {}
    regions: dict[str, list[int]] = {}
    doubts: list[str] = []
    if not isinstance(labels, Mapping):
        return classes, regions, doubts
    for key, value in labels.items():
        if isinstance(value, list):
            if value and all(isinstance(one, int) and 0 < one <= _LARGEST_LABEL for one in value):
                regions[key] = sorted(set(value))
            else:
                values = listed([str(one)[:20] for one in value]) or "nothing"
                doubts.append(f"dataset.json defines {key[:40]} as a region of {values}; it is left out")
        elif key.isdecimal() and len(key) < _DIGITS:
            classes[str(value)] = int(key)
        elif isinstance(value, int) and key.lower() != "ignore":
            classes[key] = value
    large = [name for name, value in classes.items() if value > _LARGEST_LABEL]
    if large:
        doubts.append(f"dataset.json gives {large[0][:40]} a value beyond {_LARGEST_LABEL}; it is left out")
    classes = {name: value for name, value in classes.items() if 0 < value <= _LARGEST_LABEL}
    for name, parts in list(regions.items()):
        if len(parts) == 1 and parts[0] not in classes.values():
            classes[name] = regions.pop(name)[0]
    unnamed = {value for parts in regions.values() for value in parts}.difference(classes.values())
    return classes | {f"class_{value}": value for value in sorted(unnamed)}, regions, doubts


LAYOUT = Layout(
    "nnunet",
    partial(find_flat, folders=("imagesT?", "labelsT?")),
    example,
    recognize,
    label_patterns=("labelsTr/{id}.nii.gz", "labelsTs/{id}.nii.gz"),
    find_loose=find_loose,
    ignored=(_DATASET_JSON,),
)
