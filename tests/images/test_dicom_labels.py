"""Segmentations and structure sets onto the grid of their images, against other writers and analytic shapes."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import grid_points_in_poly

from segcct.errors import GeometryError, VolumeError
from segcct.images.dicom.contours import draw_contours, filled
from segcct.images.dicom.label_objects import read_label_object
from segcct.images.dicom.segments import draw_segments
from segcct.images.volume import Volume
from tests.support.dicom_files import image, save

pytest.importorskip("highdicom")
from tests.support.dicom_labels import ct_series, rectangle, segmentation, structure_set

TURNS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0, -0.36, 0.48, 0.8),
}
DEPTH, ROWS, COLUMNS = 5, 16, 20


def numbers() -> np.ndarray:
    """(slices, rows, columns) of two segments without symmetry."""
    pixels = np.zeros((DEPTH, ROWS, COLUMNS), np.uint8)
    pixels[1:4, 2:7, 3:15] = 1
    pixels[3, 10:13, 1:4] = 2
    return pixels


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return ct_series(tmp_path / "ct", np.zeros((DEPTH, ROWS, COLUMNS), np.int16))


def stored(drawn: np.ndarray, folder: Path) -> np.ndarray:
    """(slices, rows, columns) in the order of the series' instance numbers."""
    first, second = (pydicom.dcmread(folder / f"1-00{k}.dcm").ImagePositionPatient for k in (1, 2))
    grid = Volume.load(folder)
    at = np.linalg.inv(grid.affine) @ (np.array([*first, 1.0]) * [-1, -1, 1, 1])
    slices = drawn.transpose(2, 1, 0)
    assert second != first
    return slices if at[2] < 0.5 else slices[::-1]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_segments_of_highdicom_lie_where_they_were_drawn(tmp_path: Path, turn: str, kind: str) -> None:
    scan = ct_series(tmp_path / "ct", np.zeros((DEPTH, ROWS, COLUMNS), np.int16), turn=TURNS[turn])
    pixels = numbers()
    file = segmentation(tmp_path / "a.dcm", scan, pixels, ["a", "b"], kind=kind)
    drawn = draw_segments(file, Volume.load(scan), {"a": 7, "b": 300})
    assert np.array_equal(stored(drawn, scan), np.array([0, 7, 300])[pixels])
    alone = draw_segments(file, Volume.load(scan), {"b": 1})
    assert np.array_equal(stored(alone, scan), pixels == 2)


def test_segments_of_dcmqi_lie_where_they_were_drawn(tmp_path: Path, scan: Path) -> None:
    pytest.importorskip("dcmqi")
    grid = Volume.load(scan)
    mask = numbers().transpose(2, 1, 0)
    grid.with_array(mask).save(tmp_path / "mask.nii.gz")
    code = '{"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}'
    segments = ", ".join(
        f'[{{"labelID": {n}, "SegmentLabel": "{name}", "SegmentAlgorithmType": "MANUAL", '
        f'"SegmentedPropertyCategoryCodeSequence": {code}, "SegmentedPropertyTypeCodeSequence": {code}}}]'
        for n, name in ((1, "a"), (2, "b"))
    )
    parts = []
    for n in (1, 2):
        grid.with_array((mask == n).astype(np.uint8)).save(parts_file := tmp_path / f"{n}.nii.gz")
        parts.append(str(parts_file))
    segments = segments.replace('"labelID": 2', '"labelID": 1')
    (tmp_path / "meta.json").write_text(f'{{"segmentAttributes": [{segments}]}}')
    program = [sys.executable, "-c", "import dcmqi; dcmqi.itkimage2segimage()"]
    arguments = ["--inputImageList", ",".join(parts), "--inputDICOMDirectory", scan, "--inputMetadata"]
    arguments += [tmp_path / "meta.json", "--outputDICOM", tmp_path / "a.dcm", "--skip"]
    subprocess.run([*program, *arguments], check=True, capture_output=True)
    drawn = draw_segments(tmp_path / "a.dcm", grid, {"a": 1, "b": 2})
    assert np.array_equal(drawn, mask)


