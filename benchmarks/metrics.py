"""Time and memory of the surface metrics, compared with medpy, MONAI and surface-distance.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/metrics.py [--data FOLDER] [--part tumors|organs]

Prints two tables, each with a row per library:
1. HD95 of the tumor regions ET, TC and WT of BraTS 2015 (240x240x155, 1 mm): each reference is compared with a copy
   that is eroded by one voxel and shifted by (2, -1, 1). Milliseconds are medians over all regions.
2. Dice, HD95 and surface Dice of 13 organs in a synthetic label map of a CT scan (512x512x300): seconds for all organs,
   and the peak memory of the process.

Every library gets its arrays in the form that it needs before the clock starts. The libraries are installed by
`pip install -e '.[bench]'`. Without the BraTS 2015 cases, the first table is left out.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import program
from scipy import ndimage

from segcct.hardware.memory import peak_memory_mb

DATA = Path("data/brats2015")
REGIONS = {"ET": (4,), "TC": (1, 3, 4), "WT": (1, 2, 3, 4)}
TOOLS = ("segcct", "medpy", "MONAI", "surface-distance")
UNIT = (1.0, 1.0, 1.0)
ORGANS = {
    # name: center and radii in mm, on a field of 400 x 400 x 450 mm
    "spleen": ((90, 250, 300), (45, 35, 55)),
    "right kidney": ((290, 265, 240), (30, 30, 55)),
    "left kidney": ((120, 265, 245), (30, 30, 55)),
    "gallbladder": ((255, 150, 265), (15, 15, 35)),
    "esophagus": ((205, 225, 390), (9, 9, 55)),
    "liver": ((270, 190, 320), (100, 80, 80)),
    "stomach": ((145, 150, 320), (50, 45, 60)),
    "aorta": ((195, 250, 250), (12, 12, 190)),
    "inferior vena cava": ((225, 240, 230), (11, 11, 170)),
    "portal vein": ((230, 190, 285), (10, 10, 50)),
    "pancreas": ((190, 180, 270), (70, 20, 25)),
    "right adrenal gland": ((255, 245, 305), (10, 5, 15)),
    "left adrenal gland": ((150, 245, 305), (10, 5, 15)),
}
CT_SHAPE, CT_SPACING_MM = (512, 512, 300), (0.78125, 0.78125, 1.5)
TOLERANCE_MM = 2.0


def tumors(data: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(case and region, prediction, reference) of every region, as contiguous bool arrays."""
    import nibabel as nib

    for file in sorted(data.glob("*/OTMultiClass.nii.gz")):
        label = np.ascontiguousarray(np.asarray(nib.Nifti1Image.from_filename(file).dataobj).astype(np.uint8))
        for region, values in REGIONS.items():
            reference = np.isin(label, values)
            prediction = np.roll(ndimage.binary_erosion(reference), (2, -1, 1), axis=(0, 1, 2))
            yield f"{file.parent.name} {region}", prediction, reference


def hd95(tool: str, prediction: np.ndarray, reference: np.ndarray) -> Callable[[], float]:
    """The function to time, which computes the HD95 in mm of two masks on a 1 mm grid."""
    if tool == "segcct":
        from segcct import metrics

        return lambda: metrics.hausdorff(prediction, reference, UNIT)
    if tool == "medpy":
        from medpy.metric import binary

        return lambda: float(binary.hd95(prediction, reference, UNIT))
    if tool == "MONAI":
        import torch
        from monai.metrics import compute_hausdorff_distance

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(mask[None, None]) for mask in (prediction, reference)]
        return lambda: compute_hausdorff_distance(
            *tensors, include_background=True, percentile=95, spacing=list(UNIT)
        ).item()
    import surface_distance as package

    return lambda: float(
        package.compute_robust_hausdorff(package.compute_surface_distances(reference, prediction, UNIT), 95)
    )


