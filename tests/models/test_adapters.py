"""Networks of timm and MONAI: what is built, refused, loaded from their own files, and imported when."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segcct.cli import main
from segcct.errors import CheckpointError, ModelError
from segcct.inference.loaded_model import load_network
from segcct.model_card import Architecture, load_card, save_model
from segcct.models.weights import load_pretrained
from segcct.models.zoo import create_model, entry, model_names
from tests.support.toy_pair import card, data_section


def test_a_network_of_timm_does_not_import_monai() -> None:
    code = (
        "import sys; from segcct.models.zoo import create_model; create_model('timm/resnet18', 1, 2, 64); "
        "sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


def test_any_encoder_of_timm_with_a_pyramid_goes() -> None:
    model = create_model("timm/efficientnet_b0", 2, 3, 40).eval()
    assert model(torch.zeros(1, 2, 40, 30)).shape == (1, 3, 40, 30)
    assert entry("timm/efficientnet_b0").kind == "segmenter"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet_34", "Did you mean .*timm/resnet34"),
        ("timm/vit_tiny_patch16_224", "no feature pyramid .*1/16"),
        ("monai/DynUnet", "one of monai/DynUNet.*Did you mean monai/DynUNet"),
        ("monia/DynUNet", "unknown model"),
    ],
)
def test_what_is_no_segmenter_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name, 1, 3, 64)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("monai/DynUNet", {"filters": 10}, "filters of model monai/DynUNet .*multiple of 8"),
        ("monai/UNETR", {"hidden_size": 50}, "cannot build UNETR"),
        ("monai/SwinUNETR", {"depth": 2}, "unknown option"),
        ("timm/resnet34", {"decoder_width": 4096}, "decoder_width"),
        ("timm/mobilenetv3_rw", {"stochastic_depth": 2}, "stochastic_depth"),
        ("timm/resnet34", {"encoder_depth": 0}, "unknown option .*encoder_depth"),  # CCT-UNet's, of its own encoder
        ("timm/resnet34", {"swin_blocks": 0}, "unknown option .*swin_blocks"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name, 1, 3, 64, options)


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224", "resnet34"])
def test_a_file_of_timm_fills_the_encoder(tmp_path: Path, name: str) -> None:
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model(name)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    model = create_model(f"timm/{name}", 1, 3, 64)
    report = load_pretrained(model, tmp_path / "theirs.safetensors")
    assert not [missing for missing in report.missing if missing.startswith("pyramid.network.")]
    assert any("3 -> 1 input channels" in how for how in report.resized.values())
    features = timm.create_model(name, features_only=True)
    state = {key.replace(".", "_"): value for key, value in theirs.state_dict().items()}
    features.load_state_dict({key: state[key.replace(".", "_")] for key in features.state_dict()})
    image = torch.randn(1, 1, 224, 224)
    with torch.inference_mode():
        expected = features.eval()(image.expand(-1, 3, -1, -1))[-1]
        found = model.eval().pyramid.network(image)[-1]
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3)


def test_a_file_of_another_encoder_is_refused(tmp_path: Path) -> None:
    import timm

    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(create_model("timm/resnet34", 1, 3, 64), tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["monai/DynUNet", "monai/SegResNet", "timm/resnet34"])
def test_a_run_is_fine_tuned_with_other_channels_and_classes(tmp_path: Path, name: str) -> None:
    before, after = create_model(name, 2, 3, 64), create_model(name, 1, 5, 64)
    torch.save(before.state_dict(), tmp_path / "a.pth")
    report = load_pretrained(after, tmp_path / "a.pth")
    assert all("2 -> 1 input channels" in how for how in report.resized.values())
    assert len(report.resized) >= 1
    heads = {why for why in report.skipped.values() if why != "computed by the model itself"}
    assert heads == {"3 classes in the file, 5 in the model, which keeps its initial head"}
    assert not report.missing


def test_a_file_of_monai_fills_the_network(tmp_path: Path) -> None:
    from monai.networks.nets import SegResNet

    torch.manual_seed(0)
    theirs = SegResNet(spatial_dims=2, init_filters=32, in_channels=1, out_channels=3)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    model = create_model("monai/SegResNet", 1, 3, 64)
    load_pretrained(model, tmp_path / "a.pth")
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.eval()(image), theirs.eval()(image))


def test_threads_share_a_unetr_at_several_sizes() -> None:
    options = {"feature_size": 8, "hidden_size": 16, "mlp_dim": 16, "num_heads": 2}
    model = create_model("monai/UNETR", 1, 2, 32, options).eval()
    table = model.state_dict()["network.vit.patch_embedding.position_embeddings"].clone()
    images = [torch.randn(1, 1, height, width) for height, width in ((32, 64), (64, 32), (48, 64), (32, 32))] * 4

    def logits(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(image)

    expected = [logits(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(logits, images))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(model.state_dict()["network.vit.patch_embedding.position_embeddings"], table)


def test_weights_that_dyn_unet_has_twice_are_stored_once() -> None:
    model = create_model("monai/DynUNet", 1, 3, 64, {"filters": 8, "levels": 3})
    stored = model.state_dict()
    assert len({value.data_ptr() for value in stored.values() if value.numel() > 1}) == len(stored)
    nn.init.zeros_(model.network.input_block.conv1.conv.weight)
    model.load_state_dict(stored)
    pair = nn.ModuleDict({"network": model})
    pair.load_state_dict(pair.state_dict())


@pytest.mark.parametrize("name", ["monai/DynUNet", "timm/edgenext_xx_small"])
def test_a_best_folder_holds_all_that_is_needed(tmp_path: Path, name: str) -> None:
    options = {"deep_supervision": True}
    network = create_model(name, 1, 3, 32, options).eval()
    built = Architecture(name=name, in_channels=1, num_classes=3, image_size=32, options=options)
    save_model(tmp_path / "best", network.state_dict(), card("segmentation", data_section(), architecture=built))
    loaded = load_network(tmp_path / "best", load_card(tmp_path / "best")).eval()
    image = torch.randn(1, 1, 40, 30)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


@pytest.mark.parametrize("name", ["timm:resnet18", *model_names("segmenter")])
def test_every_name_makes_its_row(name: str) -> None:
    assert entry(name).name == name


@pytest.mark.slow
def test_a_training_is_planned_with_one_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "acdc", "scans", "--cases", "6", "--reduce", "8"]) == 0
    config = str(Path(__file__).parents[2] / "configs" / "acdc_cct_unet.yaml")
    small = ["--data.root", "scans", "--data.image_size", "64", "--train.batch_size", "2", "--train.precision", "fp32"]
    deep = ["--model.options.deep_supervision", "true", "--train.loss.deep_supervision", "0.5"]
    for keys in (["timm/mobilenetv4_conv_small", *deep], ["monai/DynUNet", "--model.options.filters", "8", *deep]):
        assert main(["train-seg", "--config", config, "--dry-run", *small, "--model.name", *keys]) == 0
        assert "s per step measured here" in capsys.readouterr().out
