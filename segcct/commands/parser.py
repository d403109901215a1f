"""What the parsers of several commands have in common: the options of all that run a network, and of others."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from segcct.errors import ConfigError, did_you_mean
from segcct.hardware.precision_names import PRECISIONS
from segcct.option_types import positive_int

if TYPE_CHECKING:
    from segcct.config import Experiment
    from segcct.inference.inference_choices import BackendName, ProtocolName, ViewsName
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.spark.spark_cases import SparkEngine
    from segcct.tasks.task import Outcome

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
"""Where a command is registered."""
_OPTION = re.compile(r"--\S+|-[^\W\d]\S*")
"""A word that is an option: `-1` is a number."""


class ProgramParser(argparse.ArgumentParser):
    """The parser of `segcct`."""

    commands: Collection[str] = ()
    """Their names."""


class CommandParser(argparse.ArgumentParser):
    """A parser that refuses an unknown option before it asks for a missing one, and names the one that was meant."""

    takes_keys = False
    """Configuration keys are options, too: they have a dot, or are a section given whole, `--train {epochs: 3}`."""
    config: Callable[[], type[Experiment]] | None = None
    """Imports the configuration that has these keys; None where a file names it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it. Ends the program with exit code 2 where a word is no option."""
        words = list(sys.argv[1:] if args is None else args)
        unknown = self._unknown_option(words)
        if unknown is not None and not {"-h", "--help"} & set(words):
            self.exit(2, f"{self.prog}: error: no option {unknown}{self._hint(unknown)} See {self.prog} --help\n")
        return super().parse_known_args(words, namespace)

    def _unknown_option(self, words: Sequence[str]) -> str | None:
        """The first of these words that is neither an option nor a configuration key."""
        words = list(itertools.takewhile(lambda word: word != "--", words))
        for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
            flag, _, value = word.partition("=")
            is_key = self.takes_keys and ("." in flag or flag[:2] != "--" or (value or following)[:1] == "{")
            if _OPTION.fullmatch(flag) and flag not in self._option_string_actions and not is_key:
                return flag
        return None

    def _hint(self, unknown: str) -> str:
        """The option or key that is most similar."""
        name = unknown.strip("-")
        names = [
            flag.removeprefix("--")
            for flag, action in self._option_string_actions.items()
            if flag.startswith("--") and action.help != argparse.SUPPRESS
        ]
        longer = [each for each in names if each.startswith(name)]  # argparse's abbreviations, which are off
        if meant := did_you_mean(longer[0] if longer else name, names, prefix="--"):
            return f". {meant}"
        if self.config is not None:
            from segcct.config.config_keys import keys, nearest

            return f". Nearest valid key: --{nearest(name, [key.name for key in keys(self.config())])}."
        return " (configuration keys look like --data.root)." if self.takes_keys else "."


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], Outcome | None],
    help: str,
    *,
    takes_keys: bool = False,
    config: Callable[[], type[Experiment]] | None = None,
) -> CommandParser:
    """Register a command with --debug; `takes_keys` lets --section.key value pairs through to it, as does `config`,
    which imports the configuration that has these keys."""
    parser = commands.add_parser(
        name,
        help=help,
        description=help[:1].upper() + help[1:] + ".",
        allow_abbrev=False,
        add_help=config is None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.takes_keys, parser.config = takes_keys or config is not None, config
    if config is not None:
        parser.add_argument("-h", "--help", action=_HelpWithKeys, config=config)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an expected failure")
    parser.set_defaults(run=run, takes_keys=parser.takes_keys, parser=parser)
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

    def __init__(self, option_strings: list[str], dest: str, config: Callable[[], type[Experiment]]) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show this help, with every configuration key")
        self.config = config

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from segcct.config.settings import describe

        parser.epilog = "configuration keys, each as --key VALUE:\n" + describe(self.config())
        parser.print_help()
        parser.exit()
