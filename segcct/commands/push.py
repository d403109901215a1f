"""segcct push and bundle: a model for others."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.parser import Commands, add_command, add_model
from segcct.tasks.task import Outcome


def add_push(commands: Commands) -> None:
    """A model on the Hub."""
    parser = add_command(
        commands, "push", _push, "upload a trained model to the Hugging Face Hub, with a description and its scores"
    )
    parser.add_argument("model", type=Path, metavar="RUN/best", help="a trained model's folder")
    parser.add_argument("repository", metavar="OWNER/NAME", help="where it goes; made if it is missing")
    _add_description(parser)
    parser.add_argument(
        "--public", action="store_true", help="make a new repository public; without it, only you can see it"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the description and the files, and upload nothing"
    )


def add_bundle(commands: Commands) -> None:
    """A model for MONAI."""
    parser = add_command(commands, "bundle", _bundle, "write a trained segmentation model as a MONAI bundle")
    add_model(parser, "--model", help="a trained model's folder")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the bundle, a new folder")
    _add_description(parser)


def _add_description(parser: argparse.ArgumentParser) -> None:
    """Register what the description of a model says that its folder does not."""
    parser.add_argument("--license", default="", help="required: its license, such as apache-2.0 or cc-by-nc-4.0")
    parser.add_argument("--training-data", default="", metavar="TEXT", help="required: the data it was trained on")
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="what segcct evaluate wrote, for the scores (default: the folder evaluation of the run, if it is there)",
    )


def _bundle(arguments: argparse.Namespace) -> Outcome:
    from segcct.sharing.monai_bundle import write_bundle
    from segcct.sharing.terms import Terms

    terms = Terms(arguments.license, arguments.training_data)
    return Outcome(f"wrote {write_bundle(arguments.model, arguments.output, terms, evaluation=arguments.evaluation)}")


def _push(arguments: argparse.Namespace) -> Outcome:
    from segcct import hub
    from segcct.sharing.push_model import files_to_push
    from segcct.sharing.terms import Terms

    terms = Terms(arguments.license, arguments.training_data)
    hub.check_repository(arguments.repository)
    files = files_to_push(arguments.model, arguments.repository, terms, evaluation=arguments.evaluation)
    names = ", ".join(files)
    if arguments.dry_run:
        readme = files[hub.README]
        print(readme.decode() if isinstance(readme, bytes) else "")
        return Outcome(f"would upload {names} to hf://{arguments.repository}")
    page = hub.upload(arguments.repository, files, public=arguments.public, message="Upload the model")
    predict = ("predict", "--model", f"hf://{arguments.repository}", "--input", "SCANS", "--output", "DIR")
    return Outcome(f"uploaded {names} to {page}", predict)
