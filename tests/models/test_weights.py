"""Released checkpoints into our models: what is loaded, resized, skipped, missing, and what is refused unopened."""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import CheckpointError
from segcct.models.swin_unet import SwinUnet, SwinUnetOptions, SwinUnetSize
from segcct.models.tokenizer import to_tokens
from segcct.models.transformer import Encoder, sine_table
from segcct.models.weight_files import read_weights
from segcct.models.weight_names import is_head
from segcct.models.weights import load_pretrained
from segcct.models.zoo import create_model


def compact(name: str = "cct_2_3x2_32", classes: int = 10, size: int = 32, channels: int = 3, **options: object):
    torch.manual_seed(sum(name.encode()) + 7 * classes + size)
    return create_model(name, channels, classes, size, options).eval()


def output(model: nn.Module, channels: int = 3, size: int = 32) -> Tensor:
    with torch.no_grad():
        return model(torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(5)))


# ---- released compact transformers


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(model="cct", lr=1e-3)},
        lambda weights: {"model": {f"module._orig_mod.{name}": value for name, value in weights.items()}},
    ],
    ids=["plain", "module", "state_dict", "model"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_released_file_gives_the_same_output(tmp_path: Path, wrap: Callable, zipped: bool) -> None:
    trained = compact()
    torch.save(wrap(trained.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    model = create_model("cct_2_3x2_32", 3, 10, 32).eval()
    report = load_pretrained(model, tmp_path / "a.pth")
    assert torch.equal(output(model), output(trained))
    assert set(report.loaded) == set(model.state_dict())
    assert not report.resized
    assert not report.skipped
    assert not report.missing


def test_safetensors_file(tmp_path: Path) -> None:
    trained = compact("vit_2_4_32")
    save_file(trained.state_dict(), tmp_path / "a.safetensors")
    model = create_model("vit_2_4_32", 3, 10, 32).eval()
    load_pretrained(model, str(tmp_path / "a.safetensors"))
    assert torch.equal(output(model), output(trained))


def test_half_precision_file(tmp_path: Path) -> None:
    trained = compact("cvt_2_4_32", positional="sine")
    torch.save({name: value.half() for name, value in trained.state_dict().items()}, tmp_path / "a.pth")
    model = create_model("cvt_2_4_32", 3, 10, 32, {"positional": "sine"}).eval()
    report = load_pretrained(model, tmp_path / "a.pth")
    torch.testing.assert_close(output(model), output(trained), atol=1e-2, rtol=1e-2)
    assert not report.notes  # the table is sinusoidal to half precision


@pytest.mark.parametrize("name", ["cct_2_3x2_32", "vit_2_4_32"])
def test_other_size_and_classes(tmp_path: Path, name: str) -> None:
    trained = compact(name, classes=10, size=32)
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    model = compact(name, classes=3, size=48)
    fresh_head = model.classifier.fc.weight.clone()
    report = load_pretrained(model, tmp_path / "a.pth")
    assert report.resized == {"classifier.positional_emb": "8x8 -> 12x12 tokens, bilinear"}
    assert set(report.skipped) == {"classifier.fc.weight", "classifier.fc.bias"}
    assert "10 classes in the file, 3 in the model" in str(report)
    assert torch.equal(model.classifier.fc.weight, fresh_head)
    table, new = trained.classifier.positional_emb, model.classifier.positional_emb
    lead = int(name.startswith("vit"))
    grid = table[:, lead:].reshape(1, 8, 8, -1).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (12, 12), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(new[:, lead:], expected)
    torch.testing.assert_close(new[:, :lead], table[:, :lead])


def test_other_channels_keep_the_response_to_a_gray_image(tmp_path: Path) -> None:
    trained = compact()
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    gray = torch.rand(2, 1, 32, 32)
    for channels in (1, 4):
        model = compact(channels=channels)
        report = load_pretrained(model, tmp_path / "a.pth")
        assert f"3 -> {channels} input channels" in report.resized["tokenizer.conv_layers.0.0.weight"]
        with torch.no_grad():
            torch.testing.assert_close(
                model(gray.expand(-1, channels, -1, -1)), trained(gray.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5
            )


def test_sine_table_that_is_not_sinusoidal_is_kept_and_said(tmp_path: Path) -> None:
    trained = compact()  # released models asked for sine have learnt tables
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    model = compact(positional="sine")
    report = load_pretrained(model, tmp_path / "a.pth")
    torch.testing.assert_close(model.classifier.positional_emb, trained.classifier.positional_emb.detach())
    assert "not sinusoidal" in str(report)
    assert not model.classifier.positional_emb.requires_grad
    true_sine = compact(positional="sine")
    torch.save(true_sine.state_dict(), tmp_path / "b.pth")
    assert not load_pretrained(model, tmp_path / "b.pth").notes
    torch.testing.assert_close(model.classifier.positional_emb, sine_table(64, 128))


def test_sine_table_of_another_size_stays_a_sine(tmp_path: Path) -> None:
    torch.save(compact(positional="sine").state_dict(), tmp_path / "a.pth")
    model = create_model("cct_2_3x2_32", 3, 10, 64, {"positional": "sine"})
    report = load_pretrained(model, tmp_path / "a.pth")
    torch.testing.assert_close(model.classifier.positional_emb, sine_table(256, 128))
    assert report.resized == {"classifier.positional_emb": "8x8 -> 16x16 tokens, sine recomputed"}
    assert not report.notes


def test_other_content_of_the_file_is_noted(tmp_path: Path) -> None:
    weights = compact().state_dict()
    torch.save({"epoch": 3, "state_dict": weights, "state_dict_ema": weights}, tmp_path / "a.pth")
    report = load_pretrained(compact(), tmp_path / "a.pth")
    message = "the weights under 'state_dict' were read; the file also holds, not read: epoch, state_dict_ema"
    assert report.notes == [message]


def test_model_without_table_reports_the_unused_one(tmp_path: Path) -> None:
    torch.save(compact().state_dict(), tmp_path / "a.pth")
    report = load_pretrained(compact(positional="none"), tmp_path / "a.pth")
    assert report.skipped == {"classifier.positional_emb": "no place for it in the model"}
    torch.save(compact(positional="none").state_dict(), tmp_path / "b.pth")
    assert load_pretrained(compact(), tmp_path / "b.pth").missing == ["classifier.positional_emb"]


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("cct_4_3x2_32", "cct_6_3x2_32"),  # other width
        ("cct_2_3x2_32", "cct_4_3x2_32"),  # fewer layers
        ("cct_7_3x1_32", "cct_6_3x1_32"),  # more layers
        ("cct_7_3x1_32", "cct_7_3x2_32"),  # other tokenizer
        ("vit_2_4_32", "cvt_2_4_32"),  # class token, no pooling
        ("cct_2_3x2_32", "timm:resnet18"),
    ],
)
def test_other_architecture_is_refused_and_changes_nothing(tmp_path: Path, held: str, wanted: str) -> None:
    torch.save(compact(held).state_dict(), tmp_path / "a.pth")
    model = create_model(wanted, 3, 10, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        load_pretrained(model, tmp_path / "a.pth")
    assert str(tmp_path / "a.pth") in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classifier.positional_emb", torch.ones(1, 0, 128)),
        ("classifier.fc.bias", torch.tensor(1.0)),
        ("tokenizer.conv_layers.0.0.weight", torch.tensor(1.0)),
    ],
)
def test_a_tensor_of_an_impossible_shape_is_refused(tmp_path: Path, name: str, value: Tensor) -> None:
    model = compact("vit_2_4_32")
    save_file({**model.state_dict(), name: value}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=rf"another architecture .*{name} of shape"):
        load_pretrained(model, tmp_path / "a.safetensors")


def test_what_is_too_much_is_named(tmp_path: Path) -> None:
    torch.save(compact("cct_4_3x2_32").state_dict(), tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"found 22 tensors too many, such as classifier\.blocks\.2\.pre_norm\.weight"
    ):
        load_pretrained(compact(), tmp_path / "a.pth")
    torch.save(swin_unet(skips=3).state_dict(), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"too many, such as swin_unet\.concat_back_dim"):
        load_pretrained(swin_unet(skips=2), tmp_path / "b.pth")


@pytest.mark.parametrize(("held", "wanted"), [("batch", "none"), ("none", "batch")])
def test_a_tokenizer_with_or_without_norm_names_its_option(tmp_path: Path, held: str, wanted: str) -> None:
    best = write_best(tmp_path / "best", compact(tokenizer_norm=held))
    with pytest.raises(CheckpointError, match=rf"another architecture .*Set model\.options\.tokenizer_norm: {held}"):
        load_pretrained(compact(tokenizer_norm=wanted), best)
    load_pretrained(compact(tokenizer_norm=held), best)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [(held, wanted) for held in ("seqpool", "class_token", "mean") for wanted in ("seqpool", "class_token", "mean")],
)
def test_weights_of_another_pooling_are_refused_by_naming_the_option(tmp_path: Path, held: str, wanted: str) -> None:
    torch.manual_seed(0)
    trained = create_model("cct_2_3x2_32", 3, 10, 32, {"pooling": held})
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    model = create_model("cct_2_3x2_32", 3, 10, 48, {"pooling": wanted})
    if held == wanted:
        report = load_pretrained(model, tmp_path / "weights.pth")
        assert report.resized == {"classifier.positional_emb": "8x8 -> 12x12 tokens, bilinear"}
        assert not report.missing
        return
    with pytest.raises(CheckpointError, match=f"Set model.options.pooling: {held},"):
        load_pretrained(model, tmp_path / "weights.pth")


