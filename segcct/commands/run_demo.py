"""segcct demo."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from segcct.commands.parser import Commands, add_command, command_line, print_outcome
from segcct.tasks.task import Outcome


def add_demo(commands: Commands) -> None:
    """The main job on synthetic cases."""
    parser = add_command(
        commands,
        "demo",
        partial(_demo, commands.choices),
        "run everything on synthetic cases: training, masks, scores, and report pages",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/demo"), metavar="RUN", help="a new run folder (default %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data/demo_phantom"), metavar="DIR",
        help="where the synthetic cases go; those of an earlier demo are reused (default %(default)s)",
    )  # fmt: skip


def _demo(parsers: Mapping[str, argparse.ArgumentParser], arguments: argparse.Namespace) -> Outcome:
    """Run the commands of the demo, each by its parser."""
    import time

    from segcct.demo.walkthrough import Places, prepare
    from segcct.progress import duration, say

    began = time.monotonic()
    steps = prepare(Places(arguments.output, arguments.data))
    next_command: Sequence[object] = ()
    for number, step in enumerate(steps, start=1):
        words = [str(word) for word in (*next_command, *step.words)] if step.continues else step.words
        say(f"\n[{number}/{len(steps)}] {step.title}\n$ {command_line(*words)}")
        parsed, keys = parsers[words[0]].parse_known_args(words[1:])
        parsed.keys = keys
        try:
            outcome = parsed.run(parsed)
        except KeyboardInterrupt as interrupt:
            # Not the note of the step, which would go on alone.
            interrupt.__notes__ = [f"to start again, delete {arguments.output}"] if arguments.output.exists() else []
            raise
        print_outcome(outcome)
        next_command = outcome.next_command
    run = arguments.output
    return Outcome(
        f"\nDone in {duration(time.monotonic() - began)}. Look at {run / 'report' / 'report.html'} (scores) and "
        f"{run / 'comparison' / 'report.html'} (what the masks explain);\n"
        f"the masks are in {run / 'predictions'}, the figures in {run / 'evaluation'}."
    )
