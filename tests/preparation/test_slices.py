"""The training set: samples are functions of (seed, epoch, index), draws are as described, windows hold structures."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from segcct.config import AugmentSection
from segcct.errors import DataError
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_grid import SliceGrid
from segcct.preparation.slice_sampling import EpochSampler, SliceDataset
from segcct.preparation.training_window import take_window
from segcct.runtime import pad_to
from segcct.tasks.segmentation.cycle_loss import CycleMethod
from segcct.tasks.segmentation.unlabeled_slices import UNLABELED, WithUnlabeled

STILL = AugmentSection(strength=0)


def prepared(case_id: str, label: np.ndarray, *, channels: int = 1, labelled: bool = True) -> PreparedCase:
    """A case whose pixels tell case and slice; classes 0..3."""
    depth, rows, columns = label.shape
    image = np.full((depth, channels, rows, columns), 0.25, dtype=np.float16)
    image += (np.arange(depth, dtype=np.float16) / 512)[:, None, None, None]
    present = np.stack([(label == index).any(axis=(1, 2)) for index in range(4)], axis=1)
    return PreparedCase(
        case_id=case_id,
        patient=case_id,
        arrays={"image": image, **({"label": label} if labelled else {})},
        mean=np.full(channels, 0.2, np.float32),
        std=np.full(channels, 0.5, np.float32),
        grid=SliceGrid.plan(
            (columns, rows, depth),
            np.eye(4),
            None,
            orientation="native",
            box_of=None,
            target_spacing_mm=None,
            fit="pad",
            image_size=32,
        ),
        spacing_mm=None,
        affine=np.eye(4),
        present=present if labelled else None,
    )


def three_cases(side: int = 32) -> list[PreparedCase]:
    """Class 1 in every slice of a (12 slices); classes 1 and 2 in one slice of b (8); nothing in c (20)."""
    a, b, c = (np.zeros((depth, side, side), dtype=np.uint8) for depth in (12, 8, 20))
    a[:, 10:14, 10:14] = 1
    b[3, 2:6, 2:6] = 1
    b[3, 20:24, 20:24] = 2
    return [prepared("a", a), prepared("b", b), prepared("c", c)]


def dataset(cases, **changes) -> SliceDataset:
    options = {"augment": STILL, "image_size": 32, "seed": 0, "foreground_fraction": 0.5, **changes}
    return SliceDataset(cases, **options)


def shown(samples) -> list[tuple[str, int]]:
    return [(sample["case"], sample["slice"]) for sample in samples]


def test_sample_is_standardised_after_augmentation():
    sample = dataset(three_cases())[0, 0]
    assert sample["image"].dtype == torch.float32
    assert sample["image"].shape == (1, 32, 32)
    assert sample["label"].dtype == torch.int64
    assert sample["label"].shape == (32, 32)
    expected = (0.25 + sample["slice"] / 512 - 0.2) / 0.5
    np.testing.assert_allclose(sample["image"].numpy(), expected, atol=1e-3)


def test_without_foreground_draws_an_epoch_shows_every_slice_once():
    data = dataset(three_cases(), foreground_fraction=0.0)
    assert len(data) == 40
    first, second = (shown(data[epoch, index] for index in range(40)) for epoch in (0, 1))
    everything = [(case, number) for case, depth in (("a", 12), ("b", 8), ("c", 20)) for number in range(depth)]
    assert sorted(first) == sorted(second) == everything
    assert first != second
    assert first != everything


def test_foreground_draws_choose_class_then_case_then_slice():
    data = dataset(three_cases(), foreground_fraction=1.0)
    counts = {"a": 0, "b": 0, "c": 0}
    classes = {1: 0, 2: 0}
    for index in range(2000):
        number, position, wanted = data.draw(0, index, np.random.default_rng([0, 0, index]))
        case = data.cases[number]
        assert case.present[position, wanted]
        counts[case.case_id] += 1
        classes[wanted] += 1
    # class 1 in half of the draws, half of those from a; everything else is slice 3 of b
    assert abs(classes[1] - 1000) < 120
    assert abs(counts["a"] - 500) < 100
    assert counts["c"] == 0


def test_foreground_draws_differ_by_epoch_and_seed():
    data = dataset(three_cases(), foreground_fraction=1.0)
    other = dataset(three_cases(), foreground_fraction=1.0, seed=1)
    first, second, seeded = (
        shown(each[epoch, index] for index in range(30)) for each, epoch in ((data, 0), (data, 1), (other, 0))
    )
    assert first != second
    assert first != seeded


def test_foreground_draws_show_their_class_when_the_slice_is_cropped():
    label = np.zeros((3, 150, 150), dtype=np.uint8)
    label[:, 5, 140] = 1
    label[1, 120:123, 9] = 2
    data = dataset(
        [prepared("big", label)], foreground_fraction=1.0, augment=AugmentSection(noise=1, affine=0, elastic=0)
    )
    for index in range(30):
        assert data[0, index]["label"].any()


def test_corners_are_those_of_the_slice_where_it_is_larger():
    """A slice of one value stays one, however it is turned; unlabeled ones too, but for windows at the slice's end."""
    label = np.zeros((2, 400, 400), dtype=np.uint8)
    label[:, 200, 200] = 1
    turned = AugmentSection(affine=1, elastic=1, intensity=0, noise=0, blur=0, rotate_deg=45)
    case = prepared("big", label)
    labeled = dataset([case], foreground_fraction=1.0, augment=turned)
    both = WithUnlabeled(labeled, [case], CycleMethod.views)
    plain = 0
    for index in range(20):
        sample = both[0, index]
        image, unlabeled = sample["image"], sample[UNLABELED]["image"]
        assert image.shape == unlabeled.shape == (1, 32, 32)
        assert float(image.max() - image.min()) < 1e-4
        plain += float(unlabeled.max() - unlabeled.min()) < 1e-4
    assert plain >= 15


