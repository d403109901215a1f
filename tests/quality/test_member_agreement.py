"""Ensembles: how far members agree, counted in their one pass, and the estimate calibrated on cases nobody has seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch import nn

from segcct.cli import main
from segcct.datasets.split_record import Splits
from segcct.images.volume import Volume
from segcct.inference.ensemble_network import Ensemble
from segcct.inference.inferers import SliceInferer
from segcct.inference.member_agreement import CountingEnsemble, MemberAgreement
from segcct.inference.predictor import Predictor, Segmented
from segcct.inference.reconstructor import Reconstructor
from segcct.inference.shared_batches import images_per_batch
from segcct.inference.unseen_cases import UnseenCases
from segcct.metrics import dice
from segcct.model_card import CARD, save_model
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import load_case, resolve
from segcct.predictions.quality_rows import read_rows
from segcct.quality.case_features import features_of_case
from segcct.quality.quality_model import QualityModel
from segcct.quality.quality_table import quality_table
from segcct.run_folder import FoldsFolder
from tests.support.toy_pair import HOW, INTENSITIES, card, class_filler, data_section, loaded_case

NAMES = ("a", "b", "c", "d", "e", "f", "g")


class Shifted(nn.Module):
    """The class whose intensity, moved by `shift`, is nearest."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        unit = image[:, :1] * 0.25 + 0.5
        return torch.cat([-100 * (unit - (each + self.shift) / 100).square() for each in INTENSITIES], dim=1)


def toy_ensemble(*shifts: float) -> Predictor:
    return Predictor(Ensemble([Shifted(shift) for shift in shifts]), card("segmentation", data_section()), HOW)


# What is counted


def test_pairs_by_hand() -> None:
    masks = np.array([[1, 1, 1, 0, 2], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0]])
    agreement = MemberAgreement(3, 4)
    agreement.add(masks[:, :2])
    agreement.add(masks[:, 2:])
    assert agreement.dice(1) == pytest.approx(np.mean([4 / 5, 2 / 5, 2 / 4]))
    assert agreement.dice(2) == 0  # of the two pairs with the one member that has it
    assert agreement.dice(3) is None
    assert agreement.foreground_dice == pytest.approx(np.mean([4 / 6, 2 / 6, 2 / 4]))


@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2)))
def test_it_is_the_mean_dice_of_pairs(masks: np.ndarray) -> None:
    agreement = MemberAgreement(3, 3)
    agreement.add(masks)
    for value in (1, 2):
        pairs = [(masks[i] == value, masks[j] == value) for i, j in ((0, 1), (0, 2), (1, 2))]
        scores = [dice(one, other) for one, other in pairs if one.any() or other.any()]
        assert agreement.dice(value) == (pytest.approx(np.mean(scores)) if scores else None)


def test_an_ensemble_that_counts_gives_the_same_logits() -> None:
    torch.manual_seed(0)
    ensemble, image = Ensemble([nn.Conv2d(1, 3, 3, padding=1) for _ in range(3)]), torch.randn(2, 1, 8, 8)
    counting = CountingEnsemble(ensemble, MemberAgreement(3, 3), (slice(1, 7), slice(2, 8)))
    assert torch.equal(counting(image), ensemble(image))
    assert np.trace(counting.agreement.voxels.sum(axis=2)) == 3 * 2 * 6 * 6


def test_the_members_agree_as_their_own_masks_do() -> None:
    """Slices of 36 by 30 pixels are padded to 32: the padding does not count."""
    case, shifts = loaded_case(noise=9.0), (-12.0, 0.0, 12.0)
    ensemble = toy_ensemble(*shifts)
    segmented = ensemble.segment(case, keep_probabilities=True, count_agreement=True)
    masks = [toy_ensemble(shift).segment(case, keep_probabilities=True).soft.index for shift in shifts]
    assert segmented.agreement is not None
    features = features_of_case(ensemble, segmented)
    found = {}
    for value, name in enumerate(("low", "high"), start=1):
        pairs = [(masks[i] == value, masks[j] == value) for i, j in ((0, 1), (0, 2), (1, 2))]
        found[name] = float(np.mean([dice(one, other) for one, other in pairs]))
        assert segmented.agreement.dice(value) == pytest.approx(found[name])
        own = features[name]
        assert own is not None
        assert own["member_agreement"] == pytest.approx(found[name])
    assert features["low"] is not None
    assert features["low"]["member_agreement_others"] == pytest.approx(found["high"])
    assert found["low"] < 0.95
    np.testing.assert_array_equal(ensemble.segment(case).full, segmented.full)
    assert ensemble.segment(case, keep_probabilities=True).agreement is None


def test_what_members_find_in_the_padding_does_not_count() -> None:
    segmented = toy_ensemble(-45.0, -45.0).segment(loaded_case(), keep_probabilities=True, count_agreement=True)
    assert segmented.agreement is not None
    assert segmented.agreement.foreground[0, 1] == (segmented.soft.index > 0).sum() == 5 * 30 * 36  # even a gray of 0


