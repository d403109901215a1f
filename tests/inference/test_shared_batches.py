"""Images of several threads go through a network together, and each is as it would be alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from segcct.inference.ensemble_network import Ensemble
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.shared_batches import SharedBatches, images_at_a_time, images_per_batch
from segcct.models.zoo import create_model
from tests.support.deadline import wait_until

HOW = InferenceSettings(precision="bf16", device="cpu")


class Counting(nn.Module):
    """Doubles images and remembers how many there were; fails for negative ones."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        self.modes: set[tuple[bool, bool]] = set()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.modes.add((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
        self.sizes.append((len(image), int((image.flatten(1).abs().sum(1) > 0).sum())))
        if bool((image < 0).any()):
            raise ValueError("negative")
        return image * 2


def together(
    shared: SharedBatches, images: list[torch.Tensor], *listeners: Callable[[torch.Tensor], object] | None
) -> list[torch.Tensor | Exception]:
    """Each by a thread of its own; none calls before all are callers."""
    everyone = threading.Barrier(len(images))

    def call(image: torch.Tensor, listener: Callable[[torch.Tensor], object] | None = None) -> torch.Tensor | Exception:
        with shared.caller():
            everyone.wait(20)
            try:
                return shared(image, listener)
            except ValueError as error:
                return error

    with ThreadPoolExecutor(len(images)) as pool:
        return list(pool.map(call, images, *[listeners] * bool(listeners)))


@pytest.mark.parametrize(("callers", "batches"), [(1, [1]), (4, [4]), (6, [4, 2]), (8, [4, 4])])
def test_batches_are_full_until_nobody_is_left(callers, batches):
    network = Counting()
    images = [torch.full((1, 1, 2, 2), float(number + 1)) for number in range(callers)]
    outputs = together(SharedBatches(network, 4, HOW), images)
    assert all(torch.equal(output, image * 2) for output, image in zip(outputs, images, strict=True))
    assert {size for size, _ in network.sizes} == {4}
    assert sorted((count for _, count in network.sizes), reverse=True) == batches


def test_images_of_several_sizes_and_numbers_find_their_way_back():
    shapes = [(1, 1, 2, 2), (1, 1, 3, 3), (2, 1, 2, 2), (3, 1, 3, 3), (5, 1, 2, 2), (1, 1, 2, 2)]
    images = [torch.full(shape, float(number + 1)) for number, shape in enumerate(shapes)]
    outputs = together(SharedBatches(Counting(), 4, HOW), images)
    assert all(torch.equal(output, image * 2) for output, image in zip(outputs, images, strict=True))


def test_who_listens_to_an_ensemble_hears_what_the_members_say_of_its_images():
    torch.manual_seed(0)
    ensemble, images = Ensemble([nn.Conv2d(1, 3, 1) for _ in range(2)]), [*torch.randn(4, 2, 1, 2, 2)]
    heard: list[list[torch.Tensor]] = [[], [], [], []]
    listeners = [heard[0].append, None, heard[2].append, heard[3].append]
    outputs = together(SharedBatches(ensemble, 6, replace(HOW, precision="fp32")), images, *listeners)
    with torch.inference_mode():
        torch.testing.assert_close(outputs, [ensemble(image) for image in images])
        alone = [[member(image).softmax(dim=1) for member in ensemble.members] for image in images]
    torch.testing.assert_close(heard, [alone[0], [], alone[2], alone[3]])


def test_a_caller_that_ends_computes_as_the_others_do():
    """The last batch of all is computed by the one that ends last, or by one that failed before its image was ready."""
    network = Counting()
    shared = SharedBatches(network, 4, HOW)
    with ThreadPoolExecutor(1) as pool:
        with shared.caller():
            entered = threading.Event()

            def waits() -> torch.Tensor:
                with shared.caller(), torch.inference_mode(), HOW.autocast():
                    entered.set()
                    return shared(torch.ones(1, 1, 2, 2))

            output = pool.submit(waits)
            assert entered.wait(20)
            wait_until(lambda: shared._waiting)
        assert torch.equal(output.result(20), torch.full((1, 1, 2, 2), 2.0))
    assert network.modes == {(True, True)}


def test_a_failure_is_that_of_the_whole_batch_and_of_no_other():
    shared = SharedBatches(Counting(), 2, HOW)
    outputs = together(shared, [torch.full((1, 1, 2, 2), value) for value in (1.0, -1.0)])
    assert all(isinstance(output, ValueError) for output in outputs)
    (output,) = together(shared, [torch.ones(1, 1, 2, 2)])
    assert torch.equal(output, torch.full((1, 1, 2, 2), 2.0))


@pytest.mark.parametrize("name", ["cct_unet_t", "unet_16"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_company_does_not_change_an_image(name, precision):
    """Bit by bit, at every place of a batch; what `SharedBatches` and the equality of shards rest on."""
    torch.manual_seed(0)
    network = create_model(name, 1, 3, 32).eval()
    images, how = torch.randn(8, 1, 32, 32), InferenceSettings(precision=precision, device="cpu")
    with torch.inference_mode(), how.autocast():
        whole = network(images)
        assert torch.equal(network(images.roll(3, 0)).roll(-3, 0), whole)
        lone = images.clone()
        lone[1:] = 0
        assert torch.equal(network(lone)[0], whole[0])


def test_batches_are_small_where_images_are_large(monkeypatch):
    how = InferenceSettings(batch_size=16, precision="fp32", device="cpu")
    assert [images_per_batch(how, size) for size in (32, 64, 128, 256, 512)] == [16, 16, 4, 1, 1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert [images_at_a_time(how, size) for size in (64, 128, 512)] == [48, 12, 3]
    assert [images_at_a_time(how, 128, cores) for cores in (1, 2, 7)] == [8, 12, 32]  # of a worker elsewhere
