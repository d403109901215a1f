"""The synapse phantom: contrast-enhanced abdominal CT with the thirteen BTCV labels, in img/ and label/ folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.datasets.label_schemes import get_scheme
from segcct.files.atomic_file import atomic_path
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.organs import Organ, draw_organs
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.shapes import Point
from segcct.phantom.texture import correlated_noise, inside, paint
from segcct.phantom.torso import FAT, TORSO_EXTENT_MM, Torso

SIZE, SLICE_MM = 512, 3.0
_SLAB = 8
"""Slices drawn at a time, which bounds the memory."""
_MARGIN_MM = 16.0
"""How far bending and roughness may carry an organ beyond its solids."""


@dataclass(frozen=True)
class Patient:
    """Everything random about one CT but its noise."""

    torso: Torso
    organs: tuple[Organ, ...]
    bends: tuple[SmoothField, ...]
    rough: tuple[SmoothField, ...]
    pixel_mm: float
    slices: int
    bottom_mm: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Patient:
        extent = TORSO_EXTENT_MM
        slices = int(rng.integers(88, 113))
        return cls(
            torso=Torso.draw(rng),
            organs=draw_organs(rng),
            bends=tuple(SmoothField.draw(rng, extent, 55.0) for _ in range(3)),
            rough=(SmoothField.draw(rng, extent, 20.0), SmoothField.draw(rng, extent, 8.0)),
            pixel_mm=float(rng.uniform(0.76, 0.86)),
            slices=slices,
            bottom_mm=float(rng.normal(-145.0, 8.0)),
            noise=float(rng.uniform(11.0, 19.0)),
        )

    def frame(self, reduce: int) -> Frame:
        """The grid: x to the left, y to the back, z to the head."""
        plane = Frame.centred((SIZE, SIZE, 2), (self.pixel_mm, self.pixel_mm, 1.0), 1)
        step = self.pixel_mm * (reduce - 1) / 2
        x, y = ((axis[::reduce] + step).astype(np.float32) for axis in plane.axes_mm[:2])
        z = (self.bottom_mm + SLICE_MM * np.arange(self.slices)).astype(np.float32)
        return Frame((x, y, z))


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write an image and its label, each whole or not at all, the label first, and return the case's id."""
    rng, noise_rng = streams("synapse", seed, index)
    number = f"{index + 1:04d}"
    patient = Patient.draw(rng)
    image, label = draw(patient, noise_rng, reduce)
    affine = _affine(patient, reduce)
    with (
        atomic_path(folder / "img" / f"img{number}.nii.gz") as image_path,
        atomic_path(folder / "label" / f"label{number}.nii.gz") as label_path,
    ):
        save(image[:, ::-1], affine, image_path)
        save(label[:, ::-1], affine, label_path)
    return f"case{number}"


def draw(patient: Patient, noise_rng: np.random.Generator, reduce: int) -> tuple[np.ndarray, np.ndarray]:
    """(image int16 in Hounsfield units, label uint8 in BTCV values), each (X, Y, Z) on the patient's frame."""
    whole = patient.frame(reduce)
    image, label = np.empty(whole.shape, np.int16), np.zeros(whole.shape, np.uint8)
    blur_mm = max(1.5, 0.8 * reduce * patient.pixel_mm)
    for cut in _slabs(patient.slices):
        frame = whole.part((slice(None), slice(None), cut))
        density, label[:, :, cut] = _slab(patient, frame, blur_mm)
        density += np.float32(patient.noise) * correlated_noise(noise_rng, frame.shape)
        image[:, :, cut] = np.round(np.clip(density, -1024, 3000))
    return image, label


def _slabs(slices: int) -> Iterator[slice]:
    """Cuts of 2 to `_SLAB` + 1 slices: a frame needs two slices to know their distance."""
    starts = list(range(0, slices - 1, _SLAB))
    return (slice(a, b) for a, b in zip(starts, [*starts[1:], slices], strict=True))


def _slab(patient: Patient, frame: Frame, blur_mm: float) -> tuple[np.ndarray, np.ndarray]:
    at = tuple(axis + np.float32(5.0) * bend.on(frame) for axis, bend in zip(frame.open(), patient.bends, strict=True))
    rough = np.float32(0.8) * patient.rough[0].on(frame) + np.float32(0.35) * patient.rough[1].on(frame)
    image = patient.torso.image(frame, at, blur_mm)
    label = np.zeros(frame.shape, np.uint8)
    values = get_scheme("btcv").classes
    for organ in patient.organs:
        low, high = organ.box_mm
        if high[2] + _MARGIN_MM < frame.axes_mm[2][0] or low[2] - _MARGIN_MM > frame.axes_mm[2][-1]:
            continue
        box = frame.box(low - _MARGIN_MM, high + _MARGIN_MM)
        near = tuple(one[box] for one in at)
        distance = organ.distance(near) + np.float32(organ.rough_mm) * rough[box]
        if organ.name in ("liver", "spleen", "stomach"):
            distance = np.maximum(distance, patient.torso.below_diaphragm(near) + 3)
        if organ.fat_mm:
            paint(image[box], inside(distance - organ.fat_mm, blur_mm), FAT)
            label[box][distance < organ.fat_mm] = 0
        paint(image[box], inside(distance, blur_mm), organ.hounsfield)
        if organ.name == "liver":
            branches = patient.torso.branches(frame.part(box)) * inside(distance + 6, blur_mm)
            paint(image[box], branches, organ.hounsfield + 38)
        _inner_structure(organ, image[box], distance, near, rough[box], blur_mm)
        label[box][distance < 0] = values[organ.name]
    return image, label


def _inner_structure(
    organ: Organ,
    image: np.ndarray,
    distance: np.ndarray,
    at: Point,
    rough: np.ndarray,
    blur_mm: float,
) -> None:
    """What makes an organ more than one density, painted in place."""
    if organ.name == "stomach":
        _, y, _ = at
        paint(image, inside(np.abs(distance + 2) - 2.2, blur_mm), 78.0)
        paint(image, inside(np.maximum(distance + 5, y + 26 + 4 * rough), blur_mm), -900.0)
    elif organ.name.endswith("kidney"):
        paint(image, inside(distance + 8 + 3 * rough, 4.0), organ.hounsfield - 45)
    elif organ.name == "pancreas":
        paint(image, np.clip(rough - 0.5, 0, 1) * inside(distance, blur_mm), -20.0)
    elif organ.name in ("aorta", "esophagus"):
        paint(image, inside(np.abs(distance) - 0.8, blur_mm), 60.0)


def _affine(patient: Patient, reduce: int) -> np.ndarray:
    """Voxel -> RAS mm of the stored array, whose axes run to the left, to the front and to the head."""
    step = patient.pixel_mm * reduce
    frame = patient.frame(reduce)
    affine = np.diag([-step, step, SLICE_MM, 1.0])
    affine[:3, 3] = (-frame.axes_mm[0][0], -frame.axes_mm[1][-1], frame.axes_mm[2][0])
    return affine


PHANTOM = Phantom(
    write_case,
    ("--data.split.kind", "fractions", "--data.split.train_list", "null", "--data.split.test_list", "null"),
)
"""The lists in the config name real patients."""
