"""Quantiles of the training cases' intensities, stored in model.json, and the matching of a case to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segcct.preparation.prepared_case import PreparedCase

LEVELS = np.linspace(0, 1, 51)


def case_quantiles(case: PreparedCase) -> np.ndarray | None:
    """(C, Q): standardized intensities at `LEVELS`, over the pixels above 0; None where a channel has none."""
    image = case.thinned()
    standardized = case.standardize(image)
    inside = [standardized[:, channel][image[:, channel] > 0] for channel in range(image.shape[1])]
    if not all(len(values) for values in inside):
        return None
    return np.stack([np.quantile(values, LEVELS) for values in inside])


def mean_quantiles(cases: Sequence[PreparedCase]) -> list[list[float]] | None:
    """The mean curve of some cases, (C, Q) by channel; None where no case has one."""
    curves = [curve for case in cases if (curve := case_quantiles(case)) is not None]
    if not curves:
        return None
    return [[round(float(value), 4) for value in channel] for channel in np.mean(curves, axis=0)]


def with_quantiles(case: PreparedCase, wanted: np.ndarray) -> PreparedCase:
    """The case with its intensities above 0 mapped, channel by channel, so that their quantiles are `wanted` (C, Q).

    Pixels of 0, background and padding, get the lowest of them, and so remain the darkest. The image is float32, and no
    longer within [0, 1].
    """
    found = case_quantiles(case)
    if found is None:
        return case
    image = np.array(case.image, dtype=np.float32)
    standardized = case.standardize(image)
    for channel, (own, other) in enumerate(zip(found, wanted, strict=True)):
        inside = image[:, channel] > 0
        levels, first = np.unique(own, return_index=True)  # where values repeat, the map is a step
        mapped = np.interp(standardized[:, channel][inside], levels, other[first])
        image[:, channel][inside] = mapped - other[0]
    lowest = np.asarray(-wanted[:, 0], dtype=np.float32)
    return replace(case, arrays={**case.arrays, "image": image}, mean=lowest, std=np.ones_like(lowest))
