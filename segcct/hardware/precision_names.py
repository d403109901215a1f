"""The names of precisions, where config and command line can read them without PyTorch."""

from typing import Literal, get_args

Precision = Literal["fp32", "bf16"]
AskedPrecision = Literal["auto", "fp32", "bf16"]
PRECISIONS: tuple[AskedPrecision, ...] = get_args(AskedPrecision)
"""Of `--precision` and `train.precision`."""
