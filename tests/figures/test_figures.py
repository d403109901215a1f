"""Pictures of slices: colors, windows, planes and orientation letters, chosen slices, outlines, panels."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segcct import figures
from segcct.figures.colors import rgb
from segcct.figures.drawing import INK, draw_scale, picture_size
from segcct.figures.outline import outlines

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
_COLOUR_BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(colors: tuple[str, ...], sight: str | None) -> np.ndarray:
    from skimage.color import rgb2lab

    values = np.array([rgb(color) for color in colors]) / 255
    if sight is not None:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        linear = np.clip(linear @ np.array(_COLOUR_BLIND[sight]).T, 0, 1)
        values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(values[None])[0]


@pytest.mark.parametrize(("sight", "least"), [(None, 35), ("protan", 19), ("deutan", 19), ("tritan", 19)])
def test_eight_class_colors_stay_apart_in_every_sight(sight, least):
    lab = _lab(figures.class_colors(8), sight)
    apart = min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))
    assert apart >= least


def test_class_colors_are_not_gray_and_not_dark():
    lab = _lab(figures.class_colors(16), None)
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 40
    assert lab[:, 0].min() > 45


def test_a_class_keeps_its_color_whatever_the_number_of_classes():
    many = figures.class_colors(60)
    assert len(set(many)) == 60
    for count in (0, 1, 3, 8, 20):
        assert figures.class_colors(count) == many[:count]


def test_window_lies_between_the_percentiles():
    image = np.arange(201, dtype=np.float32).reshape(1, 201)
    shown = figures.window(image)
    assert (shown.low, shown.high) == (1, 199)
    assert shown.apply(np.array([0, 1, 67, 199, 200])).tolist() == [0, 0, 85, 255, 255]
    assert shown.text == "window 1 to 199 (percentiles 0.5 and 99.5)"


@pytest.mark.parametrize("background", [0.0, -3.5, 40.0])
def test_window_leaves_out_a_constant_background_of_any_value(background):
    tissue = np.linspace(100, 200, 1001, dtype=np.float32)
    image = np.concatenate([tissue, np.full(9000, background, np.float32)])
    shown = figures.window(image)
    assert (shown.low, shown.high) == pytest.approx((100.5, 199.5))


def test_window_of_a_constant_and_of_a_two_valued_image():
    flat = figures.window(np.full((4, 4), 7.0))
    assert flat.high > flat.low
    assert flat.apply(np.full((2, 2), 7.0)).max() == 0
    two = figures.window(np.array([0.0] * 60 + [1.0] * 40))
    assert (two.low, two.high) == (0, 1)


def test_window_refuses_what_cannot_be_shown():
    with pytest.raises(ValueError, match="finite"):
        figures.window(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="at least one"):
        figures.window(np.zeros(0))
    with pytest.raises(ValueError, match="above 0"):
        figures.fixed_window(40, 0)


def test_fixed_window_is_stated():
    shown = figures.fixed_window(40, 400)
    assert (shown.low, shown.high) == (-160, 240)
    assert shown.text == "window \N{MINUS SIGN}160 to 240 (level 40, width 400)"


def test_plane_of_an_lps_brain_is_radiological():
    plane = figures.plane_of((240, 240, 155), np.diag([-1.0, -1.0, 1.0, 1.0]), (1, 1, 1))
    assert plane.letters == figures.Letters(left="R", right="L", top="A", bottom="P")
    assert plane.name == "axial"
    volume = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(plane.slices(volume)[1], volume[:, :, 1].T)


@settings(max_examples=40)
@given(order=st.permutations([0, 1, 2]), signs=st.tuples(*[st.sampled_from([-1, 1])] * 3), seed=st.integers(0, 99))
def test_the_picture_does_not_depend_on_how_the_volume_is_stored(order, signs, seed):
    ras = np.random.default_rng(seed).integers(0, 99, (4, 5, 6))
    stored = np.transpose(ras, order)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
    for spacing_ras, expected, letters, pixel_mm in (
        ((1.0, 1.1, 5.0), ras.transpose(2, 1, 0)[:, ::-1, ::-1], ("R", "L", "A", "P"), (1.1, 1.0)),
        ((1.0, 5.0, 1.2), ras.transpose(1, 2, 0)[:, ::-1, ::-1], ("R", "L", "S", "I"), (1.2, 1.0)),
        ((5.0, 1.1, 1.2), ras.transpose(0, 2, 1)[:, ::-1, ::-1], ("A", "P", "S", "I"), (1.2, 1.1)),
    ):
        spacing = np.array(spacing_ras)[list(order)]
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            affine[world, axis] = sign * spacing[axis]
        plane = figures.plane_of(stored.shape, affine, tuple(spacing))
        np.testing.assert_array_equal(plane.slices(stored), expected)
        assert tuple(plane.letters) == letters
        assert plane.pixel_mm == pytest.approx(pixel_mm)


def test_plane_lies_across_the_thickest_voxels():
    affine = np.diag([1.5, 10.0, 1.5, 1.0])
    assert figures.plane_of((200, 10, 200), affine, (1.5, 10, 1.5)).name == "coronal"
    assert figures.plane_of((200, 200, 200), np.diag([1.0, 1.2, 1, 1]), (1, 1.2, 1)).name == "axial"
    assert figures.plane_of((1, 50, 50), np.eye(4), (1, 1, 1)).name == "sagittal"


def test_oblique_edges_get_two_letters():
    turn = np.deg2rad(30)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(turn), -np.sin(turn)], [np.sin(turn), -np.cos(turn)]]
    plane = figures.plane_of((9, 9, 9), affine, (1, 1, 1))
    assert plane.letters == figures.Letters(left="RP", right="LA", top="AR", bottom="PL")
    assert plane.name == "axial"  # turned within its plane
    tilt = np.deg2rad(30)
    affine = np.diag([-1.0, 1, 1, 1])
    affine[1:3, 1:3] = [[-np.cos(tilt), np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    plane = figures.plane_of((9, 9, 9), affine, (1, 1, 1))
    assert plane.letters == figures.Letters(left="R", right="L", top="AI", bottom="PS")
    assert plane.name == "oblique"


def test_unknown_geometry_has_no_letters_and_no_millimetres():
    volume = np.arange(24).reshape(2, 3, 4)
    plane = figures.plane_of(volume.shape, np.eye(4), None)
    assert plane.letters is None
    assert plane.pixel_mm is None
    np.testing.assert_array_equal(plane.slices(volume)[2], volume[:, :, 2].T)


def test_best_slice_has_most_disagreement_else_most_structure():
    reference = np.zeros((5, 4, 4), int)
    reference[1, :2] = 1
    reference[3] = 1
    prediction = reference.copy()
    assert figures.best_slice(reference, prediction) == 3
    prediction[1, 0, 0] = 2
    assert figures.best_slice(reference, prediction) == 1
    assert figures.best_slice(None, reference) == 3
    assert figures.best_slice(np.zeros((5, 4, 4), int), None) == 2


def test_spread_slices_cover_the_structure_and_hold_the_chosen_one():
    label = np.zeros((50, 2, 2), int)
    label[10:31, 0, 0] = 1
    assert figures.spread_slices([label], 5, include=20) == [10, 15, 20, 25, 30]
    assert figures.spread_slices([label], 5, include=23) == [10, 15, 20, 23, 30]
    assert figures.spread_slices([label], 5, include=49)[-1] == 49
    assert figures.spread_slices([np.zeros_like(label)], 5, include=3) == [3]
    assert figures.spread_slices([label], 40, include=20) == list(range(10, 31))


def test_without_structures_the_focus_is_the_body_without_the_noise():
    images = np.zeros((3, 100, 80), np.uint8)
    images[1, 40:60, 30:50] = 200
    images[2, 3, 3] = 255
    assert figures.focus_box(images, []) == (slice(38, 62), slice(28, 52))
    assert figures.focus_box(np.zeros_like(images), []) == (slice(0, 100), slice(0, 80))


def _area(line: np.ndarray) -> float:
    x, y = line[:, 0] / 2, line[:, 1] / 2
    return abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def test_outline_of_one_pixel_is_a_diamond_through_its_borders():
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    (line,) = outlines(mask)
    assert sorted(map(tuple, line.tolist())) == [(8, 5), (9, 4), (9, 6), (10, 5)]  # x 4..5, y 2..3, doubled


def test_outline_at_the_picture_edge_is_closed():
    mask = np.ones((4, 6), bool)
    (line,) = outlines(mask)
    assert _area(line) == pytest.approx(24 - 4 * 0.125)  # corners are cut
    assert len(line) == 8
    assert line.min() == 0
    assert line[:, 0].max() == 12
    assert line[:, 1].max() == 8


def test_svg_path_draws_the_outlines_with_their_holes():
    mask = np.zeros((12, 12), bool)
    mask[2:10, 2:10] = True
    mask[5:7, 5:7] = False
    path = figures.svg_path(mask)
    shapes = []
    for part in path.split("M")[1:]:
        start, steps = part.rstrip("z").split("l")
        numbers = [int(number) for number in steps.replace("-", " -").split()]
        offsets = np.cumsum(np.array(numbers).reshape(-1, 2), axis=0)
        shapes.append(np.vstack([[0, 0], offsets]) + [int(number) for number in start.split()])
    expected = outlines(mask)
    assert len(shapes) == len(expected) == 2
    for shape, line in zip(shapes, expected, strict=True):
        np.testing.assert_array_equal(shape, line)
    assert figures.svg_path(np.zeros((3, 3), bool)) == ""


@pytest.mark.parametrize(
    ("width", "length"), [(240, 50), (139, 20), (9, 2), (2.5, 0.5), (0.3, 0.1), (600, 200), (3000, 1000)]
)
def test_scale_bar_is_round_and_at_most_a_third(width, length):
    assert figures.scale_bar(width) == pytest.approx(length)


def test_scale_bar_is_as_long_as_it_says():
    picture = Image.new("RGB", (600, 300))
    draw_scale(picture, 120.0, "mm", 12)  # 20 mm of 120 mm: a third of 600 px is 40 mm -> 20 mm = 100 px
    bar = np.all(np.asarray(picture) == INK, axis=2).sum(axis=1)
    assert bar.max() == pytest.approx(100, abs=1)


def test_pictures_have_true_proportions():
    assert picture_size((100, 200), (2.0, 1.0), 400) == (400, 400)
    assert picture_size((100, 200), None, 400) == (400, 200)
    assert picture_size((10, 10), (1.0, 2.5), 500) == (500, 200)


@pytest.fixture
def pair():
    yy, xx = np.mgrid[:64, :48]
    image = np.random.default_rng(0).normal(100, 10, (64, 48)).astype(np.float32)
    reference = ((yy - 30) ** 2 + (xx - 24) ** 2 < 100).astype(int)
    reference[28:34, 20:28] = 2
    return image, reference, np.roll(reference, 3, axis=1)


def _decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def _near(picture: np.ndarray, color: str, within: float = 12.0) -> int:
    return int((np.linalg.norm(picture - np.array(rgb(color)), axis=2) < within).sum())


def test_case_panel_shows_every_class_and_every_difference_in_its_own_color(pair):
    image, reference, prediction = pair
    panel = _decoded(figures.case_panel(image, reference, prediction, ["a", "b"], size_px=300))
    for color in (*figures.class_colors(2), figures.MISSED, figures.EXTRA, figures.SWAPPED):
        assert _near(panel, color) > 60, color
    assert _near(panel, figures.class_colors(3)[2]) == 0


def test_differences_keep_their_colors_among_a_hundred_classes(pair):
    names = [f"class {number}" for number in range(100)]
    panel = _decoded(figures.case_panel(*pair, names, size_px=300))
    for color in (figures.MISSED, figures.EXTRA, figures.SWAPPED):
        assert _near(panel, color, within=1) > 60, color


def test_names_of_several_lines_are_drawn_in_one(pair):
    image, label, _ = pair
    assert figures.case_panel(image, None, label, ["two\nlines", "b"], size_px=200).startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [64, 12])
def test_no_word_is_cut_off_at_the_edge(width):
    label = np.zeros((64, width), dtype=np.uint8)
    label[20:40, 4:8] = 1
    image = np.random.default_rng(0).normal(100, 20, label.shape)
    name, title = "left_ventricular_myocardium_without_papillary_muscles", "a case with a long name " * 9

    def drawn(title: str, name: str, reference: np.ndarray | None) -> np.ndarray:
        panel = figures.case_panel(image, reference, label, [name], title=title, scores={name: 0.5})
        return np.asarray(Image.open(io.BytesIO(panel)).convert("RGB")).astype(int)

    for reference in (label, None):
        sheet = drawn(title + "1", name, reference)
        assert np.ptp(sheet[:, -12:], axis=(0, 1)).max() < 10  # the margin is empty
        assert not np.array_equal(sheet, drawn(title + "2", name, reference))  # the last letter is there
        one_line = drawn("1", name, reference)
        assert one_line.shape[0] < sheet.shape[0]
        assert np.ptp(drawn("1", "a", reference)[:, -12:], axis=(0, 1)).max() < 10  # nor is a word of a narrow column


def test_case_panel_without_reference_has_two_pictures(pair):
    image, reference, prediction = pair
    with_reference = _decoded(figures.case_panel(image, reference, prediction, ["a", "b"], size_px=200))
    without = _decoded(figures.case_panel(image, None, prediction, ["a", "b"], size_px=200))
    assert without.shape[1] < 0.6 * with_reference.shape[1]
    assert _near(without, figures.MISSED) == 0


def test_difference_names_each_kind():
    reference, prediction = np.array([[0, 1, 1, 2, 2]]), np.array([[1, 0, 1, 1, 2]])
    parts = figures.difference(reference, prediction)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in parts.items()} == {
        "missed": [1],
        "extra": [0],
        "other class": [3],
    }


def test_letters_are_drawn_only_where_they_are_known(pair):
    image, label, _ = pair
    gray = figures.fixed_window(100, 1000)
    known = figures.case_panel(image, None, label, ["a", "b"], letters=figures.Letters("R", "L", "A", "P"), shown=gray)
    unknown = figures.case_panel(image, None, label, ["a", "b"], shown=gray)
    assert known != unknown
    # Left edge, mid height: a letter is the only near-white there.
    top = _decoded(known).shape[0] // 3

    def ink(png: bytes) -> int:
        edge = _decoded(png)[top : 2 * top, :60]
        return int((edge.min(axis=2) > 225).sum())

    assert ink(known) > 10
    assert ink(unknown) == 0


def test_case_panel_is_the_same_bytes_every_time_and_takes_color_images(pair):
    image, label, _ = pair
    assert figures.case_panel(image, None, label, ["a", "b"]) == figures.case_panel(image, None, label, ["a", "b"])
    color = np.zeros((*image.shape, 3), np.uint8)
    color[..., 0] = 200
    shown = _decoded(figures.case_panel(color, None, np.zeros_like(label), ()))
    assert (shown[shown.shape[0] // 2, shown.shape[1] // 4] == [200, 0, 0]).all()


def test_a_panel_of_a_training_is_small(pair):
    image, reference, prediction = pair
    scores = {"a": 0.5, "b": None}
    png = figures.case_panel(image, reference, prediction, ["a", "b"], title="epoch 3", scores=scores, size_px=320)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 120_000


def test_focus_box_gives_a_small_structure_room_but_not_the_whole_body():
    images = np.zeros((2, 200, 200), np.uint8)
    images[:, 10:190, 10:190] = 200  # the body, with its margin 1..199
    labels = np.zeros((2, 200, 200), int)
    labels[0, 100:120, 60:80] = 1
    rows, columns = figures.focus_box(images, [labels])
    assert (rows.stop - rows.start, columns.stop - columns.start) == (89, 89)  # 0.45 of the body's 198
    assert (rows.start + rows.stop) / 2 == pytest.approx(109.5, abs=1)
    labels[0, 20:180, 60:80] = 1
    assert figures.focus_box(images, [labels])[0] == slice(1, 199)
    assert figures.focus_box(images, [np.zeros_like(labels)]) == (slice(1, 199), slice(1, 199))


@settings(max_examples=40)
@given(row=st.integers(0, 59), column=st.integers(0, 79), height=st.integers(1, 30), width=st.integers(1, 30))
def test_focus_box_always_holds_the_structure(row, column, height, width):
    images = np.full((1, 60, 80), 99, np.uint8)
    labels = np.zeros((1, 60, 80), int)
    labels[0, row : row + height, column : column + width] = 1
    box = figures.focus_box(images, [labels])
    assert labels[0][box].sum() == labels.sum()


def test_the_font_needs_no_backend_of_matplotlib(monkeypatch):
    """A notebook's MPLBACKEND, which the processes that it starts inherit, ended them."""
    program = "from segcct.figures.drawing import font; print(font(12).getname()[0], font(12, bold=True).getname()[1])"
    monkeypatch.setenv("MPLBACKEND", "module://not_installed_inline.backend")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.split() == ["DejaVu", "Sans", "Bold"], done.stderr