# ---- the best/ folder of a run


def write_best(folder: Path, model: nn.Module) -> Path:
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps({"weights_sha256": digest}))
    return folder


def assert_equal(left: nn.Module, right: nn.Module) -> None:
    left, right = left.state_dict(), right.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("size", ["t", "s", "b"])
def test_encoder_classifier_initializes_its_segmenter_and_back(tmp_path: Path, size: str) -> None:
    classifier = compact(f"cct_encoder_{size}", size=64)
    segmenter = compact(f"cct_unet_{size}", classes=4, size=96)
    report = load_pretrained(segmenter, write_best(tmp_path / "run" / "best", classifier))
    for part in ("detail", "tokenizer"):
        assert_equal(getattr(segmenter.pyramid, part), getattr(classifier, part))
    assert_equal(segmenter.pyramid.encoder.blocks, classifier.classifier.blocks)
    assert_equal(segmenter.pyramid.encoder.norm, classifier.classifier.norm)
    assert report.resized == {"encoder.positional_emb": "4x4 -> 6x6 tokens, bilinear"}
    assert {name.split(".")[0] for name in report.missing} == {"decoder", "head"}
    assert report.set_to_one == ["encoder_scale"]
    assert {name.split(".")[1] for name in report.skipped} == {"attention_pool", "fc"}

    back = create_model(f"cct_encoder_{size}", 3, 10, 96).eval()
    report = load_pretrained(back, write_best(tmp_path / "again" / "best", segmenter))
    assert not report.resized
    assert set(report.missing) == {f"classifier.{m}.{p}" for m in ("attention_pool", "fc") for p in ("weight", "bias")}
    assert_equal(back.tokenizer, segmenter.pyramid.tokenizer)
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        tokens = to_tokens(back.tokenizer(back.detail(image)))
        theirs = segmenter.pyramid.encoder(
            to_tokens(segmenter.pyramid.tokenizer(segmenter.pyramid.detail(image))), (6, 6)
        )
        torch.testing.assert_close(Encoder.forward(back.classifier, tokens, (6, 6)), theirs)


