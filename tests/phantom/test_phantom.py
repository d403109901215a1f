"""Synthetic datasets: real layout and geometry, a function of (seed, case), too hard for voxel-wise clustering."""

from __future__ import annotations

import builtins
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from segcct.check.dataset_check import examine_dataset
from segcct.config import DataSection
from segcct.datasets.label_schemes import get_scheme
from segcct.datasets.layouts import find_cases, read_case, scheme_of
from segcct.errors import DataError
from segcct.phantom import brain, write_phantom
from segcct.phantom.field import Frame, SmoothField

BRATS_CHANNELS = ("t1", "t1ce", "t2", "flair")
LAYOUTS = ("brats", "acdc", "synapse")


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brats") / "data"
    assert write_phantom("brats", folder, 4, reduce=4) == [f"SegcctPhantom_00{i}" for i in range(4)]
    return folder


@pytest.fixture(scope="module")
def acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acdc") / "data"
    assert write_phantom("acdc", folder, 3, reduce=4) == ["patient001", "patient002", "patient003"]
    return folder


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synapse") / "data"
    assert write_phantom("synapse", folder, 3, reduce=4) == ["case0001", "case0002", "case0003"]
    return folder


def brats_file(folder: Path, index: int, name: str) -> Path:
    return folder / f"SegcctPhantom_{index:03d}" / f"SegcctPhantom_{index:03d}_{name}.nii.gz"


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): voxels(path).tobytes() for path in sorted(folder.rglob("*.nii.gz"))}


# Smooth fields


def test_field_has_zero_mean_and_unit_variance() -> None:
    rng = np.random.default_rng(0)
    extent = (400.0, 400.0, 400.0)
    value = SmoothField.draw(rng, extent, 10.0).on(Frame.centered((90, 90, 90), (4.0, 4.0, 4.0)))
    assert value.mean() == pytest.approx(0.0, abs=0.03)
    assert value.std() == pytest.approx(1.0, abs=0.03)


def test_field_is_the_same_on_a_part_of_the_frame() -> None:
    field = SmoothField.draw(np.random.default_rng(1), (40.0, 50.0, 60.0), (8.0, 9.0, 10.0))
    frame = Frame.centered((20, 25, 30), (2.0, 2.0, 2.0))
    box = frame.box(np.array([-7.0, -3.0, 0.0]), np.array([5.0, 9.0, 30.0]))
    np.testing.assert_allclose(field.on(frame)[box], field.on(frame.part(box)), atol=1e-5)


def test_reduced_frame_stands_in_the_middle_of_its_voxels() -> None:
    fine, coarse = (Frame.stack(8, 12, 1.5, np.arange(7), reduce) for reduce in (1, 4))
    np.testing.assert_allclose(coarse.axes_mm[0], [fine.axes_mm[0][:4].mean(), fine.axes_mm[0][4:].mean()])
    assert fine.shape == (8, 12, 7)
    assert coarse.shape == (2, 3, 7)
    assert coarse.axes_mm[1][0] == pytest.approx(fine.axes_mm[1][:4].mean())


# What every layout keeps


