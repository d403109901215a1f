"""segcct tune-postprocessing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.commands.parser import Commands, add_command, add_network_options, inference_of
from segcct.plurals import counted
from segcct.tasks.task import Outcome

if TYPE_CHECKING:
    from segcct.model_card import PostprocessingStep


def add_tune_postprocessing(commands: Commands) -> None:
    """Postprocessing chosen on validation cases."""
    parser = add_command(
        commands,
        "tune-postprocessing",
        _tune,
        "choose the postprocessing that raises the Dice of the validation cases, and write it into model.json",
    )
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        required=True,
        metavar="RUN/best",
        help="a segmentation model, or the folder of a cross-validation: each fold predicts its own validation cases",
    )
    parser.add_argument("--input", type=Path, help="the dataset root; default: that of the run's config.yaml")
    add_network_options(parser)


def _tune(arguments: argparse.Namespace) -> Outcome:
    from segcct.case_runner import CaseJob, failures, run_cases, values
    from segcct.errors import DataError, items
    from segcct.inference.ensemble import find_members
    from segcct.inference.unseen_cases import unseen_by_runs
    from segcct.model_card import load_card
    from segcct.progress import Progress
    from segcct.tasks.segmentation.postprocessing_choice import measure, steps_for, try_all, try_together
    from segcct.tasks.segmentation.postprocessing_table import table_of

    models = find_members(arguments.model)
    classes = {model: tuple(load_card(model).classes) for model in models}
    if other := [model for model in models if classes[model] != classes[models[0]]]:
        raise DataError(
            f"has other classes than {models[0]}",
            file=other[0],
            found=", ".join(classes[other[0]]),
            expected=", ".join(classes[models[0]]),
            remedy="Name the models of one cross-validation, or tune each alone",
        )
    runs = unseen_by_runs(models, arguments.input, inference_of(arguments))
    jobs = [CaseJob(case.id, (unseen, case)) for unseen in runs for case in unseen.cases]
    outcomes = list(run_cases(jobs, lambda job: measure(*job), progress=Progress("predicting validation cases")))
    if reasons := failures(outcomes):
        raise DataError(f"{counted(len(reasons), 'case')} cannot be measured, so nothing is chosen:{items(reasons)}")
    cases = values(outcomes)
    tried = try_all([each for case in cases for each in case.classes], classes[models[0]])
    steps = steps_for(tried)
    together = try_together(cases, steps) if steps else None
    print(f"{counted(len(jobs), 'validation case')}, on their own grids:\n\n{table_of(tried, together)}\n")
    print("Chosen: what raises the mean Dice (1 where a class is neither there nor predicted), if no case gets worse")
    print("or the 95% interval of the difference, by patient, does not go below 0.\n")
    if together is not None and together.after <= together.before:
        print("Together, what was chosen does not raise the mean Dice, so none of it is kept.\n")
        steps = ()
    _write(steps, models)
    chosen = "; ".join(map(str, steps)) or "no postprocessing"
    predict = ("predict", "--model", *arguments.model, "--input", "SCANS", "--output", "DIR")
    return Outcome(f"wrote {chosen} into model.json of {counted(len(models), 'model')}", predict)


def _write(steps: Sequence[PostprocessingStep], models: Sequence[Path]) -> None:
    """Put the steps into model.json of all models, and say which estimates of quality are of masks without them."""
    from segcct.model_card import load_card, rewrite_card
    from segcct.progress import say
    from segcct.quality.quality_model import estimate_files

    changed = [folder for folder in models if load_card(folder).postprocessing != tuple(steps)]
    for folder in changed:
        rewrite_card(folder, load_card(folder).model_copy(update={"postprocessing": tuple(steps)}))
    for file in dict.fromkeys(file for folder in changed for file in estimate_files(folder)):
        say(f"{file} was fitted on other masks: run segcct calibrate again")
