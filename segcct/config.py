"""The typed experiment: frozen pydantic models, one section each; every key is documented where it stands.

`settings.py` reads them from YAML and the command line, and words the errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h)\s*$")
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


def parse_duration(value: object) -> object:
    """`30min`, `90s`, `1.5h` -> seconds; a number passes as seconds."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError("a duration such as 90s, 30min or 2h")
        return float(match[1]) * _SECONDS[match[2]]
    return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]


def _groups(expression: str) -> int:
    """Groups of a regular expression; 0 when it is none."""
    try:
        return re.compile(expression).groups
    except re.error:
        return 0


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunSection(_Section):
    name: str = "run"
    """Name of the run folder below `root`."""
    root: Path = Path("runs")
    """Where run folders are written."""
    seed: int = 0
    """Seed of everything random: initial weights, sampling, augmentation, dropout."""


class IntensitySection(_Section):
    rule: Literal["zscore_nonzero", "zscore_mask", "clip", "none"] = "zscore_nonzero"
    """How intensities are normalised: z-score over the non-zero voxels, z-score over a mask file, clip to
    [low, high] and map to [0, 1], or none (the data is in [0, 1] already)."""
    mask: str | None = None
    """File pattern of the mask, for zscore_mask."""
    low: float | None = None
    """Lower bound, for clip."""
    high: float | None = None
    """Upper bound, for clip."""

    @model_validator(mode="after")
    def _complete(self) -> IntensitySection:
        if self.rule == "zscore_mask" and self.mask is None:
            raise ValueError("rule zscore_mask needs the file pattern data.intensity.mask")
        if self.rule == "clip" and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("rule clip needs data.intensity.low < data.intensity.high")
        return self


class SplitSection(_Section):
    kind: Literal["fractions", "kfold", "lists"] = "fractions"
    """fractions: patients drawn by seed; kfold: fold `data.fold` validates; lists: files that name the cases."""
    val: Fraction = 0.15
    """Share of patients that select the model (fractions)."""
    test: Fraction = 0.15
    """Share of patients kept for testing (fractions and kfold)."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds, for kfold and for lists without a validation list."""
    train_list: Path | None = None
    """File with a case id per line, for lists."""
    val_list: Path | None = None
    """File with a case id per line; without it fold `data.fold` of the training list validates."""
    test_list: Path | None = None
    """File with a case id per line."""
    unlabelled_list: Path | None = None
    """File with a case id per line: cases that join a segmentation training without their labels, through
    train.cycle_weight."""
    seed: int = 0
    """Seed of the draw; apart from `run.seed`, so that runs with other seeds share one split."""

    @model_validator(mode="after")
    def _possible(self) -> SplitSection:
        if self.kind == "lists" and self.train_list is None:
            raise ValueError("split kind lists needs data.split.train_list")
        if self.kind == "fractions" and self.val + self.test >= 1.0:
            raise ValueError("data.split.val + data.split.test must leave patients for training (below 1)")
        return self


