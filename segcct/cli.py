"""`segcct <command>`: parses arguments, runs a command, turns expected failures into one line and exit code 1."""

from __future__ import annotations

import argparse
import io
import os
import re
import select
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO, cast

from segcct.commands import build_parser
from segcct.commands.parser import local_models, print_outcome
from segcct.errors import (
    LOWER_BATCH_SIZE,
    TOO_LITTLE_MEMORY,
    PluginError,
    SegcctError,
    did_you_mean,
    is_out_of_memory,
    reason_of,
    show_tracebacks,
)
from segcct.escape import TerminalStream

INTERRUPTED, UNREAD = 130, 141
"""Exit codes, as shells give them to programs that SIGINT and SIGPIPE end."""
_STDOUT = 1
_KEY = re.compile(r"(?<![\w./-])data\.([a-z_]+)")
_ROOT = re.compile(r"(?<![\w./-])data\.root\b")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 expected failure, 2 wrong usage, 130 interrupted, 141 ended before it was
    done because nobody reads its output."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not end a command
    if os.environ.get("MPLBACKEND", "").startswith("module://"):
        del os.environ["MPLBACKEND"]  # that of a notebook, whose package may be in another environment
    try:
        parser = build_parser()
    except PluginError as error:
        print(f"segcct: {error}", file=_safe(sys.stderr))
        return 1
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.exit(2, parser.format_help())
    if arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        meant = did_you_mean(arguments[0].strip("-"), ("help", "version"), prefix="--") or "Options follow the command"
        parser.error(f"no option {arguments[0]} before the command. {meant}")
    if not arguments[0].startswith("-") and arguments[0] not in parser.commands:
        meant = did_you_mean(arguments[0], parser.commands, n=4) or "See segcct --help"
        parser.error(f"no command '{arguments[0]}'. {meant}")
    parsed, rest = parser.parse_known_args(arguments)
    if rest and not parsed.takes_keys:
        parser.error(f"unexpected argument {rest[0]}; see segcct {parsed.command} --help")
    parsed.keys = rest
    show_tracebacks(parsed.debug)
    with redirect_stdout(_safe(sys.stdout)), redirect_stderr(_safe(sys.stderr)):
        return _run(parsed)


def _open_closed_streams() -> None:
    """Python has no stream where the shell has closed it (`2>&-`); the next file to be opened would get its number, and
    with it what libraries print there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)  # as the shell's are: processes that we start lack it otherwise
            setattr(sys, name, stream)


def _safe(stream: TextIO) -> TextIO:
    """The stream without the control characters that names of files may hold."""
    return cast(TextIO, TerminalStream(stream))


def _run(parsed: argparse.Namespace) -> int:
    """The command, with expected failures in one line."""
    done = False
    try:
        local_models(parsed)
        outcome = parsed.run(parsed)
        done = True
        if outcome is not None:
            print_outcome(outcome)
        sys.stdout.flush()
    except (SegcctError, OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and (done or _is_unread()):
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # where Python writes what it still holds
            return 0 if done else UNREAD
        line = _in_a_line(error, parsed)
        if parsed.debug or line is None:
            raise
        print(f"segcct {parsed.command}: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        said = "; ".join(["interrupted", *getattr(interrupt, "__notes__", ())])  # see `continuable`
        print(f"\nsegcct {parsed.command}: {said}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _is_unread() -> bool:
    """Whether the reader of our output, such as `head`, has had enough: a pipe to a worker or a server breaks, too."""
    if not hasattr(select, "poll"):  # Windows
        return False
    output = select.poll()
    output.register(_STDOUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))


def _in_a_line(error: Exception, parsed: argparse.Namespace) -> str | None:
    """An expected failure as it is shown to users; None for what is a bug."""
    if isinstance(error, SegcctError | OSError):
        return reworded_for_command(reason_of(error), parsed)
    if not is_out_of_memory(error):
        return None
    return reworded_for_command(TOO_LITTLE_MEMORY, parsed)


def reworded_for_command(line: str, parsed: argparse.Namespace) -> str:
    """A failure as the command's users can act on it, which may take options where another takes configuration keys.

    `data.root` becomes the option that names the folder; of another key of the data section the line says where it is
    set; --batch-size becomes --train.batch_size in training commands, and is left out where the command has neither.
    """
    if not hasattr(parsed, "batch_size"):
        remedy = ". Lower --train.batch_size" if parsed.command.startswith("train-") else ""
        line = line.replace(LOWER_BATCH_SIZE, remedy)
    if parsed.takes_keys or parsed.command == "init":  # which writes a config
        return line
    option = next((f"--{name}" for name in ("input", "reference") if getattr(parsed, name, None) is not None), None)
    line = line if option is None else _ROOT.sub(option, line)
    from segcct.config import DataSection, ImagesSection

    keys = {*DataSection.model_fields, *ImagesSection.model_fields}
    key = next((match[0] for match in _KEY.finditer(line) if match[1] in keys), None)
    config = "the config that the model was trained by"
    if parsed.command == "assign-clusters":  # clusters are of no model
        config = "a config, which --scheme takes"
    return line if key is None else f"{line}. {key} is a key of {config}"


if __name__ == "__main__":
    sys.exit(main())
