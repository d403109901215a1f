"""A command that each task does in its own way: the function of the task gets the options that it takes."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segcct.commands.parser import command_line
from segcct.errors import ConfigError
from segcct.tasks.task import TaskRow

_ANY = {"command", "debug", "keys", "batch_size", "precision", "device"}
"""Options that are no task's own: those of the network stand behind `how`."""


def run_for_task(row: TaskRow, command: str, arguments: argparse.Namespace, **more: Callable[[], Any]) -> None:
    """Run what a task does at a command, and print what it wrote and what comes next.

    Args:
        row: the task.
        command: predict, evaluate or report.
        arguments: what was parsed; an option that was given and the task does not take is refused.
        more: further values, made only when nothing is refused.
    """
    function = row.function(command)
    taken = inspect.signature(function).parameters
    for name, value in vars(arguments).items():
        if name not in taken and name not in _ANY and value != arguments.parser.get_default(name):
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} does nothing for {row.name}", remedy=f"Leave {flag} out")
    given = {name: value for name, value in vars(arguments).items() if name in taken}
    outcome = function(**given, **{name: make() for name, make in more.items()})
    table: Path = arguments.output / "table.md"
    if command == "evaluate" and table.is_file():
        print(table.read_text(encoding="utf-8"))
    print(outcome.wrote + (f"; next: {command_line(*outcome.next_command)}" if outcome.next_command else ""))
