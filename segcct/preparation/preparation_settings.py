"""The settings by which a case is prepared, for training and, from the model, for prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from segcct.config import DataSection, IntensitySection
from segcct.config.data_section import Fit


@dataclass(frozen=True)
class Preparation:
    """The settings that turn a case into network slices; a model carries them to prediction."""

    orientation: Literal["canonical", "native"]
    crop: Literal["foreground", "none"]
    spacing_mm: float | None
    fit: Fit
    image_size: int
    intensity: IntensitySection

    @classmethod
    def of(cls, data: DataSection) -> Preparation:
        """Those of a configuration."""
        return cls(data.orientation, data.crop, data.spacing_mm, data.fit, data.image_size, data.intensity)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "intensity": self.intensity.model_dump(mode="json")}
