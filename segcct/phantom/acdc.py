"""The acdc phantom: short-axis cine MR of a beating heart at end diastole and end systole, in the official folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.files.atomic_file import atomic_path
from segcct.phantom.canvas import Canvas, bias_field, rician
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.heart import Heart
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.thorax import SIGNALS, THORAX_EXTENT_MM, Thorax

SLICE_MM = 10.0
_SUBSLICES_MM = np.array([-3.0, 0.0, 3.0])
"""A thick slice is the mean of what is seen at these depths."""


class Scan:
    """How one patient was scanned."""

    def __init__(self, rng: np.random.Generator, reduce: int) -> None:
        shape = (int(rng.choice([208, 216, 232])), 256, int(rng.integers(9, 12)))
        pixel_mm = float(rng.choice([1.37, 1.44, 1.5, 1.5625]))
        self.frames = int(rng.integers(20, 31))
        self.systole = round(0.4 * self.frames)
        # How far each slice is off, from one breath hold to the next.
        shift_mm = np.repeat(rng.normal(0.0, 1.0, (2, shape[2])), len(_SUBSLICES_MM), axis=1).astype(np.float32)
        affine = _oblique(rng, shape, pixel_mm)
        self.affine = affine @ np.diag([reduce, reduce, 1.0, 1.0])
        self.affine[:3, 3] += affine[:3, :2] @ np.full(2, (reduce - 1) / 2)
        depth_mm = (np.arange(shape[2])[:, None] * SLICE_MM + _SUBSLICES_MM).ravel()  # every sub-slice
        self.frame = Frame.stack(*shape[:2], pixel_mm, depth_mm, reduce)
        x, y, z = self.frame.open()
        self.at = (x + shift_mm[0][None, None], y + shift_mm[1][None, None], z)
        self.blur_mm = max(1.6, 0.8 * pixel_mm * reduce)


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write one patient's folder atomically and return the patient's id."""
    rng, noise_rng = streams("acdc", seed, index)
    patient = f"patient{index + 1:03d}"
    scan, heart = Scan(rng, reduce), Heart(rng)
    thorax = Thorax(rng, heart.center_mm)
    look = rng.spawn(1)[0]
    height, weight = rng.normal(170.0, 9.0), rng.normal(76.0, 13.0)
    frames = draw(scan, heart, thorax, look, noise_rng)
    with atomic_path(folder / patient) as staging:
        for number, (image, label) in frames.items():
            save(image, scan.affine, staging / f"{patient}_frame{number:02d}.nii.gz")
            save(label, scan.affine, staging / f"{patient}_frame{number:02d}_gt.nii.gz")
        (staging / "Info.cfg").write_text(
            f"ED: 1\nES: {scan.systole}\nGroup: {heart.group}\nHeight: {height:.1f}\n"
            f"NbFrame: {scan.frames}\nWeight: {weight:.1f}\n"
        )
    return patient


def draw(
    scan: Scan, heart: Heart, thorax: Thorax, rng: np.random.Generator, noise_rng: np.random.Generator
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Frame number -> (image int16, label uint8), each (X, Y, Z): end diastole, then end systole."""
    frame, at = scan.frame, scan.at
    around = thorax.image(frame, at, scan.blur_mm)
    trabeculae, fat = (SmoothField.draw(rng, THORAX_EXTENT_MM, step).on(frame) for step in ((5.0, 5.0, 9.0), 16.0))
    # Surface coils: bright towards the chest wall (up and left), dark at the back.
    fall = np.exp(-rng.uniform(0.001, 0.0028) * (at[0] * np.float32(0.5) + at[1]))
    sensitivity = (fall * bias_field(rng, frame, THORAX_EXTENT_MM, rng.uniform(0.08, 0.16))).astype(np.float32)
    noise_std, scale = rng.uniform(0.012, 0.03), rng.uniform(220.0, 700.0)
    blood_left, blood_right = (np.float32(SIGNALS["blood"] * rng.normal(1.0, 0.07)) for _ in range(2))
    flow = 1 + np.float32(0.06) * fat
    strands = 1 - np.float32(0.6) * np.clip(trabeculae - 1.1, 0, 1)
    result = {}
    for number, systole in ((1, False), (scan.systole, True)):
        borders = heart.borders(*at, systole=systole)
        canvas = Canvas(around.copy(), scan.blur_mm)
        outer = np.minimum(borders.epicardium, borders.right - 3.5)
        canvas.fill(outer - 1.5 - 3.5 * fat, SIGNALS["fat"])
        canvas.fill(borders.atria - 2.5, SIGNALS["myocardium"])
        canvas.fill(borders.atria, 0.95 * blood_left * flow)
        canvas.fill(outer, SIGNALS["myocardium"])
        canvas.fill(borders.right, blood_right * flow * strands)
        canvas.fill(borders.epicardium, SIGNALS["myocardium"])
        canvas.fill(borders.cavity + np.clip(1.2 * trabeculae, -1, 1.5), blood_left * flow)
        canvas.fill(np.maximum(borders.papillary, borders.cavity), SIGNALS["myocardium"])
        seen = canvas.image * sensitivity
        image = seen.reshape(*seen.shape[:2], -1, len(_SUBSLICES_MM)).mean(axis=3)  # (X, Y, Z)
        image = rician(noise_rng, image, noise_std) * np.float32(scale)
        result[number] = (np.round(image).astype(np.int16), borders.label()[:, :, len(_SUBSLICES_MM) // 2 :: 3])
    return result


def _oblique(rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float) -> np.ndarray:
    """Voxel -> RAS mm of a short-axis stack: slices from base to apex, that is to the left, forward and down."""
    through = np.array([-0.62, 0.55, -0.56]) + rng.normal(0, 0.06, 3)
    through /= np.linalg.norm(through)
    right = np.array([-0.6, -0.78, 0.1]) + rng.normal(0, 0.06, 3)
    right -= right @ through * through
    right /= np.linalg.norm(right)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([right, np.cross(right, through), through]) * [pixel_mm, pixel_mm, SLICE_MM]
    heart = np.array([-35.0, 25.0, 0.0]) + rng.normal(0, 8, 3)
    affine[:3, 3] = heart - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


PHANTOM = Phantom(write_case)
