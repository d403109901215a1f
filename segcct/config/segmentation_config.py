"""The image-to-mask experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from segcct.config.base import Experiment, ModelSection, PositiveInt, RunSection, ScheduleSection, Section
from segcct.config.data_section import AugmentSection, DataSection


class LossSection(Section):
    ce: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the cross-entropy."""
    dice: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the soft Dice loss."""
    focal: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the focal loss."""
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    """Focusing exponent of the focal loss."""
    class_weights: list[Annotated[float, Field(gt=0)]] | None = None
    """Weight per class in the cross-entropy and focal losses, background first."""
    dice_background: bool = False
    """Count the background in the Dice loss (the published Swin-Unet recipe does)."""
    deep_supervision: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the losses at the decoder's lower scales."""
    terms: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weights of terms that other packages have registered."""

    @model_validator(mode="after")
    def _some(self) -> LossSection:
        if self.ce + self.dice + self.focal + sum(self.terms.values()) <= 0:
            raise ValueError("one of train.loss.ce, dice, focal must be above 0")
        if twice := self.terms.keys() & {"ce", "dice", "focal"}:
            raise ValueError(f"the weight of {min(twice)} is train.loss.{min(twice)}")
        return self


class TrainSection(ScheduleSection):
    cycle_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss image -> mask -> image on the unlabeled cases of data.split.unlabelled_list, with a ramp-up
    from 0 over the first 30% of the training."""
    cycle_model: Path | None = None
    """best/ of an M2I run on the same data section: the frozen generator of that loss."""
    slices_per_epoch: PositiveInt | None = None
    """Training slices drawn per epoch; default: as many as the training cases hold."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Overlay figures of validation slices written at each better model; 0 for none."""
    loss: LossSection = LossSection()
    """The loss."""


class SegmentationConfig(Experiment):
    """One image-to-mask experiment."""

    run: RunSection = RunSection()
    data: DataSection
    augment: AugmentSection = AugmentSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()

    @model_validator(mode="after")
    def _fits_together(self) -> SegmentationConfig:
        if bool(self.model.options.get("deep_supervision", False)) != (self.train.loss.deep_supervision > 0):
            raise ValueError(
                "deep supervision needs both model.options.deep_supervision and a train.loss.deep_supervision above 0"
            )
        parts = (self.train.cycle_weight > 0, self.train.cycle_model, self.data.split.unlabelled_list)
        if any(parts) and not all(parts):
            raise ValueError(
                "the cycle needs all of train.cycle_weight above 0, train.cycle_model and data.split.unlabelled_list"
            )
        return self
