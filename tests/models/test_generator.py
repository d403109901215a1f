"""The generator and its conditioning: shapes, gradients, soft masks, and a style code that cannot carry a shape."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import ndimage

from segcct.errors import ModelError
from segcct.models import style as style_module
from segcct.models.cost import cost
from segcct.models.generator import Generator
from segcct.models.style import MIN_STD, depths
from segcct.models.zoo import create_model, model_names
from segcct.preparation.conditioning import DISTANCE_CLIP_PX, one_hot, signed_distances, slice_positions

CLASSES = 3
STYLES = ("none", "moments", "learned")


def build(channels: int = 1, **options: object) -> Generator:
    torch.manual_seed(0)
    made = create_model("m2i_s", channels, CLASSES, 32, options)
    assert isinstance(made, Generator)
    return made


def inputs(batch: int, height: int, width: int, channels: int = 1) -> tuple[torch.Tensor, ...]:
    """A random label's mask and distances, a position, and an image."""
    rng = np.random.default_rng(height * width)
    label = rng.integers(0, CLASSES, (batch, height, width)).astype(np.uint8)
    distance = np.stack([signed_distances(each, CLASSES) for each in label])
    image = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(one_hot(label, CLASSES)), torch.from_numpy(distance), torch.rand(batch, 1), image


def generate(model: Generator, condition: tuple[torch.Tensor, ...]) -> torch.Tensor:
    mask, distance, position, image = condition
    made: torch.Tensor = model(mask, distance, position, model.style_of(image, mask, distance))
    return made


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("channels", [1, 4])
def test_images_have_the_size_of_the_mask(style, channels):
    model = build(channels, style=style).eval()
    for height, width in ((32, 32), (33, 50), (1, 7), (72, 40)):
        with torch.inference_mode():
            image = generate(model, inputs(2, height, width, channels))
        assert image.shape == (2, channels, height, width)
        assert torch.isfinite(image).all()


@pytest.mark.parametrize("style", STYLES)
def test_gradients_reach_every_parameter(style):
    model = build(2, style=style).train()
    image = generate(model, inputs(2, 48, 40, 2))
    (image * torch.randn_like(image)).sum().backward()
    unreached = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert unreached == []


def test_gradients_reach_a_soft_mask():
    model = build(distance=False).eval()
    mask, distance, position, image = inputs(1, 32, 32)
    logits = torch.randn(mask.shape, requires_grad=True)
    soft = logits.softmax(1)
    model(soft, distance, position, model.style_of(image, soft, distance)).square().mean().backward()
    assert (logits.grad.abs().sum(dim=1) > 0).float().mean() > 0.9