def test_overlapping_segments_go_to_the_later_class(tmp_path: Path, scan: Path) -> None:
    pixels = np.zeros((DEPTH, ROWS, COLUMNS, 2), np.uint8)
    pixels[1, 2:8, 2:8, 0] = 1
    pixels[1, 4:10, 4:10, 1] = 1
    file = segmentation(tmp_path / "a.dcm", scan, pixels, ["a", "b"])
    drawn = stored(draw_segments(file, Volume.load(scan), {"a": 1, "b": 2}), scan)
    assert drawn[1, 5, 5] == 2
    drawn = stored(draw_segments(file, Volume.load(scan), {"b": 2, "a": 1}), scan)
    assert drawn[1, 5, 5] == 1


def test_probabilities_count_from_one_half(tmp_path: Path, scan: Path) -> None:
    pixels = np.zeros((DEPTH, ROWS, COLUMNS, 1))
    pixels[2, 3, :3, 0] = 0.4, 0.6, 1
    file = segmentation(tmp_path / "a.dcm", scan, pixels, ["a"], kind="FRACTIONAL", max_fractional_value=100)
    assert stored(draw_segments(file, Volume.load(scan), {"a": 1}), scan)[2, 3, :3].tolist() == [0, 1, 1]


def test_segments_of_other_images_are_refused(tmp_path: Path, scan: Path) -> None:
    file = segmentation(tmp_path / "a.dcm", scan, numbers(), ["a", "b"])
    grid = Volume.load(scan)
    shifted = Volume(grid.array, grid.affine @ np.diag([1, 1, 1.3, 1]), grid.spacing_mm)
    with pytest.raises(GeometryError, match=r"a\.dcm: segments do not lie on the grid .*voxels off"):
        draw_segments(file, shifted, {"a": 1})
    cut = Volume(grid.array[..., :3], grid.affine, grid.spacing_mm)
    with pytest.raises(GeometryError, match=r"outside; expected the slices of"):
        draw_segments(file, cut, {"a": 1})


def test_a_frame_without_its_place_is_said(tmp_path: Path, scan: Path) -> None:
    file = segmentation(tmp_path / "a.dcm", scan, numbers(), ["a", "b"])
    dataset = pydicom.dcmread(file)
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    dataset.save_as(file)
    with pytest.raises(VolumeError, match=r"a\.dcm: cannot be read \(found a frame without PlanePositionSequence"):
        draw_segments(file, Volume.load(scan), {"a": 1, "b": 2})


def test_contours_on_every_orientation(tmp_path: Path) -> None:
    for turn in TURNS.values():
        scan = ct_series(tmp_path / str(turn), np.zeros((DEPTH, ROWS, COLUMNS), np.int16), turn=turn)
        regions = {
            "a": [rectangle((2.5, 1.5), (9.5, 6.5), k) for k in (1, 2)],
            "b": [rectangle((0.6, 9.7), (4.2, 12.4), 3)],
        }
        file = structure_set(tmp_path / "rt.dcm", scan, regions)
        drawn = stored(draw_contours(file, Volume.load(scan), {"a": 1, "b": 2}), scan)
        wanted = np.zeros((DEPTH, ROWS, COLUMNS), int)
        wanted[1:3, 2:7, 3:10] = 1
        wanted[3, 10:13, 1:5] = 2
        assert np.array_equal(drawn, wanted)


def ring(radius: float, center: tuple[float, float], count: int = 400) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], axis=1)


@given(st.floats(2, 9), st.floats(10, 22), st.floats(8, 12), st.floats(8, 12))
def test_a_ring_is_the_difference_of_two_circles(inner: float, outer: float, x: float, y: float) -> None:
    at = np.stack(np.meshgrid(np.arange(40), np.arange(36), indexing="ij"), axis=-1)
    distance = np.linalg.norm(at - np.array([x + 8, y + 8]), axis=-1)
    found = filled([ring(outer, (x + 8, y + 8)), ring(inner, (x + 8, y + 8))], (40, 36))
    clear = (np.abs(distance - outer) > 0.02) & (np.abs(distance - inner) > 0.02)
    assert np.array_equal(found[clear], ((distance < outer) & (distance > inner))[clear])