def test_share_of_foreground_draws():
    data = dataset(three_cases(), foreground_fraction=0.3)
    wanted = [data.draw(0, index, np.random.default_rng([0, 0, index]))[2] for index in range(2000)]
    assert abs(sum(each is not None for each in wanted) - 600) < 80


def test_cases_without_any_structure_still_train():
    only_background = [prepared("c", np.zeros((5, 32, 32), dtype=np.uint8))]
    assert sorted(shown(dataset(only_background)[0, index] for index in range(5))) == [("c", n) for n in range(5)]


def test_unlabelled_cases_are_refused():
    with pytest.raises(DataError, match="no label for x"):
        dataset([prepared("x", np.zeros((2, 32, 32), np.uint8), labelled=False)])
    with pytest.raises(DataError, match="no labeled cases"):
        dataset([])


def test_samples_do_not_depend_on_order_history_or_travel():
    cases = three_cases()
    data = dataset(cases, augment=AugmentSection(affine=1, noise=1))
    forward = {(epoch, index): data[epoch, index] for epoch in (0, 1) for index in range(6)}
    travelled = pickle.loads(pickle.dumps(data))
    for place in reversed(list(forward)):
        for other in (data, travelled, dataset(cases, augment=AugmentSection(affine=1, noise=1))):
            again = other[place]
            assert torch.equal(again["image"], forward[place]["image"])
            assert torch.equal(again["label"], forward[place]["label"])
    assert not torch.equal(data[0, 0]["image"], dataset(cases, augment=AugmentSection(noise=1), seed=1)[0, 0]["image"])


