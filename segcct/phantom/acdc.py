"""The acdc phantom: short-axis cine MR of a beating heart at end diastole and end systole, in the official folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.files.atomic_file import atomic_path
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.heart import Heart
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.texture import bias_field, inside, paint, rician
from segcct.phantom.thorax import SIGNALS, THORAX_EXTENT_MM, Thorax

SLICE_MM = 10.0
_SUBSLICES_MM = np.array([-3.0, 0.0, 3.0])
"""A thick slice is the mean of what is seen at these depths."""


@dataclass(frozen=True)
class Scan:
    """How one patient was scanned."""

    shape: tuple[int, int, int]
    pixel_mm: float
    frames: int
    systole: int
    shift_mm: np.ndarray
    """(2, Z): how far each slice is off, from one breath hold to the next."""
    affine: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scan:
        shape = (int(rng.choice([208, 216, 232])), 256, int(rng.integers(9, 12)))
        pixel = float(rng.choice([1.37, 1.44, 1.5, 1.5625]))
        frames = int(rng.integers(20, 31))
        shift = rng.normal(0.0, 1.0, (2, shape[2]))
        return cls(shape, pixel, frames, round(0.4 * frames), shift, _oblique(rng, shape, pixel))


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write one patient's folder, whole or not at all, and return the patient's id."""
    rng, noise_rng = streams("acdc", seed, index)
    patient = f"patient{index + 1:03d}"
    scan, heart = Scan.draw(rng), Heart.draw(rng)
    thorax = Thorax.draw(rng, heart.centre_mm)
    look = rng.spawn(1)[0]
    height, weight = rng.normal(170.0, 9.0), rng.normal(76.0, 13.0)
    affine = scan.affine @ np.diag([reduce, reduce, 1.0, 1.0])
    affine[:3, 3] += scan.affine[:3, :2] @ np.full(2, (reduce - 1) / 2)
    frames = draw(scan, heart, thorax, look, noise_rng, reduce)
    with atomic_path(folder / patient) as staging:
        for number, (image, label) in frames.items():
            save(image, affine, staging / f"{patient}_frame{number:02d}.nii.gz")
            save(label, affine, staging / f"{patient}_frame{number:02d}_gt.nii.gz")
        (staging / "Info.cfg").write_text(
            f"ED: 1\nES: {scan.systole}\nGroup: {heart.group}\nHeight: {height:.1f}\n"
            f"NbFrame: {scan.frames}\nWeight: {weight:.1f}\n"
        )
    return patient


def draw(
    scan: Scan, heart: Heart, thorax: Thorax, rng: np.random.Generator, noise_rng: np.random.Generator, reduce: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Frame number -> (image int16, label uint8), each (X, Y, Z): end diastole, then end systole."""
    frame = _frame(scan, reduce)  # z holds every sub-slice
    x, y, z = frame.open()
    shift = np.repeat(scan.shift_mm, len(_SUBSLICES_MM), axis=1).astype(np.float32)
    u, v, w = x + shift[0][None, None], y + shift[1][None, None], z
    blur_mm = max(1.6, 0.8 * scan.pixel_mm * reduce)
    around = thorax.image(frame, u, v, w, blur_mm)
    trabecles, fat = (SmoothField.draw(rng, THORAX_EXTENT_MM, step).on(frame) for step in ((5.0, 5.0, 9.0), 16.0))
    sensitivity = _sensitivity(rng, frame, u, v)
    noise_sd, scale = rng.uniform(0.012, 0.03), rng.uniform(220.0, 700.0)
    blood = {side: np.float32(SIGNALS["blood"] * rng.normal(1.0, 0.07)) for side in ("left", "right")}
    flow = 1 + np.float32(0.06) * fat
    result = {}
    for number, systole in ((1, False), (scan.systole, True)):
        borders = heart.borders(u, v, w, systole=systole)
        image = around.copy()
        outer = np.minimum(borders.epicardium, borders.right - 3.5)
        paint(image, inside(outer - 1.5 - 3.5 * fat, blur_mm), SIGNALS["fat"])
        paint(image, inside(borders.atria - 2.5, blur_mm), SIGNALS["myocardium"])
        paint(image, inside(borders.atria, blur_mm), 0.95 * blood["left"] * flow)
        paint(image, inside(outer, blur_mm), SIGNALS["myocardium"])
        strands = 1 - np.float32(0.6) * np.clip(trabecles - 1.1, 0, 1)
        paint(image, inside(borders.right, blur_mm), blood["right"] * flow * strands)
        paint(image, inside(borders.epicardium, blur_mm), SIGNALS["myocardium"])
        paint(image, inside(borders.cavity + np.clip(1.2 * trabecles, -1, 1.5), blur_mm), blood["left"] * flow)
        paint(image, inside(np.maximum(borders.papillary, borders.cavity), blur_mm), SIGNALS["myocardium"])
        image = _slices(image * sensitivity)
        image = rician(noise_rng, image, noise_sd) * np.float32(scale)
        result[number] = (np.round(image).astype(np.int16), borders.label()[:, :, len(_SUBSLICES_MM) // 2 :: 3])
    return result


def _frame(scan: Scan, reduce: int) -> Frame:
    count_x, count_y, slices = scan.shape
    plane = Frame.centred((count_x, count_y, 2), (scan.pixel_mm, scan.pixel_mm, 1.0), 1)
    axes = [_coarser(axis, reduce) for axis in plane.axes_mm[:2]]
    depth = (np.arange(slices)[:, None] * SLICE_MM + _SUBSLICES_MM).ravel()
    return Frame((*axes, depth.astype(np.float32)))


def _coarser(axis_mm: np.ndarray, reduce: int) -> np.ndarray:
    step = axis_mm[1] - axis_mm[0]
    return (axis_mm[::reduce] + step * (reduce - 1) / 2).astype(np.float32)


def _slices(image: np.ndarray) -> np.ndarray:
    """(X, Y, sub-slices) -> (X, Y, Z): what a thick slice sees."""
    x, y, _ = image.shape
    return image.reshape(x, y, -1, len(_SUBSLICES_MM)).mean(axis=3)


def _sensitivity(rng: np.random.Generator, frame: Frame, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Surface coils: bright towards the chest wall (up and left), dark at the back."""
    fall = np.exp(-rng.uniform(0.001, 0.0028) * (u * np.float32(0.5) + v))
    return (fall * bias_field(rng, frame, THORAX_EXTENT_MM, rng.uniform(0.08, 0.16))).astype(np.float32)


def _oblique(rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float) -> np.ndarray:
    """Voxel -> RAS mm of a short-axis stack: slices from base to apex, that is to the left, forward and down."""
    through = np.array([-0.62, 0.55, -0.56]) + rng.normal(0, 0.06, 3)
    through /= np.linalg.norm(through)
    right = np.array([-0.6, -0.78, 0.1]) + rng.normal(0, 0.06, 3)
    right -= right @ through * through
    right /= np.linalg.norm(right)
    down = np.cross(right, through)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([right, down, through]) * [pixel_mm, pixel_mm, SLICE_MM]
    heart = np.array([-35.0, 25.0, 0.0]) + rng.normal(0, 8, 3)
    affine[:3, 3] = heart - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


PHANTOM = Phantom(write_case)
