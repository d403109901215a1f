"""Synthetic datasets: real layout and geometry, a function of (seed, case), too hard for voxel-wise clustering."""

from __future__ import annotations

import builtins
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from segcct.data.phantom import brain, write_phantom
from segcct.data.phantom.field import Frame, SmoothField
from segcct.errors import DataError

BRATS_CHANNELS = ("t1", "t1ce", "t2", "flair")


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brats") / "data"
    assert write_phantom("brats", folder, 4, reduce=4) == [f"SegcctPhantom_00{i}" for i in range(4)]
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
    value = SmoothField.draw(rng, extent, 10.0).on(Frame.centred((90, 90, 90), (4.0, 4.0, 4.0)))
    assert value.mean() == pytest.approx(0.0, abs=0.03)
    assert value.std() == pytest.approx(1.0, abs=0.03)


def test_field_is_the_same_on_a_part_of_the_frame() -> None:
    field = SmoothField.draw(np.random.default_rng(1), (40.0, 50.0, 60.0), (8.0, 9.0, 10.0))
    frame = Frame.centred((20, 25, 30), (2.0, 2.0, 2.0))
    box = frame.box(np.array([-7.0, -3.0, 0.0]), np.array([5.0, 9.0, 30.0]))
    np.testing.assert_allclose(field.on(frame)[box], field.on(frame.part(box)), atol=1e-5)


def test_reduced_frame_stands_in_the_middle_of_its_voxels() -> None:
    fine, coarse = (Frame.centred((8, 8, 7), (1.0, 1.0, 2.0), reduce) for reduce in (1, 4))
    np.testing.assert_allclose(coarse.axes_mm[0], [fine.axes_mm[0][:4].mean(), fine.axes_mm[0][4:].mean()])
    assert coarse.shape == (2, 2, 2)
    assert coarse.axes_mm[2][0] == pytest.approx(fine.axes_mm[2][:4].mean())


# What every layout keeps


def test_unknown_layout_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="brats"):
        write_phantom("dicom", tmp_path / "new", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("cases", "seed", "reduce"), [(0, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, cases: int, seed: int, reduce: int) -> None:
    with pytest.raises(DataError, match="at least"):
        write_phantom("brats", tmp_path / "new", cases, seed=seed, reduce=reduce)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match="empty folder"):
        write_phantom("brats", tmp_path, 1, reduce=4)
    with pytest.raises(DataError, match="a file"):
        write_phantom("brats", tmp_path / "mine.txt", 1, reduce=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_case_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segcct.data.phantom import brats as module

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


def test_brats_case_depends_on_seed_and_index_alone(brats: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    write_phantom("brats", tmp_path / "two", 2, reduce=4, progress=lambda i, n: done.append((i, n)))
    assert done == [(1, 2), (2, 2)]
    two, four = contents(tmp_path / "two"), contents(brats)
    assert two == {name: four[name] for name in two}
    write_phantom("brats", tmp_path / "other", 1, seed=1, reduce=4)
    assert set(contents(tmp_path / "other").values()).isdisjoint(four.values())


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
        assert b"synthetic" in image.header["descrip"].item()
        assert image.header.get_xyzt_units()[0] == "mm"
        assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)


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
    necrosis, oedema, enhancing = np.mean(means["t1ce"], axis=0)
    assert enhancing > 1.25 > 1.0 > oedema > necrosis
    assert np.mean(means["flair"], axis=0)[1] > 1.2
    assert np.mean(means["t2"], axis=0)[0] > 1.2
    assert np.mean(means["t1"], axis=0)[0] < 0.8


def test_brats_full_grid_shows_the_same_patient_as_the_reduced_one(brats: Path, tmp_path: Path) -> None:
    write_phantom("brats", tmp_path / "full", 1)
    full = nib.load(brats_file(tmp_path / "full", 0, "seg"))
    assert full.shape == (240, 240, 155)
    np.testing.assert_array_equal(full.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    coarse = nib.load(brats_file(brats, 0, "seg"))
    centres = [np.argwhere(np.asarray(image.dataobj) > 0).mean(axis=0) for image in (full, coarse)]
    millimetres = [nib.affines.apply_affine(image.affine, c) for image, c in zip((full, coarse), centres, strict=True)]
    np.testing.assert_allclose(*millimetres, atol=1.5)


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