def test_unknown_layout_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="brats"):
        write_phantom("dicom", tmp_path / "new", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("cases", "seed", "reduce"), [(0, 0, 1), (1, -1, 1), (1, 0, 0), (1, 0, 500)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, cases: int, seed: int, reduce: int) -> None:
    with pytest.raises(DataError, match=r"at least|at most"):
        write_phantom("brats", tmp_path / "new", cases, seed=seed, reduce=reduce)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match="empty folder"):
        write_phantom("brats", tmp_path, 1, reduce=4)
    with pytest.raises(DataError, match="a file"):
        write_phantom("brats", tmp_path / "mine.txt", 1, reduce=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_case_depends_on_seed_and_index_alone(layout: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    done: list[tuple[int, int]] = []
    write_phantom(layout, tmp_path / "one", 1, reduce=4, progress=lambda i, n: done.append((i, n)))
    assert done == [(1, 1)]
    one, more = contents(tmp_path / "one"), contents(request.getfixturevalue(layout))
    assert one
    assert one == {name: more[name] for name in one}
    assert len(set(more.values())) == len(more)
    write_phantom(layout, tmp_path / "other", 1, seed=1, reduce=4)
    assert set(contents(tmp_path / "other").values()).isdisjoint(more.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_file_says_that_it_is_synthetic(layout: str, request: pytest.FixtureRequest) -> None:
    files = sorted(request.getfixturevalue(layout).rglob("*.nii.gz"))
    for path in files:
        header = nib.load(path).header
        assert header["descrip"].item() == b"synthetic, segcct phantom"
        assert header.get_xyzt_units()[0] == "mm"
        assert (header["sform_code"], header["qform_code"]) == (1, 1)
        np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-3)
    assert files


SECTIONS = {
    "brats": {
        "channels": {name: f"{{id}}_{name}.nii.gz" for name in BRATS_CHANNELS},
        "label": "{id}_seg.nii.gz",
        "scheme": "brats2021",
    },
    "acdc": {"channels": {"cine": "{id}.nii.gz"}, "label": "{id}_gt.nii.gz", "scheme": "acdc"},
    "synapse": {"channels": {"ct": "img/img*.nii.gz"}, "label": "label/label*.nii.gz", "scheme": "synapse"},
}


@pytest.mark.parametrize(
    ("layout", "first", "per_patient"),
    [("brats", "SegcctPhantom_000", 1), ("acdc", "patient001", 2), ("synapse", "case0001", 1)],
)
def test_the_layout_finds_and_reads_every_case(
    layout: str, first: str, per_patient: int, request: pytest.FixtureRequest
) -> None:
    data = DataSection(layout=layout, root=request.getfixturevalue(layout), **SECTIONS[layout])
    cases = find_cases(data)
    assert cases[0].patient == first
    assert len(cases) == per_patient * len({case.patient for case in cases})
    for case in cases:
        loaded_case = read_case(case, data, scheme_of(data))
        assert set(np.unique(loaded_case.label)) == set(scheme_of(data).values)
    assert examine_dataset(data).problems == []


def test_a_case_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segcct.phantom import brats as module

    save = module.save

    def fails_at_label(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
        if path.name.endswith("_seg.nii.gz"):
            raise OSError("disk full")
        save(array, affine, path)

    monkeypatch.setattr(module, "save", fails_at_label)
    with pytest.raises(OSError, match="disk full"):
        write_phantom("brats", tmp_path / "data", 1, reduce=4)
    assert list((tmp_path / "data").iterdir()) == []


# brats


def test_brats_needs_nilearn_and_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_nilearn(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("nilearn"):
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    brain.load_template.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_nilearn)
    with pytest.raises(DataError, match=r"pip install segcct\[demo\]"):
        write_phantom("brats", tmp_path / "data", 1, reduce=4)


def test_loading_the_template_leaves_nilearns_own_copy_alone() -> None:
    from nilearn.datasets import load_mni152_template

    before = np.array(load_mni152_template(resolution=1).dataobj)
    brain.load_template.cache_clear()
    brain.load_template(4)
    np.testing.assert_array_equal(np.asarray(load_mni152_template(resolution=1).dataobj), before)


def test_brats_files_have_the_layout_and_geometry_of_brats(brats: Path) -> None:
    names = {f"SegcctPhantom_000_{name}.nii.gz" for name in (*BRATS_CHANNELS, "seg")}
    assert {path.name for path in (brats / "SegcctPhantom_000").iterdir()} == names
    for name in (*BRATS_CHANNELS, "seg"):
        image = nib.load(brats_file(brats, 0, name))
        assert image.shape == (60, 60, 39)
        assert image.get_data_dtype() == (np.uint8 if name == "seg" else np.int16)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        # Voxel (0, 0, 0) covers the 4 x 4 x 4 voxels of 1 mm that start at (0, 239, 0).
        np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-1.5, 237.5, 1.5, 1])
        np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), 4.0)


