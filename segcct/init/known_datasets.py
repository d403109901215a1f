"""Datasets known by their file names: BraTS, ACDC, BTCV, nnU-Net raw folders, BIDS, HDF5 and NPZ arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from segcct.errors import DataError
from segcct.files.file_names import stem_of
from segcct.files.json_file import read_object
from segcct.images.arrays import array_shapes
from segcct.init.bids import bids
from segcct.init.file_roles import ARRAYS, label_score
from segcct.init.naming import Naming

_BRATS_OLD = re.compile(r"(?:.*/)?(?P<id>[^/]+)/(?P=id)_(?P<part>t1|t1ce|t2|flair|seg)(?P<end>\.nii(?:\.gz)?)$")
_BRATS_NEW = re.compile(r"(?:.*/)?(?P<id>[^/]+)/(?P=id)-(?P<part>t1n|t1c|t2w|t2f|seg)(?P<end>\.nii(?:\.gz)?)$")
_ACDC = re.compile(r"(?:.*/)?(?P<patient>patient\d+)/(?P=patient)_frame\d+(?P<gt>_gt)?(?P<end>\.nii(?:\.gz)?)$")
_BTCV = re.compile(r"(?:.*/)?(?P<part>img|label)(?P<number>\d{4})(?P<end>\.nii(?:\.gz)?)$")
_NNUNET = re.compile(r"imagesTr/(?P<id>[^/]+?)(?:_(?P<channel>\d{4}))?(?P<end>\.nii\.gz|\.nii|\.nrrd|\.mha)$")
_MOST_CHANNELS = 20
_LARGEST_LABEL, _DIGITS = 65535, 10
_ACDC_ARRAY = re.compile(r"patient\d+_frame\d+(_slice_?\d+)?$")
_SYNAPSE_ARRAY = re.compile(r"case\d{4}(_slice\d+)?$")


def nnunet(root: Path, names: Sequence[str]) -> Naming | None:
    """imagesTr, labelsTr and dataset.json."""
    matches = [match for name in names if (match := _NNUNET.match(name))]
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


def brats(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """ID/ID_t1.nii.gz (2018-2021) or ID/ID-t1n.nii.gz (2023 and later)."""
    for expression, years, scheme, joint in (
        (_BRATS_OLD, "2018-2021", "brats2021", "_"),
        (_BRATS_NEW, "2023 and later", "brats2023", "-"),
    ):
        matches = [match for name in names if (match := expression.match(name))]
        parts = Counter(match["part"] for match in matches)
        labels = parts.pop("seg", 0)
        most = max(parts.values(), default=0)
        channels = [part for part in _order(expression) if parts[part] > most / 2]
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


def acdc(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """patient001/patient001_frame01.nii.gz and _gt."""
    matches = [match for name in names if (match := _ACDC.match(name))]
    if not matches:
        return None
    end = matches[0]["end"]
    labels = any(match["gt"] for match in matches)
    return Naming(
        layout="acdc",
        channels={"cine": f"{{id}}{end}"},
        label=f"{{id}}_gt{end}" if labels else None,
        why="patient folders of ACDC",
        scheme="acdc",
    )


def btcv(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """img0001.nii.gz and label0001.nii.gz."""
    matches = [match for name in names if (match := _BTCV.match(name))]
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
    )


def arrays(root: Path, names: Sequence[str]) -> Naming | None:
    """Slices or volumes in .h5 and .npz files."""
    files = [name for name in names if name.lower().endswith(ARRAYS)]
    if not files or len(files) < len(names) / 2:
        return None
    keys = array_shapes(root / files[0])
    labels = [key for key in keys if label_score(key) > 0]
    images = [key for key, shape in keys.items() if key not in labels and len(shape) in (2, 3)]
    if not images:
        raise DataError(
            "holds no image array",
            file=root / files[0],
            found=", ".join(f"{key} {shape}" for key, shape in keys.items()) or "no array",
            expected="an array of rows and columns, or of slices, rows and columns",
        )
    stems = [stem_of(name) for name in files]
    scheme = None
    if all(_ACDC_ARRAY.match(one) for one in stems):
        scheme = "acdc"
    elif all(_SYNAPSE_ARRAY.match(one) for one in stems):
        scheme = "synapse"
    known = {"acdc": ", named as those of ACDC", "synapse": ", named as those of Synapse (TransUNet)"}
    return Naming(
        layout="slices",
        channels={"image" if len(images) == 1 else key: key for key in images},
        label=labels[0] if labels else None,
        why=f"arrays in {PurePosixPath(files[0]).suffix} files{known.get(scheme or '', '')}",
        scheme=scheme,
        doubts=(f"several arrays may be labels: {', '.join(labels)}; {labels[0]} is taken",) if len(labels) > 1 else (),
    )


KNOWN: tuple[Callable[[Path, Sequence[str]], Naming | None], ...] = (nnunet, brats, acdc, btcv, bids, arrays)


def _order(expression: re.Pattern[str]) -> tuple[str, ...]:
    return ("t1", "t1ce", "t2", "flair") if expression is _BRATS_OLD else ("t1n", "t1c", "t2w", "t2f")


def _dataset_json(root: Path) -> tuple[Mapping[str, Mapping[str, object]], list[str]]:
    file = root / "dataset.json"
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
