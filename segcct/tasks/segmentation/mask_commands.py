"""What `segcct predict`, `evaluate` and `report` do for masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.errors import DataError
from segcct.plurals import counted
from segcct.predictions.case_tables import QUALITY
from segcct.progress import Progress, say
from segcct.tasks.task import Outcome
from segcct.tasks.task_options import EvaluateOptions, PredictOptions, ReportOptions

if TYPE_CHECKING:
    from segcct.quality.quality_model import QualityModel
    from segcct.tasks.segmentation.mask_prediction import PredictedMasks


def predict(model: Sequence[Path], source: Path, output: Path, options: PredictOptions) -> Outcome:
    """Write the masks and the tables next to them, say how far that is, or how long it would take; see
    `MaskPrediction`."""
    from segcct.tasks.segmentation.mask_prediction import MaskPrediction

    prediction = MaskPrediction.of(model, source, output, options)
    if options.only == "status":
        return Outcome(str(prediction.status()))
    if options.only == "dry-run":
        return Outcome(prediction.dry_run())
    predicted = prediction.write()
    _tell(predicted, prediction.quality)
    wrote = f"wrote {counted(len(predicted.masks), 'mask')} to {output}"
    request = prediction.request
    if not any(case.label for case in request.cases):
        return Outcome(wrote)
    folders = ("--prediction", output, "--reference", request.data.root)
    scheme = ("--scheme", prediction.card.label_scheme().name)
    return Outcome(wrote, ("evaluate", *folders, *scheme, "--output", output.parent / "evaluation"))


def _tell(predicted: PredictedMasks, quality: QualityModel | None) -> None:
    """Say which cases are unlike the training cases, and how many are flagged. Raises `DataError` naming every case
    without a mask, or without an estimate."""
    if predicted.unlike_training:
        say(predicted.unlike_training)
    estimates, flagged = predicted.estimates, len(predicted.flagged)
    if quality is not None and estimates is not None and not estimates.problem:
        cases = counted(len(estimates.is_flagged), "case")
        print(
            f"wrote {predicted.output / QUALITY}: {flagged} of {cases} flagged for review "
            f"(estimated Dice below {quality.flag_below:g}, or a structure missed)"
        )
        if flagged > len(estimates.is_flagged) / 2 and predicted.can_mix_statistics:
            say("most are flagged: if they come from another scanner, --adapt statistics may help")
    if predicted.problem:
        raise DataError(predicted.problem)


def evaluate(prediction: Path, reference: Path, output: Path, options: EvaluateOptions) -> Outcome:
    """Score a folder of masks."""
    from segcct.evaluation import evaluate_folders
    from segcct.spark.spark_cases import case_backend

    with case_backend(options.engine) as backend:
        evaluate_folders.evaluate(
            prediction,
            reference,
            scheme=options.scheme,
            output=output,
            conventions=options.conventions,
            layout=options.layout,
            workers=options.workers,
            backend=backend,
            max_failures=options.max_failures,
            allow_unmatched=options.allow_unmatched,
            against=options.against,
            tolerance_mm=options.tolerance_mm,
            progress=Progress("scoring cases"),
        )
    return Outcome(f"wrote {output}", ("report", "--evaluation", output, "--output", output.parent / "report"))


def report(evaluation: Path, output: Path, options: ReportOptions) -> Outcome:
    """Write the page of an evaluation, and one case as a figure."""
    from segcct.report.segmentation_page import write_report
    from segcct.report.slice_image import write_picture

    if options.picture is not None:
        write_picture(evaluation, options.picture, case=options.case, channel=options.channel)
        print(f"wrote {options.picture}")
    return Outcome(f"wrote {write_report(evaluation, output)}")
