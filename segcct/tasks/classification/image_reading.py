"""How a model's pictures are read: the part of a data section that travels in model.json and predictions.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcct.config import PicturesSection

_PRIVATE = {"root", "cache", "workers", "fold", "split"}
"""Keys that belong to one machine or one training, not to the model."""


def reading(data: PicturesSection, mean: Sequence[float], sd: Sequence[float]) -> dict[str, Any]:
    """What a model card holds of a data section, with the normalisation that was used."""
    return data.model_dump(mode="json", exclude=_PRIVATE) | {"mean": list(mean), "sd": list(sd)}


def section_of(stored: Mapping[str, Any], root: Path) -> PicturesSection:
    """How to read pictures below `root`, from what `reading` gave; pydantic's ValidationError where it is damaged."""
    return PicturesSection.model_validate({**stored, "root": root})
