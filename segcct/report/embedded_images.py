"""The images of one evaluated case: channels, prediction and reference on one grid, as pictures need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from segcct import figures
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme, whole_values
from segcct.datasets.synthetic import says_synthetic
from segcct.errors import DataError, GeometryError
from segcct.images.volume import SUFFIXES, Volume
from segcct.inference.index import INDEX
from segcct.inference.masks import load_mask
from segcct.plurals import counted
from segcct.report.results import Results, read_json
from segcct.report.stored_summary import IndexSources, check_stored

BANDS = ("red", "green", "blue")


@dataclass(frozen=True)
class CaseImages:
    """One case, every array (X, Y, Z) on the first channel's grid; a colour channel is (X, Y, Z, 3)."""

    channels: Mapping[str, np.ndarray]
    grid: Volume
    prediction: np.ndarray
    """Class indices, 0 background."""
    reference: np.ndarray | None
    """The same; None where there is none."""
    synthetic: bool
    """A header says that the images are synthetic."""
    window: figures.Window | None = None
    """What the network was shown, where that is a fixed range of intensities, as for CT."""


def read_predictions(results: Results) -> dict[str, Any]:
    """`predictions.json` of the folder that was evaluated; empty where the masks came from elsewhere, or where the
    folder holds another model's by now."""
    index = _index_of(results)
    return {} if _is_other(results, index) else index


def is_other_model(results: Results) -> bool:
    """Whether the folder of predictions holds another model's by now."""
    return _is_other(results, _index_of(results))


def _index_of(results: Results) -> dict[str, Any]:
    named = (results.summary.get("provenance") or {}).get("predictions")
    path = Path(str(named)) / INDEX
    if named is None or not path.is_file():
        return {}
    content = read_json(path)
    check_stored(IndexSources, content, path, "Write it again by `segcct predict`")
    return content


def _is_other(results: Results, index: Mapping[str, Any]) -> bool:
    scored = results.summary.get("weights_sha256")
    return bool(scored and index and index.get("weights_sha256") != scored)


def images_of(results: Results, predictions: Mapping[str, Any], case: str) -> CaseImages:
    """The images of one case of an evaluation.

    Args:
        predictions: what `read_predictions` gives.

    Raises:
        SegcctError: the evaluation does not say where they are, or they cannot be read.
    """
    files = (results.summary.get("files") or {}).get(case)
    if not files:
        raise DataError("the evaluation names no image files for this case")
    if results.scheme is None:
        raise DataError("the evaluation does not say which value each class has")
    label_data = results.summary.get("data")
    image_data = predictions.get("data") or label_data
    return read_case_images(case, files, results.scheme, image_data=image_data, label_data=label_data)


