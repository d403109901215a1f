"""Masks by an exported model, without PyTorch: python -m segcct.runtime model.onnx scan.nii.gz mask.nii.gz

This file needs numpy, nibabel and onnxruntime, and scipy if the model's masks are postprocessed. It imports nothing of
segcct, so that it can be copied next to a model. `segcct predict` prepares scans and finishes masks by the same
functions: a model file gives the same mask in both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime 1.32 reports its use to its makers

METADATA_KEY, METADATA_FORMAT = "segcct", 1
INPUT, OUTPUT = "image", "logits"
"""Names in the ONNX graph: (B, C, S, S) float32 -> (B, K, S, S), or (B, K) of a classifier."""
RANGE_PERCENT = (0.05, 99.95)
"""Percentiles of the foreground that become 0 and 1 under the z-score rules; values outside are clipped."""
CLIP_MEAN, CLIP_STD = 0.5, 0.25
"""Standardization under `clip`: the same for every case, because calibrated units (HU) must keep their meaning."""
CROP_MARGIN_PIXELS, CROP_MARGIN_SLICES = 4, 1
"""Margin left around the foreground, in stored pixels and in slices."""
NO_SPACING = "segcct: voxel size unknown"
"""Start of the description in headers of files that hold no voxel size."""
_PERCENTILE_VOXELS, _MOMENT_VOXELS, _COUNTED_VOXELS = 4_000_000, 2**20, 2**22
_ELSEWHERE = "name a file in a folder that has room and that you may write to"
_PIXELS_PER_BATCH = 2**20
"""16 slices of 256 by 256."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class RunnerError(ValueError):
    """A model or scan that cannot be used, in one line."""


# The command line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit code 1 and one line for what cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], prog="python -m segcct.runtime")
    parser.add_argument("model", type=Path, help="what segcct export wrote")
    parser.add_argument("scans", type=Path, nargs="+", metavar="scan", help="a NIfTI file per channel, in their order")
    parser.add_argument("output", type=Path, help="the mask, .nii or .nii.gz")
    parser.add_argument("--mask", type=Path, help="the region for intensity normalization, for models that need one")
    batch = "slices per batch, at most (default %(default)s)"
    parser.add_argument("--batch-size", type=_positive_int, default=16, help=batch)
    parser.add_argument("--overwrite", action="store_true", help="replace a mask that exists already")
    chosen = parser.parse_args(arguments)
    try:
        if not chosen.output.name.endswith((".nii", ".nii.gz")):
            raise RunnerError(f"{chosen.output}: masks are written as .nii or .nii.gz")
        if chosen.output.resolve() in [file.resolve() for file in (*chosen.scans, chosen.mask) if file is not None]:
            raise RunnerError(f"{chosen.output}: the mask would replace what it is made from: name another file for it")
        if chosen.output.exists() and not chosen.overwrite:
            raise RunnerError(f"{chosen.output}: exists already: name another file for the mask, or add --overwrite")
        if not chosen.output.parent.is_dir():
            raise RunnerError(f"{chosen.output.parent}: no such folder for the mask")
        if not os.access(chosen.output.parent, os.W_OK):
            raise RunnerError(f"{chosen.output.parent}: the mask cannot be written there: {_ELSEWHERE}")
        pool = ThreadPoolExecutor(2)
        try:
            reading = [pool.submit(Scan.load, file) for file in chosen.scans]  # while the model is loaded
            model = ModelFile(chosen.model)
            scans = [scan.result() for scan in reading]
        finally:
            pool.shutdown(cancel_futures=True)  # an error waits for no scan that is not begun
        mask = None if chosen.mask is None else Scan.load(chosen.mask)
        if mask is not None and not _on_grid(mask, scans[0]):
            raise RunnerError(f"{chosen.mask}: the --mask is not on the grid of the scans: resample it onto the first")
        region = None if mask is None else region_of(mask.array)
        scans[0].save(segment(model, scans, region, batch_size=chosen.batch_size), chosen.output)
    except (RunnerError, OSError, ImportError) as error:  # the latter without onnxruntime
        print(f"segcct.runtime: {_in_a_line(error)}", file=sys.stderr)
        return 1
    print(f"wrote {chosen.output}")
    return 0


