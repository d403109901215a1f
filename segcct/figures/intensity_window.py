"""Which intensities are black and which are white, and the words that say so under every picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PERCENTILES = (0.5, 99.5)
_CONSTANT_FRACTION = 0.1
"""A single value of more than this fraction of the voxels is background, not tissue."""


@dataclass(frozen=True)
class Window:
    """Intensities `low` (black) to `high` (white), and how they were chosen."""

    low: float
    high: float
    rule: str

    @property
    def text(self) -> str:
        """Such as `window -0.4 to 3.1 (percentiles 0.5 and 99.5)`."""
        return f"window {_number(self.low)} to {_number(self.high)} ({self.rule})"

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Any shape, the file's intensities -> uint8, 0 at `low`, 255 at `high`, clipped."""
        scaled = (image.astype(np.float32) - self.low) * (255.0 / (self.high - self.low))
        gray: np.ndarray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return gray


def window(image: np.ndarray) -> Window:
    """Window between two percentiles of the tissue.

    Voxels that share one value (a masked or padded background, whatever that value is) are left out when they are more
    than a tenth of the image; otherwise a large background would set the window instead of the tissue.
    """
    values = np.asarray(image, dtype=np.float32).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a window needs at least one voxel and only finite ones")
    unique, counts = np.unique(values, return_counts=True)
    tissue = values
    if unique.size > 2 and counts.max() > _CONSTANT_FRACTION * values.size:
        tissue = values[values != unique[counts.argmax()]]
    low, high = (float(edge) for edge in np.percentile(tissue, _PERCENTILES))
    if high <= low:
        low, high = float(unique[0]), float(unique[-1])
    if high <= low:
        high = low + 1.0
    return Window(low, high, "percentiles {:g} and {:g}".format(*_PERCENTILES))


def fixed_window(level: float, width: float) -> Window:
    """The window of a level and a width, as for CT (level 40, width 400)."""
    if width <= 0:
        raise ValueError(f"window width must be above 0, not {width:g}")
    return Window(level - width / 2, level + width / 2, f"level {level:g}, width {width:g}")


def _number(value: float) -> str:
    """Three significant digits, with a true minus sign."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:z.3g}"
    return text.replace("-", "\N{MINUS SIGN}")
