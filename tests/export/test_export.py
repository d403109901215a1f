"""`segcct export`, what it refuses, and prediction by other backends than PyTorch."""

from __future__ import annotations

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

import segcct
from segcct import runtime
from segcct.cli import main
from segcct.config import ImagesSection
from segcct.datasets.split_record import Splits
from segcct.errors import CheckpointError, DataError, ModelError, PackageError
from segcct.export import model_file, onnx_export
from segcct.export.backends import BACKENDS, backend_network
from segcct.export.model_file import ExportedModel, card_at, read_exported
from segcct.export.on_demand import EXPORTED, ExportedOnDemand, _stored
from segcct.export.verification import compare_outputs, random_inputs, require_equal, require_similar
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture, ModelCard, load_card, save_model
from segcct.models import zoo
from segcct.models.zoo import create_model
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.tasks import model_export
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.classification.image_layout import card_section
from tests.support import small_export
from tests.support.small_export import SIZE

SQUARE = (SIZE, SIZE)
CT = "x_ct.nii.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    """A best/ folder without its run."""
    monkeypatch.setitem(zoo._TABLE._added, small_export.NAME, small_export.ROW)
    save_model(tmp_path / "best", small_export.network().state_dict(), small_export.model_card())
    return tmp_path / "best"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    file = tmp_path / "scan.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 100, (40, 30, 5)).astype(np.int16)
    Volume(voxels, np.diag([1.0, 1, 3, 1]), (1.0, 1.0, 3.0)).save(file)
    return file


def dice(a: Volume, b: Volume) -> float:
    return 2 * float(((a.array > 0) & (a.array == b.array)).sum()) / float((a.array > 0).sum() + (b.array > 0).sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_backend_gives_the_masks_of_pytorch(folder: Path, scan: Path, backend: str) -> None:
    volume = Volume.load(scan)
    expected = Predictor.load(folder, InferenceSettings(device="cpu")).predict(volume)
    found = Predictor.load(folder, InferenceSettings(backend=backend)).predict(volume)
    assert dice(expected, found) > 0.999
    assert [file.name for file in (folder / EXPORTED).iterdir()] == [f"{SIZE}x{SIZE}.onnx"]


def test_an_earlier_export_is_used_again_until_the_model_changes(folder: Path, scan: Path, monkeypatch: Any) -> None:
    made = []
    monkeypatch.setattr("segcct.export.on_demand.export_onnx", lambda *a: made.append(a) or onnx_export.export_onnx(*a))
    how, volume = InferenceSettings(backend="onnx"), Volume.load(scan)
    for _ in range(2):
        Predictor.load(folder, how).predict(volume)
    assert len(made) == 1
    file, card = folder / EXPORTED / f"{SIZE}x{SIZE}.onnx", load_card(folder)
    other = card.architecture.model_copy(update={"options": {"skip": True}})
    assert _stored(file, card) is not None
    assert _stored(file, card.model_copy(update={"architecture": other})) is None
    file.write_bytes(b"damaged")
    Predictor.load(folder, how).predict(volume)
    assert len(made) == 2


def test_threads_export_a_size_once(folder: Path, monkeypatch: Any) -> None:
    made = []
    monkeypatch.setattr("segcct.export.on_demand.export_onnx", lambda *a: made.append(a) or onnx_export.export_onnx(*a))
    on_demand = ExportedOnDemand(small_export.network(), small_export.model_card(), folder, "onnx", "fp32")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(on_demand, [torch.zeros(1, 1, 64, 64)] * 8))
    assert len(made) == 1


def test_slices_of_any_size_go_through_a_folder(folder: Path) -> None:
    """Exported where a size is met, and padded as the networks pad inside."""
    network = small_export.network()
    on_demand = ExportedOnDemand(network, small_export.model_card(), folder, "onnx", "fp32")
    image = random_inputs(1, (64, 48))
    assert compare_outputs(network, on_demand, image).largest_difference < 1e-5
    assert on_demand(torch.zeros(1, 1, 50, 70)).shape == (1, 3, 50, 70)
    assert {file.name for file in (folder / EXPORTED).iterdir()} == {"64x48.onnx", "64x80.onnx"}


@pytest.mark.parametrize("size", [(SIZE + 16, SIZE + 16), (32, 32)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_size_than_the_traced_one_is_refused(tmp_path: Path, backend: str, size: tuple[int, int]) -> None:
    file = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    network = backend_network(backend, read_exported(file), file)
    with pytest.raises(ModelError, match=rf"one size .*found {size[0]} x .*expected 48 x 48.*segcct export --size"):
        network(torch.zeros(1, 1, *size))


def test_the_command_writes_a_verified_file(folder: Path, scan: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "m.onnx"
    assert main(["export", "--model", str(folder), "--output", str(output), "--input", str(scan)]) == 0
    printed = capsys.readouterr().out
    assert "on 4 random inputs: largest difference" in printed
    assert "on 5 real inputs: largest difference" in printed
    model = read_exported(output)
    assert (model.size, model.precision, model.card.scheme) == (SQUARE, "fp32", small_export.model_card().scheme)
    assert b"/tests/" not in output.read_bytes(), "no folder of this machine is in the file"
    for name, model in (("a", output), ("b", folder)):
        words = ["--backend", "onnx"] if model == folder else []
        command = ["predict", "--model", str(model), "--input", str(scan), "--output", str(tmp_path / name), *words]
        assert main(command) == 0
    masks = [(tmp_path / name / "scan.nii.gz").read_bytes() for name in "ab"]
    assert runtime.main([str(output), str(scan), str(tmp_path / "c.nii.gz")]) == 0
    assert masks[0] == masks[1] == (tmp_path / "c.nii.gz").read_bytes()
    index = json.loads((tmp_path / "a" / "predictions.json").read_text())
    assert index["cases"]["scan"]["backend"] == "onnx"
    (mask,) = segcct.predict(output, scan, tmp_path / "d").masks
    assert mask.read_bytes() == masks[0]


def test_a_larger_size_is_another_file(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    assert main(["export", "--model", str(folder), "--output", str(output), "--size", "64"]) == 0
    assert read_exported(output).size == (64, 64)
    large = Volume(np.zeros((60, 50, 2), dtype=np.int16), np.eye(4), (1.0, 1.0, 1.0))
    assert Predictor.load(output).predict(large).shape == large.shape


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "32"], "no size for this model .*found 32; expected 48"),
        (["--int8"], "no scans to calibrate int8 with .*--input"),
        (["--input", "nowhere"], "nowhere: no such file or folder"),
        (["--output", "m.bin"], "an export goes from a best/ folder to an ONNX file"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    folder: Path, tmp_path: Path, capsys: Any, words: list[str], message: str
) -> None:
    output = tmp_path / "m.onnx"
    assert main(["export", "--model", str(folder), "--output", str(output), *words]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error), error
    assert not output.exists()


def run_of(folder: Path, root: Path) -> Path:
    """The model as best/ of a run that was trained on cases a and b below `root`."""
    run = RunFolder(folder.parent / "run")
    shutil.copytree(folder, run.best)
    data = {"layout": "folder", "root": str(root), "channels": {"ct": "*_ct.nii.gz"}, "scheme": "binary"}
    run.config.write_text(yaml.safe_dump({"data": data, "model": {"name": "cct_unet_t"}}))
    Splits(("a", "b"), ("c",)).save(run.splits)
    return run.best


@pytest.fixture
def exported_at_once(monkeypatch: Any) -> None:
    """The graph of the network, which other tests trace."""
    monkeypatch.setattr("segcct.tasks.model_export.export_onnx", lambda *_: small_export.exported())


@pytest.mark.usefixtures("exported_at_once")
@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (None, "data: no such file or folder"),
        ("", "data: no case of layout folder in the dataset folder (found an empty folder)"),
        ("b", "data: 1 case of split train cannot be found (found no a)"),
    ],
)
def test_training_cases_that_are_gone_leave_random_inputs(
    folder: Path, scan: Path, tmp_path: Path, capsys: Any, cases: str | None, message: str
) -> None:
    root, output = tmp_path / "data", tmp_path / "m.onnx"
    if cases is not None:
        root.mkdir()
    for name in cases or "":
        (root / name).mkdir()
        shutil.copy(scan, root / name / CT)
    command = ["export", "--model", str(run_of(folder, root)), "--output", str(output)]
    assert main([*command, "--int8"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no scans to calibrate int8 with" in error
    assert f"{tmp_path}/{message}" in error
    assert not output.exists()
    assert main(command) == 0
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "random inputs alone" in line] == [
        f"{tmp_path}/{message}. Without the training cases, the file is compared with PyTorch on random inputs alone"
    ]
    assert " random inputs: " in printed.out
    assert " real inputs: " not in printed.out
    assert read_exported(output).size == SQUARE


@pytest.mark.usefixtures("exported_at_once")
def test_training_cases_that_are_there_are_compared_or_refused(
    folder: Path, scan: Path, tmp_path: Path, capsys: Any
) -> None:
    large = Volume(np.ones((60, 50, 2), dtype=np.int16), np.eye(4), (1.0, 1.0, 1.0))
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(scan, tmp_path / "data" / name / CT)
    output = tmp_path / "m.onnx"
    command = ["export", "--model", str(run_of(folder, tmp_path / "data")), "--output", str(output)]
    assert main(command) == 0
    assert "on 10 real inputs: largest difference" in capsys.readouterr().out
    output.unlink()
    for name in "ab":
        large.save(tmp_path / "data" / name / CT)
    assert main(command) == 1
    assert "slices of these cases are larger than the input" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.usefixtures("exported_at_once")
def test_a_file_is_replaced_only_where_that_is_asked_for(folder: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "m.onnx"
    output.write_bytes(b"another model")
    command = ["export", "--model", str(folder), "--output", str(output)]
    assert main(command) == 1
    assert f"{output}: exists already. Choose another --output, or add --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--input", str(tmp_path / "nowhere")]) == 1
    assert output.read_bytes() == b"another model"
    assert main([*command, "--overwrite"]) == 0
    assert read_exported(output).size == SQUARE


def test_a_classifier_sees_real_images(tmp_path: Path) -> None:
    """Found first, and read when they are asked for."""
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
    data = card_section(ImagesSection(root=tmp_path, image_size=16, channels="gray"), [0.5], [0.25])
    built = Architecture(name="cct_2_3x2_32", in_channels=1, num_classes=2, image_size=16)
    card = small_export.model_card().model_copy(update={"task": "classification", "data": data, "architecture": built})
    classifier = Classifier(nn.Identity(), card, InferenceSettings(device="cpu"))
    read = model_export._found(classifier, tmp_path, [], None, 16, 2)
    assert read().shape == (2, 1, 16, 16)
    with pytest.raises(DataError, match="no such file or folder"):
        model_export._found(classifier, tmp_path / "nowhere", [], None, 16, 2)


def test_a_cross_validation_is_refused_with_the_name_of_a_fold(folder: Path, tmp_path: Path, capsys: Any) -> None:
    folds = FoldsFolder(tmp_path / "cv", [0])
    shutil.copytree(folder, folds.fold(0).best)
    folds.write()
    assert main(["export", "--model", str(folds.path), "--output", str(tmp_path / "m.onnx")]) == 1
    assert f"Export the best/ of a fold, such as {folds.fold(0).best}" in capsys.readouterr().err


def test_a_file_that_differs_from_pytorch_is_not_written(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    other = small_export.network()
    nn.init.normal_(other.layers[-1].bias)
    export = onnx_export.export_onnx
    monkeypatch.setattr("segcct.tasks.model_export.export_onnx", lambda _, *rest: export(other, *rest))
    assert main(["export", "--model", str(folder), "--output", str(tmp_path / "m.onnx")]) == 1
    assert not (tmp_path / "m.onnx").exists()


def test_what_differs_too_much_is_refused() -> None:
    network, other = small_export.network(1), small_export.network(2).__class__
    torch.manual_seed(9)
    strange = other(in_channels=1, num_classes=3, image_size=SIZE, options=None)
    comparison = compare_outputs(network, strange, random_inputs(1, SQUARE))
    for require in (lambda: require_equal(comparison, "random input"), lambda: require_similar(comparison)):
        with pytest.raises(ModelError, match=r"differs from PyTorch.*Nothing was written"):
            require()


def _huge(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 10**12


def _elsewhere(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _looping(model: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def _foreign(model: Any) -> None:
    model.graph.node[0].domain = "of.somebody"


def _facts(model: Any, **changes: Any) -> None:
    (entry,) = model.metadata_props
    entry.value = json.dumps(json.loads(entry.value) | changes)


def _other_classes(model: Any) -> None:
    facts = json.loads(model.metadata_props[0].value)
    facts["card"]["scheme"]["classes"]["more"] = 9
    _facts(model, card=facts["card"])


HOSTILE = {
    "weights beyond the file": (_huge, "numbers in"),
    "weights of another file": (_elsewhere, "weights outside of the file"),
    "a loop": (_looping, "operator .*Loop"),
    "an operator of others": (_foreign, "operator of.somebody"),
    "no metadata": (lambda model: model.metadata_props.pop(), "was not written by segcct export"),
    "metadata of others": (lambda model: _facts(model, format=9), "was not written by segcct export"),
    "no model card": (lambda model: _facts(model, card={"data": {}}), "is not a model card"),
    "another size": (lambda model: _facts(model, size=[64, 64]), "image of shape"),
    "a huge size": (lambda model: _facts(model, size=[10**9, 10**9]), "slices of"),
    "a size in words": (lambda model: _facts(model, size="large"), "was not written by segcct export"),
    "other classes": (_other_classes, "contradict each other in num_classes"),
    "no output": (lambda model: model.graph.output.pop(), "logits of shape"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_no_export_wrote_are_refused(tmp_path: Path, name: str, capsys: Any) -> None:
    change, message = HOSTILE[name]
    file = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=message):
        read_exported(file)
    assert main(["predict", "--model", str(file), "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["empty", "garbage", "cut off", "missing"])
def test_damaged_files_are_refused_by_both(tmp_path: Path, name: str, capsys: Any) -> None:
    file = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    whole = file.read_bytes()
    contents = {"empty": b"", "garbage": bytes(range(256)) * 9, "cut off": whole[: len(whole) // 2]}
    if name == "missing":
        file.unlink()
    else:
        file.write_bytes(contents[name])
    with pytest.raises(CheckpointError):
        read_exported(file)
    assert runtime.main([str(file), "x.nii.gz", str(tmp_path / "out.nii.gz")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_exported_file_does_not_run_in_pytorch(tmp_path: Path) -> None:
    file = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    with pytest.raises(ModelError, match=r"does not run in PyTorch .*--backend onnx or openvino"):
        Predictor.load(file, InferenceSettings(backend="torch"))
    with pytest.raises(ModelError, match="has no bf16"):
        InferenceSettings(backend="onnx", precision="bf16")


def test_a_missing_extra_is_named(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PackageError, match=r"segcct\[export\]"):
        onnx_export.export_onnx(small_export.network(), small_export.model_card(), SQUARE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_network(tmp_path: Path, backend: str) -> None:
    """As those that predict images do."""
    file = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    network = backend_network(backend, read_exported(file), file)
    inputs = [torch.randn(1, 1, *SQUARE) for _ in range(64)]
    expected = [network(images) for images in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(network, inputs))
    assert all(map(torch.equal, found, expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["cct_unet_t", "swin_unet_tiny", "timm/mobilenetv4_conv_small", "monai/SegResNet", "cct_2_3x2_32"]
)
def test_networks_of_the_table_are_exported(tmp_path: Path, name: str) -> None:
    """A size that windows of attention do not divide, and batches of other sizes than the traced one."""
    task = "classification" if name.startswith("cct_2") else "segmentation"
    torch.manual_seed(0)
    network = create_model(name, 2, 3, 40).eval()
    built = Architecture(name=name, in_channels=2, num_classes=3, image_size=40)
    card: ModelCard = small_export.model_card(2, image_size=40).model_copy(update={"architecture": built, "task": task})
    file = tmp_path / "m.onnx"
    file.write_bytes(onnx_export.export_onnx(network, card, (40, 40)).SerializeToString())
    for backend in BACKENDS:
        found = backend_network(backend, read_exported(file), file)
        for images in (random_inputs(2, (40, 40)), torch.randn(1, 2, 40, 40)):
            require_equal(compare_outputs(network, found, images), "random input")


@pytest.mark.slow
def test_int8_keeps_the_masks(folder: Path, scan: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "m.onnx"
    assert main(["export", "--model", str(folder), "--output", str(output), "--int8", "--input", str(scan)]) == 0
    assert "int8 against PyTorch on 5 real inputs" in capsys.readouterr().out
    operators = [node.op_type for node in onnx.load(output).graph.node]
    assert operators.count("QuantizeLinear") > 0
    volume = Volume.load(scan)
    expected = Predictor.load(folder, InferenceSettings(device="cpu")).predict(volume)
    for backend in BACKENDS:
        assert dice(expected, Predictor.load(output, InferenceSettings(backend=backend)).predict(volume)) > 0.95


def test_the_card_of_a_file_is_read_once(tmp_path, monkeypatch):
    file, read = tmp_path / "m.onnx", []

    def counted(path: Path) -> ExportedModel:
        read.append(path)
        return ExportedModel(path.read_bytes(), small_export.model_card(), SQUARE, "fp32", {})

    monkeypatch.setattr(model_file, "read_exported", counted)
    digests = []
    for content in (b"first", b"other"):
        file.with_suffix(".new").write_bytes(content)
        file.with_suffix(".new").replace(file)
        digests += [card_at(file).weights_sha256 for _ in range(3)]
    assert read == [file, file]
    assert len(set(digests)) == 2