def test_training_takes_a_batch_of_one():
    assert generate(build().train(), inputs(1, 16, 16)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("name", model_names("generator"))
def test_it_is_small(name):
    for channels, classes in ((1, 2), (4, 4), (1, 9)):
        assert 0.3e6 <= parameters(create_model(name, channels, classes, 224)) <= 2e6
    assert cost(name, 1, 4, 224).parameters == parameters(create_model(name, 1, 4, 224))
    assert cost(name, 1, 4, 224).macs < 1.5e9


def test_saved_and_loaded_weights_give_equal_images(tmp_path):
    model = build().train()
    condition = inputs(2, 32, 32)
    generate(model, condition)  # moves the running statistics
    save_file(model.eval().state_dict(), tmp_path / "weights.safetensors")
    other = build()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.inference_mode():
        assert torch.equal(generate(model, condition), generate(other.eval(), condition))


@pytest.mark.parametrize("style", STYLES)
def test_mask_and_position_matter_and_style_only_where_asked_for(style):
    model = build(style=style).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    condition = inputs(2, 32, 32)
    (generate(model, condition) - torch.randn(2, 1, 32, 32)).square().mean().backward()
    optimizer.step()  # the image begins as a flat palette
    model.eval()
    mask, distance, position, image = condition
    with torch.inference_mode():
        plain = generate(model, condition)
        assert not torch.allclose(plain, generate(model, (mask.flip(-1), distance.flip(-1), position, image)))
        assert not torch.allclose(plain, generate(model, (mask, distance, position + 0.5, image)))
        same = torch.allclose(plain, generate(model, (mask, distance, position, 2 * image + 1)))
    assert same == (style == "none")


def test_distances_are_used_unless_switched_off():
    mask, distance, position, image = inputs(1, 32, 32)
    for used in (True, False):
        model = build(distance=used).eval()
        with torch.inference_mode():
            one, other = (generate(model, (mask, each, position, image)) for each in (distance, -distance))
        assert torch.equal(one, other) != used


@pytest.mark.parametrize(("style", "size"), [("none", 0), ("moments", 22), ("learned", 30)])
def test_the_style_code_is_a_few_numbers(style, size):
    """Three per class and channel, and eight more, for two channels of 32 x 32; no more for a larger image."""
    model = build(2, style=style)
    for side in (32, 64):
        mask, distance, _, image = inputs(3, side, side, 2)
        assert model.style_of(image, mask, distance).shape == (3, size)
        assert model.style_size == size


@pytest.mark.parametrize("style", ["moments", "learned"])
def test_the_style_code_cannot_carry_a_shape(style, monkeypatch):
    """Shuffling the pixels of a class that lie equally deep leaves all of the code that the trend has no part in."""
    monkeypatch.setattr(
        style_module._DepthFit, "trend", lambda fit, image, _: image.new_zeros(len(image), 2, image.shape[1])
    )
    model = build(2, style=style).eval()
    mask, distance, _, image = inputs(1, 32, 32, 2)
    deep = depths(distance)
    shuffled = image.clone()
    for index in range(CLASSES):
        for depth in deep[0, index].unique():
            inside = (mask[0, index] > 0) & (deep[0, index] == depth)
            values = image[0][:, inside]
            shuffled[0][:, inside] = values[:, torch.randperm(values.shape[1])]
    assert not torch.equal(shuffled, image)
    torch.testing.assert_close(model.style_of(shuffled, mask, distance), model.style_of(image, mask, distance))


@pytest.mark.parametrize("style", STYLES)
def test_mixed_precision_is_near_full_precision(style):
    model = build(style=style).eval()
    condition = inputs(2, 64, 64)
    mask, distance, _, image = condition
    with torch.inference_mode():
        exact, code = generate(model, condition), model.style_of(image, mask, distance)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.style_of(image, mask, distance), code)
            rough = generate(model, condition).float()
    assert (exact - rough).abs().mean() < 0.05 * exact.std() + 0.02


def test_moments_by_hand():
    model = build(style="moments")
    mask = torch.zeros(1, CLASSES, 8, 4)
    mask[0, 0, :4], mask[0, 2, 4:] = 1, 1  # the upper half is background, the lower class 2; there is no class 1
    image = torch.ones(1, 1, 8, 4)
    image[..., 4:, :] = torch.tensor([[2, 6, 6, 2]] * 2 + [[6, 2, 2, 6]] * 2)  # to no side brighter
    flat = torch.zeros(1, CLASSES - 1, 8, 4)  # nothing lies deeper than anything else
    found, trend = parts(model.style_of(image, mask, flat))
    overall = [2.5, ((16 * 1 + 8 * 4 + 8 * 36) / 32 - 2.5**2) ** 0.5]
    assert found[0] == pytest.approx([1, overall[0], 4])
    assert found[1] == [0, 0, 0]
    assert found[2] == pytest.approx([MIN_STD, overall[1], 2])
    assert trend == pytest.approx([0, 0], abs=1e-6)


def parts(code: torch.Tensor) -> tuple[list[list[float]], list[float]]:
    """The code of one image with one channel: means, slopes, deviations by class; the trend."""
    return code[0, : 3 * CLASSES].view(3, CLASSES).tolist(), code[0, 3 * CLASSES :].tolist()


