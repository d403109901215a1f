"""The pre-training experiment: images without labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from segcct.config.base import Experiment, ModelSection, PositiveInt, RunSection, TrainSection
from segcct.config.data_section import DataSection, GeometricAugmentSection


class UnlabeledDataSection(DataSection):
    """Scans; label files next to them are not opened, so classes need no names."""

    scheme: str = "custom"
    """Not used: no label is read."""
    labels: dict[str, PositiveInt] | None = None
    """Not used."""


class PretrainingTrainSection(TrainSection):
    method: Literal["mae", "m2d", "m2d_all"] = "mae"
    """What is predicted for masked blocks. mae: their pixels; m2d: the features that an averaged encoder computes from
    these blocks alone; m2d_all: those that it computes from the whole image."""
    mask_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.65
    """Fraction of the blocks that is masked."""
    block_px: Annotated[int, Field(ge=1, le=256)] = 16
    """Side of a block in pixels; a multiple of the tokenizer's reduction (16 for cct_unet) that divides the image."""
    target_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """m2d: decay per step of the averaged encoder at the start; its distance to 1 falls to a fifth until the end."""
    slices_per_epoch: PositiveInt | None = None
    """Slices drawn per epoch; default: as many as the training cases hold."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Images of validation slices, masked and filled, written after each validation; 0 for none."""


class PretrainingConfig(Experiment):
    """One masked pre-training."""

    run: RunSection = RunSection()
    data: UnlabeledDataSection
    augment: GeometricAugmentSection = GeometricAugmentSection()  # what is predicted is the image as it is
    model: ModelSection = ModelSection()
    train: PretrainingTrainSection = PretrainingTrainSection()

    @model_validator(mode="after")
    def _keeps_the_last(self) -> PretrainingConfig:
        if self.train.patience is not None:
            raise ValueError("a pre-training keeps its last weights: train.patience would do nothing; set it to null")
        if self.train.recalibrate:
            raise ValueError("train.recalibrate is not for pre-training: fine-tuning takes new statistics anyway")
        return self

    @field_validator("data", mode="before")
    @classmethod
    def _without_labels(cls, data: object) -> object:
        """A data section of a segmentation may be pasted: what it says of labels is left out, but for where they are if
        its split is drawn among the cases that have one. Its unlabeled cases train too."""
        if not isinstance(data, dict):
            return data
        unused = {"scheme", "labels", "regions", "label_map", "foreground_fraction"}
        split = data.get("split")
        split = split if isinstance(split, dict) else {}
        if split.get("kind") == "lists" or not (split.get("unlabelled") or split.get("unlabelled_list")):
            unused.add("label")
        kept = {name: value for name, value in data.items() if name not in unused}
        return {**kept, "scheme": "custom", "labels": {"structure": 1}}
