"""The classification experiment."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from segcct.config.base import (
    DEFAULT_CACHE,
    Experiment,
    Fraction,
    ModelSection,
    PositiveInt,
    RunSection,
    Section,
    TrainSection,
    Workers,
)
from segcct.config.expressions import check_patient_expression
from segcct.config.layout_table import IMAGE_LAYOUTS, ImageLayoutName
from segcct.config.split_section import Amount, Fold, SplitSection


class ImageSplitSection(SplitSection):
    val: Amount = 0.1
    """What selects the model (fractions and crossval): a fraction below 1, a number from 1 on, of images;
    copies, and the images of one patient, count as one."""
    test: Amount = 0.1
    """What is kept for testing (fractions and kfold): a fraction below 1, a number from 1 on, of images;
    copies, and the images of one patient, count as one."""


class ImagesSection(Section):
    """A classification dataset."""

    layout: ImageLayoutName = "classes"
    """classes: a folder per class, below train, val, test folders or not; cifar: the binary version of CIFAR-10 or
    CIFAR-100; idx: the files of MNIST and its followers, gzipped or not. Each also inside a .tar or .tar.gz."""
    root: Path
    """The dataset folder or archive."""
    channels: Literal["rgb", "gray"] = "rgb"
    """Colors the network sees; gray images have three equal ones as rgb."""
    patient: str | None = None
    """Regular expression whose first group is the patient within an image's path, such as `(p\\d+)_`; images of one
    patient are never divided between splits. Default: every image is its own patient."""
    class_names: Annotated[list[str], Field(min_length=2)] | None = None
    """Names of the classes by number, for idx files, which hold none; default: the numbers."""
    image_size: Annotated[int, Field(ge=8, le=8192)] = 32
    """Side of the square image the network sees, in pixels."""
    fit: Literal["resize", "pad"] = "resize"
    """How an image that is not square is fitted to `image_size`: resized, or resized by its longer side and padded."""
    mean: list[Fraction] | None = None
    """Mean of each channel, of values in [0, 1]; default: that of the training images."""
    std: list[Annotated[float, Field(gt=0)]] | None = None
    """Standard deviation of each channel; default: that of the training images."""
    split: ImageSplitSection = ImageSplitSection()
    """Which images train, select and test; copies, pixel for pixel, are always in the same split."""
    fold: Fold = 0
    """Which fold is held out: it tests under crossval, and validates under kfold and lists without a validation
    list."""
    cache: Path | None = None
    """Folder of the decoded images; default: `.cache/segcct` below the working directory."""
    workers: Workers = 0
    """Loader processes; results do not depend on it."""

    @property
    def cache_folder(self) -> Path:
        """Where the decoded images are."""
        return DEFAULT_CACHE if self.cache is None else self.cache

    @property
    def num_channels(self) -> int:
        """3 for rgb, 1 for gray."""
        return 3 if self.channels == "rgb" else 1

    @model_validator(mode="after")
    def _consistent(self) -> ImagesSection:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.num_channels:
                needs = f"data.channels {self.channels} needs {self.num_channels}"
                raise ValueError(f"data.{name} has {len(values)} values, {needs}")
        if self.patient is not None:
            check_patient_expression(self.patient)
        if self.class_names is not None and not IMAGE_LAYOUTS[self.layout].numbered:
            raise ValueError("data.class_names goes with data.layout: idx; the other layouts hold the names")
        if twice := [name for name, times in Counter(self.class_names or []).items() if times > 1]:
            raise ValueError(f"data.class_names lists {twice[0]} twice; every class needs a name of its own")
        self.split.check_fold(self.fold)
        return self


class ImageAugmentSection(Section):
    flip: Fraction = 0.5
    """Probability of a left-right flip."""
    flip_vertical: Fraction = 0.0
    """Probability of an up-down flip."""
    shift_px: Annotated[int, Field(ge=0)] = 0
    """Largest shift in each direction, zeros moving in: the random crop of a padded image."""
    crop_area: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest fraction of the area that a random crop keeps, its sides in ratios of 3:4 to 4:3, resized back; 1 for no
    crop."""
    randaugment: Annotated[str, Field(pattern=r"^rand(-(m|n|mstd|mmax|inc|p)[0-9.]+)*$")] | None = None
    """RandAugment as timm writes it, such as rand-m9-mstd0.5-inc1; null for none. It costs about 0.2 ms per image,
    so give it `data.workers`."""
    erase: Fraction = 0.0
    """Probability that a random rectangle is replaced by noise."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of mixup (0.8 in the CCT recipe); 0 for none. With cutmix above 0 too, each batch takes one of the two."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix (1.0 in the CCT recipe); 0 for none."""
    mix: Fraction = 1.0
    """Probability that a batch is mixed at all, where mixup or cutmix is above 0."""
    mix_epochs: PositiveInt | None = None
    """Number of epochs with mixing, from the first on; null: all."""


class ClassificationTrainSection(TrainSection):
    batch_size: PositiveInt = 128
    """Images per batch."""
    images_per_epoch: PositiveInt | None = None
    """Training images shown between two validations; default: every one once."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the target that is distributed over all classes."""


class ClassifierSection(ModelSection):
    name: str = "cct_7_3x1_32"
    """A classifier listed by `segcct models --kind classifier`."""
    options: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Options of that classifier, such as `pooling: mean`."""


class ClassificationConfig(Experiment):
    """One classification experiment."""

    run: RunSection = RunSection()
    data: ImagesSection
    augment: ImageAugmentSection = ImageAugmentSection()
    model: ClassifierSection = ClassifierSection()
    train: ClassificationTrainSection = ClassificationTrainSection()

    @model_validator(mode="after")
    def _fits_together(self) -> ClassificationConfig:
        if self.augment.shift_px > self.data.image_size:
            raise ValueError(
                f"augment.shift_px is {self.augment.shift_px}, which moves images of {self.data.image_size} pixels "
                "(data.image_size) out of sight"
            )
        return self