def test_a_bias_field_is_the_trend_and_nothing_else():
    """A plane over the foreground, whatever the classes look like, changes two numbers."""
    model = build(style="moments").eval()
    label = np.zeros((1, 48, 48), dtype=np.uint8)
    label[0, 8:40, 10:30], label[0, 16:30, 12:24] = 1, 2
    distance = torch.from_numpy(signed_distances(label[0], CLASSES))[None]
    mask = torch.from_numpy(one_hot(label, CLASSES))
    image = mask[:, 2:] + 0.3 * torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    rows = (torch.arange(48) / 24)[:, None].expand(48, 48)
    columns = rows.T
    inside = mask[0, 1:].sum(0)
    plain, before = parts(model.style_of(image, mask, distance))
    tilted, after = parts(model.style_of(image + inside * (0.8 * rows - 0.5 * columns), mask, distance))
    assert np.subtract(after, before) == pytest.approx([0.8, -0.5], abs=0.01)
    shift = (0.8 * rows - 0.5 * columns)[inside > 0].mean().item()
    assert tilted[0] == pytest.approx([plain[0][0], plain[0][1] + shift, plain[0][2] + shift], abs=0.01)
    assert tilted[1] == pytest.approx(plain[1], abs=0.02)
    assert tilted[2] == pytest.approx(plain[2], abs=0.01)
    with torch.inference_mode():
        position = torch.zeros(1, 1)
        code = model.style_of(image + inside * (0.8 * rows - 0.5 * columns), mask, distance)
        difference = model(mask, distance, position, code) - model(
            mask, distance, position, model.style_of(image, mask, distance)
        )
    assert (difference[0, 0] - (0.8 * rows - 0.5 * columns) * inside).abs()[inside > 0].mean() < 0.02


@pytest.mark.parametrize("style", ["moments", "learned"])
@pytest.mark.parametrize("pixels", [1, 3])
def test_a_speck_does_not_bring_its_own_style(style, pixels):
    """A few pixels of class 2 where nothing of the kind is: they are synthesized nearly as the rest of the image."""
    label = np.zeros((1, 32, 32), dtype=np.uint8)
    label[0, 10, 10 : 10 + pixels] = 2
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 10, 10 : 10 + pixels] = 5.0
    distance = torch.from_numpy(signed_distances(label[0], CLASSES))[None]
    condition = (torch.from_numpy(one_hot(label, CLASSES)), distance, torch.zeros(1, 1), image)
    with torch.inference_mode():
        made = generate(build(style=style).eval(), condition)
    assert made[0, 0, 10, 10 : 10 + pixels].max() < 5.0 * (pixels / 16 + 0.1)


def test_a_class_of_enough_pixels_speaks_for_itself():
    label = np.zeros((1, 128, 128), dtype=np.uint8)
    label[0, 4:8, 4:8] = 1  # 16 pixels, too few for a trend
    image = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    mask, flat = torch.from_numpy(one_hot(label, CLASSES)), torch.zeros(1, CLASSES - 1, 128, 128)
    (mean, _, deviation), _ = parts(build(style="moments").style_of(image, mask, flat))
    inside = image[0, 0, 4:8, 4:8]
    assert mean[1] == pytest.approx(inside.mean().item(), abs=0.01)
    assert deviation[1] == pytest.approx(inside.std(correction=0).item(), rel=0.02)


def test_slopes_against_a_straight_line():
    """Intensities that rise with depth: the slope is found, and nothing but the noise is left around it."""
    label = np.zeros((1, 48, 48), dtype=np.uint8)
    label[0, 8:40, 8:40] = 2
    distance = torch.from_numpy(signed_distances(label[0], CLASSES))[None]
    mask = torch.from_numpy(one_hot(label, CLASSES))
    noise = 0.1 * torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    image = 2 * mask[:, 2:] * (depths(distance)[:, 2:]) + noise
    (mean, slope, deviation), trend = parts(build(style="moments").style_of(image, mask, distance))
    assert slope[2] == pytest.approx(2, abs=0.05)
    assert deviation[2] == pytest.approx(0.1, rel=0.1)
    assert mean[2] == pytest.approx(image[0, 0][mask[0, 2] > 0].mean().item(), rel=1e-4)
    assert mean[0] == pytest.approx(0, abs=0.02)
    assert trend == pytest.approx([0, 0], abs=0.05)


