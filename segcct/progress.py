"""Progress of long work, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from segcct.escape import for_terminal, raw

SECONDS_BETWEEN_LINES = 15.0
Report = Callable[[int, int], None]
"""What long work calls with (done, total)."""
_names_files: ContextVar[bool] = ContextVar("names_files", default=True)


@contextmanager
def without_names(*, wanted: bool = True) -> Iterator[None]:
    """`names_files` is off in this block and thread, if that is wanted: the names of files can identify patients."""
    token = _names_files.set(not wanted and names_files())
    try:
        yield
    finally:
        _names_files.reset(token)


def names_files() -> bool:
    """Whether a line on stderr may name a file of the input."""
    return _names_files.get()


def say(text: str) -> None:
    """One line on stderr, in place of a progress bar."""
    _write(("\x1b[K" if sys.stderr.isatty() else "") + for_terminal(text) + "\n")


def _write(text: str) -> None:
    """Write to stderr. A terminal that is gone, or a log on a full disk, ends no work of hours; a closed pipe does."""
    try:
        print(text, end="", file=raw(sys.stderr), flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def duration(seconds: float) -> str:
    """`48 s`, `7 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Reports (done, total) with the time left; call it from the work, or hand it over as `Report`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.terminal = sys.stderr.isatty()
        self.start = time.monotonic()
        self.last = self.start

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        finished = done >= total
        wait = 0.1 if self.terminal else SECONDS_BETWEEN_LINES
        if not finished and now - self.last < wait:
            return
        self.last = now
        elapsed = now - self.start
        rest = f", {duration(elapsed / done * (total - done))} left" if 0 < done < total else ""
        line = f"{self.label}: {done}/{total} in {duration(elapsed)}{rest}"
        if self.terminal:
            _write(f"\r\x1b[K{for_terminal(line)}" + ("\n" if finished else "\r"))
        else:
            say(line)
