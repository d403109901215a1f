"""Names of the program's commands, options and configuration keys, for tests of the documentation."""

from __future__ import annotations

import argparse
from functools import cache

from segcct.commands import build_parser
from segcct.config import ClassificationConfig, PretrainingConfig, ReconstructionConfig, SegmentationConfig
from segcct.config.config_keys import keys

KINDS = {
    "train-seg": SegmentationConfig,
    "train-m2i": ReconstructionConfig,
    "pretrain": PretrainingConfig,
    "train-cls": ClassificationConfig,
    "check": SegmentationConfig,
    "cluster-segment": SegmentationConfig,
}
"""Commands that take configuration keys -> the configuration they read."""


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Command -> parser."""
    return dict(next(action for action in build_parser()._actions if action.dest == "command").choices)


@cache
def options() -> frozenset[str]:
    """Every option of every command, such as --input."""
    actions = [action for parser in parsers().values() for action in parser._actions]
    return frozenset(flag for action in actions for flag in action.option_strings)


@cache
def known_keys() -> dict[str, bool]:
    """Every configuration key -> whether it is open, so that any name may follow."""
    return {key.name: key.open for kind in KINDS.values() for key in keys(kind)}


def is_key(name: str) -> bool:
    """A key, a name below an open one, or a section."""
    below_open = any(is_open and name.startswith(key + ".") for key, is_open in known_keys().items())
    return name in known_keys() or below_open or any(key.startswith(name + ".") for key in known_keys())
