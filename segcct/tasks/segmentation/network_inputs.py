"""What a segmenter sees of some cases: slices to verify an export by, and to calibrate its quantization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segcct.errors import DataError
from segcct.inference.predictor import Predictor
from segcct.predictions.prediction_request import Request, load_case
from segcct.preparation.prepared_case import prepare_case
from segcct.runtime import pad_to

_MOST_CASES = 16


def network_slices(predictor: Predictor, request: Request, size: int, count: int) -> Tensor:
    """At most `count` standardized slices (N, C, size, size), spread evenly over at most 16 cases.

    Args:
        predictor: the model.
        request: the cases.
        size: height and width in pixels; smaller slices are padded.
        count: how many slices.

    Raises `DataError` where the slices of every case are larger than `size`, and as `load_case`.
    """
    cases = _evenly(request.cases, _MOST_CASES)
    slices, largest = [], 0
    for case in cases:
        loaded = load_case(request, case, predictor.scheme, with_label=False)
        prepared = prepare_case(loaded, predictor.preparation, predictor.scheme)
        largest = max(largest, *prepared.grid.size)
        if max(prepared.grid.size) <= size:
            chosen = prepared.image[_evenly(range(len(prepared.image)), -(-count // len(cases)))]
            slices.append(prepared.standardize(pad_to(chosen, size)[0]))
    if not slices:
        raise DataError(
            "the slices of these cases are larger than the input of the exported model",
            file=request.data.root,
            found=f"up to {largest} pixels",
            expected=f"at most {size}",
            remedy=f"Export with --size {-(-largest // 32) * 32}",
        )
    return torch.from_numpy(np.concatenate(slices)[:count])


def _evenly(items: Sequence, count: int) -> list:  # type: ignore[type-arg]
    """At most `count` of some items, from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]
