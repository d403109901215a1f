"""What `segcct predict`, `evaluate` and `report` do for masks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.errors import ConfigError, DataError, ModelError
from segcct.inference.quality_rows import TABLE
from segcct.plurals import counted
from segcct.progress import Progress, say
from segcct.tasks.task import Outcome

if TYPE_CHECKING:
    from segcct.inference.arithmetic_device import Inference
    from segcct.inference.cycle import Cycles
    from segcct.inference.folder_prediction import Request
    from segcct.inference.predictor import Predictor
    from segcct.quality.quality_model import QualityModel

    Estimate = tuple[QualityModel, Cycles | None]


def predict(
    model: Path,
    input: Path,
    output: Path,
    *,
    split: str | None,
    m2i: Path | None,
    no_quality: bool,
    keep_largest: bool,
    overwrite: bool,
    anonymize: bool,
    protocol: str,
    how: Inference,
) -> Outcome:
    """Write the masks, predictions.json, and quality.csv where the model has an estimate."""
    from segcct.inference.folder_prediction import predict_folder, resolve
    from segcct.inference.predictor import Predictor

    predictor = Predictor.load(model, how)
    estimate = None
    if m2i is not None or not no_quality:
        estimate = _estimate_of(
            predictor, model, m2i, no_quality=no_quality, usual=not keep_largest and protocol == "soft"
        )
    request = resolve(predictor.card, input, split=model / ".." / "splits.json", side=split)
    try:
        masks = predict_folder(
            predictor,
            request,
            output,
            keep_largest=keep_largest,
            overwrite=overwrite,
            anonymize=anonymize,
            progress=Progress("predicting"),
        )
    except DataError as failed:  # some cases failed: the others have their masks, and get their estimates
        try:
            _write_quality(predictor, request, estimate, output, anonymize=anonymize)
        except DataError as also:
            raise DataError(f"{failed}\n{also}") from None
        raise
    _write_quality(predictor, request, estimate, output, anonymize=anonymize)
    wrote = f"wrote {counted(len(masks), 'mask')} to {output}"
    if not any(case.label for case in request.cases):
        return Outcome(wrote)
    folders = ("--prediction", output, "--reference", request.data.root)
    scheme = ("--scheme", predictor.scheme.name)
    return Outcome(wrote, ("evaluate", *folders, *scheme, "--output", output.parent / "evaluation"))


def _estimate_of(
    predictor: Predictor, model: Path, m2i: Path | None, *, no_quality: bool, usual: bool
) -> Estimate | None:
    """The estimate to be written beside the masks, with what its signals need; where there is none, why, on stderr.

    Called before anything is predicted, so that a generator that does not fit costs no time.

    Args:
        predictor: the segmenter.
        model: its folder.
        m2i: the generator's.
        no_quality: no estimate is asked for.
        usual: masks are made as when the estimate was calibrated.
    """
    from segcct.inference.cycle import Cycles
    from segcct.inference.reconstructor import Reconstructor
    from segcct.quality.quality_model import QualityModel

    generator = None if m2i is None else Reconstructor.load(m2i, predictor.how)
    if no_quality:
        if m2i is None:
            return None
        raise ConfigError("--m2i has no effect with --no-quality", remedy="Leave one of the two out")
    quality = QualityModel.load(model)
    if quality is None:
        if m2i is None:
            return None
        command = shlex.join(["segcct", "calibrate", "--i2m", str(model), "--m2i", str(m2i)])
        remedy = f"Run {command}, or leave --m2i out"
        raise ModelError("has no quality.json, which alone needs --m2i", file=model, remedy=remedy)
    if not usual:
        say(f"{TABLE} is not written: the estimate was calibrated without --keep-largest and --protocol transunet")
        return None
    if not quality.uses_m2i:
        if generator is not None:
            say("--m2i is not used: its signals were not shown to pay when the estimate was calibrated")
        return quality, None
    if generator is None or m2i is None:
        say(f"{TABLE} is not written: the estimate needs the generator it was calibrated with; name it by --m2i")
        return None
    quality.check_generator(generator.card.weights_sha256, m2i)
    return quality, Cycles(predictor, generator)


def _write_quality(
    predictor: Predictor, request: Request, estimate: Estimate | None, output: Path, *, anonymize: bool
) -> None:
    """quality.csv beside the masks that were written, where there is an estimate. Raises `DataError` for a mask that
    gets none."""
    from segcct.quality.quality_table import write_quality

    if estimate is None:
        return
    quality, cycles = estimate
    progress = Progress("estimating quality")
    doubtful = write_quality(predictor, request, output, quality, cycles=cycles, anonymize=anonymize, progress=progress)
    print(
        f"wrote {output / TABLE}: {sum(doubtful.values())} of {counted(len(doubtful), 'case')} with a mask "
        f"that is doubtful (estimated Dice below {quality.doubtful_below:g}) or misses a structure"
    )


def evaluate(
    prediction: Path,
    reference: Path,
    output: Path,
    *,
    scheme: str | None,
    convention: str,
    layout: str | None,
    workers: int,
    allow_unmatched: bool,
    against: Path | None,
    tolerance: float | None,
) -> Outcome:
    """Score a folder of masks."""
    from segcct.evaluation import evaluate_folders

    evaluate_folders.evaluate(
        prediction,
        reference,
        scheme=scheme,
        output=output,
        conventions=tuple(convention.split(",")),
        layout=layout,
        workers=workers,
        allow_unmatched=allow_unmatched,
        against=against,
        tolerance_mm=tolerance,
        progress=Progress("scoring cases"),
    )
    return Outcome(f"wrote {output}", ("report", "--evaluation", output, "--output", output.parent / "report"))


def report(evaluation: Path, output: Path, *, picture: Path | None, case: str | None, channel: str | None) -> Outcome:
    """Write the page of an evaluation, and one case as a picture."""
    from segcct.report.segmentation_page import write_report
    from segcct.report.slice_image import write_picture

    if picture is not None:
        write_picture(evaluation, picture, case=case, channel=channel)
        print(f"wrote {picture}")
    return Outcome(f"wrote {write_report(evaluation, output)}")
