"""How often each intensity occurs: all that clustering one channel needs to know, however many voxels there are.

Counts are integers, so the histogram of a cohort does not depend on how its cases were divided among workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

_DROPPED_BITS = 11
"""Of the 23 bits of a float32 fraction, those that are rounded away: 12 stay, a relative precision of 1/8192."""
_WIDEST = 2**22
"""Largest range of integers that is counted in an array."""
_BLOCK = 2**22
"""Voxels that are counted at once."""


@dataclass(frozen=True)
class Histogram:
    """The distinct values and their counts."""

    values: np.ndarray
    """(N,) float64, ascending."""
    counts: np.ndarray
    """(N,) int64, above 0."""

    @classmethod
    def of(cls, voxels: np.ndarray) -> Histogram:
        """Of voxels of any shape: exact where all are whole numbers, else of their values rounded to 13 significant
        bits. The rounding of a value depends on nothing else."""
        flat = voxels.ravel(order="K")
        blocks = [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
        if flat.dtype.kind == "f" and not all(np.array_equal(block, np.rint(block)) for block in blocks):
            return cls._of_floats(blocks)
        if not flat.size:
            return cls(np.empty(0), np.empty(0, dtype=np.int64))
        low, high = int(flat.min()), int(flat.max())
        if high - low >= _WIDEST:
            return cls._summed(*np.unique(flat, return_counts=True))
        counts = np.zeros(high - low + 1, dtype=np.int64)
        for block in blocks:
            counts += np.bincount(block.astype(np.int64) - low, minlength=len(counts))
        return cls._summed(np.arange(low, high + 1), counts)

    @classmethod
    def _of_floats(cls, blocks: Sequence[np.ndarray]) -> Histogram:
        counts = np.zeros(1 << 32 - _DROPPED_BITS, dtype=np.int64)
        for block in blocks:
            bits = (block.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
            keys = (bits + np.uint32(1 << _DROPPED_BITS - 1)) >> np.uint32(_DROPPED_BITS)
            counts += np.bincount(keys, minlength=len(counts))
        keys = np.flatnonzero(counts).astype(np.uint32)
        return cls._summed((keys << np.uint32(_DROPPED_BITS)).view(np.float32), counts[keys])

    @classmethod
    def _summed(cls, values: np.ndarray, counts: np.ndarray) -> Histogram:
        """Values in any order, each any number of times."""
        distinct, places = np.unique(values.astype(np.float64), return_inverse=True)
        sums = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(sums, places, counts)
        return cls(distinct[sums > 0], sums[sums > 0])

    def __add__(self, other: Histogram) -> Histogram:
        values, counts = (np.concatenate(pair) for pair in ((self.values, other.values), (self.counts, other.counts)))
        return self._summed(values, counts)


def total(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of all; empty where there is none."""
    return reduce(Histogram.__add__, histograms, Histogram.of(np.empty(0)))