def _in_a_line(error: Exception) -> str:
    """What is wrong, beginning with the file."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


# One case through the model


def segment(
    model: ModelFile, scans: Sequence[Scan], region: np.ndarray | None = None, *, batch_size: int = 16
) -> np.ndarray:
    """The mask (X, Y, Z) of a case in the values of the model's classes.

    Args:
        model: of the task segmentation.
        scans: one per channel of the model, in their order.
        region: (X, Y, Z) bool, for models trained under zscore_mask.
        batch_size: slices that go through the network at a time, at most.

    Raises:
        RunnerError: the scans do not fit the model.
    """
    if batch_size < 1:
        raise RunnerError(f"a batch holds at least one slice, not {batch_size}")
    _check_case(model, scans, region)
    how, first = model.preparation, scans[0]
    rule, bounds = how["intensity"]["rule"], (how["intensity"]["low"], how["intensity"]["high"])
    scales = [UnitScale.fit(scan.array, rule, bounds, region) for scan in scans]
    oriented = how["orientation"] != "native" and first.spacing_mm is not None
    order, flips = (slice_axes(first.affine) if oriented else None) or ((2, 1, 0), (False,) * 3)
    unflip = tuple(slice(None, None, -1 if flip else None) for flip in flips)

    def slices_of(volume: np.ndarray) -> np.ndarray:
        """(X, Y, Z) -> (D, H, W), a view."""
        return volume.transpose(order)[unflip]

    box = tuple(slice(None) for _ in range(3))
    if how["crop"] == "foreground":
        kept = [scale.foreground(scan.array, region) for scan, scale in zip(scans, scales, strict=True)]
        box = tuple(slice(*part) for part in bounding_box(slices_of(np.logical_or.reduce(kept))))
    mask = np.zeros(first.array.shape, dtype=np.uint8, order="F")
    labels = slices_of(mask)[box]  # (D, H, W), a view
    spacing_hw_mm = None if first.spacing_mm is None else [first.spacing_mm[axis] for axis in order[1:]]
    size = _size_in_network(model, labels.shape[1:], spacing_hw_mm)
    parts = [slices_of(scan.array)[box] for scan in scans]
    inside = None if region is None else slices_of(region)[box]
    mean, std = np.asarray([(scale.mean, scale.std) for scale in scales], dtype=np.float32).T[..., None, None]
    slices = slices_per_batch(batch_size, math.prod(model.size))
    for start in range(0, len(labels), slices):
        batch = slice(start, start + slices)
        region_part = None if inside is None else inside[batch]
        channels = [scale.unit(part[batch], region_part) for part, scale in zip(parts, scales, strict=True)]
        unit = resample(np.stack(channels, axis=1), size).astype(np.float16)  # (n, C, h, w), as training caches it
        labels[batch] = resampled_argmax(_probabilities(model, unit, mean, std), labels.shape[1:])
    postprocess(mask, model.steps, list(model.classes), voxel_volume_ml(first.affine, first.spacing_mm))
    values = [0, *model.classes.values()]
    return np.asarray(values, dtype=np.uint8 if max(values) < 256 else np.uint16)[mask]


def _check_case(model: ModelFile, scans: Sequence[Scan], region: np.ndarray | None) -> None:
    rule = model.preparation["intensity"]["rule"]
    if model.steps and importlib.util.find_spec("scipy") is None:
        steps = ", ".join(step["step"] for step in model.steps)
        raise RunnerError(f"the model's masks are postprocessed ({steps}): pip install scipy, or use segcct predict")
    if model.size[0] != model.size[1]:
        raise RunnerError("the model takes slices that are not square: write another by segcct export")
    if len(scans) != len(model.channels):
        raise RunnerError(
            f"the model takes {len(model.channels)} scans ({', '.join(model.channels)}), not {len(scans)}"
        )
    if (rule == "zscore_mask") != (region is not None):
        raise RunnerError(f"a --mask goes with models of intensity rule zscore_mask, and with no other; this is {rule}")
    for scan in scans:
        if not _on_grid(scan, scans[0]):
            raise RunnerError("the scans are not on one grid: resample them onto the first")
        if rule == "none" and not (scan.array.min() >= -1e-3 and scan.array.max() <= 1 + 1e-3):
            raise RunnerError("the model takes values in [0, 1]")
        if rule == "zscore_nonzero" and scan.array.min() != scan.array.max() and other_background(scan.array):
            raise RunnerError("the background is not 0, which intensity rule zscore_nonzero needs")
    if region is not None and (region.shape != scans[0].array.shape or not region.any()):
        raise RunnerError("the --mask is empty, or not on the grid of the scans")
    if slice_axes(scans[0].affine) is None:
        raise RunnerError("the affine leaves a voxel axis without a direction")


def _size_in_network(model: ModelFile, shape: Sequence[int], spacing_hw_mm: Sequence[float] | None) -> tuple[int, int]:
    """Rows and columns of a slice (H, W) in the network. Raises `RunnerError` where the model takes smaller ones."""
    how = model.preparation
    size = network_size(
        shape, spacing_hw_mm, fit=how["fit"], image_size=how["image_size"], spacing_mm=how["spacing_mm"]
    )
    if max(size) > model.size[0]:
        raise RunnerError(
            f"the slices become {size[0]} x {size[1]} pixels and the model takes {model.size[0]} x {model.size[1]}: "
            f"write another by segcct export --size {-(-max(size) // 32) * 32}"
        )
    return size


def _probabilities(model: ModelFile, unit: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Slices (n, C, h, w) in [0, 1], standardized by mean and std, (C, 1, 1) each -> class probabilities (n, K, h, w).

    Raises `RunnerError` where they are not those of the model's classes, or not finite.
    """
    padded, (rows, columns) = pad_to(unit, model.size[0])
    probabilities = softmax(model.logits((padded.astype(np.float32) - mean) / std)[..., rows, columns])
    if probabilities.shape[1] != 1 + len(model.classes):
        found = probabilities.shape[1] - 1
        raise RunnerError(f"the network has {found} classes, its metadata {len(model.classes)}")
    if not np.isfinite(probabilities).all():
        raise RunnerError("the network gives values that are not finite")
    return probabilities


