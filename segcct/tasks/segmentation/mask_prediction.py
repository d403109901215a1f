"""A prediction of masks that `segcct predict` was asked for: how far it is, how long it would take, and its masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.inference.case_tables import QUALITY, VOLUMES, CaseTable
from segcct.inference.folder_prediction import MaskOptions, cases_at_a_time, predict_folder
from segcct.inference.folder_status import FolderStatus, folder_status
from segcct.inference.mask_folder import Existing, Predictions
from segcct.inference.prediction_request import Request
from segcct.inference.predictor import Predictor
from segcct.inference.time_estimate import time_estimate
from segcct.inference.volumes_table import volumes_table
from segcct.model_card import ModelCard
from segcct.progress import Progress

if TYPE_CHECKING:
    from segcct.quality.quality_model import QualityModel
    from segcct.spark.spark_cases import SparkBackend


@dataclass(frozen=True)
class MaskPrediction:
    """All that is known before a network is loaded."""

    card: ModelCard
    """Of the model, or of the ensemble."""
    request: Request
    """The cases."""
    output: Path
    options: MaskOptions
    settings: Mapping[str, Any]
    """What a finished case depends on: `settings_of`."""
    quality: QualityModel | None
    """Estimates the rows of quality.csv, if that is written."""
    existing: Existing

    def status(self) -> FolderStatus:
        """How far the folder is."""
        return folder_status(
            self.card,
            self.request,
            self.output,
            how=self.settings,
            tables=[VOLUMES] if self.quality is None else [VOLUMES, QUALITY],
            mask_format=self.options.mask_format,
            anonymized=self.options.anonymize,
        )

    def dry_run(self, predictor: Predictor, spark: SparkBackend | None) -> str:
        """How long the cases that are left would take; see `time_estimate`."""
        left, untried = self.request, self.request.cases
        if self.existing == "continue":
            now = self.status()
            left, untried = replace(left, cases=now.left), now.untried
        tables, cores = self._tables(predictor), _cores(spark)

        def predict(cases: Request, folder: Path) -> Predictions:
            return predict_folder(predictor, cases, folder, self.options, tables=tables, backend=spark, cores=cores)

        return time_estimate(
            left,
            self.output,
            predict,
            untried=untried,
            workers=lambda: 1 if spark is None else spark.workers,
            at_a_time=cases_at_a_time(predictor, self.request, cores),
        )

    def write(self, predictor: Predictor, spark: SparkBackend | None, *, max_failures: int | None) -> Predictions:
        """Write the masks, predictions.json and the tables. Raises as `predict_folder`."""
        return predict_folder(
            predictor,
            self.request,
            self.output,
            self.options,
            tables=self._tables(predictor),
            existing=self.existing,
            backend=spark,
            cores=_cores(spark),
            max_failures=max_failures,
            progress=Progress("predicting"),
        )

    def _tables(self, predictor: Predictor) -> list[CaseTable]:
        tables = [volumes_table(list(self.card.classes))]
        if self.quality is not None:
            from segcct.quality.quality_table import quality_table  # imports the metrics, and SciPy with them

            tables.append(quality_table(predictor, self.quality))
        return tables


def _cores(spark: SparkBackend | None) -> int | None:
    """Those that each task computes with; None: this process computes with all that it has."""
    return None if spark is None else spark.cores
