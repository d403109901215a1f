"""The cycle as a training signal: who may be unlabeled, what the loss prefers, and that it reaches the segmenter."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from segcct.config import AugmentSection, CaseSplitSection, DataSection, SegmentationConfig, settings
from segcct.datasets.case import Case
from segcct.datasets.split_lists import unlabeled_cases
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, SplitError
from segcct.inference.frozen_generator import check_not_seen
from segcct.model_card import load_card
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_sampling import SliceDataset
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.cycle_loss import CycleMethod
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.segmentation.unlabeled_slices import UNLABELED, WithUnlabeled
from segcct.tasks.training_dataset import TrainingData
from segcct.training.trainer import fit
from tests.support.toy_pair import class_filler, data_section, save_class_filler
from tests.support.toy_pair import loaded_case as examined


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator that paints each class in its own intensity, as a best/ folder."""
    return save_class_filler(tmp_path_factory.mktemp("class_filler") / "best")


@pytest.fixture(scope="module")
def prepared() -> PreparedCase:
    reconstructor = class_filler()
    return prepare_case(examined(), reconstructor.preparation, reconstructor.scheme)


def without_label(case: PreparedCase) -> PreparedCase:
    return replace(case, arrays={"image": case.image})


def slices(case: PreparedCase) -> SliceDataset:
    return SliceDataset([case], augment=AugmentSection(), image_size=32, seed=0, foreground_fraction=1.0)


def config(**overrides: object) -> SegmentationConfig:
    content = {
        "data": data_section().model_dump(mode="json"),
        "model": {"name": "cct_unet_t"},
        "train": {"epochs": 1, "batch_size": 2, "slices_per_epoch": 2, "pictures": 0},
    }
    return settings.build(SegmentationConfig, content, overrides, source="test")


def cycle_config(generator: Path, **more: object) -> SegmentationConfig:
    return config(
        **{
            "train.unlabelled.method": "cycle",
            "train.unlabelled.weight": 0.5,
            "train.unlabelled.ramp_up": 0.3,
            "train.unlabelled.model": str(generator),
            "data.split.unlabelled_list": "list.txt",
            **more,
        }
    )


def test_a_slice_of_an_unlabeled_case_comes_along(prepared):
    samples = WithUnlabeled(slices(prepared), [without_label(prepared)], CycleMethod.views)
    assert len(samples) == 5
    first, again, other = samples[0, 1], samples[0, 1], samples[1, 1]
    assert first["label"].shape == (32, 32)
    free = first[UNLABELED]
    assert {name: tuple(value.shape) for name, value in free.items()} == {
        "image": (1, 32, 32), "position": (1,),
    }  # fmt: skip
    assert torch.equal(free["image"], again[UNLABELED]["image"])
    assert not torch.equal(free["image"], other[UNLABELED]["image"])
    shown = {round(4 * samples[0, index][UNLABELED]["position"].item()) for index in range(60)}
    assert shown == {0, 1, 2, 3, 4}  # every slice, also those without foreground


def batch_of(case: PreparedCase) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """All slices of a case at full size, (label, unlabeled part of a batch)."""
    image = torch.from_numpy(case.standardize(np.asarray(case.image)))
    positions = torch.linspace(0, 1, len(image))[:, None]
    label = torch.from_numpy(np.asarray(case.label).astype(np.int64))
    return label, {"image": image, "position": positions}


def logits_of(label: torch.Tensor) -> torch.Tensor:
    return 10 * torch.nn.functional.one_hot(label, 3).permute(0, 3, 1, 2).float()


def test_the_loss_prefers_the_true_mask(generator, prepared):
    method = CycleMethod(generator, data_section(), class_filler().scheme)
    label, batch = batch_of(prepared)
    right, shifted = method.loss(logits_of(label), batch), method.loss(logits_of(label.roll(4, dims=2)), batch)
    nothing = method.loss(logits_of(torch.zeros_like(label)), batch)
    assert right < 0.7 * shifted
    assert right < 0.7 * nothing


def test_dithered_probabilities_do_not_pass_for_a_class(generator, prepared):
    """Half background and half `high` is as bright as `low`; the mask that comes of it is not `low`."""
    method = CycleMethod(generator, data_section(), class_filler().scheme)
    label, batch = batch_of(prepared)
    dithered = logits_of(label)
    dithered[:, 1], dithered[:, 2] = -10, torch.where(label == 1, 9.9, dithered[:, 2])
    dithered[:, 0] = torch.where(label == 1, 10.0, dithered[:, 0])
    right = method.loss(logits_of(label), batch)
    assert method.loss(dithered, batch) > 1.5 * right


@pytest.mark.parametrize(
    ("make", "steps", "least"),
    [(partial(torch.optim.Adam, lr=0.3), 20, 0.95), (partial(torch.optim.SGD, lr=200), 60, 0.9)],
)
def test_gradients_lead_to_the_true_mask_and_the_generator_stays(generator, prepared, make, steps, least):
    """Painted softly, SGD ends in dithering: 0.73."""
    method = CycleMethod(generator, data_section(), class_filler().scheme)
    before = {name: value.clone() for name, value in method.generator.state_dict().items()}
    label, batch = batch_of(prepared)
    logits = torch.zeros(*logits_of(label).shape, requires_grad=True)
    optimizer = make([logits])
    for _ in range(steps):
        optimizer.zero_grad()
        method.loss(logits, batch).backward()
        optimizer.step()
    assert (logits.argmax(1) == label).float().mean() > least
    after = method.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_generators_are_known_by_their_weights(generator, tmp_path):
    moved = shutil.copytree(generator, tmp_path / "moved")
    keys = ("train.unlabelled.model", "augment.generator")
    frozen = SegmentationTask(
        cycle_config(moved, **{"augment.generator": str(generator), "augment.synthesize": 0.5})
    ).frozen_models
    assert frozen == dict.fromkeys(keys, load_card(generator).weights_sha256)
    assert SegmentationTask(config()).frozen_models == {}