def covers(polygon: np.ndarray, x: int, y: int) -> bool:
    """Whether a point is inside by the even-odd rule or on an edge, in exact fractions."""
    inside = False
    corners = [tuple(map(Fraction, corner)) for corner in polygon.tolist()]
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        on_line = (x1 - x0) * (y - y0) == (y1 - y0) * (x - x0)
        if on_line and min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1):
            return True
        if (y0 <= y) != (y1 <= y):
            inside ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
    return inside


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(3, 20), st.sampled_from([1, 2, 64]))
def test_polygons_are_filled_exactly(seed: int, count: int, steps: int) -> None:
    """Corners on centers, on halves and anywhere; polygons that cross themselves and reach outside."""
    polygon = np.rint(np.random.default_rng(seed).uniform(-5, 20, (count, 2)) * steps) / steps
    found = filled([polygon], (15, 13))
    assert found.tolist() == [[covers(polygon, x, y) for y in range(13)] for x in range(15)]
    skimage = grid_points_in_poly((15, 13), polygon, binarize=False) > 0
    assert found[skimage].all()  # which misses some centers on edges, by rounding


def test_a_contour_of_very_many_corners_takes_seconds() -> None:
    corners = np.random.default_rng(0).uniform(0, 512, (200_000, 2))
    started = time.monotonic()
    filled([corners], (512, 512))
    assert time.monotonic() - started < 60


def test_a_keyhole_is_a_hole() -> None:
    outer, inner = ring(9, (12, 12), 40), ring(4, (12, 12), 40)[::-1]
    keyhole = np.concatenate([outer, outer[:1], inner[-1:], inner, outer[:1]])
    assert np.array_equal(filled([keyhole], (25, 25))[:, :12], filled([outer, inner], (25, 25))[:, :12])
    assert not filled([keyhole], (25, 25))[12, 12]


def test_contours_within_a_hole_are_filled_again() -> None:
    boxes = [rectangle((n, n), (20 - n, 20 - n), 0)[:, :2] for n in (0.5, 4.5, 8.5)]
    found = filled(boxes, (21, 21))
    assert found[10].tolist() == [
        *([False] * 1),
        *([True] * 4),
        *([False] * 4),
        *([True] * 3),
        *([False] * 4),
        *([True] * 4),
        False,
    ]


def test_what_is_drawn_through_the_outermost_voxels_comes_back() -> None:
    corners = np.array([[2, 3], [9, 3], [9, 12], [2, 12]], float)
    hole = np.array([[4, 5], [7, 5], [7, 10], [4, 10]], float)
    wanted = np.zeros((14, 16), bool)
    wanted[2:10, 3:13] = True
    assert np.array_equal(filled([corners], (14, 16)), wanted)
    wanted[5:7, 6:10] = False  # a hole's contour runs through voxels of what surrounds it
    assert np.array_equal(filled([corners, hole], (14, 16)), wanted)
    slanted = np.array([[3, 3], [11, 7], [3, 11]], float)
    assert filled([slanted], (14, 16))[[5, 7, 9], [4, 5, 6]].all()  # centers on the edge


def test_what_lies_outside_the_slice_is_cut_off() -> None:
    found = filled([np.array([[-5, -5], [50, -5], [50, 2.5], [-5, 2.5]])], (6, 8))
    assert found[:, :3].all()
    assert not found[:, 3:].any()
    assert not filled([np.array([[-9, -9], [-5, -9], [-5, -5.0]])], (6, 8)).any()


