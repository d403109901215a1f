"""The runner of exported models gives the masks of `segcct predict --backend onnx`, bit for bit, without PyTorch."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from segcct import runtime
from segcct.datasets.case import Case, LoadedCase
from segcct.export.backends import backend_network
from segcct.export.model_file import read_exported
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, PostprocessingStep
from tests.support import small_export

NAMES = ("ct", "mr")


def scans(
    folder: Path, *, channels: int = 1, dtype: str = "int16", axes: str = "LPS", empty: float = 0.3
) -> list[Path]:
    """Noise around a body on an empty background, (40, 34, 9) voxels of 1.1 x 0.9 x 3 mm, a file per channel."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in (40, 34, 9)), indexing="ij"))
    body = (grid**2).sum(axis=0) < 1 - empty
    affine = inv_ornt_aff(axcodes2ornt(tuple(axes)), (40, 34, 9)) @ np.diag([1.1, 0.9, 3.0, 1.0])
    files = []
    for name in NAMES[:channels]:
        voxels = body * (50 + 30 * np.sin(4 * grid[0]) + 15 * rng.random(body.shape))
        voxels = voxels / 100 if dtype == "float64" else voxels
        file = folder / f"x_{name}.nii.gz"
        nib.save(nib.Nifti1Image(voxels.astype(dtype), affine), file)
        files.append(file)
    return files


def predicted(model: Path, files: list[Path], region: np.ndarray | None) -> Volume:
    """The mask by segcct's own reading, preparation and inference."""
    exported = read_exported(model)
    how = InferenceSettings(backend="onnx")
    predictor = Predictor(backend_network("onnx", exported, model), exported.card, how)
    volumes = [Volume.load(file) for file in files]
    image = np.stack([volume.array.astype(np.float32) for volume in volumes])
    case = Case("x", "x", {name: (file,) for name, file in zip(NAMES, files, strict=False)})
    return predictor.predict_case(LoadedCase(case, image, volumes[0], mask=region))


NONZERO = {"rule": "zscore_nonzero"}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip, padded": ({}, {}),
    "clip, resized": ({"fit": "resize"}, {}),
    "z-score, cropped, canonical": ({"intensity": NONZERO, "crop": "foreground", "orientation": "canonical"}, {}),
    "z-score, finer pixels": ({"intensity": NONZERO, "spacing_mm": 0.95}, {"axes": "SRA"}),
    "z-score, coarser pixels": ({"intensity": NONZERO, "spacing_mm": 2.3, "crop": "foreground"}, {"axes": "RAS"}),
    "in a region, resized": ({"intensity": {"rule": "zscore_mask", "mask": "m"}, "fit": "resize"}, {"empty": -9.0}),
    "in [0, 1]": ({"intensity": {"rule": "none"}, "fit": "resize"}, {"dtype": "float64"}),
    "two channels": ({"intensity": NONZERO, "fit": "resize", "orientation": "canonical"}, {"channels": 2}),
    "floats, two channels": ({"fit": "resize", "crop": "foreground"}, {"channels": 2, "dtype": "float32"}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_masks_are_the_same_bytes(tmp_path: Path, name: str) -> None:
    settings, kind = SETTINGS[name]
    channels = kind.get("channels", 1)
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(channels, **settings), channels=channels)
    files = scans(tmp_path, **kind)
    region = None
    arguments = [str(model), *map(str, files), str(tmp_path / "runner.nii.gz")]
    if settings.get("intensity", {}).get("rule") == "zscore_mask":
        region = np.zeros((40, 34, 9), dtype=bool)
        region[8:30, 5:20, 2:8] = True
        nib.save(nib.Nifti1Image(region.astype(np.uint8), nib.load(files[0]).affine), tmp_path / "region.nii.gz")
        arguments += ["--mask", str(tmp_path / "region.nii.gz")]
    ours = predicted(model, files, region)
    ours.save(tmp_path / "segcct.nii.gz")
    assert runtime.main(arguments) == 0
    assert (tmp_path / "runner.nii.gz").read_bytes() == (tmp_path / "segcct.nii.gz").read_bytes()
    assert len(set(np.unique(ours.array)) & {0, 3, 7}) > 1, "a case of one class shows nothing"