# A scan


@dataclass(frozen=True)
class Scan:
    """A NIfTI file: voxels (X, Y, Z), position, and header."""

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, ...] | None
    header: Any

    @classmethod
    def load(cls, file: str | Path) -> Scan:
        """Read `.nii` or `.nii.gz`. Raises `RunnerError` where it is damaged or not a 3-D image of finite numbers."""
        try:
            image: Any = nib.load(file)  # type: ignore[attr-defined]
            raw = np.asarray(image.dataobj.get_unscaled())
        except Exception as error:  # nibabel has many
            raise RunnerError(f"{file}: cannot be read as NIfTI ({in_a_line(error)})") from error
        if not isinstance(image.header, nib.Nifti1Header):  # nibabel reads other formats too
            raise RunnerError(f"{file}: {type(image).__name__} is not NIfTI: convert it to .nii.gz")
        if raw.ndim < 2 or any(size > 1 for size in raw.shape[3:]) or raw.dtype.kind not in "iuf" or not raw.size:
            raise RunnerError(f"{file}: shape {raw.shape} of {raw.dtype} is not a 3-D image of numbers")
        slope, inter = image.dataobj.slope, image.dataobj.inter
        with np.errstate(over="ignore", invalid="ignore"):
            if (slope, inter) != (1, 0):
                raw = (raw * np.float64(slope) + inter).astype(np.float32)
            array = raw.astype(np.float32) if raw.dtype.kind == "f" else raw.astype(raw.dtype.newbyteorder("="))
        if not np.isfinite(array).all():
            raise RunnerError(f"{file}: some voxels are NaN or infinite")
        unit_mm = {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) % 8, 1.0)
        affine = np.diag([unit_mm] * 3 + [1.0]) @ np.asarray(image.header.get_best_affine(), dtype=np.float64)
        spacing = spacing_of(affine, image.header)
        return cls(array.reshape((*array.shape[:3], 1)[:3]), affine, spacing, image.header)

    def save(self, mask: np.ndarray, file: str | Path) -> None:
        """Write a mask (X, Y, Z) on this scan's grid, with its header; atomically, so that no partial file is left.
        Raises `RunnerError` where it cannot be written."""
        file, header = Path(file), header_on_grid(self.header, mask)
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        temporary = file.with_name(f".part-{os.getpid()}-{file.name}")
        try:
            nib.save(kind(mask.reshape(header.get_data_shape()), None, header), temporary)  # type: ignore
            temporary.replace(file)
        except OSError as error:
            raise RunnerError(
                f"{file}: the mask cannot be written ({error.strerror or error}): {_ELSEWHERE}"
            ) from error
        finally:
            with suppress(OSError):  # in a read-only folder there is none
                temporary.unlink(missing_ok=True)


