"""`segcct <command>`: parses arguments, runs a command, turns expected failures into one line and exit code 1."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO, cast

from segcct.commands import build_parser
from segcct.commands.wording import in_terms_of
from segcct.errors import PluginError, SegcctError, is_out_of_memory, reason_of, show_tracebacks
from segcct.escape import TerminalStream

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 expected failure, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not end a command
    try:
        parser = build_parser()
    except PluginError as error:
        print(f"segcct: {error}", file=_safe(sys.stderr))
        return 1
    parsed, rest = parser.parse_known_args(arguments)
    unknown = _no_keys(rest) if parsed.takes_keys else rest
    if unknown:
        hint = " (configuration keys look like --train.epochs)" if parsed.takes_keys else ""
        parser.error(f"{parsed.command} has no option {unknown[0]}{hint}; see segcct {parsed.command} --help")
    parsed.keys = rest
    show_tracebacks(parsed.debug)
    with redirect_stdout(_safe(sys.stdout)), redirect_stderr(_safe(sys.stderr)):
        return _run(parsed)


def _safe(stream: TextIO) -> TextIO:
    """The stream without the control characters that names of files may hold."""
    return cast(TextIO, TerminalStream(stream))


def _run(parsed: argparse.Namespace) -> int:
    """The command, with expected failures in one line."""
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (SegcctError, OSError, RuntimeError, MemoryError) as error:
        line = _in_a_line(error, parsed)
        if parsed.debug or line is None:
            raise
        print(f"segcct {parsed.command}: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nsegcct {parsed.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _no_keys(words: Sequence[str]) -> list[str]:
    """Flags that are no configuration keys: those have a dot, or are a section given whole, `--train {epochs: 3}`."""
    flags = [place for place, word in enumerate(words) if word.startswith("--") and "." not in word]
    whole = {place for place in flags if "={" in words[place] or "".join(words[place + 1 : place + 2])[:1] == "{"}
    return [words[place] for place in flags if place not in whole]


def _in_a_line(error: Exception, parsed: argparse.Namespace) -> str | None:
    """An expected failure as it is shown to users; None for what is a bug."""
    if isinstance(error, SegcctError | OSError):
        return in_terms_of(reason_of(error), parsed)
    if not is_out_of_memory(error):
        return None
    flag = "--train.batch_size" if parsed.takes_keys else "--batch-size" if hasattr(parsed, "batch_size") else None
    return "too little memory" + ("" if flag is None else f". Lower {flag}")


if __name__ == "__main__":
    sys.exit(main())
