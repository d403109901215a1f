"""`segcct cluster-segment`, end to end on small cohorts in several formats."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from segcct.cli import main
from segcct.cluster.clusters import Clusters
from segcct.cluster.cohort_clusters import CaseReader
from segcct.cluster.points import in_order
from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.errors import DataError
from segcct.images.volume import Volume
from segcct.model_card import Architecture, ModelCard, reading, save_model
from segcct.models.zoo import create_model
from tests.support.dicom_files import image, save

MEANS = (20, 60, 120)


def scan(seed: int, size: tuple[int, int, int] = (24, 20, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Three tissues side by side within a border of 0, and which is where."""
    truth = np.zeros(size, dtype=np.uint8)
    for value, part in enumerate(np.array_split(np.arange(2, size[0] - 2), 3), start=1):
        truth[part[0] : part[-1] + 1, 2:-2] = value
    noise = np.random.default_rng(seed).normal(0, 4, size)
    voxels = np.rint(np.choose(truth, (0, *MEANS)) + noise * (truth > 0))
    return voxels.astype(np.int16), truth


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three scans in NIfTI."""
    folder = tmp_path / "scans"
    for seed in range(3):
        Volume(scan(seed)[0], np.diag([2.0, 2, 3, 1]), (2.0, 2.0, 3.0)).save(folder / f"c{seed}" / "t1.nii.gz")
    return folder


def run(source: Path, output: Path, *options: object) -> None:
    assert main(["cluster-segment", "--input", str(source), "--output", str(output), *map(str, options)]) == 0


def refused(capsys: pytest.CaptureFixture[str], source: Path, output: Path, *options: object) -> str:
    assert main(["cluster-segment", "--input", str(source), "--output", str(output), *map(str, options)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("method", ["fuzzy-kmeans", "kmeans", "otsu"])
@pytest.mark.parametrize("centers", ["per-case", "cohort"])
def test_tissues_are_labeled_by_brightness_and_the_background_is_0(
    cohort: Path, tmp_path: Path, method: str, centers: str
) -> None:
    run(cohort, tmp_path / "out", "--method", method, "--centers", centers)
    for seed in range(3):
        mask = Volume.load(tmp_path / "out" / f"c{seed}.nii.gz")
        truth = scan(seed)[1]
        assert np.mean(mask.array == truth) > 0.99
        assert (mask.array[truth == 0] == 0).all()
        assert mask.spacing_mm == (2, 2, 3)
    with (tmp_path / "out" / "volumes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == "c0"]
    assert [float(row["mean_intensity"]) for row in rows] == pytest.approx(MEANS, abs=3)
    index = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert index["scheme"]["name"] == "cluster_3"
    assert index["scheme"]["classes"] == {"cluster_1": 1, "cluster_2": 2, "cluster_3": 3}
    assert (tmp_path / "out" / "centers.json").exists() == (centers == "cohort")


@pytest.mark.parametrize("channels", [1, 2])
def test_masks_and_centers_are_the_same_bytes_for_any_number_of_workers(
    cohort: Path, tmp_path: Path, channels: int
) -> None:
    if channels == 2:
        for seed in range(3):
            t1 = Volume.load(cohort / f"c{seed}" / "t1.nii.gz")
            t1.with_array(scan(seed + 9)[0]).save(cohort / f"c{seed}" / "t2.nii.gz")
    found = []
    for workers in (1, 3):
        output = tmp_path / f"out{workers}"
        run(cohort, output, "--centers", "cohort", "--workers", workers)
        masks = [(output / f"c{seed}.nii.gz").read_bytes() for seed in range(3)]
        found.append((json.loads((output / "centers.json").read_text())["centers"], masks))
    assert found[0] == found[1]
    assert len(found[0][0][0]) == channels


def test_otsu_is_of_one_channel(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        (cohort / f"c{seed}" / "t2.nii.gz").write_bytes((cohort / f"c{seed}" / "t1.nii.gz").read_bytes())
    options = ("--method", "otsu", "--channels", "t1")
    said = refused(capsys, cohort, tmp_path / "out", *options[:2])
    assert "--method otsu divides the intensities of one channel (found t1, t2)" in said
    run(cohort, tmp_path / "out", *options)


def test_the_cases_after_too_many_failures_are_skipped(cohort: Path, tmp_path: Path, capsys: Any) -> None:
    for seed in range(2):
        (cohort / f"c{seed}" / "t1.nii.gz").write_bytes(b"")
    line = refused(capsys, cohort, tmp_path / "out", "--max-failures", 0)
    assert "more than 0 cases failed" in line
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    assert [rows[f"c{seed}"].get("status") for seed in range(3)] == ["failed", None, None]


@pytest.mark.parametrize("number", [0, 2])
def test_a_case_that_disappears_between_iterations_is_told(
    cohort: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Otherwise the centers would depend on when it did."""
    for seed in range(3):
        (cohort / f"c{seed}" / "t2.nii.gz").write_bytes((cohort / f"c{seed}" / "t1.nii.gz").read_bytes())
    load, loads = CaseReader.load, Counter[str]()

    def once(reader: CaseReader, case: Case) -> LoadedCase:
        loads[case.id] += 1
        if case.id == f"c{number}" and loads[case.id] > 1:
            raise DataError("cannot be fetched", file=f"c{number}")
        return load(reader, case)

    monkeypatch.setattr(CaseReader, "load", once)
    line = refused(capsys, cohort, tmp_path / "out", "--centers", "cohort")
    assert f"no centers are fitted: a case can no longer be read (found c{number}: cannot be fetched)" in line
    assert not (tmp_path / "out" / "centers.json").exists()


