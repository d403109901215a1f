"""A prediction of masks by command or from Python: how far it is, how long it would take, and its masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from segcct.inference.ensemble import Models, find_members, splits_files
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.loaded_model import default_settings
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard
from segcct.predictions.case_tables import QUALITY, VOLUMES, CaseTable
from segcct.predictions.folder_prediction import CaseLoop, cases_at_a_time, predict_folder, settings_of
from segcct.predictions.folder_status import FolderStatus, folder_status
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.outcome_table import outcomes_after
from segcct.predictions.prediction_request import Request, resolve
from segcct.predictions.time_estimate import time_estimate
from segcct.predictions.volumes_table import volumes_table
from segcct.progress import Progress, say
from segcct.spark.spark_cases import SparkBackend, case_backend
from segcct.tasks.task_options import PredictOptions

if TYPE_CHECKING:
    from segcct.quality.quality_model import QualityModel
    from segcct.quality.quality_table import WrittenEstimates


@dataclass(frozen=True)
class PredictedMasks(Predictions):
    """The outcomes of one call, with the estimates of the masks' quality."""

    estimates: WrittenEstimates | None = None
    """None where quality.csv is not written."""
    can_mix_statistics: bool = False
    """`statistics` of `InferenceSettings.adapt` would do something, as the network has batch norm."""

    @property
    def problem(self) -> str:
        """Names every case without a mask or without an estimate, and why; empty if all have theirs."""
        estimates = "" if self.estimates is None else self.estimates.problem
        return "\n".join(filter(None, [super().problem, estimates]))

    @property
    def flagged(self) -> list[str]:
        """The cases that quality.csv flags for review."""
        return [] if self.estimates is None else [case for case, flag in self.estimates.is_flagged.items() if flag]


@dataclass(frozen=True)
class MaskPrediction:
    """All that is known before a network is loaded."""

    members: tuple[Path, ...]
    """The `best/` folder of the model, or those of an ensemble."""
    card: ModelCard
    """Of them together."""
    request: Request
    """The cases."""
    output: Path
    options: PredictOptions
    settings: InferenceSettings
    """How the network runs."""
    quality: QualityModel | None
    """Estimates the rows of quality.csv, if that is written."""

    @classmethod
    def of(cls, model: Models, source: Path, output: Path, options: PredictOptions) -> Self:
        """Find the model and the cases. Raises `SegcctError` where one of them cannot be used."""
        members = find_members(model)
        card = Predictor.card_of(members)
        anonymize = options.masks.anonymize
        request = resolve(card, source, splits_files=splits_files(members), split=options.split, anonymize=anonymize)
        if options.cohort.shard is not None:
            request = request.shard(*options.cohort.shard)
        settings = options.settings or default_settings(members)
        quality = _estimate_of(members, card, settings, options) if options.quality else None
        return cls(members, card, request, output, options, settings, quality)

    def status(self) -> FolderStatus:
        """How far the folder is."""
        calibration = None if self.quality is None else self.quality.digest
        return folder_status(
            MaskSource.of(self.card),
            self.request,
            self.output,
            how=settings_of(self.card, self.settings, self.options.masks, calibration=calibration),
            tables=[VOLUMES] if self.quality is None else [VOLUMES, QUALITY],
            mask_format=self.options.masks.mask_format,
        )

    def dry_run(self) -> str:
        """How long the cases that are left would take; see `time_estimate`."""
        with self._running() as (predictor, spark):
            left, untried = self.request, self.request.cases
            if self.options.existing == "continue":
                now = self.status()
                left, untried = replace(left, cases=now.left), now.untried
            tables, loop = self._tables(predictor), _loop(spark)

            def predict(cases: Request, folder: Path) -> Predictions:
                return predict_folder(predictor, cases, folder, self.options.masks, tables=tables, loop=loop)

            return time_estimate(
                left,
                self.output,
                predict,
                untried=untried,
                workers=lambda: 1 if spark is None else spark.workers,
                at_a_time=cases_at_a_time(predictor, self.request, loop.cores),
            )

    def write(self) -> PredictedMasks:
        """Write the masks, predictions.json, volumes.csv, and quality.csv if there is an estimate; on Spark
        outcomes.parquet too. Raises as `predict_folder`."""
        cohort = self.options.cohort
        with self._running() as (predictor, spark), outcomes_after(self.output, wanted=cohort.engine is not None):
            predictions = predict_folder(
                predictor,
                self.request,
                self.output,
                self.options.masks,
                tables=self._tables(predictor),
                existing=self.options.existing,
                loop=replace(_loop(spark), max_failures=cohort.max_failures, progress=Progress("predicting")),
            )
        estimates = None
        if self.quality is not None:
            from segcct.quality.quality_table import written_estimates

            estimates = written_estimates(predictions)
        can_mix = predictor.can_mix_statistics
        return PredictedMasks(**vars(predictions), estimates=estimates, can_mix_statistics=can_mix)

    @contextmanager
    def _running(self) -> Iterator[tuple[Predictor, SparkBackend | None]]:
        """The network, and the Spark that the options ask for, to whose machines the model is sent."""
        predictor = Predictor.load(self.members, self.settings)
        with case_backend(self.options.cohort.engine) as spark:
            if spark is not None:
                copies, generator = spark.send(predictor.folders), self.settings.generator
                predictor.relocate(copies, None if generator is None else spark.send([generator])[0])
            yield predictor, spark

    def _tables(self, predictor: Predictor) -> list[CaseTable]:
        tables = [volumes_table(list(self.card.classes))]
        if self.quality is not None:
            from segcct.quality.quality_table import quality_table  # imports the metrics, and SciPy with them

            tables.append(quality_table(predictor, self.quality))
        return tables


def _estimate_of(
    members: Sequence[Path], card: ModelCard, settings: InferenceSettings, options: PredictOptions
) -> QualityModel | None:
    """The estimate of a model, if it has one and was calibrated on masks that are made in this way."""
    from segcct.quality.quality_model import QualityModel, estimate_file

    quality = QualityModel.load(estimate_file(members, card), card)
    usual = (settings.protocol, settings.tta, settings.adapt) == ("soft", "none", "none")
    usual = usual and (settings.postprocessing or not card.postprocessing) and not options.masks.keep_largest
    if quality is not None and not usual:
        flags = "--keep-largest, --no-postprocessing, --protocol, --tta and --adapt"
        say(f"{QUALITY} is not written: the estimate is for masks without {flags}")
        return None
    return quality


def _loop(spark: SparkBackend | None) -> CaseLoop:
    """In tasks of Spark, or in this process with all cores that it has."""
    return CaseLoop() if spark is None else CaseLoop(spark, spark.cores)
