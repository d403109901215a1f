"""Which slices of a volume are worth looking at, and which part of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_DARK = 24
_NOISE = 0.03
_CONTEXT = 2.2
"""A focused picture is this many times as long as the structures in it,"""
_LEAST = 0.45
"""at least this share of the body,"""
_ASPECT = 0.75
"""and its shorter side at least this share of its longer one, in pixels."""


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


def spread_slices(labels: Iterable[np.ndarray], count: int, *, include: int) -> list[int]:
    """Up to `count` slice indices, evenly over the extent of the structures, in order, `include` among them.

    The slice of an even spread that lies nearest to `include` is moved onto it.
    """
    labels = list(labels)
    used = np.zeros(labels[0].shape[0], dtype=bool)
    for label in labels:
        used |= (label != 0).any(axis=(1, 2))
    held = np.flatnonzero(used)
    if held.size == 0 or count <= 1:
        return [include]
    first, last = min(int(held[0]), include), max(int(held[-1]), include)
    spread = sorted(set(np.rint(np.linspace(first, last, count)).astype(int).tolist()))
    spread[int(np.argmin([abs(index - include) for index in spread]))] = include
    return spread


def content_box(images: np.ndarray, labels: Iterable[np.ndarray], *, margin: float = 0.05) -> tuple[slice, slice]:
    """Rows and columns that hold the body in any slice, with a margin, so that pictures are not mostly background.

    Args:
        images: (D, H, W) uint8, windowed.
        labels: (D, H, W) labels that must stay inside.
        margin: of the box, as a share of its longer side.
    """
    bright = (images > _DARK).any(axis=0)  # (H, W)
    held = np.zeros_like(bright)
    for label in labels:
        held |= (label != 0).any(axis=0)
    # A few bright pixels in a row are noise in the air around the body.
    rows = np.flatnonzero((bright.mean(axis=1) > _NOISE) | held.any(axis=1))
    columns = np.flatnonzero((bright.mean(axis=0) > _NOISE) | held.any(axis=0))
    if rows.size == 0 or columns.size == 0:
        return slice(0, images.shape[1]), slice(0, images.shape[2])
    pad = max(2, round(margin * max(np.ptp(rows), np.ptp(columns))))
    return (
        slice(max(0, int(rows[0]) - pad), min(images.shape[1], int(rows[-1]) + pad + 1)),
        slice(max(0, int(columns[0]) - pad), min(images.shape[2], int(columns[-1]) + pad + 1)),
    )


def focus_box(images: np.ndarray, labels: Iterable[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns around the structures, with enough of the body to know where they are.

    Small structures in a large field of view (a heart in a chest) stay legible; a large one shows the whole body.
    Arguments as for `content_box`, which is the largest box there can be.
    """
    labels = list(labels)
    body = content_box(images, labels)
    held = np.zeros(images.shape[1:], dtype=bool)
    for label in labels:
        held |= (label != 0).any(axis=0)
    if not held.any():
        return body
    found = [np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))]
    sides = [
        max(_CONTEXT * (np.ptp(ends) + 1), _LEAST * (edge.stop - edge.start))
        for ends, edge in zip(found, body, strict=True)
    ]
    sides = [max(side, _ASPECT * max(sides)) for side in sides]
    rows, columns = (
        _around((int(ends[0]) + int(ends[-1])) / 2, side, edge)
        for ends, side, edge in zip(found, sides, body, strict=True)
    )
    return rows, columns


def _around(middle: float, side: float, within: slice) -> slice:
    """An interval of length `side` around `middle`, moved and if need be shortened to lie within."""
    side = min(round(side), within.stop - within.start)
    start = min(max(round(middle - side / 2), within.start), within.stop - side)
    return slice(start, start + side)
