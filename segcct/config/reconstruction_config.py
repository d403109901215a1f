"""The mask-to-image experiment."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from segcct.config.base import Experiment, ModelSection, PositiveInt, RunSection, Section, TrainSection
from segcct.config.data_section import DataSection, GeometricAugmentSection


class ReconstructionLossSection(Section):
    l1: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the mean absolute difference, in standard deviations of the channel."""
    foreground: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the same difference within the structures alone, which are a small part of most slices."""
    foreground_squared: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared difference within the structures. val_gain is computed from its root, while the
    absolute difference favors medians."""
    ssim: Annotated[float, Field(ge=0)] = 0.5
    """Weight of 1 - SSIM."""
    gradient: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the mean absolute difference of the image gradients."""

    @model_validator(mode="after")
    def _some(self) -> ReconstructionLossSection:
        if not any(weight for _, weight in self):
            raise ValueError(f"one of train.loss.{', '.join(type(self).model_fields)} must be above 0")
        return self


class ReconstructionTrainSection(TrainSection):
    slices_per_epoch: PositiveInt | None = None
    """Training slices drawn per epoch; default: as many as the training cases hold."""
    validate_cases: PositiveInt = 16
    """Validation cases that select the weights, evenly spaced over the validation split. Every slice of each is
    generated, which for hundreds of volumes would take longer than training."""
    loss: ReconstructionLossSection = ReconstructionLossSection()
    """The loss."""


class GeneratorSection(ModelSection):
    name: str = "m2i_s"
    """A generator listed by `segcct models --kind generator`."""
    options: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Options of that generator, such as `style: none`, `moments` or `learned`, and `distance: false`."""


class ReconstructionConfig(Experiment):
    """One mask-to-image experiment."""

    run: RunSection = RunSection()
    data: DataSection
    # Mask and image move together. Noise and blur are off because no mask explains them, changes of intensity because
    # the generator knows them only by a style code; that is taken from the changed image, so they may be turned on.
    augment: GeometricAugmentSection = GeometricAugmentSection()
    model: GeneratorSection = GeneratorSection()
    train: ReconstructionTrainSection = ReconstructionTrainSection()

    @model_validator(mode="after")
    def _intensities_are_conditioned_on(self) -> Self:
        changes = {"augment.intensity": self.augment.intensity, "augment.scanner": self.augment.scanner}
        wrong = [name for name, probability in changes.items() if probability]
        if wrong and self.model.options.get("style") == "none":
            raise ValueError(
                f"{wrong[0]} changes what the generator knows only by a style code; "
                "set it to 0, or model.options.style to moments or learned"
            )
        return self