def test_masks_are_the_same_bytes_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, of_pixels = [], runtime.slices_per_batch

    def counted(most: int, pixels: int) -> int:
        sizes.append(of_pixels(most, pixels))
        return sizes[-1]

    monkeypatch.setattr(runtime, "_PIXELS_PER_BATCH", 1)
    monkeypatch.setattr(runtime, "slices_per_batch", counted)
    test_masks_are_the_same_bytes(tmp_path, "clip, padded")
    assert sizes == [1]


STEPS = tuple(
    PostprocessingStep(step=name, classes=classes, ml=ml)
    for name, classes, ml in (
        ("fill_holes", ("low", "high"), None),
        ("largest_component", ("low",), None),
        ("minimum_volume", ("high",), 0.02),
    )
)


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_postprocessed_masks_are_the_same_bytes(tmp_path: Path, fit: str) -> None:
    files, masks = scans(tmp_path), {}
    plain = small_export.model_card(fit=fit)
    for name, card in (("plain", plain), ("steps", plain.model_copy(update={"postprocessing": STEPS}))):
        model = small_export.written(tmp_path / f"{name}.onnx", card)
        predicted(model, files, None).save(tmp_path / "segcct.nii.gz")
        assert runtime.main([str(model), str(files[0]), str(tmp_path / f"{name}.nii.gz")]) == 0
        masks[name] = (tmp_path / f"{name}.nii.gz").read_bytes()
        assert masks[name] == (tmp_path / "segcct.nii.gz").read_bytes()
    assert masks["plain"] != masks["steps"]


def test_small_components_are_measured_by_the_volume_of_sheared_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = scans(tmp_path)
    affine = np.array([[-1.0, 0, 0, 0], [0, -1, 3, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.asarray(nib.load(file).dataobj), affine), tmp_path / "tilted.nii.gz")
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    volumes_ml = []
    monkeypatch.setattr(runtime, "postprocess", lambda index, steps, classes, voxel_ml: volumes_ml.append(voxel_ml))
    runtime.segment(runtime.ModelFile(model), [runtime.Scan.load(tmp_path / "tilted.nii.gz")])
    assert volumes_ml == [pytest.approx(0.004)]
    assert volumes_ml == [Volume.load(tmp_path / "tilted.nii.gz").voxel_ml]


def test_postprocessing_without_scipy_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,), output = scans(tmp_path), tmp_path / "out.nii.gz"
    card = small_export.model_card(fit="resize").model_copy(update={"postprocessing": STEPS})
    model = small_export.written(tmp_path / "m.onnx", card)
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scipy" else find(name))
    monkeypatch.setattr(runtime.OnnxSession, "__call__", lambda *_: pytest.fail("the network was run"))
    assert runtime.main([str(model), str(file), str(output)]) == 1
    refusal = capsys.readouterr().err
    assert "(fill_holes, largest_component, minimum_volume): pip install scipy, or use segcct predict" in refusal
    monkeypatch.setattr(runtime, "STEPS", {})
    assert runtime.main([str(model), str(file), str(output)]) == 1
    assert "by fill_holes, which this runner does not know" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [({"scl_slope": 0.5, "scl_inter": 3.0}, 348), ({"xyzt_units": 3, "descrip": b"of A. Patient"}, 348), ({}, 540)],
)
def test_headers_are_those_of_segcct(tmp_path: Path, changes: dict[str, Any], sizes: int) -> None:
    """Scaled voxels, other units, NIfTI 2, byte orders."""
    kind = nib.Nifti1Image if sizes == 348 else nib.Nifti2Image
    image = kind(np.arange(40 * 34 * 2, dtype=">i2").reshape(40, 34, 2) % 97, np.diag([0.7, 0.8, 2, 1]))
    for field, value in changes.items():
        image.header[field] = value
    image.header["cal_max"], image.header["intent_code"] = 50, 3
    if "scl_slope" in changes:
        image.header.set_slope_inter(changes["scl_slope"], changes["scl_inter"])
    file = tmp_path / "x.nii"
    nib.save(image, file)
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    predicted(model, [file], None).save(tmp_path / "segcct.nii")
    assert runtime.main([str(model), str(file), str(tmp_path / "runner.nii")]) == 0
    assert (tmp_path / "runner.nii").read_bytes() == (tmp_path / "segcct.nii").read_bytes()


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(card: ModelCard, files: list[Path], *more: str) -> str:
        model = small_export.written(tmp_path / "m.onnx", card)
        assert runtime.main([str(model), *map(str, files), str(tmp_path / "out.nii.gz"), *more]) == 1
        assert not (tmp_path / "out.nii.gz").exists()
        return capsys.readouterr().err

    (file,) = scans(tmp_path)
    card = small_export.model_card
    assert "takes 1 scans (ct), not 2" in refusal(card(), [file, file])
    assert "segcct export --size 128" in refusal(card(spacing_mm=0.4), [file])
    assert "intensity rule zscore_mask" in refusal(card(), [file], "--mask", str(file))
    assert "[0, 1]" in refusal(card(intensity={"rule": "none"}), [file])
    (tmp_path / "no.nii.gz").write_bytes(b"no")
    assert "cannot be read as NIfTI" in refusal(card(), [tmp_path / "no.nii.gz"])
    holed = nib.Nifti1Image(np.full((4, 4, 4), np.nan, dtype=np.float32), np.eye(4))
    nib.save(holed, tmp_path / "nan.nii.gz")
    assert "NaN or infinite" in refusal(card(), [tmp_path / "nan.nii.gz"])
    assert runtime.main([str(file), str(file), str(tmp_path / "out.nii.gz")]) == 1
    assert f"{file}: not an ONNX model that can be run" in capsys.readouterr().err


