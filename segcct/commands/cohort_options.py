"""Options for predicting many cases: continuing after an interruption, parts of a cohort, reports of progress."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from segcct.option_types import non_negative_int


def add_cohort_options(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Register --overwrite, --continue, --shard, --status and --max-failures; returns the group of --status, for other
    options that predict nothing."""
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--overwrite", action="store_true", help="replace masks that exist already")
    earlier.add_argument(
        "--continue",
        dest="continue_",
        action="store_true",
        help="predict only what is missing: keep complete masks that the same model made under the same settings, of "
        "inputs that have not changed since",
    )
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="only part I of N of the cases, such as 3/16; processes on several machines may each predict one into the "
        "same folder",
    )
    planning = parser.add_mutually_exclusive_group()
    planning.add_argument(
        "--status",
        action="store_true",
        help="only report what this command has finished, what is missing, and what failed and why",
    )
    add_max_failures(parser)
    return planning


@contextmanager
def continuable(arguments: argparse.Namespace, *, when: bool = True) -> Iterator[None]:
    """For the work of a command that has --continue: notes with a Ctrl-C how the rest is done, when it can be."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if when:
            given = "--continue in place of --overwrite" if arguments.overwrite else "--continue"
            interrupt.add_note(f"the same command with {given} does the rest")
        raise


def add_max_failures(parser: argparse.ArgumentParser) -> None:
    """Register --max-failures."""
    parser.add_argument(
        "--max-failures",
        type=non_negative_int,
        metavar="N",
        help="stop once more than N cases have failed, when those that have been started are done (of 2-D images, a "
        "hundred or more)",
    )


def shard(text: str) -> tuple[int, int]:
    """`3/16` -> (3, 16): a part, from 1, and the number of parts."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text} is not a part of a number of parts, such as 3/16")
    return int(number), int(count)
