"""segcct: medical image segmentation by compact transformers. Research use only; not a medical device.

Three functions do what the commands of these names do:

    run = segcct.train("configs/acdc_cct_unet.yaml", {"train.epochs": 3})
    predictions = segcct.predict(run.best, "data/acdc", "masks", split="test")
    summary = segcct.evaluate("masks", "data/acdc")

Their docstrings list the options; a failure that can be expected is a `SegcctError`, whose text says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segcct.version import VERSION as __version__  # noqa: N811 - the name Python expects

__all__ = [
    "Classifier",
    "CohortOptions",
    "InferenceSettings",
    "MaskOptions",
    "Predictor",
    "Reconstructor",
    "SegcctError",
    "Volume",
    "__version__",
    "create_model",
    "evaluate",
    "load_pretrained",
    "metrics",
    "model_names",
    "predict",
    "train",
]

if TYPE_CHECKING:  # for editors and type checkers, which do not run what is below
    from segcct import metrics
    from segcct.api import predict, train
    from segcct.errors import SegcctError
    from segcct.evaluation.evaluate_folders import evaluate
    from segcct.images.volume import Volume
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.inference.predictor import Predictor
    from segcct.inference.reconstructor import Reconstructor
    from segcct.models.weights import load_pretrained
    from segcct.models.zoo import create_model, model_names
    from segcct.predictions.mask_options import MaskOptions
    from segcct.tasks.classification.classifier import Classifier
    from segcct.tasks.task_options import CohortOptions
else:
    import importlib

    _EXPORTS = {
        "train": "segcct.api",
        "predict": "segcct.api",
        "evaluate": "segcct.evaluation.evaluate_folders",
        "InferenceSettings": "segcct.inference.inference_settings",
        "MaskOptions": "segcct.predictions.mask_options",
        "CohortOptions": "segcct.tasks.task_options",
        "Predictor": "segcct.inference.predictor",
        "Reconstructor": "segcct.inference.reconstructor",
        "Classifier": "segcct.tasks.classification.classifier",
        "Volume": "segcct.images.volume",
        "create_model": "segcct.models.zoo",
        "model_names": "segcct.models.zoo",
        "load_pretrained": "segcct.models.weights",
        "SegcctError": "segcct.errors",
    }
    """Public name -> module that holds it; imported at first use, so that `import segcct` costs nothing."""

    def __getattr__(name: str) -> object:
        if name == "metrics":
            return importlib.import_module("segcct.metrics")
        if name in _EXPORTS:
            return getattr(importlib.import_module(_EXPORTS[name]), name)
        raise AttributeError(f"module 'segcct' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted(__all__)