def test_scans_and_regions_on_other_grids_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Corner voxels count, as in `segcct predict`: 0.04 mm from row to row are 1.3 mm over 34 rows."""
    files, output = scans(tmp_path, channels=2), tmp_path / "out.nii.gz"
    second = nib.load(files[1])
    sheared, voxels = second.affine.copy(), np.asarray(second.dataobj)
    sheared[0, 1] += 0.04
    nib.save(nib.Nifti1Image(voxels, sheared), files[1])
    model = small_export.written(tmp_path / "two.onnx", small_export.model_card(2, fit="resize"), channels=2)
    assert runtime.main([str(model), *map(str, files), str(output)]) == 1
    assert "the scans are not on one grid" in capsys.readouterr().err

    region = np.zeros((40, 34, 9), dtype=np.uint8)
    region[8:30, 5:20, 2:8] = 1
    mirrored = nib.load(files[0]).affine @ np.diag([-1, 1, 1, 1])
    nib.save(nib.Nifti1Image(region, mirrored), tmp_path / "region.nii.gz")
    card = small_export.model_card(fit="resize", intensity={"rule": "zscore_mask", "mask": "m"})
    model = small_export.written(tmp_path / "one.onnx", card)
    assert runtime.main([str(model), str(files[0]), str(output), "--mask", str(tmp_path / "region.nii.gz")]) == 1
    assert "region.nii.gz: the --mask is not on the grid of the scans" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(("kind", "name"), [(nib.MGHImage, "x.mgz"), (nib.Spm2AnalyzeImage, "x.img")])
def test_other_formats_that_nibabel_reads_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Any, name: str
) -> None:
    nib.save(kind(np.ones((4, 4, 4), dtype=np.float32), np.eye(4)), tmp_path / name)
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    assert runtime.main([str(model), str(tmp_path / name), str(tmp_path / "out.nii.gz")]) == 1
    assert f"{name}: {kind.__name__} is not NIfTI: convert it to .nii.gz\n" in capsys.readouterr().err


def test_scans_are_read_while_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, output = scans(tmp_path, channels=2), tmp_path / "out.nii.gz"
    model = small_export.written(tmp_path / "two.onnx", small_export.model_card(2, fit="resize"), channels=2)
    all_three = threading.Barrier(3, timeout=20)

    def at_once(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def call(file: Path) -> Any:
            all_three.wait()
            return function(file)

        return call

    monkeypatch.setattr(runtime.Scan, "load", at_once(runtime.Scan.load))
    monkeypatch.setattr(runtime, "ModelFile", at_once(runtime.ModelFile))
    arguments = [str(model), *map(str, files), str(output)]
    assert runtime.main(arguments) == 0
    output.unlink()
    for file in files:
        file.write_bytes(b"no")
    assert runtime.main(arguments) == 1
    assert f"segcct.runtime: {files[0]}: cannot be read as NIfTI" in capsys.readouterr().err


def test_scans_are_not_read_for_a_model_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def load(file: Path) -> None:
        begun.append(file)
        time.sleep(0.1)

    monkeypatch.setattr(runtime.Scan, "load", load)
    files = [str(tmp_path / f"{number}.nii.gz") for number in range(20)]
    assert runtime.main([str(tmp_path / "no.onnx"), *files, str(tmp_path / "out.nii.gz")]) == 1
    assert len(begun) < len(files)


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_batches_without_a_slice_are_wrong_usage(capsys: pytest.CaptureFixture[str], given: str) -> None:
    with pytest.raises(SystemExit) as ended:
        runtime.main(["m.onnx", "x.nii.gz", "out.nii.gz", f"--batch-size={given}"])
    assert ended.value.code == 2
    assert f"{given} is not a whole number of at least 1" in capsys.readouterr().err


def test_a_mask_does_not_replace_its_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = scans(tmp_path)
    before = file.read_bytes()
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    assert runtime.main([str(model), str(file), str(file)]) == 1
    assert "the mask would replace what it is made from" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_mask_replaces_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runtime.py model.onnx case/*.nii.gz`, by which the last scan of a case stands where the mask does."""
    files = scans(tmp_path, channels=2)
    before = files[1].read_bytes()
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    monkeypatch.setattr(runtime.OnnxSession, "__call__", lambda *_: pytest.fail("the network was run"))
    assert runtime.main([str(model), *map(str, files)]) == 1
    assert f"{files[1]}: exists already" in capsys.readouterr().err
    assert files[1].read_bytes() == before
    with pytest.raises(pytest.fail.Exception, match="the network was run"):
        runtime.main([str(model), *map(str, files), "--overwrite"])
    assert runtime.main([str(model), str(files[0]), str(tmp_path / "missing" / "mask.nii.gz")]) == 1
    assert f"{tmp_path / 'missing'}: no such folder" in capsys.readouterr().err
    assert runtime.main([str(tmp_path / "missing.onnx"), str(files[0]), str(tmp_path / "mask.nii.gz")]) == 1
    assert capsys.readouterr().err == f"segcct.runtime: {tmp_path / 'missing.onnx'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("number", "found"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")]
)
def test_a_mask_that_cannot_be_written_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, found: str
) -> None:
    def save(_: Any, file: Path) -> None:
        raise OSError(number, os.strerror(number), *([str(file)] if number == errno.EROFS else []))

    (file,), output = scans(tmp_path), tmp_path / "out.nii.gz"
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize"))
    monkeypatch.setattr(runtime.nib, "save", save)
    assert runtime.main([str(model), str(file), str(output)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"segcct.runtime: {output}: the mask cannot be written ({found}): name a file in a folder ")
    assert ".part-" not in said


def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.os, "access", lambda folder, mode: (Path(folder), mode) != (tmp_path, os.W_OK))
    monkeypatch.setattr(runtime, "ModelFile", lambda _: pytest.fail("the model was loaded"))
    assert runtime.main(["m.onnx", "scan.nii.gz", str(tmp_path / "out.nii.gz")]) == 1
    assert f"segcct.runtime: {tmp_path}: the mask cannot be written there: " in capsys.readouterr().err


