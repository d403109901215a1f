"""Postprocessing of a mask, class by class: the steps that model.json lists, and `segcct predict --keep-largest`.

Components are face-connected. What a step removes becomes background, and what it fills was background: no step changes
a voxel of another class. The steps themselves are in runtime.py, for exported models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from segcct import runtime
from segcct.errors import CheckpointError
from segcct.model_card import PostprocessingStep


def postprocess(
    index: np.ndarray, steps: Sequence[PostprocessingStep], classes: Sequence[str], voxel_ml: float | None
) -> np.ndarray:
    """Apply steps in order, in place.

    Args:
        index: (X, Y, Z) uint8 class indices.
        steps: as model.json lists them.
        classes: the names of the indices 1 and up.
        voxel_ml: volume of a voxel; None where it is not known, and no component is removed for its volume.

    Returns:
        `index`.
    """
    return runtime.postprocess(index, [step.model_dump() for step in steps], classes, voxel_ml)


def check_steps(steps: Sequence[PostprocessingStep], classes: Collection[str], file: Path) -> None:
    """Raises `CheckpointError` where `file` lists an unknown step, or a step of an unknown class."""
    for step in steps:
        if step.step not in runtime.STEPS:
            known = ", ".join(runtime.STEPS)
            raise CheckpointError("unknown step of postprocessing", file=file, found=step.step, expected=known)
        if unknown := [name for name in step.classes if name not in classes]:
            what = "postprocessing of a class that the model does not predict"
            raise CheckpointError(what, file=file, found=unknown[0])
        if step.step == "minimum_volume" and step.ml is None:
            raise CheckpointError("step minimum_volume of postprocessing has no volume", file=file, expected="ml")
