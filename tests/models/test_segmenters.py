"""What every segmenter promises, inherited by one class per network; and the names that must have one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from segcct.models.cost import on_meta
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.swin_unet import SIZES as SWIN_UNET_SIZES
from segcct.models.swin_unet import SwinUnet, SwinUnetOptions, SwinUnetSize
from segcct.models.transformer import DropPath
from segcct.models.zoo import create_model, model_names

CLASSES = 3


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def noise(*shape: int) -> torch.Tensor:
    """The same for one shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def check_logits(model: nn.Module, image: torch.Tensor) -> None:
    with torch.inference_mode():
        logits = model(image)
    assert logits.shape == (len(image), CLASSES, *image.shape[2:])
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


class SegmenterContract:
    """Tests every segmenter passes; a subclass names it, and its options if it differs by them."""

    name: str
    options: dict[str, object] = {}  # noqa: RUF012

    def create(self, in_channels: int = 1) -> nn.Module:
        return create_model(self.name, in_channels, CLASSES, 32, self.options)

    def build(self, in_channels: int = 1) -> nn.Module:
        torch.manual_seed(0)
        return self.create(in_channels)

    @pytest.fixture(scope="class")
    @classmethod
    def evaluated(cls) -> nn.Module:
        """A model of one channel for the tests that change nothing of it."""
        return cls().build().eval()

    @pytest.fixture
    def in_training(self, evaluated: nn.Module) -> nn.Module:
        """A copy of it that a test may change; copied, as a network of many parameters takes long to draw."""
        torch.manual_seed(0)
        return copy.deepcopy(evaluated).train()

    def test_logits_have_the_size_of_the_image(self, evaluated: nn.Module) -> None:
        """Also of sizes that are odd, tiny, and larger than the one the model was built for."""
        for height, width in ((32, 32), (33, 50), (1, 7), (72, 40)):
            check_logits(evaluated, noise(2, 1, height, width))

    def test_images_may_have_several_channels(self) -> None:
        check_logits(self.build(4).eval(), noise(2, 4, 33, 50))

    def test_gradients_reach_every_parameter(self, in_training: nn.Module) -> None:
        model = in_training
        for module in model.modules():
            if isinstance(module, DropPath):
                module.rate = 0.0  # a dropped branch has no gradient
            if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
                nn.init.ones_(module.weight)  # residual branches of timm's networks start at 0
        logits = model(torch.randn(2, 1, 64, 64))
        answers = logits if isinstance(logits, list) else [logits]
        # A plain sum would have no gradient behind a softmax or LayerNorm: weigh the logits at random.
        sum((answer * torch.randn_like(answer)).sum() for answer in answers).backward()
        unreached = [
            name
            for name, value in model.named_parameters()
            # The gradient of a bias before BatchNorm is 0 but for rounding.
            if value.grad is None or not (value.grad.abs().sum() > 0 or name.endswith("bias"))
        ]
        assert unreached == []

    def test_training_takes_a_batch_of_one(self, in_training: nn.Module) -> None:
        logits = in_training(torch.randn(1, 1, 16, 16))
        answer = logits[0] if isinstance(logits, list) else logits
        assert answer.shape == (1, CLASSES, 16, 16)

    def test_saved_and_loaded_weights_give_equal_logits(self, in_training: nn.Module, tmp_path: Path) -> None:
        with torch.no_grad():
            in_training(torch.randn(2, 1, 32, 32))  # moves the running statistics, where there are any
        model = in_training.eval()
        save_file(model.state_dict(), tmp_path / "weights.safetensors")
        torch.manual_seed(1)
        other = self.create().eval()
        image = torch.randn(1, 1, 32, 32)
        with torch.inference_mode():
            assert not torch.equal(model(image), other(image))
            other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
            assert torch.equal(model(image), other(image))

    def test_evaluation_is_deterministic_and_keeps_cases_apart(self, evaluated: nn.Module) -> None:
        images = noise(3, 1, 40, 40)
        with torch.inference_mode():
            together, again = evaluated(images), evaluated(images)
            alone = torch.cat([evaluated(images[case : case + 1]) for case in range(3)])
        assert torch.equal(together, again)
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)

    def test_bfloat16_autocast(self, evaluated: nn.Module) -> None:
        image = noise(1, 1, 48, 48)
        with torch.inference_mode():
            exact = evaluated(image)
            with torch.autocast("cpu", torch.bfloat16):
                rough = evaluated(image).float()
        assert (exact - rough).abs().mean() < 0.05 * exact.std() + 0.02