class DataSection(_Section):
    layout: Literal["brats", "acdc", "synapse", "slices", "folder", "paired", "pictures", "nnunet"]
    """How files are named and grouped into cases."""
    root: Path
    """The dataset folder."""
    channels: dict[str, str]
    """Channel name -> file pattern; the order is the network's channel order. In patterns `*` matches anything and
    `{id}` the case id."""
    label: str | None = None
    """File pattern of the label volume."""
    patient: str | None = None
    """Regular expression whose first group is the patient within a case id, such as `(.*)_visit\\d`; default: the
    layout's own rule. Cases of one patient never stand on two sides of a split."""
    scheme: str
    """Named meaning of the label values (brats2021, brats2023, acdc, synapse, ...) or `custom` with `labels`."""
    labels: dict[str, PositiveInt] | None = None
    """Class name -> label value, for scheme custom; 0 is background."""
    regions: dict[str, list[PositiveInt]] | None = None
    """Region name -> label values, for scheme custom."""
    label_map: dict[int, int] | None = None
    """File value -> scheme value, applied by lookup table when labels are read; values not named stay."""
    orientation: Literal["canonical", "native"] = "canonical"
    """canonical: axial slices, rows to posterior and columns to the patient's left; native: slices along the third
    stored axis as they are."""
    crop: Literal["foreground", "none"] = "none"
    """foreground: train and predict on the bounding box of what is not background; masks keep the full grid."""
    spacing_mm: Annotated[float, Field(gt=0)] | None = None
    """In-plane pixel size that slices are resampled to; null keeps each scan's own."""
    fit: Literal["resize", "pad"] = "pad"
    """How a slice meets `image_size` in training: resized to it, or cropped and padded at its own scale."""
    image_size: Annotated[int, Field(ge=16)] = 224
    """Side of the square training slice, in pixels."""
    intensity: IntensitySection = IntensitySection()
    """Intensity normalisation."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold validates."""
    split: SplitSection = SplitSection()
    """Who trains, validates and tests; always by patient."""
    foreground_share: Fraction = 0.67
    """Share of the training slices drawn among those that hold a structure."""
    cache: Path | None = None
    """Folder of the prepared cases; default: `.cache/segcct` below the working directory."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes, and threads of `segcct check`; results do not depend on it."""

    @model_validator(mode="after")
    def _consistent(self) -> DataSection:
        if not self.channels:
            raise ValueError("data.channels names no channel")
        if self.patient is not None and _groups(self.patient) != 1:
            raise ValueError(f"data.patient must be a regular expression with one (group), found {self.patient}")
        if (self.scheme == "custom") != (self.labels is not None):
            raise ValueError("data.labels goes with data.scheme: custom, and only with it")
        if self.fit == "resize" and self.spacing_mm is not None:
            raise ValueError("data.spacing_mm has no effect under data.fit: resize; leave one of them out")
        if self.split.kind != "fractions" and self.fold >= self.split.folds:
            raise ValueError(
                f"data.fold is {self.fold} but data.split.folds is {self.split.folds} (folds count from 0)"
            )
        return self


class AugmentSection(_Section):
    strength: Fraction = 1.0
    """Scales every probability and range below; 0 is the identity."""
    flip: Fraction = 0.5
    """Probability of a left-right flip."""
    flip_vertical: Fraction = 0.0
    """Probability of an up-down flip."""
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Largest relative change of size."""
    shift: Fraction = 0.05
    """Largest shift, as a share of the side."""
    affine: Fraction = 0.5
    """Probability of rotation, scale and shift."""
    elastic: Fraction = 0.1
    """Probability of an elastic deformation."""
    intensity: Fraction = 0.3
    """Probability of a change of brightness and contrast, and of gamma, per slice."""
    noise: Fraction = 0.15
    """Probability of Gaussian noise."""
    blur: Fraction = 0.1
    """Probability of Gaussian blur."""


class ModelSection(_Section):
    name: str = "cct_unet_s"
    """A name listed by `segcct models`."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Options of that model, such as `upsample: bilinear` or `skips: 2` of swin_unet_tiny."""
    pretrained: Path | None = None
    """Weights to start from: a released checkpoint or the best/ folder of a run."""


class LossSection(_Section):
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

    @model_validator(mode="after")
    def _some(self) -> LossSection:
        if self.ce + self.dice + self.focal <= 0:
            raise ValueError("one of train.loss.ce, dice, focal must be above 0")
        return self


class ScheduleSection(_Section):
    """What every training loop needs: length, optimiser, schedule, arithmetic."""

    epochs: PositiveInt = 100
    """Length of the training; the schedule ends with it."""
    budget: Annotated[Duration, Field(gt=0)] | None = None
    """Wall-clock length (90s, 30min, 2h); replaces `epochs` and ends with a finished schedule."""
    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1
    """Batches whose gradients are added before a step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    momentum: Fraction = 0.9
    """Momentum of sgd."""
    schedule: Literal["cosine", "poly"] = "cosine"
    """Fall of the learning rate to 0 after the warm-up; poly has exponent 0.9."""
    warmup: Fraction = 0.05
    """Share of the training over which the learning rate rises from 0."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0 leaves it."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step of the averaged weights, which are validated and saved; 0 turns it off."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; bf16 is 1.5-4 times faster on recent processors."""
    validate_every: PositiveInt = 1
    """Epochs between two validations."""
    patience: PositiveInt | None = None
    """Validations without a better score before an early stop; null never stops early."""
    devices: PositiveInt = 1
    """Processes on this machine, one accelerator or processor each; torchrun sets its own."""