def test_centers_of_a_file_are_those_that_were_fitted(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "all", "--centers", "cohort")
    run(cohort / "c1", tmp_path / "one", "--centers", tmp_path / "all" / "centers.json")
    assert (tmp_path / "one" / "c1.nii.gz").read_bytes() == (tmp_path / "all" / "c1.nii.gz").read_bytes()


def test_three_shards_are_one_run_and_what_is_finished_stays(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "all", "--centers", "cohort")
    output = tmp_path / "shards"
    for part in ("2/3", "1/3", "3/3"):
        run(cohort, output, "--centers", "cohort", "--shard", part)
    centers = [json.loads((folder / "centers.json").read_text())["centers"] for folder in (tmp_path / "all", output)]
    assert centers[0] == centers[1]
    for seed in range(3):
        assert (output / f"c{seed}.nii.gz").read_bytes() == (tmp_path / "all" / f"c{seed}.nii.gz").read_bytes()
    (output / "c1.nii.gz").unlink()
    times = [(output / f"c{seed}.nii.gz").stat().st_mtime_ns for seed in (0, 2)]
    run(cohort, output, "--centers", "cohort", "--continue")
    assert [(output / f"c{seed}.nii.gz").stat().st_mtime_ns for seed in (0, 2)] == times
    assert (output / "c1.nii.gz").exists()


def masks_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.glob("c*.nii.gz")}