def test_it_joins_the_training_of_a_segmenter(generator, prepared, tmp_path):
    dataset = TrainingData(
        class_filler().scheme, Splits(("toy",), ()), [prepared], [prepared], "", unlabeled=[without_label(prepared)]
    )
    plain, cycled = SegmentationTask(config(), dataset), SegmentationTask(cycle_config(generator), dataset)
    loader = cycled.loader(0, 1)
    batch = next(iter(loader))
    assert batch[UNLABELED]["image"].shape == (2, 1, 32, 32)
    both = cycled.loss(cycled.network.eval(), batch, 1.0)
    alone = plain.loss(plain.network.eval(), batch, 1.0)
    assert cycled.method is not None
    apart = 0.5 * cycled.method.loss(cycled.network(batch[UNLABELED]["image"]), batch[UNLABELED])
    assert both.item() == pytest.approx((alone + apart).item(), rel=1e-5)
    half = cycled.loss(cycled.network, batch, 0.15)  # of the rise
    assert half.item() == pytest.approx((alone + 0.5 * apart).item(), rel=1e-5)
    apart.backward()
    assert all(value.grad is not None for value in cycled.network.parameters())
    cycled.network.zero_grad()
    best = fit(cycled, RunFolder.create(tmp_path / "run"), cycled.config.train, seed=0)
    assert best["metric"] == "val_dice"


def test_half_a_cycle_is_refused(generator):
    for key, value, message in (
        ("train.unlabelled.method", "none", "goes with method: cycle"),
        ("train.unlabelled.model", None, "goes with method: cycle"),
        ("data.split.unlabelled_list", None, "need both a method and"),
    ):
        with pytest.raises(ConfigError, match=message):
            cycle_config(generator, **{key: value})
    with pytest.raises(ConfigError, match="need both a method and"):
        config(**{"data.split.unlabelled": "rest"})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channels": {"mr": "*.nii.gz"}}, "differ in the channels"),
        ({"image_size": 64}, r"differ in the preparation \(image_size\)"),
    ],
)
def test_a_generator_of_other_data_is_refused(generator, more, message):
    with pytest.raises(ConfigError, match=message):
        CycleMethod(generator, data_section(**more), class_filler().scheme)


def test_a_generator_trained_on_validation_cases_is_refused(tmp_path):
    splits = Splits(("a",), ("b1",), ("c",), patients={"b1": "b"})
    model = tmp_path / "best"
    check_not_seen(None, splits)
    check_not_seen(model, splits)  # nothing is known of it
    for train, said in ((("b2",), "1 of 2"), (("b1", "c"), "2 of 2")):
        Splits(train, (), patients={"b2": "b", "b1": "b"}).save(tmp_path / "splits.json")
        with pytest.raises(ConfigError, match=f"trained on {said} validation and test cases"):
            check_not_seen(model, splits)
    Splits(("a",), ("b1",), patients={"b1": "b"}).save(tmp_path / "splits.json")
    check_not_seen(model, splits)


def data_with_list(path: Path, *names: str) -> DataSection:
    path.write_text("\n".join(names))
    data = data_section()
    return data.model_copy(update={"split": CaseSplitSection(unlabelled_list=path)})


def test_who_may_be_unlabeled(tmp_path):
    file = (Path("x.nii.gz"),)
    cases = [Case(f"p{n}_{visit}", f"p{n}", {"ct": file}, file) for n in range(4) for visit in "ab"]
    patients = {case.id: case.patient for case in cases}
    splits = Splits(("p0_a",), ("p1_a", "p1_b"), (), patients=patients)
    chosen = unlabeled_cases(cases, data_with_list(tmp_path / "list", "p0_b", "p3"), splits)
    assert [case.id for case in chosen] == ["p0_b", "p3_a", "p3_b"]
    assert all(case.label is None for case in chosen)
    assert unlabeled_cases(cases, data_section(), splits) == []
    for taken in ("p0_a", "p1_b"):
        with pytest.raises(SplitError, match=f"are in the split.*{taken}"):
            unlabeled_cases(cases, data_with_list(tmp_path / "list", taken), splits)
    with pytest.raises(SplitError, match="without a case"):
        unlabeled_cases(cases, data_with_list(tmp_path / "list", "p9"), splits)


def test_the_rest_is_what_nobody_splits():
    file = (Path("x.nii.gz"),)
    cases = [Case(f"p{n}_{visit}", f"p{n}", {"ct": file}, file) for n in range(5) for visit in "ab"]
    cases[-2:] = [replace(case, split="test") for case in cases[-2:]]  # kept for testing by the dataset itself
    patients = {case.id: case.patient for case in cases}
    data = data_section().model_copy(update={"split": CaseSplitSection(unlabelled="rest")})
    chosen = unlabeled_cases(cases, data, Splits(("p0_a",), ("p1_a",), (), patients=patients))
    assert [case.id for case in chosen] == ["p0_b", "p2_a", "p2_b", "p3_a", "p3_b"]
    assert all(case.label is None for case in chosen)
    everyone = Splits(tuple(name for name in patients if name[:2] not in ("p1", "p4")), ("p1_a",), patients=patients)
    with pytest.raises(SplitError, match="no case is left to train without a label"):
        unlabeled_cases(cases, data, everyone)
