"""Ways through a network: slices, sliding windows over slices and volumes, chosen by the model card."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from segcct.datasets.case import LoadedCase
from segcct.errors import GeometryError, ModelError
from segcct.inference.batched_inference import in_batches, padded_pixels
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import (
    OrientationInferer,
    SliceInferer,
    SlidingWindowInferer,
    TransUNetInferer,
    inferer_of,
)
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard
from segcct.quality.case_features import features_of_case
from tests.support.toy_pair import CLASSES, HOW, INTENSITIES, SIDE, Nearest, card, data_section, loaded_case, predictor


class NearestInVolume(nn.Module):
    """`Nearest` of a volume (B, C, D, H, W), which notes the windows that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.padding: list[float] = []

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(volume.shape))
        self.padding.append(float(volume[0, 0, 0, 0, 0]))
        unit = volume[:, :1] * 0.25 + 0.5
        return torch.cat([-100 * (unit - each / 100).square() for each in INTENSITIES], dim=1)


def volume_predictor(network: nn.Module, **more: object) -> Predictor:
    return Predictor(network, card("segmentation", data_section(**more), spatial_dims=3), HOW)


def test_the_inferer_is_that_of_the_card_and_the_protocol():
    assert isinstance(predictor().inferer, SliceInferer)
    assert isinstance(inferer_of("transunet", 2), TransUNetInferer)
    assert isinstance(volume_predictor(Nearest()).inferer, SlidingWindowInferer)
    with pytest.raises(ModelError, match="is for networks over slices"):
        inferer_of("transunet", 3)


