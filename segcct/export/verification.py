"""How far the outputs of an exported model differ from those of the PyTorch network it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from segcct.errors import ModelError
from segcct.export.model_file import Size
from segcct.metrics import dice

RANDOM_INPUTS = 4
MOST_DIFFERENCE = 1e-3
"""Of fp32 logits, as a fraction of the largest one; another order of summation changes them by far less."""
LEAST_DICE = 0.98
"""Of the masks of an int8 file with those of the fp32 network, on real slices, in the mean over classes."""
_BATCH = 16


@dataclass(frozen=True)
class OutputComparison:
    """Outputs of two networks on the same inputs."""

    inputs: int
    largest_difference: float
    """Of the logits, as a fraction of the largest logit's magnitude."""
    agreement: float
    """Fraction of the pixels, or of the images, that get the same class."""
    dice: float | None
    """Dice of the masks with each other: the mean over foreground classes that are in either; None where none is."""

    def __str__(self) -> str:
        text = f"largest difference {self.largest_difference:.1e} of the largest logit; same class {self.agreement:.4%}"
        return text if self.dice is None else f"{text}; Dice of the masks {self.dice:.4f}"


def compare_outputs(reference: nn.Module, exported: nn.Module, inputs: Tensor) -> OutputComparison:
    """The outputs of two networks, (B, C, S, S) -> (B, K, ...), on inputs (N, C, S, S)."""
    worst, largest, same, count = 0.0, 1e-12, 0, 0
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    classes = 1
    with torch.inference_mode():
        for batch in inputs.split(_BATCH):
            expected, found = reference(batch).float(), exported(batch).float()
            if expected.shape != found.shape:
                raise ModelError("the exported model gives another shape", found=found.shape, expected=expected.shape)
            difference = (expected - found).abs()
            worst = max(worst, float(difference.max()) if bool(difference.isfinite().all()) else float("inf"))
            largest = max(largest, float(expected.abs().max()))
            ours, theirs = expected.argmax(dim=1), found.argmax(dim=1)
            same, count, classes = same + int((ours == theirs).sum()), count + ours.numel(), expected.shape[1]
            pairs.append((ours.numpy().astype(np.uint8), theirs.numpy().astype(np.uint8)))
    ours_all, theirs_all = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    scores = [
        float(dice(theirs_all == index, ours_all == index))
        for index in range(1, classes)
        if ours_all.ndim == 3 and ((ours_all == index).any() or (theirs_all == index).any())
    ]
    return OutputComparison(len(inputs), worst / largest, same / count, sum(scores) / len(scores) if scores else None)


def random_inputs(channels: int, size: Size) -> Tensor:
    """(4, C, *size) of independent normal values, as standardized images roughly are; the same at every call."""
    return torch.randn(RANDOM_INPUTS, channels, *size, generator=torch.Generator().manual_seed(0))


def require_equal(comparison: OutputComparison, what: str) -> None:
    """Raises `ModelError` where an fp32 export differs by more than rounding."""
    if comparison.largest_difference > MOST_DIFFERENCE:
        raise ModelError(
            f"the exported model differs from PyTorch on {what}",
            found=str(comparison),
            expected=f"a largest difference of at most {MOST_DIFFERENCE:g}",
            remedy="Nothing was written. Please report this network with the versions that segcct doctor prints",
        )


def require_similar(comparison: OutputComparison) -> None:
    """Raises `ModelError` where the masks of an int8 file are not those of the network."""
    score = comparison.agreement if comparison.dice is None else comparison.dice
    if score < LEAST_DICE:
        raise ModelError(
            "the int8 model differs from PyTorch on real slices",
            found=str(comparison),
            expected=f"Dice of at least {LEAST_DICE:g}",
            remedy="Nothing was written. Calibrate with more typical scans (--input), or leave --int8 out",
        )