def test_one_channel_segmenter_from_color_classifier(tmp_path: Path) -> None:
    best = write_best(tmp_path / "best", compact("cct_encoder_t", size=64))
    report = load_pretrained(compact("cct_unet_t", size=64, channels=1), best)
    assert report.resized == {"detail.0.weight": "3 -> 1 input channels, the sum of their filters divided equally"}


@pytest.mark.parametrize(
    ("name", "segmenter", "blocks"), [("cct_4_3x2_32", "cct_unet_t", 4), ("cct_7_3x2_32", "cct_unet_s", 4)]
)
def test_published_classifier_gives_its_blocks_to_a_segmenter(
    tmp_path: Path, name: str, segmenter: str, blocks: int
) -> None:
    classifier, model = compact(name), compact(segmenter, classes=4, size=64)
    tokenizer = {name: value.clone() for name, value in model.pyramid.tokenizer.state_dict().items()}
    report = load_pretrained(model, write_best(tmp_path / "best", classifier))
    for index in range(blocks):
        assert_equal(model.pyramid.encoder.blocks[index], classifier.classifier.blocks[index])
    assert all(torch.equal(value, tokenizer[name]) for name, value in model.pyramid.tokenizer.state_dict().items())
    assert "tokenizer.conv_layers 2): the model makes tokens in another way" in str(report)
    assert "encoder_scale" in report.missing  # small: the blocks have not seen such tokens
    left_out = {name.split(".")[2] for name in report.skipped if ".blocks." in name}
    assert left_out == {str(index) for index in range(blocks, len(classifier.classifier.blocks))}