def cubic(spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> LoadedCase:
    case = loaded_case(noise=12.0)
    return replace(case, grid=replace(case.grid, affine=np.diag([*spacing_mm, 1.0]), spacing_mm=spacing_mm))


class OfRows(nn.Module):
    """A network that knows the height of its image, and so the orientation: 5 slices of 30 rows and 36 columns."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        likes = 1 + int(image.shape[-2] > image.shape[-1])
        return torch.nn.functional.one_hot(torch.full(image[:, 0].shape, likes), 3).movedim(-1, 1).float()


def test_three_orientations_are_averaged_in_place() -> None:
    how = replace(HOW, protocol="orientations")
    of = Predictor(Nearest(), card("segmentation", data_section()), how)
    mask, plain = of.predict_case(cubic()), predictor().predict_case(cubic())  # a network of pixels: all agree
    assert (mask.array == plain.array).mean() > 0.999
    prepared = of.segment(cubic()).prepared  # (5, 1, 30, 36)
    network = OfRows()
    found = np.concatenate(list(OrientationInferer().probabilities(network, prepared, how, 1)))
    kinds = [image.shape for image in (prepared.image[0, 0], prepared.image[:, 0, 0], prepared.image[:, 0, :, 0])]
    outputs = [network(torch.zeros(1, 1, *shape)).softmax(dim=1)[0, :, 0, 0].numpy() for shape in kinds]
    np.testing.assert_allclose(found[2, :, 3, 4], np.mean(outputs, axis=0), atol=2e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=5e-3)


def test_three_orientations_need_nearly_cubic_voxels() -> None:
    of = Predictor(Nearest(), card("segmentation", data_section()), replace(HOW, protocol="orientations"))
    with pytest.raises(GeometryError, match="not cubic enough"):
        of.predict_case(cubic((2.0, 2.0, 6.0)))
    of.predict_case(cubic((2.0, 2.0, 3.0)))
    unknown = cubic()
    with pytest.raises(GeometryError, match="need a voxel size"):
        of.predict_case(replace(unknown, grid=replace(unknown.grid, spacing_mm=None)))


def test_voxels_are_those_in_the_network() -> None:
    """Slices of 3 mm at pixels of 1.5 mm are not cubic, unless the pixels are resampled to 3 mm."""
    of_pixels = {
        spacing_mm: Predictor(
            Nearest(), card("segmentation", data_section(spacing_mm=spacing_mm)), replace(HOW, protocol="orientations")
        )
        for spacing_mm in (None, 3.0)
    }
    case = cubic((1.5, 1.5, 3.0))
    of_pixels[3.0].predict_case(case)
    with pytest.raises(GeometryError, match=r"found 3 x 1\.5 x 1\.5 mm in the network"):
        of_pixels[None].predict_case(case)


def test_a_card_of_before_is_of_slices():
    stored = card("segmentation", data_section()).model_dump(exclude={"spatial_dims"})
    assert ModelCard.model_validate(stored).spatial_dims == 2


@pytest.mark.parametrize("fit", ["pad", "resize", "letterbox"])
def test_a_network_over_volumes_sees_cubes_and_finds_what_the_slices_show(fit):
    network = NearestInVolume()
    scan = loaded_case(noise=4.0)
    mask = volume_predictor(network, fit=fit).predict_case(scan)
    assert {shape[2:] for shape in network.seen} == {(SIDE, SIDE, SIDE)}  # 5 slices are padded, 36 columns take two
    assert set(network.padding) == {-2.0}  # 0 before it is standardized by mean 0.5 and std 0.25, as around slices
    slices = predictor(fit=fit).predict_case(scan)
    np.testing.assert_array_equal(mask.array, slices.array)
    assert set(np.unique(mask.array)) == {0, *CLASSES.values()}


class WrongAtItsBorder(nn.Module):
    """Sees background in the first and last column of a window."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        logits = NearestInVolume()(volume)
        logits[:, 0, ..., [0, -1]] += 50
        return logits


def test_what_a_window_sees_at_its_border_is_left_to_the_next_one():
    scan = loaded_case(noise=4.0)
    mask = volume_predictor(WrongAtItsBorder(), image_size=16).predict_case(scan).array
    expected = predictor(image_size=16).predict_case(scan).array
    np.testing.assert_array_equal(mask[1:-1], expected[1:-1])


def test_a_network_in_training_is_evaluated_as_it_will_be_used():
    case = predictor().segment(loaded_case()).prepared
    network = nn.Sequential(Nearest(), nn.Dropout(0.9)).train()
    index = SliceInferer()(network, case, HOW, SIDE)
    np.testing.assert_array_equal(index, SliceInferer()(Nearest(), case, HOW, SIDE))


def test_quality_listens_to_a_network_over_volumes():
    of = volume_predictor(NearestInVolume())
    features = features_of_case(of, of.segment(loaded_case(), keep_probabilities=True))
    assert features["low"]["flip_agreement"] > 0.99


def test_a_listener_hears_every_slice_once():
    of = predictor()
    segmented = of.segment(loaded_case(), keep_probabilities=True)
    assert segmented.kept.probabilities.shape[0] == segmented.kept.index.shape[0] == 5
    assert of.segment(loaded_case()).kept is None


@pytest.mark.parametrize(("dims", "protocol"), [(2, "soft"), (3, "soft"), (2, "transunet")])
def test_outputs_that_are_not_finite_are_refused(dims: int, protocol: str) -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.expand(-1, 3, *image.shape[2:]) * torch.nan

    how = InferenceSettings(device="cpu", protocol=protocol)
    of = Predictor(Broken(), card("segmentation", data_section(), spatial_dims=dims), how)
    with pytest.raises(ModelError, match="not finite"):
        of.predict_case(loaded_case())


def test_the_slice_protocol_has_no_probabilities_to_keep() -> None:
    of = Predictor(Nearest(), card("segmentation", data_section()), replace(HOW, protocol="transunet"))
    with pytest.raises(ModelError, match="has no probabilities"):
        of.segment(loaded_case(), keep_probabilities=True)


@pytest.mark.parametrize(
    ("option", "expected"), [("protocol", "transunet"), ("tta", "rotations"), ("backend", "openvino")]
)
def test_an_unknown_way_to_run_a_network_is_refused_with_the_known_ones(option: str, expected: str) -> None:
    unknown: dict[str, Any] = {option: "Soft"}
    with pytest.raises(ModelError, match=f"no such {option} .found Soft; expected .*{expected}"):
        InferenceSettings(**unknown)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", "4"),
        ("batch_size", 4.0),
        ("batch_size", True),
        ("precision", None),
        ("device", 0),
        ("device", torch.device("cpu")),
        ("protocol", 1),
        ("tta", True),
        ("adapt", None),
        ("postprocessing", "no"),
        ("postprocessing", 0),
        ("backend", None),
        ("generator", 3),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused_by_its_name(option: str, value: object) -> None:
    wrong: dict[str, Any] = {option: value}
    with pytest.raises(ModelError, match=f"^{option} is of the wrong type .found {re.escape(repr(value))}; expected "):
        InferenceSettings(**wrong)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ModelError, match=r"at least one slice .found batch size 0"):
        InferenceSettings(batch_size=0)
    with pytest.raises(ModelError, match=r"backend onnx runs on the processor .found cuda; expected cpu"):
        InferenceSettings(backend="onnx", device="cuda")


def test_numbers_of_numpy_become_those_of_python() -> None:
    settings = InferenceSettings(cast(int, np.int64(4)), device="cpu", postprocessing=cast(bool, np.False_))
    assert (settings.batch_size, type(settings.batch_size)) == (4, int)
    assert settings.postprocessing is False


@pytest.mark.parametrize(("side", "most", "expected"), [(256, 16, 16), (512, 16, 4), (512, 2, 2), (2048, 16, 1)])
def test_large_slices_go_in_smaller_batches(side: int, most: int, expected: int) -> None:
    how = replace(HOW, batch_size=most)
    assert how.batch_of(side**2) == expected
    seen = []

    def step(part: slice) -> torch.Tensor:
        seen.append(part.stop - part.start)
        return torch.zeros(part.stop - part.start)

    assert sum(map(len, in_batches(step, 18, how, pixels=side**2))) == 18
    assert seen[:-1] == [expected] * (len(seen) - 1)
    assert seen[-1] <= expected


def test_padding_counts_as_pixels_of_a_slice() -> None:
    assert padded_pixels(np.zeros((5, 2, 30, 200)), 64) == 64 * 200
