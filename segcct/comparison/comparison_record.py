"""report.json as typed records: what the comparison measures of each case and over all, for its writer and its page."""

from __future__ import annotations

from segcct.evaluation.summary_record import MetricStats
from segcct.files.json_record import Record
from segcct.metrics.defined_values import mean_of
from segcct.predictions.predictions_record import StoredScheme

PREDICTED, REFERENCE = "predicted", "reference"
"""Which mask something was made from."""


class RegionDistances(Record):
    """Distances of original and reconstruction in one region; see `segcct.metrics.image.ImageDistance`."""

    pixels: int | None = None
    euclidean: float | None = None
    rmse: float | None = None
    mae: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    correlation: float | None = None


class Reconstructed(Record):
    """The image made of a mask, by region, and what class means of the case or of each slice reach instead."""

    distances: dict[str, RegionDistances]
    baseline: dict[str, RegionDistances]
    gain: float | None
    """Relative reduction of the baseline's RMSE in the foreground."""
    baseline_by_slice: dict[str, RegionDistances]
    gain_by_slice: float | None


class MeanOverlap(Record):
    """Mean over the classes."""

    dice: float | None = None
    iou: float | None = None


class ClassOverlap(MeanOverlap):
    """One class of the predicted mask against the reference; without a reference only whether it was predicted."""

    status: str


class ClassMeans(Record):
    """A figure of every class and its mean over them."""

    mean: float | None = None
    classes: dict[str, float | None]


class Agreement(ClassMeans):
    """A mask found again in an image made of it: Dice, IoU and pixel accuracy on the slices."""

    iou: ClassMeans
    pixel_accuracy: float | None = None


class EstimatedDice(Record):
    """Dice estimated without a reference, with its interval."""

    dice: float
    low: float = 0.0
    high: float = 1.0


class CaseFigures(Record):
    """Every figure of one case; None where it is not defined."""

    patient: str
    slices: int
    classes: dict[str, ClassOverlap]
    mean: MeanOverlap
    pixel_accuracy: float | None
    reconstruction: dict[str, Reconstructed]
    """From the predicted mask, and from the reference where there is one."""
    cycle: dict[str, Agreement]
    """The same, and `image`: the prediction against the reference on the slices of the generator."""
    estimate: dict[str, EstimatedDice | None] | None
    """Class -> estimate, None for a class that was not predicted; None without a calibration."""
    missing: list[str] | None
    """Classes that were not predicted and count as missed."""
    input_digest: str | None = None
    """Left out where the names are hashed."""

    @property
    def made(self) -> Reconstructed:
        """The reconstruction from the predicted mask."""
        return self.reconstruction[PREDICTED]

    @property
    def again(self) -> Agreement:
        """M' against M, from the predicted mask."""
        return self.cycle[PREDICTED]

    @property
    def is_empty(self) -> bool:
        """Nothing at all was predicted."""
        return all(one.status in ("missed", "absent", "not predicted") for one in self.classes.values())

    @property
    def trust(self) -> float | None:
        """Order of the cases: mean estimated Dice, in which a missed class counts as 0; without a calibration the Dice,
        else M -> I -> M'."""
        if self.estimate is None:
            return self.again.mean if self.mean.dice is None else self.mean.dice
        dice = {name: estimate.dice for name, estimate in self.estimate.items() if estimate is not None}
        return mean_of(list((dice | dict.fromkeys(self.missing or (), 0.0)).values()))

    def flagged(self, below: float) -> list[str]:
        """Classes whose estimated Dice lies below the threshold, and those that count as missed."""
        return [
            name
            for name, estimate in (self.estimate or {}).items()
            if name in (self.missing or ()) or (estimate is not None and estimate.dice < below)
        ]

    def class_rmse(self, name: str) -> float | None:
        """RMSE of the reconstruction in a class."""
        return self.made.distances[name].rmse

    def cycle_error(self, name: str) -> float | None:
        """1 - Dice of a class found again in the image made of the predicted mask."""
        dice = self.again.classes[name]
        return None if dice is None else 1 - dice

    def iou_error(self, name: str) -> float | None:
        """1 - IoU of a class with the reference."""
        iou = self.classes[name].iou
        return None if iou is None else 1 - iou

    def class_dice(self, name: str) -> float | None:
        """Dice of a class with the reference."""
        return self.classes[name].dice

    def estimated_dice(self, name: str) -> float | None:
        """Estimated Dice of a class."""
        estimate = (self.estimate or {}).get(name)
        return None if estimate is None else estimate.dice


class RegionMeans(Record):
    """Means over the cases that define a region."""

    name: str
    euclidean: float | None
    rmse: float | None
    mae: float | None
    psnr: float | None
    ssim: float | None
    correlation: float | None
    baseline: float | None
    """RMSE of the class means, and its relative reduction."""
    gain: float | None
    baseline_by_slice: float | None
    gain_by_slice: float | None
    reference: float | None
    """RMSE of the reconstruction from the reference."""


class CycleStats(Record):
    """Statistics of the masks that are found again."""

    predicted: MetricStats
    reference: MetricStats
    iou: dict[str, MetricStats]
    pixel_accuracy: dict[str, MetricStats]


class RankCorrelations(Record):
    """Spearman's rank correlation with 1 - IoU over masks."""

    rmse_in_class: float | None
    one_minus_cycle_dice: float | None


class ComparisonSummary(Record):
    """Statistics over the cases, by patient."""

    cases: int
    with_reference: int
    dice: MetricStats
    iou: MetricStats
    pixel_accuracy: MetricStats
    gain: dict[str, MetricStats]
    gain_by_slice: dict[str, MetricStats]
    regions: list[RegionMeans]
    cycle: CycleStats
    cycle_share_of_dice: float | None
    """Dice of the reference found again in its generated image, over that found in the image itself."""
    spearman_with_one_minus_iou: RankCorrelations
    flag_below: float | None
    flagged: list[str] | None
    """Cases flagged for review; None without a calibration."""


class Comparison(Record):
    """report.json."""

    format: int
    scheme: StoredScheme
    """The label scheme of both models."""
    channels: list[str]
    units: dict[str, str]
    definitions: dict[str, str]
    synthetic: bool
    synthetic_training: bool
    summary: ComparisonSummary
    order: list[str]
    """Cases, by `CaseFigures.trust`."""
    quality: dict[str, object] | None
    """How the estimate was calibrated, as quality.json says."""
    cases: dict[str, CaseFigures]
    failed: dict[str, str]
    models: dict[str, dict[str, object]]
    provenance: dict[str, object]