def test_a_missing_onnx_runtime_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert runtime.main([str(tmp_path / name) for name in ("m.onnx", "scan.nii.gz", "mask.nii.gz")]) == 1
    said = capsys.readouterr().err
    assert "onnxruntime" in said
    assert said.count("\n") == 1


def test_nothing_is_left_for_reports_to_the_makers_of_onnx_runtime(tmp_path: Path) -> None:
    """It begins a session of its telemetry in a file of the temporary folder."""
    model, folder = small_export.written(tmp_path / "m.onnx", small_export.model_card()), tmp_path / "temporary"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = f"from segcct.runtime import ModelFile; ModelFile({str(model)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment | {"TMPDIR": str(folder)})
    assert not list(folder.iterdir())


def _without(*keys: str) -> Callable[[Any], None]:
    def change(facts: Any) -> None:
        for key in keys[:-1]:
            facts = facts[key]
        del facts[keys[-1]]

    return change


BROKEN_FACTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a classifier": (lambda facts: facts.update(preparation={}, card=facts["card"] | {"task": "classification"}),
                     "of task classification: use segcct predict"),
    "no task": (_without("card", "task"), "of task None: use segcct predict"),
    "no scheme": (_without("card", "scheme"), "not complete: write it again"),
    "no channels": (_without("card", "data", "channels"), "not complete"),
    "no bounds": (_without("preparation", "intensity", "low"), "not complete"),
    "no fit": (_without("preparation", "fit"), "not complete"),
    "classes without values": (lambda facts: facts["card"]["scheme"].update(classes=["low", "high"]), "not complete"),
    "a class that no mask holds": (lambda facts: facts["card"]["scheme"]["classes"].update(low=-1), "not complete"),
    "fewer classes than the network": (_without("card", "scheme", "classes", "high"),
                                       "the network has 2 classes, its metadata 1"),
    "a step of an unknown class": (
        lambda facts: facts["card"].update(postprocessing=[{"step": "fill_holes", "classes": ["other"]}]),
        "not complete"),
    "a step that is no step": (lambda facts: facts["card"].update(postprocessing=["fill_holes"]), "not complete"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_FACTS)
