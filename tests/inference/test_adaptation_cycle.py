"""A model adapted to one case by the cycle of a generator: what it gains, who fits, and that masks tell of it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from segcct.cli import main
from segcct.errors import ConfigError, ModelError
from segcct.inference import adaptation
from segcct.inference.adaptation import Adaptation
from segcct.inference.frozen_generator import load_frozen
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.metrics import label_map_accuracy
from segcct.model_card import Architecture, load_card, save_model
from segcct.models.generator import Generator
from segcct.models.zoo import create_model
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from tests.support.toy_pair import SIDE, Nearest, card, class_filler, data_section, loaded_case, save_class_filler

HOW = InferenceSettings(batch_size=2, device="cpu", precision="fp32", adapt="model")


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Path:
    return save_class_filler(tmp_path_factory.mktemp("class_filler") / "best")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> Path:
    """A small network, untrained."""
    built = Architecture(name="cct_unet_t", in_channels=1, num_classes=3, image_size=SIDE)
    torch.manual_seed(0)
    of = card("segmentation", data_section(), architecture=built)
    folder = tmp_path_factory.mktemp("segmenter") / "best"
    save_model(folder, create_model("cct_unet_t", 1, 3, SIDE).state_dict(), of)
    return folder


@pytest.fixture
def frozen(generator) -> Generator:
    return load_frozen(generator, data_section(), class_filler().scheme)


@pytest.fixture(scope="module")
def case() -> PreparedCase:
    made = class_filler()
    return prepare_case(loaded_case(), made.preparation, made.scheme)


class TooBright(nn.Module):
    """Looks at each pixel alone, so that all views agree, and takes it as brighter than it is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.norm.weight.data.fill_(0.05)
        self.norm.bias.data.fill_(0.045)
        self.nearest = Nearest()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.nearest(20 * self.norm(image))


def accuracy(model: nn.Module, case: PreparedCase) -> float:
    with torch.no_grad():
        found = model(torch.from_numpy(case.standardize(case.image))).argmax(dim=1)
    return label_map_accuracy(found.numpy(), case.label)


def test_masks_that_explain_the_image_are_found(frozen, case):
    model = TooBright().eval()
    before = {name: value.clone() for name, value in [*model.state_dict().items(), *frozen.state_dict().items()]}
    at_first = accuracy(model, case)
    with Adaptation(model=True).applied_to(model, case, HOW, SIDE):
        assert accuracy(model, case) == at_first  # since the views agree, up to errors of rounding
    with Adaptation(model=True, generator=frozen).applied_to(model, case, HOW, SIDE):
        assert accuracy(model, case) > at_first + 0.1
    after = {**model.state_dict(), **frozen.state_dict()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(weight.grad is None for weight in [*frozen.parameters(), *model.parameters()])
    assert all(weight.requires_grad for weight in model.parameters())


def test_steps_towards_worse_masks_are_taken_back(frozen, case, monkeypatch):
    monkeypatch.setattr(adaptation, "LR", 30.0)
    model = TooBright().eval()
    model.norm.bias.data.fill_(0.03)  # most pixels are right
    with Adaptation(model=True, generator=frozen).applied_to(model, case, HOW, SIDE):
        assert model.norm.bias.item() == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ({"channels": {"mr": "*.nii.gz"}}, r"channels.*\['mr'\]"),
        ({"image_size": 64}, r"preparation \(image_size\).*32.*64"),
    ],
)
def test_a_generator_that_does_not_fit_is_refused(generator, more, differs):
    of = card("segmentation", data_section(**more))
    with pytest.raises(ConfigError, match=f"the generator and the segmenter differ in the {differs}"):
        Predictor(Nearest(), of, replace(HOW, generator=generator))


@pytest.mark.parametrize("classes", [{"low": 3, "high": 8}, {"high": 7, "low": 3}])
def test_a_generator_of_other_classes_or_of_another_order_is_refused(generator, classes):
    more = {"labels": classes}
    of = card("segmentation", data_section(**more))
    of = of.model_copy(update={"scheme": of.scheme.model_copy(update={"classes": more["labels"]})})
    with pytest.raises(ConfigError, match="differ in the label scheme"):
        Predictor(Nearest(), of, replace(HOW, generator=generator))


def test_a_segmenter_is_no_generator(segmenter):
    with pytest.raises(ModelError, match="is not a generator"):
        Predictor.load(segmenter, replace(HOW, generator=segmenter))


@pytest.mark.parametrize("adapt", ["none", "statistics,image"])
def test_a_generator_without_its_method_is_refused(generator, segmenter, tmp_path, adapt, capsys):
    loaded_case().grid.save(tmp_path / "a.nii.gz")
    files = ["--model", str(segmenter), "--input", str(tmp_path / "a.nii.gz"), "--output", str(tmp_path / "p")]
    for status in ([], ["--status"]):
        assert main(["predict", *files, "--adapt", adapt, "--generator", str(generator), *status]) != 0
        assert "--generator does nothing without --adapt model" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_predictions_tell_of_the_generator_and_depend_on_it(generator, segmenter, tmp_path):
    loaded_case().grid.save(tmp_path / "a.nii.gz")

    def is_new(**more: object) -> bool:
        model = Predictor.load(segmenter, replace(HOW, **more))
        request = resolve(model.card, tmp_path / "a.nii.gz")
        (outcome,) = predict_folder(model, request, tmp_path / "p", existing="continue").outcomes
        return outcome.value.is_new

    def recorded() -> str | None:
        index = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))
        return index["cases"]["a"]["generator"]

    assert is_new(generator=generator)
    assert recorded() == load_card(generator).weights_sha256
    assert not is_new(generator=generator)
    assert is_new()
    assert recorded() is None
    assert not is_new()


def test_the_generator_travels_by_its_path(generator, segmenter, case, monkeypatch):
    monkeypatch.chdir(generator.parent)
    model = Predictor.load(segmenter, replace(HOW, generator=Path("best")))
    sent = pickle.dumps(model)
    monkeypatch.chdir("/")
    there = pickle.loads(sent)
    assert there.how.generator == generator
    weights = zip(there.adaptation.generator.parameters(), model.adaptation.generator.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in weights)
