"""segcct: medical image segmentation by compact transformers. Research use only; not a medical device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from segcct.version import VERSION as __version__  # noqa: N811 - the name Python expects

if TYPE_CHECKING:  # "as" tells type checkers that these names are public
    from segcct import metrics as metrics
    from segcct.api import predict as predict
    from segcct.api import train as train
    from segcct.errors import SegcctError as SegcctError
    from segcct.evaluation.evaluate_folders import evaluate as evaluate
    from segcct.images.volume import Volume as Volume
    from segcct.inference.inference_settings import InferenceSettings as InferenceSettings
    from segcct.inference.predictor import Predictor as Predictor
    from segcct.inference.reconstructor import Reconstructor as Reconstructor
    from segcct.models.weights import load_pretrained as load_pretrained
    from segcct.models.zoo import create_model as create_model
    from segcct.models.zoo import model_names as model_names
    from segcct.predictions.mask_options import MaskOptions as MaskOptions
    from segcct.tasks.classification.classifier import Classifier as Classifier
    from segcct.tasks.task_options import CohortOptions as CohortOptions

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

__all__ = ["__version__", "metrics", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("segcct.metrics")
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'segcct' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