def header_on_grid(source: Any, array: np.ndarray) -> Any:
    """The NIfTI header of other voxels (X, Y, Z) on the grid of a scan: what describes the scan's own voxels, its
    extensions, and all texts but the description are left out."""
    header = source.copy()
    header.extensions.clear()
    flat = int(source["dim"][0]) == 2 and array.shape[2] == 1
    header.set_data_shape(array.shape[:2] if flat else array.shape)
    header["pixdim"] = source["pixdim"]  # the line above resets what is beyond the shape
    header.set_data_dtype(array.dtype)
    header.set_intent("none")
    for field in {"cal_min", "cal_max", "glmin", "glmax"} & set(header.keys()):
        header[field] = 0
    for field in {"data_type", "db_name", "aux_file", "unused_str"} & set(header.keys()):
        header[field] = b""
    return header


def spacing_of(affine: np.ndarray, header: Any = None) -> tuple[float, float, float] | None:
    """Length in mm of a step along each voxel axis of a (4, 4) affine; None where the NIfTI header says that it is
    unknown."""
    if header is not None and header["descrip"].item().decode("latin-1").startswith(NO_SPACING):
        return None
    x, y, z = (float(step) for step in nib.affines.voxel_sizes(affine))
    return x, y, z


def voxel_volume_ml(affine: np.ndarray, spacing_mm: Sequence[float] | None) -> float | None:
    """Volume of a voxel of a (4, 4) affine, in mL; of a sheared grid, as of CT with a tilted gantry, it is less than
    the product of the steps. None without a spacing."""
    return None if spacing_mm is None else abs(float(np.linalg.det(affine[:3, :3]))) / 1000


def _on_grid(scan: Scan, first: Scan) -> bool:
    """Whether a scan lies on the grid of the first: equal shapes, and corner voxels at most a twentieth of the smallest
    voxel size apart, as `segcct predict` asks. Where one of the two has no voxel size, the shapes alone count."""
    alike = scan.array.shape == first.array.shape
    if not alike or scan.spacing_mm is None or first.spacing_mm is None:
        return alike
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(first.array.shape) - 1)
    apart_mm = nib.affines.apply_affine(scan.affine - first.affine, corners)  # (8, 3)
    return float(np.linalg.norm(apart_mm, axis=1).max()) <= 0.05 * min(first.spacing_mm)


# From a scan's own values to [0, 1]


