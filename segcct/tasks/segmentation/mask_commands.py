"""What `segcct predict`, `evaluate` and `report` do for masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.errors import DataError
from segcct.inference.case_tables import QUALITY
from segcct.plurals import counted
from segcct.progress import Progress, say
from segcct.tasks.task import Outcome

if TYPE_CHECKING:
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.inference.mask_folder import Predictions
    from segcct.inference.predictor import Predictor
    from segcct.model_card import ModelCard
    from segcct.quality.quality_model import QualityModel
    from segcct.spark.spark_cases import SparkEngine


def predict(
    model: Sequence[Path],
    input: Path,
    output: Path,
    *,
    split: str | None,
    no_quality: bool,
    format: str,
    keep_largest: bool,
    no_postprocessing: bool,
    probabilities: bool,
    overwrite: bool,
    continue_: bool,
    shard: tuple[int, int] | None,
    max_failures: int | None,
    status: bool,
    dry_run: bool,
    anonymize: bool,
    protocol: str,
    generator: Path | None,
    how: InferenceSettings,
    engine: SparkEngine | None,
) -> Outcome:
    """Write the masks, predictions.json, volumes.csv, and quality.csv if the model has an estimate; of several models,
    the masks of their mean probabilities. With `status`, say how far that is instead; with `dry_run`, how long it would
    take."""
    from segcct.inference.ensemble import find_members, splits_files
    from segcct.inference.folder_prediction import MaskOptions, settings_of
    from segcct.inference.mask_folder import existing_of
    from segcct.inference.outcome_table import outcomes_after
    from segcct.inference.prediction_request import resolve
    from segcct.inference.predictor import Predictor
    from segcct.spark.spark_cases import case_backend
    from segcct.tasks.segmentation.mask_prediction import MaskPrediction

    members = find_members(model)
    card = Predictor.card_of(members)
    request = resolve(card, input, splits_files=splits_files(members), split=split)
    if shard is not None:
        request = request.shard(*shard)
    if no_postprocessing or generator is not None:
        how = replace(how, postprocessing=not no_postprocessing, generator=generator)
    other_masks = keep_largest or (no_postprocessing and bool(card.postprocessing)) or protocol != "soft"
    quality = None if no_quality else _estimate_of(members, card, how, other_masks=other_masks)
    options = MaskOptions(format, keep_largest, probabilities, anonymize)
    settings = settings_of(card, how, options, calibration=None if quality is None else quality.digest)
    existing = existing_of(overwrite=overwrite, continue_=continue_)
    prediction = MaskPrediction(card, request, output, options, settings, quality, existing)
    if status:
        return Outcome(str(prediction.status()))
    predictor = Predictor.load(members, how)
    with case_backend(engine) as spark:
        if spark is not None:
            copies = spark.send(predictor.folders)
            predictor.relocate(copies, None if generator is None else spark.send([generator])[0])
        if dry_run:
            return Outcome(prediction.dry_run(predictor, spark))
        with outcomes_after(output, wanted=engine is not None):
            predictions = prediction.write(predictor, spark, max_failures=max_failures)
    _tell(predictions, quality, predictor)
    wrote = f"wrote {counted(len(predictions.masks), 'mask')} to {output}"
    if not any(case.label for case in request.cases):
        return Outcome(wrote)
    folders = ("--prediction", output, "--reference", request.data.root)
    scheme = ("--scheme", predictor.scheme.name)
    return Outcome(wrote, ("evaluate", *folders, *scheme, "--output", output.parent / "evaluation"))


def _estimate_of(
    members: Sequence[Path], card: ModelCard, how: InferenceSettings, *, other_masks: bool
) -> QualityModel | None:
    """The estimate of a model, if it has one and was calibrated on masks like these; `other_masks`: it was not."""
    from segcct.quality.quality_model import QualityModel, estimate_file

    quality = QualityModel.load(estimate_file(members, card), card)
    if quality is not None and (other_masks or (how.tta, how.adapt) != ("none", "none")):
        options = "--keep-largest, --no-postprocessing, --protocol, --tta and --adapt"
        say(f"{QUALITY} is not written: the estimate is for masks without {options}")
        return None
    return quality


def _tell(predictions: Predictions, quality: QualityModel | None, predictor: Predictor) -> None:
    """Say which cases are unlike the training cases, and how many are flagged. Raises `DataError` naming every case
    without a mask, or without an estimate."""
    from segcct.quality.quality_table import written_estimates

    if predictions.unlike_training:
        say(predictions.unlike_training)
    problems = [predictions.problem]
    if quality is not None:
        estimates = written_estimates(predictions)
        problems.append(estimates.problem)
        if not estimates.problem:
            _tell_flagged(predictions.output, estimates.flagged, quality, predictor)
    if any(problems):
        raise DataError("\n".join(filter(None, problems)))


def _tell_flagged(output: Path, flagged: Mapping[str, bool], quality: QualityModel, predictor: Predictor) -> None:
    count = sum(flagged.values())
    print(
        f"wrote {output / QUALITY}: {count} of {counted(len(flagged), 'case')} flagged for review "
        f"(estimated Dice below {quality.flag_below:g}, or a structure missed)"
    )
    if count > len(flagged) / 2 and predictor.can_mix_statistics:
        say("most are flagged: if they come from another scanner, --adapt statistics may help")


def evaluate(
    prediction: Path,
    reference: Path,
    output: Path,
    *,
    scheme: str | None,
    convention: str,
    layout: str | None,
    workers: int,
    max_failures: int | None,
    allow_unmatched: bool,
    against: Path | None,
    tolerance: float | None,
    engine: SparkEngine | None,
) -> Outcome:
    """Score a folder of masks."""
    from segcct.evaluation import evaluate_folders
    from segcct.spark.spark_cases import case_backend

    with case_backend(engine) as backend:
        evaluate_folders.evaluate(
            prediction,
            reference,
            scheme=scheme,
            output=output,
            conventions=tuple(convention.split(",")),
            layout=layout,
            workers=workers,
            backend=backend,
            max_failures=max_failures,
            allow_unmatched=allow_unmatched,
            against=against,
            tolerance_mm=tolerance,
            progress=Progress("scoring cases"),
        )
    return Outcome(f"wrote {output}", ("report", "--evaluation", output, "--output", output.parent / "report"))


def report(evaluation: Path, output: Path, *, picture: Path | None, case: str | None, channel: str | None) -> Outcome:
    """Write the page of an evaluation, and one case as a figure."""
    from segcct.report.segmentation_page import write_report
    from segcct.report.slice_image import write_picture

    if picture is not None:
        write_picture(evaluation, picture, case=case, channel=channel)
        print(f"wrote {picture}")
    return Outcome(f"wrote {write_report(evaluation, output)}")
