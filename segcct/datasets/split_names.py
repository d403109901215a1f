"""The names of splits, where the command line can read them without numpy."""

from typing import Literal, get_args

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[str, ...] = get_args(SplitName)