@dataclass(frozen=True)
class UnitScale:
    """The map of one channel to [0, 1]: fitted to all of it, applied to any part, so that no second volume is held."""

    rule: str
    low: float
    """What becomes 0."""
    high: float
    """What becomes 1."""
    mean: float
    """Mean that standardizes, in units of [0, 1]."""
    std: float
    """Standard deviation that standardizes, above 0; 1 for a channel of one value."""

    @classmethod
    def fit(cls, voxels: np.ndarray, rule: str, bounds: Sequence[float], mask: np.ndarray | None) -> UnitScale:
        """Fitted to a channel (X, Y, Z) of finite numbers; clip needs `bounds`, zscore_mask the `mask` (bool)."""
        if rule == "clip":
            return cls(rule, bounds[0], bounds[1], CLIP_MEAN, CLIP_STD)
        if rule == "none":
            return cls(rule, 0.0, 1.0, *_moments(np.clip(voxels, 0, 1, dtype=np.float32).ravel()))
        inside = voxels[mask if rule == "zscore_mask" else voxels != 0]  # (N,), a copy
        if not inside.size:  # a channel of zeros
            return cls(rule, 0.0, 1.0, 0.0, 1.0)
        sample = inside[:: max(1, inside.size // _PERCENTILE_VOXELS)].astype(np.float32, copy=False)
        low, high = (float(bound) for bound in np.percentile(sample, RANGE_PERCENT))
        return cls(rule, low, high, *_moments(_scaled(inside, low, high, overwrite=True)))

    def unit(self, voxels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Any part of the channel, with the same part of the mask for zscore_mask -> float32 in [0, 1]."""
        if self.rule == "none":
            return np.clip(voxels, 0, 1, dtype=np.float32)
        unit = _scaled(voxels, self.low, self.high)
        if self.rule != "clip":
            unit[~self.foreground(voxels, mask)] = 0
        return unit

    def foreground(self, voxels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Foreground of such a part, bool: what `data.crop: foreground` keeps."""
        if self.rule == "zscore_nonzero":
            return voxels != 0
        if self.rule == "zscore_mask":
            assert mask is not None  # `fit` needs it too
            return mask.astype(bool, copy=False)
        return self.unit(voxels) > 0


def _scaled(voxels: np.ndarray, low: float, high: float, *, overwrite: bool = False) -> np.ndarray:
    """[low, high] -> [0, 1], clipped, float32; a range of one value -> 1."""
    if low == high:
        return (voxels >= high).astype(np.float32)
    scaled = voxels.astype(np.float32, copy=not overwrite)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)


def _moments(unit: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of (N,) float32, in double precision without a copy in it."""
    mean = float(unit.mean(dtype=np.float64))
    parts = (unit[start : start + _MOMENT_VOXELS] for start in range(0, unit.size, _MOMENT_VOXELS))
    std = math.sqrt(math.fsum(float(np.square(part - np.float64(mean)).sum()) for part in parts) / unit.size)
    return mean, std if std > 1e-6 else 1.0


def region_of(mask: np.ndarray) -> np.ndarray:
    """The voxels inside a mask for intensity normalization, bool: those above one half, because rounding or resampling
    may have changed 0 and 1."""
    region: np.ndarray = mask > 0.5
    return region


def background_value(voxels: np.ndarray, *, thin: int = 20) -> float | None:
    """The constant that a scan (X, Y, Z) is surrounded by, such as 0 after skull stripping or -1024 HU around a CT.

    That is the value of most voxels on its faces; None where no value is that frequent. The two end slices of a stack
    of at most `thin` slices do not count, because they say little.
    """
    axes = (0, 1, 2) if voxels.shape[2] > thin else (0, 1)
    faces = np.concatenate([np.take(voxels, index, axis=axis).ravel() for axis in axes for index in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() > faces.size / 2 else None


def other_background(voxels: np.ndarray) -> tuple[float, float] | None:
    """The background of (X, Y, Z) and its share of the voxels, where it is a constant other than 0."""
    background = background_value(voxels, thin=0)
    if not background:
        return None
    share = float(np.mean(voxels == background))
    return None if share < 0.1 else (background, share)


# From a volume to slices, and between their sizes


def slice_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]] | None:
    """Stored axis behind each of D (to superior), H (to posterior), W (to the left), and whether it is reversed; None
    where the affine leaves an axis without a direction."""
    stored = io_orientation(affine)  # (3, 2): anatomical axis and direction of each stored axis
    if np.isnan(stored).any():
        return None
    to_slices = ornt_transform(stored, axcodes2ornt(("S", "P", "L")))  # row per stored axis: slice axis, direction
    d, h, w = np.argsort(to_slices[:, 0]).tolist()
    reversed_axes = to_slices[:, 1] < 0
    return (d, h, w), (bool(reversed_axes[d]), bool(reversed_axes[h]), bool(reversed_axes[w]))


def bounding_box(foreground: np.ndarray) -> Box:
    """Box of what is true in (D, H, W), each as (start, stop) with margins; everything where nothing is true."""
    parts = []
    for axis, margin in enumerate((CROP_MARGIN_SLICES, CROP_MARGIN_PIXELS, CROP_MARGIN_PIXELS)):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(foreground.any(axis=others))
        length = foreground.shape[axis]
        parts.append(
            (0, length) if not len(hit) else (max(0, int(hit[0]) - margin), min(length, int(hit[-1]) + 1 + margin))
        )
    return parts[0], parts[1], parts[2]


def network_size(
    shape: Sequence[int], spacing_hw_mm: Sequence[float] | None, *, fit: str, image_size: int, spacing_mm: float | None
) -> tuple[int, int]:
    """Rows and columns of a slice in the network, of a slice (H, W); see `data.fit` and `data.spacing_mm`.

    Raises `RunnerError` where the scan has no pixel spacing to resample from.
    """
    rows, columns = shape
    if fit == "resize":
        return image_size, image_size
    if fit == "letterbox":
        return letterbox_size(shape, image_size)
    if spacing_mm is None:
        return rows, columns
    if spacing_hw_mm is None:
        raise RunnerError("the scan has no voxel size, which the model needs")
    height_mm, width_mm = spacing_hw_mm
    return max(1, round(rows * height_mm / spacing_mm)), max(1, round(columns * width_mm / spacing_mm))


def letterbox_size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Rows and columns scaled alike, so that the longer ones become `side`; `pad_to` does the rest."""
    rows, columns = (max(1, round(length * side / max(shape))) for length in shape)
    return rows, columns


def slices_per_batch(most: int, pixels: int) -> int:
    """Slices of that many pixels that go through a network on a processor at a time: `most`, or fewer where they are
    large, because larger batches then take more memory and no less time. The same everywhere, so that masks are the
    same."""
    return max(1, min(most, _PIXELS_PER_BATCH // pixels))


def resample(slices: np.ndarray, size: Sequence[int], *, antialias: bool = True) -> np.ndarray:
    """(N, C, h, w) -> (N, C, *size) float32, bilinear. Pixel centers keep their places (align_corners off); where a
    side gets shorter, `antialias` widens the triangle to cover all of it, as in PyTorch and Pillow."""
    if slices.shape[2:] == tuple(size):
        return np.ascontiguousarray(slices, dtype=np.float32)
    resampled = np.empty((*slices.shape[:2], *size), dtype=np.float32)
    order = (-1, -2) if size[0] > slices.shape[2] else (-2, -1)  # rows last where they become more
    for place in np.ndindex(*slices.shape[:2]):  # a plane at a time stays in the processor's cache
        plane = slices[place].astype(np.float32, copy=False)
        for axis in order:
            plane = _along(plane, axis, size[axis], antialias=antialias)
        resampled[place] = plane
    return resampled


def _along(plane: np.ndarray, axis: int, length: int, *, antialias: bool) -> np.ndarray:
    """(h, w) with one axis resampled: a sum of few terms, each rounded alike on every processor."""
    if plane.shape[axis] == length:
        return plane
    total: np.ndarray | None = None
    for places, weights in _taps(plane.shape[axis], length, antialias=antialias):
        term = plane.take(places, axis=axis)
        term *= weights if axis == -1 else weights[:, None]
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total


def _taps(before: int, after: int, *, antialias: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pixels, and their weights (float32), that are summed: [(after,), (after,)] of the first, second ... term."""
    ratio = before / after
    reach = max(ratio, 1.0) if antialias else 1.0
    center = (np.arange(after) + 0.5) * ratio
    if not antialias:
        center = center.clip(0.5, before - 0.5)
    first = np.maximum((center - reach + 0.5).astype(int), 0)
    stop = np.minimum((center + reach + 0.5).astype(int), before)
    places = first[:, None] + np.arange((stop - first).max())  # (after, taps)
    weights = np.maximum(0.0, 1 - np.abs(places + 0.5 - center[:, None]) / reach) * (places < stop[:, None])
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return list(zip(places.clip(max=before - 1).T, weights.T, strict=True))


def pad_to(array: np.ndarray, side: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """(..., h, w) -> (..., at least side, at least side), and where the array lies in it.

    Zeros on both sides equally, only where the array is shorter than `side`: training and prediction pad small slices
    in the same way. The output of a network is cropped back by `output[..., rows, columns]`.
    """
    missing = [max(0, side - length) for length in array.shape[-2:]]
    top, left = (amount // 2 for amount in missing)
    inside = slice(top, top + array.shape[-2]), slice(left, left + array.shape[-1])
    if not any(missing):
        return array, inside
    around = [(0, 0)] * (array.ndim - 2) + [(amount // 2, amount - amount // 2) for amount in missing]
    return np.pad(array, around), inside


# The model


class ModelFile:
    """An exported model: its network, and what its metadata say about input and classes.

    Raises `RunnerError` for a file that is damaged or was not written by `segcct export`, `OSError` for a missing one.
    """

    def __init__(self, file: str | Path) -> None:
        try:
            self.logits = OnnxSession(Path(file).read_bytes())
        except RunnerError as error:
            raise RunnerError(f"{file}: {error}") from error
        stored = self.logits.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.facts = read_facts(stored, file)
        self.size: tuple[int, int] = tuple(self.facts["size"])
        self.preparation: dict[str, Any] = self.facts["preparation"]
        check_facts(self.facts)
        self.channels = list(self.facts["card"]["data"]["channels"])
        self.classes: dict[str, int] = self.facts["card"]["scheme"]["classes"]
        self.steps: list[dict[str, Any]] = self.facts["card"].get("postprocessing") or []


def read_facts(stored: str | None, file: object) -> dict[str, Any]:
    """The metadata of a model file. Raises `RunnerError` where they are not those that `segcct export` writes."""
    try:
        facts: dict[str, Any] = json.loads(stored or "{}")
        ours = facts["format"] == METADATA_FORMAT and isinstance(facts["card"]["data"], dict)
        rows, columns = facts["size"]
        if ours and isinstance(facts["preparation"], dict) and type(rows) is type(columns) is int:
            return facts
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise RunnerError(f"{file}: its metadata are not those that segcct export of this version writes")


def check_facts(facts: Mapping[str, Any]) -> None:
    """Raises `RunnerError` where the metadata lack something that `segment` reads."""
    card, how = facts["card"], facts["preparation"]
    if (task := card.get("task")) != "segmentation":
        raise RunnerError(f"the model is of task {in_a_line(task)}: use segcct predict")
    try:
        classes, steps = card["scheme"]["classes"], card.get("postprocessing") or []
        unknown = [step["step"] for step in steps if step["step"] not in STEPS]
        complete = (
            bool(classes and card["data"]["channels"].keys())
            and all(type(value) is int and 0 < value < 2**16 for value in classes.values())
            and how.keys() >= {"orientation", "crop", "fit", "image_size", "spacing_mm"}
            and how["intensity"].keys() >= {"rule", "low", "high"}
            and all(set(step["classes"]) <= classes.keys() for step in steps)
        )
    except (KeyError, TypeError, AttributeError):
        unknown, complete = [], False
    if not complete:
        raise RunnerError("the metadata of the model are not complete: write it again by segcct export")
    if unknown:
        raise RunnerError(f"the model's masks are postprocessed by {unknown[0]}, which this runner does not know")


class OnnxSession:
    """ONNX Runtime on the processor: (B, C, H, W) float32 -> logits.

    Args:
        content: of the file. From memory, it cannot name other files as parts of it.
        threads: None: as OMP_NUM_THREADS says, else all cores.

    Raises `RunnerError`, here and when it is called.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _asked_threads()
        options.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
            raise RunnerError(f"not an ONNX model that can be run ({in_a_line(error)})") from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self.session.run([OUTPUT], {INPUT: images})[0])
        except Exception as error:  # as above
            raise RunnerError(f"the model cannot be run ({in_a_line(error)})") from error


def _asked_threads() -> int:
    """OMP_NUM_THREADS, the first of several; 0, which means all cores, where it is not a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def in_a_line(error: object) -> str:
    """The message of an exception, or a value, short."""
    return " ".join(str(error).split())[:200] or type(error).__name__


# From logits to a mask, and its postprocessing


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the second axis of (B, K, ...) float32; NaN where a value is not finite."""
    with np.errstate(invalid="ignore"):
        probabilities = logits - logits.max(axis=1, keepdims=True)
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def resampled_argmax(probabilities: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Class probabilities (N, K, h, w) -> most probable classes (N, *size) uint8: resampled softly, argmax last.

    Class by class, so that besides the result only a few planes are in memory, however many classes there are.
    """
    labels = np.zeros((len(probabilities), *size), dtype=np.uint8)
    for label, classes in zip(labels, probabilities, strict=True):
        best = np.full(size, -np.inf, dtype=np.float32)
        for index in range(len(classes)):
            plane = resample(classes[None, index : index + 1], size)[0, 0]
            label[plane > best] = index
            np.maximum(best, plane, out=best)
    return labels


def postprocess(
    index: np.ndarray, steps: Sequence[Mapping[str, Any]], classes: Sequence[str], voxel_ml: float | None
) -> np.ndarray:
    """Do some steps, in order, to class indices (X, Y, Z) uint8, in place.

    Args:
        index: class indices.
        steps: as model.json lists them: the name of one of `STEPS`, the classes, and `ml` of minimum_volume.
        classes: the names of the indices 1 and up.
        voxel_ml: volume of a voxel; None where it is not known.
    """
    if not steps:
        return index
    from scipy import ndimage

    flat = index.ndim == 3 and index.shape[2] == 1  # a 2-D image, in which a ring encloses what is in it
    boxes = ndimage.find_objects(index)  # no step leaves the bounding box of a class
    for step in steps:
        for name in step["classes"]:
            value = 1 + list(classes).index(name)
            if value <= len(boxes) and (box := boxes[value - 1]) is not None:
                part = index[box][..., 0] if flat else index[box]  # views
                STEPS[step["step"]](part, value, step.get("ml"), voxel_ml)
    return index


def _keep_largest(part: np.ndarray, value: int, ml: float | None, voxel_ml: float | None) -> None:  # noqa: ARG001
    components, sizes = _components(part == value)
    if len(sizes):
        part[(components > 0) & (components != 1 + int(sizes.argmax()))] = 0


def _remove_small(part: np.ndarray, value: int, ml: float | None, voxel_ml: float | None) -> None:
    if voxel_ml is None or ml is None:
        return
    components, sizes = _components(part == value)
    small = np.concatenate([[False], sizes * voxel_ml < ml])
    part[small[components]] = 0


def _fill_holes(part: np.ndarray, value: int, ml: float | None, voxel_ml: float | None) -> None:  # noqa: ARG001
    from scipy import ndimage

    part[ndimage.binary_fill_holes(part == value) & (part == 0)] = value


STEPS: dict[str, Callable[[np.ndarray, int, float | None, float | None], None]] = {
    "fill_holes": _fill_holes,
    "largest_component": _keep_largest,
    "minimum_volume": _remove_small,
}
"""Name of a step -> what it does to a class within its bounding box, in place.

fill_holes: background that the class encloses (in 3-D, or in a 2-D image) becomes the class. largest_component: all
other components are removed. minimum_volume: components of less than `ml` are removed.
"""


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of face-connected components from 1, 0 outside, and the voxels of each."""
    from scipy import ndimage

    components, count = ndimage.label(mask)
    sizes = np.zeros(1 + count, dtype=np.intp)
    for part in np.array_split(components.ravel(), 1 + components.size // _COUNTED_VOXELS):  # it counts 8-byte numbers
        sizes += np.bincount(part, minlength=len(sizes))
    return components, sizes[1:]


if __name__ == "__main__":
    sys.exit(main())
