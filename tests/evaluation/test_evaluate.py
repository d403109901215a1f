"""Evaluation of folders: tables worked by hand, every problem named at once, layouts, conventions, comparison."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from sklearn.metrics import accuracy_score

import segcct
from segcct.cli import main
from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError, LabelError, MetricError
from segcct.evaluation import evaluate_folders, evaluation_files, scoring
from segcct.evaluation.evaluate_folders import evaluate
from segcct.evaluation.paired_comparison import paired_differences
from segcct.evaluation.scoring import CaseScores, Row
from segcct.evaluation.summary_record import MetricStats
from segcct.evaluation.tables import _mean
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.volume import Volume
from segcct.metrics import all_metrics, get_convention
from segcct.metrics.metric_table import quantity
from segcct.report import plots
from segcct.report.findings import findings
from segcct.report.results import read_results
from segcct.report.segmentation_page import _conventions

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
SHAPE = (12, 12, 6)


def save(file: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    spacing = None if affine is IMAGE_AFFINE else tuple(np.linalg.norm(affine[:3, :3], axis=0))
    Volume(array.astype(np.uint8), affine, spacing).save(file)
    return file


def heart(shift: int = 0, lv: bool = True) -> np.ndarray:
    """RV, MYO and (with `lv`) LV as boxes of 3x3x4, 2x3x4 and 2x3x4 voxels, moved along Y."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, start, stop in ((1, 1, 4), (2, 4, 6), *(((3, 6, 8),) if lv else ())):
        labels[start:stop, 3 + shift : 6 + shift, 1:5] = value
    return labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases: `a` as the reference, `b` moved by one voxel, `c` without LV though the reference has one."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for case, prediction in {"a": heart(), "b": heart(1), "c": heart(lv=False)}.items():
        save(predictions / f"{case}.nii.gz", prediction)
        save(references / f"{case}.nii.gz", heart())
    return predictions, references


def rows_of(file: Path) -> dict[tuple[str, str], dict[str, str]]:
    with file.open(newline="") as stream:
        return {(row["case"], row["class"]): row for row in csv.DictReader(stream)}