def test_an_encoder_without_its_last_blocks_counts_as_little_as_a_random_one(tmp_path: Path) -> None:
    best = write_best(tmp_path / "best", compact("cct_encoder_s", size=64))
    report = load_pretrained(compact("cct_unet_s", size=64, encoder_depth=2), best)
    assert not report.set_to_one
    assert "encoder_scale" in report.missing


def test_shallower_encoder_fills_the_first_blocks(tmp_path: Path) -> None:
    report = load_pretrained(compact("cct_unet_t", size=64), write_best(tmp_path / "best", compact()))
    assert {name.split(".")[2] for name in report.missing if ".blocks." in name} == {"2", "3", "4", "5"}
    assert not report.set_to_one


def test_classifier_of_another_width_is_no_encoder_of_this_segmenter(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"another architecture .+, 128\).+, 256\)"):
        load_pretrained(compact("cct_unet_s", size=64), write_best(tmp_path / "best", compact()))


@pytest.mark.parametrize("name", ["cct_unet_t", "unet"])
def test_segmenter_of_other_classes_and_channels(tmp_path: Path, name: str) -> None:
    trained = compact(name, classes=4, size=32, channels=1)
    model = compact(name, classes=3, size=32, channels=2)
    report = load_pretrained(model, write_best(tmp_path / "best", trained))
    assert {name for name in report.skipped if "index" not in name} == {"head.weight", "head.bias"}
    assert list(report.resized.values()) == ["1 -> 2 input channels, the sum of their filters divided equally"]
    assert not report.missing


def test_deep_supervision_may_differ(tmp_path: Path) -> None:
    plain = write_best(tmp_path / "a", compact("cct_unet_t", size=32))
    deep = write_best(tmp_path / "b", compact("cct_unet_t", size=32, deep_supervision=True))
    report = load_pretrained(compact("cct_unet_t", size=32, deep_supervision=True), plain)
    assert {name.split(".")[0] for name in report.missing} == {"coarse_heads"}
    report = load_pretrained(compact("cct_unet_t", size=32), deep)
    assert {name.split(".")[0] for name in report.skipped if "index" not in name} == {"coarse_heads"}


def test_damaged_or_mixed_best_folder(tmp_path: Path) -> None:
    best = write_best(tmp_path / "best", compact())
    other = write_best(tmp_path / "other" / "best", compact(classes=3))
    (other / "weights.safetensors").replace(best / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"do not belong to the model\.json"):
        load_pretrained(compact(), best)
    with pytest.raises(CheckpointError, match=f"Name {best}"):
        load_pretrained(compact(), tmp_path)


# ---- Swin


def swin_unet(embed_dim: int = 12, classes: int = 3, **options: object) -> SwinUnet:
    torch.manual_seed(1)
    size = SwinUnetSize(embed_dim, (2, 2, 2, 2), (1, 2, 3, 6))
    return SwinUnet(size, in_channels=3, num_classes=classes, image_size=224, options=SwinUnetOptions(**options)).eval()


