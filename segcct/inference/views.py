"""Test-time augmentation: the mean of the probabilities of flipped or rotated images, each turned back.

Every view is undone exactly, so classes that differ by their side stay what they are, but a network that was trained
without flips, or on organs of which each side has its own class, can do worse on flipped images than on the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcct.inference.ensemble_network import log_of

_PLANE = (-2, -1)
"""Rows and columns; of volumes, those of each slice."""


@dataclass(frozen=True)
class View:
    """A left-right flip or none, then quarter turns; moves whole pixels."""

    quarter_turns: int = 0
    flipped: bool = False

    def of(self, image: Tensor) -> Tensor:
        """(..., H, W) -> (..., H, W), or (..., W, H) after an odd number of turns."""
        return torch.rot90(image.flip(-1) if self.flipped else image, self.quarter_turns, _PLANE)

    def undo(self, image: Tensor) -> Tensor:
        """The inverse of `of`."""
        turned = torch.rot90(image, -self.quarter_turns, _PLANE)
        return turned.flip(-1) if self.flipped else turned


VIEWS: dict[str, tuple[View, ...]] = {
    "none": (View(),),
    "flips": (View(), View(flipped=True), View(2, flipped=True), View(2)),
    "rotations": (View(), View(1), View(2), View(3)),
}
"""Option of `--tta` -> its views: the image, flipped left to right, upside down, and both; or turned by 0, 90, 180 and
270 degrees."""


class MeanOverViews(nn.Module):
    """(B, C, H, W) -> logarithm of the mean of the network's probabilities (B, K, H, W) or (B, K) over views."""

    def __init__(self, network: nn.Module, views: tuple[View, ...]) -> None:
        super().__init__()
        self.network = network
        self.views = views

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        first, *others = self.views
        total = self._probabilities(image, first)
        for view in others:
            total = total + self._probabilities(image, view)
        return log_of(total / len(self.views))

    def _probabilities(self, image: Tensor, view: View) -> Tensor:
        probabilities = self.network(view.of(image)).float().softmax(dim=1)
        return view.undo(probabilities) if probabilities.ndim == image.ndim else probabilities


def bare(network: nn.Module) -> nn.Module:
    """The network itself, without test-time augmentation."""
    return network.network if isinstance(network, MeanOverViews) else network


def over_views(network: nn.Module, name: str) -> nn.Module:
    """A network with the test-time augmentation of that name; as it is for `none`."""
    return network if name == "none" else MeanOverViews(network, VIEWS[name])
