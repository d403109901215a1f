"""A model adapted to one case at prediction, for images of another scanner: `segcct predict --adapt`.

`statistics` mixes the running statistics of batch norm with those of the whole case (Schneider et al. 2020). `image`
maps the case's intensities so that their quantiles are those of the training cases. `model` takes a few steps on the
weights of the normalization layers, towards agreement of flipped and rotated views, and with a generator towards masks
that explain the image. Entropy is not minimized: on one case that makes a network sure of whatever it sees. The next
case starts from the model as it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segcct.errors import ModelError
from segcct.inference.adaptation_methods import AdaptationMethods
from segcct.inference.batched_inference import padded_pixels
from segcct.inference.frozen_generator import cycle_error
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mean_over_views import bare
from segcct.inference.views import VIEWS, View
from segcct.model_card import ModelCard
from segcct.models.generator import Generator
from segcct.preparation.conditioning import slice_positions
from segcct.preparation.intensity_quantiles import LEVELS, with_quantiles
from segcct.preparation.prepared_case import PreparedCase
from segcct.runtime import pad_to

STEPS, LR = 8, 1e-3
"""Steps and learning rate of Adam for the method `model`."""
CYCLE = 0.1
"""Weight of the generator's error, next to the disagreement of the views."""
_ROUNDING = 1e-6
"""Of the objective. Where all views agree, steps follow errors of rounding."""
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


@dataclass(frozen=True)
class Adaptation(AdaptationMethods):
    """Methods that were asked for, with what they need besides the case."""

    generator: Generator | None = None
    """Frozen; `model` then also brings the image that it makes of the predicted mask closer to the case's."""

    def image_of(self, case: PreparedCase, card: ModelCard) -> PreparedCase:
        """The case as the network is to see it. Raises `ModelError` where model.json has no quantiles."""
        if not self.image:
            return case
        try:
            wanted = np.asarray(card.intensity_quantiles, dtype=np.float64)
        except ValueError:
            wanted = np.empty(0)
        if wanted.shape != (card.architecture.in_channels, len(LEVELS)) or not np.isfinite(wanted).all():
            raise ModelError(
                "model.json does not hold the intensities of the training cases, which --adapt image needs",
                remedy="Use --adapt statistics",
            )
        return with_quantiles(case, wanted)

    @contextmanager
    def applied_to(self, network: nn.Module, case: PreparedCase, how: InferenceSettings, size: int) -> Iterator[None]:
        """Adapt the network to a case within the block, and restore it afterwards.

        Args:
            network: (B, C, H, W) -> logits (B, K, H, W), in evaluation mode.
            case: prepared as for prediction.
            how: batch size, precision, device.
            size: height and width of the training slices, in pixels.

        Raises `ModelError` where the network has no layers of the kind that is adapted.
        """
        if not (self.statistics or self.model):
            yield
            return
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        try:
            if self.statistics:
                _mix_statistics(network, case, how, size, self.statistics)
            if self.model:
                with torch.inference_mode(mode=False):  # with gradients, whatever the mode of the caller
                    _agree(_Objective(bare(network), how, self.generator), list(_steps(case, how, size)))
            yield
        finally:
            network.load_state_dict(kept)


class _Batch(NamedTuple):
    image: Tensor
    """(B, C, H, W) as the network sees it."""
    position: Tensor
    """(B, 1) of each slice in its volume, in [0, 1]."""


