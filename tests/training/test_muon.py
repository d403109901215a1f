"""Muon: orthogonal updates of matrices and kernels, AdamW for the rest, states that go on where they were."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segcct.config import SegmentationTrainSection
from segcct.models.cost import on_meta
from segcct.models.zoo import create_model
from segcct.training.muon import Muon, orthogonal_weights, orthogonalized
from segcct.training.optimization import build_optimizer


@pytest.mark.parametrize(("arithmetic", "error"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_the_update_has_the_directions_of_the_gradient_and_alike_sizes(shape, arithmetic, error):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    update = orthogonalized(matrix, arithmetic)
    assert update.dtype == torch.float32
    found = u.T @ update @ v.T  # diagonal where the singular vectors are kept
    assert (found - found.diag().diag()).abs().max() < error
    assert found.diag()[s > 0.1 * s.max()].min() > 0.6
    assert found.diag().max() < 1.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_matrices_move_as_by_torch():
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(24, 12, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    before = ours.weight.detach().clone()
    group = {"params": [ours.weight], "weight_decay": 0.1, "orthogonal": True}
    mine = Muon([group], lr=0.02, arithmetic=torch.bfloat16)
    other = torch.optim.Muon([theirs.weight], lr=0.02, weight_decay=0.1, momentum=0.95)
    for _ in range(3):
        image = torch.randn(200, 24)
        for network, optimizer in ((ours, mine), (theirs, other)):
            network(image).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    moved = (theirs.weight - before).norm()
    assert (ours.weight - theirs.weight).norm() < 0.05 * moved


def train(**changes) -> SegmentationTrainSection:
    return SegmentationTrainSection(optimizer="muon", lr=1e-3, muon_lr=0.05, **changes)


def test_kernels_are_orthogonal_and_tables_norms_and_heads_are_left_to_adamw():
    network = create_model("cct_unet_t", 1, 4, 64)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    optimizer = build_optimizer(network, train())
    groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    assert sorted(name for names in groups for name in names) == sorted(names.values())
    assert optimizer.param_groups[2]["lr_factor"] == pytest.approx(50)
    by_adamw = set(groups[0])
    assert {"head.weight"} < by_adamw
    assert any("positional" in name for name in by_adamw)
    assert all(min(p.flatten(1).shape) >= 8 for p in optimizer.param_groups[2]["params"])
    assert sum(p.numel() for p in orthogonal_weights(network)) > 0.8 * sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cct_unet_t", {"deep_supervision": True}), ("unet_16", {}), ("swin_unet_tiny", {}), ("cct_2_3x2_32", {}),
        ("monai/DynUNet", {"filters": 8, "levels": 4, "deep_supervision": True}),
        ("monai/SwinUNETR", {"feature_size": 12}), ("monai/SegResNet", {"filters": 8}),
        ("monai/UNETR", {"feature_size": 8, "hidden_size": 48, "num_heads": 2, "mlp_dim": 48}),
        ("monai/AttentionUnet", {"filters": 8, "levels": 3}), ("monai/MedNeXtS", {"deep_supervision": True}),
        ("timm:mobilenetv3_small_050", {}), ("timm:crossvit_9_240", {}), ("timm:efficientvit_b0", {}),
        ("timm/resnet34", {"deep_supervision": True}), ("unet", {}),
        ("cct_encoder_t", {}),
    ],
)  # fmt: skip
def test_heads_of_many_classes_are_left_to_adamw_as_those_of_few(name, options):
    size = 240 if name.endswith("_240") else 224
    network, _ = on_meta(name, 3, 11, size, options)
    assert [tuple(weight.shape) for weight in orthogonal_weights(network) if weight.shape[0] == 11] == []


@pytest.mark.parametrize("name", ["m2i_s", "masked/cct_unet_t"])
def test_the_heads_of_a_generator_and_of_a_pre_training_are_left_to_adamw(name):
    network = create_model(name, 3, 11, 64)
    (head,) = (layer for path, layer in network.named_modules() if path.split(".")[-1] == "head")
    chosen = orthogonal_weights(network)
    assert len(chosen) > 5
    assert not any(weight is head.weight for weight in chosen)


def test_iterations_are_in_the_arithmetic_of_the_training():
    network = nn.Linear(8, 8)
    for precision, arithmetic in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        optimizer = build_optimizer(network, train(precision=precision))
        assert isinstance(optimizer, Muon)
        assert optimizer.arithmetic == arithmetic


def test_a_loaded_state_takes_the_same_steps():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16 * 36, 8))
    images = torch.randn(6, 4, 8, 8, 8)

    def steps(network: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
        for image in images:
            network(image).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    optimizer = build_optimizer(network, train())
    steps(network, optimizer, images[:3])
    other = copy.deepcopy(network)
    resumed = build_optimizer(other, train())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    steps(network, optimizer, images[3:])
    steps(other, resumed, images[3:])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
