"""segcct models."""

from __future__ import annotations

import argparse

from segcct.commands.parser import add_command


def add_models(commands: argparse._SubParsersAction) -> None:
    """The zoo."""
    parser = add_command(commands, "models", _models, "list every model with its parameters and MACs")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these; timm:NAME is any classifier of timm (default: the table)"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the square image (default %(default)s)")
    parser.add_argument("--channels", type=int, default=1, help="input channels (default %(default)s)")
    parser.add_argument("--classes", type=int, default=4, help="classes with background (default %(default)s)")
    parser.add_argument("--kind", choices=["segmenter", "classifier", "generator"], help="only these")


def _models(arguments: argparse.Namespace) -> None:
    from segcct.models.cost import cost
    from segcct.models.zoo import entry, model_names

    names = arguments.names or model_names()
    width = max(24, *(len(name) + 2 for name in names))
    print(f"{'name':<{width}}{'task':<16}{'parameters':>14}{'GMACs':>10}   at {arguments.size}x{arguments.size}")
    for name in names:
        kind = entry(name).kind
        if arguments.kind in (None, kind):
            figures = cost(name, arguments.channels, arguments.classes, arguments.size)
            print(f"{name:<{width}}{kind:<16}{figures.parameters:>14,}{figures.macs / 1e9:>10.2f}")
