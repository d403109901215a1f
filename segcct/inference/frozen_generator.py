"""The generator of an M2I run, frozen, next to a segmenter: while it is trained, and while it is adapted to a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segcct.config import DataSection
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.seen_cases import seen_by
from segcct.models.generator import Generator
from segcct.preparation.conditioning import signed_distances
from segcct.preparation.preparation_settings import Preparation
from segcct.progress import say


def load_frozen(model: Path, data: DataSection, scheme: Scheme) -> Generator:
    """The generator of a `best/` folder, without gradients for its weights.

    Args:
        model: `best/` of an M2I run on the same data section.
        data: the segmenter's data section.
        scheme: its label scheme.

    Raises:
        ConfigError: the generator has other channels, classes or preparation.
        RunError, CheckpointError, ModelError: it cannot be loaded.
    """
    from segcct.inference.reconstructor import Reconstructor  # imports the metrics, which predictions do not need

    reconstructor = Reconstructor.load(model, InferenceSettings(precision="fp32", device="cpu"))
    _same(model, "channels", list(reconstructor.data.channels), list(data.channels))
    _same(model, "label scheme", list(reconstructor.scheme.classes.items()), list(scheme.classes.items()))
    expected = Preparation.of(data).to_json()
    for key, found in reconstructor.preparation.to_json().items():
        _same(model, f"preparation ({key})", found, expected[key])
    return reconstructor.network.requires_grad_(False).eval()


def cycle_error(generator: Generator, logits: Tensor, image: Tensor, position: Tensor) -> Tensor:
    """I -> M -> I': the mean squared difference between images and those generated from their predicted masks.

    The generator gets the argmax of each pixel, as it does for a finished mask; gradients pass straight through to the
    probabilities. From probabilities themselves it could mix any gray value, and the best image would not come from
    the best mask. The difference is squared, since an absolute one pulls as hard at a pixel that is nearly right as at
    one of the wrong class, and hard masks would not converge. No gradient flows through distances and style code, so
    that the mask cannot be changed to change the appearance.

    Args:
        generator: frozen; taken to the device of the images.
        logits: (B, K, H, W) of the segmenter.
        image: (B, C, H, W) standardized.
        position: (B, 1) of each slice in its volume, in [0, 1].
    """
    generator = generator.to(image.device)
    soft = logits.float().softmax(dim=1)
    classes = soft.detach().argmax(dim=1)  # (B, H, W)
    hard = nn.functional.one_hot(classes, soft.shape[1]).permute(0, 3, 1, 2).float()
    distances = np.stack([signed_distances(each, soft.shape[1]) for each in classes.cpu().numpy()])
    distance = torch.from_numpy(distances).to(image.device)
    style = generator.style_of(image, hard, distance)
    mask = hard + (soft - soft.detach())  # (B, K, H, W): the value of the hard mask, the gradient of the soft
    made: Tensor = generator(mask, distance, position, style)
    return (made.float() - image).square().mean()


def check_not_seen(model: Path | None, splits: Splits) -> None:
    """Raises `ConfigError` where the generator was trained on labels of validation or test patients; prints a line
    where that is not known, since `best/` alone does not name them."""
    if model is None:
        return
    seen = seen_by(model, splits)
    if seen is None:
        say(f"{model}: no splits.json next to it, so whether it was trained on validation or test cases is not known")
    if seen:
        raise ConfigError(
            f"the generator was trained on {len(seen)} of {len(splits.val + splits.test)} validation and test cases",
            file=model,
            found=", ".join(seen[:4]),
            remedy="Train it on the same split (same data.split and data.fold)",
        )


def _same(model: Path, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ConfigError(
            f"the generator and the segmenter differ in the {what}",
            file=model,
            found=found,
            expected=expected,
            remedy="Train it with the same data section (segcct train-m2i)",
        )