def test_brats_labels_are_a_tumour_inside_the_brain(brats: Path) -> None:
    for index in range(4):
        label = voxels(brats_file(brats, index, "seg"))
        millilitres = np.bincount(label.ravel(), minlength=5) * 0.064
        assert set(np.unique(label)) == {0, 1, 2, 4}
        assert 0.5 < millilitres[1] < 60
        assert 2 < millilitres[4] < 60
        assert 10 < millilitres[2] < 250
        for name in BRATS_CHANNELS:
            image = voxels(brats_file(brats, index, name))
            assert image.min() == 0
            assert 1000 < (image > 0).sum() * 0.064 < 2600
            assert (image[label > 0] > 0).all()


def test_brats_contrasts_are_those_of_glioma(brats: Path) -> None:
    """Means over four cases of what a radiologist looks for, so that single scans may differ."""
    means = {name: [] for name in BRATS_CHANNELS}
    for index in range(4):
        label = voxels(brats_file(brats, index, "seg"))
        for name, rows in means.items():
            image = voxels(brats_file(brats, index, name)).astype(float)
            brain_mean = image[(image > 0) & (label == 0)].mean()
            rows.append([image[label == value].mean() / brain_mean for value in (1, 2, 4)])
    necrosis, edema, enhancing = np.mean(means["t1ce"], axis=0)
    assert enhancing > 1.25 > 1.0 > edema > necrosis
    assert np.mean(means["flair"], axis=0)[1] > 1.2
    assert np.mean(means["t2"], axis=0)[0] > 1.2
    assert np.mean(means["t1"], axis=0)[0] < 0.8


def test_brats_shows_the_same_patient_however_reduced(brats: Path, tmp_path: Path) -> None:
    write_phantom("brats", tmp_path / "finer", 1, reduce=2)
    finer, coarse = (nib.load(brats_file(folder, 0, "seg")) for folder in (tmp_path / "finer", brats))
    assert finer.shape == (120, 120, 78)
    centers = [np.argwhere(np.asarray(image.dataobj) > 0).mean(axis=0) for image in (finer, coarse)]
    millimeters = [nib.affines.apply_affine(image.affine, c) for image, c in zip((finer, coarse), centers, strict=True)]
    np.testing.assert_allclose(*millimeters, atol=1.5)


