"""The loss against formulas worked here from plain tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segcct.config import LossSection
from segcct.errors import ConfigError
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss, _at_size, _shrunk


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 6, 5, generator=generator), torch.randint(3, (2, 6, 5), generator=generator)


def published_dice(logits: torch.Tensor, target: torch.Tensor, classes: range) -> torch.Tensor:
    """Mean over classes of 1 - (2 sum p g + s) / (sum p^2 + sum g^2 + s), sums over the whole batch, s = 1e-5."""
    probability = logits.softmax(1)
    terms = []
    for index in classes:
        p, g = probability[:, index], (target == index).float()
        terms.append(1 - (2 * (p * g).sum() + 1e-5) / ((p * p).sum() + (g * g).sum() + 1e-5))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("background", "classes"), [(True, range(3)), (False, range(1, 3))])
def test_dice_is_the_published_formula(batch, background, classes):
    loss = SegmentationLoss(LossSection(ce=0, dice=1, dice_background=background), 3)
    assert loss(*batch).item() == pytest.approx(published_dice(*batch, classes).item(), abs=1e-6)


def test_the_published_mixture(batch):
    loss = SegmentationLoss(LossSection(ce=0.4, dice=0.6, dice_background=True), 3)
    expected = 0.4 * F.cross_entropy(*batch) + 0.6 * published_dice(*batch, range(3))
    assert loss(*batch).item() == pytest.approx(expected.item(), abs=1e-6)


def focal(gamma: float, weights: list[float] | None = None, classes: int = 3) -> SegmentationLoss:
    return SegmentationLoss(LossSection(ce=0, dice=0, focal=1, focal_gamma=gamma, class_weights=weights), classes)


def test_focal_by_hand(batch):
    logits, target = batch
    right = logits.softmax(1).gather(1, target[:, None])[:, 0]
    by_pixel = -((1 - right) ** 2) * right.log()
    assert focal(2)(*batch).item() == pytest.approx(by_pixel.mean().item(), rel=1e-5)
    weight = torch.tensor([0.1, 1.0, 2.0])[target]
    expected = (weight * by_pixel).sum() / weight.sum()
    assert focal(2, [0.1, 1.0, 2.0])(*batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 4.0]])
def test_focal_with_gamma_0_is_the_cross_entropy(weights):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 4, 6, 5, generator=generator), torch.randint(4, (2, 6, 5), generator=generator)
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, target, weight=weight).item()
    assert focal(0, weights, classes=4)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_a_sure_answer_has_a_finite_gradient(gamma):
    logits = torch.tensor([[[[200.0, -200.0]], [[-200.0, 200.0]]]], requires_grad=True)  # right, and wrong
    focal(gamma, classes=2)(logits, torch.tensor([[[0, 0]]])).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_class_weights_reach_the_cross_entropy(batch):
    loss = SegmentationLoss(LossSection(ce=1, dice=0, class_weights=[0.1, 1.0, 2.0]), 3)
    expected = F.cross_entropy(*batch, weight=torch.tensor([0.1, 1.0, 2.0]))
    assert loss(*batch).item() == pytest.approx(expected.item(), abs=1e-6)


def test_class_weights_must_fit():
    with pytest.raises(ConfigError, match=r"class_weights .*2 weights.*3"):
        SegmentationLoss(LossSection(class_weights=[1, 2]), 3)


def test_sums_of_logits_are_those_of_every_subset_at_half_resolution():
    generator = torch.Generator().manual_seed(0)
    full, half, quarter = (torch.randn(2, 3, side, side, generator=generator) for side in (8, 4, 2))
    target = torch.randint(3, (2, 8, 8), generator=generator)
    a, b, c = full.reshape(2, 3, 4, 2, 4, 2).mean((3, 5)), half, F.interpolate(quarter, size=4, mode="bilinear")
    odd = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 1
    small = torch.where(odd, target[:, 1::2, 1::2], target[:, ::2, ::2])
    sums = [F.cross_entropy(logits, small) for logits in (a, b, c, a + b, a + c, b + c, a + b + c)]
    expected = F.cross_entropy(full, target) + 0.3 * sum(sums) / 7
    loss = SegmentationLoss(LossSection(ce=1, dice=0, logit_sums=0.3), 3)
    assert loss([full, half, quarter, quarter[..., :1, :1]], target).item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss(full, target).item() == pytest.approx(F.cross_entropy(full, target).item())
    both = SegmentationLoss(LossSection(ce=1, dice=0, logit_sums=0.3, deep_supervision=0.4), 3)
    assert both([full, half], target).item() == pytest.approx(
        (F.cross_entropy(full, target) + 0.4 * sums[1] + 0.1 * (sums[0] + sums[1] + sums[3])).item(), rel=1e-5
    )


@pytest.mark.parametrize("keys", [{}, {"logit_sums": 0.3}, {"deep_supervision": 0.4}])
def test_every_scale_gets_a_gradient(keys):
    """Or processes that train together would wait for it."""
    scales = [torch.zeros(1, 3, side, side, requires_grad=True) for side in (16, 8, 4, 2)]
    SegmentationLoss(LossSection(**keys), 3)(scales, torch.zeros(1, 16, 16, dtype=torch.int64)).backward()
    assert all(logits.grad is not None for logits in scales)


def test_deeper_scales_join_with_halved_weights(batch):
    logits, target = batch
    lower = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    loss = SegmentationLoss(LossSection(ce=1, dice=0, deep_supervision=0.4), 3)
    small = _shrunk(target, torch.Size((3, 3)))
    one = F.cross_entropy(lower, small)
    expected = F.cross_entropy(logits, target) + 0.4 * one + 0.2 * one
    assert loss([logits, lower, lower], target).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(("side", "factor"), [(64, 2), (64, 4), (90, 4), (100, 8)])
def test_labels_of_lower_scales_stay_where_they_are(side, factor):
    """By the pixel after the center alone, disks would move by half a pixel; if 13 pixels at 1/8 stood for 100 pixels,
    not for the 104 that the network sees, by three."""
    places = torch.arange(side) + 0.5
    centers = side - 36 + 8 * torch.rand(200, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    distance = torch.hypot(places[:, None] - centers[:, 0], places - centers[:, 1])  # (200, side, side)
    length = -(-side // factor)
    small = _shrunk((distance < 14).long(), torch.Size((length, length))).float()
    rows = (torch.arange(length) + 0.5) * factor
    found = (small.sum(2) * rows).sum(1) / small.sum((1, 2))
    assert (found - centers[:, 0, 0, 0]).mean().abs() < 0.05 * factor
    area = (distance < 14).float().sum().item()
    assert small.sum().item() * factor**2 == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize(("side", "factor"), [(90, 4), (90, 1), (45, 2), (46, 1)])
def test_logits_and_maps_keep_their_places_at_half_resolution(side, factor):
    """A map of its own pixels' places, at 1/`factor` of `side` pixels."""
    places = (torch.arange(-(-side // factor)) + 0.5) * factor
    half = -(-side // 2)
    row = _at_size(places.expand(1, 1, len(places), -1), torch.Size((half, half)))[0, 0, 0]
    inside = slice(2, half - 2)
    assert torch.allclose(row[inside], ((torch.arange(half) + 0.5) * 2)[inside])


def test_loss_of_a_perfect_answer_is_zero():
    target = torch.tensor([[[0, 1], [2, 1]]])
    logits = 50.0 * F.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert SegmentationLoss(LossSection(), 3)(logits, target).item() == pytest.approx(0.0, abs=1e-5)
