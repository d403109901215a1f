"""The image-to-mask experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from segcct.config.base import Experiment, Fraction, ModelSection, PositiveInt, RunSection, Section, TrainSection
from segcct.config.data_section import AugmentSection, DataSection

TERMS_WITH_A_KEY = ("ce", "dice", "focal")
"""Loss terms whose weights are keys of train.loss; those of all others stand in `train.loss.terms`."""


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
    logit_sums: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean loss, at half resolution, over the sums of every subset of the decoder's logits at full,
    1/2 and 1/4 resolution."""
    terms: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weights of other terms by their names, such as those that other packages have registered."""

    @property
    def weights(self) -> dict[str, float]:
        """Term -> its weight, of the terms that count."""
        weights = {**{name: getattr(self, name) for name in TERMS_WITH_A_KEY}, **self.terms}
        return {name: weight for name, weight in weights.items() if weight}

    @model_validator(mode="after")
    def _some(self) -> LossSection:
        if twice := self.terms.keys() & set(TERMS_WITH_A_KEY):
            raise ValueError(f"the weight of {min(twice)} is train.loss.{min(twice)}")
        if not self.weights:
            names = ", ".join(TERMS_WITH_A_KEY)
            raise ValueError(f"one of train.loss.{names} must be above 0, or one of train.loss.terms")
        return self


class SegmentationAugmentSection(AugmentSection):
    synthesize: Fraction = 0.0
    """Fraction of the labeled slices that are replaced, after a fifth of training, by a deformed mask and the image
    that the generator makes of it in the appearance of another slice."""
    generator: Path | None = None
    """best/ of an M2I run on the same data section, for synthesize."""

    @model_validator(mode="after")
    def _complete(self) -> SegmentationAugmentSection:
        if bool(self.synthesize) != (self.generator is not None):
            raise ValueError("augment.synthesize above 0 and augment.generator need each other")
        return self


class UnlabeledSection(Section):
    method: Literal["none", "teacher", "cycle"] = "none"
    """How the cases of data.split.unlabelled or unlabelled_list train, as half of each batch. teacher: the averaged
    network labels them for the network, which sees them strongly changed. cycle: a frozen generator turns their
    predicted masks into images, which are compared with them. none: they do not."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the unlabeled loss."""
    start: Fraction = 0.0
    """Fraction of training that labeled cases begin alone, which takes about half the time per step."""
    ramp_up: Fraction = 0.2
    """Fraction of training over which that weight then rises from 0."""
    confidence: Fraction = 0.95
    """teacher: the smallest probability of a pseudo-label that counts."""
    cutmix: Fraction = 0.5
    """teacher: probability that a box of another slice is pasted into a slice, with its pseudo-labels."""
    model: Path | None = None
    """cycle: best/ of an M2I run on the same data section, the frozen generator."""

    @model_validator(mode="after")
    def _complete(self) -> UnlabeledSection:
        if (self.method == "cycle") != (self.model is not None):
            raise ValueError("train.unlabelled.model goes with method: cycle, and only with it")
        return self


class SegmentationTrainSection(TrainSection):
    unlabelled: UnlabeledSection = UnlabeledSection()
    """How cases without labels take part."""
    slices_per_epoch: PositiveInt | None = None
    """Training slices drawn per epoch; default: as many as the training cases hold."""
    windows: dict[Annotated[int, Field(ge=16)], Fraction] = Field(default_factory=dict)
    """Growing windows: side in pixels -> fraction of training until which slices are cropped to it, around their
    structures for `data.foreground_fraction` of them, such as `{128: 0.45, 160: 0.75}`; then whole slices train."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Overlay figures of validation slices written at each better model; 0 for none."""
    loss: LossSection = LossSection()
    """The loss."""


class SegmentationConfig(Experiment):
    """One image-to-mask experiment."""

    run: RunSection = RunSection()
    data: DataSection
    augment: SegmentationAugmentSection = SegmentationAugmentSection()
    model: ModelSection = ModelSection()
    train: SegmentationTrainSection = SegmentationTrainSection()

    @model_validator(mode="after")
    def _check_deep_supervision(self) -> SegmentationConfig:
        loss = self.train.loss
        if bool(self.model.options.get("deep_supervision", False)) != (loss.deep_supervision + loss.logit_sums > 0):
            raise ValueError(
                "deep supervision needs both model.options.deep_supervision and a train.loss.deep_supervision or "
                "train.loss.logit_sums above 0"
            )
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> SegmentationConfig:
        windows = self.train.windows
        ends = [until for _, until in sorted(windows.items())]
        if windows and (max(windows) >= self.data.image_size or ends != sorted(set(ends))):
            raise ValueError("train.windows are sides below data.image_size, a larger one until a later fraction")
        if windows and self.train.unlabelled.method == "cycle":
            raise ValueError("train.windows needs labels or pseudo-labels, but method: cycle has neither: drop one")
        return self

    @model_validator(mode="after")
    def _check_unlabeled_cases(self) -> SegmentationConfig:
        method = self.train.unlabelled.method
        if (method != "none") != self.data.split.names_unlabeled:
            raise ValueError(
                f"train.unlabelled.method is {method}, but data.split names {'no' if method != 'none' else 'such'} "
                "cases: unlabeled cases need both a method and data.split.unlabelled or data.split.unlabelled_list"
            )
        if method == "teacher" and not self.train.ema:
            raise ValueError("the teacher is the averaged network: train.unlabelled.method: teacher needs a train.ema")
        if method == "teacher" and self.train.recalibrate:
            raise ValueError(
                "train.recalibrate would take the statistics of strongly changed slices: leave it 0 with "
                "train.unlabelled.method: teacher"
            )
        if method == "teacher" and self.train.loss.ce + self.train.loss.dice <= 0:
            raise ValueError("the loss on pseudo-labels is made of train.loss.ce and dice: one must be above 0")
        return self