def test_tables_worked_by_hand(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    summary = segcct.evaluate(*folders, scheme="acdc", output=output)
    head = (output / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("case,class,dice,iou,hd95_mm,nsd,")
    assert head.endswith(",volume_pred_ml,volume_ref_ml,status")
    rows = rows_of(output / "metrics.csv")
    assert list(rows) == [(case, name) for case in "abc" for name in ("RV", "MYO", "LV")]
    assert float(rows["b", "RV"]["dice"]) == pytest.approx(2 / 3)
    assert float(rows["b", "RV"]["iou"]) == pytest.approx(1 / 2)
    assert float(rows["b", "RV"]["hd95_mm"]) == 1.0
    assert float(rows["b", "RV"]["volume_ref_ml"]) == pytest.approx(36 * 2 / 1000)
    assert rows["c", "LV"]["status"] == "missed"
    assert float(rows["c", "LV"]["dice"]) == 0.0
    assert float(rows["c", "LV"]["hd95_mm"]) == pytest.approx(np.sqrt(12**2 + 12**2 + 12**2))
    assert float(rows["c", "LV"]["volume_pred_ml"]) == 0.0

    assert summary == json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["convention"], summary["scheme"], summary["cases"]) == ("default", "acdc", 3)
    lv = summary["classes"]["LV"]
    assert lv["dice"]["mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert lv["dice"]["n"] == 3
    assert lv["counts"] == {"ok": 2, "missed": 1, "spurious": 0, "absent": 0}
    assert summary["overall"]["dice"]["mean"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert {"dice", "iou", "hd95_mm", "nsd"} <= set(summary["overall"])
    assert "hd95_vox" not in summary["overall"]
    assert set(summary["overall"]["dice"]) == {"mean", "sd", "median", "q25", "q75", "ci95", "n"}
    assert summary["units"]["hd95_mm"] == "mm"
    assert summary["files"]["b"]["prediction"] == str((folders[0] / "b.nii.gz").resolve())
    assert summary["provenance"]["references"] == str(folders[1].resolve())
    table = (output / "table.md").read_text(encoding="utf-8")
    assert "| LV | 0.556 [0.000, 1.000] |" in table
    assert "HD95 (mm)" in table
    assert "over 3 cases of 3 patients, scheme acdc, convention default" in table


def test_pixel_accuracy_worked_by_hand(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Of 864 voxels: `b`, moved by one along Y, is wrong in a layer of 7 x 4 voxels on either side; `c` in the LV."""
    summary = evaluate(*folders, "acdc", output=tmp_path / "o")
    right = {"a": 864, "b": 864 - 2 * 7 * 4, "c": 864 - 2 * 3 * 4}
    with (tmp_path / "o" / "cases.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert list(rows["a"]) == ["case", "pixel_accuracy", "background", "voxels"]
    for case, voxels in right.items():
        assert float(rows[case]["pixel_accuracy"]) == pytest.approx(voxels / 864)
        assert float(rows[case]["background"]) == pytest.approx((864 - 7 * 3 * 4) / 864)
        assert rows[case]["voxels"] == "864"
    stats = summary["label_map"]["pixel_accuracy"]
    assert stats["mean"] == pytest.approx(np.mean(list(right.values())) / 864)
    low, high = stats["ci95"]
    assert 0 <= low < stats["mean"] < high <= 1
    assert set(stats) == set(summary["overall"]["dice"])
    assert "background included" in summary["label_map"]["definitions"]["pixel_accuracy"]
    table = (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
    assert f"the cases: {stats['mean']:.4f} [" in table
    assert "an empty mask would reach 0.9028 [0.9028, 0.9028]." in table


def test_pixel_accuracy_is_scikit_learns(tmp_path: Path) -> None:
    """Regions, and the label values of the scheme, change nothing; neither does the convention."""
    rng = np.random.default_rng(0)
    expected = {}
    for case in "abc":
        prediction, reference = (rng.choice([0, 1, 2, 4], SHAPE, p=[0.7, 0.1, 0.1, 0.1]) for _ in range(2))
        save(tmp_path / "p" / f"{case}.nii.gz", prediction)
        save(tmp_path / "r" / f"{case}.nii.gz", reference)
        expected[case] = accuracy_score(reference.ravel(), prediction.ravel())
    for workers in (1, 2):
        output = tmp_path / f"o{workers}"
        conventions = ("default", "brats2020")
        summary = evaluate(
            tmp_path / "p", tmp_path / "r", "brats2021", output=output, conventions=conventions, workers=workers
        )
        assert summary["label_map"]["pixel_accuracy"]["mean"] == pytest.approx(np.mean(list(expected.values())))
        other = json.loads((output / "summary.brats2020.json").read_text(encoding="utf-8"))
        assert other["label_map"] == summary["label_map"]
        assert read_results(output).pixel_accuracy == pytest.approx(expected)


def test_a_structure_absent_on_both_sides_is_counted_not_scored(tmp_path: Path) -> None:
    for side in ("p", "r"):
        save(tmp_path / side / "a.nii.gz", heart(lv=False))
        save(tmp_path / side / "b.nii.gz", heart())
    summary = evaluate(tmp_path / "p", tmp_path / "r", "acdc", output=tmp_path / "o")
    assert summary["classes"]["LV"]["counts"]["absent"] == 1
    assert summary["classes"]["LV"]["dice"]["n"] == 1
    assert summary["overall"]["dice"]["mean"] == 1.0
    assert rows_of(tmp_path / "o" / "metrics.csv")["a", "LV"]["dice"] == ""
    everywhere = evaluate(tmp_path / "p", tmp_path / "r", Scheme("two", {"RV": 1, "MYO": 2, "LV": 3, "ghost": 9}))
    assert everywhere["classes"]["ghost"]["dice"] == {
        **dict.fromkeys(("mean", "sd", "median", "q25", "q75")),
        "ci95": [None, None],
        "n": 0,
    }


def test_regions_stand_beside_the_classes_but_not_in_the_mean(tmp_path: Path) -> None:
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[2:8, 2:8, 1:5] = 2
    reference[3:6, 3:6, 2:4] = 1
    reference[3:5, 3:5, 2:3] = 4
    swapped = np.choose(reference, [0, 2, 1, 0, 4]).astype(np.uint8)
    save(tmp_path / "p" / "a.nii.gz", swapped)
    save(tmp_path / "r" / "a.nii.gz", reference)
    summary = evaluate(tmp_path / "p", tmp_path / "r", "brats2021")
    assert list(summary["classes"]) == ["NCR", "ED", "ET", "TC", "WT"]
    assert summary["classes"]["WT"]["dice"]["mean"] == 1.0
    own = [summary["classes"][name]["dice"]["mean"] for name in ("NCR", "ED", "ET")]
    assert summary["overall"]["dice"]["mean"] == pytest.approx(np.mean(own))
    assert summary["regions"] == {"TC": [1, 4], "WT": [1, 2, 4]}
    assert summary["tolerance_mm"] == 1.0


def spoil(predictions: Path, references: Path) -> None:
    """One missing case, one extra, one flipped affine, one stray label, one truncated file, beside a good one."""
    for case in ("missing", "flipped", "stray", "truncated"):
        save(references / f"{case}.nii.gz", heart())
    save(predictions / "extra.nii.gz", heart())
    save(predictions / "flipped.nii.gz", heart(), AFFINE @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    stray = heart()
    stray[0, 0, :3] = 255
    save(predictions / "stray.nii.gz", stray)
    noise = np.random.default_rng(0).integers(0, 4, SHAPE)
    content = save(predictions / "truncated.nii.gz", noise).read_bytes()
    (predictions / "truncated.nii.gz").write_bytes(content[: len(content) // 2])


PROBLEMS = (
    r"extra: has a prediction \(.*extra.nii.gz\) but no reference",
    r"missing: has a reference but no prediction \(.*missing.nii.gz is missing\)",
    r"flipped: .*flipped.nii.gz: voxel grids lie up to 22 mm apart",
    r"stray: .*stray.nii.gz: label values outside scheme acdc \(found 255 \(3 voxels\); expected 0 background, 1 RV",
    r"truncated: .*truncated.nii.gz: cannot be read as NIfTI \(found truncated",
)


def test_every_problem_is_named_in_one_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    spoil(*folders)
    with pytest.raises(EvaluationError, match="5 problems, nothing was scored") as caught:
        evaluate(*folders, "acdc", output=tmp_path / "o")
    for problem in PROBLEMS:
        assert caught.match(problem)
    assert not (tmp_path / "o").exists()


def test_more_failures_than_wanted_end_the_evaluation(folders: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    for name in ("a", "b"):
        (folders[0] / f"{name}.nii.gz").write_bytes(b"")
    command = ["evaluate", "--prediction", str(folders[0]), "--reference", str(folders[1]), "--scheme", "acdc"]
    assert main([*command, "--output", str(tmp_path / "o"), "--max-failures", "0"]) == 1
    printed = capsys.readouterr().err
    assert "1 problem, nothing was scored" in printed
    assert "more than 0 cases failed: 2 more cases skipped" in printed
    assert "b.nii.gz" not in printed
    with pytest.raises(EvaluationError, match="2 problems, nothing was scored"):
        evaluate(*folders, "acdc", max_failures=2)


def test_the_command_exits_with_1_and_one_message(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(*folders)
    old, files = tmp_path / "o", ("metrics.csv", "cases.csv", "summary.json", "summary.medpy.json", "table.md")
    old.mkdir()
    for name in files:
        (old / name).write_text("of last week")
    command = ["evaluate", "--prediction", str(folders[0]), "--reference", str(folders[1]), "--scheme", "acdc"]
    assert main([*command, "--output", str(old)]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert all(name in printed.err for name in ("extra", "missing", "flipped", "stray", "truncated"))
    assert {file.name: file.read_text() for file in old.iterdir()} == dict.fromkeys(files, "of last week")


@pytest.mark.parametrize("fault", ["unmatched", "unreadable"])
def test_a_failed_evaluation_keeps_the_results_that_are_there(
    folders: tuple[Path, Path], tmp_path: Path, fault: str
) -> None:
    output = tmp_path / "o"
    evaluate(*folders, "acdc", output=output, conventions=("default", "medpy"))
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    if fault == "unmatched":
        (folders[0] / "c.nii.gz").unlink()
    else:
        (folders[1] / "c.nii.gz").write_bytes(b"")
    with pytest.raises(EvaluationError, match="1 problem, nothing was scored"):
        evaluate(*folders, "acdc", output=output)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    save(folders[0] / "c.nii.gz", heart())
    save(folders[1] / "c.nii.gz", heart())
    others = {"notes.txt", "metrics.of_may.csv", "summary.of_may.json"}
    for name in others:
        (output / name).write_text("{}")
    evaluate(*folders, "acdc", output=output)
    of_one = {name for name in before if ".default." not in name and ".medpy." not in name}
    assert {file.name for file in output.iterdir()} == of_one | others
    assert read_results(output).others == {}


def test_a_failed_write_leaves_no_results_of_an_earlier_evaluation(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(*folders, "acdc", output=tmp_path / "o")

    def full(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(evaluation_files, "write_metrics", full)
    with pytest.raises(OSError, match="the disk is full"):
        evaluate(*folders, "acdc", output=tmp_path / "o")
    assert list((tmp_path / "o").iterdir()) == []


def test_an_interrupted_removal_leaves_no_summary_of_incomplete_results(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(*folders, "acdc", output=tmp_path / "o")
    unlink = Path.unlink
    removed: list[str] = []

    def once(file: Path, *, missing_ok: bool = False) -> None:
        if file.parent == tmp_path / "o" and not file.name.startswith("."):
            if removed:
                raise KeyboardInterrupt
            removed.append(file.name)
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate(*folders, "acdc", output=tmp_path / "o")
    assert removed == ["summary.json"]


def test_unmatched_cases_are_left_out_when_allowed(folders: tuple[Path, Path]) -> None:
    (folders[0] / "a.nii.gz").rename(folders[0] / "d.nii.gz")
    with pytest.raises(EvaluationError, match="2 problems"):
        evaluate(*folders, "acdc")
    summary = evaluate(*folders, "acdc", allow_unmatched=True)
    assert summary["cases"] == 2
    assert summary["unmatched"] == {"predictions": ["d"], "references": ["a"]}


def test_a_broken_reference_is_named_too(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").write_bytes(gzip.compress(b"not an image"))
    (folders[0] / "b.nii.gz").write_bytes(b"")
    with pytest.raises(EvaluationError, match="2 problems") as caught:
        evaluate(*folders, "acdc")
    assert caught.match("predictions/b.nii.gz: the file is empty")
    assert caught.match("references/b.nii.gz: cannot be read")


@pytest.mark.slow
def test_processes_change_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(*folders, "acdc", output=tmp_path / "one")
    evaluate(*folders, "acdc", output=tmp_path / "two", workers=2, progress=lambda *at: seen.append(at))
    for name in ("metrics.csv", "details.csv", "cases.csv", "table.md"):
        assert (tmp_path / "one" / name).read_text(encoding="utf-8") == (tmp_path / "two" / name).read_text(
            encoding="utf-8"
        )
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_unforeseen_error_names_the_case(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Any) -> CaseScores:
        if job.id == "a":
            raise RuntimeError(f"no memory for {job.id}")
        return CaseScores(job.id)

    monkeypatch.setattr(evaluate_folders, "score_case", fail)
    words = r"1 problem, .*a: unexpected RuntimeError: no memory for a\. This is a bug of segcct"
    with pytest.raises(EvaluationError, match=f"(?s){words}"):
        evaluate(*folders, "acdc")


def test_a_mask_replaced_while_it_is_scored_is_a_problem(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores would be those of one file, and its digest that of another."""
    read = scoring.read_pair

    def overtaken(job: scoring.Job) -> tuple[Volume, Volume]:
        pair = read(job)
        if job.id == "b":
            save(job.prediction, heart(5))
        return pair

    monkeypatch.setattr(scoring, "read_pair", overtaken)
    with pytest.raises(EvaluationError, match=r"b: .*b\.nii\.gz: changed while it was scored"):
        evaluate(*folders, "acdc")


@pytest.mark.parametrize("ending", ["_seg", "-seg", "_gt", "_label"])
def test_references_may_carry_an_ending(folders: tuple[Path, Path], ending: str) -> None:
    for file in sorted(folders[1].iterdir()):
        case = file.name.split(".")[0]
        shutil.copy(folders[0] / "b.nii.gz", folders[1] / f"{case}{ending}.nii.gz")
    # Beside its mask, the plain file is the image.
    assert evaluate(*folders, "acdc")["classes"]["RV"]["dice"]["mean"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)


def test_masks_match_in_any_spelling_of_unicode(folders: tuple[Path, Path]) -> None:
    names = [unicodedata.normalize(form, "Müller.nii.gz") for form in ("NFD", "NFC")]
    for folder, name in zip(folders, names, strict=True):
        (folder / "a.nii.gz").rename(folder / name)
    assert evaluate(*folders, "acdc")["cases"] == 3


def test_masks_of_the_same_names_match_whatever_their_ending(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for file in sorted(folder.iterdir()):
            file.rename(folder / file.name.replace(".nii", "_seg.nii"))
    assert list(evaluate(*folders, "acdc")["files"]) == ["a_seg", "b_seg", "c_seg"]


def test_two_files_of_one_case_are_refused(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "a.nii", heart())
    with pytest.raises(EvaluationError, match=r"a\.nii\.gz: two masks of case a \(found also a\.nii\)"):
        evaluate(*folders, "acdc")


def index(predictions: Path, **more: Any) -> None:
    masks = sorted(predictions.glob("*.nii.gz"))
    cases = {
        file.name.removesuffix(".nii.gz"): {"mask": file.name, "channels": {"cine": ["/scan.nii.gz"]}} for file in masks
    }
    content = {
        "cases": cases,
        "scheme": {"name": "acdc", "classes": {"RV": 1, "MYO": 2, "LV": 3}, "regions": {}},
        "selection": None,
        **more,
    }
    (predictions / "predictions.json").write_text(json.dumps(content))


def test_masks_are_not_scored_under_a_scheme_they_were_not_written_in(folders: tuple[Path, Path]) -> None:
    index(folders[0])
    with pytest.raises(EvaluationError, match=r"not written under this scheme .*brats2023 \(.*; expected acdc \(RV 1"):
        evaluate(*folders, "brats2023")  # it has the same values, of other structures
    index(folders[0], scheme={"name": "custom", "classes": {"a": 1, "b": 2, "c": 3}, "regions": {}})
    assert evaluate(*folders, "acdc")["scheme"] == "acdc"  # a custom scheme may get its real name
    with pytest.raises(EvaluationError, match="not written under this scheme"):
        evaluate(*folders, "synapse")
    index(folders[0], scheme={"name": "custom", "classes": {"LV": 1, "MYO": 2, "RV": 3}, "regions": {}})
    for other in ("acdc", Scheme("custom", {"RV": 1, "MYO": 2, "LV": 3})):
        with pytest.raises(EvaluationError, match=r"found --scheme .* \(RV 1, MYO 2, LV 3\); expected custom \(LV 1"):
            evaluate(*folders, other)


def test_the_other_predictions_are_not_compared_under_a_scheme_they_were_not_written_in(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Their left ventricle would be compared with our right one."""
    other = tmp_path / "other"
    shutil.copytree(folders[0], other)
    index(folders[0])
    index(other, scheme={"name": "custom", "classes": {"LV": 1, "MYO": 2, "RV": 3}, "regions": {}})
    for named in (None, "acdc"):
        with pytest.raises(EvaluationError, match=r"under another scheme .*custom \(LV 1.*expected acdc \(RV 1"):
            evaluate(*folders, named, against=other)
    for names in ({"RV": 1, "MYO": 2, "LV": 3}, {"a": 1, "b": 2, "c": 3}):  # the same, or without their real names
        index(other, scheme={"name": "custom", "classes": names, "regions": {}})
        assert evaluate(*folders, against=other)["paired"]["cases"] == 3
        assert evaluate(other, folders[1], against=folders[0])["paired"]["cases"] == 3


def test_masks_of_another_program_are_scored_by_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It gives the classes of a custom scheme, and says how the dataset is read: files, label values, patients."""
    for case in ("p1_visit1", "p1_visit2", "p2_visit1"):
        save(tmp_path / "data" / f"{case}_ct.nii.gz", np.zeros(SHAPE))
        save(tmp_path / "data" / f"{case}_seg.nii.gz", np.choose(heart(), [0, 2, 1, 3]))
        save(tmp_path / "masks" / f"{case}.nii.gz", heart())
    config = tmp_path / "config.yaml"
    config.write_text(
        """
        data:
          layout: paired
          root: elsewhere
          channels: {ct: "{id}_ct.nii.gz"}
          label: "{id}_seg.nii.gz"
          patient: (.*)_visit.
          scheme: custom
          labels: {right: 1, muscle: 2, left: 3}
          label_map: {1: 2, 2: 1}
        """
    )
    command = ["evaluate", "--prediction", tmp_path / "masks", "--reference", tmp_path / "data", "--scheme", config]
    assert main([*map(str, command), "--output", str(tmp_path / "o")]) == 0
    summary = json.loads((tmp_path / "o" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["classes"]) == ["right", "muscle", "left"]
    assert (summary["cases"], summary["patients"], summary["overall"]["dice"]["mean"]) == (3, 2, 1.0)
    assert list(summary["files"]["p1_visit1"]["channels"]) == ["ct"]  # which the report shows
    classes = {"right": 1, "muscle": 2, "left": 3}
    data = {"layout": "paired", "root": "r", "channels": {"ct": "{id}_ct.nii.gz"}, "label": "{id}_seg.nii.gz"}
    data |= {"scheme": "custom", "labels": classes}  # without the patients and the swapped values of the config
    index(tmp_path / "masks", data=data, scheme={"name": "custom", "classes": classes})
    by_index, by_config = (evaluate(tmp_path / "masks", tmp_path / "data", scheme) for scheme in (None, config))
    assert (by_index["patients"], by_index["overall"]["dice"]["mean"] < 1) == (3, True)
    assert (by_config["patients"], by_config["overall"]["dice"]["mean"]) == (2, 1.0)
    save(tmp_path / "flat" / "p1_visit1.nii.gz", heart())
    assert evaluate(tmp_path / "flat", tmp_path / "flat", config)["scheme"] == "custom"
    capsys.readouterr()
    config.unlink()
    assert main([*map(str, command), "--output", str(tmp_path / "o")]) == 1
    assert "config.yaml: no such config file" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["/scan.nii.gz", f"/{300 * 'x'}.nii.gz"])
def test_images_that_have_moved_are_those_of_the_dataset(tmp_path: Path, gone: str) -> None:
    """Scans are often predicted on another machine than they are evaluated on. There, looking for the old path may be
    an error: it may lie in the home of another user, or be too long."""
    data = {"layout": "paired", "root": "there", "channels": {"cine": "{id}_mr.nii.gz"}, "label": "{id}_seg.nii.gz"}
    data |= {"scheme": "acdc"}
    save(tmp_path / "data" / "a_mr.nii.gz", np.zeros(SHAPE))
    save(tmp_path / "data" / "a_seg.nii.gz", heart())
    save(tmp_path / "masks" / "a.nii.gz", heart())
    index(tmp_path / "masks", data=data, cases={"a": {"mask": "a.nii.gz", "channels": {"cine": [gone]}}})
    image = tmp_path / "data" / "a_mr.nii.gz"
    assert evaluate(tmp_path / "masks", tmp_path / "data")["files"]["a"]["channels"] == {"cine": [str(image)]}


def test_an_index_without_a_scheme_is_not_called_missing(folders: tuple[Path, Path]) -> None:
    index(folders[0], scheme=None)
    with pytest.raises(EvaluationError, match=r"not known \(found predictions\.json without a scheme\)"):
        evaluate(*folders)


def test_the_index_gives_scheme_channels_and_selection(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "trained_on.nii.gz", heart())
    index(folders[0], selection="test")
    summary = evaluate(*folders)
    assert summary["scheme"] == "acdc"
    assert summary["cases"] == 3
    assert summary["files"]["a"]["channels"] == {"cine": ["/scan.nii.gz"]}
    index(folders[0])
    with pytest.raises(EvaluationError, match="trained_on: has a reference but no prediction"):
        evaluate(*folders)


def test_a_mask_that_the_index_does_not_list_is_not_scored(folders: tuple[Path, Path]) -> None:
    index(folders[0], selection="test")
    for folder in folders:
        shutil.copy(folder / "a.nii.gz", folder / "of_another_model.nii.gz")
    assert set(evaluate(*folders)["files"]) == {"a", "b", "c"}


def test_cases_that_the_model_has_seen_are_reported(folders: tuple[Path, Path], tmp_path: Path) -> None:
    index(folders[0])
    content = json.loads((folders[0] / "predictions.json").read_text())
    content["cases"]["a"]["seen"] = "train"
    content["cases"]["c"]["seen"] = "val"
    (folders[0] / "predictions.json").write_text(json.dumps(content))
    summary = evaluate(*folders, output=tmp_path / "out")
    assert summary["seen"] == {"train": ["a"], "val": ["c"]}
    warning = "Of the 3 cases, the model was trained on 1 and selected on 1"
    assert warning in (tmp_path / "out" / "table.md").read_text()
    assert warning in findings(read_results(tmp_path / "out"))[0]
    index(folders[0])
    assert evaluate(*folders, output=tmp_path / "out")["seen"] == {"train": [], "val": []}
    assert "was trained on" not in (tmp_path / "out" / "table.md").read_text()


def test_synthetic_cases_and_training_are_reported(folders: tuple[Path, Path], tmp_path: Path) -> None:
    index(folders[0], synthetic_training=True)
    summary = evaluate(*folders, output=tmp_path / "out")
    assert (summary["synthetic"], summary["synthetic_training"]) == ([], True)
    assert "**The model was trained on synthetic data.**" in (tmp_path / "out" / "table.md").read_text()
    content = json.loads((folders[0] / "predictions.json").read_text())
    content["cases"]["a"]["synthetic"] = content["cases"]["b"]["synthetic"] = True
    (folders[0] / "predictions.json").write_text(json.dumps(content))
    summary = evaluate(*folders, output=tmp_path / "out")
    assert summary["synthetic"] == ["a", "b"]
    assert "2 of 3 cases are synthetic" in (tmp_path / "out" / "table.md").read_text()


def test_a_listed_mask_that_is_gone_is_missing(folders: tuple[Path, Path]) -> None:
    index(folders[0], selection="test")
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match="b: has a reference but no prediction"):
        evaluate(*folders)


@pytest.mark.parametrize("content", ["{", "[]", '{"cases": {"a": {}}}', '{"cases": {}, "scheme": {"name": "x"}}'])
def test_a_damaged_index_is_named(folders: tuple[Path, Path], content: str) -> None:
    (folders[0] / "predictions.json").write_text(content)
    with pytest.raises(EvaluationError, match=r"predictions\.json: is not an index"):
        evaluate(*folders, "acdc")


BAD_CALLS: dict[str, tuple[Callable[[Path, Path], object], type[Exception], str]] = {
    "no scheme": (lambda p, r: evaluate(p, r), EvaluationError, "meaning of the label values is not known"),
    "unknown scheme": (lambda p, r: evaluate(p, r, "heart"), LabelError, "unknown label scheme 'heart'"),
    "unknown convention": (
        lambda p, r: evaluate(p, r, "acdc", conventions=("default", "nnunet")),
        MetricError,
        "unknown convention 'nnunet'",
    ),
    "conventions as text": (
        lambda p, r: evaluate(p, r, "acdc", conventions="default"),
        MetricError,
        "conventions are a list",
    ),
    "no predictions": (lambda p, r: evaluate(p / "x", r, "acdc"), EvaluationError, "no such folder of predictions"),
    "no references": (lambda p, r: evaluate(p, r / "x", "acdc"), EvaluationError, "no such folder of references"),
    "empty folder": (lambda p, r: evaluate(p.parent, r, "acdc"), EvaluationError, "holds no masks"),
    "unknown layout": (lambda p, r: evaluate(p, r.parent, "acdc"), EvaluationError, "how these references are stored"),
    "layout without patterns": (
        lambda p, r: evaluate(p, r.parent, "acdc", layout="folder"),
        EvaluationError,
        "layout 'folder' cannot be found without the config's file patterns",
    ),
    "no workers": (lambda p, r: evaluate(p, r, "acdc", workers=0), EvaluationError, "workers=0"),
    "nothing in common": (
        lambda p, r: evaluate(p, p.parent / "others", "acdc", allow_unmatched=True),
        EvaluationError,
        "no case has both",
    ),
    "output is a file": (
        lambda p, r: evaluate(p, r, "acdc", output=p / "a.nii.gz"),
        EvaluationError,
        "is not a folder",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_say_what_is_wrong(folders: tuple[Path, Path], name: str) -> None:
    save(folders[0].parent / "others" / "z.nii.gz", heart())
    call, kind, message = BAD_CALLS[name]
    with pytest.raises(kind, match=message):
        call(*folders)


def test_a_dataset_root_is_read_by_its_layout(tmp_path: Path) -> None:
    """Official ACDC folders, labels only; the two frames belong to one patient."""
    root = tmp_path / "acdc" / "training" / "patient007"
    for frame in ("01", "09"):
        save(root / f"patient007_frame{frame}_gt.nii.gz", heart())
        save(tmp_path / "p" / f"patient007_frame{frame}.nii.gz", heart(1))
    (root / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\n")
    summary = evaluate(tmp_path / "p", tmp_path / "acdc", "acdc", layout="acdc")
    assert (summary["cases"], summary["patients"]) == (2, 1)
    assert summary["overall"]["dice"]["ci95"] == [None, None]
    assert summary["files"]["patient007_frame01"]["reference"].endswith("patient007_frame01_gt.nii.gz")
    flipped = AFFINE @ np.diag([-1.0, 1.0, 1.0, 1.0])
    save(tmp_path / "p" / "patient007_frame09.nii.gz", heart(), flipped)
    with pytest.raises(EvaluationError, match=r"patient007_frame09: .*grids lie up to"):
        evaluate(tmp_path / "p", tmp_path / "acdc", "acdc", layout="acdc")


@pytest.mark.parametrize("ending", ["_seg", "-seg"])
def test_brats_names_of_all_years_are_found(tmp_path: Path, ending: str) -> None:
    labels = np.where(heart() == 3, 4, heart())
    for case in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001"):
        save(tmp_path / "data" / case / f"{case}{ending}.nii.gz", labels)
        save(tmp_path / "p" / f"{case}.nii.gz", labels)
    summary = evaluate(tmp_path / "p", tmp_path / "data", "brats2021", layout="brats")
    assert (summary["cases"], summary["patients"]) == (2, 1)
    assert summary["classes"]["WT"]["dice"]["mean"] == 1.0


def test_a_case_folder_is_read_as_a_case(tmp_path: Path) -> None:
    """What `predict --input CASE` was given: its scans are no references."""
    case = tmp_path / "data" / "BraTS2021_00001"
    labels = np.where(heart() == 3, 4, heart())
    for name in ("t1", "flair", "seg"):
        save(case / f"BraTS2021_00001_{name}.nii.gz", labels)
    save(tmp_path / "p" / "BraTS2021_00001.nii.gz", labels)
    channels = {"t1": "{id}_t1.nii.gz", "flair": "{id}_flair.nii.gz"}
    data = {
        "layout": "brats",
        "root": "elsewhere",
        "channels": channels,
        "label": "{id}_seg.nii.gz",
        "scheme": "brats2021",
    }
    classes = {"NCR": 1, "ED": 2, "ET": 4}
    index(tmp_path / "p", data=data, scheme={"name": "brats2021", "classes": classes, "regions": {}})
    for reference in (case, case.parent):
        summary = evaluate(tmp_path / "p", reference, "brats2021")
        assert (summary["cases"], summary["overall"]["dice"]["mean"]) == (1, 1.0)
        assert summary["data"]["root"] == str(reference)
    save(tmp_path / "flat" / "BraTS2021_00001.nii.gz", labels)
    assert evaluate(tmp_path / "p", tmp_path / "flat", "brats2021")["data"] is None


def write_slices(root: Path, case: str, labels: np.ndarray) -> None:
    """The `.h5` volume of the ACDC tradition: (z, y, x), no spacing."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / f"{case}.h5", "w") as file:
        file["image"] = np.zeros(labels.shape[::-1], dtype=np.float32)
        file["label"] = labels.transpose(2, 1, 0)


def test_without_spacing_distances_are_in_voxels(tmp_path: Path) -> None:
    for case, shift in (("patient001_frame01", 1), ("patient002_frame01", 0)):
        write_slices(tmp_path / "data", case, heart())
        save(tmp_path / "p" / f"{case}.nii.gz", heart(shift), IMAGE_AFFINE)
    summary = evaluate(tmp_path / "p", tmp_path / "data", "acdc", layout="slices", output=tmp_path / "o")
    head = (tmp_path / "o" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("case,class,dice,iou,hd95_mm,nsd,")
    assert head.endswith(",volume_pred_ml,volume_ref_ml,status,hd95_vox")
    row = rows_of(tmp_path / "o" / "metrics.csv")["patient001_frame01", "RV"]
    assert (row["hd95_mm"], row["nsd"], row["volume_pred_ml"], float(row["hd95_vox"])) == ("", "", "", 1.0)
    assert summary["overall"]["hd95_mm"]["n"] == 0
    assert summary["overall"]["hd95_vox"]["mean"] == pytest.approx(0.5)
    assert summary["units"]["hd95_vox"] == "voxels"
    assert "HD95 (voxels)" in (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
    # A prediction that claims millimetres cannot lend them to its reference.
    save(tmp_path / "p" / "patient001_frame01.nii.gz", heart(1))
    again = evaluate(tmp_path / "p", tmp_path / "data", "acdc", layout="slices")
    assert again["overall"]["hd95_vox"]["n"] == 2


def test_a_slice_file_of_another_size_is_named(tmp_path: Path) -> None:
    write_slices(tmp_path / "data", "patient001_frame01", heart())
    save(tmp_path / "p" / "patient001_frame01.nii.gz", heart()[:-1], IMAGE_AFFINE)
    with pytest.raises(EvaluationError, match=r"frame01\.nii\.gz: .*do not share one grid.*expected 11 x 12 x 6"):
        evaluate(tmp_path / "p", tmp_path / "data", "acdc", layout="slices")


def test_pictures_are_scored_by_their_outline(tmp_path: Path) -> None:
    from PIL import Image

    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[4:14, 5:25] = 255
    for folder, picture in (("images", np.zeros_like(mask)), ("masks", mask)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "data" / folder / "one.png")
    save(tmp_path / "p" / "one.nii.gz", np.roll(mask.T > 0, 2, axis=0)[:, :, None], IMAGE_AFFINE)
    data = {
        "layout": "pictures",
        "root": "elsewhere",
        "channels": {"grey": "images/*.png"},
        "label": "masks/*.png",
        "scheme": "binary",
        "label_map": {"255": 1},
    }
    index(tmp_path / "p", data=data, scheme={"name": "binary", "classes": {"foreground": 1}, "regions": {}})
    summary = evaluate(tmp_path / "p", tmp_path / "data")
    assert summary["overall"]["dice"]["mean"] == pytest.approx(0.9)
    # 56 outline voxels: 32 of them lie on the other outline or one next to it, the ends two away.
    assert summary["overall"]["hd95_vox"]["mean"] == 2.0
    assert summary["data"]["root"] == str(tmp_path / "data")


def test_conventions_side_by_side(folders: tuple[Path, Path], tmp_path: Path) -> None:
    names = ("transunet", "default", "brats2020", "monai")
    summary = evaluate(*folders, "acdc", output=tmp_path / "o", conventions=names)
    assert summary["convention"] == "transunet"
    lv = {}
    for name in names:
        one = json.loads((tmp_path / "o" / f"summary.{name}.json").read_text(encoding="utf-8"))
        assert one["convention"] == name
        lv[name] = one["classes"]["LV"]
    assert json.loads((tmp_path / "o" / "summary.json").read_text(encoding="utf-8")) == summary
    assert lv["transunet"]["hd95_vox"]["mean"] == pytest.approx((0 + 1 + 0) / 3)
    assert lv["default"]["hd95_mm"]["mean"] == pytest.approx((0 + 1 + np.sqrt(432)) / 3)
    assert lv["brats2020"]["hd95_mm"]["mean"] == pytest.approx((0 + 1 + 373.12866) / 3)
    assert (lv["monai"]["hd95_mm"]["mean"], lv["monai"]["hd95_mm"]["n"]) == (0.5, 2)
    table = (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
    assert "| HD95 | transunet (voxels) | default (mm) | brats2020 (mm) | monai (mm) |" in table
    assert "| LV | 0.33 (3) | 7.26 (3) | 124.71 (3) | 0.50 (2) |" in table
    evaluate(*folders, "acdc", output=tmp_path / "o")
    assert not list((tmp_path / "o").glob("summary.*.json"))


def test_against_other_predictions(folders: tuple[Path, Path], tmp_path: Path) -> None:
    perfect = tmp_path / "perfect"
    shutil.copytree(folders[1], perfect)
    summary = evaluate(*folders, "acdc", output=tmp_path / "o", against=perfect)
    paired = json.loads((tmp_path / "o" / "paired.json").read_text(encoding="utf-8"))
    assert summary["paired"] == paired
    dice = paired["classes"]["LV"]["dice"]
    assert dice["difference"] == pytest.approx(5 / 9 - 1)
    assert dice["ci95"][0] == -1.0  # three patients: Student's interval would go beyond
    assert (dice["wins"], dice["losses"], dice["ties"], dice["n"]) == (0, 2, 1, 3)
    assert dice["p"] == 0.5  # two differences of one sign
    assert dice["p_holm"] == 1.0
    distance = paired["classes"]["LV"]["hd95_mm"]
    assert distance["difference"] > 0
    assert (distance["wins"], distance["losses"]) == (0, 2)
    assert "| LV | -0.444 [" in (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
    (perfect / "c.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"c: has a reference but no prediction .*perfect/c\.nii\.gz"):
        evaluate(*folders, "acdc", against=perfect)


def test_classes_and_regions_are_corrected_apart() -> None:
    """Seven differences of one sign: p = 2 / 2^7; corrected for two classes, for one region, and not for their mean."""
    scheme = Scheme("two", {"A": 1, "B": 2}, {"both": (1, 2)})

    def rows(start: float) -> list[Row]:
        return [
            Row(f"{case}", f"{case}", name, "ok", None, None,
                {"default": {**dict.fromkeys(all_metrics()), "dice": start + case / 100}}, {})
            for case in range(1, 8) for name in ("A", "B", "both")
        ]  # fmt: skip

    others = [replace(row, scores={"default": {**row.scores["default"], "dice": 0.5}}) for row in rows(0.5)]
    found = paired_differences(rows(0.5), others, scheme, get_convention("default"))
    p = {name: found["classes"][name]["dice"]["p_holm"] for name in ("A", "B", "both")}
    assert p == pytest.approx({"A": 4 / 128, "B": 4 / 128, "both": 2 / 128})
    assert found["overall"]["dice"]["p_holm"] == pytest.approx(2 / 128)


def test_a_missed_class_that_is_not_scored_counts_for_neither_in_the_overall_difference() -> None:
    """Else a model improves its mean over the classes by missing the difficult one."""
    scheme = Scheme("two", {"A": 1, "B": 2})

    def row(case: int, name: str, status: str, hd95: float | None, dice: float | None) -> Row:
        scores = {**dict.fromkeys(all_metrics()), "hd95_mm": hd95, "dice": dice}
        return Row(f"{case}", f"{case}", name, status, None, None, {"monai": scores}, {})

    ours = [each for case in range(3) for each in (row(case, "A", "ok", 1, 0.9), row(case, "B", "missed", None, 0))]
    theirs = [each for case in range(3) for each in (row(case, "B", "ok", 9, 0.5), row(case, "A", "ok", 1, 0.9))]
    overall = paired_differences(ours, theirs, scheme, get_convention("monai"))["overall"]
    assert (overall["hd95_mm"]["difference"], overall["hd95_mm"]["ties"]) == (0, 3)
    assert overall["dice"]["difference"] == pytest.approx(-0.25)
    # What the reference lacks and one of the two draws is scored for that one alone.
    ours = [row(0, "A", "ok", 1, 0.9), row(0, "B", "absent", None, None)]
    theirs = [row(0, "A", "ok", 1, 0.9), row(0, "B", "spurious", 30, 0)]
    overall = paired_differences(ours, theirs, scheme, get_convention("monai"))["overall"]
    assert overall["dice"]["difference"] == pytest.approx(0.45)


def test_other_predictions_are_compared_on_the_cases_of_a_split(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Those of another program, which says nothing of splits, may be of more cases, or of no more."""
    save(folders[1] / "trained_on.nii.gz", heart())
    index(folders[0], selection="test")
    other = tmp_path / "other"
    shutil.copytree(folders[1], other)
    save(other / "unlabeled.nii.gz", heart())
    assert evaluate(*folders, against=other)["paired"]["cases"] == 3
    (other / "trained_on.nii.gz").unlink()
    assert evaluate(*folders, against=other)["paired"]["cases"] == 3
    (other / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"1 problem, .*\n  - b: has a reference but no prediction .*other/b\."):
        evaluate(*folders, against=other)


def test_a_difference_of_nothing_has_no_minus() -> None:
    stats = MetricStats(mean=-1e-9, ci95=[-0.25, 1e-9])
    assert _mean(stats, quantity("dice"), sign="+") == "+0.000 [-0.250, +0.000]"


def test_the_command_takes_conventions_and_a_rival(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--prediction", str(folders[0]), "--reference", str(folders[1]), "--scheme", "acdc"]
    more = ["--convention", "default,medpy", "--against", str(folders[0]), "--tolerance", "3"]
    assert main([*command, "--output", str(tmp_path / "o"), *more]) == 0
    printed = capsys.readouterr().out
    assert "| HD95 | default (mm) | medpy (mm) |" in printed
    assert "NSD (3 mm)" in printed
    assert "won : lost" in printed
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "--help"])
    assert left.value.code == 0
    assert ", ".join(segcct.metrics.CONVENTIONS) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("tolerance", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_length(folders: tuple[Path, Path], tolerance: float) -> None:
    with pytest.raises(EvaluationError, match="tolerance"):
        evaluate(*folders, "acdc", tolerance_mm=tolerance)


@pytest.mark.parametrize("name", ["config.yaml", "folds.json"])
def test_the_folder_of_a_training_is_refused(folders: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    run, files = tmp_path / "run", (name, "metrics.csv", "summary.json")
    run.mkdir()
    for file in files:
        (run / file).write_text("of the training")
    with pytest.raises(EvaluationError, match=rf"run: is the folder of a training run.*{name} in it.*another --output"):
        evaluate(*folders, "acdc", output=run)
    assert {file.name: file.read_text() for file in run.iterdir()} == dict.fromkeys(files, "of the training")


def test_masks_of_a_flat_folder_belong_to_the_patients_in_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in ("p1_visit1", "p1_visit2", "p2_visit1"):
        save(tmp_path / "p" / f"{case}.nii.gz", heart(1))
        save(tmp_path / "r" / f"{case}_gt.nii.gz", heart())
    data = {
        "layout": "acdc",
        "root": "elsewhere",
        "channels": {"cine": "{id}.nii.gz"},
        "label": "{id}_gt.nii.gz",
        "scheme": "acdc",
    }
    index(tmp_path / "p", data={**data, "patient": r"(.*)_visit\d"})
    summary = evaluate(tmp_path / "p", tmp_path / "r")
    assert (summary["cases"], summary["patients"]) == (3, 2)
    assert "patient" not in capsys.readouterr().err
    index(tmp_path / "p", data=data)
    assert evaluate(tmp_path / "p", tmp_path / "r")["patients"] == 3
    save(tmp_path / "r" / "p3_visit1_gt.nii.gz", heart())  # of another split, and so not scored
    index(tmp_path / "p", data=data, selection="test")
    assert evaluate(tmp_path / "p", tmp_path / "r")["patients"] == 3
    assert capsys.readouterr().err.count("3 masks of the flat folder of references count as a patient each") == 2


def test_volumes_are_those_of_whole_voxels(tmp_path: Path) -> None:
    """A voxel of 2 mm3: also in an image of one slice, and in a sheared one, whose steps are 1, 1 and 2.5 mm long."""
    sheared = AFFINE.copy()
    sheared[1, 2] = 1.5
    for case, labels, affine in (("slice", heart()[:, :, 2:3], AFFINE), ("sheared", heart(), sheared)):
        for side in "pr":
            save(tmp_path / side / f"{case}.nii.gz", labels, affine)
    evaluate(tmp_path / "p", tmp_path / "r", "acdc", output=tmp_path / "o")
    rows = rows_of(tmp_path / "o" / "metrics.csv")
    assert float(rows["slice", "RV"]["volume_ref_ml"]) == pytest.approx(9 * 2 / 1000)
    assert float(rows["sheared", "RV"]["volume_pred_ml"]) == pytest.approx(36 * 2 / 1000)


def test_different_cases_are_noticed_before_earlier_results_go(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other, output = tmp_path / "other", tmp_path / "o"
    shutil.copytree(folders[1], other)
    (other / "c.nii.gz").unlink()
    evaluate(*folders, "acdc", output=output)
    with pytest.raises(EvaluationError, match=r"hold different cases \(found only in one folder: c\)"):
        evaluate(*folders, "acdc", output=output, against=other, allow_unmatched=True)
    assert (output / "summary.json").is_file()


def test_a_problem_of_a_reference_counts_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(folders[0], tmp_path / "other")
    (folders[1] / "b.nii.gz").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"^1 problem, nothing was scored"):
        evaluate(*folders, "acdc", against=tmp_path / "other")


def test_images_with_and_without_a_voxel_size_are_shown_in_one_unit(tmp_path: Path) -> None:
    for case, affine in (("with", AFFINE), ("without", IMAGE_AFFINE)):
        save(tmp_path / "p" / f"{case}.nii.gz", heart(1), affine)
        save(tmp_path / "r" / f"{case}.nii.gz", heart(), affine)
    output = tmp_path / "o"
    evaluate(tmp_path / "p", tmp_path / "r", "acdc", output=output, conventions=("default", "transunet"))
    results = read_results(output)
    assert "| HD95 | default (mm) | transunet (voxels) |" in (output / "table.md").read_text(encoding="utf-8")
    units = [(column.convention, column.quantity.unit) for column in _conventions(results)]
    assert units == [("default", ""), ("transunet", ""), ("default", "mm"), ("transunet", "voxels")]
    plot = plots.dice_by_volume(results.classes, results.scores)
    assert plot is not None
    assert plot.x_name == "Volume of the reference (voxels, logarithmic)"
    assert [len(dots) for dots in plot.series] == [2, 2, 2]


def test_the_name_of_a_scheme_cannot_become_markup(folders: tuple[Path, Path], tmp_path: Path) -> None:
    index(folders[0], scheme={"name": "<b>|x", "classes": {"RV": 1, "MYO": 2, "LV": 3}, "regions": {}})
    evaluate(*folders, output=tmp_path / "o")
    table = (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
    assert r"scheme &lt;b>\|x, convention default" in table


@pytest.mark.parametrize("side", ["p", "r"])
def test_a_mask_that_is_a_link_to_nothing_is_named(tmp_path: Path, side: str) -> None:
    for place in "pr":
        for name in "ab":
            save(tmp_path / place / f"{name}.nii.gz", np.ones(SHAPE))
    (tmp_path / side / "a.nii.gz").unlink()
    (tmp_path / side / "a.nii.gz").symlink_to(".git/annex/objects/xx")
    with pytest.raises(EvaluationError, match=rf"(?s)1 problem.*/{side}/a\.nii\.gz: no such.*\.git/annex") as e:
        evaluate(tmp_path / "p", tmp_path / "r", scheme="binary")
    assert "missing" not in str(e.value)


def test_names_with_dots_are_paired(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2"):
        save(tmp_path / "p" / f"{name}.nii.gz", np.ones(SHAPE))
        save(tmp_path / "r" / f"{name}_seg.nii", np.ones(SHAPE))
    assert list(evaluate(tmp_path / "p", tmp_path / "r", scheme="binary")["files"]) == ["1.2.840.1", "1.2.840.2"]


def test_a_reference_of_3d_slicer_is_paired(tmp_path: Path) -> None:
    mask = sitk.ReadImage(save(tmp_path / "p" / "a.nii.gz", heart()))
    (tmp_path / "r").mkdir()
    sitk.WriteImage(mask, tmp_path / "r" / "a.seg.nrrd")
    assert list(evaluate(tmp_path / "p", tmp_path / "r", scheme="acdc")["files"]) == ["a"]


def test_references_that_are_named_otherwise_are_said_how(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, _ = folders
    config = tmp_path / "config.yaml"
    data = "layout: paired, root: x, channels: {ct: 'scans/{id}.nii.gz'}, label: 'gt/{id}.nii.gz', scheme: acdc"
    config.write_text(f"run: {{name: a}}\ndata: {{{data}}}\nmodel: {{name: cct_unet_t}}\n", encoding="utf-8")
    for case in "abc":
        save(tmp_path / "root" / "scans" / f"{case}.nii.gz", heart())
    with pytest.raises(EvaluationError, match=r"no labeled case of layout paired.*references named gt/\{id\}\.nii\.gz"):
        segcct.evaluate(predictions, tmp_path / "root", scheme=str(config), output=tmp_path / "out")