class TestCctUnetT(SegmenterContract):
    name = "cct_unet_t"


class TestCctUnetS(SegmenterContract):
    name = "cct_unet_s"


class TestCctUnetSDeepSupervision(SegmenterContract):
    name = "cct_unet_s"
    options = {"deep_supervision": True}  # noqa: RUF012


class TestCctUnetSConvolutional(SegmenterContract):
    name = "cct_unet_s"
    options = {"encoder_depth": 0, "swin_blocks": 0}  # noqa: RUF012


class TestCctUnetB(SegmenterContract):
    name = "cct_unet_b"


class TestSwinUnetTiny(SegmenterContract):
    name = "swin_unet_tiny"


class TestSwinUnetTinyAblated(SegmenterContract):
    name = "swin_unet_tiny"
    options = {"upsample": "transposed", "skips": 1}  # noqa: RUF012


class TestSwinUnetBase(SegmenterContract):
    """At a quarter of its width, which the contract does not depend on: the whole has 149 million parameters."""

    name = "swin_unet_base"

    def create(self, in_channels: int = 1) -> nn.Module:
        size = SwinUnetSize(32, SWIN_UNET_SIZES[self.name].depths, SWIN_UNET_SIZES[self.name].heads)
        options = SwinUnetOptions()
        return SwinUnet(size, in_channels=in_channels, num_classes=CLASSES, image_size=32, options=options)


class TestUNet(SegmenterContract):
    name = "unet"


class TestUNetNormalised(SegmenterContract):
    name = "unet"
    options = {"norm": "batch"}  # noqa: RUF012


class TestNarrowUNet(SegmenterContract):
    name = "unet_16"


class TestTimmConvNext(SegmenterContract):
    name = "timm/convnext_atto"


class TestTimmPvt(SegmenterContract):
    name = "timm/pvt_v2_b0"


class TestTimmMobileNet(SegmenterContract):
    name = "timm/mobilenetv4_conv_small"
    options = {"deep_supervision": True, "decoder_width": 8}  # noqa: RUF012


class TestTimmEdgeNext(SegmenterContract):
    name = "timm/edgenext_xx_small"


class TestTimmSwin(SegmenterContract):
    name = "timm/swin_tiny_patch4_window7_224"


class TestTimmResNet(SegmenterContract):
    name = "timm/resnet34"


class TestMonaiDynUNet(SegmenterContract):
    name = "monai/DynUNet"
    options = {"filters": 16}  # noqa: RUF012


class TestMonaiDynUNetDeepSupervision(SegmenterContract):
    name = "monai/DynUNet"
    options = {"filters": 8, "levels": 4, "deep_supervision": True, "res_block": True}  # noqa: RUF012


class TestMonaiSwinUNETR(SegmenterContract):
    name = "monai/SwinUNETR"
    options = {"feature_size": 12}  # noqa: RUF012


class TestMonaiUNETR(SegmenterContract):
    """Narrow, which the contract does not depend on: the whole has 87 million parameters."""

    name = "monai/UNETR"
    options = {"hidden_size": 48, "mlp_dim": 96, "num_heads": 4}  # noqa: RUF012


class TestMonaiAttentionUnet(SegmenterContract):
    name = "monai/AttentionUnet"
    options = {"filters": 16}  # noqa: RUF012


class TestMonaiSegResNet(SegmenterContract):
    name = "monai/SegResNet"
    options = {"filters": 16}  # noqa: RUF012


class TestMonaiMedNeXtS(SegmenterContract):
    name = "monai/MedNeXtS"


class TestMonaiMedNeXtSDeepSupervision(SegmenterContract):
    name = "monai/MedNeXtS"
    options = {"deep_supervision": True}  # noqa: RUF012


def test_the_narrow_unet_has_the_published_size_and_dropout() -> None:
    """SSL4MIS counts 1,813,764 for 1 channel and 4 classes, with a bias of no effect before each BatchNorm."""
    network, _ = on_meta("unet_16", 1, 4, 224)
    assert parameters(network) == 1_813_764 - 2 * (16 + 32 + 64 + 128 + 256 + 240)
    rates = [part.p for part in network.modules() if isinstance(part, nn.Dropout)]
    assert rates == [0.05, 0.1, 0.2, 0.3, 0.5, 0, 0, 0, 0]
    halved, _ = on_meta("unet_16", 1, 4, 224, {"dropout": 0.25})
    assert [part.p for part in halved.modules() if isinstance(part, nn.Dropout)] == [rate / 2 for rate in rates]