def test_members_are_counted_where_each_pixel_has_its_probabilities_once() -> None:
    of = Predictor(
        toy_ensemble(0.0, 12.0).network, card("segmentation", data_section()), replace(HOW, protocol="transunet")
    )
    assert of.segment(loaded_case(), count_agreement=True).agreement is None


def test_images_that_threads_share_batches_of_are_counted_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2-D images, each has the agreement that it has alone."""
    data = data_section(layout="pictures", channels={"gray": "{id}.png"}, label="masks/{id}.png")
    of = Predictor(Ensemble([Shifted(-12.0), Shifted(12.0)]), card("segmentation", data), HOW)
    for seed in range(6):
        voxels = np.random.default_rng(seed).integers(0, 100, (24, 32), np.uint8)
        Image.fromarray(voxels).save(tmp_path / f"{seed}.png")
    request = resolve(of.card, tmp_path)
    found: dict[str, float | None] = {}

    def heard(segmented: Segmented) -> list[dict[str, str]]:
        assert segmented.agreement is not None
        found[segmented.prepared.case_id] = segmented.agreement.dice(1)
        return []

    sizes, forward = set(), Shifted.forward
    with monkeypatch.context() as patched:
        patched.setattr(Shifted, "forward", lambda *given: sizes.add(len(given[1])) or forward(*given))
        table = CaseTable("quality.csv", heard, needs_agreement=True)
        assert not predict_folder(of, request, tmp_path / "p", tables=[table]).problem
    assert sizes == {images_per_batch(HOW, 32)} != {1}
    for case in request.cases:
        alone = of.segment(load_case(request, case, of.scheme, with_label=False), count_agreement=True)
        assert alone.agreement is not None
        assert found[case.id] == alone.agreement.dice(1)
    assert len(set(found.values())) == 6


# The commands


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FoldsFolder:
    """Two folds of seven patients: a and b validate in turn, the others test."""
    for number, name in enumerate(NAMES):
        case = loaded_case(noise=4.0 + 3 * number)
        assert case.label is not None
        for array, file in ((case.image[0], "ct.nii.gz"), (case.label, "seg.nii.gz")):
            Volume(array, case.grid.affine, case.grid.spacing_mm).save(tmp_path / "data" / name / file)
    data = data_section(root=tmp_path / "data", channels={"ct": "ct.nii.gz"}, label="seg.nii.gz")
    folder = FoldsFolder(tmp_path / "cv", (0, 1))
    for number, (trained, held_out) in enumerate((("a", "b"), ("b", "a"))):
        save_model(folder.fold(number).best, {"shift": torch.tensor(10.0 * number)}, card("segmentation", data))
        Splits((trained,), (held_out,), NAMES[2:]).save(folder.fold(number).splits)
    folder.write()
    monkeypatch.setattr(
        "segcct.inference.loaded_model.load_network", lambda best, _: Shifted(6.0 * ("fold_1" in str(best)))
    )
    return folder


def calibrate(folds: FoldsFolder, *models: Path) -> list[str]:
    chosen = models or (folds.path,)
    return ["calibrate", "--i2m", *map(str, chosen), "--input", str(folds.path.parent / "data")]


def predict(folds: FoldsFolder, output: str, *models: Path) -> list[str]:
    scans = ["--input", str(folds.path.parent / "data"), "--output", str(folds.path.parent / output)]
    return ["predict", "--model", *map(str, models or (folds.path,)), *scans]


def test_folds_are_calibrated_on_cases_that_none_was_trained_on(
    folds: FoldsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(calibrate(folds)) == 0
    shown = capsys.readouterr()
    assert "5 cases that none of the 2 members was trained on" in shown.err
    assert "| members alone |" in shown.out
    stored = json.loads((folds.path / "quality.json").read_text())
    assert stored["facts"]["patients"] == 5
    assert "ensemble on cases that none of its members was trained on" in stored["facts"]["summary"]
    assert {"member_agreement", "member_agreement_others"} <= {each["feature"] for each in stored["covariates"]}
    assert quality_table(toy_ensemble(0.0, 6.0), QualityModel.from_json(stored, folds.path)).needs_agreement
    assert stored["weights_sha256"] == Predictor.card_of(folds.path).weights_sha256
    for output, models in (("folder", ()), ("by_hand", (folds.fold(1).best, folds.fold(0).best))):
        assert main(predict(folds, output, *models)) == 0
        rows = read_rows(folds.path.parent / output / "quality.csv")
        assert {row["case"] for row in rows} == set(NAMES)
        assert all(row["estimated_dice"] for row in rows)
    assert main(predict(folds, "one", folds.fold(0).best)) == 0  # the estimate is not that of a member
    assert not (folds.path.parent / "one" / "quality.csv").exists()


def test_of_unseen_cases_labels_are_needed_and_those_that_selected_a_member_counted(folds: FoldsFolder) -> None:
    members, root = folds.members(), folds.path.parent / "data"
    (root / "g" / "seg.nii.gz").unlink()
    for number, trained in enumerate("ab"):
        Splits((trained,), ("c",), NAMES[3:]).save(folds.fold(number).splits)
    unseen = UnseenCases.of_ensemble(members, Predictor.load(members, HOW), root)
    assert [case.id for case in unseen.cases] == ["c", "d", "e", "f"]
    assert unseen.selected == 1


def test_the_comparison_page_has_the_estimates_of_folds(folds: FoldsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(calibrate(folds)) == 0
    monkeypatch.setattr(
        Reconstructor, "load", lambda *_: class_filler(channels={"ct": "ct.nii.gz"}, label="seg.nii.gz")
    )
    root, output = folds.path.parent, folds.path.parent / "page"
    command = ["compare", "--i2m", str(folds.path), "--m2i", str(root / "m2i"), "--input", str(root / "data" / "d")]
    assert main([*command, "--output", str(output), "--slices", "2"]) == 0
    report = json.loads((output / "report.json").read_text())
    assert "ensemble on cases" in report["quality"]["summary"]


def test_members_see_a_case_in_four_passes(folds: FoldsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(calibrate(folds)) == 0
    seen, passes, infer, forward = [], [], SliceInferer.probabilities, Shifted.forward
    monkeypatch.setattr(SliceInferer, "probabilities", lambda *given: passes.append(1) or infer(*given))
    monkeypatch.setattr(Shifted, "forward", lambda *given: seen.append(len(given[1])) or forward(*given))
    assert main(predict(folds, "out")) == 0
    assert len(passes) == 4 * len(NAMES)
    assert sum(seen) == 2 * 5 * len(passes)  # two members, five slices: no pass for the agreement


def test_other_ensembles_keep_theirs_with_their_first_member(folds: FoldsFolder) -> None:
    runs = [folds.fold(number).path.rename(folds.path.parent / name) for number, name in ((0, "y"), (1, "x"))]
    members = [run / "best" for run in runs]
    assert main(calibrate(folds, *members)) == 0
    digest = Predictor.card_of(members).weights_sha256
    assert (folds.path.parent / "x" / "best" / f"quality_{digest[:12]}.json").is_file()
    assert main(predict(folds, "out", *members[::-1])) == 0
    assert read_rows(folds.path.parent / "out" / "quality.csv")


def test_an_estimate_of_other_folds_is_refused(folds: FoldsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(calibrate(folds)) == 0
    content = json.loads((folds.fold(0).best / CARD).read_text())
    of = card("segmentation", data_section(channels={"ct": "ct.nii.gz"}, label="seg.nii.gz"))
    save_model(folds.fold(0).best, {"shift": torch.tensor(99.0)}, of)
    assert json.loads((folds.fold(0).best / CARD).read_text())["weights_sha256"] != content["weights_sha256"]
    capsys.readouterr()
    assert main(predict(folds, "out")) == 1
    assert "calibrated for other weights" in capsys.readouterr().err


def test_cases_of_the_folds_are_no_calibration(folds: FoldsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """What one fold held out, the other was trained on."""
    half = Splits(NAMES[:4], NAMES[4:]), Splits(NAMES[4:], NAMES[:4])
    for number, splits in enumerate(half):
        splits.save(folds.fold(number).splits)
    assert main(calibrate(folds)) == 1
    told = capsys.readouterr().err
    assert "cases that none of its members was trained on, and there are none" in told
    assert "7 labeled cases, 7 of them in the training of a member" in told
    assert not (folds.path / "quality.json").exists()
    assert main([*calibrate(folds), "--folds", str(folds.fold(0).best)]) == 1
    assert "--folds" in capsys.readouterr().err
    folds.fold(1).splits.unlink()
    assert main(calibrate(folds)) == 1
    assert "splits.json" in capsys.readouterr().err


def test_one_fold_is_calibrated_by_all_of_a_cross_validation(folds: FoldsFolder) -> None:
    for number, (trained, held_out) in enumerate(((NAMES[:4], NAMES[4:]), (NAMES[4:], NAMES[:4]))):
        Splits(trained, held_out).save(folds.fold(number).splits)
    best = folds.fold(0).best
    assert main([*calibrate(folds, best), "--folds", str(folds.path)]) == 0
    assert json.loads((best / "quality.json").read_text())["facts"]["patients"] == len(NAMES)


def test_cases_that_selected_weights_are_counted(folds: FoldsFolder) -> None:
    for number in (0, 1):
        Splits(("a",), ("b", "c"), NAMES[3:]).save(folds.fold(number).splits)
    assert main(calibrate(folds)) == 0
    summary = json.loads((folds.path / "quality.json").read_text())["facts"]["summary"]
    assert "2 of the 6 did select weights" in summary