def test_depths_by_hand():
    distance = torch.tensor([[[[0.2, -0.1, -0.5]], [[-0.6, -0.3, 0.4]]]])
    assert depths(distance)[0, :, 0].tolist() == [
        pytest.approx([0, 0.1, 0]), pytest.approx([0.2, 0, 0]), pytest.approx([0, 0, 0.4]),
    ]  # fmt: skip


@pytest.mark.parametrize("style", ["moments", "learned"])
def test_it_begins_with_the_class_means_of_the_image(style):
    model = build(2, style=style).eval()
    mask, distance, _, image = condition = inputs(2, 32, 32, 2)
    with torch.inference_mode():
        made = generate(model, condition)
    means = model.style_of(image, mask, distance)[:, : 2 * CLASSES].unflatten(1, (CLASSES, 2))
    filled = torch.einsum("bkhw,bkc->bchw", mask, means)
    assert (made - filled).abs().mean() < 0.3 * (image - filled).abs().mean()


def test_another_contrast_gives_the_same_image_in_that_contrast():
    """Painting in the image's own means and deviations: nothing has to be learned about scanners."""
    model = build(style="moments").eval()
    mask, distance, position, image = inputs(2, 32, 32)
    with torch.inference_mode():
        plain = generate(model, (mask, distance, position, image))
        other = generate(model, (mask, distance, position, 3 * image - 1))
    torch.testing.assert_close(other, 3 * plain - 1, rtol=1e-3, atol=1e-3)


def test_style_of_a_slice_without_foreground_is_finite():
    for style in STYLES:
        mask = torch.zeros(1, CLASSES, 8, 8)
        mask[:, 0] = 1
        distance = -torch.ones(1, CLASSES - 1, 8, 8)
        assert torch.isfinite(build(style=style).style_of(torch.randn(1, 1, 8, 8), mask, distance)).all()


def test_bad_options_and_classes_are_refused():
    with pytest.raises(ModelError, match="style"):
        build(style="copied")
    with pytest.raises(ModelError, match="style_size"):
        build(style_size=64)
    with pytest.raises(ModelError, match="at least 2"):
        create_model("m2i_s", 1, 1, 32)


def test_distances_by_hand():
    label = np.zeros((1, 6), dtype=np.uint8)
    label[0, 2:] = 1
    found = signed_distances(label, 3)
    steps = np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 3.5])
    expected = np.sign(steps) * np.log1p(np.abs(steps)) / np.log1p(DISTANCE_CLIP_PX)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
    assert (found[1] == -1).all()  # class 2 is absent


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_distances_against_scipy(seed):
    label = np.random.default_rng(seed).integers(0, 3, (9, 70)).astype(np.uint8)
    label[:, 10:60] = seed % 3
    for index, found in enumerate(signed_distances(label, 3), start=1):
        inside = label == index
        if inside.any() and not inside.all():
            distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
            pixels = np.minimum(np.abs(distance) - 0.5, DISTANCE_CLIP_PX)
            expected = np.sign(distance) * np.log1p(pixels) / np.log1p(DISTANCE_CLIP_PX)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        assert ((found > 0) == inside).all()
        assert np.abs(found).max() <= 1


def test_a_class_that_fills_the_slice_is_far_inside():
    assert (signed_distances(np.ones((4, 4), dtype=np.uint8), 2) == 1).all()


def test_positions_and_one_hot():
    assert slice_positions(3).tolist() == [0, 0.5, 1]
    assert slice_positions(1).tolist() == [0.5]
    assert one_hot(np.array([[0, 2]], dtype=np.uint8), 3).tolist() == [[[1, 0]], [[0, 0]], [[0, 1]]]


def test_a_generator_travels() -> None:
    model = create_model("m2i_s", 1, 3, 32).eval()
    stored = model.state_dict()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), create_model("m2i_s", 1, 3, 32)):
        wrapped = torch.nn.ModuleDict({"network": other})
        wrapped.load_state_dict({f"network.{name}": value for name, value in stored.items()}, strict=True)
        assert list(wrapped.state_dict()) == [f"network.{name}" for name in stored]
        assert torch.equal(other.bottleneck.by_mask.weight, model.bottleneck.by_mask.weight)
