"""Ensembles and test-time augmentation: means of probabilities, by hand; members that do not fit; what is recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segcct.datasets.split_record import Splits
from segcct.errors import ModelError, RunError, SplitError
from segcct.images.volume import Volume
from segcct.inference.ensemble import find_members
from segcct.inference.ensemble_network import Ensemble
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mean_over_views import MeanOverViews
from segcct.inference.predictor import Predictor
from segcct.inference.views import VIEWS
from segcct.model_card import ModelCard, PostprocessingStep, SchemeCard, save_model
from segcct.models.zoo import create_model
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.run_folder import FoldsFolder
from segcct.tasks.classification.classification_task import ClassificationTask
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.task_files import load_model, task_of_model
from tests.support.small_tasks import SMALL
from tests.support.toy_pair import SIDE, card, data_section, loaded_case

HOW = InferenceSettings(batch_size=4, device="cpu", precision="fp32")


def saved(folder: Path, seed: int, **more: object) -> Path:
    """A `best/` folder of a small network with random weights."""
    torch.manual_seed(seed)
    network = create_model("cct_unet_t", 1, 3, SIDE, {})
    of = card(
        "segmentation", data_section(), data_fingerprint="same", selected_on={"metric": "val_dice", "value": seed}
    )
    architecture = of.architecture.model_copy(update={"name": "cct_unet_t"})
    save_model(folder, network.state_dict(), of.model_copy(update={"architecture": architecture, **more}))
    return folder


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    return [saved(tmp_path / name / "best", seed) for seed, name in enumerate("abc")]


def test_the_mean_of_probabilities_is_what_softmax_gives_back() -> None:
    torch.manual_seed(0)
    networks = [nn.Conv2d(2, 4, 3, padding=1) for _ in range(3)]
    image = torch.randn(2, 2, 8, 8)
    expected = torch.stack([network(image).softmax(dim=1) for network in networks]).mean(dim=0)
    torch.testing.assert_close(Ensemble(networks)(image).softmax(dim=1), expected)


def test_probabilities_of_zero_stay_finite_and_nan_stays_nan() -> None:
    class Sure(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1000.0, -1000.0]])

    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, float("nan")]])

    assert Ensemble([Sure(), Sure()])(torch.zeros(1)).softmax(dim=1).tolist() == [[1.0, pytest.approx(0.0)]]
    assert Ensemble([Sure(), Broken()])(torch.zeros(1)).isnan().any()


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(sorted(VIEWS)))
def test_every_view_is_undone_exactly_and_shows_something_else(rows: int, columns: int, name: str) -> None:
    image = torch.arange(2.0 * rows * columns).reshape(1, 2, rows, columns)
    for view in VIEWS[name]:
        torch.testing.assert_close(view.undo(view.of(image)), image, rtol=0, atol=0)
    assert len(set(VIEWS[name])) == len(VIEWS[name])


def test_views_are_flips_and_quarter_turns() -> None:
    plane = torch.tensor([[1, 2], [3, 4]])
    flips = [view.of(plane).tolist() for view in VIEWS["flips"]]
    assert flips == [[[1, 2], [3, 4]], [[2, 1], [4, 3]], [[3, 4], [1, 2]], [[4, 3], [2, 1]]]
    turns = [view.of(plane).numpy() for view in VIEWS["rotations"]]
    for number, turned in enumerate(turns):
        np.testing.assert_array_equal(turned, np.rot90(plane.numpy(), number))


@pytest.mark.parametrize("name", ["flips", "rotations"])
def test_a_network_over_views_gives_the_mean_of_its_probabilities(name: str) -> None:
    torch.manual_seed(0)
    network, image = nn.Conv2d(1, 3, 3, padding=1), torch.randn(2, 1, 6, 9)
    pixels = image.numpy()
    transforms = {
        "flips": [(lambda x, axes=axes: np.flip(x, axes)) for axes in ((), (-1,), (-2,), (-2, -1))],
        "rotations": [(lambda x, turns=turns: np.rot90(x, turns, (-2, -1))) for turns in range(4)],
    }[name]
    backs = transforms if name == "flips" else [transforms[0], transforms[3], transforms[2], transforms[1]]
    outputs = []
    for there, back in zip(transforms, backs, strict=True):
        logits = network(torch.from_numpy(np.ascontiguousarray(there(pixels))))
        outputs.append(back(logits.softmax(dim=1).detach().numpy()))
    found = MeanOverViews(network, VIEWS[name])(image).softmax(dim=1)
    np.testing.assert_allclose(found.detach().numpy(), np.mean(outputs, axis=0), atol=1e-6)


def test_classes_of_whole_images_are_averaged_over_views_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    image = torch.randn(5, 1, 4, 4)
    assert MeanOverViews(network, VIEWS["rotations"])(image).shape == (5, 3)


def test_an_ensemble_predicts_the_mean_of_its_members(members: list[Path]) -> None:
    single = [Predictor.load(member, HOW) for member in members]
    ensemble = Predictor.load(members, HOW)
    prepared = single[0].segment(loaded_case()).prepared
    expected = np.mean([np.concatenate(list(of.probabilities(prepared))) for of in single], axis=0)
    np.testing.assert_allclose(np.concatenate(list(ensemble.probabilities(prepared))), expected, atol=1e-6)


def test_predictions_name_all_members(members: list[Path], tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    loaded = loaded_case()
    Volume(loaded.image[0], loaded.grid.affine, loaded.grid.spacing_mm).save(scan)
    ensemble = Predictor.load(members, InferenceSettings(tta="flips", device="cpu"))
    predict_folder(ensemble, resolve(ensemble.card, scan), tmp_path / "p")
    index = json.loads((tmp_path / "p" / "predictions.json").read_text())
    digests = [load_model(member, HOW).card.weights_sha256 for member in members]
    assert index["weights_sha256"] == hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    assert [member["weights_sha256"] for member in index["members"]] == digests
    assert index["selected_on"] == {"metric": "val_dice", "value": 1.0, "members": 3}
    assert index["cases"]["scan"]["tta"] == "flips"
    backwards = Predictor.load(members[::-1], HOW)
    assert backwards.card.weights_sha256 == ensemble.card.weights_sha256
    with pytest.raises(RunError, match=r"another model's predictions.*--overwrite"):
        predict_folder(Predictor.load(members[:2], HOW), resolve(ensemble.card, scan), tmp_path / "p")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"scheme": SchemeCard(name="custom", classes={"low": 3, "other": 7})}, "other classes"),
        (
            {"scheme": SchemeCard(name="custom", classes={"high": 7, "low": 3})},
            r"other classes.*\('high', 7\)",
        ),
        ({"data": {**card("segmentation", data_section(channels={"mr": "*"})).data}}, "other channels"),
        ({"data": {**card("segmentation", data_section(fit="resize")).data}}, "other preparation"),
        ({"spatial_dims": 3}, "other dimensions"),
    ],
)
def test_members_that_do_not_fit_are_refused(members: list[Path], tmp_path: Path, change: dict, what: str) -> None:
    other = saved(tmp_path / "other" / "best", 9, **change)
    with pytest.raises(ModelError, match=what):
        Predictor.load([*members, other], HOW)


def test_members_of_different_postprocessing_get_none(members: list[Path], tmp_path: Path, capsys: Any) -> None:
    steps = tuple(PostprocessingStep(step=name, classes=("low",)) for name in ("largest_component", "fill_holes"))
    one, same, other = (
        saved(tmp_path / str(number) / "best", number, postprocessing=steps[:count])
        for number, count in enumerate((1, 1, 2))
    )
    assert Predictor.card_of([one, same]).postprocessing == steps[:1]
    assert "postprocessing" not in capsys.readouterr().err
    for folders in ([one, other], [one, members[0]]):
        assert Predictor.card_of(folders).postprocessing == ()
        assert "the members have different postprocessing, so none is applied" in capsys.readouterr().err


def test_an_ensemble_with_a_member_of_phantoms_is_marked(members: list[Path], tmp_path: Path) -> None:
    phantom = saved(tmp_path / "phantom" / "best", 7, synthetic=True)
    assert not Predictor.card_of(members).synthetic
    assert Predictor.card_of([members[0], phantom]).synthetic


def test_a_member_is_named_once(members: list[Path]) -> None:
    for again in (members[0], members[0] / ".." / "best"):
        with pytest.raises(ModelError, match="named twice"):
            find_members([members[0], again])


def test_the_folder_of_a_cross_validation_stands_for_its_folds(members: list[Path], tmp_path: Path) -> None:
    folder = FoldsFolder(tmp_path / "cv", (2, 0))
    for number, member in zip((0, 2), members, strict=False):
        folder.fold(number).path.mkdir(parents=True)
        member.rename(folder.fold(number).best)
    folder.write()
    assert find_members(folder.path) == (folder.fold(0).best, folder.fold(2).best)
    assert task_of_model(folder.path).name == "segmentation"
    assert Predictor.load(folder.path, HOW).card.selected_on["members"] == 2
    folder.fold(2).best.rename(tmp_path / "away")
    with pytest.raises(RunError, match="not trained yet"):
        find_members(folder.path)
    (folder.path / "folds.json").write_text('{"folds": ["0"]}')
    with pytest.raises(RunError, match="not a list of folds"):
        find_members(folder.path)


def test_cases_that_any_member_has_seen_are_marked(tmp_path: Path) -> None:
    for name in "abc":
        scan = loaded_case()
        Volume(scan.image[0], scan.grid.affine, scan.grid.spacing_mm).save(tmp_path / "scans" / name / "ct.nii.gz")
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    Splits(("a",), ("b",), ("c",)).save(files[0])
    Splits(("b",), ("a",), ("c",)).save(files[1])
    of: ModelCard = card("segmentation", data_section())
    assert resolve(of, tmp_path / "scans", splits_files=files).seen == {"a": "train", "b": "train"}
    assert [each.id for each in resolve(of, tmp_path / "scans", splits_files=files, split="test").cases] == ["c"]
    with pytest.raises(SplitError, match="different val splits"):
        resolve(of, tmp_path / "scans", splits_files=files, split="val")


def test_classifiers_keep_their_own_normalization(tmp_path: Path) -> None:
    folders = []
    for number in range(2):
        task = SMALL["classification"](0, tmp_path)
        assert isinstance(task, ClassificationTask)
        of = task.card({})
        data = {**of.data, "mean": [0.1 + 0.3 * number] * 3, "std": [0.2 + 0.1 * number] * 3}
        folders.append(tmp_path / str(number))
        torch.manual_seed(number)
        for value in task.network.parameters():
            torch.nn.init.normal_(value, std=0.2)
        save_model(folders[-1], task.network.state_dict(), of.model_copy(update={"data": data}))
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    expected = np.mean([Classifier.load(folder, HOW).probabilities(images) for folder in folders], axis=0)
    np.testing.assert_allclose(Classifier.load(folders, HOW).probabilities(images), expected, atol=1e-5)


def test_a_generator_is_neither_averaged_nor_augmented_nor_adapted(tmp_path: Path) -> None:
    task = SMALL["reconstruction"](0, tmp_path)
    for name in "ab":
        save_model(tmp_path / name, task.network.state_dict(), task.card({}))
    with pytest.raises(ModelError, match="cannot be a member of an ensemble"):
        load_model([tmp_path / "a", tmp_path / "b"], HOW)
    with pytest.raises(ModelError, match="test-time augmentation is not for"):
        load_model(tmp_path / "a", InferenceSettings(device="cpu", tta="flips"))
    with pytest.raises(ModelError, match="adaptation to a case is not for"):
        load_model(tmp_path / "a", InferenceSettings(device="cpu", adapt="image"))
