"""M2I as augmentation: what is replaced, by what, and that bad images are dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segcct.config import SegmentationConfig, settings
from segcct.errors import ConfigError
from segcct.model_card import save_model
from segcct.preparation.conditioning import DISTANCE_CLIP_PX, distance_px, signed_distances
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.segmentation.synthesis import Synthesis, _agreement, _holds
from segcct.tasks.segmentation.unlabeled_slices import UNLABELED
from tests.support.small_tasks import volumes
from tests.support.toy_pair import SIDE, Nearest, card, class_filler, data_section


def batch(count: int = 8) -> dict[str, torch.Tensor]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    label = np.zeros((count, SIDE, SIDE), dtype=np.int64)
    label[:, 8:24, 8:24] = 1
    label[:, (rows - 16) ** 2 + (columns - 16) ** 2 < 25] = 2
    image = (np.array([0.1, 0.5, 0.9], dtype=np.float32)[label] - 0.5) / 0.25
    tensors = torch.from_numpy(image)[:, None], torch.from_numpy(label), torch.full((count, 1), 0.5)
    return dict(zip(("image", "label", "position"), tensors, strict=True))


def test_images_follow_their_new_masks():
    torch.manual_seed(0)
    given = batch()
    made = Synthesis(class_filler().network, 1.0, 3).applied(given, Nearest())
    assert {name: value.shape for name, value in made.items()} == {name: value.shape for name, value in given.items()}
    changed = (made["label"] != given["label"]).flatten(1).any(1)
    assert changed.sum() >= 6
    assert (Nearest()(made["image"]).argmax(1) == made["label"]).float().mean() > 0.98
    for mask in made["label"][changed]:
        assert 0.4 < (mask > 0).sum() / (given["label"][0] > 0).sum() < 2.5
        assert set(mask.unique().tolist()) <= {0, 1, 2}


def test_random_slices_of_a_dry_run_have_no_patients():
    def patient_of(case: str) -> str:
        raise AttributeError("no dataset yet")

    torch.manual_seed(0)
    assert "image" in Synthesis(class_filler().network, 1.0, 3, patient_of).applied(batch(), Nearest())


def test_a_fraction_of_the_slices_is_replaced_and_seeded():
    given, synthesis = batch(64), Synthesis(class_filler().network, 0.25, 3)
    torch.manual_seed(0)
    first = synthesis.applied(given, Nearest())
    torch.manual_seed(0)
    again = synthesis.applied(given, Nearest())
    assert torch.equal(first["label"], again["label"])
    changed = (first["label"] != given["label"]).flatten(1).any(1)
    assert 6 <= changed.sum() <= 28
    assert torch.equal(first["image"][~changed], given["image"][~changed])
    assert torch.equal(given["image"], batch(64)["image"])  # the loader's tensors stay


def test_half_of_the_appearances_are_of_slices_without_labels(monkeypatch: pytest.MonkeyPatch):
    labeled, other = batch(64), batch(16)
    synthesis, seen = Synthesis(class_filler().network, 1.0, 3), []
    style_of = synthesis.generator.style_of
    monkeypatch.setattr(synthesis.generator, "style_of", lambda *given: (seen.append(given), style_of(*given))[1])
    torch.manual_seed(0)
    brighter = {"image": other["image"] + 0.1, "position": torch.full((16, 1), 0.5)}
    made = synthesis.applied({**labeled, UNLABELED: brighter}, Nearest())
    ((image, mask, _),) = seen
    of_others = image.flatten(1).amax(1) > labeled["image"].max() + 0.05
    assert 20 <= of_others.sum() <= 44
    assert torch.equal(mask.argmax(1), Nearest()(image).argmax(1))  # found, not known
    assert torch.equal(made[UNLABELED]["image"], brighter["image"])
    assert torch.equal(labeled["image"], batch(64)["image"])


def test_the_appearance_is_that_of_another_patient(monkeypatch: pytest.MonkeyPatch):
    given, seen = batch(6), []
    given["image"] += torch.arange(6).view(6, 1, 1, 1) / 10
    synthesis = Synthesis(class_filler().network, 1.0, 3, patient_of=lambda case: case[:2])
    style_of = synthesis.generator.style_of
    monkeypatch.setattr(synthesis.generator, "style_of", lambda *given: (seen.append(given[0]), style_of(*given))[1])
    for cases, expected in (
        (["p1_ed", "p1_es", "p1_ed", "p2_ed", "p2_es", "p3_ed"], [3, 3, 3, 5, 5, 0]),
        (["p1_ed"] * 6, [1, 2, 3, 4, 5, 0]),
    ):
        torch.manual_seed(0)
        synthesis.applied({**given, "case": cases}, Nearest())
        assert torch.equal(seen.pop(), given["image"][expected])


def test_images_in_which_the_mask_is_not_found_are_dropped():
    class Blind(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.ones_like(image), *[torch.zeros_like(image)] * 2], dim=1)

    given = batch()
    made = Synthesis(class_filler().network, 1.0, 3).applied(given, Blind().train())
    assert torch.equal(made["label"], given["label"])
    assert torch.equal(made["image"], given["image"])


def test_agreement_by_hand():
    wanted = torch.tensor([[[1, 1], [2, 0]], [[0, 0], [0, 0]]])
    found = torch.tensor([[[1, 0], [2, 0]], [[0, 0], [0, 0]]])
    assert _agreement(found, wanted, 3).tolist() == pytest.approx([2 / 3, 0])
    assert _holds(wanted, found, 3).tolist() == [True, True]
    assert _holds(wanted.flip(0), found, 3).tolist() == [False, True]


def test_distances_come_back_in_pixels():
    label = np.zeros((64, 64), dtype=np.uint8)
    label[20:40, 20:40] = 1
    found = distance_px(signed_distances(label, 2))[0]
    assert found[29, 20] == pytest.approx(0.5, abs=1e-3)
    assert found[29, 10] == pytest.approx(-9.5, abs=1e-3)
    assert np.abs(found).max() <= DISTANCE_CLIP_PX + 1e-3


def test_a_change_of_thickness_leaves_no_gap_between_classes():
    """A ring around a disk, as the wall of a ventricle: nothing of the background is inside it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(rows - SIDE // 2, columns - SIDE // 2)
    label = torch.from_numpy(np.select([radius < 5, radius < 10], [2, 1], 0))
    synthesis = Synthesis(class_filler().network, 1.0, 4)
    torch.manual_seed(0)
    areas = []
    for _ in range(20):
        changed = synthesis._thickened(label).numpy()
        assert set(np.unique(changed)) == {0, 1, 2}
        assert (changed[radius < 8] > 0).all()
        areas.append([(changed == index).sum() for index in (1, 2)])
    assert (np.std(areas, axis=0) > 10).all()
    empty = torch.zeros_like(label)
    assert torch.equal(synthesis._thickened(empty), empty)


def test_it_joins_a_training_after_a_fifth(tmp_path: Path):
    made, stored = class_filler(), card("reconstruction", data_section())
    built = stored.architecture.model_copy(update={"options": {"style": "none"}})
    save_model(tmp_path / "best", made.network.state_dict(), stored.model_copy(update={"architecture": built}))
    content, dataset = volumes(0)
    content |= {"model": {"name": "cct_unet_t"}, "augment": {"synthesize": 1.0, "generator": str(tmp_path / "best")}}
    task = SegmentationTask(settings.build(SegmentationConfig, content, {}, source="test"), dataset)
    assert task.synthesis is not None
    task.averaged = Nearest()
    task.network.eval()
    one = next(iter(task.loader(0, 1)))
    before = task.loss(task.network, one, 0.0)
    assert torch.equal(before, task.loss(task.network, one, 0.0))
    torch.manual_seed(0)
    assert not torch.equal(before, task.loss(task.network, one, 0.2))
    for wrong in ({"synthesize": 0.5}, {"generator": "best"}):
        with pytest.raises(ConfigError, match="need each other"):
            settings.build(SegmentationConfig, content | {"augment": wrong}, {}, source="test")
