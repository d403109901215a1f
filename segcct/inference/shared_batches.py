"""Batches filled across cases: 2-D images, predicted by several threads at a time, go through the network together.

Every batch has the same number of images; one that is not full is filled up with zeros. The result for an image then
does not depend on the rest of its batch: measured with the networks here on a processor with AVX-512 and oneDNN, its
logits are the same bit by bit at each place of a batch and next to any other images. In fp32 (not in bf16) they differ
in the last bits, by 1e-6, between batch sizes, between one thread and several, and with and without the inference mode
of PyTorch. So every participating thread computes alone, without helper threads, and every batch in the same mode and
precision, whichever caller computes it. On one kind of machine, masks are then the same byte by byte for one process,
shards of a cohort and a prediction that was interrupted, whatever OMP_NUM_THREADS is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from segcct.inference.inference_settings import InferenceSettings

_PIXELS_OF_A_BATCH = 2**16
"""Of images in a batch on a processor: 16 of 64 by 64 take a third of the time that they take one by one, 4 of 128 by
128 two thirds, and from 256 by 256 on there is no gain (cct_unet_s, bf16, one core of an AMD EPYC with AVX512-BF16)."""
_MOST_THREADS = 64


def images_per_batch(how: InferenceSettings, image_size: int) -> int:
    """How many images go through the network together."""
    if how.device != "cpu":
        return how.batch_size
    return max(1, min(how.batch_size, _PIXELS_OF_A_BATCH // image_size**2))


def images_at_a_time(how: InferenceSettings, image_size: int, cores: int | None = None) -> int:
    """Threads that keep the network busy: a batch for each core, and one that is read or written meanwhile.

    Args:
        how: the settings.
        image_size: of the network's input, in pixels.
        cores: of the processor; default: as many as this process computes with.
    """
    batches = 1 + (cores or torch.get_num_threads()) if how.device == "cpu" else 3
    return min(batches * images_per_batch(how, image_size), max(_MOST_THREADS, images_per_batch(how, image_size)))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Each thread that begins within the block computes alone, without helper threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Waiting:
    """Images of a caller that wait for others."""

    image: Tensor
    listens: bool
    """To the members of an ensemble."""
    outputs: Future[tuple[Tensor, ...]] = field(default_factory=Future)
    """Logits, and if anyone in the batch listens, the probabilities of each member."""


class SharedBatches(nn.Module):
    """A network, (B, C, H, W) -> (B, K, H, W), whose callers wait until a batch is full; each is inside `caller`.

    The caller that fills a batch computes it. One that is not full is computed once every caller waits. Of an ensemble,
    callers may listen to the members: each gets their probabilities for its own images.

    Args:
        network: the network.
        size: images of a batch.
        how: the precision, and the device: on a processor, each caller computes in one thread.
    """

    def __init__(self, network: nn.Module, size: int, how: InferenceSettings) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.how = how
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._callers = 0

    @contextmanager
    def caller(self) -> Iterator[None]:
        """What a thread does for one case."""
        if self.how.device == "cpu" and torch.get_num_threads() > 1:
            torch.set_num_threads(1)  # of this thread, and of those that begin later
        with self._lock:
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1
                batch = self._due()
            self._compute(batch)

    def forward(self, image: Tensor, listener: Callable[[Tensor], object] | None = None) -> Tensor:
        """See the class, and `Ensemble` for `listener`; images that fill a batch by themselves do not wait."""
        if len(image) >= self.size:
            return self._logits(image, listener)
        waiting = _Waiting(image, listens=listener is not None)
        with self._lock:
            self._waiting.append(waiting)
            batch = self._due()
        self._compute(batch)
        logits, *members = waiting.outputs.result()
        if listener is not None:
            for probabilities in members:
                listener(probabilities)
        return logits

    def _due(self) -> list[_Waiting]:
        """The callers of the next batch, if it is full or nobody is left to fill it; the lock is held."""
        batch: list[_Waiting] = []
        images = 0
        for each in self._waiting:
            if each.image.shape[1:] != self._waiting[0].image.shape[1:] or images + len(each.image) > self.size:
                break
            batch.append(each)
            images += len(each.image)
        else:
            if images < self.size and len(batch) < self._callers:
                return []
        del self._waiting[: len(batch)]
        return batch

    def _compute(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        members: list[Tensor] = []
        try:
            images = torch.cat([each.image for each in batch])  # (n, C, H, W), n at most the size
            fill = images.new_zeros(self.size - len(images), *images.shape[1:])
            heard = members.append if any(each.listens for each in batch) else None
            outputs = [self._logits(torch.cat([images, fill]), heard), *members]
            sizes = [len(each.image) for each in batch]
            parts = zip(*(output[: len(images)].split(sizes) for output in outputs), strict=True)
        except BaseException as error:
            for each in batch:
                each.outputs.set_exception(error)
            return
        for each, own in zip(batch, parts, strict=True):
            each.outputs.set_result(own)

    def _logits(self, images: Tensor, listener: Callable[[Tensor], object] | None) -> Tensor:
        """Computed in the same mode by every caller, also by one that is about to end and has left its own."""
        with torch.inference_mode(), self.how.autocast():
            logits: Tensor = self.network(images) if listener is None else self.network(images, listener)
        return logits
