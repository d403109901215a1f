"""`segcct export`: a trained model -> a verified ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.config import settings
from segcct.errors import CheckpointError, ConfigError, DataError, reason_of
from segcct.export.backends import FixedSizeNetwork, backend_network
from segcct.export.model_file import SUFFIX, ExportedModel, Size, is_exported, read_exported
from segcct.export.onnx_export import card_of_size, export_onnx, made_by, set_facts
from segcct.export.quantization import CALIBRATION_SLICES, quantized
from segcct.export.verification import compare_outputs, random_inputs, require_equal, require_similar
from segcct.files.atomic_file import OTHER_OR_OVERWRITE, atomic_path, refuse_existing
from segcct.inference.ensemble import splits_files
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard
from segcct.progress import say
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.task_files import load_model, task_of_model

if TYPE_CHECKING:
    from torch import Tensor

    from segcct.inference.loaded_model import LoadedModel

VERIFIED_SLICES = 64
"""Real slices that an fp32 file is compared on."""


def export_model(
    folder: Path, output: Path, *, size: int | None, int8: bool, source: Path | None, overwrite: bool = False
) -> Iterator[str]:
    """Write the ONNX file of a `best/` folder; yields what is found on the way, a line each.

    Args:
        folder: the model.
        output: ends in `.onnx`.
        size: height and width of the input in pixels; None: the training size.
        int8: quantize, calibrated by real slices.
        source: scans or images, read as `segcct predict` reads its input; None: the training cases of the run, where
            they are still there.
        overwrite: replace an earlier file, once the new one is verified.

    Raises:
        RunError: there is such a file already and `overwrite` is off.
        ModelError: the network cannot be exported, or the file would give other outputs; nothing is written then.
        DataError: no real slices to calibrate with.
    """
    if output.suffix != SUFFIX or is_exported(folder):
        found = f"{folder} to {output}"
        raise ConfigError("an export goes from a best/ folder to an ONNX file", found=found, expected=f"FILE{SUFFIX}")
    if FoldsFolder.is_at(folder):
        raise ConfigError(
            "a file holds one model, and this is a cross-validation",
            file=folder,
            remedy=f"Export the best/ of a fold, such as {FoldsFolder.open(folder).members()[0]}",
        )
    if not overwrite:
        refuse_existing(output, OTHER_OR_OVERWRITE)
    loaded = load_model(folder, InferenceSettings(precision="fp32", device="cpu"))
    card, side = card_of_size(loaded.card, size)
    square = (side, side)
    real = _real_inputs(loaded, folder, source, side, int8=int8)
    say(f"exporting {card.architecture.name} for {side} x {side} pixels ...")
    proto = export_onnx(loaded.network, card, square)
    inputs = {"random": random_inputs(card.architecture.in_channels, square)} | ({} if real is None else {"real": real})
    for kind, images in inputs.items():
        comparison = compare_outputs(loaded.network, _by_onnx(proto, card, square, output), images[:VERIFIED_SLICES])
        require_equal(comparison, f"{kind} input")
        yield f"against PyTorch on {comparison.inputs} {kind} inputs: {comparison}"
    if int8:
        assert real is not None
        say(f"quantizing by {len(real)} real inputs ...")
        proto = quantized(proto, real)
        set_facts(proto, card, square, precision="int8")
        comparison = compare_outputs(loaded.network, _by_onnx(proto, card, square, output), real)
        require_similar(comparison)
        yield f"int8 against PyTorch on {comparison.inputs} real inputs: {comparison}"
    with atomic_path(output) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        read_exported(temporary)  # as predict will read it


def _by_onnx(proto: Any, card: ModelCard, size: Size, output: Path) -> FixedSizeNetwork:
    """The network as ONNX Runtime computes it, before it is written."""
    return backend_network("onnx", ExportedModel(proto.SerializeToString(), card, size, "", made_by()), output)


def _real_inputs(loaded: LoadedModel, folder: Path, source: Path | None, size: int, *, int8: bool) -> Tensor | None:
    """What the network sees of real cases, (N, C, S, S); None where the training cases are not there, which int8 cannot
    do without."""
    count = CALIBRATION_SLICES if int8 else VERIFIED_SLICES
    if source is not None:
        return _found(loaded, source, [], None, size, count)()
    root = _training_data(folder)
    missing: str | None = None
    if root is not None:
        try:
            read = _found(loaded, root, splits_files([folder]), "train", size, count)
        except DataError as error:  # in one line, without the advice to those who train
            missing = str(DataError(error.what, file=error.file, found=error.found))
        except OSError as error:
            missing = reason_of(error)
        else:
            return read()
    if int8:
        raise DataError(
            "no scans to calibrate int8 with",
            file=folder,
            found=missing,
            expected="the training data of the run where its config.yaml says",
            remedy="Name typical scans by --input",
        )
    if missing is not None:
        say(f"{missing}. Without the training cases, the file is compared with PyTorch on random inputs alone")
    return None


def _found(
    loaded: LoadedModel, source: Path, splits: list[Path], split: str | None, size: int, count: int
) -> Callable[[], Tensor]:
    """What reads at most `count` inputs of the cases, which are found at once: raises as `resolve` or `find_images`."""
    if isinstance(loaded, Classifier):
        from segcct.tasks.classification.image_prediction import find_images, network_images

        return partial(network_images, loaded, find_images(loaded, source, splits_files=splits, split=split), count)
    assert isinstance(loaded, Predictor)
    from segcct.predictions.prediction_request import resolve
    from segcct.tasks.segmentation.network_inputs import network_slices

    request = resolve(loaded.card, source, splits_files=splits, split=split)
    return partial(network_slices, loaded, request, size, count)


def _training_data(folder: Path) -> Path | None:
    """`data.root` of the run that a `best/` folder lies in, which may be of another machine; None where there is no
    run."""
    run = RunFolder(folder / "..")
    if not (run.config.is_file() and run.splits.is_file()):
        return None
    try:
        return Path(settings.load(task_of_model(folder).load_config(), run.config).data.root)  # type: ignore[attr-defined]
    except (ConfigError, CheckpointError):
        return None
