"""How far a reconstructed image is from the original, by region: arrays in, numbers out.

    from segcct.metrics import image
    rows = image.image_distances(original, reconstruction, label, ["RV", "MYO", "LV"])
    rows["foreground"].rmse, rows["border"].ssim, rows["LV"].correlation
    image.rmse_reduction(rows["foreground"].rmse, baseline["foreground"].rmse)   # 0.25: a quarter less

Images are (D, C, h, w) in units where 1 is the full range, labels (D, h, w) class indices. A value that is not defined
(in a region without pixels, the correlation of a constant, the PSNR of equal images) is None, never NaN or infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segcct.errors import MetricError

WHOLE, FOREGROUND, BORDER = "whole", "foreground", "border"
BAND_PX = 2
"""Half width of the border band: pixels within this distance of a change of class."""
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
"""Window of the structural similarity (Wang et al. 2004); smaller slices have none."""


@dataclass(frozen=True)
class ImageDistance:
    """Distances over one region of all slices and channels of a case."""

    pixels: int
    """Pixels of the region, counted once however many channels there are."""
    euclidean: float | None
    """Root of the summed squared differences; grows with the region."""
    rmse: float | None
    """Root of the mean squared difference."""
    mae: float | None
    """Mean absolute difference."""
    psnr: float | None
    """10 log10(1 / mse) in dB; None for equal images."""
    ssim: float | None
    """Mean of the structural similarity map over the region, in [-1, 1]."""
    correlation: float | None
    """Pearson's; None where either image is constant."""

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers."""
        return dict(self.__dict__)


def image_distances(
    original: np.ndarray,
    reconstruction: np.ndarray,
    label: np.ndarray,
    classes: Sequence[str],
) -> dict[str, ImageDistance]:
    """Distances over `whole`, `foreground` (all classes together), `border` and each class, in this order.

    Args:
        original: (D, C, h, w).
        reconstruction: the same shape.
        label: (D, h, w) class indices, 0 background.
        classes: names of the indices 1, 2, ...

    Raises:
        MetricError: shapes that do not fit, values that are not finite, a class index without a name, or a class with
            the name of one of the regions.
    """
    original, reconstruction = _checked(original, reconstruction, label, classes)
    similarity = ssim_map(original, reconstruction)
    named = regions(label, classes)
    return {name: _distance(original, reconstruction, similarity, region) for name, region in named.items()}


def regions(label: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Boolean (D, h, w) per region: whole, foreground, border, then each class.

    Raises `MetricError` for a class with one of these names, except for `foreground` as the only class, which is that
    region.
    """
    taken = {WHOLE, BORDER} if list(classes) == [FOREGROUND] else {WHOLE, FOREGROUND, BORDER}
    clashing = [name for name in classes if name in taken]
    if clashing:
        raise MetricError(
            "a class has the name of a region that images are compared over",
            found=clashing[0],
            expected=f"a name other than {WHOLE}, {FOREGROUND} and {BORDER}",
            remedy="Rename the class in data.labels",
        )
    named = {WHOLE: np.ones(label.shape, dtype=bool), FOREGROUND: label > 0, BORDER: border_band(label)}
    return named | {name: label == index for index, name in enumerate(classes, start=1)}


def border_band(label: np.ndarray, band_px: int = BAND_PX) -> np.ndarray:
    """(D, h, w) bool: pixels of a slice at most `band_px` steps (up, down, left, right) from another class.

    One step is a pixel that touches another class, so a straight border has a band of 2 `band_px` pixels.
    """
    edge = np.zeros(label.shape, dtype=bool)
    across, down = label[:, :, 1:] != label[:, :, :-1], label[:, 1:] != label[:, :-1]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    if band_px > 1 and edge.any():
        in_slice = ndimage.generate_binary_structure(2, 1)[None]
        edge = ndimage.binary_dilation(edge, in_slice, iterations=band_px - 1)
    return edge


def class_means(original: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, C) mean intensity of each class, background first; a class without pixels gets the mean of the image."""
    means = np.tile(original.mean(axis=(0, 2, 3), dtype=np.float64), (num_classes, 1))
    by_channel = np.moveaxis(original, 1, -1)  # (D, h, w, C)
    for index in np.unique(label):
        means[index] = by_channel[label == index].mean(axis=0, dtype=np.float64)
    return means


def fill_classes(label: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Label (D, h, w) and means (K, C) -> (D, C, h, w) float32, constant within each class."""
    return np.moveaxis(means.astype(np.float32)[label], -1, 1)


