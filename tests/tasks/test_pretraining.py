"""Masked pre-training: nothing leaks across the mask, the targets by hand, and the weights that go on."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from segcct.cli import main
from segcct.config import PretrainingConfig, SegmentationConfig, settings
from segcct.datasets.inventory import Inventory
from segcct.datasets.split_drawing import make_splits
from segcct.datasets.split_record import Splits
from segcct.errors import CheckpointError, ConfigError, ModelError
from segcct.model_card import load_card, save_model
from segcct.models.masked_encoder import MaskedEncoder
from segcct.models.tokenizer import to_tokens
from segcct.models.transformer import sine_table
from segcct.models.weights import load_pretrained
from segcct.models.zoo import create_model
from segcct.phantom import write_phantom
from segcct.tasks.pretraining import pretraining_task
from segcct.tasks.pretraining.pretraining_task import PretrainingTask
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from tests.conftest import training_command
from tests.support.small_tasks import pretraining, volumes
from tests.support.toy_pair import data_section

SIZE = 64


def network(name: str = "cct_unet_t", method: str = "mae", block_px: int = 16, channels: int = 2) -> MaskedEncoder:
    torch.manual_seed(0)
    made = create_model(f"masked/{name}", channels, 1, SIZE, {"method": method, "block_px": block_px})
    assert isinstance(made, MaskedEncoder)
    return made.eval()


def batch(masked: MaskedEncoder, ratio: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 2, SIZE, SIZE), masked.draw_visible(3, ratio)


def changed(image: torch.Tensor, where: torch.Tensor, masked: MaskedEncoder) -> torch.Tensor:
    """The image with other pixels in these tokens."""
    pixels = where.repeat_interleave(masked.patch_px, 1).repeat_interleave(masked.patch_px, 2)[:, None]
    return torch.where(pixels, torch.randn_like(image), image)


ENCODERS = [("cct_unet_t", 16), ("cct_unet_t", 32), ("cct_2_3x2_32", 8), ("cct_7_7x2_224", 16), ("vit_2_4_32", 8)]


@pytest.mark.parametrize(("name", "block_px"), ENCODERS)
def test_masked_pixels_do_not_reach_visible_tokens(name, block_px):
    masked = network(name, block_px=block_px)
    image, visible = batch(masked)
    other = changed(image, ~visible, masked)
    assert not torch.equal(image, other)
    assert torch.equal(masked.encode(image, visible), masked.encode(other, visible))
    assert torch.equal(masked(image, visible), masked(other, visible))
    seen = changed(image, visible, masked)
    assert not torch.allclose(masked.encode(image, visible), masked.encode(seen, visible), atol=1e-3)


@pytest.mark.parametrize(("name", "block_px"), ENCODERS)
def test_the_target_of_m2d_never_sees_visible_pixels(name, block_px):
    duo, whole = network(name, "m2d", block_px), network(name, "m2d_all", block_px)
    image, visible = batch(duo)
    other = changed(image, visible, duo)
    assert torch.equal(duo.targets(image, visible)[0], duo.targets(other, visible)[0])
    assert not torch.allclose(whole.targets(image, visible)[0], whole.targets(other, visible)[0], atol=1e-3)
    said, counted = duo.targets(image, visible)
    assert counted.all()
    torch.testing.assert_close(said.mean(-1), torch.zeros_like(said[..., 0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(said.std(-1, correction=0), torch.ones_like(said[..., 0]), atol=1e-2, rtol=0)


def test_statistics_are_those_of_visible_pixels():
    masked = network().train()
    image, visible = batch(masked, ratio=0.8)
    convolution, norm, _ = masked.encoder.detail
    masked.encode(image, visible)
    seen = visible.repeat_interleave(16, 1).repeat_interleave(16, 2)
    pixels = convolution(masked.masked_image(image, visible)).movedim(1, -1)[seen]  # (P, D)
    torch.testing.assert_close(norm.running_mean, 0.1 * pixels.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * pixels.var(0))
    everything = torch.ones_like(visible)
    expected = masked.encoder.classifier.encode(to_tokens(masked.encoder.tokens(image)), masked.grid)
    torch.testing.assert_close(masked.encode(image, everything), expected, atol=1e-3, rtol=0)


def test_targets_of_mae_are_the_masked_pixels():
    masked = network()
    image, visible = batch(masked)
    image[0, :, :16, :16] = torch.tensor([0.5, -0.2]).view(2, 1, 1)  # of one value in each channel
    visible[0, 0, 0], visible[0, 0, 1] = False, True
    visible = visible.clone()
    visible[0].view(-1)[2:] = torch.tensor([True] * 7 + [False] * 7)  # eight visible again
    visible[1:] = visible[0]
    wanted, counted = masked.targets(image, visible)
    assert wanted.shape == (3, 8, 2 * 16 * 16)
    assert torch.equal(wanted[1, 0].reshape(2, 16, 16), image[1, :, :16, :16])
    assert not counted[0, 0]
    assert counted.sum() == 3 * 8 - 1


def test_the_losses_by_hand():
    masked = network()
    image, visible = batch(masked)
    filled = masked.pixels(masked(image, visible))
    assert filled.shape == image.shape
    pixels = (~visible).repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(image)
    error = (filled - image)[pixels].square().mean()
    loss, explained = masked.loss_and_score(image, visible)
    torch.testing.assert_close(loss, error)
    torch.testing.assert_close(explained, 1 - error / image[pixels].var(correction=0))
    duo = network(method="m2d")
    image, visible = batch(duo)
    said, _ = duo.targets(image, visible)
    found = duo(image, visible)[~visible.flatten(1)].reshape_as(said)
    loss, similarity = duo.loss_and_score(image, visible)
    torch.testing.assert_close(loss, (F.normalize(found, dim=-1) - F.normalize(said, dim=-1)).square().sum(-1).mean())
    torch.testing.assert_close(loss, 2 - 2 * similarity)


@pytest.mark.parametrize("method", ["m2d", "m2d_all"])
def test_what_all_tokens_have_in_common_is_not_a_target(method):
    """Else an encoder that says the same of all tokens would be a solution."""
    duo = network(method=method)
    image, visible = batch(duo)
    with torch.no_grad():
        norm = duo.target.classifier.norm
        norm.weight.mul_(0.01)
        norm.bias.copy_(torch.linspace(-3, 3, len(norm.bias)))
    said = F.normalize(duo.targets(image, visible)[0].flatten(0, 1), dim=-1)  # (M, P)
    similarity = (said @ said.T)[~torch.eye(len(said), dtype=torch.bool)]
    assert similarity.abs().mean() < 0.5


def test_the_target_follows_and_gets_no_gradient():
    duo = network(method="m2d").train()
    image, visible = batch(duo)
    duo.loss_and_score(image, visible)[0].backward()
    assert all(weight.grad is None for weight in duo.target.parameters())
    with torch.no_grad():
        for weight in duo.encoder.parameters():
            weight.add_(1.0)
    before = duo.target.detail[0].weight.clone()
    duo.update_target(0.75)
    torch.testing.assert_close(duo.target.detail[0].weight, before + 0.25)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.65, 0.99])
def test_as_many_blocks_are_visible_in_each_image(ratio):
    masked = network(block_px=32)
    visible = masked.draw_visible(50, ratio)
    blocks = visible.reshape(50, 2, 2, 2, 2).permute(0, 1, 3, 2, 4).reshape(50, 4, 4)
    assert (blocks.all(-1) | ~blocks.any(-1)).all()
    counts = blocks.all(-1).sum(1).unique()
    assert len(counts) == 1
    assert counts.item() == min(max(1, round((1 - ratio) * 4)), 3)
    assert len(visible.flatten(1).unique(dim=0)) > 3


@pytest.mark.parametrize(
    ("name", "block_px", "message"),
    [
        ("cct_unet_t", 8, "multiple of 16"),
        ("cct_unet_t", 48, "divide the image"),
        ("cct_unet_t", 64, "four or more"),
        ("unet", 16, "no masked"),
    ],
)
def test_what_does_not_fit_is_refused(name, block_px, message):
    with pytest.raises(ModelError, match=message):
        network(name, block_px=block_px)


@pytest.mark.parametrize(
    ("name", "model", "missing"),
    [
        ("cct_unet_t", "cct_unet_t", {"decoder", "head"}),
        ("cct_unet_t", "cct_encoder_t", {"classifier"}),
        ("cct_7_7x2_224", "cct_7_7x2_224", {"classifier"}),
    ],
)
@pytest.mark.parametrize("method", ["mae", "m2d"])
def test_encoders_go_on_in_other_models(tmp_path, name, model, missing, method):
    masked = network(name, method)
    folder = tmp_path / "best"
    card = pretraining(0, tmp_path).card({"metric": "val_similarity"})
    save_model(folder, masked.state_dict(), card)
    taker = create_model(model, 2, 3, SIZE)
    report = load_pretrained(taker, folder)
    assert report.what == "encoder of a masked pre-training"
    assert {each.split(".")[0] for each in report.missing} == missing
    assert all(each.startswith("masked.") for each in report.skipped)
    own = masked.state_dict()
    renamed = {each: own[each.replace("encoder.", "classifier.", 1)] for each in report.loaded if each.startswith("encoder.")}  # fmt: skip  # noqa: E501
    for each, value in taker.state_dict().items():
        if each in report.loaded:
            assert torch.equal(value, renamed.get(each, own.get(each, torch.empty(0))))
    assert any(each.startswith("tokenizer.") for each in report.loaded)
    assert any(".blocks." in each for each in report.loaded)


@pytest.mark.parametrize("method", ["mae", "m2d"])
def test_the_encoder_counts_in_fine_tuning_as_in_pre_training(tmp_path, method):
    masked = network(method=method)
    card = pretraining(0, tmp_path).card({"metric": "val_similarity"})
    save_model(tmp_path / "best", masked.state_dict(), card)
    segmenter = create_model("cct_unet_t", 2, 3, SIZE).eval()
    assert "set to 1 encoder_scale" in str(load_pretrained(segmenter, tmp_path / "best"))
    image, _ = batch(masked)
    said = masked.encode(image, torch.ones(3, *masked.grid, dtype=torch.bool))
    tokens = to_tokens(masked.encoder.tokens(image))
    torch.testing.assert_close(to_tokens(segmenter.pyramid(image)[-1]), tokens + said, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["cct_unet_t", "cct_7_7x2_224"])
def test_a_pre_training_goes_on_at_another_size(tmp_path, name):
    """The decoder's table is a sine at any size, also where its tokens are as wide as the encoder's."""
    torch.save(network(name).state_dict(), tmp_path / "a.pth")
    larger = create_model(f"masked/{name}", 2, 1, 2 * SIZE, {"method": "mae", "block_px": 16})
    report = load_pretrained(larger, tmp_path / "a.pth")
    assert report.missing == []
    assert "bilinear" in report.resized["classifier.positional_emb"]
    assert "sine recomputed" in report.resized["masked.decoder.positional_emb"]
    table = larger.masked["decoder"].positional_emb
    assert torch.equal(table, sine_table(*table.shape[1:]))


def test_a_model_without_encoder_blocks_says_what_it_lacks(tmp_path):
    save_model(tmp_path / "best", network().state_dict(), pretraining(0, tmp_path).card({"metric": "val_similarity"}))
    segmenter = create_model("cct_unet_t", 2, 3, SIZE, {"encoder_depth": 0})
    with pytest.raises(CheckpointError, match=r"give it some by model\.options\.encoder_depth"):
        load_pretrained(segmenter, tmp_path / "best")


def test_a_data_section_of_a_segmentation_may_be_pasted():
    data = data_section().model_dump(mode="json") | {"label": "*_seg.nii.gz"}
    config = settings.build(PretrainingConfig, {"data": data}, {}, source="test")
    assert config.data.label is None
    assert config.data.scheme == "custom"


def test_what_would_do_nothing_is_refused():
    data = data_section().model_dump(mode="json")
    for key, value in (("patience", 3), ("recalibrate", 10)):
        with pytest.raises(ConfigError, match=f"train.{key}"):
            settings.build(PretrainingConfig, {"data": data, "train": {key: value}}, {}, source="test")


def write_scans(root, count):
    """Folders p0, p1, ... with a scan of three slices each."""
    voxels = np.random.default_rng(0).integers(1, 90, (16, 16, 3)).astype(np.int16)
    for number in range(count):
        (root / f"p{number}").mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels + number, np.diag([1.5, 1.5, 8, 1])), root / f"p{number}" / "t1.nii.gz")


def test_unlabeled_cases_are_part_of_the_epochs_that_are_planned(tmp_path):
    write_scans(tmp_path / "scans", 6)
    (tmp_path / "train").write_text("p0")
    (tmp_path / "val").write_text("p1")
    split = {"kind": "lists", "train_list": tmp_path / "train", "val_list": tmp_path / "val", "unlabelled": "rest"}
    data = {"layout": "folder", "root": tmp_path / "scans", "channels": {"t1": "t1.nii.gz"}, "image_size": 32,
            "cache": tmp_path / "cache", "split": split}  # fmt: skip
    content = {"data": data, "model": {"name": "cct_unet_t"}, "train": {"batch_size": 5}}
    task = PretrainingTask(PretrainingConfig.model_validate(content))
    assert task.find().batches == 3  # of 15 slices of 5 cases
    task.prepare()
    assert len(task.loader(0, 1)) == 3


def test_a_pasted_split_is_that_of_the_segmentation(tmp_path):
    """It is drawn among the labeled cases, whose labels are not opened."""
    write_scans(tmp_path / "scans", 12)
    for number in range(1, 12, 2):
        (tmp_path / "scans" / f"p{number}" / "seg.nii.gz").write_bytes(b"no image")
    data = {"layout": "folder", "root": tmp_path / "scans", "channels": {"t1": "t1.nii.gz"}, "label": "seg.nii.gz",
            "scheme": "binary", "image_size": 32, "cache": tmp_path / "cache",
            "split": {"kind": "fractions", "val": 1, "test": 2, "unlabelled": "rest"}}  # fmt: skip
    train = {"unlabelled": {"method": "teacher"}}
    of = SegmentationConfig.model_validate({"data": data, "model": {"name": "cct_unet_t"}, "train": train})
    expected = make_splits(Inventory(of.data).found.cases, of.data)
    content = {"data": data, "model": {"name": "cct_unet_t"}, "train": {"batch_size": 5}}
    task = PretrainingTask(PretrainingConfig.model_validate(content))
    task.prepare()
    splits = task.dataset.splits
    assert (splits.train, splits.val, splits.test) == (expected.train, expected.val, expected.test)
    assert len(splits.test) == 2
    assert {case.case_id for case in task.dataset.train} == {
        *splits.train,
        *(f"p{number}" for number in range(0, 12, 2)),
    }


def test_a_training_says_whom_its_first_weights_have_seen(tmp_path, capsys):
    """Also where they trained without a label."""
    content, dataset = volumes(0)
    pretrained = {"model": {"name": "cct_unet_t", "pretrained": str(tmp_path / "best")}}
    config = settings.build(SegmentationConfig, content | pretrained, {}, source="test")
    task = SegmentationTask(config, dataset, resumed=True)
    splits = Splits(("a",), ("b_2",), ("c", "d"), patients={"b_2": "b"})
    task.check_splits(splits)
    assert capsys.readouterr().err == ""
    Splits(("a", "b_1"), ("c",), patients={"b_1": "b"}, unlabeled=("d",)).save(tmp_path / "splits.json")
    task.check_splits(splits)
    assert "best was trained on 2 of the 3 validation or test cases, such as b_2" in capsys.readouterr().err
    (tmp_path / "splits.json").write_text("{")
    task.check_splits(splits)  # damaged: another run's file does not keep this one from training
    assert capsys.readouterr().err == ""


def test_figures_show_all_that_was_filled_in(tmp_path, monkeypatch):
    """Also where the slice is 0, as its background is."""
    task, panels = pretraining(0, tmp_path, "mae"), []
    image, masked = torch.zeros(1, 1, 32, 32), task.network
    image[..., :8] = 1.0
    visible = masked.draw_visible(1, 0.5, torch.Generator().manual_seed(0))
    monkeypatch.setattr(task, "_masked_slices", lambda *_: (image, visible))
    monkeypatch.setattr(MaskedEncoder, "pixels", lambda *_: torch.full_like(image, 5.0))
    monkeypatch.setattr(pretraining_task, "_side_by_side", lambda drawn: panels.append(drawn) or Image.new("L", (4, 4)))
    task.draw(masked, "cpu", tmp_path / "pictures")
    ((slice_, shown, filled),) = panels
    seen = visible[0].repeat_interleave(16, 0).repeat_interleave(16, 1).numpy()
    np.testing.assert_array_equal(slice_, image[0, 0])
    np.testing.assert_array_equal(shown, np.where(seen, slice_, 0))
    np.testing.assert_array_equal(filled, np.where(seen, slice_, 5))


@pytest.mark.slow
def test_pre_trained_and_fine_tuned(tmp_path, capsys):
    """Labels are no images: none is opened."""
    root = tmp_path / "brats"
    write_phantom("brats", root, 5, seed=1, reduce=4)
    for label in root.rglob("*_seg.nii.gz"):
        label.write_bytes(b"not an image")
    command = training_command(root, tmp_path / "runs", run__name="pre", data__split__test="0", train__pictures="1")
    command[0] = "pretrain"
    assert main(command) == 0
    assert "--train.optimizer adamw" in capsys.readouterr().out
    run = tmp_path / "runs" / "pre"
    card = load_card(run / "best")
    assert (card.task, card.scheme, card.architecture.name) == ("pretraining", None, "masked/cct_unet_t")
    assert card.selected_on["epoch"] == 1  # the last
    (figure,) = (run / "pictures").glob("*.png")
    assert np.asarray(Image.open(figure)).shape == (64, 3 * 68)
    write_phantom("brats", tmp_path / "labeled", 5, seed=2, reduce=4)
    tune = training_command(tmp_path / "labeled", tmp_path / "runs", run__name="fine", train__epochs="1")
    assert main([*tune, "--model.pretrained", str(run / "best")]) == 0
    errors, written = capsys.readouterr().err, (tmp_path / "runs" / "fine" / "pretrained.txt").read_text()
    assert "encoder of a masked pre-training" in written
    assert written in errors
    assert not (run / "pretrained.txt").exists()
    assert main(["predict", "--model", str(run / "best"), "--input", str(root), "--output", str(tmp_path / "out")]) == 1
    assert "task pretraining is not for segcct predict" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run), "--train.epochs", "3"]) == 0
    assert load_card(run / "best").selected_on["epoch"] == 2
