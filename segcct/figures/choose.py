"""Which slices of a volume are worth looking at, and which part of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_DARK = 24
_NOISE = 0.03
_MARGIN = 0.05
"""Around the body, as a fraction of the longer side of its box."""
_CONTEXT = 2.2
"""Length of a focused image, as a multiple of the length of the structures in it."""
_LEAST = 0.45
"""Least length of it, as a fraction of the length of the body."""
_ASPECT = 0.75
"""Least length of its shorter side, as a fraction of the longer one, in pixels."""


def best_slice(reference: np.ndarray | None, prediction: np.ndarray | None) -> int:
    """Index of the slice with most disagreement; without a pair, or where they agree, with most structure.

    Args:
        reference: (D, H, W) labels, 0 background.
        prediction: the same.
    """
    labels = [label for label in (reference, prediction) if label is not None]
    if not labels:
        raise ValueError("best_slice needs a reference or a prediction")
    structure = np.sum([(label != 0).sum(axis=(1, 2)) for label in labels], axis=0)  # (D,)
    if len(labels) == 2:
        wrong = (labels[0] != labels[1]).sum(axis=(1, 2))
        if wrong.any():
            return int(np.lexsort((structure, wrong))[-1])
    return int(structure.argmax()) if structure.any() else len(structure) // 2


def spread_slices(labels: Sequence[np.ndarray], count: int, *, include: int) -> list[int]:
    """At most `count` slice indices, equally spaced over the extent of the structures, in order, `include` among them.

    The equally spaced slice nearest to `include` is moved onto it.
    """
    structure = np.flatnonzero(np.any([(label != 0).any(axis=(1, 2)) for label in labels], axis=0))
    if structure.size == 0 or count <= 1:
        return [include]
    first, last = min(int(structure[0]), include), max(int(structure[-1]), include)
    indices = sorted(set(np.rint(np.linspace(first, last, count)).astype(int).tolist()))
    indices[int(np.argmin([abs(index - include) for index in indices]))] = include
    return indices


def focus_box(images: np.ndarray, labels: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns around the structures, with enough of the body to know where they are.

    Small structures in a large field of view (a heart in a chest) stay legible; a large one, or none, shows the whole
    body.

    Args:
        images: (D, H, W) uint8, windowed.
        labels: (D, H, W) labels that must stay inside.
    """
    structure = _footprint(images, labels)
    body = _body_box(images, structure)
    if not structure.any():
        return body
    extents = [np.flatnonzero(structure.any(axis=1)), np.flatnonzero(structure.any(axis=0))]
    lengths = [
        max(_CONTEXT * (np.ptp(extent) + 1), _LEAST * (edge.stop - edge.start))
        for extent, edge in zip(extents, body, strict=True)
    ]
    lengths = [max(length, _ASPECT * max(lengths)) for length in lengths]
    rows, columns = (
        _around((int(extent[0]) + int(extent[-1])) / 2, length, edge)
        for extent, length, edge in zip(extents, lengths, body, strict=True)
    )
    return rows, columns


def _footprint(images: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W) bool: pixels that hold a structure in any slice."""
    structure = np.zeros(images.shape[1:], dtype=bool)
    for label in labels:
        structure |= (label != 0).any(axis=0)
    return structure


def _body_box(images: np.ndarray, structure: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the body in any slice and the structures (H, W), with a margin, so that pictures are
    not mostly background."""
    bright = (images > _DARK).any(axis=0)  # (H, W)
    # A few bright pixels in a row are noise in the air around the body.
    rows = np.flatnonzero((bright.mean(axis=1) > _NOISE) | structure.any(axis=1))
    columns = np.flatnonzero((bright.mean(axis=0) > _NOISE) | structure.any(axis=0))
    if rows.size == 0 or columns.size == 0:
        return slice(0, images.shape[1]), slice(0, images.shape[2])
    pad = max(2, round(_MARGIN * max(np.ptp(rows), np.ptp(columns))))
    return (
        slice(max(0, int(rows[0]) - pad), min(images.shape[1], int(rows[-1]) + pad + 1)),
        slice(max(0, int(columns[0]) - pad), min(images.shape[2], int(columns[-1]) + pad + 1)),
    )


def _around(middle: float, length: float, within: slice) -> slice:
    """An interval of a length around `middle`, moved and if need be shortened to lie within."""
    length = min(round(length), within.stop - within.start)
    start = min(max(round(middle - length / 2), within.start), within.stop - length)
    return slice(start, start + length)