def class_mean_baseline(original: np.ndarray, label: np.ndarray, *, each_slice: bool = False) -> np.ndarray:
    """The original with every class, background included, filled with its mean over the case, or over `each_slice`.

    It knows the true mean of each class in this case. A generator that is better adds structure, or uses its style code
    of each slice. With `each_slice` the baseline also knows the means of each slice, so that only structure and the
    slopes of the style are left.
    """
    if each_slice:
        slices = [class_mean_baseline(image[None], mask[None]) for image, mask in zip(original, label, strict=True)]
        return np.concatenate(slices)
    return fill_classes(label, class_means(original, label, int(label.max()) + 1))


def rmse_reduction(error: float | None, baseline: float | None) -> float | None:
    """Relative reduction of an RMSE: 1 - error / baseline; None if either is not defined, or the baseline is 0."""
    return 1.0 - error / baseline if error is not None and baseline else None


def foreground_error_reduction(original: np.ndarray, reconstruction: np.ndarray, label: np.ndarray) -> float | None:
    """`rmse_reduction` in the foreground relative to `class_mean_baseline`, without the cost of the other distances.

    Images (D, C, h, w), label (D, h, w); None without foreground, or if the baseline is perfect.
    """
    inside = label > 0
    images = reconstruction, class_mean_baseline(original, label)
    return rmse_reduction(*(rmse_within(original, image, inside) for image in images))


def rmse(original: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """Root mean squared difference of two arrays of one shape; None for empty ones."""
    return math.sqrt(_mean_square(_differences(original, reconstruction))) if original.size else None


def rmse_within(original: np.ndarray, reconstruction: np.ndarray, region: np.ndarray) -> float | None:
    """`rmse` of images (D, C, h, w) under a region (D, h, w) bool; None for an empty one."""
    return rmse(_inside(original, region), _inside(reconstruction, region))


def ssim_map(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray | None:
    """(D, C, h, w) -> (D, C, h, w) structural similarity, slice by slice and channel by channel; None for slices
    smaller than its window (scikit-image; Gaussian window of sigma 1.5 and side 11, as in Wang et al. 2004)."""
    if min(original.shape[2:]) < SSIM_WINDOW:
        return None
    from skimage.metrics import structural_similarity

    similarity = np.empty(original.shape, dtype=np.float32)
    for place in np.ndindex(*original.shape[:2]):
        _, similarity[place] = structural_similarity(
            original[place],
            reconstruction[place],
            data_range=1.0,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
    return similarity


def _distance(
    original: np.ndarray,
    reconstruction: np.ndarray,
    similarity: np.ndarray | None,
    region: np.ndarray,
) -> ImageDistance:
    """All distances of (D, C, h, w) over a region (D, h, w)."""
    pixels = int(np.count_nonzero(region))
    if not pixels:
        return ImageDistance(0, None, None, None, None, None, None)
    inside, true = _inside(reconstruction, region), _inside(original, region)
    differences = _differences(true, inside)
    mse = _mean_square(differences)
    return ImageDistance(
        pixels=pixels,
        euclidean=float(np.sqrt(np.square(differences).sum())),
        rmse=math.sqrt(mse),
        mae=float(np.abs(differences).mean()),
        psnr=None if mse == 0 else 10.0 * math.log10(1.0 / mse),
        ssim=None if similarity is None else float(_inside(similarity, region).mean(dtype=np.float64)),
        correlation=_correlation(true, inside),
    )


def _inside(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(D, C, h, w) under (D, h, w) -> (pixels, C)."""
    inside: np.ndarray = np.moveaxis(image, 1, -1)[region]
    return inside


def _differences(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    return reconstruction.astype(np.float64) - original.astype(np.float64)


def _mean_square(differences: np.ndarray) -> float:
    return float(np.square(differences).mean())


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's, of all values together."""
    a, b = (each.astype(np.float64).ravel() for each in (one, other))
    if a.min() == a.max() or b.min() == b.max():
        return None
    a, b = a - a.mean(), b - b.mean()
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length > 0 else None


def _checked(
    original: np.ndarray, reconstruction: np.ndarray, label: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    if original.ndim != 4 or reconstruction.shape != original.shape:
        raise MetricError(
            "images that cannot be compared",
            found=f"{original.shape} and {reconstruction.shape}",
            expected="two arrays (slices, channels, rows, columns) of one shape",
        )
    slices = (original.shape[0], *original.shape[2:])
    if label.shape != slices:
        raise MetricError("the label does not fit the image", found=label.shape, expected=slices)
    if label.size and int(label.max()) > len(classes):
        raise MetricError("a class without a name", found=int(label.max()), expected=f"0 to {len(classes)}")
    # float32 throughout: prepared images are float16, whose sums overflow.
    images = original.astype(np.float32), reconstruction.astype(np.float32)
    if not all(np.isfinite(each).all() for each in images):
        raise MetricError("an image with values that are not finite", found="NaN or infinity", expected="numbers")
    return images
