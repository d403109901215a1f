"""segcct calibrate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.commands.parser import Commands, add_command, add_network_options, inference_of
from segcct.option_types import fraction
from segcct.plurals import counted
from segcct.tasks.task import Outcome

if TYPE_CHECKING:
    from segcct.inference.unseen_cases import UnseenCases
    from segcct.model_card import ModelCard
    from segcct.quality.quality_model import QualityModel


def add_calibrate(commands: Commands) -> None:
    """The quality estimate of a segmenter."""
    parser = add_command(
        commands,
        "calibrate",
        _calibrate,
        "fit an estimate of the Dice of masks without references, and store it with --i2m",
    )
    parser.add_argument(
        "--i2m",
        type=Path,
        required=True,
        nargs="+",
        metavar="RUN/best",
        help="the segmentation model that gets quality.json; several, or the folder of a cross-validation, are an "
        "ensemble, which predicts the cases that none of its members was trained on",
    )
    parser.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        metavar="RUN/best",
        help="k-fold runs of the same experiment, or the folder of a cross-validation: each predicts its own "
        "validation fold (default: --i2m alone)",
    )
    parser.add_argument("--m2i", type=Path, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--input", type=Path, help="the dataset root; default: that of the run's config.yaml")
    parser.add_argument(
        "--flag-below",
        type=fraction,
        default=0.7,
        metavar="DICE",
        help="flag masks of a lower estimated Dice for review (default %(default)s)",
    )
    add_network_options(parser)


def _calibrate(arguments: argparse.Namespace) -> Outcome:
    from segcct.case_runner import failures, values
    from segcct.errors import DataError, HubError, items
    from segcct.files.json_file import write_json
    from segcct.hub import hub_name, is_on_hub
    from segcct.inference.ensemble import find_members
    from segcct.inference.predictor import Predictor
    from segcct.model_card import load_card
    from segcct.progress import Progress, say
    from segcct.provenance import versions
    from segcct.quality import calibration_run as steps
    from segcct.quality.quality_model import estimate_file, identity_of_masks

    if arguments.m2i:
        say("--m2i no longer has an effect: the features of a generator were measured to add nothing to the estimate")
    for each in filter(is_on_hub, (*arguments.i2m, *(arguments.folds or ()))):
        raise HubError(
            "a download has no splits.json, which says which cases it was not trained on",
            file=hub_name(each),
            remedy="Calibrate in the run folder that it was pushed from, and push it again",
        )
    members = find_members(arguments.i2m)
    card = load_card(members[0]) if len(members) == 1 else Predictor.card_of(members)
    models, classes = _unseen(arguments, members, card)
    outcomes = []
    for number, unseen in enumerate(models, start=1):
        outcomes += steps.measure_cases(unseen, progress=Progress(f"measuring run {number} of {len(models)}"))
    rows = [row for measured in values(outcomes) for row in measured]
    reasons = failures(outcomes)
    if reasons and not rows:
        raise DataError(f"none of the cases can be measured:{items(reasons)}")
    sources = [unseen.predictor.card.weights_sha256 for unseen in models]
    model = steps.calibrate(rows, classes, sources=sources, ensemble=models[0] if len(members) > 1 else None)
    model = model.model_copy(update={"flag_below": arguments.flag_below})
    file = estimate_file(members, card)
    write_json(file, {**model.to_json(), **identity_of_masks(card), "provenance": versions()})
    _print(model)
    if reasons:
        raise DataError(
            f"{counted(len(reasons), 'case')} failed; the estimate of the others is in {file}:{items(reasons)}"
        )
    predict = ("predict", "--model", *arguments.i2m, "--input", "SCANS", "--output", "DIR")
    return Outcome(f"wrote {file}, with which predict also writes quality.csv", predict)


def _unseen(
    arguments: argparse.Namespace, members: tuple[Path, ...], card: ModelCard
) -> tuple[list[UnseenCases], tuple[str, ...]]:
    """The cases that each model, or the ensemble of all, was not trained on; and the classes."""
    from segcct.errors import ConfigError
    from segcct.inference.ensemble import find_members
    from segcct.inference.unseen_cases import unseen_by_ensemble, unseen_by_runs
    from segcct.progress import say
    from segcct.quality.calibration_run import check_folds

    how = inference_of(arguments)
    if len(members) == 1:
        models = unseen_by_runs(find_members(arguments.folds or members), arguments.input, how)
        return models, check_folds(members[0], card, models)
    if arguments.folds:
        raise ConfigError("--folds stand in for one model, and --i2m is an ensemble", remedy="Leave --folds out")
    unseen = unseen_by_ensemble(members, arguments.input, how)
    held_out = f"{counted(len(unseen.cases), 'case')} that none of the {len(members)} members was trained on"
    say(f"calibrating on {held_out}; evaluate the estimate on other cases")
    return [unseen], tuple(card.classes)


def _print(model: QualityModel) -> None:
    from segcct.report.html import number

    print(model.facts["summary"])
    print("\n| features | Spearman | mean error | AUROC (Dice < 0.7) | AURC |\n|---|---|---|---|---|")
    for row in model.facts["leave_one_out"]:
        name = f"{row['name']} (in use)" if row["in_use"] else row["name"]
        figures = (number(row["spearman"]), number(row["mae"], 4), number(row["auroc"]), number(row["aurc"]))
        print(f"| {name} | {' | '.join(figures)} |")
    print()
