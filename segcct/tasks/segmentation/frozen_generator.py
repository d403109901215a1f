"""The generator of an M2I run, frozen, within the training of a segmenter."""

from __future__ import annotations

from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_record import Splits, seen_by
from segcct.errors import ConfigError
from segcct.inference.reconstructor import Reconstructor
from segcct.models.generator import Generator
from segcct.preparation.preparation_settings import Preparation
from segcct.progress import say


def load_frozen(model: Path, data: DataSection, scheme: Scheme) -> Generator:
    """The generator of a `best/` folder, without gradients for its weights.

    Args:
        model: `best/` of an M2I run on the same data section.
        data: the segmenter's data section.
        scheme: its label scheme.

    Raises:
        ConfigError: the generator has other channels, classes or preparation. `RunError`, `CheckpointError`,
            `ModelError`: it cannot be loaded.
    """
    reconstructor = Reconstructor.load(model)
    _same(model, "channels", list(reconstructor.data.channels), list(data.channels))
    _same(model, "label scheme", dict(reconstructor.scheme.classes), dict(scheme.classes))
    _same(model, "preparation", reconstructor.preparation.to_json(), Preparation.of(data).to_json())
    return reconstructor.network.requires_grad_(False).eval()


def check_not_seen(model: Path | None, splits: Splits) -> None:
    """Raises `ConfigError` where the generator was trained on labels of patients that validate or test here; says so
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
            f"the generator and this training differ in the {what}",
            file=model,
            found=found,
            expected=expected,
            remedy="Train it with the same data section (segcct train-m2i)",
        )
