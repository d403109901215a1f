"""segcct phantom, init, check: what is done to a dataset before training."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.parser import Commands, add_command
from segcct.option_types import non_negative_int, positive_int
from segcct.plurals import counted
from segcct.tasks.task import Outcome


def add_phantom(commands: Commands) -> None:
    """Synthetic datasets."""
    parser = add_command(commands, "phantom", _phantom, "write a small synthetic dataset in a real layout")
    parser.add_argument("layout", metavar="LAYOUT", help="brats, acdc or synapse")
    parser.add_argument("folder", type=Path, metavar="DIR", help="an empty or new folder")
    parser.add_argument(
        "--cases", type=positive_int, default=8, metavar="N", help="how many cases (default %(default)s)"
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, help="seed of the dataset (default %(default)s)")
    parser.add_argument(
        "--reduce", type=positive_int, default=1, metavar="R", help="same field of view on an R times coarser grid"
    )


def add_init(commands: Commands) -> None:
    """A config for a folder of scans."""
    parser = add_command(commands, "init", _init, "inspect a folder of scans and masks, and write a config for it")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the dataset")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: configs/<name of DIR>.yaml")


def add_check(commands: Commands) -> None:
    """Verification before training."""
    parser = add_command(commands, "check", _check, "verify a dataset and print every problem", takes_keys=True)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the experiment, as YAML")
    parser.add_argument("--quick", action="store_true", help="check headers only, as training does before it begins")
    parser.add_argument(
        "--lines",
        type=non_negative_int,
        default=10,
        metavar="N",
        help="lines per kind of problem; 0 prints all (default %(default)s)",
    )


def _phantom(arguments: argparse.Namespace) -> Outcome:
    from segcct.phantom import get_phantom, write_phantom
    from segcct.progress import Progress

    ids = write_phantom(
        arguments.layout,
        arguments.folder,
        arguments.cases,
        seed=arguments.seed,
        reduce=arguments.reduce,
        progress=Progress("drawing cases"),
    )
    config = Path("configs") / f"{arguments.layout}_cct_unet.yaml"
    keys = ("--data.root", arguments.folder, *get_phantom(arguments.layout).config_keys)
    wrote = f"wrote {counted(len(ids), 'synthetic case')} to {arguments.folder}"
    # An installed package comes without the configs of the repository.
    return Outcome(wrote, ("train-seg", "--config", config, *keys) if config.is_file() else ("init", arguments.folder))


def _init(arguments: argparse.Namespace) -> Outcome:
    from segcct.files.atomic_file import atomic_path, refuse_existing
    from segcct.files.file_names import folder_name
    from segcct.init.config_text import config_text
    from segcct.init.folder_inspection import inspect_folder

    name = folder_name(arguments.folder)
    output = arguments.output or Path("configs") / f"{name}.yaml"
    refuse_existing(output)
    findings = inspect_folder(arguments.folder)
    print(findings.describe())
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(config_text(findings, name, output), encoding="utf-8")
    return Outcome(f"wrote {output}, to be read before it is used", ("check", "--config", output))


def _check(arguments: argparse.Namespace) -> Outcome:
    from segcct.check.dataset_check import examine_dataset
    from segcct.check.problem import format_problems
    from segcct.config import DataSection, settings
    from segcct.errors import ConfigError, DataError
    from segcct.progress import Progress
    from segcct.tasks.task_files import task_of_keys

    overrides = settings.parse_overrides(arguments.keys)
    content = settings.read_yaml(arguments.config)
    task = task_of_keys(content, overrides)
    config = settings.build(task.load_config(), content, overrides, source=str(arguments.config))
    if not isinstance(config.data, DataSection):
        raise ConfigError(
            "is not an experiment on scans",
            file=arguments.config,
            found=f"one of segcct {task.command}",
            remedy="That command reads the dataset first, and says what is wrong with it",
        )
    checked = examine_dataset(
        config.data,
        deep=not arguments.quick,
        needs_labels=task.load().needs_labels,
        progress=Progress("reading cases"),
    )
    problems = checked.problems
    if problems:
        print(format_problems(problems, lines=arguments.lines or len(problems)))
    for line in checked.unread:
        print(f"not read: {line}")
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        what = f"{counted(errors, 'problem')}, listed above"
        raise DataError(what, file=config.data.root, remedy="Fix them and check again")
    train = (task.command, "--config", arguments.config, *arguments.keys)
    return Outcome(f"no problems found in {config.data.root}", train)
