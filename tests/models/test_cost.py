"""What `segcct models` says of a network, against torch's own counter; and that it says it soon."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.cli import main
from segcct.models import mac_counter
from segcct.models.cost import cost, on_meta
from segcct.models.mac_counter import count_by_torch, count_macs
from segcct.models.zoo import MODELS, create_model


@pytest.mark.parametrize("name", list(MODELS))
def test_costs_are_those_of_the_network_by_torchs_counter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    channels, classes, size = MODELS[name].made_for
    with torch.device("meta"):
        network = create_model(name, channels, classes, size).eval()
    expected = count_by_torch(network, on_meta(name, channels, classes, size)[1])
    monkeypatch.setattr(mac_counter, "count_by_torch", lambda *_: pytest.fail(f"{name} needs torch's counter"))
    result = cost(name, channels, classes, size)
    assert result.macs == expected > 0
    assert result.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["vit_2_4_32", "cct_2_3x2_32", "cct_unet_t", "swin_unet_tiny", "unet", "m2i_s"])
def test_costs_of_another_size_channels_and_classes(name: str) -> None:
    result = cost(name, 3, 7, 100)
    assert result.macs == count_by_torch(*on_meta(name, 3, 7, 100))
    assert result.macs != cost(name, 3, 7, 132).macs


def test_a_cost_worked_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
    )
    image = torch.empty(1, 2, 8, 8, device="meta")  # -> (1, 6, 4, 4)
    assert count_macs(network.to("meta"), (image,)) == 6 * 4 * 4 * 9 + 96 * 5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 9, 7)),
        (nn.Conv2d(4, 6, (3, 5), padding="same"), (2, 4, 9, 7)),
        (nn.Conv2d(4, 6, 3, dilation=(2, 1)), (2, 4, 9, 7)),
        (nn.MultiheadAttention(8, 2), None),
        (nn.Conv3d(2, 3, 3), (1, 2, 5, 6, 7)),
        (nn.Bilinear(4, 4, 3), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_of_any_kind_is_counted_as_torch_does(layer: nn.Module, shape: tuple[int, ...] | None) -> None:
    layer = layer.eval().to("meta")
    arguments = {nn.MultiheadAttention: [(5, 1, 8)] * 3, nn.Bilinear: [(6, 4)] * 2}.get(type(layer), [shape])
    inputs = tuple(torch.empty(each, device="meta") for each in arguments)
    assert count_macs(layer, inputs) == count_by_torch(layer, inputs)


class _Unusual(nn.Module):
    """Matrix products that are written in ways that no network of the table uses, and views of what is permuted."""

    def forward(self, image: Tensor) -> Tensor:
        maps = F.gelu(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).view(image.shape[0], -1)
        summed = torch.einsum("ij,kj,ik->", maps, maps, maps @ maps.T) + torch.einsum("ij,k->k", maps, maps[0])
        return maps @ maps.T + summed.sum()


def test_functions_without_a_rule_are_left_to_torch() -> None:
    image = torch.empty(2, 3, 4, 5, device="meta")
    assert count_macs(_Unusual(), (image,)) == count_by_torch(_Unusual(), (image,)) > 0


def test_timm_networks_cost_what_torch_counts() -> None:
    for name in ("timm:resnet18", "timm:swin_tiny_patch4_window7_224"):
        result = cost(name, 3, 1000, 224)
        with torch.device("meta"):
            network = create_model(name, 3, 1000, 224).eval()
        assert result.macs == count_by_torch(network, (torch.empty(1, 3, 224, 224, device="meta"),))
        assert result.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm/resnet34", {}), ("timm/swin_tiny_patch4_window7_224", {}), ("monai/DynUNet", {}), ("monai/UNETR", {}),
        ("monai/SwinUNETR", {"feature_size": 12}),
    ],
)  # fmt: skip
def test_networks_of_other_libraries_cost_what_torch_counts(name: str, options: dict[str, object]) -> None:
    result = cost(name, 1, 4, 64, options)
    network = create_model(name, 1, 4, 64, options).eval().to("meta")
    assert result.macs == count_by_torch(network, (torch.empty(1, 1, 64, 64, device="meta"),)) > 0
    assert result.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_listing_the_models_imports_nothing_slow() -> None:
    """These packages take longer to import than all models to count."""
    code = (
        "import sys; from segcct.cli import main; code = main(['models']); "
        "from segcct.models.zoo import entry; entry('monai/DynUNet'); "
        "slow = {'torch._dynamo', 'torch._inductor', 'sympy', 'timm', 'monai', 'scipy'} & set(sys.modules); "
        "print(slow, file=sys.stderr); sys.exit(code or bool(slow))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(MODELS) + 2  # and a line for each library with an adapter
    assert "monai/DynUNet" in done.stdout


def test_an_unknown_name_among_others_is_refused_before_anything_is_printed(capsys):
    assert main(["models", "unet", "cct_unet_x"]) == 1
    shown = capsys.readouterr()
    assert "Did you mean" in shown.err
    assert shown.out == ""
