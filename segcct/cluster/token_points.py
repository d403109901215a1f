"""A case as points to be clustered: the tokens of its slices behind a compact encoder, trained or pre-trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.cluster.clusters import Clusters
from segcct.cluster.intensity_points import Background, is_inside
from segcct.datasets.case import LoadedCase
from segcct.datasets.label_schemes import get_scheme
from segcct.errors import ModelError
from segcct.files.file_memo import key_of
from segcct.hardware.devices import pick_device
from segcct.inference.batched_inference import finite, in_batches, padded_pixels
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.loaded_model import load_network
from segcct.inference.preparation_digest import preparation_digest
from segcct.model_card import load_card
from segcct.models.cct_unet import CctPyramid, CctUnet
from segcct.models.masked_encoder import MaskedEncoder
from segcct.models.padding import pad_to_multiple
from segcct.models.tokenizer import to_map, to_tokens
from segcct.preparation.cache_key import PREPARATION_VERSION
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.runtime import pad_to

_SLICES = 8
"""Slices whose maps are resampled at once."""


@dataclass(frozen=True)
class TokenPoints:
    """The tokens of one case: see `Points`."""

    prepared: PreparedCase
    tokens: np.ndarray
    """(D, E, h, w) float32, of length 1."""
    light: np.ndarray
    """(D, h, w) float32: mean of the first channel where the token lies."""
    window: tuple[slice, slice]
    """Rows and columns of the slice within the area of the tokens, in pixels."""
    step: int
    """Side of a token, in pixels."""
    inside: np.ndarray
    """(X, Y, Z) bool: voxels that are not background."""

    @property
    def points(self) -> np.ndarray:
        """(N, E), slice by slice and row by row."""
        return np.moveaxis(self.tokens, 1, -1).reshape(-1, self.tokens.shape[1])

    @property
    def brightness(self) -> np.ndarray:
        """(N,)"""
        return self.light.ravel()

    def labels(self, clusters: Clusters) -> np.ndarray:
        """See `Points`: the most probable cluster after the memberships are resampled."""
        return self.painted(self._maps(clusters))

    def memberships(self, clusters: Clusters) -> np.ndarray:
        """See `Points`."""
        grid = self.prepared.grid
        slices = np.concatenate([grid.restore(part) for part in self._resampled(self._maps(clusters))])
        volumes = np.stack([grid.to_volume(np.ascontiguousarray(each)) for each in slices.swapaxes(0, 1)])
        volumes[:, ~self.inside] = 0
        return volumes.astype(np.float16)

    def painted(self, maps: np.ndarray) -> np.ndarray:
        """Probabilities of the tokens (D, K, h, w) -> labels (X, Y, Z) uint8, 1 to K, 0 for background."""
        grid = self.prepared.grid
        labels = grid.collect(grid.restore_labels(part) + np.uint8(1) for part in self._resampled(maps))
        labels[~self.inside] = 0
        return labels

    def _maps(self, clusters: Clusters) -> np.ndarray:
        """(D, K, h, w)"""
        depth, _, rows, columns = self.tokens.shape
        return np.moveaxis(clusters.memberships(self.points).reshape(depth, rows, columns, -1), -1, 1)

    def _resampled(self, maps: np.ndarray) -> Iterator[np.ndarray]:
        """(D, K, h, w) -> (n, K, H, W) at the network's scale, bilinear."""
        for start in range(0, len(maps), _SLICES):
            part = torch.from_numpy(maps[start : start + _SLICES].astype(np.float32))
            full = F.interpolate(part, scale_factor=self.step, mode="bilinear", align_corners=False)
            yield full[..., self.window[0], self.window[1]].numpy()


class TokenEncoder:
    """Makes the tokens of a case.

    Args:
        folder: the `best/` folder of a `cct_unet` model, or of a pre-training.
        how: batch size, precision, device.
        background: what masks leave out.

    Raises:
        ModelError: the model has no such encoder. RunError, CheckpointError: as `load_card`, `load_network`.
    """

    def __init__(self, folder: Path, how: InferenceSettings, background: Background) -> None:
        self.card = load_card(folder)
        network = load_network(folder, self.card).to(pick_device(how.device)).eval()
        self.encode, self.step = _encoder_of(network, folder, self.card.architecture.name)
        self.how, self.background = how, background
        self.preparation = Preparation.of(self.card.data_section(Path()))

    @property
    def identity(self) -> dict[str, str]:
        """All that the tokens of a case depend on besides its images: the weights, and how images are prepared."""
        preparation = key_of(PREPARATION_VERSION, preparation_digest(self.card))
        return {"model": self.card.weights_sha256, "preparation": preparation}

    def __call__(self, loaded: LoadedCase) -> TokenPoints:
        """The tokens of every slice."""
        if (found := len(loaded.image)) != (expected := self.card.architecture.in_channels):
            raise ModelError("another number of channels than the model's", found=found, expected=expected)
        prepared = prepare_case(loaded, self.preparation, get_scheme("binary"))
        window = pad_to(prepared.image[:1], self.preparation.image_size)[1]

        def encode(part: slice) -> Tensor:
            image, light = self._input(prepared, part)
            tokens = finite(self.encode(image.to(self.how.device)).float())
            return torch.cat([F.normalize(tokens, dim=1), F.avg_pool2d(light, self.step).to(tokens.device)], dim=1)

        pixels = padded_pixels(prepared.image, self.preparation.image_size)
        batches = in_batches(encode, len(prepared.image), self.how, pixels=pixels)
        maps = np.concatenate(list(batches))  # (D, E + 1, h, w)
        inside = is_inside(loaded, self.background)
        return TokenPoints(prepared, maps[:, :-1], maps[:, -1], window, self.step, inside)

    def _input(self, prepared: PreparedCase, part: slice) -> tuple[Tensor, Tensor]:
        """Padded as for prediction: (n, C, H, W) standardized, and (n, 1, H, W) the first channel in [0, 1]."""
        unit, _ = pad_to(prepared.image[part], self.preparation.image_size)
        image, light = (
            pad_to_multiple(torch.from_numpy(array), self.step, at_least=2 * self.step)
            for array in (prepared.standardize(unit), unit[:, :1].astype(np.float32))
        )
        return image, light


def _encoder_of(network: nn.Module, folder: Path, name: str) -> tuple[Callable[[Tensor], Tensor], int]:
    """Images (B, C, H, W), whose sides are multiples of a step -> tokens (B, E, H / step, W / step); and the step.

    Of a CCT-UNet: the coarsest map, with which its decoder begins. Of a pre-training: the encoder's output.
    """
    if isinstance(network, CctUnet) and isinstance(pyramid := network.pyramid, CctPyramid):
        return lambda image: pyramid(image)[-1], network.multiple
    if not isinstance(network, MaskedEncoder):
        raise ModelError(
            "has no tokens to cluster", file=folder, found=name, expected="a cct_unet model, or a pre-trained encoder"
        )
    compact = network.encoder

    def encode(image: Tensor) -> Tensor:
        tokens = compact.tokens(image)
        grid = (tokens.shape[-2], tokens.shape[-1])
        return to_map(compact.classifier.encode(to_tokens(tokens), grid), grid)

    return encode, compact.tokenizer.reduction