def test_contours_off_the_slices_are_refused(tmp_path: Path, scan: Path) -> None:
    grid = Volume.load(scan)
    file = structure_set(tmp_path / "a.dcm", scan, {"a": [rectangle((2, 2), (5, 5), 1.5)]})
    with pytest.raises(
        GeometryError, match=r"a\.dcm: contours do not lie on the slices .*a contour of a at slice 2\.50"
    ):
        draw_contours(file, grid, {"a": 1})
    file = structure_set(tmp_path / "b.dcm", scan, {"a": [rectangle((2, 2), (5, 5), 7)]})
    with pytest.raises(GeometryError, match=r"at slice 8\.00; expected slices 1 to 5"):
        draw_contours(file, grid, {"a": 1})
    file = structure_set(tmp_path / "c.dcm", scan, {"a": [rectangle((2, 2), (5, 5), 1.1)]})
    assert draw_contours(file, grid, {"a": 1}).any()


def test_regions_of_one_name_are_one_structure(tmp_path: Path, scan: Path) -> None:
    """A region and its copy, or two that overlap, do not count as each other's holes."""
    square = rectangle((2, 2), (9, 9), 1)
    file = structure_set(
        tmp_path / "a.dcm", scan, {"a": [square], "b": [square], "c": [rectangle((5, 5), (12, 12), 1)]}
    )
    dataset = pydicom.dcmread(file)
    for region in dataset.StructureSetROISequence:
        region.ROIName = "a"
    dataset.save_as(file)
    wanted = np.zeros((DEPTH, ROWS, COLUMNS), int)
    wanted[1, 2:10, 2:10] = wanted[1, 5:13, 5:13] = 1
    assert np.array_equal(stored(draw_contours(file, Volume.load(scan), {"a": 1}), scan), wanted)


def test_points_enclose_nothing(tmp_path: Path, scan: Path) -> None:
    file = structure_set(tmp_path / "a.dcm", scan, {"a": [np.array([[3.0, 3, 1]])]}, geometric_type="POINT")
    assert not draw_contours(file, Volume.load(scan), {"a": 1}).any()


def test_what_they_say_of_themselves(tmp_path: Path, scan: Path) -> None:
    seg = read_label_object(segmentation(tmp_path / "a.dcm", scan, numbers(), ["a", "b"]))
    contours = read_label_object(structure_set(tmp_path / "b.dcm", scan, {"Lung L": []}))
    assert (seg.kind, seg.names, seg.series) == ("SEG", ("a", "b"), frozenset({"1.2.3.5"}))
    assert (contours.kind, contours.names, contours.series) == ("RTSTRUCT", ("Lung L",), frozenset({"1.2.3.5"}))
    assert contours.description == "Contours"
    with pytest.raises(VolumeError, match=r"1-001\.dcm: is not a DICOM label"):
        read_label_object(scan / "1-001.dcm")


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_damage_is_an_error_and_nothing_else(tmp_path: Path, scan: Path, kind: str) -> None:
    if kind == "SEG":
        file = segmentation(tmp_path / "a.dcm", scan, numbers(), ["a", "b"])
    else:
        file = structure_set(tmp_path / "a.dcm", scan, {"a": [rectangle((2, 2), (5, 5), 1)]})
    draw = draw_segments if kind == "SEG" else draw_contours
    grid, whole = Volume.load(scan), file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(120):
        content = bytearray(whole)
        if rng.random() < 0.3:
            del content[rng.integers(132, len(content)) :]
        for place in rng.integers(132, len(content), 3) if len(content) > 140 else ():
            content[place] = rng.integers(256)
        file.write_bytes(content)
        with suppress(VolumeError, GeometryError):
            read_label_object(file)
            draw(file, grid, {"a": 1})


def test_a_claim_of_many_frames_costs_no_memory(tmp_path: Path, scan: Path) -> None:
    file = segmentation(tmp_path / "a.dcm", scan, numbers(), ["a", "b"])
    dataset = pydicom.dcmread(file)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(file)
    with pytest.raises(VolumeError, match=r"a\.dcm"):
        draw_segments(file, Volume.load(scan), {"a": 1})
    save(image(np.zeros((4, 4), np.int16), sop_class="1.2.840.10008.5.1.4.1.1.66.4"), file)
    with pytest.raises(VolumeError, match=r"a\.dcm: cannot be read"):
        draw_segments(file, Volume.load(scan), {"a": 1})