def test_brats_full_grid_is_that_of_brats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in its files is drawn elsewhere; whole, they take seconds."""
    from segcct.phantom import brats as module

    monkeypatch.setattr(module, "draw", lambda *_: {"seg": np.zeros(module.SHAPE, np.uint8)})
    write_phantom("brats", tmp_path / "full", 1)
    full = nib.load(brats_file(tmp_path / "full", 0, "seg"))
    assert full.shape == (240, 240, 155)
    np.testing.assert_array_equal(full.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


# acdc


def info(folder: Path, patient: int) -> dict[str, str]:
    lines = (folder / f"patient{patient:03d}" / "Info.cfg").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ") for line in lines)


def acdc_frames(folder: Path, patient: int) -> tuple[nib.Nifti1Image, ...]:
    """Image and label at end diastole, then at end systole."""
    stems = [f"patient{patient:03d}_frame{int(info(folder, patient)[phase]):02d}" for phase in ("ED", "ES")]
    names = [f"{stem}{suffix}.nii.gz" for stem in stems for suffix in ("", "_gt")]
    assert {path.name for path in (folder / f"patient{patient:03d}").iterdir()} == {*names, "Info.cfg"}
    return tuple(nib.load(folder / f"patient{patient:03d}" / name) for name in names)


def test_acdc_files_have_the_layout_and_geometry_of_acdc(acdc: Path) -> None:
    for patient in (1, 2, 3):
        assert list(info(acdc, patient)) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
        assert 1 < int(info(acdc, patient)["ES"]) <= int(info(acdc, patient)["NbFrame"])
        images = acdc_frames(acdc, patient)
        assert [image.get_data_dtype() for image in images] == [np.int16, np.uint8, np.int16, np.uint8]
        for image in images:
            assert image.shape[:2] in {(52, 64), (54, 64), (58, 64)}
            assert 9 <= image.shape[2] <= 11
            x_mm, y_mm, z_mm = nib.affines.voxel_sizes(image.affine)
            assert x_mm == pytest.approx(y_mm)
            assert 4 * 1.3 < x_mm < 4 * 1.6
            assert z_mm == pytest.approx(10.0)
            assert np.abs(image.affine[:3, 2] / 10).max() < 0.85  # slices lie along no axis of the patient


def test_acdc_heart_beats(acdc: Path) -> None:
    for patient in (1, 2, 3):
        diastole, systole = (np.asarray(image.dataobj) for image in acdc_frames(acdc, patient)[1::2])
        assert set(np.unique(diastole)) == set(np.unique(systole)) == {0, 1, 2, 3}
        assert (systole == 3).sum() < 0.85 * (diastole == 3).sum()
        middle = diastole.shape[2] // 3
        wall = [
            np.sqrt((one[:, :, middle] > 1).sum()) - np.sqrt((one[:, :, middle] == 3).sum())
            for one in (diastole, systole)
        ]
        assert wall[1] > wall[0]


def test_acdc_left_ventricle_lies_within_its_muscle(acdc: Path) -> None:
    for patient in (1, 2, 3):
        label = np.asarray(acdc_frames(acdc, patient)[1].dataobj)
        cavity = label == 3
        for axis in (0, 1):
            for step in (-1, 1):
                assert set(np.unique(np.roll(label, step, axis)[cavity])) <= {2, 3}


def test_acdc_blood_is_bright_and_muscle_dark(acdc: Path) -> None:
    for patient in (1, 2, 3):
        image, label = (np.asarray(one.dataobj) for one in acdc_frames(acdc, patient)[:2])
        right, muscle, left = (np.median(image[label == value]) for value in (1, 2, 3))
        assert min(right, left) > 1.5 * muscle


# synapse


def synapse_case(folder: Path, number: int) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    image = nib.load(folder / "img" / f"img{number:04d}.nii.gz")
    return image, nib.load(folder / "label" / f"label{number:04d}.nii.gz")


def test_synapse_files_have_the_layout_and_geometry_of_btcv(synapse: Path) -> None:
    assert {path.name for path in synapse.iterdir()} == {"img", "label"}
    for number in (1, 2):
        image, label = synapse_case(synapse, number)
        assert image.shape[:2] == label.shape[:2] == (128, 128)
        assert 88 <= image.shape[2] == label.shape[2] <= 112
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_array_equal(image.affine, label.affine)
        assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
        x_mm, _, z_mm = nib.affines.voxel_sizes(image.affine)
        assert 4 * 0.75 < x_mm < 4 * 0.87
        assert z_mm == pytest.approx(3.0)


def test_synapse_organs_are_where_they_belong(synapse: Path) -> None:
    for number in (1, 2):
        image, label = synapse_case(synapse, number)
        values, millilitre = np.asarray(label.dataobj), abs(np.linalg.det(label.affine[:3, :3])) / 1000
        assert set(np.unique(values)) == set(range(14))
        place, volume, density = {}, {}, {}
        for name, value in get_scheme("btcv").classes.items():
            voxel = np.argwhere(values == value)
            place[name] = nib.affines.apply_affine(label.affine, voxel.mean(axis=0))  # RAS mm
            volume[name] = len(voxel) * millilitre
            density[name] = np.median(np.asarray(image.dataobj)[values == value])
        assert place["liver"][0] > 30
        assert place["right kidney"][0] > 30 > -30 > place["left kidney"][0]
        assert place["spleen"][0] < -50
        assert place["stomach"][0] < 0
        assert place["aorta"][0] < place["inferior vena cava"][0]
        assert place["gallbladder"][0] > 20
        assert place["liver"][2] > place["right kidney"][2]
        assert place["spleen"][1] < place["stomach"][1]
        assert 800 < volume["liver"] < 2200
        assert all(60 < volume[f"{side} kidney"] < 260 for side in ("left", "right"))
        assert all(volume[f"{side} adrenal gland"] > 0.8 for side in ("left", "right"))
        assert density["aorta"] > density["liver"] > density["gallbladder"]


def test_synapse_is_a_computed_tomogram(synapse: Path) -> None:
    image = np.asarray(synapse_case(synapse, 1)[0].dataobj)
    assert image.min() >= -1024
    assert np.median(image[:4, :4]) == pytest.approx(-1000, abs=10)
    assert (image > 250).mean() > 0.004  # bone
    assert (np.abs(image + 860) < 60).mean() > 0.02  # lung


# Too hard for clustering


def best_dice(cluster: np.ndarray, clusters: int, reference: np.ndarray) -> float:
    """Best Dice that any union of clusters reaches: they are taken in the order of their precision."""
    size = np.bincount(cluster, minlength=clusters)
    hit = np.bincount(cluster[reference], minlength=clusters)
    order = np.argsort(-hit / np.maximum(size, 1))
    return float((2 * np.cumsum(hit[order]) / (np.cumsum(size[order]) + reference.sum())).max())


def kmeans_dice(channels: list[np.ndarray], label: np.ndarray, classes: tuple[int, ...], clusters: int) -> float:
    """Mean Dice over classes of k-means on the non-zero voxels, each class given its best union of clusters."""
    foreground = channels[0] != channels[0].flat[0]
    features = np.stack([image[foreground].astype(float) for image in channels], axis=1)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    _, cluster = kmeans2(features, clusters, iter=20, minit="++", seed=0)
    return float(np.mean([best_dice(cluster, clusters, label[foreground] == value) for value in classes]))


def test_best_dice_by_hand() -> None:
    cluster = np.array([0, 0, 0, 1, 1, 2])
    reference = np.array([True, True, False, True, False, False])
    # {0}: 2*2/(3+3); {0, 1}: 2*3/(5+3)
    assert best_dice(cluster, 3, reference) == pytest.approx(0.75)


@pytest.mark.parametrize("clusters", [4, 8, 16])
def test_kmeans_scores_at_most_06_on_brats(brats: Path, clusters: int) -> None:
    scores = []
    for index in range(4):
        channels = [voxels(brats_file(brats, index, name)) for name in BRATS_CHANNELS]
        scores.append(kmeans_dice(channels, voxels(brats_file(brats, index, "seg")), (1, 2, 4), clusters))
    assert np.mean(scores) <= 0.6


def test_best_thresholds_score_at_most_06_on_brats(brats: Path) -> None:
    """One interval of one contrast per class, chosen by the truth."""
    scores = []
    for index in range(4):
        label = voxels(brats_file(brats, index, "seg"))
        images = [voxels(brats_file(brats, index, name)) for name in BRATS_CHANNELS]
        inside = images[0] > 0
        bins = [np.digitize(one[inside], np.percentile(one[inside], np.arange(2, 100, 2))) for one in images]
        best = [max(best_dice(each, 50, label[inside] == value) for each in bins) for value in (1, 2, 4)]
        scores.append(np.mean(best))
    assert np.mean(scores) <= 0.6


@pytest.mark.parametrize("clusters", [4, 8, 16])
def test_kmeans_scores_at_most_06_on_acdc_and_synapse(acdc: Path, synapse: Path, clusters: int) -> None:
    scores = {"acdc": [], "synapse": []}
    for patient in (1, 2, 3):
        image, label, *_ = (np.asarray(one.dataobj) for one in acdc_frames(acdc, patient))
        scores["acdc"].append(kmeans_dice([image], label, (1, 2, 3), clusters))
    for number in (1, 2):
        image, label = (np.asarray(one.dataobj) for one in synapse_case(synapse, number))
        window = [np.clip(image, -200, 300)]
        scores["synapse"].append(kmeans_dice(window, label, (1, 2, 3, 4, 6, 7, 8, 11), clusters))
    assert np.mean(scores["acdc"]) <= 0.6
    assert np.mean(scores["synapse"]) <= 0.6
