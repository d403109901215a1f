"""The images of one evaluated case: channels, prediction and reference on one grid, as figures need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segcct import figures
from segcct.config import DataSection
from segcct.config.settings import stored_section
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme, whole_values
from segcct.datasets.layouts import read_case, read_label
from segcct.datasets.layouts.volumes import require_one_grid
from segcct.errors import DataError
from segcct.evaluation.summary_record import CaseFiles
from segcct.images.formats import SUFFIXES
from segcct.images.raster import BANDS
from segcct.images.volume import Volume, says_synthetic
from segcct.plurals import counted
from segcct.predictions.mask_files import load_mask
from segcct.report.results import Results, paths_of


@dataclass(frozen=True)
class CaseImages:
    """One case, every array (X, Y, Z) on the first channel's grid; a color channel is (X, Y, Z, 3)."""

    channels: Mapping[str, np.ndarray]
    """Empty where only the masks can be read."""
    grid: Volume
    prediction: np.ndarray
    """Class indices, 0 background."""
    reference: np.ndarray | None
    """The same; None where there is none."""
    synthetic: bool
    """A header says that the images are synthetic."""
    clip_window: figures.Window | None = None
    """The network's input range, where that is a fixed range of intensities, as for CT."""

    def window_of(self, channel: str) -> figures.Window | None:
        """How a channel is shown; None for a color image."""
        volume = self.channels[channel]
        return None if volume.ndim == 4 else self.clip_window or figures.window(volume)


def images_of(results: Results, case: str) -> CaseImages:
    """The images of one case of an evaluation, from the files that it names.

    Channels that are not volume files (slices, images) are read as predictions.json says; a reference that is not a
    mask file, as the evaluation says.

    Raises:
        SegcctError: the evaluation does not say where they are, or a file is missing, damaged, or on another grid.
    """
    files, scheme = _files(results, case), results.scheme
    label_data = results.summary.data
    index = None if results.other_model else results.index
    image_data = (index.data if index else None) or label_data
    named = {name: paths_of(paths) for name, paths in (files.channels or {}).items()}
    channels = {name: paths for name, paths in named.items() if paths and not _is_label(name, label_data)}
    if not channels:
        raise DataError(
            f"the evaluation names no image of case {case}, only masks",
            remedy="Run `segcct evaluate` with the dataset as --reference and its config as --scheme",
        )
    if all(len(paths) == 1 and _is_volume(paths[0]) for paths in channels.values()):
        images, grid = _volumes(channels)
    else:
        images, grid = _by_layout(case, channels, image_data, scheme)
    return replace(masks_of(results, case, grid), channels=_with_colors(images), clip_window=_clip_window(image_data))


def masks_of(results: Results, case: str, grid: Volume | None = None) -> CaseImages:
    """Prediction and reference of a case without its image; `grid` is that of the image. Raises as `images_of`."""
    files, scheme = _files(results, case), results.scheme
    mask = load_mask(_one(paths_of(files.prediction), f"prediction of case {case}"))
    grid = grid or mask
    require_one_grid(mask, grid)
    paths = paths_of(files.reference)
    reference = _reference(case, paths, grid, results.summary.data, scheme) if paths else None
    return CaseImages(
        channels={},
        grid=grid,
        prediction=_indices(mask.array, scheme),
        reference=None if reference is None else _indices(reference, scheme),
        synthetic=says_synthetic(grid),
    )


def _files(results: Results, case: str) -> CaseFiles:
    files = results.summary.files.get(case)
    if files is None or not files.model_fields_set:
        raise DataError("the evaluation names no image files for this case")
    return files


def _clip_window(data: Mapping[str, object] | None) -> figures.Window | None:
    intensity = (data or {}).get("intensity")
    if not isinstance(intensity, dict) or intensity.get("rule") != "clip":
        return None
    low, high = float(intensity["low"]), float(intensity["high"])
    return figures.fixed_window((low + high) / 2, high - low)


def _by_layout(
    case_id: str, channels: Mapping[str, tuple[Path, ...]], data: Mapping[str, object] | None, scheme: Scheme
) -> tuple[dict[str, np.ndarray], Volume]:
    """Channels by the reader of their layout; (X, Y, Z) each."""
    if data is None:
        raise DataError(
            f"it is not recorded how the images of case {case_id} are read",
            file=next(iter(channels.values()))[0],
            remedy="Predict by `segcct predict`, whose predictions.json says so",
        )
    section = stored_section(DataSection, data)
    loaded = read_case(Case(case_id, case_id, dict(channels)), section, scheme, with_label=False)
    return dict(zip(section.channels, loaded.image, strict=True)), loaded.grid


def _volumes(channels: Mapping[str, tuple[Path, ...]]) -> tuple[dict[str, np.ndarray], Volume]:
    volumes = {name: Volume.load(paths[0]) for name, paths in channels.items()}
    grid = next(iter(volumes.values()))
    for volume in volumes.values():
        require_one_grid(volume, grid)
    return {name: volume.array for name, volume in volumes.items()}, grid


def _with_colors(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the color image of channels red, green and blue, if they have 8 bits, as the first one."""
    if not all(name in images for name in BANDS):
        return dict(images)
    color = np.stack([images[name] for name in BANDS], axis=-1)
    if color.min() < 0 or color.max() > 255:
        return dict(images)
    return {"color": color.astype(np.uint8), **images}


def _reference(
    case_id: str, files: tuple[Path, ...], grid: Volume, data: Mapping[str, object] | None, scheme: Scheme
) -> np.ndarray:
    """(X, Y, Z) values of the scheme."""
    if data is None:
        mask = load_mask(_one(files, f"reference of case {case_id}"))
        require_one_grid(mask, grid)
        return mask.array
    label = read_label(Case(case_id, case_id, {}, files), stored_section(DataSection, data), scheme, grid)
    return grid.with_array(label).array


def _is_volume(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(SUFFIXES)


def _is_label(name: str, label_data: Mapping[str, object] | None) -> bool:
    """Whether a "channel" is the label itself, as where masks were evaluated without knowing their images."""
    pattern, channels = (label_data or {}).get("label"), (label_data or {}).get("channels")
    return bool(pattern) and isinstance(channels, dict) and channels.get(name) == pattern


def _indices(label: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Scheme values -> class indices; values outside the scheme, which an evaluation has refused, are background."""
    label = whole_values(label)
    index = np.zeros(label.shape, dtype=np.uint8)
    for position, value in enumerate(scheme.classes.values(), start=1):
        index[label == value] = position
    return index


def _one(paths: tuple[Path, ...], what: str) -> Path:
    if len(paths) != 1:
        raise DataError(f"the {what} is not one volume file", found=counted(len(paths), "file"))
    return paths[0]