def read_case_images(
    case_id: str,
    files: Mapping[str, Any],
    scheme: Scheme,
    *,
    image_data: Mapping[str, Any] | None = None,
    label_data: Mapping[str, Any] | None = None,
) -> CaseImages:
    """Read the images of a case from the files that its evaluation names.

    Args:
        files: `prediction`, `reference` (may be None or missing) and `channels` (name -> file or files).
        image_data: the data section, as JSON, by which channels that are no volume files (slices, pictures) are read.
        label_data: the data section by which the reference was read; None where it is a mask in the scheme's values.

    Raises:
        SegcctError: a file is missing, damaged, or on another grid.
    """
    channels = {name: _paths(value) for name, value in dict(files.get("channels") or {}).items()}
    reference = _paths(files.get("reference"))
    channels = {name: paths for name, paths in channels.items() if paths and not _is_label(name, label_data)}
    if not channels:
        raise DataError(f"the evaluation names no image of case {case_id}, only masks")
    if all(len(paths) == 1 and _is_volume(paths[0]) for paths in channels.values()):
        images, grid = _volumes(channels)
    else:
        images, grid = _by_layout(case_id, channels, image_data, scheme)
    prediction = load_mask(_one(_paths(files.get("prediction")), f"prediction of case {case_id}"))
    label = _reference(case_id, reference, grid, label_data, scheme) if reference else None
    for array, path in ((prediction.array, prediction.path), (label, reference[0] if reference else None)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError("not on the image's grid", file=path, found=array.shape, expected=grid.shape)
    return CaseImages(
        _with_colours(images),
        grid,
        _indices(prediction.array, scheme),
        None if label is None else _indices(label, scheme),
        says_synthetic(grid),
        _clip_window(image_data),
    )


def _clip_window(data: Mapping[str, Any] | None) -> figures.Window | None:
    intensity = (data or {}).get("intensity") or {}
    if intensity.get("rule") != "clip":
        return None
    low, high = float(intensity["low"]), float(intensity["high"])
    return figures.fixed_window((low + high) / 2, high - low)


def _by_layout(
    case_id: str, channels: Mapping[str, tuple[Path, ...]], data: Mapping[str, Any] | None, scheme: Scheme
) -> tuple[dict[str, np.ndarray], Volume]:
    """Channels by the reader of their layout; (X, Y, Z) each."""
    from segcct.datasets.layouts import read_case

    if data is None:
        raise DataError(
            f"it is not recorded how the images of case {case_id} are read",
            file=next(iter(channels.values()))[0],
            remedy="Predict by `segcct predict`, whose predictions.json says so",
        )
    section = _section(data)
    examination = read_case(Case(case_id, case_id, dict(channels)), section, scheme, with_label=False)
    return dict(zip(section.channels, examination.image, strict=True)), examination.grid


def _volumes(channels: Mapping[str, tuple[Path, ...]]) -> tuple[dict[str, np.ndarray], Volume]:
    volumes = {name: Volume.load(paths[0]) for name, paths in channels.items()}
    grid = next(iter(volumes.values()))
    for volume in volumes.values():
        if volume.shape != grid.shape:
            raise GeometryError(
                "not on the first channel's grid", file=volume.path, found=volume.shape, expected=grid.shape
            )
    return {name: volume.array for name, volume in volumes.items()}, grid


def _with_colours(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Channels red, green and blue of 8 bits are one picture, shown first."""
    if not all(name in images for name in BANDS):
        return dict(images)
    colour = np.stack([images[name] for name in BANDS], axis=-1)
    if colour.min() < 0 or colour.max() > 255:
        return dict(images)
    return {"colour": colour.astype(np.uint8), **images}


def _reference(
    case_id: str, files: tuple[Path, ...], grid: Volume, data: Mapping[str, Any] | None, scheme: Scheme
) -> np.ndarray:
    """(X, Y, Z) values of the scheme."""
    if data is None:
        return load_mask(_one(files, f"reference of case {case_id}")).array
    from segcct.datasets.layouts import read_label

    return read_label(Case(case_id, case_id, {}, files), _section(data), scheme, grid)


def _section(data: Mapping[str, Any]) -> DataSection:
    try:
        return DataSection.model_validate(dict(data))
    except ValidationError as error:
        raise DataError("the recorded data section cannot be used", found=str(error).split("\n")[0]) from error


def _is_volume(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(SUFFIXES)


def _is_label(name: str, label_data: Mapping[str, Any] | None) -> bool:
    """Whether a "channel" is the label itself, as where masks were evaluated without knowing their images."""
    if label_data is None or not label_data.get("label"):
        return False
    return (label_data.get("channels") or {}).get(name) == label_data["label"]


def _indices(label: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Scheme values -> class indices; values outside the scheme, which an evaluation has refused, are background."""
    label = whole_values(label)
    index = np.zeros(label.shape, dtype=np.uint8)
    for position, value in enumerate(scheme.classes.values(), start=1):
        index[label == value] = position
    return index


def _paths(value: object) -> tuple[Path, ...]:
    if value is None:
        return ()
    return tuple(Path(item) for item in value) if isinstance(value, list | tuple) else (Path(str(value)),)


def _one(paths: tuple[Path, ...], what: str) -> Path:
    if len(paths) != 1:
        raise DataError(f"the {what} is not one volume file", found=counted(len(paths), "file"))
    return paths[0]