@pytest.mark.slow
def test_batches_are_equal_for_any_number_of_workers():
    data = dataset(
        three_cases(), augment=AugmentSection(affine=1, elastic=1, intensity=1, noise=1), slices_per_epoch=13
    )

    def batches(workers: int) -> list[dict]:
        sampler = EpochSampler(len(data))
        loader = DataLoader(
            data,
            batch_size=4,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )
        collected = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            collected += list(loader)
        return collected

    alone, shared = batches(0), batches(2)
    assert len(alone) == 8
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
        assert one["case"] == other["case"]
    assert not torch.equal(alone[0]["image"], alone[4]["image"]), "both epochs show the same"


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [1, 7, 12])
def test_sampler_shares_an_epoch_among_processes(length, world):
    positions = []
    for rank in range(world):
        sampler = EpochSampler(length, rank=rank, world=world)
        sampler.set_epoch(4)
        mine = list(sampler)
        assert len(mine) == len(sampler) == -(-length // world)
        assert {epoch for epoch, _ in mine} == {4}
        positions += [index for _, index in mine]
    assert set(positions) == set(range(length))
    assert len(positions) - length < world


def test_processes_together_show_what_one_shows():
    data = dataset(three_cases(), slices_per_epoch=10)
    alone = shown(data[place] for place in EpochSampler(10))
    ranks = [shown(data[place] for place in EpochSampler(10, rank=rank, world=2)) for rank in (0, 1)]
    assert [each for pair in zip(*ranks, strict=True) for each in pair] == alone


def test_window_crops_pads_and_keeps():
    rng = np.random.default_rng(0)
    image = rng.random((2, 20, 50)).astype(np.float32)
    label = np.arange(20 * 50).reshape(20, 50)
    part, mask = take_window(image, label, 32, rng)
    assert part.shape == (2, 32, 32)
    assert mask.shape == (32, 32)
    inside = mask[6:26]
    assert not mask[:6].any()
    assert not mask[26:].any()
    assert not part[:, :6].any()
    left = inside[0, 0]
    assert np.array_equal(inside, label[:, left : left + 32])
    assert np.array_equal(part[:, 6:26], image[:, :, left : left + 32])

    state = rng.bit_generator.state
    same, _ = take_window(image[:, :, :20], label[:, :20], 20, rng)
    assert np.array_equal(same, image[:, :, :20])
    assert rng.bit_generator.state == state


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    side=st.integers(1, 20),
    margin=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_a_margin_lies_around_the_same_window(shape, side, margin, seed):
    numbers = 1 + np.arange(np.prod(shape)).reshape(shape)
    plain, _ = take_window(numbers[None], numbers, side, np.random.default_rng(seed), wanted=7)
    image, label = take_window(numbers[None], numbers, side, np.random.default_rng(seed), wanted=7, margin=margin)
    assert np.array_equal(image[0], label)
    first = np.argwhere(plain[0])[0]  # in the window, and from its number, in the slice
    top, left = np.argwhere(numbers == plain[0][tuple(first)])[0] - first + 40 - margin
    expected = np.pad(numbers, 40)[top : top + side + 2 * margin, left : left + side + 2 * margin]
    assert np.array_equal(np.pad(label, margin - (len(label) - side) // 2), expected)


def test_padding_is_undone_by_its_own_slices():
    rng = np.random.default_rng(0)
    for shape in ((3, 20, 50), (2, 2, 33, 31), (32, 32), (1, 40, 10)):
        array = rng.random(shape)
        padded, (rows, columns) = pad_to(array, 32)
        assert padded.shape[-2:] == (max(32, shape[-2]), max(32, shape[-1]))
        assert np.array_equal(padded[..., rows, columns], array)
        assert padded.sum() == pytest.approx(array.sum())


def test_window_holds_the_wanted_class_and_reaches_everywhere():
    label = np.zeros((100, 80), dtype=np.uint8)
    label[3, 77] = 2
    label[60:64, 10:12] = 1
    image = label[None].astype(np.float32)
    starts = set()
    for seed in range(200):
        for wanted in (1, 2):
            _, mask = take_window(image, label, 32, np.random.default_rng(seed), wanted=wanted)
            assert (mask == wanted).any()
        part, _ = take_window(label[None], np.arange(8000).reshape(100, 80), 32, np.random.default_rng(seed))
        assert part.shape == (1, 32, 32)
        _, numbers = take_window(image, np.arange(8000).reshape(100, 80), 32, np.random.default_rng(seed))
        starts.add(int(numbers[0, 0]))
    tops, lefts = zip(*(divmod(start, 80) for start in starts), strict=True)
    assert min(tops) <= 3
    assert max(tops) >= 65
    assert min(lefts) <= 3
    assert max(lefts) >= 45
