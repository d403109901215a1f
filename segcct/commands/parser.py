"""What the parsers of several commands have in common: the options of all that run a network, and of others."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from segcct.errors import ConfigError
from segcct.hardware.precision_names import PRECISIONS
from segcct.option_types import positive_int

if TYPE_CHECKING:
    from segcct.inference.inference_choices import BackendName, ProtocolName, ViewsName
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.spark.spark_cases import SparkEngine
    from segcct.tasks.task import Outcome

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command is registered."""


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], Outcome | None],
    help: str,
    *,
    takes_keys: bool = False,
    keys_help: Callable[[], str] | None = None,
) -> argparse.ArgumentParser:
    """Register a command with --debug; `takes_keys` lets --section.key value pairs through to it."""
    parser = commands.add_parser(
        name,
        help=help,
        description=help[:1].upper() + help[1:] + ".",
        allow_abbrev=False,
        add_help=keys_help is None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if keys_help is not None:
        parser.add_argument("-h", "--help", action=_HelpWithKeys, keys_help=keys_help)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an expected failure")
    parser.set_defaults(run=run, takes_keys=takes_keys, parser=parser)
    return parser


def add_model(
    parser: argparse.ArgumentParser, flag: str, *, help: str, required: bool = True, nargs: str | None = None
) -> None:
    """Register an option that names one or more models: a folder, or `hf://OWNER/NAME`, which is downloaded before the
    command runs (`local_models`)."""
    parser.add_argument(
        flag,
        type=Path,
        required=required,
        nargs=nargs,
        metavar="RUN/best",
        help=f"{help}; or hf://OWNER/NAME, a model on the Hugging Face Hub",
    )
    parser.set_defaults(models=(*(parser.get_default("models") or ()), flag.strip("-").replace("-", "_")))


def local_models(arguments: argparse.Namespace) -> None:
    """Replace what `add_model` options name on the Hub by the folders of their downloads. Raises `HubError`."""
    from segcct.hub import local_model

    for name in getattr(arguments, "models", ()):
        value = getattr(arguments, name)
        if isinstance(value, list):
            setattr(arguments, name, [local_model(each) for each in value])
        elif value is not None:
            setattr(arguments, name, local_model(value))


def add_anonymize(parser: argparse.ArgumentParser, help: str) -> None:
    """Register --anonymize and its other spelling."""
    parser.add_argument("--anonymize", action="store_true", help=help)
    parser.add_argument("--anonymise", dest="anonymize", action="store_true", help=argparse.SUPPRESS)


def add_compared(parser: argparse.ArgumentParser, prediction: str) -> None:
    """Register --prediction, with that help, and --reference."""
    parser.add_argument("--prediction", type=Path, required=True, metavar="DIR", help=prediction)
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="DIR", help="a dataset root, or a flat folder of masks"
    )


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Register --batch-size, --precision and --device."""
    group = parser.add_argument_group("how the network runs")
    group.add_argument(
        "--batch-size",
        type=positive_int,
        default=16,
        help="slices per batch; on the processor fewer where these are more than a million pixels (default "
        "%(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="arithmetic of the network; auto: bf16 if it is measured to be faster on this machine, otherwise fp32 "
        "(default %(default)s)",
    )
    group.add_argument(
        "--device",
        default="auto",
        help="auto (an NVIDIA GPU if there is one), cpu, cuda, cuda:1, mps ... (default %(default)s)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Register --engine, --master and --spark-conf."""
    group = parser.add_argument_group("Apache Spark")
    group.add_argument(
        "--engine",
        choices=["local", "spark"],
        default="local",
        help="where cases are processed: on this machine, or in tasks of Spark (default %(default)s)",
    )
    group.add_argument(
        "--master",
        metavar="URL",
        help="the master of Spark: local[2], spark://host:7077, yarn or k8s://https://host:443 (default: that of "
        "spark-submit, or else the cores of this machine)",
    )
    group.add_argument(
        "--spark-conf",
        action="append",
        metavar="KEY=VALUE",
        help="a property of Spark, such as spark.task.cpus=4; may be repeated",
    )


def engine_of(arguments: argparse.Namespace) -> SparkEngine | None:
    """Where cases are processed; None is here. Raises `ConfigError` for options of Spark without it."""
    from segcct.spark.spark_cases import SparkEngine

    settings = arguments.spark_conf or []
    if arguments.engine == "spark":
        if wrong := [each for each in settings if not each.partition("=")[2]]:
            raise ConfigError("--spark-conf sets nothing", found=wrong[0], expected="KEY=VALUE")
        return SparkEngine(arguments.master, dict(each.split("=", 1) for each in settings))
    if arguments.master or settings:
        flag = "--master" if arguments.master else "--spark-conf"
        raise ConfigError(f"{flag} does nothing without Spark", remedy="Add --engine spark")
    return None


def inference_of(
    arguments: argparse.Namespace,
    *,
    protocol: ProtocolName = "soft",
    tta: ViewsName = "none",
    adapt: str = "none",
    postprocessing: bool = True,
    backend: BackendName = "torch",
    generator: Path | None = None,
) -> InferenceSettings:
    """How the network runs. Says the precision on stderr where it was chosen here.

    Raises `ModelError` for a device that is not there.
    """
    from segcct.hardware.devices import pick_device
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.progress import say

    device = pick_device(arguments.device) if backend == "torch" else arguments.device
    inference = InferenceSettings(
        arguments.batch_size, arguments.precision, device, protocol, tta, adapt, postprocessing, backend, generator
    )
    if arguments.precision == "auto":
        say(str(inference.choice))
    return inference


def refuse_unused(arguments: argparse.Namespace, unused: Iterable[tuple[bool, str, Sequence[str]]]) -> None:
    """Raise `ConfigError` for the first option that is given where it does nothing.

    Args:
        arguments: those of the command.
        unused: (whether this is so here, "for ..." or "without ...", the options that do nothing then).
    """
    for is_so, where, names in unused:
        for name in names if is_so else ():
            if getattr(arguments, name) != arguments.parser.get_default(name):
                flag = flag_of(name)
                raise ConfigError(f"{flag} does nothing {where}", remedy=f"Leave {flag} out")


def flag_of(name: str) -> str:
    """The option of an argument: `keep_largest` -> `--keep-largest`."""
    return "--" + name.rstrip("_").replace("_", "-")


def command_line(*words: object) -> str:
    """`segcct` and these words, quoted so that a shell reads them back as they are."""
    return shlex.join(["segcct", *(str(word) for word in words)])


def print_outcome(outcome: Outcome) -> None:
    """What a command wrote, and the command that comes next."""
    following = f"next: {command_line(*outcome.next_command)}" if outcome.next_command else ""
    print("; ".join(filter(None, [outcome.wrote, following])))


class _HelpWithKeys(argparse.Action):
    """--help that lists the configuration keys, which are imported only then."""

    def __init__(self, option_strings: list[str], dest: str, keys_help: Callable[[], str]) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show this help, with every configuration key")
        self.keys_help = keys_help

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.epilog = self.keys_help()
        parser.print_help()
        parser.exit()