def _steps(case: PreparedCase, how: InferenceSettings, size: int) -> Iterator[list[_Batch]]:
    """All slices, in steps of about one size, each of at most `batch_size` slices from all over the case. A step goes
    through the network in several batches where those of a prediction are smaller."""
    count, at_a_time = len(case.image), how.batch_of(padded_pixels(case.image, size))
    positions = torch.from_numpy(slice_positions(count))[:, None]

    def batch(image: np.ndarray, position: Tensor) -> _Batch:
        unit, _ = pad_to(np.asarray(image), size)
        return _Batch(torch.from_numpy(case.standardize(unit)).to(how.device), position.to(how.device))

    steps = -(-count // how.batch_size)
    for first in range(steps):
        image, position = case.image[first::steps], positions[first::steps]
        batches = -(-len(image) // at_a_time)
        yield [batch(image[part::batches], position[part::batches]) for part in range(batches)]


def _with_share(step: list[_Batch]) -> list[tuple[_Batch, float]]:
    """The batches of a step, each with its share of the step's slices."""
    count = sum(len(batch.image) for batch in step)
    return [(batch, len(batch.image) / count) for batch in step]


def _mix_statistics(network: nn.Module, case: PreparedCase, how: InferenceSettings, size: int, weight: float) -> None:
    """Mix the mean and variance of each layer: (1 - weight) of those from training and `weight` of the case's. Those of
    the case are measured while the preceding layers use the statistics of the batch."""
    layers = batch_norms(network)
    if not layers:
        raise _without("batch norm", "statistics")
    trained = [(_statistics(layer), layer.momentum) for layer in layers]
    seen: dict[nn.Module, list[tuple[int, Tensor]]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        seen[layer].append((output.numel() // output.shape[1], _statistics(layer)))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # those of the latest batch
    try:
        with torch.no_grad(), how.autocast():
            for batch in chain.from_iterable(_steps(case, how, size)):
                network(batch.image)
    finally:
        for layer, hook, (_, momentum) in zip(layers, hooks, trained, strict=True):
            hook.remove()
            layer.momentum = momentum
            layer.eval()
    for layer, (statistics, _) in zip(layers, trained, strict=True):
        found = _pooled(seen[layer]).to(statistics) if seen[layer] else statistics  # not every layer is used
        mixed = found.lerp(statistics, 1 - weight)
        layer.load_state_dict(layer.state_dict() | {"running_mean": mixed[0], "running_var": mixed[1]})


def _pooled(parts: list[tuple[int, Tensor]]) -> Tensor:
    """(2, C) mean and variance of all values, from (values of a channel, (2, C)) of each part of them."""
    counts = torch.tensor([count for count, _ in parts], dtype=torch.float64)[:, None]  # (P, 1)
    total = counts.sum()
    means, variances = torch.stack([statistics for _, statistics in parts]).cpu().double().unbind(dim=1)  # (P, C)
    mean = (counts / total * means).sum(dim=0)
    squares = ((counts - 1) * variances + counts * (means - mean).square()).sum(dim=0)
    return torch.stack([mean, squares / (total - 1)])


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers whose running statistics can be mixed."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


def _statistics(layer: nn.Module) -> Tensor:
    """(2, C): running mean and variance of a batch norm layer, copied."""
    stored = layer.state_dict()
    return torch.stack([stored["running_mean"], stored["running_var"]])


@dataclass(frozen=True)
class _Objective:
    """How far views of slices disagree: the mean divergence (Kullback-Leibler) of their probabilities from their mean,
    which has no gradient. With a generator, its weighted `cycle_error` is added."""

    network: nn.Module
    how: InferenceSettings
    generator: Generator | None = None

    def of(self, batch: _Batch, views: tuple[View, ...]) -> Tensor:
        """The disagreement within a batch; the first view is the image itself, with which a generated one is
        compared."""
        with self.how.autocast():
            by_view = [view.undo(self.network(view.of(batch.image)).float().log_softmax(dim=1)) for view in views]
            log_p = torch.stack(by_view)
            mean = log_p.exp().mean(dim=0).detach()  # (B, K, H, W)
            divergence = torch.special.xlogy(mean, mean) - mean * log_p  # (V, B, K, H, W)
            loss: Tensor = divergence.sum(dim=2).mean()
            if self.generator is not None:
                loss = loss + CYCLE * cycle_error(self.generator, by_view[0], batch.image, batch.position)
        return loss

    def mean_over(self, steps: list[list[_Batch]]) -> float:
        """The disagreement of all views, without gradient."""
        every = tuple(dict.fromkeys(chain(*_views_of(steps[0][0].image))))
        with torch.no_grad():
            return float(np.mean([self._over_step(step, every) for step in steps]))

    def _over_step(self, step: list[_Batch], views: tuple[View, ...]) -> float:
        return sum(share * self.of(batch, views).item() for batch, share in _with_share(step))


def _views_of(image: Tensor) -> list[tuple[View, ...]]:
    """Flips, and of square slices quarter turns: the steps take them in turn. The gradient of a single view would
    reflect that view more than the disagreement."""
    return [VIEWS["flips"], VIEWS["rotations"]] if image.shape[-1] == image.shape[-2] else [VIEWS["flips"]]


def _agree(objective: _Objective, steps: list[list[_Batch]]) -> None:
    """Fit the weights of normalization layers to the objective; they are kept only if they improve it."""
    network = objective.network
    layers = [layer for layer in network.modules() if isinstance(layer, _NORMS)]
    weights = [weight for layer in layers for weight in layer.parameters(recurse=False)]
    if not weights:
        raise _without("normalization", "model")
    before = [weight.detach().clone() for weight in weights]
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    network.requires_grad_(False)
    try:
        for weight in weights:
            weight.requires_grad_(True)
        optimizer = torch.optim.Adam(weights, lr=LR)
        start = objective.mean_over(steps)
        for number in range(STEPS):
            optimizer.zero_grad()
            turn, place = divmod(number, len(steps))
            step = steps[place]
            views = _views_of(step[0].image)
            for batch, share in _with_share(step):
                # each slice meets another view in each turn
                (share * objective.of(batch, views[(turn + place) % len(views)])).backward()
            optimizer.step()
        if not objective.mean_over(steps) < start - _ROUNDING:
            for weight, value in zip(weights, before, strict=True):
                weight.data.copy_(value)
    finally:
        network.requires_grad_(False)
        for weight in trainable:
            weight.requires_grad_(True)
        for weight in weights:
            weight.grad = None


def _without(layers: str, method: str) -> ModelError:
    return ModelError(
        f"--adapt {method} is for networks with {layers} layers, run by torch",
        remedy="Use another of --adapt, or none",
    )
