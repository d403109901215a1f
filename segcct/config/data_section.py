"""Which scans are read, how they are prepared, split and augmented: sections of I2M and M2I alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from segcct.config.base import DEFAULT_CACHE, Fraction, PositiveInt, Section, Workers
from segcct.config.expressions import check_patient_expression
from segcct.config.layout_table import LayoutName
from segcct.config.split_section import Fold, SplitSection

Fit = Literal["resize", "letterbox", "pad"]
MOST_CHANNELS = 256
"""Most channels of a case: each pattern is compared with every file of the case's folder."""


class IntensitySection(Section):
    rule: Literal["zscore_nonzero", "zscore_mask", "clip", "none"] = "zscore_nonzero"
    """How intensities are normalized: z-score over the non-zero voxels, z-score over a mask file, clip to
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
        if self.rule != "clip" and (self.low is not None or self.high is not None):
            raise ValueError(
                f"data.intensity.low and high are for rule clip and do nothing under {self.rule}; "
                "set data.intensity.rule: clip, or both to null"
            )
        return self


class CaseSplitSection(SplitSection):
    unlabelled: Literal["rest"] | None = None
    """rest: every case that is in no split takes part in segmentation training without its label, by the method
    of train.unlabelled."""
    unlabelled_list: Path | None = None
    """File with a case or patient per line; only these take part without their labels."""

    @property
    def names_unlabeled(self) -> bool:
        """Some cases train without labels."""
        return self.unlabelled is not None or self.unlabelled_list is not None

    @property
    def draws_among_labeled(self) -> bool:
        """Some cases train without labels, and the split is drawn among the others."""
        return self.names_unlabeled and self.kind != "lists"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> CaseSplitSection:
        if self.unlabelled is not None and self.unlabelled_list is not None:
            raise ValueError("data.split.unlabelled takes all cases that are left: leave unlabelled_list out")
        return self


class DataSection(Section):
    layout: LayoutName
    """How files are named and grouped into cases."""
    root: Path
    """The dataset folder."""
    channels: dict[str, str]
    """Channel name -> file pattern; the order is the network's channel order. In patterns `*` matches anything and
    `{id}` the case id."""
    label: str | None = None
    """File pattern of the label volume."""
    case_id: Literal["name", "path"] = "name"
    """name: as files or folders are called; path: with the folders above in front, so that siteA/001 and siteB/001
    are two cases, siteA_001 and siteB_001."""
    patient: str | None = None
    """Regular expression whose first group is the patient within a case id, such as `(.*)_visit\\d`; default: the
    layout's own rule. Cases of one patient are never divided between splits."""
    scheme: str
    """Named meaning of the label values (brats2021, brats2023, acdc, synapse, ...) or `custom` with `labels`."""
    labels: dict[str, PositiveInt] | None = None
    """Class name -> label value, for scheme custom; 0 is background."""
    regions: dict[str, list[PositiveInt]] | None = None
    """Region name -> label values, for scheme custom; named schemes have their own."""
    structures: dict[str, str] | None = None
    """Class name -> pattern of the segment labels (DICOM-SEG) or region names (RTSTRUCT) that it is made of, or several
    with `|` between them, for layout dicom; default: the class name itself. Capitals do not count, and spaces, `_`, `-`
    and `.` are the same."""
    label_map: dict[int, int] | None = None
    """File value -> scheme value, applied when labels are read; values that are not listed stay the same."""
    orientation: Literal["canonical", "native"] = "canonical"
    """canonical: axial slices, rows to posterior and columns to the patient's left; native: slices along the third
    stored axis as they are."""
    crop: Literal["foreground", "none"] = "none"
    """foreground: train and predict on the bounding box of everything but the background; masks keep the full grid."""
    spacing_mm: Annotated[float, Field(gt=0)] | None = None
    """In-plane pixel size that slices are resampled to; null keeps each scan's own."""
    fit: Fit = "pad"
    """How slices are fitted to `image_size`: resize stretches them; letterbox scales both sides alike and pads the
    shorter one; pad keeps their own scale, and training crops and pads them."""
    image_size: Annotated[int, Field(ge=16, le=8192)] = 224
    """Side of the square training slice, in pixels."""
    intensity: IntensitySection = IntensitySection()
    """Intensity normalization."""
    fold: Fold = 0
    """Which fold is held out: it tests under crossval, and validates under kfold and lists without a validation
    list."""
    split: CaseSplitSection = CaseSplitSection()
    """Which cases train, validate and test; always by patient."""
    foreground_fraction: Fraction = 0.67
    """Fraction of the training slices that are drawn among those with a structure."""
    cache: Path | None = None
    """Folder of the prepared cases; default: `.cache/segcct` below the working directory."""
    workers: Workers = 0
    """Loader processes, and threads of `segcct check`; results do not depend on it."""
    spark: str | None = None
    """Master of Apache Spark, such as local[2] or spark://host:7077: its workers prepare the cases in place of
    processes on this machine, and must see the same files under the same names. Results do not depend on it."""

    @property
    def cache_folder(self) -> Path:
        """Where the prepared cases are."""
        return DEFAULT_CACHE if self.cache is None else self.cache

    @model_validator(mode="after")
    def _consistent(self) -> DataSection:
        if not self.channels:
            raise ValueError("data.channels names no channel")
        if len(self.channels) > MOST_CHANNELS:
            raise ValueError(f"data.channels names {len(self.channels)} channels; at most {MOST_CHANNELS} are read")
        if self.patient is not None:
            check_patient_expression(self.patient)
        if (self.scheme == "custom") != (self.labels is not None):
            raise ValueError("data.labels goes with data.scheme: custom, and only with it")
        if self.regions is not None and self.scheme != "custom":
            raise ValueError(
                f"data.regions goes with data.scheme: custom, and does nothing under {self.scheme}, which has its own; "
                "leave it out, or define the classes by scheme custom and data.labels"
            )
        if self.structures is not None and self.layout != "dicom":
            raise ValueError(
                f"data.structures is for layout dicom and does nothing under {self.layout}; values are mapped by "
                "data.label_map"
            )
        if self.fit != "pad" and self.spacing_mm is not None:
            raise ValueError(f"data.spacing_mm has no effect under data.fit: {self.fit}; leave one of them out")
        self.split.check_fold(self.fold)
        return self


class AugmentSection(Section):
    strength: Fraction = 1.0
    """Factor of every probability and range below; 0 turns them off."""
    flip: Fraction = 0.5
    """Probability of a left-right flip."""
    flip_vertical: Fraction = 0.0
    """Probability of an up-down flip."""
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Largest relative change of size."""
    shift: Fraction = 0.05
    """Largest shift, as a fraction of the side."""
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
    scanner: Fraction = 0.0
    """Probability of strong gamma, contrast, bias field and noise together, as if from another scanner; 0.5 prepares
    for images of other scanners."""


class GeometricAugmentSection(AugmentSection):
    """Geometry alone, unless asked for more."""

    intensity: Fraction = 0.0
    """Probability of a change of brightness and contrast, and of gamma, per slice; a generator needs a style code for
    it."""
    noise: Fraction = 0.0
    """Probability of Gaussian noise."""
    blur: Fraction = 0.0
    """Probability of Gaussian blur."""