def _seconds(run: Callable[[], float]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare_tumors(data: Path) -> None:
    """Print table 1, if there are cases."""
    seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    values: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    for _, prediction, reference in tumors(data):
        for tool in TOOLS:
            run = hd95(tool, prediction, reference)
            values[tool].append(run())  # also the imports and tables of the first call
            # medpy takes seconds, which hardly vary
            seconds[tool].append(statistics.median(_seconds(run) for _ in range(1 if tool == "medpy" else 5)))
    if not seconds["segcct"]:
        print(f"no BraTS 2015 cases in {data}, so no HD95 of tumor regions: name their folder with --data\n")
        return
    print(f"HD95 of {len(seconds['segcct'])} tumor regions, 240x240x155, one core\n")
    print("| tool | median ms | median times slower | mean HD95 |")
    print("| --- | ---: | ---: | ---: |")
    for tool in TOOLS:
        slower = statistics.median(a / b for a, b in zip(seconds[tool], seconds["segcct"], strict=True))
        milliseconds = 1000 * statistics.median(seconds[tool])
        print(f"| {tool} | {milliseconds:.1f} | {slower:.1f} | {statistics.mean(values[tool]):.3f} |")
    print()


def organ_map(seed: int, *, jitter: float) -> np.ndarray:
    """(512, 512, 300) uint8: organs 1..13, rippled ellipsoids moved by about `jitter` mm and resized by 2 `jitter`%."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(CT_SHAPE, dtype=np.uint8)
    for value, (center, radii) in enumerate(ORGANS.values(), start=1):
        middle = np.array(center) + rng.normal(0, jitter, 3)
        size = np.array(radii) * (1 + 0.02 * rng.normal(0, jitter, 3))
        first = np.maximum(0, np.floor((middle - 1.1 * size) / CT_SPACING_MM).astype(int))
        last = np.minimum(CT_SHAPE, np.ceil((middle + 1.1 * size) / CT_SPACING_MM).astype(int))
        axes = [
            ((np.arange(a, b) * step - m) / r).astype(np.float32)
            for a, b, step, m, r in zip(first, last, CT_SPACING_MM, middle, size, strict=True)
        ]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        ripple = 0.06 * np.sin(5 * x + 1.0) * np.sin(6 * y) * np.sin(7 * z + 2.0)
        labels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))][x**2 + y**2 + z**2 + ripple <= 1] = value
    return labels


def score_organs(tool: str) -> tuple[float, float, list[float]]:
    """Seconds, peak GB of the process with its label maps, and mean [Dice, HD95, surface Dice] of the organs."""
    warnings.simplefilter("ignore")
    reference, prediction = organ_map(0, jitter=0.0), organ_map(1, jitter=1.0)
    run = _organs_by_segcct if tool == "segcct" else _organs_by_surface_distance
    run(prediction[:64, :64, :64], reference[:64, :64, :64])  # imports, tables
    start = time.perf_counter()
    scores = run(prediction, reference)
    seconds = time.perf_counter() - start
    return seconds, (peak_memory_mb() or math.nan) / 1e3, np.mean(scores, axis=0).tolist()


def _organs_by_segcct(prediction: np.ndarray, reference: np.ndarray) -> list[tuple[float, ...]]:
    from segcct import metrics

    structures = {name: (value,) for value, name in enumerate(ORGANS, start=1)}
    scores = []
    for _, pair in metrics.label_pairs(prediction, reference, structures, CT_SPACING_MM):
        if pair.distances_mm is not None:
            distances = pair.distances_mm
            scores.append((pair.counts.dice, distances.hausdorff(95), distances.surface_dice(TOLERANCE_MM)))
    return scores


def _organs_by_surface_distance(prediction: np.ndarray, reference: np.ndarray) -> list[tuple[float, ...]]:
    import surface_distance as package

    scores = []
    for value in range(1, len(ORGANS) + 1):
        masks = reference == value, prediction == value
        if masks[0].any() and masks[1].any():
            distances = package.compute_surface_distances(*masks, CT_SPACING_MM)
            scores.append(
                (
                    package.compute_dice_coefficient(*masks),
                    package.compute_robust_hausdorff(distances, 95),
                    package.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
                )
            )
    return scores


def compare_organs() -> None:
    """Print table 2; each library runs in its own process, whose memory is measured."""
    print("13 organs, 512x512x300 at 0.78x0.78x1.5 mm: Dice, HD95, surface Dice at 2 mm, one core\n")
    print("| tool | s | peak GB | mean Dice | mean HD95 (mm) | mean surface Dice |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    context = multiprocessing.get_context("spawn")
    for tool in ("segcct", "surface-distance"):
        with context.Pool(1) as pool:
            seconds, peak_gb, (dice, distance, nsd) = pool.apply(score_organs, (tool,))
        print(f"| {tool} | {seconds:.1f} | {peak_gb:.2f} | {dice:.4f} | {distance:.3f} | {nsd:.4f} |")
    print()


def main() -> None:
    """Print both tables, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of BraTS 2015 cases (default %(default)s)")
    parser.add_argument("--part", choices=["tumors", "organs"], help="only this table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.part != "organs":
        compare_tumors(arguments.data)
    if arguments.part != "tumors":
        compare_organs()


if __name__ == "__main__":
    program.run(main)
