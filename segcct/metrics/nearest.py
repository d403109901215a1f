"""Exact distances from one set of voxels to the nearest voxel of another, in float64.

The borders of a prediction and its reference mostly lie within a few voxels of each other. So the neighborhood of each
voxel is searched first, offset by offset from near to far, until the other set is hit: that is exact, and an order of
magnitude faster than any tree. Voxels without a hit go to a k-d tree if they are few for the size of the box, else to a
feature transform of the box (scipy's, which works in float64).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

_NEAR_OFFSETS = 700
"""Offsets searched: a ball of radius 5.5 voxels. Beyond it, a tree query costs less than the next shell."""
_FIRST_OFFSETS = 80
_TRANSFORM_LOOKS = 40
"""The transform of a box costs as much as this many lookups per voxel of the box. Once the first offsets are searched,
the search stops if the transform is cheaper than the remaining lookups: for a noisy mask far from the other one."""
_TREE_VOXELS = 200
"""A tree query costs 2-50 us, the transform 40 ns per voxel of the box: up to this many voxels per query, the transform
is taken."""


def nearest_distances(queries: np.ndarray, targets: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance of each voxel set in `queries` to the nearest voxel set in `targets`.

    Args:
        queries, targets: bool masks of one shape, each with at least one voxel set.
        spacing: voxel size per axis; the unit of the result.

    Returns:
        (N,) float64, in the order of `np.nonzero(queries)`.
    """
    spacing = tuple(float(size) for size in spacing)
    distances, missing = _near(queries, targets, spacing)
    if missing.size:
        points = np.argwhere(queries)[missing]
        if queries.size > _TREE_VOXELS * missing.size:
            distances[missing] = _by_tree(points, targets, spacing)
        else:
            distances[missing] = _by_transform(points, targets, spacing)
    return distances


def _near(queries: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distances found within the near offsets, and the indices of the queries that found none."""
    margin, shells = _shells(spacing)
    padded = np.pad(targets, [(int(width), int(width)) for width in margin])
    strides = np.asarray(padded.strides)
    flat = padded.ravel()
    places = (np.argwhere(queries) + margin) @ strides  # (N,)
    distances = np.full(places.size, np.nan)
    missing = np.arange(places.size)
    left = sum(len(offsets) for _, offsets in shells)
    for distance, offsets in shells:
        if left < _NEAR_OFFSETS - _FIRST_OFFSETS and left * missing.size > _TRANSFORM_LOOKS * queries.size:
            break
        left -= len(offsets)
        steps = offsets @ strides
        hit = flat[places + steps[0]]
        for step in steps[1:]:
            hit |= flat[places + step]
        distances[missing[hit]] = distance
        missing, places = missing[~hit], places[~hit]
        if not missing.size:
            break
    return distances, missing


@lru_cache(maxsize=64)
def _shells(spacing: tuple[float, ...]) -> tuple[np.ndarray, tuple[tuple[float, np.ndarray], ...]]:
    """The largest offset along each axis, then (distance, offsets at that distance) from near to far, over a ball of
    about `_NEAR_OFFSETS` voxels."""
    size = np.asarray(spacing)
    ball = {1: 2.0, 2: np.pi, 3: 4.0 / 3.0 * np.pi}[len(spacing)]
    radius = (_NEAR_OFFSETS * size.prod() / ball) ** (1.0 / len(spacing))
    reach = np.floor(radius / size).astype(int)
    axes = [np.arange(-steps, steps + 1) for steps in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(spacing))
    distances = np.sqrt(((offsets * size) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= radius]
    offsets, distances = offsets[order], distances[order]
    starts = np.flatnonzero(np.diff(distances, prepend=-1.0) > 1e-12 * radius)
    groups = np.split(offsets, starts[1:])
    shells = tuple((float(distances[start]), group) for start, group in zip(starts, groups, strict=True))
    return np.abs(offsets).max(axis=0), shells


def _by_tree(points: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    tree = cKDTree(np.argwhere(targets) * np.asarray(spacing), leafsize=32)
    distances: np.ndarray = tree.query(points * np.asarray(spacing))[0]
    return distances


def _by_transform(points: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    nearest = ndimage.distance_transform_edt(
        ~targets, sampling=spacing, return_distances=False, return_indices=True
    )  # (ndim, *shape): the nearest target of every voxel
    targets_hit = nearest[(slice(None), *points.T)].T  # (N, ndim)
    distances: np.ndarray = np.sqrt((((targets_hit - points) * np.asarray(spacing)) ** 2).sum(axis=1))
    return distances
