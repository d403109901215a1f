"""The views of test-time augmentation: an image flipped or rotated, and turned back.

Every view is undone exactly, so classes that differ by their side stay what they are, but a network that was trained
without flips, or on organs of which each side has its own class, can do worse on flipped images than on the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segcct.inference.inference_choices import ViewsName

if TYPE_CHECKING:  # the parser of the command line takes the names of the views from here, without PyTorch
    from torch import Tensor

_PLANE = (-2, -1)
"""Rows and columns; of volumes, those of each slice."""


@dataclass(frozen=True)
class View:
    """A left-right flip or none, then quarter turns; moves whole pixels."""

    quarter_turns: int = 0
    flipped: bool = False

    def of(self, image: Tensor) -> Tensor:
        """(..., H, W) -> (..., H, W), or (..., W, H) after an odd number of turns."""
        return (image.flip(-1) if self.flipped else image).rot90(self.quarter_turns, _PLANE)

    def undo(self, image: Tensor) -> Tensor:
        """The inverse of `of`."""
        turned = image.rot90(-self.quarter_turns, _PLANE)
        return turned.flip(-1) if self.flipped else turned


VIEWS: dict[ViewsName, tuple[View, ...]] = {
    "none": (View(),),
    "flips": (View(), View(flipped=True), View(2, flipped=True), View(2)),
    "rotations": (View(), View(1), View(2), View(3)),
}
"""Option of `--tta` -> its views: the image, flipped left to right, upside down, and both; or turned by 0, 90, 180 and
270 degrees."""
