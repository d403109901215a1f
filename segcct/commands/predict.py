"""segcct predict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.commands.network_options import add_network_options, inference_of
from segcct.commands.parser import add_command, command_line
from segcct.plurals import counted

if TYPE_CHECKING:
    from segcct.inference.cycle import Cycles
    from segcct.inference.folder_prediction import Request
    from segcct.inference.predictor import Predictor
    from segcct.quality.quality_model import QualityModel


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Masks for scans, class probabilities for pictures."""
    parser = add_command(
        commands, "predict", _predict, "predict masks on the scans' own grids, or the classes of images"
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN/best", help="a trained model's folder")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="a file that holds every channel, a case folder, a dataset root, or a folder of new files named as the "
        "dataset's; for classes an image, a folder or archive of them",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where masks or predictions.csv go")
    parser.add_argument("--split", choices=["train", "val", "test"], help="only these cases of the model's own split")
    parser.add_argument(
        "--m2i", type=Path, metavar="RUN/best", help="a generator, where the model's quality.json uses its features"
    )
    parser.add_argument(
        "--no-quality", action="store_true", help="do not write quality.csv, which takes four more passes"
    )
    parser.add_argument("--keep-largest", action="store_true", help="keep only the largest component of each class")
    parser.add_argument("--overwrite", action="store_true", help="replace masks that exist already")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="hash the case ids in file names and reports; what names a file, and the key of the hash, goes to "
        "sources.json, and when the masks are evaluated to files.json: share neither",
    )
    parser.add_argument("--anonymise", dest="anonymize", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--protocol",
        choices=["soft", "transunet"],
        default="soft",
        help="soft: resample probabilities; transunet: the published slice protocol (default %(default)s)",
    )
    add_network_options(parser)


def _quality(predictor: Predictor, arguments: argparse.Namespace) -> tuple[QualityModel, Cycles | None] | None:
    """The estimate to be written beside the masks, with what its signals need; where there is none, why, on stderr.

    Called before anything is predicted, so that a generator that does not fit costs no time.
    """
    from segcct.inference.cycle import Cycles
    from segcct.inference.quality_rows import TABLE
    from segcct.inference.reconstructor import Reconstructor
    from segcct.progress import say
    from segcct.quality.quality_model import QualityModel

    generator = None if arguments.m2i is None else Reconstructor.load(arguments.m2i, predictor.how)
    quality = None if arguments.no_quality else QualityModel.load(arguments.model)
    if quality is None:
        _refuse_generator(arguments)
        return None
    if arguments.keep_largest or arguments.protocol != "soft":
        say(f"{TABLE} is not written: the estimate was calibrated without --keep-largest and --protocol transunet")
        return None
    if not quality.uses_m2i:
        if generator is not None:
            say("--m2i is not used: its signals were not shown to pay when the estimate was calibrated")
        return quality, None
    if generator is None:
        say(f"{TABLE} is not written: the estimate needs the generator it was calibrated with; name it by --m2i")
        return None
    quality.check_generator(generator.card.weights_sha256, arguments.m2i)
    return quality, Cycles(predictor, generator)


def _refuse_generator(arguments: argparse.Namespace) -> None:
    """Raises where --m2i was given and no quality is estimated, which alone needs it."""
    from segcct.errors import ConfigError, ModelError

    if arguments.m2i is None:
        return
    if arguments.no_quality:
        raise ConfigError("--m2i has no effect with --no-quality", remedy="Leave one of the two out")
    raise ModelError(
        "has no quality.json, which alone needs --m2i",
        file=arguments.model,
        remedy=f"Run {command_line('calibrate', '--i2m', arguments.model, '--m2i', arguments.m2i)}, or leave --m2i out",
    )


def _estimate(
    predictor: Predictor,
    request: Request,
    estimate: tuple[QualityModel, Cycles | None] | None,
    arguments: argparse.Namespace,
) -> None:
    """quality.csv beside the masks that were written, where there is an estimate. Raises `DataError` for a mask that
    gets none."""
    from segcct.inference.quality_rows import TABLE
    from segcct.progress import Progress
    from segcct.quality.quality_table import write_quality

    if estimate is None:
        return
    quality, cycles = estimate
    doubtful = write_quality(
        predictor,
        request,
        arguments.output,
        quality,
        cycles=cycles,
        anonymize=arguments.anonymize,
        progress=Progress("estimating quality"),
    )
    print(
        f"wrote {arguments.output / TABLE}: {sum(doubtful.values())} of {counted(len(doubtful), 'case')} with a mask "
        f"that is doubtful (estimated Dice below {quality.doubtful_below:g}) or misses a structure"
    )


def _predict(arguments: argparse.Namespace) -> None:
    from segcct.model_card import load_card

    if load_card(arguments.model).task == "classification":
        from segcct.commands.class_commands import predict_classes

        predict_classes(arguments)
        return
    from segcct.errors import DataError
    from segcct.inference.folder_prediction import predict_folder, resolve
    from segcct.inference.predictor import Predictor
    from segcct.progress import Progress

    how = inference_of(arguments, arguments.protocol)
    predictor = Predictor.load(arguments.model, how)
    estimate = _quality(predictor, arguments)
    request = resolve(
        predictor.card, arguments.input, split=arguments.model / ".." / "splits.json", side=arguments.split
    )
    try:
        masks = predict_folder(
            predictor,
            request,
            arguments.output,
            keep_largest=arguments.keep_largest,
            overwrite=arguments.overwrite,
            anonymize=arguments.anonymize,
            progress=Progress("predicting"),
        )
    except DataError as failed:  # some cases failed: the others have their masks, and get their estimates
        try:
            _estimate(predictor, request, estimate, arguments)
        except DataError as also:
            raise DataError(f"{failed}\n{also}") from None
        raise
    _estimate(predictor, request, estimate, arguments)
    wrote = f"wrote {counted(len(masks), 'mask')} to {arguments.output}"
    if not any(case.label for case in request.cases):
        print(wrote)
        return
    folders = ("--prediction", arguments.output, "--reference", request.data.root)
    beside = arguments.output.parent / "evaluation"
    command = command_line("evaluate", *folders, "--scheme", predictor.scheme.name, "--output", beside)
    print(f"{wrote}; next: {command}")