@pytest.mark.parametrize("interrupted", [False, True])
def test_scans_that_are_repaired_or_added_get_the_centers_of_the_others(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    output, options = tmp_path / "out", ("--centers", "cohort")
    whole = (cohort / "c1" / "t1.nii.gz").read_bytes()
    (cohort / "c1" / "t1.nii.gz").write_bytes(b"no image")
    if interrupted:  # before its first case
        with monkeypatch.context() as patched:
            patched.setattr("segcct.predictions.mask_folder.run_cases", lambda *_, **__: iter(()))
            run(cohort, output, *options)
    else:
        refused(capsys, cohort, output, *options)
    before, centers = masks_of(output), json.loads((output / "centers.json").read_text())["centers"]
    (cohort / "c1" / "t1.nii.gz").write_bytes(whole)
    bright = Volume.load(cohort / "c0" / "t1.nii.gz")
    bright.with_array(bright.array * 3).save(cohort / "c3" / "t1.nii.gz")
    assert "another model's" in refused(capsys, cohort, output, *options, "--fuzzifier", 1.5, "--continue")
    run(cohort, output, *options, "--continue")
    assert f"the centers are those of {output / 'centers.json'}" in capsys.readouterr().err
    assert before.items() <= masks_of(output).items()
    assert set(masks_of(output)) == {f"c{number}.nii.gz" for number in range(4)}
    assert json.loads((output / "centers.json").read_text())["centers"] == centers
    assert status(capsys, cohort, output, *options) == "4 of 4 cases finished, 0 failed, 0 missing"
    run(cohort, output, *options, "--overwrite")
    assert json.loads((output / "centers.json").read_text())["centers"] != centers


def test_centers_of_overwritten_masks_do_not_stay(cohort: Path, tmp_path: Path) -> None:
    """Where each case has centers of its own now."""
    run(cohort, tmp_path / "out", "--centers", "cohort")
    assert (tmp_path / "out" / "centers.json").is_file()
    run(cohort, tmp_path / "out", "--overwrite")
    assert not (tmp_path / "out" / "centers.json").exists()


def test_centers_of_a_file_continue_too(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of the file that is in the folder, and which says when they were fitted."""
    output = tmp_path / "out"
    run(cohort, output, "--centers", "cohort", "--shard", "1/3")
    before = masks_of(output)
    for part in ("2/3", "3/3"):
        run(cohort, output, "--centers", output / "centers.json", "--continue", "--shard", part)
    assert before.items() <= masks_of(output).items()
    for centers in ("cohort", output / "centers.json"):
        assert status(capsys, cohort, output, "--centers", centers).startswith("3 of 3 cases finished")


def status(capsys: pytest.CaptureFixture[str], source: Path, output: Path, *options: object) -> str:
    capsys.readouterr()
    run(source, output, *options, "--status")
    return capsys.readouterr().out.splitlines()[0].partition(": ")[2]


def test_the_status_of_a_cohort_reads_only(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, options = tmp_path / "out", ("--centers", "cohort")
    run(cohort, output, *options, "--shard", "1/3")
    with monkeypatch.context() as patched:
        patched.setattr("segcct.cluster.common_centers.fit_cohort", None)
        assert status(capsys, cohort, output, *options) == "1 of 3 cases finished, 0 failed, 2 missing"
        assert status(capsys, cohort, tmp_path / "none", *options) == "0 of 3 cases finished, 0 failed, 3 missing"
        assert not (tmp_path / "none").exists()
        assert "another model's" in refused(capsys, cohort, output, *options, "--clusters", 2, "--status")
    run(cohort, tmp_path / "own")
    assert status(capsys, cohort, tmp_path / "own") == "3 of 3 cases finished, 0 failed, 0 missing"
    assert status(capsys, cohort, tmp_path / "own", *options) == "0 of 3 cases finished, 0 failed, 3 missing"


@pytest.mark.parametrize("suffix", [".png", ".npz"])
def test_masks_of_another_channel_of_the_same_files_are_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    """Whose content does not tell the two apart."""
    scans, output, voxels = tmp_path / "scans", tmp_path / "out", scan(0)[0].astype(np.uint8)
    scans.mkdir()
    if suffix == ".png":
        Image.fromarray(np.stack([voxels[..., index] for index in range(3)], axis=-1)).save(scans / "a.png")
        first, second = ("--channels", "red"), ("--channels", "green")
    else:
        np.savez(scans / "a.npz", one=voxels.T, other=voxels.T[:, ::-1])
        (tmp_path / "c.yaml").write_text(
            "data: {layout: slices, root: ., channels: {ct: one}, scheme: binary, intensity: {rule: none}}\n"
        )
        first = ("--config", str(tmp_path / "c.yaml"))
        second = (*first, "--data.channels", "{ct: other}")
    run(scans, output, *first)
    assert "another model's predictions" in refused(capsys, scans, output, *second, "--continue")
    assert status(capsys, scans, output, *first) == "1 of 1 case finished, 0 failed, 0 missing"


def memberships_in(output: Path) -> list[str]:
    return sorted(file.name.removesuffix(".nii.gz") for file in (output / "memberships").iterdir())


def test_memberships_are_those_of_the_masks_that_are_there(cohort: Path, tmp_path: Path) -> None:
    output, scans = tmp_path / "out", [cohort / name / "t1.nii.gz" for name in ("c0", "c1", "c2")]
    run(cohort, output, "--clusters", 3, "--memberships")
    run(cohort, output, "--clusters", 2, "--memberships", "--overwrite")
    assert memberships_in(output) == [f"{name}_cluster_{value}" for name in ("c0", "c1", "c2") for value in (1, 2)]
    (output / "memberships" / "c0_cluster_2.nii.gz").unlink()
    scans[1].write_bytes(b"damaged")
    again = ["--input", str(cohort), "--output", str(output), "--clusters", "2", "--memberships", "--continue"]
    assert main(["cluster-segment", *again]) == 1
    assert memberships_in(output) == [f"{name}_cluster_{value}" for name in ("c0", "c2") for value in (1, 2)]


def test_memberships_sum_to_one_inside_and_the_mask_is_the_largest(cohort: Path, tmp_path: Path) -> None:
    run(cohort / "c0", tmp_path / "out", "--memberships", "--fuzzifier", 1.7)
    files = [tmp_path / "out" / "memberships" / f"c0_cluster_{value}.nii.gz" for value in (1, 2, 3)]
    volumes = np.stack([Volume.load(file).array for file in files])
    mask = Volume.load(tmp_path / "out" / "c0.nii.gz").array
    assert volumes.sum(axis=0) == pytest.approx((mask > 0).astype(float), abs=2e-3)
    assert np.array_equal(volumes, volumes.astype(np.float16).astype(np.float32))
    assert np.array_equal((volumes.argmax(axis=0) + 1)[mask > 0], mask[mask > 0])


def test_background_is_kept_or_named(cohort: Path, tmp_path: Path) -> None:
    run(cohort / "c0", tmp_path / "kept", "--background", "none", "--clusters", 4)
    truth = scan(0)[1]
    assert np.mean(Volume.load(tmp_path / "kept" / "c0.nii.gz").array == truth + 1) > 0.99
    run(cohort / "c0", tmp_path / "named", "--background", 60, "--clusters", 4)
    mask, voxels = Volume.load(tmp_path / "named" / "c0.nii.gz").array, scan(0)[0]
    assert np.array_equal(mask == 0, voxels == 60)


def test_dicom_images_and_a_single_file(tmp_path: Path) -> None:
    voxels, truth = scan(0)
    (tmp_path / "series").mkdir()
    for index in range(voxels.shape[2]):
        plane = image(voxels[..., index].T.astype(np.uint16), number=index + 1, position=(0, 0, 3 * index))
        save(plane, tmp_path / "series" / f"{index}.dcm")
    run(tmp_path / "series", tmp_path / "dicom")
    assert np.mean(Volume.load(tmp_path / "dicom" / "series.nii.gz").array == truth) > 0.99

    (tmp_path / "pictures").mkdir()
    for index in range(3):
        Image.fromarray(voxels[..., index].T.astype(np.uint8)).save(tmp_path / "pictures" / f"p{index}.png")
    run(tmp_path / "pictures", tmp_path / "images")
    run(tmp_path / "pictures" / "p0.png", tmp_path / "image")
    for folder in ("images", "image"):
        mask = np.asarray(Image.open(tmp_path / folder / "p0.png"))
        assert np.mean(mask == truth[..., 0].T) > 0.99


@pytest.mark.parametrize("digits", ["d", "04d"])  # nnU-Net names channels 0000, 0001
def test_images_that_are_numbered_within_a_patient_are_cases(tmp_path: Path, digits: str) -> None:
    voxels, _ = scan(0)
    (tmp_path / "images").mkdir()
    names = [f"p{patient}_{number:{digits}}" for patient in range(3) for number in range(2)]
    for index, name in enumerate(names):
        Image.fromarray(voxels[..., index % 3].T.astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
    run(tmp_path / "images", tmp_path / "clusters")
    expected = names if digits == "d" else ["p0", "p1", "p2"]
    assert sorted(file.stem for file in (tmp_path / "clusters").glob("*.png")) == expected


def test_a_table_of_uris_gives_the_centers_of_its_files(cohort: Path, tmp_path: Path) -> None:
    lines = {"here": ["case,image"], "there": ["case,image"]}
    for file in sorted(cohort.glob("*/*.nii.gz")):
        name = file.parent.name
        fsspec.filesystem("memory").pipe(f"/clusters/{name}.nii.gz", file.read_bytes())
        lines["here"].append(f"{name},{file}")
        lines["there"].append(f"{name},memory://clusters/{name}.nii.gz")
    for place, rows in lines.items():
        (tmp_path / f"{place}.csv").write_text("\n".join(rows))
        run(tmp_path / f"{place}.csv", tmp_path / place, "--centers", "cohort")
    found = [json.loads((tmp_path / place / "centers.json").read_text())["centers"] for place in lines]
    assert found[0] == found[1]
    masks = {f"c{number}.nii.gz" for number in range(3)}
    assert masks_of(tmp_path / "here").keys() == masks_of(tmp_path / "there").keys() == masks


def test_edges_lie_between_tissues(cohort: Path, tmp_path: Path) -> None:
    run(cohort / "c0", tmp_path / "out", "--method", "canny")
    edges = Volume.load(tmp_path / "out" / "c0.nii.gz").array
    truth = scan(0)[1].astype(int)
    between = np.flatnonzero(np.diff(truth[:, 10, 0]))
    rows = np.flatnonzero(edges[:, 10, 0])
    assert len(rows)
    assert min(abs(rows[:, None] - between).min(axis=0)[1:3]) <= 2


def test_clusters_are_evaluated_and_reported_like_other_masks(cohort: Path, tmp_path: Path) -> None:
    for method in ("fuzzy-kmeans", "kmeans"):
        run(cohort, tmp_path / method, "--method", method)
    folders = ["--prediction", str(tmp_path / "fuzzy-kmeans"), "--reference", str(tmp_path / "kmeans")]
    assert main(["evaluate", *folders, "--output", str(tmp_path / "evaluation")]) == 0
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["classes"]["cluster_3"]["dice"]["mean"] > 0.95
    assert main(["report", "--evaluation", str(tmp_path / "evaluation"), "--output", str(tmp_path / "report")]) == 0


def test_a_case_that_cannot_be_read_is_named_and_the_others_get_their_masks(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "c1" / "t1.nii.gz").write_bytes(b"no image")
    err = refused(capsys, cohort, tmp_path / "out", "--centers", "cohort")
    assert "c1" in err
    assert sorted(file.name for file in (tmp_path / "out").glob("c*.nii.gz")) == ["c0.nii.gz", "c2.nii.gz"]
    err = refused(capsys, cohort / "c1", tmp_path / "none", "--centers", "cohort")
    assert "none of the cases can be read (found " in err
    assert f"{cohort / 'c1' / 't1.nii.gz'}: " in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "canny", "--memberships"], "--memberships does nothing for --method canny"),
        (["--method", "kmeans", "--memberships"], "--memberships does nothing for --method kmeans"),
        (["--method", "canny", "--centers", "cohort"], "--centers does nothing"),
        (["--method", "canny", "--clusters", 4], "--clusters does nothing for --method canny"),
        (["--method", "otsu", "--fuzzifier", 3], "--fuzzifier does nothing for --method otsu"),
        (["--method", "kmeans", "--tolerance", 0.1], "--tolerance does nothing for --method kmeans"),
        (["--method", "otsu", "--max-iterations", 9], "--max-iterations does nothing for --method otsu"),
        (["--centers", "c.json", "--fuzzifier", 3], "--fuzzifier does nothing with the --centers of a file"),
        (["--precision", "bf16"], "--precision does nothing without a --model"),
        (["--batch-size", 4], "--batch-size does nothing without a --model"),
        (["--device", "cpu"], "--device does nothing without a --model. Leave --device out"),
        (["--method", "otsu", "--model", "m"], "--model does nothing for --method otsu"),
        (["--model", "m", "--standardize"], "--standardize does nothing for tokens of a --model"),
        (["--model", "m", "--channels", "t1"], "--channels does nothing for tokens of a --model, which names"),
        (["--model", "m", "--workers", 2], "--workers does nothing for tokens of a --model, which one process makes"),
        (["--method", "normalized-cut"], "--model RUN/best"),
        (["--channels", "flair"], "no channel flair"),
        (["--clusters", 200], "fewer distinct intensities than clusters"),
        (["--centers", "nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_what_cannot_be_done_is_said(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[object], message: str
) -> None:
    assert message in refused(capsys, cohort, tmp_path / "out", *options)
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_centers_of_another_number_are_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cohort, tmp_path / "all", "--centers", "cohort")
    centers = tmp_path / "all" / "centers.json"
    assert "the centers do not match the options" in refused(
        capsys, cohort, tmp_path / "o", "--centers", centers, "--clusters", 4
    )
    said = refused(capsys, cohort, tmp_path / "o", "--centers", centers, "--method", "kmeans")
    assert "found 3 centers of 1 coordinates by fuzzy-kmeans; expected 3 of 1 by kmeans" in said


def test_centers_of_the_same_channels_in_another_order_are_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        t1 = Volume.load(cohort / f"c{seed}" / "t1.nii.gz")
        t1.with_array(-t1.array).save(cohort / f"c{seed}" / "t2.nii.gz")
    run(cohort, tmp_path / "all", "--centers", "cohort", "--channels", "t1", "t2")
    options = ("--centers", tmp_path / "all" / "centers.json", "--channels")
    run(cohort, tmp_path / "same", *options, "t1", "t2")
    said = refused(capsys, cohort, tmp_path / "o", *options, "t2", "t1")
    assert "fitted to these channels in another order (found t1, t2; expected t2, t1)" in said


@pytest.fixture(params=["cct_unet_t", "masked/cct_unet_t"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An untrained network of one channel: a segmenter, or the encoder of a pre-training."""
    data = DataSection.model_validate({
        "layout": "folder", "root": "nowhere", "channels": {"t1": "*.nii.gz"}, "scheme": "binary", "image_size": 64,
    })  # fmt: skip
    built = Architecture(name=request.param, in_channels=1, num_classes=2, image_size=64)
    card = ModelCard(
        task="segmentation",
        architecture=built,
        data=reading(data),
        selected_on={},
        data_fingerprint="",
        provenance={},
    )
    network = create_model(request.param, 1, 2, 64)
    save_model(tmp_path / "best", network.state_dict(), card)
    return tmp_path / "best"


def test_centers_of_other_points_are_refused(
    model: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where they have as many coordinates."""
    run(cohort, tmp_path / "all", "--centers", "cohort")
    centers = tmp_path / "all" / "centers.json"
    said = refused(capsys, cohort, tmp_path / "o", "--centers", centers, "--model", model)
    assert "the centers were fitted to other points: different model (found model none; " in said
    content = json.loads(centers.read_text())
    centers.write_text(json.dumps({**content, "model": "f" * 64}))
    assert "different model (found model ffff" in refused(capsys, cohort, tmp_path / "o", "--centers", centers)


def test_a_folder_that_cannot_be_read_costs_only_the_cases_in_it(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How the others are read is seen by their names; with --anonymize nothing names it."""
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path) == cohort / "c1":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert str(cohort / "c1") in refused(capsys, cohort, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz")) == ["c0.nii.gz", "c2.nii.gz"]
    command = ["cluster-segment", "--input", str(cohort), "--output", str(tmp_path / "hashed"), "--anonymize"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "could not be read" in error
    assert "c1" not in error
    assert main([*command, "--status"]) == 0
    assert "c1" not in "".join(capsys.readouterr())
    for name in ("c0", "c2"):
        (cohort / name / "t1.nii.gz").write_bytes(b"damaged")
    command += ["--centers", "cohort", "--overwrite"]
    assert main(command) == 1
    assert "none of the cases can be read (found a file is missing or cannot be read)" in capsys.readouterr().err


def test_masks_of_another_preparation_are_no_finished_cases(
    model: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights are the same, but model.json was edited."""
    run(cohort, tmp_path / "o", "--model", model)
    content = json.loads((model / "model.json").read_text())
    content["data"]["orientation"] = "native"
    (model / "model.json").write_text(json.dumps(content))
    assert "another model's predictions" in refused(capsys, cohort, tmp_path / "o", "--model", model, "--continue")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centers": [[20.0], [60.0, 1.0], [120.0]]}, "as many coordinates as the others"),
        ({"centers": [[], [], []]}, "as many coordinates as the others"),
        ({"thresholds": [90.0, 40.0]}, "one between neighboring centers, in ascending order"),
        ({"thresholds": [40.0]}, "one between neighboring centers"),
    ],
)
def test_centers_that_are_none_are_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    content = {"method": "fuzzy-kmeans", "centers": [[20.0], [60.0], [120.0]]}
    (tmp_path / "c.json").write_text(json.dumps({**content, **change}))
    said = refused(capsys, cohort, tmp_path / "o", "--centers", tmp_path / "c.json")
    assert "c.json: does not hold cluster centers" in said
    assert message in said


def test_labels_are_those_of_the_nearest_center_in_whatever_order_they_stand() -> None:
    points = np.array([[0.0], [3.0], [4.0], [9.0], [14.0], [30.0]])
    mixed = Clusters(method="kmeans", centers=[[10.0], [2.0], [20.0]])
    assert mixed.labels(points).tolist() == [2, 2, 2, 1, 1, 3]
    assert Clusters(method="kmeans", centers=[[2.0], [10.0], [20.0]]).labels(points).tolist() == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--centers", "cohort", "--memberships"],
        ["--method", "kmeans", "--clusters", "2"],
        ["--method", "normalized-cut"],
    ],
    ids=lambda options: " ".join(options) or "fuzzy-kmeans",
)
def test_tokens_of_a_model_give_masks_on_the_scans_own_grid(model: Path, tmp_path: Path, options: list[str]) -> None:
    folder = tmp_path / "large"
    for seed in range(2):
        Volume(scan(seed, (100, 90, 3))[0], np.diag([2.0, 2, 3, 1]), (2.0, 2.0, 3.0)).save(
            folder / f"c{seed}/t1.nii.gz"
        )
    run(folder, tmp_path / "out", "--model", model, "--device", "cpu", *options)
    for seed in range(2):
        mask, truth = Volume.load(tmp_path / "out" / f"c{seed}.nii.gz").array, scan(seed, (100, 90, 3))[1]
        assert ((mask == 0) == (truth == 0)).mean() > 0.999  # noise may be 0 in a voxel of tissue
        assert len(np.unique(mask)) > 2


def test_a_device_that_is_not_there_is_refused(
    model: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, cohort, tmp_path / "out", "--model", model, "--device", "cuda:99", "--precision", "fp32")
    assert "no such device on this machine (found cuda:99" in said


def test_keys_do_nothing_without_the_configuration_they_change(
    model: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, cohort, tmp_path / "out", "--model", model, "--data.label_map", "{2: 1}")
    assert "--data.label_map does nothing without a configuration" in said


def test_another_precision_is_no_finished_case(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, output = tmp_path / "large", tmp_path / "out"
    Volume(scan(0, (100, 90, 2))[0], np.diag([2.0, 2, 3, 1]), (2.0, 2.0, 3.0)).save(scans / "c0/t1.nii.gz")
    run(scans, output, "--model", model, "--precision", "fp32")
    assert status(capsys, scans, output, "--model", model, "--precision", "fp32").startswith("1 of 1 case finished")
    assert status(capsys, scans, output, "--model", model, "--precision", "bf16").startswith("0 of 1 case finished")


def test_clusters_are_ordered_by_the_brightness_of_their_points() -> None:
    points = np.array([[9.0, 0], [8.0, 0], [0.0, 1], [1.0, 1]])
    clusters = Clusters(method="kmeans", centers=[[0.5, 1.0], [8.5, 0.0]])
    assert in_order(clusters, points, None) == clusters
    assert in_order(clusters, points, np.array([1.0, 2, 3, 4])).centers == [[8.5, 0.0], [0.5, 1.0]]


def test_slices_of_too_many_tokens_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segcct.cluster.normalized_cut.MOST_TOKENS", 20)
    Volume(scan(0, (100, 90, 2))[0], np.diag([2.0, 2, 3, 1]), (2.0, 2.0, 3.0)).save(tmp_path / "scans/c0/t1.nii.gz")
    options = ("--model", model, "--device", "cpu", "--method", "normalized-cut")
    assert (
        main(
            ["cluster-segment", "--input", str(tmp_path / "scans"), "--output", str(tmp_path / "o"), *map(str, options)]
        )
        == 1
    )
    assert "c0: too many tokens per slice for a normalized cut" in capsys.readouterr().err


def test_the_two_parts_of_a_graph_are_found() -> None:
    from segcct.cluster.normalized_cut import second_eigenvector

    rng = np.random.default_rng(0)
    tokens = np.concatenate([rng.normal((1, 0, 0), 0.1, (12, 3)), rng.normal((0, 1, 0), 0.1, (20, 3))])
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    vector = second_eigenvector(tokens)
    first = vector > vector.mean()
    assert len(set(first[:12])) == len(set(first[12:])) == 1
    assert first[0] != first[12]