class TrainSection(ScheduleSection):
    cycle_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss image -> mask -> image on the unlabelled cases of data.split.unlabelled_list."""
    cycle_model: Path | None = None
    """best/ of an M2I run on the same data section: the frozen generator of that loss."""
    slices_per_epoch: PositiveInt | None = None
    """Training slices drawn per epoch; default: as many as the training cases hold."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Overlay pictures of validation slices written at each better model; 0 for none."""
    loss: LossSection = LossSection()
    """The loss."""


class SegmentationConfig(_Section):
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


class ReconstructionLossSection(_Section):
    l1: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the mean absolute difference, in standard deviations of the channel."""
    foreground: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the same within the structures alone, which are a small part of most slices."""
    ssim: Annotated[float, Field(ge=0)] = 0.5
    """Weight of 1 - SSIM."""
    gradient: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the mean absolute difference of the image gradients."""

    @model_validator(mode="after")
    def _some(self) -> ReconstructionLossSection:
        if self.l1 + self.foreground + self.ssim + self.gradient <= 0:
            raise ValueError("one of train.loss.l1, foreground, ssim, gradient must be above 0")
        return self


class ReconstructionTrainSection(ScheduleSection):
    slices_per_epoch: PositiveInt | None = None
    """Training slices drawn per epoch; default: as many as the training cases hold."""
    loss: ReconstructionLossSection = ReconstructionLossSection()
    """The loss."""


class GeometricAugmentSection(AugmentSection):
    """Mask and image move together. Noise and blur are off because no mask explains them, changes of intensity because
    only a style code can tell the generator of them; it is taken from the changed image, so they may be turned on."""

    intensity: Fraction = 0.0
    """Probability of a change of brightness and contrast, and of gamma, per slice; needs a style code."""
    noise: Fraction = 0.0
    """Probability of Gaussian noise."""
    blur: Fraction = 0.0
    """Probability of Gaussian blur."""


class GeneratorSection(ModelSection):
    name: str = "m2i_s"
    """A generator listed by `segcct models --kind generator`."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Options of that generator, such as `style: none`, `moments` or `learned`, and `distance: false`."""


class M2IConfig(_Section):
    """One mask-to-image experiment."""

    run: RunSection = RunSection()
    data: DataSection
    augment: GeometricAugmentSection = GeometricAugmentSection()
    model: GeneratorSection = GeneratorSection()
    train: ReconstructionTrainSection = ReconstructionTrainSection()


class PictureSplitSection(_Section):
    kind: Literal["holdout", "crossval", "lists"] = "holdout"
    """holdout: pictures drawn by seed, class by class; crossval: fold `data.fold` of `folds` tests and `val` is drawn
    from the others, so that no picture is tested on that chose the weights; lists: files that name the pictures. A
    test or validation side that the dataset itself has is used as it is (crossval leaves its test side out)."""
    val: Annotated[float, Field(ge=0)] = 0.1
    """Pictures that select the model: a share below 1, a number from 1 on."""
    test: Annotated[float, Field(ge=0)] = 0.1
    """Pictures kept for testing, likewise (holdout)."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds, for crossval."""
    train_list: Path | None = None
    """File with a picture per line (path below the dataset's root), for lists."""
    val_list: Path | None = None
    """File with a picture per line."""
    test_list: Path | None = None
    """File with a picture per line."""
    seed: int = 0
    """Seed of the draw; apart from `run.seed`, so that runs with other seeds share one split."""

    @model_validator(mode="after")
    def _possible(self) -> PictureSplitSection:
        if self.kind == "lists" and (self.train_list is None or self.val_list is None):
            raise ValueError("split kind lists needs data.split.train_list and data.split.val_list")
        for name, amount in (("val", self.val), ("test", self.test)):
            if amount > 1 and amount != int(amount):
                raise ValueError(f"data.split.{name} is a share below 1 or a whole number of pictures, found {amount}")
        return self


