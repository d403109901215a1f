"""Postprocessing of a mask, class by class: the steps that model.json lists, and `segcct predict --keep-largest`.

Components are face-connected. What a step removes becomes background, and what it fills was background: no step changes
a voxel of another class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from segcct.errors import CheckpointError
from segcct.model_card import PostprocessingStep


def postprocess(
    index: np.ndarray, steps: Sequence[PostprocessingStep], classes: Sequence[str], voxel_ml: float | None
) -> np.ndarray:
    """Do some steps in order, in place.

    Args:
        index: (X, Y, Z) uint8 class indices.
        steps: what is done.
        classes: the names of the indices 1 and up.
        voxel_ml: volume of a voxel; None where it is not known, and no component is removed for its volume.

    Returns:
        `index`.
    """
    if not steps:
        return index
    from scipy import ndimage

    flat = index.ndim == 3 and index.shape[2] == 1  # a 2-D image, in which a ring encloses what is in it
    boxes = ndimage.find_objects(index)  # no step leaves the bounding box of a class
    for step in steps:
        for name in step.classes:
            value = 1 + list(classes).index(name)
            if value <= len(boxes) and (box := boxes[value - 1]) is not None:
                part = index[box][..., 0] if flat else index[box]  # views
                STEPS[step.step](part, value, step, voxel_ml)
    return index


def check_steps(steps: Sequence[PostprocessingStep], classes: Collection[str], file: Path) -> None:
    """Raises `CheckpointError` where `file` lists a step that is not there, or one of a class that is not there."""
    for step in steps:
        if step.step not in STEPS:
            known = ", ".join(STEPS)
            raise CheckpointError("unknown step of postprocessing", file=file, found=step.step, expected=known)
        if unknown := [name for name in step.classes if name not in classes]:
            what = "postprocessing of a class that the model does not predict"
            raise CheckpointError(what, file=file, found=unknown[0])
        if step.step == "minimum_volume" and step.ml is None:
            raise CheckpointError("step minimum_volume of postprocessing has no volume", file=file, expected="ml")


def _keep_largest(part: np.ndarray, value: int, step: PostprocessingStep, voxel_ml: float | None) -> None:  # noqa: ARG001
    components, sizes = _components(part == value)
    if len(sizes):
        part[(components > 0) & (components != 1 + int(sizes.argmax()))] = 0


def _remove_small(part: np.ndarray, value: int, step: PostprocessingStep, voxel_ml: float | None) -> None:
    if voxel_ml is None or step.ml is None:
        return
    components, sizes = _components(part == value)
    small = np.concatenate([[False], sizes * voxel_ml < step.ml])
    part[small[components]] = 0


def _fill_holes(part: np.ndarray, value: int, step: PostprocessingStep, voxel_ml: float | None) -> None:  # noqa: ARG001
    from scipy import ndimage

    part[ndimage.binary_fill_holes(part == value) & (part == 0)] = value


STEPS: dict[str, Callable[[np.ndarray, int, PostprocessingStep, float | None], None]] = {
    "fill_holes": _fill_holes,
    "largest_component": _keep_largest,
    "minimum_volume": _remove_small,
}
"""Name of a step -> what it does to a class within its bounding box, in place.

fill_holes: background that the class encloses (in 3-D, or in a 2-D image) becomes the class. largest_component: all
other components are removed. minimum_volume: components of less than `ml` are removed.
"""


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of components from 1, 0 outside, and the voxels of each."""
    from scipy import ndimage

    components, _ = ndimage.label(mask)
    return components, np.bincount(components.ravel())[1:]
