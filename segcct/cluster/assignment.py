"""Which cluster is which class? Chosen by Dice on cases that have references."""

from __future__ import annotations

import numpy as np


def overlap_table(clusters: np.ndarray, reference: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """Voxels by cluster and class index, counted over two volumes of indices -> (clusters, classes) int64, both with
    the background first."""
    pairs = clusters.astype(np.int64).ravel() * sizes[1] + reference.ravel()
    return np.bincount(pairs, minlength=sizes[0] * sizes[1]).reshape(sizes)


def best_assignment(table: np.ndarray) -> list[int]:
    """The class index of every cluster, background first, by an `overlap_table`.

    One class: the union of clusters with the largest Dice. Several: the one cluster for each that makes the sum of
    their Dice largest (Hungarian algorithm); clusters that are left over, and matches without overlap, become
    background.
    """
    classes = table.shape[1] - 1
    return _best_union(table) if classes == 1 else _one_to_one(table)


def _best_union(table: np.ndarray) -> list[int]:
    """Clusters in descending order of the fraction of their voxels that is of the class: the best union is some number
    of the first, since adding a cluster raises the Dice if and only if that fraction is above half of it."""
    voxels, hits = table.sum(axis=1), table[:, 1]
    order = np.argsort(-hits / np.maximum(voxels, 1), kind="stable")
    order = order[order > 0]  # the background of the masks is never of the class
    dice = 2 * np.cumsum(hits[order]) / np.maximum(np.cumsum(voxels[order]) + hits.sum(), 1)
    best = int(dice.argmax()) + 1 if dice.max() > 0 else 0
    return [int(cluster in order[:best]) for cluster in range(len(table))]


def _one_to_one(table: np.ndarray) -> list[int]:
    from scipy.optimize import linear_sum_assignment

    sizes = table.sum(axis=1)[:, None] + table.sum(axis=0)
    dice = (2 * table / np.maximum(sizes, 1))[1:, 1:]
    assigned = [0] * len(table)
    for cluster, index in zip(*linear_sum_assignment(dice, maximize=True), strict=True):
        if dice[cluster, index] > 0:
            assigned[cluster + 1] = int(index) + 1
    return assigned