def timm_swin(window: int = 7) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    torch.manual_seed(2)
    model = SwinTransformer(
        img_size=224,  # timm shrinks windows where the last map is smaller
        window_size=window,
        embed_dim=12,
        depths=(2, 2, 4, 2),
        num_heads=(1, 2, 3, 6),
        num_classes=5,
        drop_path_rate=0.0,
    )
    with torch.no_grad():  # biases and norms differ from their initial values, as after training
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def official_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's Swin in the names of the official files: merging at the tail, a plain head, computed buffers."""
    renamed = {}
    for name, value in weights.items():
        parts = name.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        renamed[".".join(parts).replace("head.fc", "head")] = value
    renamed["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    renamed["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    return {"model": renamed}


def test_a_stage_of_thousands_of_digits_is_no_stage(tmp_path: Path) -> None:
    save_file({f"layers.{'9' * 5000}.blocks.0.norm1.weight": torch.ones(3)}, tmp_path / "swin.safetensors")
    with pytest.raises(CheckpointError):
        load_pretrained(swin_unet(), tmp_path / "swin.safetensors")


@pytest.mark.parametrize("naming", ["timm", "official"])
def test_swin_imagenet_weights_fill_encoder_and_mirrored_decoder(tmp_path: Path, naming: str) -> None:
    trained = timm_swin()
    weights = trained.state_dict()
    torch.save(weights if naming == "timm" else official_names(weights), tmp_path / "swin.pth")
    model = swin_unet()
    report = load_pretrained(model, tmp_path / "swin.pth")
    body = model.swin_unet
    for stage in range(3):
        for name, value in body.layers[stage].blocks.state_dict().items():
            if "relative_position_index" not in name:
                assert torch.equal(value, weights[f"layers.{stage}.blocks.{name}"])
                assert torch.equal(value, body.layers_up[3 - stage].blocks.state_dict()[name])
        assert torch.equal(
            body.layers[stage].downsample.reduction.weight, weights[f"layers.{stage + 1}.downsample.reduction.weight"]
        )
    assert torch.equal(body.norm.weight, weights["norm.weight"])
    skipped = {name.split(".")[0] for name in report.skipped}
    assert skipped == {"head", "layers"}
    assert {name.split(".")[1] for name in report.skipped if ".blocks." in name} <= {"0", "2"}
    assert {name.split(".")[1] for name in report.missing} == {
        "layers_up",
        "concat_back_dim",
        "norm_up",
        "up",
        "output",
    }


def test_swin_encoder_computes_what_timm_computes(tmp_path: Path) -> None:
    trained = timm_swin()
    del trained.layers[2].blocks[2:]  # the bottleneck of Swin-Unet is shallower than ImageNet's third stage
    torch.save(trained.state_dict(), tmp_path / "swin.pth")
    model = swin_unet()
    load_pretrained(model, tmp_path / "swin.pth")
    body = model.swin_unet
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        maps = body.patch_embed(image)
        for layer in body.layers:
            maps = layer(maps)
        torch.testing.assert_close(body.norm(maps), trained.forward_features(image), atol=1e-4, rtol=1e-4)


def test_swin_of_another_window_is_resized(tmp_path: Path) -> None:
    torch.save(timm_swin(window=4).state_dict(), tmp_path / "swin.pth")
    report = load_pretrained(swin_unet(), tmp_path / "swin.pth")
    tables = [name for name, how in report.resized.items() if how == "window 4 -> 7, bicubic"]
    assert len(tables) == 2 * 4 + 2 * 3


@pytest.mark.parametrize("prefix", ["module.swin_unet.", "swin_unet.", ""])
def test_published_swin_unet_files(tmp_path: Path, prefix: str) -> None:
    trained = swin_unet(classes=9)
    weights = {prefix + name.removeprefix("swin_unet."): value for name, value in trained.state_dict().items()}
    torch.save(weights, tmp_path / "epoch_149.pth")
    same, other = swin_unet(classes=9), swin_unet(classes=4)
    with torch.no_grad():
        for parameter in same.parameters():
            parameter.zero_()
    report = load_pretrained(same, tmp_path / "epoch_149.pth")
    assert torch.equal(output(same, size=64), output(trained, size=64))
    assert not report.missing
    report = load_pretrained(other, tmp_path / "epoch_149.pth")
    assert [name.removeprefix("swin_unet.") for name in report.skipped if "index" not in name] == ["output.weight"]


def test_swin_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(timm_swin().state_dict(), tmp_path / "swin.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(swin_unet(embed_dim=24), tmp_path / "swin.pth")
    torch.save(swin_unet().state_dict(), tmp_path / "unet.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(swin_unet(upsample="bilinear"), tmp_path / "unet.pth")
    torch.save(compact().state_dict(), tmp_path / "cct.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(swin_unet(), tmp_path / "cct.pth")


def test_timm_classifier_takes_its_own_file(tmp_path: Path) -> None:
    trained = create_model("timm:resnet18", 3, 10, 32)
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    model = create_model("timm:resnet18", 3, 4, 32)
    report = load_pretrained(model, tmp_path / "a.pth")
    assert set(report.skipped) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.conv1.weight, trained.conv1.weight)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("fc.weight", True),
        ("head_dist.bias", True),
        ("head.linear.weight", True),
        ("head.fc.bias", True),
        ("head.fc2.weight", True),
        ("head.fc1.weight", False),
        ("last_linear.weight", True),
        ("head.norm.weight", False),
        ("blocks.0.linear.weight", False),
        ("linear.weight", False),
        ("bias", False),
        ("network.model.2.conv.weight", True),  # MONAI's AttentionUnet
        ("network.model.1.submodule.0.conv.0.conv.weight", False),
        ("segmentation_head.0.weight", True),  # segmentation_models.pytorch
        ("decoder.blocks.0.conv1.0.weight", False),
    ],
)
def test_heads_by_name(name: str, head: bool) -> None:
    assert is_head(name) == head


# ---- files that are refused


class Trap:
    """Unpickling it would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle2", "pickle5"])
def test_file_with_code_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    target, file = tmp_path / "created", tmp_path / "a.pth"
    content = {**compact().state_dict(), "extra": Trap(target)}
    if kind.startswith("pickle"):
        file.write_bytes(pickle.dumps({"extra": Trap(target)}, protocol=int(kind[-1])))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match="could run code") as caught:
        load_pretrained(compact(), file)
    assert kind == "pickle5" or "mkdir" in str(caught.value)
    assert not target.exists()
    pickle.loads(pickle.dumps(Trap(target)))  # the trap itself works
    assert target.exists()


def test_whole_models_and_functions_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_weights(tmp_path / "model.pth")
    torch.save({"args": argparse.Namespace(hook=functools.partial(print)), "a": torch.ones(2)}, tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match=r"functools\.partial"):
        read_weights(tmp_path / "f.pth")


def test_a_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"is a program \(TorchScript\)"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, zipped: bool, fraction: float) -> None:
    torch.save(compact().state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(CheckpointError, match=r"truncated|empty"):
        load_pretrained(compact(), tmp_path / "a.pth")


def test_truncated_safetensors_is_refused(tmp_path: Path) -> None:
    save_file(compact().state_dict(), tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    for length in (4, 50, len(content) // 2, len(content) - 1):
        (tmp_path / "b.safetensors").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_pretrained(compact(), tmp_path / "b.safetensors")


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    torch.save(compact().state_dict(), tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        load_pretrained(compact(), tmp_path / "a.pth")


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), zipped=st.booleans())
def test_damage_anywhere_never_ends_in_another_error(place: float, value: int, zipped: bool) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.arange(4.0)}, stream, _use_new_zipfile_serialization=zipped)
    content = bytearray(stream.getvalue())
    content[int(place * len(content))] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.pth"
        file.write_bytes(content)
        try:
            tensors = read_weights(file).tensors
        except CheckpointError:
            return
        assert all(isinstance(tensor, Tensor) for tensor in tensors.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "web page"),
        (b"\n\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"", "empty file"),
        (bytes(range(256)) * 8, "not a weights file"),
        (b"just words", "not a weights file"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(compact(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "no named weights"),
        ({"epoch": 3, "lr": 0.1}, "found keys epoch, lr"),
        ({"state_dict": {"epoch": 3}}, "no named weights"),
        ({"a": torch.tensor([1.0, float("nan")])}, "not finite"),
        ({"a": torch.eye(2).to_sparse()}, "not dense"),
        ({"something.else": torch.ones(2)}, "another architecture"),
    ],
)
def test_file_without_usable_weights_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(compact(), tmp_path / "a.pth")


def test_missing_file_and_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_pretrained(compact(), tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_pretrained(compact(), tmp_path)
