"""segcct models."""

from __future__ import annotations

import argparse

from segcct.commands.parser import Commands, add_command
from segcct.option_types import positive_int


def add_models(commands: Commands) -> None:
    """The zoo."""
    parser = add_command(commands, "models", _models, "list every model with its parameters and MACs")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only these; timm:NAME is any classifier of timm, timm/NAME its encoder with our decoder, monai/NAME a "
        "network of MONAI (default: the table)",
    )
    parser.add_argument(
        "--size", type=positive_int, help="side of the square image (default: what each was made for; timm 224)"
    )
    parser.add_argument("--channels", type=positive_int, help="input channels (default: as --size)")
    parser.add_argument(
        "--classes", type=positive_int, help="classes, including background except for classifiers (default: as --size)"
    )
    parser.add_argument("--kind", choices=["segmenter", "classifier", "generator"], help="only these")


def _models(arguments: argparse.Namespace) -> None:
    from segcct.models.cost import cost
    from segcct.models.zoo import MODELS, adapted_names, entry, model_names

    names = arguments.names or [name for name in model_names() if name in MODELS]
    rows = {name: entry(name) for name in names}  # an unknown name is refused before anything is printed
    width = max(24, *(len(name) + 2 for name in names))
    print(f"{'name':<{width}}{'task':<12}{'parameters':>14}{'GMACs':>10}   input")
    requested = (arguments.channels, arguments.classes, arguments.size)
    for name, row in rows.items():
        if arguments.kind not in (None, row.kind):
            continue
        channels, classes, size = (
            usual if asked is None else asked for asked, usual in zip(requested, row.made_for, strict=True)
        )
        figures = cost(name, channels, classes, size)
        print(
            f"{name:<{width}}{row.kind:<12}{figures.parameters:>14,}{figures.macs / 1e9:>10.2f}"
            f"   {channels} x {size} x {size}, {classes} classes"
        )
    if not arguments.names:
        # Building these takes seconds of importing their libraries.
        for library, adapted in adapted_names().items():
            if adapted and arguments.kind in (None, entry(adapted[0]).kind):
                print(f"{library}  {', '.join(adapted)} (their cost: segcct models {adapted[0]})")
