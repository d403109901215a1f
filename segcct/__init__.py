"""segcct: medical image segmentation by compact transformers. Research use only; not a medical device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from segcct.version import VERSION as __version__  # noqa: N811 - the name Python expects

if TYPE_CHECKING:
    from segcct import metrics
    from segcct.api import predict, train
    from segcct.errors import SegcctError
    from segcct.evaluation.evaluate_folders import evaluate
    from segcct.images.volume import Volume
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.inference.predictor import Predictor
    from segcct.models.weights import load_pretrained
    from segcct.models.zoo import create_model, model_names

_EXPORTS = {
    "create_model": "segcct.models.zoo",
    "model_names": "segcct.models.zoo",
    "load_pretrained": "segcct.models.weights",
    "Predictor": "segcct.inference.predictor",
    "InferenceSettings": "segcct.inference.inference_settings",
    "SegcctError": "segcct.errors",
    "Volume": "segcct.images.volume",
    "train": "segcct.api",
    "predict": "segcct.api",
    "evaluate": "segcct.evaluation.evaluate_folders",
}
"""Public name -> module that holds it; imported at first use, so that `import segcct` costs nothing."""

__all__ = [
    "InferenceSettings",
    "Predictor",
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


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("segcct.metrics")
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'segcct' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