def test_every_segmenter_is_under_contract() -> None:
    assert {contract.name for contract in SegmenterContract.__subclasses__()} == set(model_names("segmenter"))


@pytest.mark.parametrize(("name", "fewest", "most"), [("t", 1.2e6, 1.8e6), ("s", 3.5e6, 5.4e6), ("b", 22e6, 28e6)])
def test_cct_unet_sizes(name: str, fewest: float, most: float) -> None:
    assert fewest <= parameters(on_meta(f"cct_unet_{name}", 4, 4, 224)[0]) <= most


def test_cct_unet_s_has_a_fifth_of_swin_unet_tiny() -> None:
    assert 5 * parameters(on_meta("cct_unet_s", 1, 4, 224)[0]) <= 27_168_420


def test_cct_unet_with_fewer_blocks() -> None:
    whole, no_encoder, neither = (
        on_meta("cct_unet_s", 1, CLASSES, 64, options)[0]
        for options in ({}, {"encoder_depth": 0}, {"encoder_depth": 0, "swin_blocks": 0})
    )
    blocks = sum(value.numel() for name, value in whole.named_parameters() if "encoder.blocks." in name)
    assert blocks > 0
    assert parameters(whole) - parameters(no_encoder) == blocks
    assert parameters(no_encoder) > parameters(neither)
    assert not any("swin" in name for name, _ in neither.named_parameters())


def test_deep_supervision_answers_at_each_scale_in_training_only() -> None:
    model = create_model("cct_unet_s", 1, CLASSES, 64, {"deep_supervision": True})
    image = torch.randn(2, 1, 50, 33)
    shapes = [tuple(answer.shape) for answer in model.train()(image)]
    assert shapes == [(2, 3, 50, 33), (2, 3, 25, 17), (2, 3, 13, 9), (2, 3, 7, 5)]
    assert model.eval()(image).shape == (2, 3, 50, 33)


def test_cct_unet_learns_a_shape() -> None:
    """A few steps on one image of a disc and a square: the parts work together, or the loss stays."""
    torch.manual_seed(0)
    model = create_model("cct_unet_t", 1, CLASSES, 48).train()
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    label = ((rows - 14) ** 2 + (columns - 16) ** 2 < 81).long()
    label[28:40, 20:44] = 2
    image = (label.float() + 0.3 * torch.randn(48, 48))[None, None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(50):
        loss = nn.functional.cross_entropy(model(image), label[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    with torch.inference_mode():
        assert (model(image).argmax(1)[0] == label).float().mean() > 0.95


def test_unet_is_the_published_one() -> None:
    model = create_model("unet", 1, 2, 64)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert parameters(model) == 31_030_658  # counted by hand: 3x3 pairs 28,237,632 + 2x2 ups 2,786,240 + biases + 1x1
    for module in convolutions[:-1]:
        reach = module.in_channels * (9 if isinstance(module, nn.Conv2d) else 1)
        assert module.weight.std().item() == pytest.approx((2 / reach) ** 0.5, rel=0.1)
        assert not module.bias.any()


def test_unet_options() -> None:
    plain, normalized = (on_meta("unet", 1, 2, 64, options)[0] for options in ({}, {"norm": "batch"}))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in normalized.modules()) == 18


@settings(max_examples=50)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    multiple=st.sampled_from([1, 16, 32]),
    least=st.sampled_from([0, 32]),
)
def test_padding_repeats_the_border_and_crops_back(height: int, width: int, multiple: int, least: int) -> None:
    image = torch.randn(1, 2, height, width)
    padded = pad_to_multiple(image, multiple, at_least=least)
    for before, after in ((height, padded.shape[2]), (width, padded.shape[3])):
        assert after % multiple == 0
        assert after >= max(before, least)
        assert after < max(before, least) + multiple
    assert torch.equal(crop_to(padded, height, width), image)
    assert torch.equal(padded[..., -1, -1], image[..., -1, -1])


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_of_cct_unet_see_channels_last(channels):
    """Also with one channel, whose strides can be those of both orders; the other order takes a tenth more time."""
    network, seen = create_model("cct_unet_t", channels, 2, 32), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].stride(1), output.stride(1))))
    network(torch.rand(2, channels, 32, 32))
    assert set(seen) == {(1, 1)}
