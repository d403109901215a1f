"""The largest connected component of each class: `segcct predict --keep-largest`."""

from __future__ import annotations

import numpy as np


def largest_components(index: np.ndarray) -> np.ndarray:
    """Keep, of each class, its largest face-connected component; the rest becomes background."""
    from scipy import ndimage

    largest = np.zeros_like(index)
    for value, box in enumerate(ndimage.find_objects(index), start=1):
        if box is not None:
            components, _ = ndimage.label(index[box] == value)
            sizes = np.bincount(components.ravel())[1:]
            largest[box][components == 1 + int(sizes.argmax())] = value
    return largest
