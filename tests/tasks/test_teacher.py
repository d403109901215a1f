"""Teacher and student: which pixels count, who learns, and that no label of an unlabeled case is opened."""

from __future__ import annotations

import math
from copy import deepcopy
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segcct.cli import main
from segcct.config import AugmentSection, LossSection, SegmentationConfig, UnlabeledSection, settings
from segcct.errors import ConfigError
from segcct.phantom import write_phantom
from segcct.preparation.augmentation import Augmenter
from segcct.preparation.intensity_changes import strong_intensity
from segcct.tasks.segmentation.growing_windows import take_windows
from segcct.tasks.segmentation.pseudo_labels import BOX_AREA, TeacherMethod, cutmix_boxes
from segcct.tasks.segmentation.unlabeled_slices import ramp_up
from tests.conftest import training_command
from tests.support.small_tasks import few_labels


class Brightness(nn.Module):
    """Class 1 where the image is bright, by a logit of 20 times its distance from 0.5; knows its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.modes: list[bool] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return torch.cat([torch.zeros_like(image), self.scale * (image - 0.5)], dim=1)


def method(**section: object) -> TeacherMethod:
    return TeacherMethod(UnlabeledSection(method="teacher", **section), LossSection())


def ramp(batch: int = 3, side: int = 32) -> torch.Tensor:
    """(B, 1, S, S): from black to white, from left to right."""
    return torch.linspace(0, 1, side).expand(batch, 1, side, side).clone()


def test_the_teacher_says_where_it_is_sure_and_learns_nothing():
    teacher, image = Brightness().train(), ramp()
    prepared = method(cutmix=0.0, confidence=0.9).prepare({"weak": image, "image": 1 - image}, teacher)
    confidence = torch.sigmoid(20 * (image[:, 0] - 0.5))
    assert torch.equal(prepared["label"], (image[:, 0] > 0.5).long())
    assert torch.equal(prepared["sure"], (confidence >= 0.9) | (confidence <= 0.1))
    assert torch.equal(prepared["image"], 1 - image)
    assert teacher.modes == [False]
    assert teacher.training
    student = Brightness()
    method().loss(student(prepared["image"]), prepared).backward()
    assert teacher.scale.grad is None
    assert student.scale.grad is not None


def test_boxes_bring_their_pseudo_labels():
    torch.manual_seed(0)
    image = torch.stack([torch.full((1, 16, 16), value) for value in (0.0, 1.0, 0.2)])
    prepared = method(cutmix=1.0, confidence=0.5).prepare({"weak": image, "image": image}, Brightness())
    pasted = prepared["image"][:, 0] != image[:, 0]
    assert pasted.flatten(1).any(1).all()
    assert torch.equal(prepared["label"], (prepared["image"][:, 0] > 0.5).long())
    assert torch.equal(prepared["image"][1][0][pasted[1]].unique(), torch.tensor([0.0]))  # of the slice before


def test_windows_lie_around_what_the_teacher_is_sure_of_and_not_around_boxes():
    torch.manual_seed(0)
    image = torch.full((2, 1, 64, 64), 0.2)
    image[0, :, 4:10, 4:10] = 1.0
    image[0, :, 50:60, 50:60] = 0.51  # perhaps
    prepared = method(cutmix=1.0).prepare({"weak": image, "image": image}, Brightness())
    assert torch.equal(prepared["structures"], image[:, 0] == 1.0)
    window = take_windows(prepared, 16, 1.0)
    assert window["structures"][0].any()


@given(st.integers(0, 1000), st.integers(8, 80), st.integers(8, 80))
def test_boxes_are_of_the_published_sizes(seed, height, width):
    torch.manual_seed(seed)
    boxes = cutmix_boxes(4, torch.Size((height, width)), 1.0)
    for box in boxes:
        rows, columns = box.any(1).sum().item(), box.any(0).sum().item()
        assert box.sum() == rows * columns  # one box
        assert 1 <= rows * columns <= BOX_AREA[1] * height * width + height + width  # rounded
    assert not cutmix_boxes(4, torch.Size((height, width)), 0.0).any()
    torch.manual_seed(seed)
    assert torch.equal(boxes, cutmix_boxes(4, torch.Size((height, width)), 1.0))


def test_only_sure_pixels_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    label = torch.randint(3, (2, 8, 8), generator=generator)
    sure = torch.rand(2, 8, 8, generator=generator) < 0.5
    part = {"label": label, "sure": sure}
    loss = method().loss(logits, part)
    noise = torch.randn(logits.shape, generator=generator) * ~sure[:, None]
    assert torch.equal(method().loss(logits + noise, part), loss)
    assert torch.equal(method().loss(logits, part | {"label": torch.where(sure, label, 0)}), loss)
    assert method().loss(logits, part | {"sure": torch.zeros_like(sure)}).item() == pytest.approx(0, abs=1e-6)
    right = 10 * nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    assert method().loss(right, part).item() < 0.01 < loss.item()


def test_the_loss_by_hand():
    """One slice of four pixels, three of them sure, two classes."""
    p = torch.tensor([0.8, 0.6, 0.3, 0.5])  # of class 1
    logits = torch.stack([1 - p, p]).log().reshape(1, 2, 2, 2)
    part = {"label": torch.tensor([[[1, 1], [0, 1]]]), "sure": torch.tensor([[[True, True], [True, False]]])}
    entropy = -(np.log(0.8) + np.log(0.6) + np.log(0.7)) / 4
    dice = 1 - (2 * (0.8 + 0.6) + 1e-5) / (0.8**2 + 0.6**2 + 0.3**2 + 2 + 1e-5)
    assert method().loss(logits, part).item() == pytest.approx(0.5 * entropy + 0.5 * dice, rel=1e-5)


def test_both_views_are_of_one_geometry():
    image = np.zeros((2, 48, 48), dtype=np.float16)
    image[:, 10:20, 15:40] = 0.5
    augmenter = Augmenter(AugmentSection(affine=1.0, intensity=1.0), 48)
    views = [TeacherMethod.views(image, augmenter, np.random.default_rng(seed)) for seed in range(8)]
    for view in views:
        assert {each.dtype for each in view.values()} == {np.dtype(np.float32)}
        assert view["weak"].shape == view["image"].shape == image.shape
        assert 0 <= view["image"].min() <= view["image"].max() <= 1
        inside = view["weak"][0] > 0.25
        assert view["image"][0][inside].mean() > view["image"][0][~inside].mean()
    assert any(not np.allclose(view["weak"], view["image"], atol=0.1) for view in views)
    again = TeacherMethod.views(image, augmenter, np.random.default_rng(0))
    np.testing.assert_array_equal(again["image"], views[0]["image"])


def test_strong_views_stay_in_range_and_change_channels_apart():
    image = np.random.default_rng(0).random((3, 20, 20)).astype(np.float16)
    changed = strong_intensity(np.stack([image[0], image[0], image[0]]), np.random.default_rng(1))
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not np.allclose(changed[0], changed[1])


def test_what_is_not_far_below_the_mean_stays_above_black():
    image = np.where(np.arange(900).reshape(1, 30, 30) % 3, 0.6, 0.25)  # mean 0.48
    assert min(strong_intensity(image, np.random.default_rng(seed)).min() for seed in range(40)) > 0


def test_blur_is_the_same_at_any_size():
    """Sigma is 2 pixels of 256: a blurred point is 1 / (2 pi sigma^2) high."""
    for side in (256, 512):
        image = np.zeros((1, side, side))
        image[0, side // 2, side // 2] = 1
        generator = Mock(random=Mock(side_effect=[1.0, 1.0, 0.0]), uniform=lambda _, high: high)
        height = strong_intensity(image, generator).max()
        assert height == pytest.approx(1 / (2 * math.pi * (side / 128) ** 2), rel=0.02)


def test_the_weight_rises_over_the_first_part():
    assert [ramp_up(progress, 0.2) for progress in (0, 0.1, 0.2, 1)] == [0, 0.5, 1, 1]
    assert ramp_up(0, 0) == 1


def test_the_teacher_joins_the_loss_with_its_weight(tmp_path):
    task = few_labels(0, tmp_path)
    batch = next(iter(task.loader(0, 1)))
    task.network.eval()
    task.averaged = task.network
    losses = []
    for progress in (0.0, 0.1, 0.2, 1.0):
        torch.manual_seed(0)
        losses.append(task.loss(task.network, batch, progress).item())
    added = [loss - losses[0] for loss in losses]
    assert added == pytest.approx([0, added[3] / 2, added[3], added[3]], rel=1e-4)
    assert added[3] > 0.01


def test_the_teacher_sees_whole_slices_and_the_student_windows(tmp_path):
    task = few_labels(0, tmp_path)
    whole = task.config.data.image_size
    train = task.config.train.model_copy(update={"windows": {16: 0.5}})
    task.config = task.config.model_copy(update={"train": train})
    task.averaged = deepcopy(task.network)
    batch, sides = next(iter(task.loader(0, 1))), []
    for network in (task.averaged, task.network):
        network.register_forward_pre_hook(lambda _, images: sides.append(images[0].shape[-1]))
    for progress in (0.4, 0.6):
        assert torch.isfinite(task.loss(task.network, batch, progress))
    assert sides == [whole, 16, whole, whole]


def test_labeled_slices_may_begin_alone(tmp_path):
    task = few_labels(0, tmp_path)
    section = task.config.train.unlabelled.model_copy(update={"start": 0.25})
    train = task.config.train.model_copy(update={"unlabelled": section})
    task.config = task.config.model_copy(update={"train": train})
    task.averaged = deepcopy(task.network)
    batch, sizes = next(iter(task.loader(0, 1))), []
    for network in (task.averaged, task.network):
        network.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    size = len(batch["image"])
    for progress in (0.0, 0.24, 0.25):
        assert torch.isfinite(task.loss(task.network, batch, progress))
    assert sizes == [size, size, size, 2 * size]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("train.ema", 0.0, r"needs a train\.ema"), ("train.recalibrate", 5, "statistics of strongly changed slices")],
)
def test_a_teacher_needs_an_average_and_its_own_statistics(tmp_path, key, value, message):
    content = few_labels(0, tmp_path).config.model_dump(mode="json")
    with pytest.raises(ConfigError, match=message):
        settings.build(SegmentationConfig, content, {key: value}, source="test")


@pytest.mark.slow
def test_labels_of_unlabeled_cases_are_never_opened(tmp_path, capsys):
    """A label that is no image would stop a training that looks at it; so would a case without one that is needed."""
    root = tmp_path / "brats"
    write_phantom("brats", root, 6, seed=1, reduce=4)
    ids = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    for name in ids[4:]:
        (root / name / f"{name}_seg.nii.gz").write_bytes(b"not an image")
    (root / ids[3] / f"{ids[3]}_seg.nii.gz").unlink()
    lists = {split: tmp_path / split for split in ("train", "val")}
    lists["train"].write_text("\n".join(ids[:2]))
    lists["val"].write_text(ids[2])
    split = {f"data__split__{name}_list": str(path) for name, path in lists.items()}
    command = training_command(
        root, tmp_path / "runs", data__split__kind="lists", data__split__unlabelled="rest",
        train__unlabelled__method="teacher", train__epochs="1", train__slices_per_epoch="8", **split,
    )  # fmt: skip
    del command[command.index("--data.split.val") : command.index("--data.split.val") + 2]
    assert main(command) == 0
    assert main(["check", *command[1:]]) == 0
    printed = capsys.readouterr()
    assert "without a label" not in printed.out + printed.err