def test_metadata_that_no_export_writes_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, said = BROKEN_FACTS[name]
    (file,) = scans(tmp_path)
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card())
    small_export.change_facts(model, change)
    assert runtime.main([str(model), str(file), str(tmp_path / "out.nii.gz")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("2,1", 2), ("", 0), ("all", 0), ("-1", 0)])
def test_threads_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch, given: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert runtime._asked_threads() == threads


@pytest.mark.slow
def test_an_environment_without_pytorch_gives_the_same_bytes(tmp_path: Path) -> None:
    """numpy, nibabel and onnxruntime in a fresh environment, and the one file copied out of the package."""
    model = small_export.written(tmp_path / "m.onnx", small_export.model_card(fit="resize", intensity=NONZERO))
    files = scans(tmp_path)
    predicted(model, files, None).save(tmp_path / "segcct.nii.gz")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = [f"{name}=={version(name)}" for name in ("numpy", "nibabel", "onnxruntime")]
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted]
    installed = subprocess.run(pip, capture_output=True, encoding="utf-8", check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install {wanted}: {installed.stderr.strip().splitlines()[-1:]}")
    copy = tmp_path / "run_model.py"
    copy.write_bytes(Path(runtime.__file__).read_bytes())
    assert subprocess.run([python, "-I", "-c", "import torch"], capture_output=True, check=False).returncode
    subprocess.run([python, "-I", copy, model, files[0], tmp_path / "runner.nii.gz"], check=True)
    assert (tmp_path / "runner.nii.gz").read_bytes() == (tmp_path / "segcct.nii.gz").read_bytes()
