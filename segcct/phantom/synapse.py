"""The synapse phantom: contrast-enhanced abdominal CT with the thirteen BTCV labels, in img/ and label/ folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.datasets.label_schemes import get_scheme
from segcct.files.atomic_file import atomic_path
from segcct.phantom.canvas import Canvas, correlated_noise, inside
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.organs import Organ, draw_organs
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.shapes import Point
from segcct.phantom.torso import FAT, TORSO_EXTENT_MM, Torso

SIZE, SLICE_MM = 512, 3.0
_SLAB = 8
"""Slices drawn at a time, which bounds the memory."""
_MARGIN_MM = 16.0
"""How far bending and roughness may carry an organ beyond its solids."""


class Patient:
    """Everything random about one CT but its noise, and the grid: x to the left, y to the back, z to the head."""

    def __init__(self, rng: np.random.Generator, reduce: int) -> None:
        slices = int(rng.integers(88, 113))
        self.torso = Torso(rng)
        self.organs = draw_organs(rng)
        self.bends = [SmoothField.draw(rng, TORSO_EXTENT_MM, 55.0) for _ in range(3)]
        self.rough = [SmoothField.draw(rng, TORSO_EXTENT_MM, step) for step in (20.0, 8.0)]
        pixel_mm = rng.uniform(0.76, 0.86)
        bottom_mm = rng.normal(-145.0, 8.0)
        self.noise = rng.uniform(11.0, 19.0)
        self.frame = Frame.stack(SIZE, SIZE, pixel_mm, bottom_mm + SLICE_MM * np.arange(slices), reduce)
        self.blur_mm = max(1.5, 0.8 * reduce * pixel_mm)
        # Voxel -> RAS mm of the stored array, whose axes run to the left, to the front and to the head.
        self.affine = np.diag([-pixel_mm * reduce, pixel_mm * reduce, SLICE_MM, 1.0])
        x, y, z = self.frame.axes_mm
        self.affine[:3, 3] = (-x[0], -y[-1], z[0])


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write an image and its label, each atomically, the label first, and return the case's id."""
    rng, noise_rng = streams("synapse", seed, index)
    number = f"{index + 1:04d}"
    patient = Patient(rng, reduce)
    image, label = draw(patient, noise_rng)
    with (
        atomic_path(folder / "img" / f"img{number}.nii.gz") as image_path,
        atomic_path(folder / "label" / f"label{number}.nii.gz") as label_path,
    ):
        save(image[:, ::-1], patient.affine, image_path)
        save(label[:, ::-1], patient.affine, label_path)
    return f"case{number}"


def draw(patient: Patient, noise_rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(image int16 in Hounsfield units, label uint8 in BTCV values), each (X, Y, Z) on the patient's frame."""
    whole = patient.frame
    slices = whole.shape[2]
    image, label = np.empty(whole.shape, np.int16), np.zeros(whole.shape, np.uint8)
    starts = range(0, slices - 1, _SLAB)  # 2 to 9 slices at a time: a frame needs two to know their distance
    for start, stop in zip(starts, [*starts[1:], slices], strict=True):
        cut = slice(start, stop)
        frame = whole.part((slice(None), slice(None), cut))
        density, label[:, :, cut] = _slab(patient, frame)
        density += np.float32(patient.noise) * correlated_noise(noise_rng, frame.shape)
        image[:, :, cut] = np.round(np.clip(density, -1024, 3000))
    return image, label


def _slab(patient: Patient, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    at = tuple(axis + np.float32(5.0) * bend.on(frame) for axis, bend in zip(frame.open(), patient.bends, strict=True))
    rough = np.float32(0.8) * patient.rough[0].on(frame) + np.float32(0.35) * patient.rough[1].on(frame)
    whole = patient.torso.draw(frame, at, patient.blur_mm)
    label = np.zeros(frame.shape, np.uint8)
    values = get_scheme("btcv").classes
    for organ in patient.organs:
        low, high = organ.box_mm
        if high[2] + _MARGIN_MM < frame.axes_mm[2][0] or low[2] - _MARGIN_MM > frame.axes_mm[2][-1]:
            continue
        box = frame.box(low - _MARGIN_MM, high + _MARGIN_MM)
        canvas, near = whole.part(box), tuple(one[box] for one in at)
        distance = organ.distance(near) + np.float32(organ.rough_mm) * rough[box]
        if organ.name in ("liver", "spleen", "stomach"):
            distance = np.maximum(distance, patient.torso.below_diaphragm(near) + 3)
        if organ.fat_mm:
            canvas.fill(distance - organ.fat_mm, FAT)
            label[box][distance < organ.fat_mm] = 0
        canvas.fill(distance, organ.hounsfield)
        if organ.name == "liver":
            branches = patient.torso.branches(frame.part(box))
            canvas.blend(branches * inside(distance + 6, canvas.blur_mm), organ.hounsfield + 38)
        _inner_structure(canvas, organ, distance, near, rough[box])
        label[box][distance < 0] = values[organ.name]
    return whole.image, label


def _inner_structure(canvas: Canvas, organ: Organ, distance: np.ndarray, at: Point, rough: np.ndarray) -> None:
    """What makes an organ more than one density."""
    if organ.name == "stomach":
        _, y, _ = at
        canvas.fill(np.abs(distance + 2) - 2.2, 78.0)
        canvas.fill(np.maximum(distance + 5, y + 26 + 4 * rough), -900.0)
    elif organ.name.endswith("kidney"):
        canvas.fill(distance + 8 + 3 * rough, organ.hounsfield - 45, 4.0)
    elif organ.name == "pancreas":
        canvas.blend(np.clip(rough - 0.5, 0, 1) * inside(distance, canvas.blur_mm), -20.0)
    elif organ.name in ("aorta", "esophagus"):
        canvas.fill(np.abs(distance) - 0.8, 60.0)


PHANTOM = Phantom(
    write_case,
    ("--data.split.kind", "fractions", "--data.split.train_list", "null", "--data.split.test_list", "null"),
)
"""The lists in the config name real patients."""
