"""The exceptions of every expected failure: what is wrong, what was found, what is expected and what to do next."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from segcct.escape import in_a_line

CONVERTING_MASKS = "docs/how-to/convert-masks.md"
"""The page that remedies name for masks in colors and masks stored as JPEG."""


class SegcctError(Exception):
    """An expected failure, shown to the user as one line without a traceback (exit code 1).

    Args:
        what: what is wrong, in a few words, without a full stop.
        file: the file or folder it was found in.
        found: what was found instead.
        expected: what is allowed.
        remedy: what to do next.
    """

    kind = "it cannot be used"
    """What went wrong, in words that name no file, case or value."""

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.file = None if file is None else str(file)
        text = str(found)
        if len(text) > _LONGEST_FOUND:
            text = f"{text[:_LONGEST_FOUND]} ... and {len(text) - _LONGEST_FOUND:,} more characters"
        self.found = None if found is None else in_a_line(text)
        self.expected = None if expected is None else str(expected)
        self.remedy = remedy

    def __str__(self) -> str:
        head = self.what if self.file is None else f"{_named(self.file)}: {self.what}"
        pairs = (("found", self.found), ("expected", self.expected))
        details = "; ".join(f"{word} {text}" for word, text in pairs if text is not None)
        line = f"{head} ({details})" if details else head
        return line if self.remedy is None else f"{line}. {self.remedy}"


_LONGEST_NAME, _LONGEST_FOUND = 4096, 2000


def _named(file: str) -> str:
    """A file name in a message; of one longer than a system allows, its beginning."""
    return in_a_line(file if len(file) <= _LONGEST_NAME else f"{file[:100]}... of {len(file):,} characters")


class ConfigError(SegcctError):
    """A configuration key, value or combination that cannot be used."""


class PluginError(SegcctError):
    """A model, loss, metric, layout or task of another package that cannot be imported or registered."""


class PackageError(SegcctError):
    """An optional package that a command needs and that is not installed."""


class DataError(SegcctError):
    """A dataset that cannot be used as it is."""

    kind = "files are missing, or do not hold what is needed"


class VolumeError(DataError):
    """A file that cannot be read as an image volume, or an image that cannot be written."""

    kind = "a file is missing or cannot be read"


class GeometryError(DataError):
    """Two images that should share one voxel grid do not."""

    kind = "images do not share one grid"


class LabelError(DataError):
    """A label value outside the named scheme, or an unknown scheme."""

    kind = "label values are outside the scheme"


class CacheError(DataError):
    """The cache of prepared cases cannot be written to."""


class SplitError(DataError):
    """A split that is empty, unknown, or has one patient in two subsets."""


class ModelError(SegcctError):
    """An unknown model, an option it does not have, or an input it cannot take."""


class CheckpointError(ModelError):
    """A weights file that is damaged, unsafe, or of another architecture."""


class HubError(ModelError):
    """A model that cannot be downloaded or uploaded."""


class RunError(SegcctError):
    """A run folder that exists already, is missing, or is incomplete."""


class TrainingError(SegcctError):
    """Training that cannot go on, such as a loss that is not finite."""


class MetricError(SegcctError):
    """Arrays that cannot be compared, or an unknown convention."""


class EvaluationError(SegcctError):
    """Predictions and references that cannot be matched."""


class WorkerError(SegcctError):
    """The process that worked on a case died; an executor reports this only for the cases that died with it."""

    kind = "a worker process died"


class SparkError(SegcctError):
    """Spark that does not start, or a cluster that does not answer."""


class StorageError(SegcctError, OSError):
    """A folder that cannot be written to: its disk is full, it is read-only, or it has vanished.

    Also an `OSError`, with its number, for callers that handle these.
    """

    kind = "a folder cannot be written to"


def reason_of(error: SegcctError | OSError) -> str:
    """An expected failure in one line; of the operating system's, the file, where it names one, and the reason."""
    if isinstance(error, SegcctError):
        return str(error)
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{_named(str(error.filename))}: {reason}"


_OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What torch says in a `RuntimeError`: on Linux, on Windows, on MPS, and on a GPU that other programs have filled."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator has too little memory."""
    if isinstance(error, RuntimeError):  # torch's OutOfMemoryError is one, too; to import it would slow every command
        return any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError)


_LITTLE_MEMORY = "too little memory"
LOWER_BATCH_SIZE = ". Lower --batch-size"
TOO_LITTLE_MEMORY = _LITTLE_MEMORY + LOWER_BATCH_SIZE
"""With the remedy for commands that have this option."""
_debug = False


def show_tracebacks(show: bool) -> None:  # noqa: FBT001 - its name says what it sets
    """Set whether `show_traceback` prints (`--debug`)."""
    global _debug
    _debug = show


def short_reason(error: object) -> str:
    """The message of an exception of a library, or a value, short and in one line; an exception without a message gives
    its type."""
    return _in_short(error) or type(error).__name__


def _in_short(error: object) -> str:
    return " ".join(str(error).split())[:200]


def is_foreseen(error: BaseException) -> bool:
    """Whether it is a failure of the user's files or machine, and no bug."""
    return isinstance(error, SegcctError | OSError) or is_out_of_memory(error)


def traceback_of(error: BaseException, *, messages: bool = True) -> str:
    """The traceback as Python prints it; without messages, which may name files, the calls and the type alone."""
    if messages:
        return "".join(traceback.format_exception(error))
    calls = "".join(traceback.format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{calls}{type(error).__name__}\n"


def show_traceback(text: str) -> None:
    """Print a traceback on stderr, where `--debug` asks for it."""
    if text and _debug:
        print(text, file=sys.stderr, flush=True)


def failure_of(error: Exception) -> str:
    """As `describe_failure`; also shows the traceback of a bug, where `--debug` asks for it."""
    show_traceback("" if is_foreseen(error) else traceback_of(error))
    return describe_failure(error)


def describe_failure(error: Exception) -> str:
    """Why one case of many failed, in one line; `of_case` adds which. An unexpected failure is called a bug, with how
    to report it."""
    if isinstance(error, SegcctError | OSError):
        return reason_of(error)
    if is_out_of_memory(error):
        return TOO_LITTLE_MEMORY
    text = _in_short(error)
    return (
        f"unexpected {type(error).__name__}{f': {text}' if text else ''}. This is a bug of segcct: please report it "
        "with the traceback that --debug shows"
    )


def of_case(name: str, reason: str) -> str:
    """The line of a list that says why a case failed. It begins with the case's name, as some errors do already."""
    return reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"


def did_you_mean(name: str, valid: Iterable[str], *, prefix: str = "", n: int = 1) -> str | None:
    """The remedy of an error about a name that is not valid; None where no valid one is close."""
    import difflib  # which every command would wait for

    close = difflib.get_close_matches(name, list(valid), n=n)
    return f"Did you mean {' or '.join(prefix + each for each in close)}?" if close else None


def unknown_name(error: type[SegcctError], kind: str, name: str, valid: Collection[str], *, n: int = 1) -> SegcctError:
    """The error, to be raised, about a name that is not in a table: lists the valid names, and the nearest `n`."""
    return error(f"unknown {kind} '{name}'", expected=", ".join(valid), remedy=did_you_mean(name, valid, n=n))


def require_type(name: str, value: object, kind: type) -> None:
    """Raises `TypeError` where an argument is neither None nor an object of its type."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} takes an object of {kind.__name__}, not {type(value).__name__}: {value!r}")


def items(reasons: Sequence[object], *, most: int | None = 50) -> str:
    """Several reasons, a line each, to follow a first line; at most `most`, and how many more there are."""
    shown = "".join(f"\n  - {reason}" for reason in reasons[:most])
    return shown if most is None or len(reasons) <= most else f"{shown}\n  - and {len(reasons) - most} more"


def kind_of(error: Exception) -> str:
    """What went wrong without any name, for pages that must not say whose files they are about."""
    if is_out_of_memory(error):
        return _LITTLE_MEMORY
    if not isinstance(error, OSError):
        return error.kind if isinstance(error, SegcctError) else type(error).__name__
    return error.strerror or "a file cannot be read or written"
