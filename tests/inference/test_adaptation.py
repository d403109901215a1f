"""A model adapted to one case: what is mixed and mapped, that another scanner is undone, and that nothing stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segcct import runtime
from segcct.datasets.case import LoadedCase
from segcct.errors import ModelError
from segcct.inference import adaptation
from segcct.inference.adaptation import Adaptation
from segcct.inference.ensemble_network import Ensemble
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mean_over_views import over_views
from segcct.inference.predictor import Predictor
from segcct.inference.views import VIEWS, View
from segcct.metrics import dice
from segcct.model_card import load_card
from segcct.models.zoo import create_model
from segcct.preparation.intensity_quantiles import LEVELS, case_quantiles, mean_quantiles, with_quantiles
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from tests.support.toy_pair import SIDE, Nearest, card, data_section, loaded_case

HOW = InferenceSettings(batch_size=2, device="cpu", precision="fp32")
SQUARE = 40
"""Larger than the slices, which are padded to it."""


def prepared(loaded: LoadedCase | None = None) -> PreparedCase:
    data = data_section()
    return prepare_case(loaded or loaded_case(), Preparation.of(data), card("segmentation", data).label_scheme())


def other_scanner(loaded: LoadedCase) -> LoadedCase:
    """Darker, by a curve of contrast."""
    return replace(loaded, image=100 * (loaded.image.clip(0, 100) / 100) ** 2)


def disagreement(model: nn.Module, case: PreparedCase, size: int = SIDE) -> float:
    return adaptation._Objective(model, HOW).mean_over(list(adaptation._steps(case, HOW, size)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return create_model("cct_unet_t", 1, 3, SIDE, {}).eval()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Adaptation()),
        ("statistics", Adaptation(statistics=0.4)),
        ("statistics:1", Adaptation(statistics=1.0)),
        ("statistics:0.25, image", Adaptation(statistics=0.25, image=True)),
        ("model", Adaptation(model=True)),
    ],
)
def test_methods_are_read(text, expected):
    assert Adaptation.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["statistic", "statistics:2", "statistics:0", "statistics:x", "image:0.5", "", "image,,model"]
)
def test_other_methods_are_refused(text):
    with pytest.raises(ModelError, match=r"no such adaptation.*statistics:0\.4"):
        replace(HOW, adapt=text)


@pytest.mark.parametrize("batch_size", [2, 3, 16])
@pytest.mark.parametrize("tta", ["none", "flips"])
def test_statistics_of_the_case_are_mixed_in(batch_size, tta):
    """A batch norm that sees the input itself: by hand, with slices of different brightness in unequal batches."""
    layer = nn.Sequential(nn.BatchNorm2d(1)).eval()
    loaded = loaded_case()
    brighter = np.linspace(0, 50, loaded.image.shape[-1], dtype=np.float32)
    case, how = prepared(replace(loaded, image=loaded.image / 2 + brighter)), replace(HOW, batch_size=batch_size)
    values = case.standardize(np.asarray(case.image)).astype(np.float64)
    count = values.size * len(VIEWS[tta])
    mean, variance = values.mean(), values.var() * count / (count - 1)
    with Adaptation(statistics=0.25).applied_to(over_views(layer, tta).eval(), case, how, 16):
        found = layer[0].running_mean.item(), layer[0].running_var.item()
    assert found == pytest.approx((0.25 * mean, 0.75 + 0.25 * variance), rel=1e-5)
    assert (layer[0].running_mean.item(), layer[0].running_var.item()) == (0, 1)


class WithOtherNorms(nn.Module):
    """Also has a layer that keeps no statistics, and one that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.without, self.unused = (
            nn.BatchNorm2d(1, track_running_stats=kept) for kept in (True, False, True)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.without(self.norm(image))


def test_layers_without_statistics_and_unused_ones_stay_as_they_are():
    model = WithOtherNorms().eval()
    with Adaptation(statistics=0.5).applied_to(model, prepared(), HOW, SIDE):
        assert model.norm.running_mean.item() != 0
        assert (model.unused.running_mean.item(), model.unused.running_var.item()) == (0, 1)


@pytest.mark.parametrize("text", ["statistics", "model", "statistics,model", "none", "image"])
def test_nothing_stays_of_a_case(text):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    momenta = [layer.momentum for layer in adaptation.batch_norms(model)]
    within: dict[str, torch.Tensor] = {}

    def interrupted() -> None:
        with Adaptation.parse(text).applied_to(model, prepared(), HOW, SIDE):
            within.update({name: value.clone() for name, value in model.state_dict().items()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(layer.training for layer in model.modules())
    assert [layer.momentum for layer in adaptation.batch_norms(model)] == momenta
    changed = {name.rpartition(".")[2] for name, value in within.items() if not torch.equal(value, before[name])}
    allowed = {
        "statistics": {"running_mean", "running_var", "num_batches_tracked"},
        "model": {"weight", "bias"},
        "none": set(),
        "image": set(),
    }
    assert changed <= set().union(*(allowed[name] for name in text.split(",")))
    assert ("running_mean" in changed) == ("statistics" in text)
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_views_agree_more_after_the_steps():
    model, case = network(), prepared()
    before = disagreement(model, case)
    with Adaptation(model=True).applied_to(model, case, HOW, SIDE):
        assert disagreement(model, case) < before


class AlongRows(nn.Module):
    """Flipped slices agree; of quarter turns the upright and the lying ones do not."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape[-2:]))
        blurred = self.norm(nn.functional.avg_pool2d(image, (1, 9), stride=1, padding=(0, 4)))
        return torch.cat([-blurred, blurred], dim=1)


def test_square_slices_are_turned_too():
    model, case = AlongRows().eval(), prepared()
    before = disagreement(model, case, SQUARE)
    with Adaptation(model=True).applied_to(model, case, HOW, SQUARE):
        assert 0 < disagreement(model, case, SQUARE) < before


def test_other_slices_are_only_flipped():
    model, case = AlongRows().eval(), prepared()
    oblong = replace(case, arrays={"image": case.image[..., :24]})
    with Adaptation(model=True).applied_to(model, oblong, HOW, 16):
        assert set(model.seen) == {(case.image.shape[-2], 24)}


def test_steps_that_make_it_worse_are_taken_back(monkeypatch):
    monkeypatch.setattr(adaptation, "LR", 3.0)
    model, case = AlongRows().eval(), prepared()
    model.norm.weight.data.fill_(0.01)
    with Adaptation(model=True).applied_to(model, case, HOW, SQUARE):
        assert (model.norm.weight.item(), model.norm.bias.item()) == (pytest.approx(0.01), 0)


@pytest.mark.parametrize("adapt", ["model", "statistics"])
def test_ensembles_under_test_time_augmentation_are_adapted(adapt):
    first, second = network(), network()
    wrapped = over_views(Ensemble([first, second]), "flips").eval()
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    with Adaptation.parse(adapt).applied_to(wrapped, prepared(), HOW, SIDE):
        assert any(not torch.equal(value, before[name]) for name, value in wrapped.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in wrapped.state_dict().items())


@pytest.mark.parametrize("more", [{"protocol": "transunet"}, {"protocol": "orientations"}])
def test_other_protocols_are_refused(more):
    with pytest.raises(ModelError, match=r"is for networks over slices.*Leave --adapt out"):
        Predictor(Nearest(), card("segmentation", data_section()), replace(HOW, adapt="image", **more))


def test_quantiles_become_those_of_the_training_cases():
    training, found = prepared(), prepared(other_scanner(loaded_case()))
    wanted = mean_quantiles([training, training])
    assert np.shape(wanted) == (1, len(LEVELS))
    np.testing.assert_allclose(wanted, case_quantiles(training), atol=1e-4)
    mapped = with_quantiles(found, np.asarray(wanted))
    np.testing.assert_allclose(case_quantiles(mapped), wanted, atol=0.02)
    here, there, mapped_image = (each.standardize(np.asarray(each.image)) for each in (training, found, mapped))
    assert np.median(np.abs(mapped_image - here)) < 0.05
    assert np.abs(there - here).max() > 0.5


def test_background_and_padding_become_those_of_the_training_cases():
    """Under z-score each case has a background of its own: 0, less its mean, by its standard deviation."""
    data = data_section(intensity={"rule": "zscore_nonzero"})
    loaded = loaded_case()
    cut_out = replace(loaded, image=np.where(loaded.image < 30, 0, loaded.image))
    training, found = (
        prepare_case(each, Preparation.of(data), card("segmentation", data).label_scheme())
        for each in (cut_out, replace(cut_out, image=cut_out.image**3))
    )
    background = np.asarray(found.image) == 0
    wanted, there = (case.standardize(np.asarray(case.image))[background] for case in (training, found))
    assert np.abs(there - wanted).min() > 0.4
    mapped = with_quantiles(found, np.asarray(mean_quantiles([training])))
    np.testing.assert_allclose(mapped.standardize(np.asarray(mapped.image))[background], wanted, atol=0.05)
    np.testing.assert_allclose(mapped.standardize(np.zeros((1, 2, 2))), wanted[0], atol=0.05)


def test_another_scanner_is_undone_by_the_image():
    loaded = loaded_case()
    wanted = mean_quantiles([prepared()])
    scores = {}
    for adapt in ("none", "image"):
        of = card("segmentation", data_section(), intensity_quantiles=wanted)
        segmented = Predictor(Nearest(), of, replace(HOW, adapt=adapt)).segment(other_scanner(loaded))
        scores[adapt] = dice(segmented.full == 1, loaded.label == 3)
        # What tells in what a case is unlike the training cases looks at it as it is.
        np.testing.assert_array_equal(segmented.prepared.image, prepared(other_scanner(loaded)).image)
    assert scores["image"] > 0.95 > scores["none"] + 0.2


class Watched(nn.Module):
    """Notes the statistics that it runs with."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.means: list[float] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.means.append(self.norm.running_mean.item())
        return Nearest()(self.norm(image))


def test_statistics_are_those_of_the_image_as_the_network_sees_it():
    wanted, found, model = mean_quantiles([prepared()]), prepared(other_scanner(loaded_case())), Watched()
    of = card("segmentation", data_section(image_size=16), intensity_quantiles=wanted)
    Predictor(model, of, replace(HOW, adapt="statistics:1,image")).segment(other_scanner(loaded_case()))
    as_it_is, mapped = (
        each.standardize(np.asarray(each.image)).mean() for each in (found, with_quantiles(found, np.asarray(wanted)))
    )
    assert model.means[-1] == pytest.approx(mapped, rel=0.01)
    assert model.means[-1] != pytest.approx(as_it_is, rel=0.1)


@pytest.mark.parametrize("stored", [None, [], [[0.0]], [[0.0] * 51, [0.0]], [[float("nan")] * 51]])
def test_a_model_without_quantiles_says_so(stored):
    of = card("segmentation", data_section(), intensity_quantiles=stored)
    with pytest.raises(ModelError, match="does not hold the intensities of the training cases"):
        Predictor(Nearest(), of, replace(HOW, adapt="image")).segment(loaded_case())


@pytest.mark.parametrize("adapt", ["statistics", "model,image"])
def test_backends_whose_layers_stay_say_so(adapt):
    with pytest.raises(ModelError, match=r"change layers of the network.*--backend torch"):
        Predictor(Nearest(), card("segmentation", data_section()), replace(HOW, adapt=adapt, backend="onnx"))


Views = set[tuple[float, tuple[View, ...]]]


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> Views:
    """The position of each batch that a step is taken on, and its views."""
    seen: Views = set()
    of = adaptation._Objective.of

    def recorded(self, batch, views):
        if torch.is_grad_enabled():
            seen.add((float(batch.position[0, 0]), views))
        return of(self, batch, views)

    monkeypatch.setattr(adaptation._Objective, "of", recorded)
    return seen


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_every_batch_meets_all_views(met, batches):
    how = replace(HOW, batch_size=-(-len(prepared().image) // batches))
    with Adaptation(model=True).applied_to(network(), prepared(), how, SQUARE):
        pass
    assert len(met) == 2 * batches


def test_a_case_of_more_batches_than_steps_meets_all_views(met, monkeypatch):
    monkeypatch.setattr(adaptation, "STEPS", 2)
    with Adaptation(model=True).applied_to(Shifted().eval(), prepared(), replace(HOW, batch_size=1), SQUARE):
        pass
    assert {views for _, views in met} == {VIEWS["flips"], VIEWS["rotations"]}


def test_a_step_takes_slices_from_all_over_the_case_with_their_positions():
    case, order = prepared(), []
    for step in adaptation._steps(case, HOW, 16):
        for batch in step:
            slices = [round(4 * position) for position in batch.position[:, 0].tolist()]
            np.testing.assert_array_equal(batch.image, case.standardize(np.asarray(case.image[slices])))
            order.append(slices)
    assert order == [[0, 3], [1, 4], [2]]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_adapts_too(mode):
    model = Shifted().eval()
    with mode(), Adaptation(model=True).applied_to(model, prepared(), HOW, SQUARE):
        assert model.norm.weight.item() != 1


def test_statistics_of_a_network_that_was_made_in_inference_mode_are_mixed_too():
    """Outside that mode, PyTorch refuses to change its layers."""
    with torch.inference_mode():
        model = nn.Sequential(nn.BatchNorm2d(1)).eval()
        with Adaptation(statistics=0.5).applied_to(model, prepared(), HOW, SIDE):
            assert model[0].running_mean.item() != 0
        assert model[0].running_mean.item() == 0


def test_large_slices_take_no_more_memory_than_when_predicted(monkeypatch):
    monkeypatch.setattr(runtime, "_PIXELS_PER_BATCH", 2 * SQUARE**2)
    (step,) = adaptation._steps(prepared(), replace(HOW, batch_size=16), SQUARE)
    assert [len(batch.image) for batch in step] == [2, 2, 1]


class Shifted(nn.Module):
    """Looks beside each pixel: flipped and turned slices do not agree."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        normed = self.norm(image.roll(3, dims=-1))
        return torch.cat([normed, normed.square()], dim=1)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_a_step_means_the_same_slices_in_smaller_batches(batch_size, monkeypatch):
    fitted, how = [], replace(HOW, batch_size=batch_size)
    for at_a_time in (16, 2):
        monkeypatch.setattr(runtime, "_PIXELS_PER_BATCH", at_a_time * SQUARE**2)
        model = Shifted().eval()
        with Adaptation(model=True).applied_to(model, prepared(), how, SQUARE):
            fitted.append((model.norm.weight.item(), model.norm.bias.item()))
    assert fitted[0][0] != 1
    assert fitted[1] == pytest.approx(fitted[0], abs=5e-6)  # of 0.008 that 8 steps go


def test_test_time_augmentation_does_not_hide_from_the_steps_what_views_disagree_on():
    fitted = []
    for tta in ("none", "flips"):
        model = Shifted().eval()
        with Adaptation(model=True).applied_to(over_views(model, tta).eval(), prepared(), HOW, SQUARE):
            fitted.append((model.norm.weight.item(), model.norm.bias.item()))
    assert fitted[0][0] != 1
    assert fitted[1] == fitted[0]


def test_statistics_are_suggested_only_where_they_can_be_mixed():
    of = card("segmentation", data_section())
    assert Predictor(Ensemble([network(), network()]), of, replace(HOW, tta="flips")).can_mix_statistics
    assert not Predictor(Nearest(), of, HOW).can_mix_statistics
    assert not Predictor(network(), of.model_copy(update={"spatial_dims": 3}), HOW).can_mix_statistics


@pytest.mark.parametrize("adapt", ["statistics", "model"])
def test_networks_without_such_layers_say_so(adapt):
    with pytest.raises(ModelError, match=f"--adapt {adapt} is for networks with"):
        Predictor(Nearest(), card("segmentation", data_section()), replace(HOW, adapt=adapt)).segment(loaded_case())


def test_a_trained_model_knows_its_intensities(trained: Path):
    stored = load_card(trained / "best").intensity_quantiles
    assert np.shape(stored) == (4, len(LEVELS))
    assert (np.diff(stored) >= 0).all()
    for adapt in ("statistics", "image", "model"):
        assert Predictor.load(trained / "best", replace(HOW, adapt=adapt)).adaptation != Adaptation()