class PicturesSection(_Section):
    """Labelled pictures, as a classification reads them."""

    layout: Literal["classes", "cifar", "idx"] = "classes"
    """classes: a folder per class, below train, val, test folders or not; cifar: the binary version of CIFAR-10 or
    CIFAR-100; idx: the files of MNIST and its followers, gzipped or not. Each also inside a .tar or .tar.gz."""
    root: Path
    """The dataset folder or archive."""
    channels: Literal["rgb", "grey"] = "rgb"
    """Colours the network sees; grey pictures have three equal ones as rgb."""
    patient: str | None = None
    """Regular expression whose first group is the patient within a picture's path, such as `(p\\d+)_`; pictures of one
    patient never stand on two sides of a split. Default: every picture is its own patient."""
    class_names: Annotated[list[str], Field(min_length=2)] | None = None
    """Names of the classes by number, for idx files, which hold none; default: the numbers."""
    image_size: Annotated[int, Field(ge=8)] = 32
    """Side of the square picture the network sees, in pixels."""
    fit: Literal["resize", "pad"] = "resize"
    """How a picture that is not square becomes square: resized to it, or resized by its longer side and padded."""
    mean: list[Fraction] | None = None
    """Mean of each channel, of values in [0, 1]; default: that of the training pictures."""
    sd: list[Annotated[float, Field(gt=0)]] | None = None
    """Standard deviation of each channel; default: that of the training pictures."""
    split: PictureSplitSection = PictureSplitSection()
    """Who trains, selects and tests; byte-identical copies always stand on one side."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold tests, for crossval."""
    cache: Path | None = None
    """Folder of the decoded pictures; default: `.cache/segcct` below the working directory."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes; results do not depend on it."""

    @property
    def num_channels(self) -> int:
        """3 for rgb, 1 for grey."""
        return 3 if self.channels == "rgb" else 1

    @model_validator(mode="after")
    def _consistent(self) -> PicturesSection:
        for name, values in (("mean", self.mean), ("sd", self.sd)):
            if values is not None and len(values) != self.num_channels:
                raise ValueError(f"data.{name} has {len(values)} values, data.channels {self.channels} needs "
                                 f"{self.num_channels}")  # fmt: skip
        if self.patient is not None and _groups(self.patient) != 1:
            raise ValueError(f"data.patient must be a regular expression with one (group), found {self.patient}")
        if self.class_names is not None and self.layout != "idx":
            raise ValueError("data.class_names goes with data.layout: idx; the other layouts hold the names")
        if self.split.kind == "crossval" and self.fold >= self.split.folds:
            raise ValueError(
                f"data.fold is {self.fold} but data.split.folds is {self.split.folds} (folds count from 0)"
            )
        return self


class PictureAugmentSection(_Section):
    flip: Fraction = 0.5
    """Probability of a left-right flip."""
    flip_vertical: Fraction = 0.0
    """Probability of an up-down flip."""
    shift_px: Annotated[int, Field(ge=0)] = 0
    """Largest shift in each direction, zeros moving in: the random crop of a padded picture."""
    crop_area: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area that a random crop keeps, its sides in ratios of 3:4 to 4:3, resized back; 1 for no
    crop."""
    randaugment: Annotated[str, Field(pattern=r"^rand(-(m|n|mstd|mmax|inc|p)[0-9.]+)*$")] | None = None
    """RandAugment as timm writes it, such as rand-m9-mstd0.5-inc1; null for none. It costs about 0.2 ms per picture,
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
    """Mix in the first so many epochs only; null: always."""


class ClassificationTrainSection(ScheduleSection):
    batch_size: PositiveInt = 128
    pictures_per_epoch: PositiveInt | None = None
    """Training pictures shown between two validations; default: every one once."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the target that is spread over all classes."""


class ClassificationConfig(_Section):
    """One experiment with pictures and classes."""

    run: RunSection = RunSection()
    data: PicturesSection
    augment: PictureAugmentSection = PictureAugmentSection()
    model: ModelSection = ModelSection(name="cct_7_3x1_32")
    train: ClassificationTrainSection = ClassificationTrainSection()
