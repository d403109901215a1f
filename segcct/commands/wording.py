"""What is said of a dataset, in the words of the command that says it: only some have configuration keys."""

from __future__ import annotations

import argparse
import re

_KEY = re.compile(r"(?<![\w./-])data\.[a-z_]+")
_ROOT = re.compile(r"(?<![\w./-])data\.root\b")
_WRITES_CONFIGS = "init"
_BATCH_SIZE = ". Lower --batch-size"


def in_terms_of(line: str, parsed: argparse.Namespace) -> str:
    """A failure as the command can act on it: `data.root` is the option that names the folder, and of other keys it is
    said where they stand. Where the command has no --batch-size, nothing is said of it."""
    line = _with_batch_size(line, parsed)
    if parsed.takes_keys or parsed.command == _WRITES_CONFIGS:
        return line
    option = next((f"--{name}" for name in ("input", "reference") if getattr(parsed, name, None) is not None), None)
    line = line if option is None else _ROOT.sub(option, line)
    key = _KEY.search(line)
    return line if key is None else f"{line}. {key[0]} is a key of the config that the model was trained by"


def _with_batch_size(line: str, parsed: argparse.Namespace) -> str:
    if hasattr(parsed, "batch_size"):
        return line
    keyed = parsed.command.startswith("train-")
    return line.replace(_BATCH_SIZE, ". Lower --train.batch_size" if keyed else "")
