"""Post-training quantization to 8-bit integers by NNCF: weights and activations of convolutions and linear layers.

LayerNorm, softmax, the head and the layers that see the image stay in float, because masks suffer most from quantizing
them: scans have a few very bright voxels, so 8 bits over their range leave little for the rest. Layers behind a
concatenation (skip connections) stay in float too: for them, OpenVINO and ONNX Runtime give different results.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from segcct.export.model_file import EXTRA
from segcct.extras import import_extra
from segcct.runtime import INPUT, OUTPUT

CALIBRATION_SLICES = 300
"""As NNCF advises; more of them improve little."""
_IN_FLOAT = ["LayerNormalization", "Softmax", "BatchNormalization", "InstanceNormalization", "GroupNormalization"]
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def quantized(model: Any, inputs: Tensor) -> Any:
    """The int8 `onnx.ModelProto` of an fp32 one.

    Args:
        model: of `export_onnx`.
        inputs: typical images (N, C, S, S), prepared as for prediction.

    Raises `PackageError` where the extra `export` is not installed.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to its makers
    nncf = import_extra("nncf", EXTRA)
    nncf.set_log_level(logging.ERROR)
    images = nncf.Dataset(list(inputs.split(1)), lambda image: {INPUT: image.numpy()})
    ignored = nncf.IgnoredScope(names=_kept(model.graph), types=_IN_FLOAT, validate=False)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # progress bars
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model, images, preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs), ignored_scope=ignored
        )


def _kept(graph: Any) -> list[str]:
    """Names of the layers that see the image or joined maps, and of those that give the logits."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in _maps(node):
            readers.setdefault(name, []).append(node)
    maker = {name: [node] for node in graph.node for name in node.output}
    joined = [name for node in graph.node if node.op_type == "Concat" for name in node.output]
    after = [layer for name in (INPUT, *joined) for layer in _nearest_layers(name, readers, lambda node: node.output)]
    return sorted({*after, *_nearest_layers(OUTPUT, maker, _maps)})


def _maps(node: Any) -> list[str]:
    """The inputs of a node that are maps, not shapes or parameters."""
    if node.op_type == "Shape":
        return []
    return list(node.input) if node.op_type in ("Concat", "Add", "Mul", "Sub", "Div") else list(node.input[:1])


def _nearest_layers(
    start: str, neighbors: Mapping[str, list[Any]], onward: Callable[[Any], Iterable[str]]
) -> list[str]:
    """Names of the first layers on every way from a value of the graph."""
    values, seen, found = [start], {start}, []
    while values:
        for node in neighbors.get(values.pop(), []):
            if node.op_type in _LAYERS:
                found.append(node.name)
                continue
            values += [name for name in onward(node) if name not in seen]
            seen.update(onward(node))
    return found
